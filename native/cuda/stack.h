/* stack.h - the inside of bc_stack: layers on a card, and the buffers that they work in. */
#ifndef BC_CUDA_STACK_H
#define BC_CUDA_STACK_H

#include "device.h"
#include "kernels/params.h"
#include "matrix.h"

enum {
    BC_MAX_ROTATIONS = 6,
    BC_N_STACK_MATRICES = 7, /* of a layer, by enum bc_matrix_id */
    BC_LOGIT_ROWS = 32,      /* rows of logits that are computed at a time */
    BC_GRAPH_TOKENS = 64,    /* batches up to this size are kept as graphs */
    BC_MAX_GRAPHS = 8,
    BC_JOIN_TOKENS = 64 /* batches up to this size may split a matrix's columns */
};

typedef struct bc_gpu_layer {
    bc_ptr attn_norm, mlp_norm, q_norm, k_norm;
    bc_ptr attn_norm_placed, mlp_norm_placed; /* where the stack's single token is placed */
    bc_gpu_matrix matrix[BC_N_STACK_MATRICES];
} bc_gpu_layer;

/* Whether vectors of `widest` elements are too wide for bc_prepare's shared memory, or its threads. */
static inline int bc_gpu_wide(const bc_device *d, int64_t widest)
{
    return widest * (int64_t)sizeof(float) > d->shared_bytes ||
           widest > BC_GPU_PREPARE_SHARE * BC_GPU_PREPARE_THREADS;
}

/* Positions that a layer's attention sees, 0: all. */
static inline int bc_gpu_slides(const bc_config *c, int layer)
{
    return c->sliding_window > 0 && c->layer_slides[layer] ? c->sliding_window : 0;
}

/* The buffers of a batch, rows padded (bc_gpu_width); f32 [n_batch, ...] unless said otherwise. */
typedef struct bc_gpu_buffers {
    bc_ptr inputs; /* what a batch begins with, as bc_gpu_inputs lays it */
    bc_ptr y, q, k, v, gate, up;
    bc_ptr attended;         /* f32 [q_cols]: a single token's attention, placed */
    bc_ptr plain;            /* the widest input of a dense matrix; 0: none is dense */
    bc_ptr work;             /* of bc_prepare, where shared memory is too small; else 0 */
    bc_ptr a, scale, sum;    /* i8 [n_batch, a_stride], f32, i32 [n_batch] */
    bc_ptr mixes, sums;      /* parts of attention, */
    bc_ptr joined;           /* and how many there are: i32, for each block of heads */
    bc_ptr partial, arrived; /* split columns: i32 [BC_JOIN_TOKENS, widest rows]; counters */
    bc_ptr logits;           /* f32 [BC_LOGIT_ROWS, vocab or hidden] */
    int64_t inputs_bytes, logits_bytes, partial_bytes, arrived_bytes;
    int a_stride, partial_stride;
    int hidden, mlp, q_cols; /* floats from row to row */
} bc_gpu_buffers;

typedef struct bc_gpu_graph {
    int n, rows, separate, kv_type, few_positions;
    CUgraphExec exec;
    int64_t last_used;
} bc_gpu_graph;

struct bc_stack {
    bc_device *device;
    const bc_model *model;
    int first, count, has_head, n_batch;
    bc_ptr memory; /* one allocation: weights and buffers */
    int64_t bytes;
    bc_gpu_rotation rotations[BC_MAX_ROTATIONS];
    int n_rotations;
    bc_gpu_layer *layers;
    bc_gpu_matrix head;
    bc_ptr final_norm;
    const bc_rotation
        *placed; /* of the residual stream of a single token (placed.h); NULL: it is not placed */
    bc_gpu_buffers b;
    uint8_t *staged; /* page-locked [inputs_bytes] */
    float *results;  /* page-locked [logits_bytes] */
    bc_gpu_graph graphs[BC_MAX_GRAPHS];
    int64_t uses;
};

struct bc_cache {
    bc_stack *stack;
    bc_ptr memory, keys, values, key_scales, value_scales;
    int64_t bytes;
    int n_ctx, kv_type;
};

/* BC_ERR_UNSUPPORTED, with the reason, for a model that the kernels do not take. */
int bc_stack_check_model(const bc_model *model, bc_error *err);
int64_t bc_stack_weight_bytes(bc_device *device, const bc_model *model, int32_t first,
                              int32_t count, int32_t with_head, int32_t n_batch);
int64_t bc_stack_cache_bytes(const bc_model *model, int32_t count, int32_t n_ctx, int32_t kv_type);
int bc_stack_open(bc_stack **out, bc_device *device, const bc_model *model, int32_t first,
                  int32_t count, int32_t with_head, int32_t n_batch, bc_error *err);
void bc_stack_close(bc_stack *s);
int bc_stack_set_scales(bc_stack *s, int32_t layer, int32_t matrix, bc_error *err);
int bc_cache_open(bc_cache **out, bc_stack *stack, int32_t n_ctx, int32_t kv_type, bc_error *err);
void bc_cache_close(bc_cache *cache);
int bc_stack_forward(bc_stack *s, const bc_stack_batch *batch, bc_error *err);

/* Bytes of shared memory that bc_prepare needs at most, with or without a work buffer. */
int bc_prepare_shared(const bc_stack *s, int with_work);

/* Where the inputs of a batch of n tokens lie, in bytes from b.inputs: so little is copied for few tokens. */
typedef struct bc_gpu_inputs {
    int64_t places, cos, sin, x, bytes; /* bytes: of all of it */
} bc_gpu_inputs;

bc_gpu_inputs bc_stack_inputs(const bc_stack *s, int n);

/* How attention is shared among blocks when n tokens of different caches attend: for each token, blocks of up to `heads` query
 * heads of a KV head, times parts that its context is cut into, of BC_GPU_LEAST_PART positions at least. */
typedef struct bc_attention_plan {
    int heads, blocks, splits;
} bc_attention_plan;

bc_attention_plan bc_plan_attention(const bc_device *d, const bc_config *c, int n,
                                    int few_positions);
/* So many positions of each token are few. */
int bc_few_positions(const bc_device *d, const bc_config *c, int n);

#endif
