/* block_windows.c - one decoder layer over windows of different lengths, packed one after the other.
 *
 * A group of windows at a time, in batches of tokens that share each decoded tile of a matrix. The windows may be
 * replicas of each other that differ in the row scales, or in what is added to the planes: these come behind the integer
 * products, so the replicas share the planes and their decoding. */
#include "block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_back.h"
#include "block_space.h"
#include "error.h"
#include "platform.h"

/* Kept in the engine. */
typedef struct bc_block_space {
    int hidden, mlp, q_cols, width, head_dim, window, tokens,
        n_batch; /* width: of q, k and v side by side */
    bc_linear_space space;
    float *qkv, *attention;      /* [tokens, width], [tokens, q_cols] */
    float *inv_freq, *cos, *sin; /* [head_dim / 2], [window, head_dim / 2] twice */
    float *scratch;              /* of attention */
    float *h, *gate, *up, *y;    /* [n_batch, hidden or mlp] */
    int32_t *starts, *replica;   /* [tokens + 1], [tokens] */
} bc_block_space;

struct windows_call {
    bc_block *b;
    bc_block_space *w;
    bc_engine *engine;
    float *x;               /* of the group */
    float *qkv, *attention; /* of the group: kept, or the work space's */
    bc_kept kept;           /* of the group; middle NULL: nothing is kept */
    const bc_cancel *cancel;
};

/* ---- the work space ---- */

void bc_block_space_free(bc_block_space *w)
{
    if (!w) return;
    void *const owned[] = { w->qkv, w->attention, w->inv_freq, w->cos, w->sin,    w->scratch,
                            w->h,   w->gate,      w->up,       w->y,   w->starts, w->replica };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) bc_aligned_free(owned[i]);
    bc_linear_space_free(&w->space);
    free(w);
}

static void *take(size_t count, int *failed)
{
    void *p = bc_aligned_alloc(count * sizeof(float));
    if (!p) *failed = 1;
    return p;
}

static int allocate(bc_block_space *w, const bc_block *b)
{
    const size_t tokens = (size_t)w->tokens, n = (size_t)w->n_batch, half = (size_t)w->head_dim / 2;
    const size_t threads = (size_t)bc_pool_size(b->model.engine->pool);
    int failed = 0, widest = w->hidden > w->mlp ? w->hidden : w->mlp;
    widest = widest > w->q_cols ? widest : w->q_cols;
    widest = widest > BC_LEAST_WIDTH ? widest : BC_LEAST_WIDTH;
    w->qkv = take(tokens * (size_t)w->width, &failed);
    w->attention = take(tokens * (size_t)w->q_cols, &failed);
    w->inv_freq = take(half, &failed);
    w->cos = take((size_t)w->window * half, &failed);
    w->sin = take((size_t)w->window * half, &failed);
    w->scratch = take(threads * bc_attention_scratch(&b->model.config, w->window), &failed);
    w->h = take(n * (size_t)w->hidden, &failed);
    w->y = take(n * (size_t)w->hidden, &failed);
    w->gate = take(n * (size_t)w->mlp, &failed);
    w->up = take(n * (size_t)w->mlp, &failed);
    w->starts = take(tokens + 1, &failed);
    w->replica = take(tokens, &failed);
    if (bc_linear_space_init(&w->space, b->model.engine, w->n_batch, widest, NULL) != BC_OK)
        failed = 1;
    return failed;
}

/* engine->windows for this layer and at least `tokens` tokens in a group. */
static int space_ready(bc_block *b, int tokens, bc_error *err)
{
    const bc_config *c = &b->model.config;
    bc_engine *engine = b->model.engine;
    const int q_cols = c->n_heads * c->head_dim, kv_cols = c->n_kv_heads * c->head_dim;
    const bc_block_space like = { .hidden = c->hidden,
                                  .mlp = c->intermediate,
                                  .q_cols = q_cols,
                                  .width = q_cols + 2 * kv_cols,
                                  .head_dim = c->head_dim,
                                  .window = b->window };
    bc_block_space *w = engine->windows;
    const int fits = w && w->tokens >= tokens && w->hidden == like.hidden && w->mlp == like.mlp &&
                     w->q_cols == q_cols && w->width == like.width &&
                     w->head_dim == like.head_dim && w->window == like.window;
    if (!fits) {
        bc_block_space_free(w);
        engine->windows = NULL;
        w = calloc(1, sizeof *w);
        if (w) {
            *w = like;
            w->tokens = tokens;
            w->n_batch = tokens < BC_DEFAULT_BATCH ? tokens : BC_DEFAULT_BATCH;
        }
        if (!w || allocate(w, b)) {
            bc_block_space_free(w);
            return bc_fail(err, BC_ERR_NOMEM,
                           "no memory for windows of %d tokens; use shorter ones", b->window);
        }
        engine->windows = w;
    }
    const int half = c->head_dim / 2;
    bc_rope_frequencies(c, w->inv_freq); /* layers of other models may have the same sizes */
    for (int t = 0; t < w->window; t++) {
        for (int i = 0; i < half; i++) {
            const float angle = (float)t * w->inv_freq[i];
            w->cos[t * half + i] = (float)cos((double)angle);
            w->sin[t * half + i] = (float)sin((double)angle);
        }
    }
    return BC_OK;
}

/* ---- tokens t.. of the group ---- */

struct token_work {
    const struct windows_call *call;
    const float *norm;
    float *in, *out;
    float *kept;     /* where `in` is kept, or NULL */
    const float *up; /* swiglu: `in` is gate, both `stride` floats from token to token */
    size_t stride;
};

static void norm_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const bc_config *c = &w->call->b->model.config;
    const size_t at = (size_t)t * (size_t)c->hidden;
    if (w->kept) memcpy(w->kept + at, w->in + at, (size_t)c->hidden * sizeof *w->in);
    w->call->engine->k.rmsnorm(w->out + at, w->in + at, w->norm, c->hidden, c->rms_eps);
}

/* in += attention's output, and the norm of that */
static void middle_token(void *arg, int64_t t, int thread)
{
    const struct token_work *w = arg;
    const size_t hidden = (size_t)w->call->w->hidden, at = (size_t)t * hidden;
    w->call->engine->k.add(w->in + at, w->call->w->y + at, (int)hidden);
    norm_token(arg, t, thread);
}

static void add_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * (size_t)w->call->w->hidden;
    w->call->engine->k.add(w->out + at, w->in + at, w->call->w->hidden);
}

static void swiglu_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const bc_block_space *w = ((const struct token_work *)arg)->call->w;
    const struct token_work *work = arg;
    const size_t at = (size_t)t * work->stride;
    work->call->engine->k.swiglu(w->gate + (size_t)t * (size_t)w->mlp, work->in + at, work->up + at,
                                 w->mlp);
}

static void per_token(const struct windows_call *call, bc_pool_fn fn, struct token_work work, int n)
{
    work.call = call;
    bc_pool_run(call->engine->pool, fn, &work, n);
}

/* y = W x of matrices with one input, x f32 [n, cols], which `make` makes; NULL: it is there */
static void linear(const struct windows_call *call, const bc_product *products, int count,
                   const float *x, int t, int n, bc_pool_fn make, struct token_work work)
{
    bc_linear_space *s = &call->w->space;
    work.call = call;
    s->replica = call->w->replica + t;
    bc_linear_made(s, products, count, x, (size_t)products[0].weight->cols, n,
                   (bc_token_step){ make, &work });
    s->replica = NULL;
}

static void inputs(const struct windows_call *call, int t, int n)
{
    const bc_layer *layer = &call->b->layer;
    const bc_block_space *w = call->w;
    const size_t width = (size_t)w->width;
    float *q = call->qkv + (size_t)t * width, *k = q + w->q_cols,
          *v = k + (w->width - w->q_cols) / 2;
    const bc_product products[] = { { &layer->q, q, width },
                                    { &layer->k, k, width },
                                    { &layer->v, v, width } };
    float *x = call->x + (size_t)t * (size_t)w->hidden;
    float *kept = call->kept.x ? call->kept.x + (size_t)t * (size_t)w->hidden : NULL;
    linear(call, products, 3, w->h, t, n, norm_token,
           (struct token_work){ .norm = layer->attn_norm, .in = x, .out = w->h, .kept = kept });
}

/* The attention's output and the MLP, into x. */
static void outputs(const struct windows_call *call, int t, int n)
{
    const bc_layer *layer = &call->b->layer;
    const bc_block_space *w = call->w;
    const size_t hidden = (size_t)w->hidden, mlp = (size_t)w->mlp;
    float *x = call->x + (size_t)t * hidden;
    const bc_product o = { &layer->o, w->y, hidden }, down = { &layer->down, w->y, hidden };
    float *gate = w->gate, *up = w->up;
    size_t stride = mlp;
    if (call->kept.middle) {
        stride = 2 * mlp;
        gate = call->kept.gate_up + (size_t)t * stride;
        up = gate + mlp;
    }
    const bc_product both[] = { { &layer->gate, gate, stride }, { &layer->up, up, stride } };
    float *kept = call->kept.middle ? call->kept.middle + (size_t)t * hidden : NULL;
    linear(call, &o, 1, call->attention + (size_t)t * (size_t)w->q_cols, t, n, NULL,
           (struct token_work){ 0 });
    linear(call, both, 2, w->h, t, n, middle_token,
           (struct token_work){ .norm = layer->mlp_norm, .in = x, .out = w->h, .kept = kept });
    linear(call, &down, 1, w->gate, t, n, swiglu_token,
           (struct token_work){ .in = gate, .up = up, .stride = stride });
    per_token(call, add_token, (struct token_work){ .in = w->y, .out = x }, n);
}

static void in_batches(const struct windows_call *call, int tokens,
                       void (*step)(const struct windows_call *, int, int))
{
    for (int t = 0; t < tokens && !bc_cancelled(call->cancel); t += call->w->n_batch)
        step(call, t, tokens - t < call->w->n_batch ? tokens - t : call->w->n_batch);
}

/* ---- what is kept for the way back ---- */

enum { PARTS = 5 };

static size_t kept_columns(const bc_block *b, size_t columns[PARTS])
{
    const bc_config *c = &b->model.config;
    const size_t d = (size_t)c->head_dim, q_cols = (size_t)c->n_heads * d;
    columns[0] = (size_t)c->hidden;
    columns[1] = q_cols + 2 * (size_t)c->n_kv_heads * d;
    columns[2] = q_cols;
    columns[3] = (size_t)c->hidden;
    columns[4] = 2 * (size_t)c->intermediate;
    return columns[0] + columns[1] + columns[2] + columns[3] + columns[4];
}

int64_t bc_block_kept_columns(const bc_block *b)
{
    size_t columns[PARTS];
    return b ? (int64_t)kept_columns(b, columns) : 0;
}

bc_kept bc_kept_parts(const bc_block *b, float *kept, int64_t tokens, int64_t first)
{
    size_t columns[PARTS];
    float *part[PARTS];
    kept_columns(b, columns);
    for (int i = 0; i < PARTS; i++) {
        part[i] = kept + (size_t)first * columns[i];
        kept += (size_t)tokens * columns[i];
    }
    return (bc_kept){ part[0], part[1], part[2], part[3], part[4] };
}

/* ---- groups ---- */

static void run_group(const struct windows_call *call, int n_windows)
{
    const bc_block_space *w = call->w;
    const int tokens = w->starts[n_windows];
    const bc_attention_job job = { .engine = call->engine,
                                   .config = &call->b->model.config,
                                   .layer = &call->b->layer,
                                   .window = w->window,
                                   .n_windows = n_windows,
                                   .starts = w->starts,
                                   .cancel = call->cancel,
                                   .cos = w->cos,
                                   .sin = w->sin,
                                   .qkv = call->qkv,
                                   .out = call->attention,
                                   .scratch = w->scratch };
    in_batches(call, tokens, inputs);
    bc_attention_forward(&job);
    in_batches(call, tokens, outputs);
}

/* Where the group's tokens, first.. of all, are kept. */
static void place_kept(struct windows_call *call, float *kept, int64_t tokens, int64_t first)
{
    call->qkv = call->w->qkv;
    call->attention = call->w->attention;
    if (!kept) return;
    call->kept = bc_kept_parts(call->b, kept, tokens, first);
    call->qkv = call->kept.qkv;
    call->attention = call->kept.attention;
}

/* Windows first.. that fit into one group; their starts and replicas. */
static int fill_group(bc_block_space *w, const int32_t *lengths, int32_t first, int32_t windows,
                      int32_t share)
{
    int n = 0;
    w->starts[0] = 0;
    for (int32_t i = first; i < windows && w->starts[n] + lengths[i] <= w->tokens; i++, n++) {
        w->starts[n + 1] = w->starts[n] + lengths[i];
        for (int32_t t = w->starts[n]; t < w->starts[n + 1]; t++) w->replica[t] = i / share;
    }
    return n;
}

/* What replicas have of their own is of something that the matrix has. */
static int check_own(bc_block *b, int matrix, const bc_matrix_replicas *own, bc_error *err)
{
    const bc_weight *w = bc_block_weight(b, matrix);
    if (own->scales && w->kind != BC_WEIGHT_PLANES)
        return bc_fail(err, BC_ERR_INVALID, "matrix %d is not planes and has no scales", matrix);
    if (!own->lora_a != !own->lora_b || (own->lora_a && !w->lora.rank))
        return bc_fail(err, BC_ERR_INVALID,
                       "matrix %d has no low-rank addition, or its replicas have half of one",
                       matrix);
    if (own->delta && !w->delta)
        return bc_fail(err, BC_ERR_INVALID, "nothing is added to matrix %d", matrix);
    return BC_OK;
}

static int check_windows(bc_block *b, const int32_t *lengths, int32_t windows,
                         const bc_matrix_replicas *own, int32_t replicas, const float *kept,
                         bc_error *err)
{
    if (windows < 0 || replicas < 1 || windows % replicas)
        return bc_fail(err, BC_ERR_INVALID, "%d windows cannot be %d replicas", windows, replicas);
    if (replicas > 1 && !own)
        return bc_fail(err, BC_ERR_INVALID, "%d replicas need something of their own", replicas);
    if (replicas > 1 && kept) return bc_fail(err, BC_ERR_INVALID, "nothing is kept of replicas");
    for (int32_t i = 0; i < windows; i++)
        if (lengths[i] < 1 || lengths[i] > b->window)
            return bc_fail(err, BC_ERR_INVALID, "window %d has %d tokens, must be 1 to %d", i,
                           lengths[i], b->window);
    for (int i = 0; own && i < BC_N_MATRICES; i++) {
        const int status = check_own(b, i, &own[i], err);
        if (status != BC_OK) return status;
    }
    return bc_block_check(b, err);
}

int bc_block_windows(bc_block *b, float *x, const int32_t *lengths, int32_t windows,
                     const bc_matrix_replicas *own, int32_t replicas, float *kept,
                     const bc_cancel *cancel, bc_error *err)
{
    if (!b || !x || !lengths) return bc_fail(err, BC_ERR_INVALID, "block, x or lengths is NULL");
    int status = check_windows(b, lengths, windows, own, replicas, kept, err);
    if (status != BC_OK || windows == 0) return status;
    int64_t tokens = 0;
    for (int32_t i = 0; i < windows; i++) tokens += lengths[i];
    const int most = b->window > BC_BLOCK_TOKENS ? b->window : BC_BLOCK_TOKENS;
    status = space_ready(b, tokens < most ? (int)tokens : most, err);
    if (status != BC_OK) return status;
    struct windows_call call = {
        .b = b, .w = b->model.engine->windows, .engine = b->model.engine, .x = x, .cancel = cancel
    };
    call.w->space.cancel = cancel;
    for (int i = 0; own && i < BC_N_MATRICES; i++) bc_block_weight(b, i)->replicas = &own[i];
    int64_t first = 0;
    for (int32_t i = 0; i < windows && !bc_cancelled(cancel);) {
        const int n = fill_group(call.w, lengths, i, windows, windows / replicas);
        place_kept(&call, kept, tokens, first);
        run_group(&call, n);
        first += call.w->starts[n];
        call.x += (size_t)call.w->starts[n] * (size_t)call.w->hidden;
        i += n;
    }
    for (int i = 0; i < BC_N_MATRICES; i++) bc_block_weight(b, i)->replicas = NULL;
    call.w->space.cancel = NULL;
    if (bc_cancelled(cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the layer's forward pass was cancelled");
    return BC_OK;
}
