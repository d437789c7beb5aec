/* bitconverter.h - the whole public C API of the engine.
 *
 * native/build.py gives the lines between the two "cffi" marks to Python, so
 * this file is the one place where the API is written down.
 *
 * Rules:
 *  - Names are bc_<object>_<verb>. Handles are opaque; every open has a close,
 *    and close accepts NULL.
 *  - A call that can fail returns a bc_status and fills the caller's bc_error
 *    (NULL allowed) with a full sentence that holds the offending value.
 *  - Nothing aborts, exits, prints or keeps changing global state.
 *  - Inputs are borrowed for the call; outputs are the caller's, with the
 *    length stated beside the parameter.
 *  - An engine owns one thread pool; calls on one engine (its models and
 *    sessions included) are made one at a time by the caller. Different
 *    engines are independent.
 *  - Results do not depend on the number of threads.
 *  - A long call takes a bc_cancel (NULL allowed) that any thread may set; it
 *    answers within 200 ms with BC_ERR_CANCELLED and leaves its handles usable.
 *    The same structure pauses a call and lets it go on.
 *  - Paths are UTF-8 on every system. */
#ifndef BITCONVERTER_H
#define BITCONVERTER_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define BC_API __declspec(dllexport)
#else
#define BC_API __attribute__((visibility("default")))
#endif

/* cffi: begin */
#define BC_ABI_VERSION 4

enum bc_status {
    BC_OK = 0,
    BC_ERR_INVALID = -1, /* the caller broke the contract */
    BC_ERR_NOMEM = -2,
    BC_ERR_UNSUPPORTED = -3, /* well-formed, but this engine, CPU or device cannot do it */
    BC_ERR_CANCELLED = -4,
    BC_ERR_IO = -5,      /* a file is missing, short or unreadable */
    BC_ERR_FORMAT = -6,  /* a file's content breaks its format */
    BC_ERR_CONTEXT = -7, /* the session's context is full */
    BC_ERR_DEVICE = -8   /* a device computes something else than the CPU */
};

typedef struct bc_error {
    int32_t code;
    char message[508];
} bc_error;

typedef struct bc_cancel {
    volatile int32_t requested;
    volatile int32_t paused; /* while set (and nothing requested), the call waits */
} bc_cancel;

/* ---- engine: a thread pool and a kernel table ---- */

enum bc_cpu_flag {
    BC_CPU_AVX2 = 1,        /* AVX2, FMA, F16C */
    BC_CPU_AVX512 = 2,      /* AVX-512 F, BW, VL (and AVX2) */
    BC_CPU_AVX512_VNNI = 4, /* vpdpbusd on 512 bits (and AVX512) */
    BC_CPU_AVX_VNNI = 8,    /* vpdpbusd on 256 bits, in either encoding (and AVX2) */
    BC_CPU_AVX512_VBMI = 16 /* look-ups of bytes on 512 bits (and AVX512_VNNI) */
};

typedef struct bc_engine bc_engine;

typedef struct bc_engine_params {
    int32_t n_threads;       /* 0: one per physical core */
    uint32_t cpu_flags_mask; /* bc_cpu_flag bits allowed; ~0: all this CPU has; 0: scalar */
} bc_engine_params;

typedef struct bc_engine_info {
    int32_t n_threads;
    uint32_t cpu_flags; /* bits in use */
    char isa[24];       /* "scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-vbmi" */
} bc_engine_info;

BC_API uint32_t bc_abi_version(void);
BC_API void bc_engine_params_init(bc_engine_params *params);
BC_API int bc_engine_open(bc_engine **out, const bc_engine_params *params, bc_error *err);
BC_API void bc_engine_close(bc_engine *engine);
/* Frees the work space of layers that is kept from call to call (the next one takes it again), and gives back to the
 * system what the program's allocator keeps of freed memory. */
BC_API void bc_engine_let_go(bc_engine *engine);
BC_API void bc_engine_get_info(const bc_engine *engine, bc_engine_info *info);

/* Reads `bytes` bytes on all threads and adds them up (as 64-bit words, modulo 2^64): its time is
 * what this computer's memory allows a decode that reads as much. */
BC_API int bc_memory_read(bc_engine *engine, const void *data, int64_t bytes, uint64_t *sum,
                          bc_error *err);

/* Milliseconds since the user last touched a key or the mouse (of this session on Windows, of the X
 * display elsewhere); -1 where nothing tells. */
BC_API int64_t bc_user_idle_ms(void);

/* ---- model: a folder's weights, mapped and immutable ---- */

typedef struct bc_model bc_model;

typedef struct bc_model_info {
    char family[16]; /* config.json's model_type: "llama", "mistral", "qwen2", "qwen3" */
    int32_t n_layers, hidden_size, intermediate_size;
    int32_t n_heads, n_kv_heads, head_dim;
    int32_t vocab_size, max_positions;
    int32_t sliding_window;                      /* 0: none */
    int32_t tied;                                /* 1: the head is the embedding */
    int32_t qkv_bias, o_bias, mlp_bias, qk_norm; /* 1: the layers have these tensors */
    int32_t ternary;                             /* 1: converted, 0: dense bf16/f16/f32 */
    int64_t mapped_bytes;                        /* all weight files */
    int64_t decode_bytes;                        /* weights read to decode one token */
    int64_t linear_weights; /* how many weights the decoder layers' linear maps hold */
    int64_t linear_bytes;   /* bytes of their planes and scales (or dense tensors) */
} bc_model_info;

/* Looks at the text of a config.json only: BC_OK and the shape fields of info, or why this engine
 * does not run such a model (BC_ERR_UNSUPPORTED, BC_ERR_FORMAT). */
BC_API int bc_config_check(const char *config_json, size_t length, bc_model_info *info,
                           bc_error *err);

/* Opens a Hugging Face folder as it is, or a converted one (docs/FORMAT.md). */
BC_API int bc_model_open(bc_model **out, bc_engine *engine, const char *folder, bc_error *err);
BC_API void bc_model_close(bc_model *model); /* after its sessions */
/* y of matrix `matrix` (enum bc_matrix_id, planes) of a layer becomes gain * (W x) + bias, gain f32 [rows], copied;
 * NULL: as it was opened. What sessions of the model have computed before stays in their caches: rewind them. */
BC_API int bc_model_set_gain(bc_model *model, int32_t layer, int32_t matrix, const float *gain,
                             bc_error *err);
/* The same for y = W x + bias + B (A x), see bc_block_set_lora: a and b are borrowed until the next call for this
 * matrix or until the model is closed. */
BC_API int bc_model_set_lora(bc_model *model, int32_t layer, int32_t matrix, const float *a,
                             const float *b, int32_t rank, bc_error *err);

/* The same for y = W x + bias + D x with D as planes u8 [n_planes, ceil(rows / 5), cols] in the basis of the model's
 * own planes and scales f32 [rows], borrowed until the next call for this matrix or until the model is closed; NULL and
 * 0: none. Of a matrix that is planes, in a layer on the processor. */
BC_API int bc_model_set_delta(bc_model *model, int32_t layer, int32_t matrix, const uint8_t *planes,
                              const float *scales, int32_t n_planes, bc_error *err);
BC_API void bc_model_get_info(const bc_model *model, bc_model_info *info);
/* bc_memory_read of all of its weight files, where they are mapped. */
BC_API int bc_model_read(bc_model *model, uint64_t *sum, bc_error *err);

/* ---- graphics cards: the last layers of a model, and its head, on a device of a backend ---- */

typedef struct bc_device_info {
    char name[96];
    char backend[16];                     /* "cuda" */
    int32_t compute_major, compute_minor; /* 9, 0 */
    int32_t n_processors;
    int32_t driver_version; /* as the driver says it: 13000 */
    int64_t total_bytes, free_bytes;
} bc_device_info;

/* Opens the backend library `path` (libbitconverter_cuda) for this engine, once, and says how many devices it can use:
 * 1 or more. BC_ERR_UNSUPPORTED: none, and why ("there is no NVIDIA driver on this computer"). */
BC_API int bc_engine_open_backend(bc_engine *engine, const char *path, int32_t *n_devices,
                                  bc_error *err);
BC_API int bc_engine_get_device(bc_engine *engine, int32_t device, bc_device_info *info,
                                bc_error *err);

typedef struct bc_placement_params {
    int32_t device;
    int32_t n_layers; /* how many layers at most; -1: all that fit */
    /* the sessions that must fit beside the weights; batches are smaller, of 64 at least, where all of the model fits then */
    int32_t n_ctx, n_batch, kv_type, n_sessions;
    int64_t memory_limit; /* bytes that the driver may count for it all; 0: what is free now */
} bc_placement_params;

typedef struct bc_placement {
    int32_t n_layers;      /* on the device: the model's last ones */
    int32_t head;          /* 1: the head too */
    int64_t weight_bytes;  /* on the device */
    int64_t session_bytes; /* that n_sessions will take there */
    int64_t all_bytes;     /* what everything, weights and sessions, would take */
    int64_t room_bytes;    /* what there was for it */
} bc_placement;

BC_API void bc_placement_params_init(bc_placement_params *params);

/* Copies as many layers as fit to a device, the last ones first, then the head. Sessions opened afterwards keep these
 * layers' caches there. Before the first session of the model, once. When not one layer fits: BC_ERR_NOMEM with the
 * numbers, and the model stays on the CPU. One layer, and some of the head, run on both first: BC_ERR_DEVICE where the device
 * finds other values than the CPU. After an error `placement` is what was tried. */
BC_API int bc_model_place(bc_model *model, const bc_placement_params *params,
                          bc_placement *placement, bc_error *err);

typedef struct bc_device_memory {
    int64_t used_bytes, peak_bytes;  /* of this engine's models and sessions */
    int64_t total_bytes, free_bytes; /* of the device, as the driver counts */
} bc_device_memory;

BC_API int bc_engine_get_memory(bc_engine *engine, int32_t device, bc_device_memory *memory,
                                bc_error *err);

/* Bytes per second, read and written counted, of copies of `bytes` bytes inside a device's memory: what its memory
 * allows. */
BC_API int bc_engine_copy_speed(bc_engine *engine, int32_t device, int64_t bytes,
                                double *bytes_per_second, bc_error *err);

enum { BC_MOST_KERNEL_TIMES = 128 };
typedef struct bc_kernel_time {
    char name[32];
    int32_t launches;
    double seconds; /* of all of them */
} bc_kernel_time;

/* For measuring: from now on every kernel on the device is timed and waits for the one before; the graphs that small
 * batches are kept as are not used. At most 2,047 launches. BC_ERR_INVALID: it is on already. */
BC_API int bc_engine_trace_begin(bc_engine *engine, int32_t device, bc_error *err);
/* Ends it, also after an error: the kernels that ran, those that took most first, into times [BC_MOST_KERNEL_TIMES]. */
BC_API int bc_engine_trace_end(bc_engine *engine, int32_t device, bc_kernel_time *times, int32_t *n,
                               bc_error *err);

/* ---- session: one timeline of tokens over a model ---- */

typedef struct bc_session bc_session;

enum bc_kv_type { BC_KV_F16 = 0, BC_KV_I8 = 1, BC_KV_F32 = 2, BC_KV_I4 = 3 };

typedef struct bc_session_params {
    int32_t n_ctx;   /* positions the KV cache holds; 0: the model's max_positions, at most 4096 */
    int32_t n_batch; /* tokens per forward pass inside prefill; 0: a default */
    int32_t kv_type; /* enum bc_kv_type */
} bc_session_params;

BC_API void bc_session_params_init(bc_session_params *params);
BC_API int bc_session_open(bc_session **out, bc_model *model, const bc_session_params *params,
                           bc_error *err);
BC_API void bc_session_close(bc_session *session);
BC_API int32_t bc_session_n_ctx(const bc_session *session);
BC_API int32_t bc_session_position(const bc_session *session); /* tokens it holds */
BC_API int64_t bc_session_bytes(const bc_session *session);    /* KV cache and work space */

/* Forgets every token from `position` on (0 <= position <= current). */
BC_API int bc_session_rewind(bc_session *session, int32_t position, bc_error *err);

/* Appends n_tokens tokens. `logits` is NULL, or f32 [rows, vocab_size] with
 * rows = n_tokens if all_positions, else 1 (the last). On error or cancel the
 * session holds the tokens it held before the call (after a cancel, sampling
 * needs another forward pass first). */
BC_API int bc_session_forward(bc_session *session, const int32_t *tokens, int32_t n_tokens,
                              float *logits, int32_t all_positions, const bc_cancel *cancel,
                              bc_error *err);

/* Appends tokens[i] to sessions[i], n different sessions of one model, which read the weights
 * together: n texts at once cost much less than n calls. logits f32 [n, vocab_size], or NULL: they
 * are only kept for bc_session_sample. On error or cancel every session holds the tokens it held
 * before. */
BC_API int bc_sessions_forward(bc_session *const *sessions, const int32_t *tokens, int32_t n,
                               float *logits, const bc_cancel *cancel, bc_error *err);

/* ---- sampling ---- */

typedef struct bc_sampler_params {
    float temperature;     /* 0: greedy */
    float top_p;           /* 1: off */
    float min_p;           /* 0: off */
    float repeat_penalty;  /* 1: off */
    int32_t top_k;         /* 0: off */
    int32_t repeat_last_n; /* how many of the last tokens the penalty sees */
    uint64_t seed;
} bc_sampler_params;

BC_API void bc_sampler_params_init(bc_sampler_params *params);

/* The next token from the logits of the session's last position. The random
 * number depends on seed and position only: same seed, same text. */
BC_API int bc_session_sample(bc_session *session, const bc_sampler_params *params, int32_t *token,
                             bc_error *err);

/* The same on given logits f32 [vocab], with scalar kernels; history i32 [n_history] is what the
 * penalty sees, counter the position. */
BC_API int bc_sample(const float *logits, int32_t vocab, const int32_t *history, int32_t n_history,
                     const bc_sampler_params *params, uint64_t counter, int32_t *token,
                     bc_error *err);

/* ---- comparing distributions (all sums in f64, natural logarithms) ---- */

/* nll f64 [n]: -log p(targets[i]) under softmax(logits[i]); argmax i32 [n]. */
BC_API int bc_logits_score(bc_engine *engine, const float *logits, int32_t n, int32_t vocab,
                           const int32_t *targets, double *nll, int32_t *argmax, bc_error *err);

/* kl f64 [n]: KL(softmax(reference[i]) || softmax(logits[i])). */
BC_API int bc_logits_divergence(bc_engine *engine, const float *reference, const float *logits,
                                int32_t n, int32_t vocab, double *kl, bc_error *err);

/* ---- quantizing (docs/FORMAT.md, docs/MODEL.md) ---- */

enum bc_dtype { BC_F32 = 0, BC_F16 = 1, BC_BF16 = 2 };

/* Rotates x f32 [rows, cols] in place: y = H (sign * x[perm]) / sqrt(block),
 * all drawn from seed and cols; inverse undoes it. */
BC_API int bc_rotate(bc_engine *engine, float *x, int64_t rows, int64_t cols, uint64_t seed,
                     int32_t inverse, bc_error *err);

/* Fits rows of W (dtype, [rows, cols], rotated here first) by w = scale * q, q an
 * integer of n_planes (1..4) balanced-ternary digits, minimising
 * sum_c importance[c] (w_c - scale q_c)^2 per row (importance f32 [cols] in the
 * rotated basis, or NULL for 1).
 *   planes u8 [n_planes, ceil(rows/5), cols], scales f32 [rows] (each exactly an f16
 *   value unless `exact_scales`), error f64 [2] = {sum of squared errors, of squared weights}. */
BC_API int bc_quantize_planes(bc_engine *engine, const void *weights, int32_t dtype, int64_t rows,
                              int64_t cols, uint64_t seed, int32_t n_planes,
                              const float *importance, int32_t exact_scales, uint8_t *planes,
                              float *scales, double *error, const bc_cancel *cancel, bc_error *err);

/* The same with int8 codes [rows, cols] in -127..127 and f32 scales [rows]. */
BC_API int bc_quantize_int8(bc_engine *engine, const void *weights, int32_t dtype, int64_t rows,
                            int64_t cols, uint64_t seed, int8_t *codes, float *scales,
                            double *error, const bc_cancel *cancel, bc_error *err);

/* q i8 [rows, cols] of packed planes: the definition of the packing. */
BC_API int bc_planes_unpack(bc_engine *engine, const uint8_t *planes, int32_t n_planes,
                            int64_t rows, int64_t cols, int8_t *q, bc_error *err);

/* For tests: y f32 [tokens, rows] = (W x): one ternary layer as the model runs it (x f32
 * [tokens, cols] is rotated, then rounded to int8 with one scale per token). */
BC_API int bc_planes_matmul(bc_engine *engine, const uint8_t *planes, const float *scales,
                            int32_t n_planes, int64_t rows, int64_t cols, uint64_t seed,
                            const float *x, int64_t tokens, float *y, bc_error *err);

/* ---- calibrated quantizing: one decoder layer on its own (docs/MODEL.md) ---- */

typedef struct bc_block bc_block;

enum bc_matrix_id {
    BC_MATRIX_Q = 0,
    BC_MATRIX_K = 1,
    BC_MATRIX_V = 2,
    BC_MATRIX_O = 3,
    BC_MATRIX_GATE = 4,
    BC_MATRIX_UP = 5,
    BC_MATRIX_DOWN = 6
};

/* Layer number `layer` of the model that the config.json text describes, without weights yet.
 * `window` is the length of the sequences it will see. */
BC_API int bc_block_open(bc_block **out, bc_engine *engine, const char *config_json, size_t length,
                         int32_t layer, int32_t window, bc_error *err);
BC_API void bc_block_close(bc_block *block);

/* Weights are borrowed until they are set again or the block is closed. bias f32 [rows] where the
 * family has one, else NULL. Planes of matrices with one input (q, k, v; gate, up) share a seed. */
BC_API int bc_block_set_dense(bc_block *block, int32_t matrix, const void *weights, int32_t dtype,
                              const float *bias, bc_error *err);
BC_API int bc_block_set_planes(bc_block *block, int32_t matrix, const uint8_t *planes,
                               const float *scales, int32_t n_planes, uint64_t seed,
                               const float *bias, bc_error *err);
/* f32 [hidden], [hidden]; q_norm, k_norm f32 [head_dim] where the family has them, else NULL. */
BC_API int bc_block_set_norms(bc_block *block, const float *attn_norm, const float *mlp_norm,
                              const float *q_norm, const float *k_norm, bc_error *err);

/* y of a matrix becomes W x + bias + B (A x) (Hu et al. 2021): a f32 [rank, cols], b f32 [rank, rows] (B', so that
 * both lie alike), borrowed like weights; rank 1 to 256, or 0 for none. Setting the matrix again takes it off. */
BC_API int bc_block_set_lora(bc_block *block, int32_t matrix, const float *a, const float *b,
                             int32_t rank, bc_error *err);

/* y of a matrix becomes W x + bias + D x with D f32 [rows, cols], borrowed like weights; NULL: none. Setting the matrix
 * again takes it off. */
BC_API int bc_block_set_delta(bc_block *block, int32_t matrix, const float *delta, bc_error *err);

/* x f32 [windows, window, hidden] -> the layer's output, in place (in part, after a cancel); every
 * window is a sequence of its own. Where not NULL, the inputs of the matrices are kept, unrotated:
 * qkv_in and mlp_in f32 [tokens, hidden], o_in f32 [tokens, heads * head_dim], down_in f32 [tokens,
 * intermediate]. */
BC_API int bc_block_forward(bc_block *block, float *x, int32_t windows, float *qkv_in, float *o_in,
                            float *mlp_in, float *down_in, const bc_cancel *cancel, bc_error *err);

/* What replicas have in place of what a matrix has, of one after the other; NULL: they have the matrix's. */
typedef struct bc_matrix_replicas {
    const float *scales; /* f32 [replicas, rows], of planes */
    const float *lora_a; /* f32 [replicas, rank, cols] and */
    const float *lora_b; /* f32 [replicas, rank, rows], as bc_block_set_lora's, of the rank set */
    const float *delta;  /* f32 [replicas, rows, cols], as bc_block_set_delta's; one is set */
} bc_matrix_replicas;

/* The same over windows of different lengths, each 1..window, packed one after the other: x f32 [sum of lengths,
 * hidden], in place. The windows are `replicas` equal shares one after the other, and own[m], m by enum bc_matrix_id, is
 * what these have; NULL with one replica: nothing. They share the planes and the decoding of them, and over planes each
 * gets the bits that it gets alone. kept f32 [sum of lengths, columns of bc_block_kept_columns], or NULL (with replicas it must be): x,
 * f32 [sum of lengths, hidden], then what bc_block_backward would otherwise compute again. */
BC_API int bc_block_windows(bc_block *block, float *x, const int32_t *lengths, int32_t windows,
                            const bc_matrix_replicas *own, int32_t replicas, float *kept,
                            const bc_cancel *cancel, bc_error *err);
BC_API int64_t bc_block_kept_columns(const bc_block *block);

/* The two halves of bc_block_forward: x + what attention adds to it, then that + what the MLP adds. */
BC_API int bc_block_attention(bc_block *block, float *x, int32_t windows, const bc_cancel *cancel,
                              bc_error *err);
BC_API int bc_block_mlp(bc_block *block, float *x, int32_t windows, const bc_cancel *cancel,
                        bc_error *err);

enum bc_input_id {
    BC_INPUT_QKV = 0, /* of q, k and v */
    BC_INPUT_O = 1,
    BC_INPUT_MLP = 2, /* of gate and up */
    BC_INPUT_DOWN = 3
};

/* One of these inputs alone, out f32 [tokens, cols], without changing x: the layer runs only as far as that needs. For the
 * last two x is what bc_block_attention has made of it. */
BC_API int bc_block_input(bc_block *block, const float *x, int32_t windows, int32_t input,
                          float *out, const bc_cancel *cancel, bc_error *err);

/* The two calls below: a stride counts elements from row to row; round is to nearest even; all
 * arithmetic is f32 with rounded products, and neither the threads nor the CPU change a bit. Scales
 * are >= 0; where one is 0, GPTQ gives integers of 0 and descent keeps them. BC_ERR_INVALID names
 * the column of a diagonal element that is not positive and finite, or a row that holds or gives a
 * NaN or an infinity, after which the arrays are unusable.
 *
 * One block of columns of GPTQ (Frantar et al. 2022): for each row, column by column, q = clamp(
 * round(w / scale)), err_j = (w_j - scale q_j) / u_jj, w_k -= err_j u_jk for k > j in the block.
 *   w f32 [rows, w_stride] (in and out), u f32 [cols, cols] upper triangular, scales f32 [rows],
 *   q i8 [rows, q_stride] (out), errors f32 [rows, cols] (out). cols <= 1024. */
BC_API int bc_gptq_block(bc_engine *engine, float *w, int64_t w_stride, const float *u,
                         const float *scales, int32_t q_max, int8_t *q, int64_t q_stride,
                         float *errors, int64_t rows, int32_t cols, bc_error *err);

/* A sweep of coordinate descent on e' H e, e = w - scale q, of each row: column by column q' = clamp(
 * round(q_j + (wh_j - scale qh_j) / (scale h_jj))), then qh += (q' - q_j) h_j.
 *   w, wh = w H f32 [rows, stride], qh = q H likewise (in and out), h f32 [cols, cols] symmetric, cols <= 2^20,
 *   q i8 [rows, q_stride] (in and out; |q| <= q_max), sums f64 [rows, 3] += e' H e, q' H e and q' H q after it. */
BC_API int bc_descent(bc_engine *engine, const float *w, const float *wh, float *qh, int64_t stride,
                      const float *h, const float *scales, int32_t q_max, int8_t *q,
                      int64_t q_stride, double *sums, int64_t rows, int32_t cols, bc_error *err);

/* q i8 [rows, cols], |q| <= (3^n_planes - 1) / 2 -> planes: the inverse of bc_planes_unpack. */
BC_API int bc_planes_pack(bc_engine *engine, const int8_t *q, int32_t n_planes, int64_t rows,
                          int64_t cols, uint8_t *planes, bc_error *err);
/* ---- gradients (docs/MODEL.md, "Gradients") ---- */

/* What bc_block_backward tells of one matrix y = W x + bias; every array may be NULL. dy is the
 * gradient with respect to y; sums are added to what the array holds, the last is stored. */
typedef struct bc_matrix_grads {
    double *gain;         /* [rows] += sum_t dy[t][r] (W x)[t][r]: of g in y = (1 + g) W x + bias */
    double *bias;         /* [rows] += sum_t dy[t][r] */
    double *row_squares;  /* [rows] += sum_t dy[t][r]^2 */
    float *token_squares; /* [tokens] += sum_r dy[t][r]^2 */
    float *dy;            /* [tokens, rows] = dy */
    double *lora_a;       /* [rank, cols] +=: of bc_block_set_lora's a and b */
    double *lora_b;       /* [rank, rows] += */
    float *delta;         /* [rows, cols] += sum_t dy[t] x[t]': of bc_block_set_delta's */
} bc_matrix_grads;

typedef struct bc_block_grads {
    bc_matrix_grads matrix[7];               /* by enum bc_matrix_id */
    double *attn_norm, *mlp_norm;            /* [hidden] +=, or NULL */
    double *q_norm, *k_norm;                 /* [head_dim] +=, or NULL */
    float *qkv_in, *o_in, *mlp_in, *down_in; /* [tokens, cols] =, or NULL: as bc_block_forward */
    const float *
        kept; /* in: what bc_block_windows kept of the same x, lengths and weights; NULL: computed again */
    int32_t coarse; /* in: gradients pass planes as integers of 8 bits, not 16 */
} bc_block_grads;

/* x f32 [windows, window, hidden]: the layer's input, or as bc_block_windows where lengths is not NULL; dy of the
 * same shape: in, the gradient with respect to its output, out, with respect to x (in part, after a cancel). The forward pass is
 * computed again inside, where it was not kept: the same bits. The rounding of a matrix's input to int8 counts as the identity. grads
 * may be NULL. */
BC_API int bc_block_backward(bc_block *block, const float *x, float *dy, int32_t windows,
                             const int32_t *lengths, const bc_block_grads *grads,
                             const bc_cancel *cancel, bc_error *err);

/* The last norm and the head: logits = W (RMSNorm(h) * norm). */
typedef struct bc_head {
    const float *norm;   /* f32 [hidden] */
    const void *weights; /* [vocab, hidden] of dtype, or int8 codes where scales is not NULL */
    const float *scales; /* f32 [vocab] of the codes; NULL: dense */
    uint64_t seed;       /* of the codes' rotation */
    int32_t dtype;       /* enum bc_dtype, where dense */
    int32_t hidden, vocab;
    float rms_eps;
    int32_t
        coarse; /* gradients of cross-entropy go back in integers of 8 bits where that is near enough */
} bc_head;

/* Gradients of sum_t w_t loss_t, in chunks of tokens, so that few logits are held at once.
 *   h f32 [tokens, hidden]: hidden states before the last norm; w f32 [tokens], NULL for 1;
 *   loss f64 [tokens] (out, without w; 0 where w is 0 or the target -1, which cost no time);
 *   dh f32 [tokens, hidden] (out; NULL: the losses only; it may be h); dnorm f64 [hidden] +=, or
 *   NULL; hits i32 [tokens] (out, 1: no logit is above the target's; 0 where loss is 0 for its lack of weight),
 *   or NULL.
 * loss_t = -log softmax(logits_t)[targets[t]], or KL(softmax(teacher's) || softmax(logits_t)) with
 * the teacher's own h, norm and weights over the same vocabulary. drawn: token t's target is drawn
 * from softmax(logits_t) by (seed, t); the gradients' squares then are the Fisher information. */
BC_API int bc_head_cross_entropy(bc_engine *engine, const bc_head *head, const float *h,
                                 int64_t tokens, const int32_t *targets, const float *w,
                                 double *loss, float *dh, double *dnorm, int32_t *hits,
                                 const bc_cancel *cancel, bc_error *err);
BC_API int bc_head_drawn_entropy(bc_engine *engine, const bc_head *head, const float *h,
                                 int64_t tokens, uint64_t seed, const float *w, double *loss,
                                 float *dh, double *dnorm, const bc_cancel *cancel, bc_error *err);
BC_API int bc_head_divergence(bc_engine *engine, const bc_head *head, const float *h,
                              int64_t tokens, const bc_head *teacher, const float *teacher_h,
                              const float *w, double *loss, float *dh, double *dnorm,
                              const bc_cancel *cancel, bc_error *err);

/* ---- tower: blocks one above the other on a graphics card, for training ---- */

typedef struct bc_tower bc_tower;

typedef struct bc_tower_params {
    int32_t device;
    int32_t n_blocks;     /* how many at most, the last ones; -1: all that fit */
    int32_t tokens;       /* of the windows of a call (of each replica), at most */
    int32_t replicas;     /* of a call, at most */
    int32_t back;         /* 1: bc_tower_backward will be called */
    int64_t memory_limit; /* as in bc_placement_params */
    const bc_head
        *head; /* to be there too, where it fits beside the blocks; borrowed. NULL: none */
} bc_tower_params;

typedef struct bc_tower_size {
    int32_t n_blocks;   /* on the device: the last ones */
    int32_t head;       /* 1: the head too */
    int64_t bytes;      /* there, with all that steps need */
    int64_t all_bytes;  /* what all blocks would take */
    int64_t room_bytes; /* what there was for it */
} bc_tower_size;

/* Copies the planes of as many of the blocks, consecutive layers of one model, as fit to a device, the last ones first.
 * The blocks outlive the tower; their row scales and low-rank additions are read anew in every call, their planes,
 * biases and norms are not. BC_ERR_UNSUPPORTED names what runs on the processor only: matrices that are not planes, and
 * whole matrices that are added. When not one block fits: BC_ERR_NOMEM with the numbers. After an error `size` is what
 * was tried. */
BC_API int bc_tower_open(bc_tower **out, bc_block *const *blocks, int32_t count,
                         const bc_tower_params *params, bc_tower_size *size, bc_error *err);
BC_API void bc_tower_close(bc_tower *tower);

/* bc_block_windows of its blocks, one after the other: scales [n_blocks * 7] by block and enum bc_matrix_id, or NULL. keep
 * 1 (with one replica): bc_tower_backward follows. */
BC_API int bc_tower_windows(bc_tower *tower, float *x, const int32_t *lengths, int32_t windows,
                            const float *const *scales, int32_t replicas, int32_t keep,
                            const bc_cancel *cancel, bc_error *err);

/* bc_block_backward of its blocks, in reverse, after the bc_tower_windows that kept what it needs: dy f32 [tokens,
 * hidden] of the last one's output becomes that of the first one's input. grads [n_blocks]: gain, lora_a, lora_b and
 * coarse; nothing else may be asked for. */
BC_API int bc_tower_backward(bc_tower *tower, float *dy, const bc_block_grads *const *grads,
                             const bc_cancel *cancel, bc_error *err);

/* bc_head_cross_entropy with the head of a tower that has one: h are its last block's outputs. */
BC_API int bc_tower_cross_entropy(bc_tower *tower, const float *h, int64_t tokens,
                                  const int32_t *targets, const float *w, double *loss, float *dh,
                                  int32_t *hits, const bc_cancel *cancel, bc_error *err);

/* cffi: end */

#endif
