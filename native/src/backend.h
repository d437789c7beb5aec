/* backend.h - what a device library (libbitconverter_cuda) gives the engine: one symbol, a table of functions.
 *
 * The engine decides what lies where; the backend holds the copies, the caches and the arithmetic. Every call has done its work when it returns. A backend never aborts, exits or prints; one device is used by one
 * thread at a time. */
#ifndef BC_BACKEND_H
#define BC_BACKEND_H

#include "bitconverter.h"
#include "model.h"

#define BC_BACKEND_ABI 4
#define BC_BACKEND_SYMBOL "bc_backend_table"

typedef struct bc_device bc_device; /* an open device: context, stream, kernels, memory counted */
typedef struct bc_stack
    bc_stack; /* consecutive layers of a model on a device, perhaps with its head */
typedef struct bc_cache bc_cache; /* the keys and values of one session for a stack's layers */
typedef struct bc_trained
    bc_trained; /* consecutive layers of a model on a device, with room for steps of training */

/* Where the tokens of a batch belong. */
typedef struct bc_stack_place {
    bc_cache *cache;
    int32_t position;
} bc_stack_place;

typedef struct bc_stack_batch {
    const float *x;               /* f32 [n, hidden]: the residual stream before the first layer */
    const float *cos, *sin;       /* f32 [n, head_dim / 2] of the places' positions */
    const bc_stack_place *places; /* [n] */
    int32_t n;                    /* 1 .. n_batch */
    int32_t separate;     /* 1: each token is another cache's, else all are one's, in order */
    int32_t any_position; /* 1: computed as behind any number of positions, if these are few */
    int32_t rows;         /* how many of the last tokens the output is wanted of; 0: none */
    /* Called with the output, some rows at a time: rows first .. first + count - 1 of them, f32 [count, stride], of which
     * the first vocab floats are logits, or the first hidden the residual stream where the stack has no head. */
    void (*take)(void *arg, int32_t first, int32_t count, const float *from, int64_t stride);
    void *arg;
} bc_stack_batch;

/* What steps of training will be like. Matrices are planes; the ranks of what is added to them are the model's. */
typedef struct bc_trained_params {
    int32_t window;   /* tokens of a window, at most */
    int32_t replicas; /* of a call, at most */
    int32_t tokens;   /* of each replica's windows together, at most */
    int32_t back;     /* 1: trained_backward will be called */
    int32_t
        head; /* 1: trained_loss will be called: the model's final_norm and head, which is int8 */
} bc_trained_params;

/* Whether the caller wants no more of it: looked at between layers. */
typedef struct bc_stop {
    int (*asked)(void *arg);
    void *arg;
} bc_stop;

/* Windows one after the other, each a sequence of its own. */
typedef struct bc_trained_batch {
    float *x;               /* f32 [tokens, hidden]: into the first layer, then out of the last */
    const float *cos, *sin; /* f32 [window, head_dim / 2] */
    const int32_t *starts;  /* [n_windows + 1] */
    int32_t n_windows;
    int32_t replicas; /* the windows are so many equal shares, */
    const float *const
        *scales;  /* [layers * BC_N_MATRICES]: f32 [replicas, rows] each, the shares' row scales */
    int32_t keep; /* 1: trained_backward follows; one replica */
    bc_stop stop;
} bc_trained_batch;

/* bc_head_cross_entropy of the model's head; dh and hits may be NULL. */
typedef struct bc_trained_losses {
    const float *h; /* f32 [tokens, hidden] */
    int64_t tokens;
    const int32_t *targets;
    const float *weights; /* NULL: 1 */
    double *loss;
    float *dh;
    int32_t *hits;
    bc_stop stop;
} bc_trained_losses;

typedef struct bc_backend {
    uint32_t abi;
    uint32_t model_bytes,
        layer_bytes; /* sizeof(bc_model), sizeof(bc_layer) that it was compiled with */
    const char *name;

    /* -- devices -- */
    int (*count)(int32_t *n, bc_error *err); /* BC_ERR_UNSUPPORTED: why there is none */
    int (*describe)(int32_t index, bc_device_info *info, bc_error *err);
    int (*open)(bc_device **out, int32_t index, bc_error *err);
    void (*close)(bc_device *device);
    int (*memory)(bc_device *device, bc_device_memory *memory, bc_error *err);

    /* -- a model's layers first .. first + count - 1, and its head if `with_head` -- */
    /* Bytes that the weights, and one session of these parameters, would take: nothing is allocated. The workspace is
     * one per stack and counted with the weights. */
    int64_t (*weight_bytes)(bc_device *device, const bc_model *model, int32_t first, int32_t count,
                            int32_t with_head, int32_t n_batch);
    int64_t (*cache_bytes)(const bc_model *model, int32_t count, int32_t n_ctx, int32_t kv_type);
    /* Copies them; BC_ERR_NOMEM leaves nothing behind. The model outlives the stack. */
    int (*stack_open)(bc_stack **out, bc_device *device, const bc_model *model, int32_t first,
                      int32_t count, int32_t with_head, int32_t n_batch, bc_error *err);
    void (*stack_close)(bc_stack *stack);
    /* The row scales of a matrix (enum bc_matrix_id) have changed in the model: copied again. */
    int (*stack_scales)(bc_stack *stack, int32_t layer, int32_t matrix, bc_error *err);
    int (*cache_open)(bc_cache **out, bc_stack *stack, int32_t n_ctx, int32_t kv_type,
                      bc_error *err);
    void (*cache_close)(bc_cache *cache);
    /* Runs the batch: its keys and values join the caches, and out is there. */
    int (*stack_forward)(bc_stack *stack, const bc_stack_batch *batch, bc_error *err);

    /* -- training (docs/MODEL.md): a model's layers, all of them planes -- */
    int64_t (*trained_bytes)(bc_device *device, const bc_model *model,
                             const bc_trained_params *params);
    /* Copies them; BC_ERR_NOMEM leaves nothing behind. The model, whose planes, scales and additions are borrowed,
     * outlives it. */
    int (*trained_open)(bc_trained **out, bc_device *device, const bc_model *model,
                        const bc_trained_params *params, bc_error *err);
    void (*trained_close)(bc_trained *trained);
    /* Low-rank additions are those of the model at this moment. */
    int (*trained_forward)(bc_trained *trained, const bc_trained_batch *batch, bc_error *err);
    /* dy f32 [tokens, hidden] of the last trained_forward's outputs becomes that of its inputs. Of `grads` (one for each
     * layer) gain, lora_a and lora_b are added to, and `coarse` is looked at; the rest is NULL. */
    int (*trained_backward)(bc_trained *trained, float *dy, const bc_block_grads *const *grads,
                            bc_stop stop, bc_error *err);
    int (*trained_loss)(bc_trained *trained, const bc_trained_losses *losses, bc_error *err);

    /* -- single operations, everything in host memory: what tests compare with the CPU's kernels -- */
    /* Bytes per second of a copy inside the device's memory, read and written counted. */
    int (*copy_speed)(bc_device *device, int64_t bytes, double *bytes_per_second, bc_error *err);
    /* What each kernel takes, while nothing else runs: bc_engine_trace_begin, bc_engine_trace_end. */
    int (*trace_begin)(bc_device *device, bc_error *err);
    int (*trace_end)(bc_device *device, bc_kernel_time *times, int32_t *n, bc_error *err);
    /* rmsnorm(x) (norm NULL: x itself), x f32 [n, cols], rotated as `like` wants it and rounded: a i8 [n, stride],
     * stride the next multiple of 128, zero-padded; scale f32 [n], sum i32 [n]. */
    int (*op_prepare)(bc_device *device, const bc_weight *like, const float *x, const float *norm,
                      float eps, int32_t n, int8_t *a, float *scale, int32_t *sum, bc_error *err);
    /* y f32 [n, rows] = W x + bias, x f32 [n, cols] */
    int (*op_linear)(bc_device *device, const bc_weight *weight, const float *x, int32_t n,
                     float *y, bc_error *err);
} bc_backend;

/* What the symbol is. */
typedef const bc_backend *(*bc_backend_table_fn)(void);

#endif
