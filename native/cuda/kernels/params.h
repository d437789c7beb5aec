/* params.h - the arguments of the kernels, for the C code that starts them and for the kernels themselves. */
#ifndef BC_CUDA_PARAMS_H
#define BC_CUDA_PARAMS_H

#ifdef BC_DEVICE /* inside a kernel: addresses are pointers */
#define BC_AT(type) type *
#else
#include <stdint.h>
#define BC_AT(type) uint64_t
#endif

enum {
    BC_GPU_GROUP = 5,           /* rows of a byte */
    BC_GPU_TILE_GROUPS = 8,     /* groups that lie together where planes are tiled */
    BC_GPU_TILE_ROWS = 80,      /* of a matrix product's tile: 16 groups */
    BC_GPU_TILE_COLS = 128,     /* columns that a tile goes on at a time */
    BC_GPU_ONE_THREADS = 512,   /* of a block that multiplies one token, at most, */
    BC_GPU_FEW_THREADS = 1024,  /* of one that multiplies up to 8, */
    BC_GPU_DOZEN_THREADS = 384, /* and of one with up to 32: their registers' number */
    BC_GPU_ONE_TEAMS = 4,       /* of its warps, at most */
    BC_GPU_UNIT_COLS = 32,  /* columns of a group whose bits lie together where planes are tiled */
    BC_GPU_STEP_COLS = 128, /* columns that a warp multiplies at a time, of one token or few, */
    BC_GPU_STEP_BYTES = 1024, /* and a plane's bytes of a tile's groups there */
    BC_GPU_ONE_STAGES = 4,    /* steps of two planes that each warp of one token's copies ahead */
    BC_GPU_FEW_STAGES = 4,    /* steps of a plane that each warp of it copies ahead, */
    BC_GPU_DOZEN_STAGES = 3,  /* and 1024 bytes for each 8 tokens, where those are copied too */
    BC_GPU_FEW_PITCH = 9,     /* integers from a row's sums to the next row's, of up to 8 tokens */
    BC_GPU_DOZEN_PITCH = 33, /* and of up to 32. Odd: neighbouring rows lie in banks of their own */
    BC_GPU_COL_PAD = 64,     /* of int8 codes, and of planes that are not tiled */
    BC_GPU_ACT_PAD = 128,    /* rows of int8 activations are zero-padded to this many columns */
    BC_GPU_HEADS = 8,     /* query heads of one KV head that a block of attention takes, at most */
    BC_GPU_FEW_HEADS = 2, /* and where there are few positions */
    BC_GPU_PREPARE_THREADS = 1024, /* at most; each has so many elements, */
    BC_GPU_PREPARE_SHARE = 16,
    BC_GPU_HOME = 512,        /* those of a warp's threads */
    BC_GPU_PREPARE_TURNS = 2, /* so many times in wide vectors: 32,768 elements at most */
    BC_GPU_VECTOR_PAD = 32,   /* f32 vectors are zero-padded to a multiple of so many elements */
    BC_GPU_LEAST_PART = 64,   /* positions of a part of a context, at least */
    BC_GPU_ATTEND_THREADS = 128,
    BC_GPU_FAST_THREADS = 256,
    BC_GPU_FLASH_THREADS = 128,
    BC_GPU_MAX_HEAD_DIM = 256
};

/* ---- one vector per token: what matrices multiply ---- */

#ifdef BC_DEVICE
#define BC_BOTH BC_DEVICE
#else
#define BC_BOTH static inline
#endif

/* Where element e of a vector lies in a block's shared memory: threads that have sixteen neighbours each find them in
 * banks of their own, and so do a transform's threads with elements 16 apart, sixteen beside sixteen that are 128 or 256
 * further. Its bits are combined by exclusive or, so slot(a | b) = slot(a) ^ slot(b) where a & b is 0. */
BC_BOTH int bc_gpu_slot(int e) { return e ^ (e >> 3 & 28) ^ (e >> 4 & 16); }
/* Bytes from a token to the next there, for the same reason. `cols` is a multiple of 128. */
BC_BOTH int bc_gpu_token_pitch(int cols) { return cols + 64; }

/* Where element e of a placed vector lies in the card's memory, in the order of the rotation that it is for: of 512 elements
 * that the threads of a warp have sixteen each of, those that are loaded at once lie beside each other. The vector's end,
 * `cols`, may come in the middle of 512: these stay where they are, and what pads them stays behind them. */
BC_BOTH int bc_gpu_home(int e, int cols)
{
    return e >= cols / BC_GPU_HOME * BC_GPU_HOME
               ? e
               : (e & ~511) | (e & 12) << 5 | (e >> 2 & 124) | (e & 3);
}

/* Where a token's keys and values are. */
typedef struct bc_gpu_place {
    BC_AT(uint8_t) keys; /* [layer][kv_head][n_ctx][head_dim] of the kv type */
    BC_AT(uint8_t) values;
    BC_AT(float) key_scales; /* [layer][kv_head][n_ctx], int8 only */
    BC_AT(float) value_scales;
    int n_ctx, position;
} bc_gpu_place;

enum bc_gpu_source { BC_FROM_X, BC_FROM_SWIGLU };

typedef struct bc_prepare_args {
    int source; /* enum bc_gpu_source: chooses the kernel */
    int cols,
        width; /* cols up to a multiple of BC_GPU_VECTOR_PAD; what is behind a vector's end is 0 */
    /* BC_FROM_X: x f32 [n, width]. Where y is given, x += y first; where norm is, RMSNorm follows */
    BC_AT(float) x;
    BC_AT(const float) y;
    BC_AT(const float) norm;
    float eps;
    double inverse_cols; /* 1 / cols */
    /* BC_FROM_SWIGLU: f32 [n, width] each */
    BC_AT(const float) gate;
    BC_AT(const float) up;
    /* the rotation: element i is the one at bc_gpu_slot order[i], negated where the top bit is set; 0: none, or it was done
     * already. Then transforms of `block` elements (1: none). moves 1: elements change places */
    BC_AT(const uint32_t) order;
    int block, moves;
    float divisor; /* of the transform: the square root of block, inverted */
    /* 1: x and norm are placed (bc_gpu_home): in the rotation's order, and its signs are in the norm, without one in x */
    int placed;
    /* out: the vector itself, f32 [n, width], or rotated and rounded (see kernels.h, quantize_i8); either may be 0 */
    BC_AT(float) plain;
    BC_AT(int8_t) a; /* i8 [n, a_stride], zero-padded */
    int a_stride;
    BC_AT(float) scale;
    BC_AT(int32_t) sum;
    BC_AT(float)
    work; /* f32 [n, width]; 0: a vector fits into shared memory, and all threads into a turn */
} bc_prepare_args;

/* The largest integer of so many planes: what digits of 0 to 2 are too large by. int8 codes (0 planes): 0. */
BC_BOTH int bc_gpu_largest(int n_planes)
{
    int q = 0;
    for (int k = 0; k < n_planes; k++) q = 3 * q + 1;
    return q;
}

/* ---- matrices: on the device a row, or a group of a plane, is padded with zeros to a multiple of BC_GPU_COL_PAD
 * columns, or where planes are tiled of BC_GPU_STEP_COLS, which is what `cols` below counts; few matrices need it ---- */

typedef struct bc_matrix_args {
    BC_AT(const uint8_t) data;
    uint64_t plane_stride; /* of planes that are not tiled */
    BC_AT(const float) scales;
    BC_AT(const float) bias; /* or 0 */
    BC_AT(float) y;          /* f32 [n, y_stride] */
    int y_stride;            /* of it and `before` */
    int largest;             /* bc_gpu_largest of n_planes */
    int rows, n_planes;      /* n_planes 0: int8 codes [rows, cols] */
    /* what y is added to, of planes and up to 32 tokens only: y or another one like it; 0: nothing */
    BC_AT(const float) before;
} bc_matrix_args;

/* Up to three matrices with the same input. `first` is where each begins among the groups (one token) or tiles of
 * rows (a batch) of all; behind the last one, their number. */
typedef struct bc_linear_args {
    bc_matrix_args m[3];
    int first[4];
    int count, cols, n;
    BC_AT(const int8_t) a;
    int a_stride;
    BC_AT(const float) scale;
    BC_AT(const int32_t) sum;
    int tiled; /* 1: planes lie as tiled.cuh says; kernels compiled for a card know it (bc_is_tiled) */
    /* Few tokens. 1: m[0] and m[1] are gate and up, and m[0].y gets silu(gate) * up, placed as `places` say, negated where the
     * top bit is set */
    int paired;
    /* and of others, where the elements of `before` are, and if it is y, of y; 0: row r at r */
    BC_AT(const uint32_t) places;
    int warps;      /* one token, or few: warps that share a tile's columns, */
    int warp_steps; /* each so many steps, */
    int teams;      /* and how many such teams a block of few tokens has */
    int splits; /* a batch: parts of the columns, added up in `partial` i32 [n, partial_stride], all 0 before and after */
    BC_AT(int32_t) partial;
    int partial_stride;
    BC_AT(int32_t) arrived; /* i32 [tiles of tokens, tiles of rows], all 0 before and after */
} bc_linear_args;

/* One token whose vector (x, placed, and nothing to add to it) every block prepares for itself: source's outputs and order,
 * and linear's a, scale and sum, are not used. */
typedef struct bc_one_args {
    bc_linear_args linear;
    bc_prepare_args source;
} bc_one_args;

typedef struct bc_arrange_args {
    BC_AT(const uint32_t) from; /* `groups` groups of one plane, [groups, cols] */
    BC_AT(uint8_t) to;          /* the matrix, see tiled.cuh */
    int first, groups, all_groups, cols, plane, n_planes;
} bc_arrange_args;

typedef struct bc_dense_args {
    BC_AT(const uint8_t) data;
    int dtype, rows, cols, n;
    BC_AT(const float) x; /* f32 [n, x_stride] */
    int x_stride;
    BC_AT(const float) bias;
    BC_AT(float) y;
    int y_stride;
} bc_dense_args;

/* ---- attention ---- */

typedef struct bc_attend_args {
    BC_AT(float) q; /* f32 [n, q_stride], heads * head_dim in a row; the output replaces it */
    int q_stride;
    /* unless these are given, of one token: then element r goes to out_places[r] of `placed` (bc_gpu_home), negated where the
     * top bit is set */
    BC_AT(const uint32_t) out_places;
    BC_AT(float) placed;
    BC_AT(const float) k;
    BC_AT(const float) v; /* f32 [n, kv_heads * head_dim] */
    BC_AT(const float) cos;
    BC_AT(const float) sin; /* f32 [n, head_dim / 2] */
    BC_AT(const float) q_norm;
    BC_AT(const float) k_norm; /* f32 [head_dim], or 0 */
    BC_AT(const bc_gpu_place) places;
    int n, heads, kv_heads, head_dim, kv_type, layer, window; /* window 0: all positions */
    float eps, factor;
    /* one token per cache: parts of its context; mixes f32 [n, heads, splits, head_dim], not divided by their sums;
     * sums f32 [n, heads, splits, 2]: the largest score and the sum of e^(score - largest) */
    int splits;
    BC_AT(float) mixes;
    BC_AT(float) sums;
    BC_AT(int32_t)
    arrived; /* i32 [n, blocks of heads], all 0 before and after: how many parts are there */
} bc_attend_args;

typedef struct bc_add_args {
    BC_AT(float) x;
    BC_AT(const float) y;
    int64_t count;
} bc_add_args;

#include "back_params.h"

#endif
