/* session.c - one timeline of tokens: opening, closing, rewinding, sampling. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "error.h"
#include "platform.h"
#include "sampler.h"

enum { DEFAULT_CTX = 4096 };

int32_t bc_default_ctx(const bc_model *model)
{
    const int32_t top = model->config.max_positions;
    return top < DEFAULT_CTX ? top : DEFAULT_CTX;
}

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
    void *p = bc_pages_alloc(bytes);
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
    const int64_t rows = (int64_t)bc_cpu_layers(s->model) * c->n_kv_heads * s->n_ctx;
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
    if (s->model->placed) s->device_places = take(m, batch, sizeof *s->device_places);
}

void bc_session_large_pages(bc_session *s)
{
    enum { PIECE = 16 << 20, PAGE = 2 << 20 }; /* some ten milliseconds */
    const bc_config *c = &s->model->config;
    const size_t all =
        (size_t)bc_cpu_layers(s->model) * (size_t)c->n_kv_heads * (size_t)s->n_ctx * s->kv_row;
    if (s->position < s->n_ctx / 2 || s->large_pages >= all) return;
    /* with the page that lies on its end */
    const size_t at = s->large_pages, left = all - at;
    const size_t bytes = left < PIECE + PAGE ? left : PIECE + PAGE;
    bc_large_pages(s->keys + at, bytes);
    bc_large_pages(s->values + at, bytes);
    s->large_pages += PIECE;
}

int bc_check_sizes(const bc_model *model, int32_t n_ctx, int32_t n_batch, bc_error *err)
{
    const int32_t top = model->config.max_positions;
    if (n_ctx < 0 || n_ctx > top)
        return bc_fail(err, BC_ERR_INVALID, "n_ctx is %d, this model has positions for 1 to %d",
                       n_ctx, top);
    if (n_batch < 0 || n_batch > BC_MAX_BATCH)
        return bc_fail(err, BC_ERR_INVALID, "n_batch is %d, must be 0 to %d", n_batch,
                       BC_MAX_BATCH);
    return BC_OK;
}

static int check_params(const bc_model *model, const bc_session_params *p, bc_error *err)
{
    const int status = bc_check_sizes(model, p->n_ctx, p->n_batch, err);
    if (status != BC_OK) return status;
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
    s->model = model;
    s->engine = model->engine;
    s->kv_type = params->kv_type;
    s->n_ctx = params->n_ctx ? params->n_ctx : bc_default_ctx(model);
    s->n_batch = params->n_batch ? params->n_batch : BC_DEFAULT_BATCH;
    if (s->n_batch > s->n_ctx) s->n_batch = s->n_ctx;
    if (model->placed && s->n_batch > model->placed->n_batch) s->n_batch = model->placed->n_batch;
    model->n_sessions++;
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
    bc_rope_frequencies(c, s->inv_freq);
    if (model->placed) {
        const int placed = model->placed->backend->cache_open(&s->cache, model->placed->stack,
                                                              s->n_ctx, s->kv_type, err);
        if (placed != BC_OK) {
            bc_session_close(s);
            return placed;
        }
    }
    *out = s;
    return BC_OK;
}

void bc_session_close(bc_session *s)
{
    if (!s) return;
    void *const owned[] = {
        s->tokens, s->logits, s->keys,     s->values,    s->key_scales, s->value_scales, s->x,
        s->h,      s->y,      s->q,        s->k,         s->v,          s->gate,         s->up,
        s->cos,    s->sin,    s->inv_freq, s->attention, s->places,     s->device_places
    };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) bc_pages_free(owned[i]);
    bc_linear_space_free(&s->space);
    if (s->cache) s->model->placed->backend->cache_close(s->cache);
    s->model->n_sessions--;
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

int bc_session_sample(bc_session *s, const bc_sampler_params *params, int32_t *token, bc_error *err)
{
    if (!s || !token) return bc_fail(err, BC_ERR_INVALID, "session or token is NULL");
    if (!s->has_logits)
        return bc_fail(err, BC_ERR_INVALID,
                       "there are no logits to sample from: run a forward pass first");
    return bc_sample_by(&s->engine->k, s->logits, s->model->config.vocab, s->tokens, s->position,
                        params, (uint64_t)s->position, token, err);
}
