/* session.h - the inside of bc_session: KV cache, work space, and the pieces of a forward pass. */
#ifndef BC_SESSION_H
#define BC_SESSION_H

#include "bitconverter.h"
#include "linear.h"
#include "model.h"

/* Where the inputs of a layer's matrices are copied to, f32 [n_batch, cols]; NULL: nowhere. */
typedef struct bc_capture {
    float *qkv_in, *o_in, *mlp_in, *down_in;
} bc_capture;

struct bc_session {
    bc_model *model;
    bc_engine *engine;
    int n_ctx, n_batch, kv_type;
    int32_t position;
    int32_t *tokens; /* [n_ctx]: history */
    float *logits;   /* [vocab] of the last position */
    int has_logits;

    /* KV cache: [layer][kv_head][n_ctx][head_dim] of kv_type; scales for int8 */
    uint8_t *keys, *values;
    float *key_scales, *value_scales; /* [layer][kv_head][n_ctx], NULL unless int8 */
    size_t kv_element;

    /* work space for one batch */
    float *x;         /* residual stream [n_batch, hidden] */
    float *h;         /* normed input [n_batch, hidden] */
    float *q;         /* [n_batch, n_heads * head_dim]; attention output replaces it */
    float *k;         /* [n_batch, n_kv_heads * head_dim] */
    float *v;         /* the same */
    float *gate;      /* [n_batch, intermediate]; swiglu replaces it */
    float *up;        /* the same */
    float *y;         /* output of o and down [n_batch, hidden] */
    float *cos, *sin; /* [n_batch, head_dim / 2] */
    float *inv_freq;  /* [head_dim / 2] */
    float *scores;    /* [threads, n_ctx] */
    bc_linear_space space;
    int64_t bytes;

    const bc_cancel *cancel; /* of the call that runs */
    bc_capture capture;      /* all NULL except under block.c */
};

/* Layer `layer` over s->x of n <= n_batch tokens from s->position on; needs bc_rope_table. */
void bc_session_layer(bc_session *s, int layer, int n);

/* attention.c: s->q, s->k, s->v of n tokens from s->position on -> KV cache and s->q. */
void bc_rope_init(bc_session *s);
void bc_rope_table(bc_session *s, int n);
void bc_attention(bc_session *s, int layer, int n);

#endif
