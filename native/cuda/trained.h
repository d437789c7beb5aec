/* trained.h - the inside of bc_trained: layers on a card with room for steps of training.
 *
 * A call's windows run in groups of whole windows. The way back computes each layer's forward pass again from what came
 * into it, which trained_forward keeps of all tokens, as block_back.c does. */
#ifndef BC_CUDA_TRAINED_H
#define BC_CUDA_TRAINED_H

#include "linear.h"
#include "stack.h"

enum {
    BC_GROUP_TOKENS = 1024, /* of a group, unless one window is longer */
    BC_LOSS_TOKENS = 256,   /* whose logits are held at a time */
    BC_RING_WARPS = 4       /* heads or dot products of a block with one warp for each */
};

typedef struct bc_trained_matrix {
    bc_ptr scales; /* f32 [replicas, rows] */
    bc_ptr a, b;   /* f32 [rank, cols], [rank, rows]; rank 0: none */
    int rank;
    bc_ptr gain, sum_a, sum_b; /* f64: of gains; of a and b */
} bc_trained_matrix;

typedef struct bc_trained_layer {
    bc_gpu_layer gpu;
    bc_trained_matrix matrix[BC_N_STACK_MATRICES];
    bc_ptr x; /* f32 [tokens, hidden]: what came in */
} bc_trained_layer;

/* f32 [group, ...], rows padded as in bc_gpu_buffers. */
typedef struct bc_trained_work {
    bc_ptr x;                /* [hidden]: the residual stream of a group, turned step by step */
    bc_ptr o_out, down_out;  /* [hidden] */
    bc_ptr q, q_placed, out; /* [heads * head_dim]; out: of attention */
    bc_ptr k, k_placed, v;   /* [kv_heads * head_dim] */
    bc_ptr stats, dots;      /* [heads, 2], [heads] */
    bc_ptr gate, up;         /* [mlp] */
    bc_ptr rank_u, rank_v;   /* [the largest rank] */
    /* the way back */
    bc_ptr dy, dh;                        /* [hidden] */
    bc_ptr d_out, d_q;                    /* [heads * head_dim] */
    bc_ptr d_k, d_v;                      /* [kv_heads * head_dim] */
    bc_ptr d_product;                     /* [mlp] */
    bc_ptr d_gate, d_up;                  /* [mlp] */
    bc_ptr rotated;                       /* [widest] */
    bc_ptr codes, step, total;            /* bc_round_args */
    bc_ptr positions, tiles;              /* i32, bc_gpu_window_tile [group] */
    int q_stride, kv_stride, hidden, mlp; /* floats from row to row */
    int64_t limb;                         /* bytes of codes */
} bc_trained_work;

/* The head, for `tokens` at a time. */
typedef struct bc_trained_head {
    bc_gpu_matrix matrix;
    bc_ptr norm;
    int tokens;
    bc_ptr h;                  /* f32 [tokens, hidden] */
    bc_ptr logits;             /* f32 [tokens, vocab] */
    bc_ptr targets, weights;   /* i32, f32 [tokens] */
    bc_ptr found;              /* f64 [tokens, 3] */
    bc_ptr codes, step, total; /* of the logits' gradients; 0 without a way back */
    bc_ptr rotated, d_normed, dh;
    int64_t limb;
} bc_trained_head;

struct bc_trained {
    bc_device *device;
    const bc_model *model;
    bc_trained_params params;
    int group; /* tokens */
    bc_ptr memory;
    int64_t bytes;
    bc_gpu_rotation rotations[BC_MAX_ROTATIONS];
    int n_rotations;
    bc_trained_layer *layers;
    bc_ptr sums; /* of all layers, side by side */
    int64_t sums_bytes;
    bc_ptr cos, sin; /* f32 [window, head_dim / 2] */
    bc_gpu_buffers b;
    bc_trained_work w;
    bc_trained_head head;
    int32_t *starts; /* [tokens + 1]: of the windows that were kept */
    int n_windows;
    int32_t *host_positions; /* [group] */
    bc_gpu_window_tile *host_tiles;
};

/* A group of windows on its way. */
typedef struct bc_trained_run {
    bc_trained *s;
    bc_gpu_space space;
    int n, n_tiles, replica;
    int first; /* of the group's tokens in the call's */
    int limbs; /* of gradients */
    bc_error *err;
} bc_trained_run;

int64_t bc_trained_bytes(bc_device *device, const bc_model *model, const bc_trained_params *params);
int bc_trained_open(bc_trained **out, bc_device *device, const bc_model *model,
                    const bc_trained_params *params, bc_error *err);
void bc_trained_close(bc_trained *s);
int bc_trained_forward(bc_trained *s, const bc_trained_batch *batch, bc_error *err);
int bc_trained_backward(bc_trained *s, float *dy, const bc_block_grads *const *grads, bc_stop stop,
                        bc_error *err);
int bc_trained_loss(bc_trained *s, const bc_trained_losses *losses, bc_error *err);

/* ---- between trained*.c ---- */

bc_gpu_space bc_trained_space(const bc_trained *s);
int bc_trained_launch(const bc_trained_run *r, int kernel, int64_t grid_x, int64_t grid_y,
                      int threads, int shared, void *args);
/* out = the inverse of `like`'s rotation of rotated f32 [n, cols] */
int bc_trained_unrotate(const bc_trained_run *r, const bc_gpu_matrix *like, bc_ptr rotated,
                        bc_ptr out);
/* Windows first.. of one replica that fit into a group, `share` to a replica: their number, or 0 with *status. */
int bc_trained_group(bc_trained_run *r, const int32_t *starts, int first, int n_windows, int share,
                     int *status);
/* Rows of `hidden` floats to or from padded rows on the card. */
int bc_trained_rows_in(const bc_trained_run *r, bc_ptr to, const float *from, int n);
int bc_trained_rows_out(const bc_trained_run *r, float *to, bc_ptr from, int n);

/* The layer from s->w.x, which becomes what lies between attention and MLP; all else that the way back needs is in s->w.
 * down_out if `whole`. */
int bc_trained_layer_forward(const bc_trained_run *r, int layer, int whole);
/* The input of a layer's matrix as f32 rows: where it is (it may have to be made), and the floats from row to row. */
int bc_trained_input(const bc_trained_run *r, int layer, int matrix, bc_ptr x, bc_ptr *input,
                     int *stride);
int bc_trained_project(const bc_trained_run *r, bc_ptr m, int rank, int cols, bc_ptr x,
                       int x_stride, bc_ptr u);
int bc_trained_expand(const bc_trained_run *r, bc_ptr m, int rank, int cols, bc_ptr u, bc_ptr y,
                      int y_stride);
bc_window_args bc_trained_window(const bc_trained_run *r, int layer);
/* bc_window_*_64, _128 or _256, given the first of them. */
int bc_trained_by_width(const bc_trained *s, int first_kernel);

#endif
