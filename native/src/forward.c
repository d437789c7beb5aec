/* forward.c - the forward pass: it reads straight down in run_batch(). */
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "error.h"
#include "session.h"

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

static void keep(float *to, const float *from, int n, size_t width)
{
    if (to) memcpy(to, from, (size_t)n * width * sizeof *to);
}

static int left_at(const bc_session *s, int input) { return s->capture.only == 1 + input; }

static void attention_block(bc_session *s, int i, int n)
{
    const bc_config *c = &s->model->config;
    const bc_layer *layer = &s->model->layers[i];
    const size_t hidden = (size_t)c->hidden, d = (size_t)c->head_dim;
    const size_t q_cols = (size_t)c->n_heads * d, kv_cols = (size_t)c->n_kv_heads * d;
    norm(s, s->h, s->x, layer->attn_norm, n);
    keep(s->capture.qkv_in, s->h, n, hidden);
    if (left_at(s, BC_INPUT_QKV)) return;
    const bc_product qkv[] = { { &layer->q, s->q, q_cols },
                               { &layer->k, s->k, kv_cols },
                               { &layer->v, s->v, kv_cols } };
    bc_linear_shared(&s->space, qkv, 3, s->h, hidden, n);
    bc_attention(s, i, n);
    keep(s->capture.o_in, s->q, n, q_cols);
    if (left_at(s, BC_INPUT_O)) return;
    project(s, &layer->o, s->q, s->y, hidden, n);
}

static void mlp_block(bc_session *s, int i, int n)
{
    const bc_config *c = &s->model->config;
    const bc_layer *layer = &s->model->layers[i];
    const size_t hidden = (size_t)c->hidden, width = (size_t)c->intermediate;
    norm(s, s->h, s->x, layer->mlp_norm, n);
    keep(s->capture.mlp_in, s->h, n, hidden);
    if (left_at(s, BC_INPUT_MLP)) return;
    const bc_product both[] = { { &layer->gate, s->gate, width }, { &layer->up, s->up, width } };
    bc_linear_shared(&s->space, both, 2, s->h, hidden, n);
    struct token_work w = { .s = s, .out = s->gate, .in = s->up, .width = c->intermediate };
    bc_pool_run(s->engine->pool, swiglu_token, &w, n);
    keep(s->capture.down_in, s->gate, n, width);
    if (left_at(s, BC_INPUT_DOWN)) return;
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
    if (s->capture.part != BC_MLP_PART) {
        attention_block(s, layer, n);
        if (left_at(s, BC_INPUT_QKV) || left_at(s, BC_INPUT_O)) return;
        bc_pool_run(s->engine->pool, add_token, &residual, n);
    }
    if (s->capture.part == BC_ATTENTION_PART) return;
    mlp_block(s, layer, n);
    if (s->capture.only) return;
    bc_pool_run(s->engine->pool, add_token, &residual, n);
}

static void head_rows(bc_session *s, const float *x, int n, float *logits)
{
    norm(s, s->h, x, s->model->final_norm, n);
    project(s, &s->model->head, s->h, logits, (size_t)s->model->config.vocab, n);
}

/* Logits of each of the tokens at s->places to its own session. */
static int head_apart(bc_session *s, int n, bc_error *err)
{
    const size_t vocab = (size_t)s->model->config.vocab;
    float *logits = malloc((size_t)n * vocab * sizeof *logits);
    if (!logits) return bc_fail(err, BC_ERR_NOMEM, "no memory for the logits of %d sessions", n);
    head_rows(s, s->x, n, logits);
    for (int t = 0; t < n; t++)
        memcpy(s->places[t].session->logits, logits + (size_t)t * vocab, vocab * sizeof *logits);
    free(logits);
    return BC_OK;
}

struct rows_work {
    const bc_session *s;
    float *out; /* NULL: each row to its token's session */
    size_t width;
    int32_t first;
    const float *from;
    int64_t stride;
};

static void copy_row(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct rows_work *w = arg;
    const int64_t row = w->first + i;
    float *to = w->out ? w->out + (size_t)row * w->width : w->s->places[row].session->logits;
    memcpy(to, w->from + i * w->stride, w->width * sizeof(float));
}

/* Logits of many tokens are tens of megabytes: all threads copy. */
static void take_rows(void *arg, int32_t first, int32_t count, const float *from, int64_t stride)
{
    struct rows_work *w = arg;
    w->first = first;
    w->from = from;
    w->stride = stride;
    bc_pool_run(w->s->engine->pool, copy_row, w, count);
}

/* The placed layers over s->x of n tokens at s->places; the last `rows` of them give `out`, f32 [rows, vocab] where
 * the head is placed too, else the residual stream [rows, hidden]. NULL: all tokens' logits, each to its session's. */
static int placed_layers(bc_session *s, int n, int rows, float *out, bc_error *err)
{
    const bc_placed *placed = s->model->placed;
    const bc_config *c = &s->model->config;
    for (int t = 0; t < n; t++)
        s->device_places[t] =
            (bc_stack_place){ s->places[t].session->cache, s->places[t].position };
    struct rows_work work = { .s = s,
                              .out = out,
                              .width = (size_t)(placed->head ? c->vocab : c->hidden) };
    const bc_stack_batch batch = { .x = s->x,
                                   .cos = s->cos,
                                   .sin = s->sin,
                                   .places = s->device_places,
                                   .n = n,
                                   .separate =
                                       n > 1 && s->places[0].session != s->places[1].session,
                                   .rows = rows,
                                   .take = take_rows,
                                   .arg = &work };
    return placed->backend->stack_forward(placed->stack, &batch, err);
}

/* Which logits of a batch are wanted: none, the last token's, all, or all, each in its token's session. */
enum wanted { NONE, LAST, ALL, APART };

/* n <= n_batch tokens at s->places. logits f32 [n or 1, vocab] where LAST or ALL are wanted. */
static int run_batch(bc_session *s, const int32_t *tokens, int n, enum wanted wanted, float *logits,
                     bc_error *err)
{
    bc_pool *pool = s->engine->pool;
    const size_t hidden = (size_t)s->model->config.hidden;
    struct token_work embed = { .s = s, .tokens = tokens };
    bc_pool_run(pool, embed_token, &embed, n);
    bc_rope_table(s, n);
    const int cpu_layers = bc_cpu_layers(s->model);
    for (int i = 0; i < cpu_layers && !bc_cancelled(s->cancel); i++) bc_session_layer(s, i, n);
    const int first = wanted == NONE ? n : (wanted == LAST ? n - 1 : 0);
    float *last = s->x + (size_t)first * hidden;
    if (s->model->placed && !bc_cancelled(s->cancel)) {
        const int head = s->model->placed->head;
        float *out = !head ? last : wanted == APART ? NULL : logits;
        const int status = placed_layers(s, n, n - first, out, err);
        if (status != BC_OK || head) return status;
    }
    if (wanted == NONE) return BC_OK;
    if (wanted == APART) return head_apart(s, n, err);
    head_rows(s, last, n - first, logits);
    return BC_OK;
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
    const int wrong = check_tokens(s, tokens, n_tokens, err);
    if (wrong != BC_OK) return wrong;
    const size_t vocab = (size_t)s->model->config.vocab;
    const int32_t start = s->position;
    const int all = logits && all_positions;
    s->cancel = s->space.cancel = cancel;
    s->has_logits = 0;
    int status = BC_OK;
    for (int32_t done = 0; done < n_tokens && status == BC_OK && !bc_cancelled(cancel);) {
        const int n = n_tokens - done < s->n_batch ? n_tokens - done : s->n_batch;
        const int last = done + n == n_tokens;
        float *out = all ? logits + (size_t)done * vocab : s->logits;
        bc_session_own_places(s, n);
        status = run_batch(s, tokens + done, n, all ? ALL : (last ? LAST : NONE), out, err);
        s->position += n;
        done += n;
        bc_session_large_pages(s);
    }
    s->cancel = s->space.cancel = NULL;
    if (status != BC_OK || bc_cancelled(cancel)) s->position = start;
    if (status != BC_OK) return status;
    if (bc_cancelled(cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the forward pass was cancelled");
    memcpy(s->tokens + start, tokens, (size_t)n_tokens * sizeof *tokens);
    if (all)
        memcpy(s->logits, logits + (size_t)(n_tokens - 1) * vocab, vocab * sizeof *logits);
    else if (logits)
        memcpy(logits, s->logits, vocab * sizeof *logits);
    s->has_logits = 1;
    return BC_OK;
}

/* ---- one token to each of many sessions ---- */

static int check_sessions(bc_session *const *sessions, const int32_t *tokens, int32_t n,
                          bc_error *err)
{
    if (!sessions || !tokens) return bc_fail(err, BC_ERR_INVALID, "sessions or tokens is NULL");
    if (n < 1) return bc_fail(err, BC_ERR_INVALID, "there are %d sessions, must be 1 or more", n);
    for (int32_t i = 0; i < n; i++) {
        const int status = check_tokens(sessions[i], &tokens[i], 1, err);
        if (status != BC_OK) return status;
        if (sessions[i]->model != sessions[0]->model)
            return bc_fail(err, BC_ERR_INVALID, "sessions 0 and %d are of different models", i);
        for (int32_t j = 0; j < i; j++)
            if (sessions[i] == sessions[j])
                return bc_fail(err, BC_ERR_INVALID, "sessions %d and %d are the same one", j, i);
    }
    return BC_OK;
}

/* Whose work space is used: attention needs room for the longest context. */
static bc_session *largest(bc_session *const *sessions, int32_t n)
{
    bc_session *s = sessions[0];
    for (int32_t i = 1; i < n; i++)
        if (sessions[i]->n_ctx > s->n_ctx) s = sessions[i];
    return s;
}

struct ended {
    bc_session *const *sessions;
    const int32_t *tokens;
    const float *logits; /* NULL: the sessions have them */
    size_t vocab;
};

static void end_session(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct ended *w = arg;
    bc_session *one = w->sessions[i];
    one->tokens[one->position++] = w->tokens[i];
    if (w->logits)
        memcpy(one->logits, w->logits + (size_t)i * w->vocab, w->vocab * sizeof *w->logits);
    one->has_logits = 1;
}

int bc_sessions_forward(bc_session *const *sessions, const int32_t *tokens, int32_t n,
                        float *logits, const bc_cancel *cancel, bc_error *err)
{
    int status = check_sessions(sessions, tokens, n, err);
    if (status != BC_OK) return status;
    bc_session *s = largest(sessions, n);
    const size_t vocab = (size_t)s->model->config.vocab;
    s->cancel = s->space.cancel = cancel;
    for (int32_t done = 0; done < n && status == BC_OK && !bc_cancelled(cancel);) {
        const int part = n - done < s->n_batch ? n - done : s->n_batch;
        for (int t = 0; t < part; t++)
            s->places[t] = (bc_place){ sessions[done + t], sessions[done + t]->position };
        float *out = logits ? logits + (size_t)done * vocab : NULL;
        status = run_batch(s, tokens + done, part, out ? ALL : APART, out, err);
        done += part;
    }
    s->cancel = s->space.cancel = NULL;
    for (int32_t i = 0; i < n; i++) sessions[i]->has_logits = 0;
    if (status != BC_OK) return status;
    if (bc_cancelled(cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the forward pass was cancelled");
    struct ended ended = { sessions, tokens, logits, vocab };
    bc_pool_run(s->engine->pool, end_session, &ended, n);
    return BC_OK;
}
