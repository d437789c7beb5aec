/* attention_back.h - attention over whole windows, forwards and backwards. */
#ifndef BC_ATTENTION_BACK_H
#define BC_ATTENTION_BACK_H

#include "engine.h"
#include "model.h"

/* Tokens are counted over all windows: tokens = n_windows * window. R = (heads + 2 kv_heads) *
 * head_dim, a row of q, k, v side by side as the matrices give them. */
typedef struct bc_attention_job {
    bc_engine *engine;
    const bc_config *config;
    const bc_layer *layer;
    int window, n_windows;
    const int32_t *
        starts; /* [n_windows + 1]: where windows of different lengths begin; NULL: all are whole */
    const int32_t *positions; /* [tokens], with starts; backwards only */
    const bc_cancel *cancel;
    const float *cos, *sin, *minus_sin; /* [window, head_dim / 2] */
    const float *qkv;                   /* [tokens, R] */
    float *out;                         /* [tokens, heads * head_dim] */
    const float *d_out;                 /* of out; backwards only */
    float *d_qkv;                       /* [tokens, R]; backwards only */
    float *d_keys, *d_values; /* [tokens, heads * head_dim]: each head's share; backwards only */
    double *d_norms;          /* [tokens, 2, head_dim] work space; NULL: no q_norm */
    float *scratch;           /* [threads, bc_attention_scratch()] */
} bc_attention_job;

size_t bc_attention_scratch(const bc_config *config, int window); /* floats for one thread */

/* qkv -> out */
void bc_attention_forward(const bc_attention_job *job);

/* qkv, out and d_out -> d_qkv, through softmax, RoPE and the heads' norms; adds the gradients of
 * these norms' weights to q_norm and k_norm f64 [head_dim] where not NULL. */
void bc_attention_backward(const bc_attention_job *job, double *q_norm, double *k_norm);

#endif
