/* block_back_space.c - the work space of a layer's gradient. */
#include "block_back.h"

#include <math.h>
#include <stdlib.h>

#include "attention_back.h"
#include "block_space.h"
#include "error.h"
#include "platform.h"

void bc_block_back_free(bc_block_back *w)
{
    if (!w) return;
    float *const owned[] = { w->qkv,      w->d_qkv,       w->attention, w->d_attention, w->d_keys,
                             w->d_values, w->middle,      w->o_out,     w->inv_freq,    w->cos,
                             w->sin,      w->minus_sin,   w->scratch,   w->h,           w->dh,
                             w->gate_up,  w->d_gate_up,   w->product,   w->d_product,   w->down_out,
                             w->rotated,  w->inverse_rms, w->across };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) bc_aligned_free(owned[i]);
    bc_aligned_free(w->d_norms);
    bc_aligned_free(w->starts);
    bc_aligned_free(w->positions);
    bc_linear_space_free(&w->space);
    bc_back_space_free(&w->back);
    free(w);
}

static float *take(size_t count, int *failed)
{
    float *p = bc_aligned_alloc(count * sizeof *p);
    if (!p) *failed = 1;
    return p;
}

static void take_group(bc_block_back *w, const bc_block *b, int *failed)
{
    const bc_config *c = &b->model.config;
    const size_t tokens = (size_t)w->n_windows * (size_t)b->window, d = (size_t)c->head_dim;
    const size_t q_cols = (size_t)c->n_heads * d, width = q_cols + 2 * (size_t)c->n_kv_heads * d;
    const size_t threads = (size_t)bc_pool_size(b->model.engine->pool);
    w->qkv = take(tokens * width, failed);
    w->d_qkv = take(tokens * width, failed);
    w->attention = take(tokens * q_cols, failed);
    w->d_attention = take(tokens * q_cols, failed);
    w->d_keys = take(tokens * q_cols, failed);
    w->d_values = take(tokens * q_cols, failed);
    w->middle = take(tokens * (size_t)c->hidden, failed);
    w->o_out = take(tokens * (size_t)c->hidden, failed);
    w->inv_freq = take(d / 2, failed);
    w->cos = take((size_t)b->window * d / 2, failed);
    w->sin = take((size_t)b->window * d / 2, failed);
    w->minus_sin = take((size_t)b->window * d / 2, failed);
    w->scratch = take(threads * bc_attention_scratch(c, b->window), failed);
    w->starts = bc_aligned_alloc((tokens + 1) * sizeof *w->starts);
    w->positions = bc_aligned_alloc(tokens * sizeof *w->positions);
    if (!w->starts || !w->positions) *failed = 1;
    if (!c->qk_norm) return;
    w->d_norms = bc_aligned_alloc(tokens * 2 * d * sizeof *w->d_norms);
    if (!w->d_norms) *failed = 1;
}

static size_t widest_of(const bc_config *c)
{
    size_t widest = (size_t)c->n_heads * (size_t)c->head_dim;
    widest = widest > (size_t)c->hidden ? widest : (size_t)c->hidden;
    widest = widest > (size_t)c->intermediate ? widest : (size_t)c->intermediate;
    return widest > BC_LEAST_WIDTH ? widest : BC_LEAST_WIDTH;
}

static void take_batch(bc_block_back *w, const bc_config *c, bc_engine *engine, int *failed)
{
    const size_t n = (size_t)w->n_batch, hidden = (size_t)c->hidden, mlp = (size_t)c->intermediate;
    const size_t widest = widest_of(c);
    w->h = take(n * hidden, failed);
    w->dh = take(n * hidden, failed);
    w->gate_up = take(n * 2 * mlp, failed);
    w->d_gate_up = take(n * 2 * mlp, failed);
    w->product = take(n * mlp, failed);
    w->d_product = take(n * mlp, failed);
    w->down_out = take(n * hidden, failed);
    w->rotated = take(n * widest, failed);
    w->inverse_rms = take(n, failed);
    if (bc_linear_space_init(&w->space, engine, w->n_batch, (int64_t)widest, NULL) != BC_OK ||
        bc_back_space_init(&w->back, engine, w->n_batch, NULL) != BC_OK)
        *failed = 1;
}

/* The same angles as bc_rope_table's. Layers of other models may have the same sizes. */
static void fill_rope(bc_block_back *w, const bc_config *c)
{
    const int half = c->head_dim / 2;
    bc_rope_frequencies(c, w->inv_freq);
    for (int t = 0; t < w->window; t++) {
        for (int i = 0; i < half; i++) {
            const float angle = (float)t * w->inv_freq[i];
            w->cos[t * half + i] = (float)cos((double)angle);
            w->sin[t * half + i] = (float)sin((double)angle);
            w->minus_sin[t * half + i] = -w->sin[t * half + i];
        }
    }
}

static int fits(const bc_block_back *w, const bc_block *b, int n_windows)
{
    const bc_config *c = &b->model.config;
    return w && w->n_windows >= n_windows && w->window == b->window && w->hidden == c->hidden &&
           w->mlp == c->intermediate && w->n_heads == c->n_heads &&
           w->n_kv_heads == c->n_kv_heads && w->head_dim == c->head_dim && w->qk_norm == c->qk_norm;
}

int bc_block_back_across(bc_block_back *w, const bc_config *c, bc_error *err)
{
    int failed = 0;
    if (!w->across) w->across = take((size_t)w->n_batch * widest_of(c), &failed);
    return failed ? bc_fail(err, BC_ERR_NOMEM, "no memory for the gradients of a matrix") : BC_OK;
}

int bc_block_back_ready(bc_block *b, int n_windows, bc_error *err)
{
    const bc_config *c = &b->model.config;
    bc_engine *engine = b->model.engine;
    if (!fits(engine->back, b, n_windows)) {
        bc_block_back_free(engine->back);
        engine->back = NULL;
        bc_block_back *w = calloc(1, sizeof *w);
        int failed = !w;
        if (w) {
            *w = (bc_block_back){ .hidden = c->hidden,
                                  .mlp = c->intermediate,
                                  .n_heads = c->n_heads,
                                  .n_kv_heads = c->n_kv_heads,
                                  .head_dim = c->head_dim,
                                  .qk_norm = c->qk_norm,
                                  .window = b->window,
                                  .n_windows = n_windows };
            w->n_batch =
                n_windows * b->window < BC_DEFAULT_BATCH ? n_windows * b->window : BC_DEFAULT_BATCH;
            take_group(w, b, &failed);
            take_batch(w, c, engine, &failed);
        }
        if (failed) {
            bc_block_back_free(w);
            return bc_fail(err, BC_ERR_NOMEM,
                           "no memory for the gradients of windows of %d tokens; use shorter ones",
                           b->window);
        }
        engine->back = w;
    }
    fill_rope(engine->back, c);
    return BC_OK;
}
