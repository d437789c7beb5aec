/* block_back.h - the work space of a layer's gradient, between block_back*.c only. */
#ifndef BC_BLOCK_BACK_H
#define BC_BLOCK_BACK_H

#include "block.h"
#include "linear_back.h"

typedef struct bc_block_back {
    int n_windows, n_batch;
    int hidden, mlp, n_heads, n_kv_heads, head_dim, qk_norm,
        window; /* of the layers that it fits */
    bc_linear_space space;
    bc_back_space back;
    /* of a group of windows, tokens = n_windows * window */
    float *qkv, *d_qkv;             /* [tokens, R], see attention_back.h */
    float *attention, *d_attention; /* [tokens, heads * head_dim] */
    float *d_keys, *d_values;       /* the same */
    float *middle;                  /* [tokens, hidden]: between attention and MLP */
    float *o_out;                   /* [tokens, hidden] */
    double *d_norms;                /* [tokens, 2, head_dim], with q_norm */
    float *inv_freq;                /* [head_dim / 2] */
    float *cos, *sin, *minus_sin;   /* [window, head_dim / 2] */
    float *scratch;                 /* of attention */
    int32_t *starts, *positions;    /* [tokens + 1], [tokens] */
    /* of a batch */
    float *h, *dh;              /* [n_batch, hidden] */
    float *gate_up, *d_gate_up; /* [n_batch, 2 * intermediate] */
    float *product, *d_product; /* [n_batch, intermediate]: silu(gate) * up */
    float *down_out;            /* [n_batch, hidden] */
    float *rotated;             /* [n_batch, widest] */
    float *inverse_rms;         /* [n_batch] */
    float *across;              /* [n_batch, widest]: with the gradient of a delta, else NULL */
} bc_block_back;

/* The engine's work space for this layer and groups of n_windows, kept for the next call. */
int bc_block_back_ready(bc_block *b, int n_windows, bc_error *err);

/* What the gradient of a delta needs beside that. */
int bc_block_back_across(bc_block_back *w, const bc_config *c, bc_error *err);

#endif
