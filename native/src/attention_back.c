/* attention_back.c - attention over whole windows by tiles of queries, forwards and backwards.
 *
 * One item is one head of one window. The probabilities P of a tile of TILE queries are made
 * again from q and k when they are needed; no more of them is ever held. With S = f q k', P =
 * softmax(S), o = P v and D = sum_c dO o (Dao et al., FlashAttention, 2022):
 *
 *   dV = P' dO     dS = P * (dO V' - D)     dQ = f dS K     dK = f dS' Q
 *
 * Every product is a gemm_dense: out[t][j] = sum_c x[t][c] panel[c][j]. Keys and values are panels as they lie where
 * there is a sum over keys. dK and dV are made transposed, [head_dim][keys], so that so are P and dS. */
#include "attention_back.h"

#include <math.h>
#include <string.h>

#include "fetch.h"

/* ROWS: queries for which keys behind their own are left out; as many as a kernel takes at a time */
enum { TILE = 48, ROWS = 12, STRIP = BC_DENSE_ROWS };
/* a head's numbers of one token lie far from those of the next: asked for so many tokens before */
enum { AHEAD = 8 };
enum { ITEMS = 4 }; /* for each thread at least, so that none waits long for the others */

/* One thread's memory. T: window rounded up to STRIP, d: head_dim, e: d rounded up to STRIP. */
struct space {
    float *keys, *values;         /* [T, e]: of one KV head, k with norm and RoPE, then zeros */
    float *key_rows, *value_rows; /* panels of STRIP keys: [T / STRIP][e][STRIP] */
    float *p, *ds;                /* [TILE, T] */
    float *q, *d_o;               /* [TILE, d]; q is scaled by f */
    float *q_across, *d_o_across; /* [d, TILE] */
    float *dq;                    /* [TILE, d] */
    float *dk, *dv;               /* [d, T] */
    float *tile;                  /* [TILE, STRIP] */
};

static size_t up(size_t n) { return (n + STRIP - 1) / STRIP * STRIP; }

/* Places the parts in `base` (NULL: only counts); returns their floats. */
static size_t lay_out(struct space *s, float *base, const bc_config *c, int window)
{
    const size_t t = up((size_t)window), d = (size_t)c->head_dim, e = up(d);
    const struct {
        float **part;
        size_t count;
    } parts[] = {
        { &s->keys, t * e },        { &s->values, t * e },
        { &s->key_rows, t * e },    { &s->value_rows, t * e },
        { &s->p, TILE * t },        { &s->ds, TILE * t },
        { &s->q, TILE * d },        { &s->d_o, TILE * d },
        { &s->q_across, TILE * d }, { &s->d_o_across, TILE * d },
        { &s->dq, TILE * d },       { &s->dk, d * t },
        { &s->dv, d * t },          { &s->tile, TILE * STRIP },
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (base) *parts[i].part = base + used;
        used += (parts[i].count + 15) / 16 * 16;
    }
    return used;
}

size_t bc_attention_scratch(const bc_config *config, int window)
{
    struct space s;
    return lay_out(&s, NULL, config, window);
}

/* ---- one head's inputs ---- */

static size_t row_width(const bc_config *c)
{
    return (size_t)(c->n_heads + 2 * c->n_kv_heads) * (size_t)c->head_dim;
}

/* One head of one token: norm (Qwen3) and RoPE of x -> out. */
static void place(const bc_attention_job *j, float *out, const float *x, const float *norm, int t)
{
    const bc_kernels *k = &j->engine->k;
    const int d = j->config->head_dim;
    if (norm)
        k->rmsnorm(out, x, norm, d, j->config->rms_eps);
    else
        memcpy(out, x, (size_t)d * sizeof *x);
    k->rope(out, j->cos + t * (d / 2), j->sin + t * (d / 2), d);
}

/* Keys and values of a KV head, and their panels. */
static void load_keys(const bc_attention_job *j, struct space *s, const float *qkv, int kv_head,
                      int backwards)
{
    const bc_config *c = j->config;
    const int d = c->head_dim, window = j->window;
    const size_t width = row_width(c), rows = up((size_t)window), e = up((size_t)d);
    const float *k = qkv + (size_t)(c->n_heads + kv_head) * (size_t)d;
    const float *v = k + (size_t)(c->n_kv_heads * d);
    for (int t = 0; t < window; t++) {
        float *key = s->keys + (size_t)t * e, *value = s->values + (size_t)t * e;
        bc_fetch_to_read(k + (size_t)t * width, AHEAD * width, (size_t)d);
        bc_fetch_to_read(v + (size_t)t * width, AHEAD * width, (size_t)d);
        place(j, key, k + (size_t)t * width, j->layer->k_norm, t);
        memcpy(value, v + (size_t)t * width, (size_t)d * sizeof *v);
        memset(key + d, 0, (e - (size_t)d) * sizeof *key);
        memset(value + d, 0, (e - (size_t)d) * sizeof *value);
    }
    for (int t = 0; t < window; t += STRIP) {
        const int n = window - t < STRIP ? window - t : STRIP;
        const size_t at = (size_t)t * e;
        j->engine->k.panel_dense(s->key_rows + at, s->keys + at, BC_F32, n, (int)e);
        if (backwards)
            j->engine->k.panel_dense(s->value_rows + at, s->values + at, BC_F32, n, (int)e);
    }
    memset(s->keys + (size_t)window * e, 0, (rows - (size_t)window) * e * sizeof(float));
    memset(s->values + (size_t)window * e, 0, (rows - (size_t)window) * e * sizeof(float));
}

/* ---- tiles ---- */

struct tile {
    int t0, n;    /* queries */
    int lo, hi;   /* keys they see, whole STRIPs */
    size_t width; /* from query to query in p and ds */
};

static int first_key(const bc_attention_job *j, int t)
{
    const bc_config *c = j->config;
    const int slides = c->sliding_window > 0 && c->layer_slides[0];
    return slides && t >= c->sliding_window ? t - c->sliding_window + 1 : 0;
}

static struct tile tile_at(const bc_attention_job *j, int t0)
{
    const int n = j->window - t0 < TILE ? j->window - t0 : TILE;
    return (struct tile){ .t0 = t0,
                          .n = n,
                          .lo = first_key(j, t0) / STRIP * STRIP,
                          .hi = (int)up((size_t)(t0 + n)),
                          .width = up((size_t)j->window) };
}

/* The first query of the tile that sees any of the keys from `key` on. */
static int first_query(const struct tile *at, int key) { return key > at->t0 ? key - at->t0 : 0; }

/* out [n, T] = x [n, d] times the panels of keys lo..hi, where a query sees one of the STRIP */
static void against_keys(const bc_kernels *k, float *out, const float *x, const float *panels,
                         int d, const struct tile *at)
{
    for (int key = at->lo; key < at->hi; key += STRIP) {
        const int i = first_query(at, key);
        k->gemm_dense(out + (size_t)i * at->width + key, at->width,
                      panels + (size_t)key * up((size_t)d), STRIP, d, x + i * d, (size_t)d,
                      at->n - i, 0);
    }
}

/* out [n, d] (stride floats apart) = x [n, T] times y [T, e], the keys that ROWS queries see */
static void over_keys(const bc_kernels *k, struct space *s, float *out, size_t stride,
                      const float *x, const float *y, int d, const struct tile *at)
{
    const size_t e = up((size_t)d);
    const float *from = y + (size_t)at->lo * e;
    for (int i = 0; i < at->n; i += ROWS) {
        const int n = at->n - i < ROWS ? at->n - i : ROWS, keys = at->t0 + i + n - at->lo;
        const float *p = x + (size_t)i * at->width + at->lo;
        for (int c = 0; c < d; c += STRIP) {
            float *to = out + (size_t)i * stride + c;
            const int whole = d - c >= STRIP;
            k->gemm_dense(whole ? to : s->tile, whole ? stride : STRIP, from + c, e, keys, p,
                          at->width, n, 0);
            for (int t = 0; t < n && !whole; t++)
                memcpy(to + (size_t)t * stride, s->tile + t * STRIP, (size_t)(d - c) * sizeof *to);
        }
    }
}

/* sum [d, T] += (x' y)', x [n, T], y given as [d, TILE] */
static void over_queries(const bc_kernels *k, float *sum, const float *x, const float *across,
                         int d, const struct tile *at)
{
    for (int key = at->lo; key < at->hi; key += STRIP) {
        const int i = first_query(at, key);
        k->gemm_dense(sum + key, at->width, x + (size_t)i * at->width + key, at->width, at->n - i,
                      across + i, TILE, d, 1);
    }
}

/* q of the tile (scaled) and its probabilities, 0 where a query must not look. */
static void probabilities(const bc_attention_job *j, struct space *s, const float *qkv, int head,
                          const struct tile *at)
{
    const bc_kernels *k = &j->engine->k;
    const int d = j->config->head_dim;
    const float factor = 1.0f / sqrtf((float)d);
    for (int i = 0; i < at->n; i++) {
        float *q = s->q + i * d;
        const size_t width = row_width(j->config);
        const float *from = qkv + (size_t)(at->t0 + i) * width + (size_t)head * (size_t)d;
        bc_fetch_to_read(from, AHEAD * width, (size_t)d);
        place(j, q, from, j->layer->q_norm, at->t0 + i);
        for (int c = 0; c < d; c++) q[c] *= factor;
    }
    against_keys(k, s->p, s->q, s->key_rows, d, at);
    for (int i = 0; i < at->n; i++) {
        const int t = at->t0 + i, first = first_key(j, t);
        float *p = s->p + (size_t)i * at->width;
        memset(p + at->lo, 0, (size_t)(first - at->lo) * sizeof *p);
        memset(p + t + 1, 0, (size_t)(at->hi - t - 1) * sizeof *p);
        k->softmax(p + first, t - first + 1);
    }
}

/* A thread's part of the scratch, which is for windows of j->window, laid out for one of `window`. */
static struct space space_of(const bc_attention_job *j, int window, int thread)
{
    struct space s;
    const size_t floats = bc_attention_scratch(j->config, j->window);
    lay_out(&s, j->scratch + (size_t)thread * floats, j->config, window);
    return s;
}

/* The job with the length of window i, which begins at *token. */
static bc_attention_job one_window(const bc_attention_job *job, int64_t i, size_t *token)
{
    bc_attention_job own = *job;
    if (job->starts) own.window = job->starts[i + 1] - job->starts[i];
    *token = job->starts ? (size_t)job->starts[i] : (size_t)i * (size_t)job->window;
    return own;
}

/* What works on one head: its window, whose first token is `token` of the whole job. */
typedef void (*head_fn)(const bc_attention_job *j, struct space *s, int head, size_t token);

struct heads_work {
    const bc_attention_job *job;
    head_fn fn;
    int heads; /* of an item, that share their keys */
    int backwards;
};

static void heads_item(void *arg, int64_t item, int thread)
{
    const struct heads_work *w = arg;
    const bc_config *c = w->job->config;
    const int per_window = c->n_heads / w->heads, first = (int)(item % per_window) * w->heads;
    size_t token;
    const bc_attention_job own = one_window(w->job, item / per_window, &token);
    struct space s = space_of(w->job, own.window, thread);
    load_keys(&own, &s, own.qkv + token * row_width(c), first / (c->n_heads / c->n_kv_heads),
              w->backwards);
    for (int i = 0; i < w->heads; i++) w->fn(&own, &s, first + i, token);
}

/* All heads that share their keys in one item, which prepares them once, where there are enough items for the threads. */
static void run_heads(const bc_attention_job *job, head_fn fn, int backwards)
{
    const bc_config *c = job->config;
    bc_pool *pool = job->engine->pool;
    struct heads_work w = { job, fn, c->n_heads / c->n_kv_heads, backwards };
    if (job->n_windows * c->n_kv_heads < ITEMS * bc_pool_size(pool)) w.heads = 1;
    bc_pool_run(pool, heads_item, &w, (int64_t)job->n_windows * (c->n_heads / w.heads));
}

static void forward_head(const bc_attention_job *j, struct space *s, int head, size_t token)
{
    const bc_config *c = j->config;
    const int d = c->head_dim;
    const size_t out_width = (size_t)c->n_heads * (size_t)d;
    const float *qkv = j->qkv + token * row_width(c);
    for (int t = 0; t < j->window && !bc_cancelled(j->cancel); t += TILE) {
        const struct tile at = tile_at(j, t);
        probabilities(j, s, qkv, head, &at);
        over_keys(&j->engine->k, s,
                  j->out + (token + (size_t)t) * out_width + (size_t)head * (size_t)d, out_width,
                  s->p, s->values, d, &at);
    }
}

void bc_attention_forward(const bc_attention_job *job) { run_heads(job, forward_head, 0); }

/* ---- backwards ---- */

/* ds = p * (ds - D) for one query: ds holds dO V' */
static void softmax_back(const bc_kernels *k, float *ds, const float *p, const float *d_o,
                         const float *o, int d, int n)
{
    float centre;
    k->gemv_dense(&centre, o, BC_F32, 1, d, d_o);
    for (int i = 0; i < n; i++) ds[i] = p[i] * (ds[i] - centre);
}

static void backward_tile(const bc_attention_job *j, struct space *s, const float *qkv,
                          const float *out, const float *d_out, int head, const struct tile *at)
{
    const bc_kernels *k = &j->engine->k;
    const bc_config *c = j->config;
    const int d = c->head_dim;
    const size_t stride = (size_t)c->n_heads * (size_t)d, start = (size_t)head * (size_t)d;
    probabilities(j, s, qkv, head, at);
    for (int i = 0; i < at->n; i++) {
        const size_t row = (size_t)(at->t0 + i) * stride + start;
        bc_fetch_to_read(d_out + row, AHEAD * stride, (size_t)d);
        bc_fetch_to_read(out + row, 0, (size_t)d); /* for softmax_back */
        memcpy(s->d_o + i * d, d_out + row, (size_t)d * sizeof *d_out);
    }
    k->transpose(s->q_across, TILE, s->q, (size_t)d, at->n, d);
    k->transpose(s->d_o_across, TILE, s->d_o, (size_t)d, at->n, d);
    against_keys(k, s->ds, s->d_o, s->value_rows, d, at);
    for (int i = 0; i < at->n; i++) {
        const size_t row = (size_t)i * at->width;
        const int seen = at->t0 + i + 1;
        softmax_back(k, s->ds + row + at->lo, s->p + row + at->lo, s->d_o + i * d,
                     out + (size_t)(at->t0 + i) * stride + start, d, seen - at->lo);
        memset(s->ds + row + seen, 0, (size_t)(at->hi - seen) * sizeof *s->ds);
    }
    over_queries(k, s->dv, s->p, s->d_o_across, d, at);
    over_queries(k, s->dk, s->ds, s->q_across, d, at);
    over_keys(k, s, s->dq, (size_t)d, s->ds, s->keys, d, at);
}

static void backward_head(const bc_attention_job *j, struct space *s, int head, size_t token)
{
    const bc_config *c = j->config;
    const int d = c->head_dim, window = j->window;
    const size_t width = row_width(c);
    const size_t stride = (size_t)c->n_heads * (size_t)d, start = (size_t)head * (size_t)d;
    const float *qkv = j->qkv + token * width, factor = 1.0f / sqrtf((float)d);
    const size_t keys = up((size_t)window);
    memset(s->dk, 0, keys * (size_t)d * sizeof(float));
    memset(s->dv, 0, keys * (size_t)d * sizeof(float));
    for (int t0 = 0; t0 < window; t0 += TILE) {
        if (bc_cancelled(j->cancel)) return;
        const struct tile at = tile_at(j, t0);
        backward_tile(j, s, qkv, j->out + token * stride, j->d_out + token * stride, head, &at);
        for (int i = 0; i < at.n; i++) {
            const int t = t0 + i;
            float *dq = s->dq + i * d;
            for (int x = 0; x < d; x++) dq[x] *= factor;
            j->engine->k.rope(dq, j->cos + t * (d / 2), j->minus_sin + t * (d / 2), d);
            memcpy(j->d_qkv + (token + (size_t)t) * width + start, dq, (size_t)d * sizeof *dq);
        }
    }
    const size_t to = token * stride + start;
    j->engine->k.transpose(j->d_keys + to, stride, s->dk, keys, d, window);
    j->engine->k.transpose(j->d_values + to, stride, s->dv, keys, d, window);
}

/* dx (in: of the norm's output; out: of its input) of one head; sum f64 [d] += dx x r. */
static void norm_back(const bc_attention_job *j, float *dx, const float *x, const float *weight,
                      double *sum)
{
    float dy[BC_MAX_HEAD_DIM];
    const int d = j->config->head_dim;
    memcpy(dy, dx, (size_t)d * sizeof *dy);
    memset(dx, 0, (size_t)d * sizeof *dx);
    const float r = j->engine->k.rmsnorm_back(dx, x, weight, dy, d, j->config->rms_eps);
    for (int i = 0; i < d; i++) sum[i] += (double)dy[i] * (double)(x[i] * r);
}

/* One token: the shares of the heads of each KV head become dk and dv, and the norms go back. */
static void finish_token(void *arg, int64_t token, int thread)
{
    (void)thread;
    const bc_attention_job *j = arg;
    const bc_config *c = j->config;
    const bc_kernels *k = &j->engine->k;
    const int d = c->head_dim, group = c->n_heads / c->n_kv_heads;
    const int t = j->positions ? j->positions[token] : (int)(token % j->window);
    float *dq = j->d_qkv + (size_t)token * row_width(c);
    float *dk = dq + c->n_heads * d, *dv = dk + c->n_kv_heads * d;
    const float *q = j->qkv + (size_t)token * row_width(c), *key = q + c->n_heads * d;
    const float *keys = j->d_keys + (size_t)token * (size_t)(c->n_heads * d);
    const float *values = j->d_values + (size_t)token * (size_t)(c->n_heads * d);
    double *sums = j->d_norms ? j->d_norms + (size_t)token * 2 * (size_t)d : NULL;
    if (sums) memset(sums, 0, 2 * (size_t)d * sizeof *sums);
    for (int h = 0; h < c->n_kv_heads; h++) {
        memcpy(dk + h * d, keys + h * group * d, (size_t)d * sizeof *dk);
        memcpy(dv + h * d, values + h * group * d, (size_t)d * sizeof *dv);
        for (int i = 1; i < group; i++) {
            k->add(dk + h * d, keys + (h * group + i) * d, d);
            k->add(dv + h * d, values + (h * group + i) * d, d);
        }
        k->rope(dk + h * d, j->cos + t * (d / 2), j->minus_sin + t * (d / 2), d);
        if (sums) norm_back(j, dk + h * d, key + h * d, j->layer->k_norm, sums + d);
    }
    if (!sums) return;
    for (int h = 0; h < c->n_heads; h++)
        norm_back(j, dq + h * d, q + h * d, j->layer->q_norm, sums);
}

void bc_attention_backward(const bc_attention_job *job, double *q_norm, double *k_norm)
{
    bc_attention_job j = *job;
    const int64_t tokens = j.starts ? j.starts[j.n_windows] : (int64_t)j.n_windows * j.window;
    const int d = j.config->head_dim;
    run_heads(&j, backward_head, 1);
    if (bc_cancelled(j.cancel)) return;
    bc_pool_run(j.engine->pool, finish_token, &j, tokens);
    for (int64_t t = 0; j.d_norms && t < tokens; t++) {
        for (int i = 0; i < d; i++) {
            if (q_norm) q_norm[i] += j.d_norms[2 * t * d + i];
            if (k_norm) k_norm[i] += j.d_norms[(2 * t + 1) * d + i];
        }
    }
}
