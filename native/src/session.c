/* session.c - one timeline of tokens: the forward pass reads straight down in run_batch(). */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "platform.h"
#include "sampler.h"

enum { DEFAULT_CTX = 4096, DEFAULT_BATCH = 256, MAX_BATCH = 4096 };

/* ---- opening and closing ---- */

void bc_session_params_init(bc_session_params *params)
{
    if (!params) return;
    *params = (bc_session_params){ .n_ctx = 0, .n_batch = 0, .kv_type = BC_KV_F16 };
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Counts and allocates; a failure is remembered and reported once. */
struct allocator {
    int64_t bytes;
    int failed;
};

static void *take(struct allocator *m, int64_t count, size_t element)
{
    const size_t bytes = (size_t)count * element;
    void *p = bc_aligned_alloc(bytes);
    if (!p) m->failed = 1;
    m->bytes += (int64_t)bytes;
    return p;
}

static void allocate_cache(bc_session *s, struct allocator *m)
{
    static const int64_t BITS[BC_KV_TYPES] = {
        [BC_KV_F16] = 16, [BC_KV_I8] = 8, [BC_KV_F32] = 32, [BC_KV_I4] = 4
    };
    const bc_config *c = &s->model->config;
    const int64_t rows = (int64_t)c->n_layers * c->n_kv_heads * s->n_ctx;
    s->kv_row = (size_t)(c->head_dim * BITS[s->kv_type] / 8);
    s->keys = take(m, rows, s->kv_row);
    s->values = take(m, rows, s->kv_row);
    if (s->kv_type == BC_KV_I8 || s->kv_type == BC_KV_I4) {
        s->key_scales = take(m, rows, sizeof(float));
        s->value_scales = take(m, rows, sizeof(float));
    }
}

static void allocate_work(bc_session *s, struct allocator *m)
{
    const bc_config *c = &s->model->config;
    const int64_t batch = s->n_batch;
    const int64_t q_cols = (int64_t)c->n_heads * c->head_dim;
    const int64_t kv_cols = (int64_t)c->n_kv_heads * c->head_dim;
    s->tokens = take(m, s->n_ctx, sizeof *s->tokens);
    s->logits = take(m, c->vocab, sizeof(float));
    s->x = take(m, batch * c->hidden, sizeof(float));
    s->h = take(m, batch * c->hidden, sizeof(float));
    s->y = take(m, batch * c->hidden, sizeof(float));
    s->q = take(m, batch * q_cols, sizeof(float));
    s->k = take(m, batch * kv_cols, sizeof(float));
    s->v = take(m, batch * kv_cols, sizeof(float));
    s->gate = take(m, batch * c->intermediate, sizeof(float));
    s->up = take(m, batch * c->intermediate, sizeof(float));
    s->cos = take(m, batch * c->head_dim, sizeof(float));
    s->sin = take(m, batch * c->head_dim, sizeof(float));
    s->inv_freq = take(m, c->head_dim, sizeof(float));
    s->attention = take(m, bc_attention_floats(s), sizeof(float));
    s->places = take(m, batch, sizeof *s->places);
}

static int check_params(const bc_model *model, const bc_session_params *p, bc_error *err)
{
    const int32_t top = model->config.max_positions;
    if (p->n_ctx < 0 || p->n_ctx > top)
        return bc_fail(err, BC_ERR_INVALID, "n_ctx is %d, this model has positions for 1 to %d",
                       p->n_ctx, top);
    if (p->n_batch < 0 || p->n_batch > MAX_BATCH)
        return bc_fail(err, BC_ERR_INVALID, "n_batch is %d, must be 0 to %d", p->n_batch,
                       MAX_BATCH);
    if (p->kv_type < 0 || p->kv_type >= BC_KV_TYPES)
        return bc_fail(err, BC_ERR_INVALID, "kv_type is %d, must be 0 to %d", p->kv_type,
                       BC_KV_TYPES - 1);
    if (p->kv_type == BC_KV_I4 && model->config.head_dim % 32)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the heads of this model have %d dimensions; a 4-bit cache needs a multiple "
                       "of 32: use int8",
                       model->config.head_dim);
    return BC_OK;
}

int bc_session_open(bc_session **out, bc_model *model, const bc_session_params *params,
                    bc_error *err)
{
    if (!out) return bc_fail(err, BC_ERR_INVALID, "out is NULL");
    *out = NULL;
    if (!model || !params) return bc_fail(err, BC_ERR_INVALID, "model or params is NULL");
    const int status = check_params(model, params, err);
    if (status != BC_OK) return status;
    bc_session *s = calloc(1, sizeof *s);
    if (!s) return bc_fail(err, BC_ERR_NOMEM, "no memory for a session");
    const int32_t top = model->config.max_positions;
    s->model = model;
    s->engine = model->engine;
    s->kv_type = params->kv_type;
    s->n_ctx = params->n_ctx ? params->n_ctx : (top < DEFAULT_CTX ? top : DEFAULT_CTX);
    s->n_batch = params->n_batch ? params->n_batch : DEFAULT_BATCH;
    if (s->n_batch > s->n_ctx) s->n_batch = s->n_ctx;
    struct allocator m = { (int64_t)sizeof *s, 0 };
    allocate_cache(s, &m);
    allocate_work(s, &m);
    const bc_config *c = &model->config;
    const int64_t q_cols = (int64_t)c->n_heads * c->head_dim;
    const int64_t widest = max64(max64(c->hidden, c->intermediate), q_cols);
    if (bc_linear_space_init(&s->space, s->engine, s->n_batch, widest, NULL) != BC_OK) m.failed = 1;
    m.bytes += s->space.bytes;
    s->bytes = m.bytes;
    if (m.failed) {
        bc_session_close(s);
        return bc_fail(err, BC_ERR_NOMEM,
                       "a session of %d positions needs %lld MB, which this computer does not have "
                       "free; use a smaller context",
                       s->n_ctx, (long long)(m.bytes >> 20));
    }
    bc_rope_init(s);
    *out = s;
    return BC_OK;
}

void bc_session_close(bc_session *s)
{
    if (!s) return;
    void *const owned[] = {
        s->tokens, s->logits, s->keys,     s->values,    s->key_scales, s->value_scales, s->x,
        s->h,      s->y,      s->q,        s->k,         s->v,          s->gate,         s->up,
        s->cos,    s->sin,    s->inv_freq, s->attention, s->places
    };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) bc_aligned_free(owned[i]);
    bc_linear_space_free(&s->space);
    free(s);
}

int32_t bc_session_n_ctx(const bc_session *session) { return session ? session->n_ctx : 0; }
int32_t bc_session_position(const bc_session *session) { return session ? session->position : 0; }
int64_t bc_session_bytes(const bc_session *session) { return session ? session->bytes : 0; }

int bc_session_rewind(bc_session *s, int32_t position, bc_error *err)
{
    if (!s) return bc_fail(err, BC_ERR_INVALID, "session is NULL");
    if (position < 0 || position > s->position)
        return bc_fail(err, BC_ERR_INVALID, "cannot rewind to %d, the session is at %d", position,
                       s->position);
    if (position != s->position) s->has_logits = 0;
    s->position = position;
    return BC_OK;
}

/* ---- the forward pass ---- */

struct token_work {
    bc_session *s;
    const int32_t *tokens;
    const float *norm;
    float *out;
    const float *in;
    int width;
};

static void embed_token(void *arg, int64_t t, int thread)
{
    const struct token_work *w = arg;
    bc_session *s = w->s;
    const size_t hidden = (size_t)s->model->config.hidden;
    bc_weight_row(&s->model->embed, &s->engine->k, w->tokens[t], s->x + (size_t)t * hidden,
                  s->space.act.scratch + (size_t)thread * s->space.act.stride);
}

static void norm_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * (size_t)w->width;
    w->s->engine->k.rmsnorm(w->out + at, w->in + at, w->norm, w->width,
                            w->s->model->config.rms_eps);
}

static void add_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * (size_t)w->width;
    w->s->engine->k.add(w->out + at, w->in + at, w->width);
}

static void swiglu_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * (size_t)w->width;
    w->s->engine->k.swiglu(w->out + at, w->out + at, w->in + at, w->width);
}

static void norm(bc_session *s, float *out, const float *in, const float *weight, int n)
{
    struct token_work w = {
        .s = s, .norm = weight, .out = out, .in = in, .width = s->model->config.hidden
    };
    bc_pool_run(s->engine->pool, norm_token, &w, n);
}

/* y [n, rows] = W x for one matrix; then x += y is the caller's. */
static void project(bc_session *s, const bc_weight *weight, const float *x, float *y,
                    size_t y_stride, int n)
{
    const size_t cols = (size_t)weight->cols;
    bc_activations_prepare(&s->space, weight, x, cols, n);
    const bc_product product = { weight, y, y_stride };
    bc_linear(&s->space, &product, 1, x, cols, n);
}

/* Matrices of one input may be stored differently: any one that is not dense asks for the
 * rounded activations. */
static const bc_weight *rounded_one(const bc_product *products, int count)
{
    for (int i = 0; i < count; i++)
        if (products[i].weight->kind != BC_WEIGHT_DENSE) return products[i].weight;
    return products[0].weight;
}

static void keep(float *to, const float *from, int n, size_t width)
{
    if (to) memcpy(to, from, (size_t)n * width * sizeof *to);
}

static void attention_block(bc_session *s, int i, int n)
{
    const bc_config *c = &s->model->config;
    const bc_layer *layer = &s->model->layers[i];
    const size_t hidden = (size_t)c->hidden, d = (size_t)c->head_dim;
    const size_t q_cols = (size_t)c->n_heads * d, kv_cols = (size_t)c->n_kv_heads * d;
    norm(s, s->h, s->x, layer->attn_norm, n);
    keep(s->capture.qkv_in, s->h, n, hidden);
    const bc_product qkv[] = { { &layer->q, s->q, q_cols },
                               { &layer->k, s->k, kv_cols },
                               { &layer->v, s->v, kv_cols } };
    bc_activations_prepare(&s->space, rounded_one(qkv, 3), s->h, hidden, n);
    bc_linear(&s->space, qkv, 3, s->h, hidden, n);
    bc_attention(s, i, n);
    keep(s->capture.o_in, s->q, n, q_cols);
    project(s, &layer->o, s->q, s->y, hidden, n);
}

static void mlp_block(bc_session *s, int i, int n)
{
    const bc_config *c = &s->model->config;
    const bc_layer *layer = &s->model->layers[i];
    const size_t hidden = (size_t)c->hidden, width = (size_t)c->intermediate;
    norm(s, s->h, s->x, layer->mlp_norm, n);
    keep(s->capture.mlp_in, s->h, n, hidden);
    const bc_product both[] = { { &layer->gate, s->gate, width }, { &layer->up, s->up, width } };
    bc_activations_prepare(&s->space, rounded_one(both, 2), s->h, hidden, n);
    bc_linear(&s->space, both, 2, s->h, hidden, n);
    struct token_work w = { .s = s, .out = s->gate, .in = s->up, .width = c->intermediate };
    bc_pool_run(s->engine->pool, swiglu_token, &w, n);
    keep(s->capture.down_in, s->gate, n, width);
    project(s, &layer->down, s->gate, s->y, hidden, n);
}

void bc_session_own_places(bc_session *s, int n)
{
    for (int t = 0; t < n; t++) s->places[t] = (bc_place){ s, s->position + t };
}

void bc_session_layer(bc_session *s, int layer, int n)
{
    struct token_work residual = {
        .s = s, .out = s->x, .in = s->y, .width = s->model->config.hidden
    };
    attention_block(s, layer, n);
    bc_pool_run(s->engine->pool, add_token, &residual, n);
    mlp_block(s, layer, n);
    bc_pool_run(s->engine->pool, add_token, &residual, n);
}

/* n <= n_batch tokens at s->places. logits NULL, or f32 [n or 1, vocab] as all_positions says. */
static void run_batch(bc_session *s, const int32_t *tokens, int n, float *logits, int all_positions)
{
    const bc_config *c = &s->model->config;
    bc_pool *pool = s->engine->pool;
    const size_t hidden = (size_t)c->hidden;
    struct token_work embed = { .s = s, .tokens = tokens };
    bc_pool_run(pool, embed_token, &embed, n);
    bc_rope_table(s, n);
    for (int i = 0; i < c->n_layers && !bc_cancelled(s->cancel); i++) bc_session_layer(s, i, n);
    if (!logits) return;
    const int first = all_positions ? 0 : n - 1;
    norm(s, s->h, s->x + (size_t)first * hidden, s->model->final_norm, n - first);
    project(s, &s->model->head, s->h, logits, (size_t)c->vocab, n - first);
}

static int check_tokens(const bc_session *s, const int32_t *tokens, int32_t n, bc_error *err)
{
    if (!s || !tokens) return bc_fail(err, BC_ERR_INVALID, "session or tokens is NULL");
    if (n < 1) return bc_fail(err, BC_ERR_INVALID, "n_tokens is %d, must be 1 or more", n);
    if (n > s->n_ctx - s->position)
        return bc_fail(err, BC_ERR_CONTEXT,
                       "%d tokens do not fit: the context holds %d and %d are used", n, s->n_ctx,
                       s->position);
    const int32_t vocab = s->model->config.vocab;
    for (int32_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab)
            return bc_fail(err, BC_ERR_INVALID, "token %d is %d, the vocabulary has %d", i,
                           tokens[i], vocab);
    return BC_OK;
}

int bc_session_forward(bc_session *s, const int32_t *tokens, int32_t n_tokens, float *logits,
                       int32_t all_positions, const bc_cancel *cancel, bc_error *err)
{
    const int status = check_tokens(s, tokens, n_tokens, err);
    if (status != BC_OK) return status;
    const size_t vocab = (size_t)s->model->config.vocab;
    const int32_t start = s->position;
    const int all = logits && all_positions;
    s->cancel = s->space.cancel = cancel;
    s->has_logits = 0;
    for (int32_t done = 0; done < n_tokens && !bc_cancelled(cancel);) {
        const int n = n_tokens - done < s->n_batch ? n_tokens - done : s->n_batch;
        const int last = done + n == n_tokens;
        float *out = NULL;
        if (all)
            out = logits + (size_t)done * vocab;
        else if (last)
            out = s->logits;
        bc_session_own_places(s, n);
        run_batch(s, tokens + done, n, out, all);
        s->position += n;
        done += n;
    }
    s->cancel = s->space.cancel = NULL;
    if (bc_cancelled(cancel)) {
        s->position = start;
        return bc_fail(err, BC_ERR_CANCELLED, "the forward pass was cancelled");
    }
    memcpy(s->tokens + start, tokens, (size_t)n_tokens * sizeof *tokens);
    if (all)
        memcpy(s->logits, logits + (size_t)(n_tokens - 1) * vocab, vocab * sizeof *logits);
    else if (logits)
        memcpy(logits, s->logits, vocab * sizeof *logits);
    s->has_logits = 1;
    return BC_OK;
}

int bc_session_sample(bc_session *s, const bc_sampler_params *params, int32_t *token, bc_error *err)
{
    if (!s || !token) return bc_fail(err, BC_ERR_INVALID, "session or token is NULL");
    if (!s->has_logits)
        return bc_fail(err, BC_ERR_INVALID,
                       "there are no logits to sample from: run a forward pass first");
    return bc_sample(s->logits, s->model->config.vocab, s->tokens, s->position, params,
                     (uint64_t)s->position, token, err);
}
