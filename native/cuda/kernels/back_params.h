/* back_params.h - the arguments of the kernels that only training needs; part of params.h. */
#ifndef BC_CUDA_BACK_PARAMS_H
#define BC_CUDA_BACK_PARAMS_H

enum {
    BC_GPU_BACK_ROWS = 160,  /* rows of a matrix with one step of their gradients: 32 groups */
    BC_GPU_BACK_COLS = 64,   /* columns, and */
    BC_GPU_BACK_TOKENS = 64, /* tokens of a tile of the product with the matrix transposed */
    BC_GPU_BACK_THREADS = 128,
    BC_GPU_VECTOR_THREADS = 256, /* of a block that has one token's vector, or sums over tokens */
    BC_GPU_SUM_COLS = 32,        /* columns of a block that sums over tokens */
    BC_GPU_WINDOW_THREADS = 128,
    BC_GPU_WINDOW_FLOATS = 2048, /* of a tile of attention: head_dim times tokens */
    BC_GPU_LIMB_MAX = 127,       /* gradients are integers up to this with one limb, */
    BC_GPU_LIMBS_MAX = 32639     /* up to 256 * 127 + 127 with two */
};

/* ---- dx = W' dy through planes ---- */

/* dy * scales as integers: those of a token and BC_GPU_BACK_ROWS rows have one step. */
typedef struct bc_round_args {
    BC_AT(const float) dy; /* f32 [n, dy_stride] */
    int dy_stride;
    BC_AT(const float) scales;
    int rows, n, blocks;
    BC_AT(int8_t) codes; /* i8 [limbs][n, blocks * BC_GPU_BACK_ROWS]: the upper limb first */
    int64_t limb;        /* bytes from limb to limb */
    BC_AT(float) step;   /* f32 [blocks, n] */
    BC_AT(int32_t) sum;  /* i32 [blocks, n]: of the integers */
} bc_round_args;

typedef struct bc_back_args {
    BC_AT(const uint8_t)
    data; /* planes of rows / 5 groups of `cols` bytes, as they lie on the card; or int8 codes */
    uint64_t plane_stride;
    int tiled; /* 1: planes lie as tiled.cuh says */
    int rows, cols, n_planes, n, blocks, limbs;
    BC_AT(const int8_t) codes;
    int64_t limb;
    BC_AT(const float) step;
    BC_AT(const int32_t) sum;
    BC_AT(float) out; /* f32 [n, out_stride], the first out_cols columns */
    int out_stride, out_cols;
    int add; /* 1: to what is there */
} bc_back_args;

/* A token's logits -> what its loss is made of, and the gradient of weight times the loss in their place. */
typedef struct bc_entropy_args {
    BC_AT(float) logits; /* f32 [n, vocab] */
    int vocab, back;     /* back 0: the logits stay */
    BC_AT(const int32_t) targets;
    BC_AT(const float) weights;
    BC_AT(double)
    found; /* f64 [n, 3]: the largest logit, the sum of e^(logit - largest), the target's logit */
} bc_entropy_args;

/* The inverse of a rotation. */
typedef struct bc_unrotate_args {
    BC_AT(float) rotated; /* f32 [n, width]; changed */
    BC_AT(float) out;     /* f32 [n, width] */
    int cols, width, block;
    BC_AT(const uint32_t)
    places;     /* where an element is, and in the top bit its sign; 0: no rotation */
    int shared; /* 1: the launch gives shared memory for a vector */
} bc_unrotate_args;

/* ---- vectors on the way back ---- */

typedef struct bc_norm_back_args {
    BC_AT(float) dx; /* f32 [n, width] += what comes through the norm of x */
    BC_AT(const float) x;
    BC_AT(const float) dy;
    BC_AT(const float) norm;
    int cols, width;
    float eps;
} bc_norm_back_args;

typedef struct bc_swiglu_back_args {
    BC_AT(const float) gate;
    BC_AT(const float) up;
    BC_AT(const float) d; /* of silu(gate) * up */
    BC_AT(float) d_gate;
    BC_AT(float) d_up;
    int64_t count; /* of them all */
} bc_swiglu_back_args;

/* ---- sums over tokens, and what is of low rank ---- */

/* sum f64 [rank, cols] += sum_t u[t][k] (x[t][c] - shift[c]); rank 0: u is f32 [n, cols] like x, and sum f64 [cols]. */
typedef struct bc_sum_args {
    BC_AT(const float) u;
    BC_AT(const float) x;
    BC_AT(const float) shift; /* or 0 */
    int u_stride, x_stride, cols, n, rank;
    BC_AT(double) sum;
} bc_sum_args;

/* u f32 [n, rank] = m x, m f32 [rank, cols]. */
typedef struct bc_project_args {
    BC_AT(const float) m;
    BC_AT(const float) x;
    int x_stride, cols, rank;
    BC_AT(float) u;
} bc_project_args;

/* y f32 [n, y_stride] += m' u. */
typedef struct bc_expand_args {
    BC_AT(const float) m;
    BC_AT(const float) u;
    int cols, rank, y_stride;
    BC_AT(float) y;
} bc_expand_args;

/* ---- attention over whole windows, without a cache ---- */

/* Tokens first .. first + count - 1, of the window start .. end - 1. */
typedef struct bc_gpu_window_tile {
    int first, count, start, end;
} bc_gpu_window_tile;

typedef struct bc_window_args {
    BC_AT(const float) q; /* f32 [n, q_stride], as the matrix gives them */
    BC_AT(const float) k; /* f32 [n, kv_heads * head_dim] */
    BC_AT(const float) v;
    BC_AT(float) q_placed; /* with norm and RoPE, of the same shapes */
    BC_AT(float) k_placed;
    BC_AT(float) out; /* f32 [n, q_stride] */
    BC_AT(float)
    stats; /* f32 [n, heads, 2]: the largest score, 1 / the sum of e^(score - largest) */
    BC_AT(const float) d_out;
    BC_AT(float) dots; /* f32 [n, heads]: of d_out and out */
    BC_AT(float) d_q;
    BC_AT(float) d_k;
    BC_AT(float) d_v;
    BC_AT(const float) cos; /* f32 [longest window, head_dim / 2] */
    BC_AT(const float) sin;
    BC_AT(const int32_t) positions; /* i32 [n] */
    BC_AT(const float) q_norm;      /* or 0 */
    BC_AT(const float) k_norm;
    BC_AT(const bc_gpu_window_tile) tiles;
    int q_stride, heads, kv_heads, head_dim, window; /* window 0: all positions before */
    float eps, factor;
} bc_window_args;

#endif
