/* session.h - the inside of bc_session: KV cache, work space, and the pieces of a forward pass. */
#ifndef BC_SESSION_H
#define BC_SESSION_H

#include "bitconverter.h"
#include "linear.h"
#include "model.h"

enum bc_layer_part { BC_WHOLE_LAYER, BC_ATTENTION_PART, BC_MLP_PART };

/* Where the inputs of a layer's matrices are copied to, f32 [n_batch, cols]; NULL: nowhere. `only` is 0, or 1 +
 * an enum bc_input_id: the layer is then left as soon as that input is there. `part` is what of it runs. */
typedef struct bc_capture {
    float *qkv_in, *o_in, *mlp_in, *down_in;
    int only;
    enum bc_layer_part part;
} bc_capture;

/* Where a token of a batch belongs: almost always the session that runs the batch. */
typedef struct bc_place {
    bc_session *session; /* whose cache */
    int32_t position;
} bc_place;

struct bc_session {
    bc_model *model;
    bc_engine *engine;
    int n_ctx, n_batch, kv_type;
    int32_t position;
    int32_t *tokens; /* [n_ctx]: history */
    float *logits;   /* [vocab] of the last position */
    int has_logits;

    /* KV cache: [layer][kv_head][n_ctx][head_dim] of kv_type; scales for int8 and int4 */
    uint8_t *keys, *values;
    float *key_scales, *value_scales; /* [layer][kv_head][n_ctx], else NULL */
    size_t kv_row;                    /* bytes of one head at one position */
    size_t large_pages;               /* bytes of keys, and of values, that were moved into them */
    struct bc_cache *cache;           /* of the layers that are on a device; these are not above */

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
    float *attention; /* attention.c's: scores, and what blocks of positions give */
    bc_place *places; /* [n_batch] */
    struct bc_stack_place *device_places; /* the same for a device; NULL: none is used */
    bc_linear_space space;
    int64_t bytes;

    const bc_cancel *cancel; /* of the call that runs */
    bc_capture capture;      /* all NULL except under block.c */
};

enum { BC_MAX_BATCH = 4096 };
int32_t bc_default_ctx(const bc_model *model);
/* Refuses a context or a batch that no session of the model can have; 0 is a default. */
int bc_check_sizes(const bc_model *model, int32_t n_ctx, int32_t n_batch, bc_error *err);

/* Once half of the context is used, moves the cache into pages of 2 MB, a piece at each call: a deep context is read as
 * a whole for every token. Not before, as all of a page is in memory then. */
void bc_session_large_pages(bc_session *s);

/* The next n tokens of the batch are this session's own, from s->position on. */
void bc_session_own_places(bc_session *s, int n);

/* Layer `layer` over s->x of n <= n_batch tokens at s->places; needs bc_rope_table. */
void bc_session_layer(bc_session *s, int layer, int n);

/* attention.c: s->q, s->k, s->v of n tokens at s->places -> the caches and s->q. */
void bc_rope_frequencies(const bc_config *config, float *inv_freq); /* [head_dim / 2] */
void bc_rope_table(bc_session *s, int n);                           /* of s->places */
void bc_attention(bc_session *s, int layer, int n);
int64_t bc_attention_floats(const bc_session *s); /* how many s->attention has */

#endif
