/* attention.c - rotary positions, the KV cache and grouped-query attention. */
#include <math.h>
#include <string.h>

#include "session.h"

/* ---- rotary position embedding (Su et al., RoFormer, 2021) ----
 *
 * Angles are products in f32 of position and frequency, like the reference implementation in
 * transformers: at position 1,000 the rounding of that product is larger than our tolerance. */

/* Llama 3.1's stretch of the low frequencies (transformers' modeling_rope_utils, "llama3"). */
static float llama3_frequency(const bc_config *c, float inv_freq)
{
    const float two_pi = 6.28318530717958647692f;
    const float length = (float)c->rope_original_positions, wavelength = two_pi / inv_freq;
    if (wavelength > length / c->rope_low_freq) return inv_freq / c->rope_factor;
    if (wavelength < length / c->rope_high_freq) return inv_freq;
    const float smooth =
        (length / wavelength - c->rope_low_freq) / (c->rope_high_freq - c->rope_low_freq);
    return (1.0f - smooth) * inv_freq / c->rope_factor + smooth * inv_freq;
}

void bc_rope_frequencies(const bc_config *c, float *inv_freq)
{
    for (int i = 0; i < c->head_dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)c->head_dim;
        float f = 1.0f / (float)pow((double)c->rope_theta, (double)exponent);
        if (c->rope_type == BC_ROPE_LINEAR) f /= c->rope_factor;
        if (c->rope_type == BC_ROPE_LLAMA3) f = llama3_frequency(c, f);
        inv_freq[i] = f;
    }
}

void bc_rope_table(bc_session *s, int n)
{
    const int half = s->model->config.head_dim / 2;
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < half; i++) {
            const float angle = (float)s->places[t].position * s->inv_freq[i];
            s->cos[t * half + i] = (float)cos((double)angle);
            s->sin[t * half + i] = (float)sin((double)angle);
        }
    }
}

/* ---- the cache ---- */

/* Index of (layer, kv_head, position 0) in units of positions. */
static size_t cache_row(const bc_session *s, int layer, int kv_head)
{
    const size_t heads = (size_t)s->model->config.n_kv_heads;
    return ((size_t)layer * heads + (size_t)kv_head) * (size_t)s->n_ctx;
}

/* x f32 [n] as 15 levels of `scale`, two to a byte (kernels.h). Not finite: the scale is NaN. */
static void store_i4(const bc_kernels *k, uint8_t *out, float *scale, const float *x, int n)
{
    int8_t q[BC_MAX_HEAD_DIM];
    float max = 0.0f, finite = 0.0f;
    for (int i = 0; i < n; i++) {
        finite += 0.0f * x[i];
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    }
    if (max < 1e-30f) max = 0.0f; /* 7 / max must be finite */
    *scale = max / 7.0f + finite;
    k->quant_round(q, x, n, max > 0.0f ? 7.0f / max : 0.0f, 7);
    for (int g = 0; g < n; g += 32)
        for (int i = g; i < g + 16; i++) *out++ = (uint8_t)((q[i] + 8) | (q[i + 16] + 8) << 4);
}

static void store(const bc_session *s, uint8_t *cache, float *scales, size_t row, const float *x)
{
    const bc_kernels *k = &s->engine->k;
    const int n = s->model->config.head_dim;
    uint8_t *out = cache + row * s->kv_row;
    if (s->kv_type == BC_KV_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
    } else if (s->kv_type == BC_KV_F16) {
        k->f32_to_f16((uint16_t *)(void *)out, x, n);
    } else if (s->kv_type == BC_KV_I4) {
        store_i4(k, out, &scales[row], x, n);
    } else {
        /* the kernel pads its row with zeros, which must not land in the next position */
        _Alignas(64) int8_t padded[BC_MAX_HEAD_DIM];
        k->quantize_i8(padded, &scales[row], x, n);
        memcpy(out, padded, (size_t)n);
    }
}

/* With four bits one large element would leave nothing of the others: q, k and v are rotated, which
 * does not change q . k and is undone in the output (QuaRot, Ashkboos et al. 2024). */
static void spread(const bc_session *s, float *heads, int count)
{
    const int d = s->model->config.head_dim;
    if (s->kv_type == BC_KV_I4) s->engine->k.hadamard(heads, count * d, d & -d);
}

/* ---- one layer ---- */

enum {
    BLOCK = BC_KV_BLOCK
}; /* positions whose softmax is taken together; the blocks are then merged */

struct work {
    bc_session *s;
    int layer;
};

/* Norms (Qwen3) and rotates the heads of one token, and writes its keys and values. */
static void place_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct work *w = arg;
    const bc_session *s = w->s, *owner = s->places[t].session;
    const bc_config *c = &s->model->config;
    const bc_kernels *kernels = &s->engine->k;
    const bc_layer *layer = &s->model->layers[w->layer];
    const int d = c->head_dim;
    const float *cosines = s->cos + t * (d / 2), *sines = s->sin + t * (d / 2);
    float *q = s->q + t * c->n_heads * d, *k = s->k + t * c->n_kv_heads * d;
    float *v = s->v + t * c->n_kv_heads * d;
    for (int i = 0; i < c->n_heads; i++) {
        if (layer->q_norm) kernels->rmsnorm(q + i * d, q + i * d, layer->q_norm, d, c->rms_eps);
        kernels->rope(q + i * d, cosines, sines, d);
    }
    for (int i = 0; i < c->n_kv_heads; i++) {
        if (layer->k_norm) kernels->rmsnorm(k + i * d, k + i * d, layer->k_norm, d, c->rms_eps);
        kernels->rope(k + i * d, cosines, sines, d);
    }
    spread(owner, q, c->n_heads);
    spread(owner, k, c->n_kv_heads);
    spread(owner, v, c->n_kv_heads);
    for (int i = 0; i < c->n_kv_heads; i++) {
        const size_t row = cache_row(owner, w->layer, i) + (size_t)s->places[t].position;
        store(owner, owner->keys, owner->key_scales, row, k + i * d);
        store(owner, owner->values, owner->value_scales, row, v + i * d);
    }
}

/* What one token may see: positions first .. first + n - 1. */
struct span {
    int first, n;
};

static struct span seen_by(const struct work *w, int64_t t)
{
    const bc_config *c = &w->s->model->config;
    const int last = w->s->places[t].position;
    int first = 0;
    if (c->sliding_window > 0 && c->layer_slides[w->layer] && last >= c->sliding_window)
        first = last - c->sliding_window + 1;
    return (struct span){ first, last - first + 1 };
}

static int blocks_of(struct span seen) { return (seen.n + BLOCK - 1) / BLOCK; }

/* Floats of one block's result for the `heads` heads of one KV head: their mixes, unnormalized,
 * then the largest score and the sum of each. */
static size_t partial_size(const bc_config *c)
{
    return (size_t)(c->n_heads / c->n_kv_heads) * (size_t)(c->head_dim + 2);
}

static int most_blocks(const bc_session *s) { return (s->n_ctx + BLOCK - 1) / BLOCK; }

int64_t bc_attention_floats(const bc_session *s)
{
    const bc_config *c = &s->model->config;
    const int64_t threads = bc_pool_size(s->engine->pool), heads = c->n_heads / c->n_kv_heads;
    const int64_t places = threads > c->n_kv_heads ? threads : c->n_kv_heads;
    return threads * heads * BLOCK + places * most_blocks(s) * (int64_t)partial_size(c);
}

static float *partials_of(const bc_session *s, int64_t place)
{
    const bc_config *c = &s->model->config;
    const int threads = bc_pool_size(s->engine->pool), heads = c->n_heads / c->n_kv_heads;
    return s->attention + (size_t)threads * (size_t)heads * BLOCK +
           (size_t)place * (size_t)most_blocks(s) * partial_size(c);
}

/* The heads of one KV head of token t over block `block` of what it sees. */
static void attend_block(const struct work *w, int64_t t, int kv_head, int block, float *partial,
                         int thread)
{
    const bc_session *s = w->s, *owner = s->places[t].session;
    const bc_config *c = &s->model->config;
    const bc_kernels *k = &s->engine->k;
    const struct span seen = seen_by(w, t);
    const int d = c->head_dim, heads = c->n_heads / c->n_kv_heads, kv = owner->kv_type;
    const int n = seen.n - block * BLOCK < BLOCK ? seen.n - block * BLOCK : BLOCK;
    const size_t row =
        cache_row(owner, w->layer, kv_head) + (size_t)seen.first + (size_t)block * BLOCK;
    const float *key_scales = owner->key_scales ? owner->key_scales + row : NULL;
    const float *value_scales = owner->value_scales ? owner->value_scales + row : NULL;
    const float *q = s->q + (t * c->n_heads + (int64_t)kv_head * heads) * d;
    float *scores = s->attention + (size_t)thread * (size_t)heads * BLOCK;
    float *max = partial + heads * d, *sum = max + heads;
    k->attn_scores[kv](scores, BLOCK, q, heads, owner->keys + row * owner->kv_row, key_scales, n, d,
                       1.0f / sqrtf((float)d));
    for (int h = 0; h < heads; h++)
        sum[h] = (float)k->exp_sum(scores + h * BLOCK, &max[h], scores + h * BLOCK, n);
    k->attn_mix[kv](partial, scores, BLOCK, heads, owner->values + row * owner->kv_row,
                    value_scales, n, d);
}

/* The blocks' results, each weighted by e^(its maximum), replace q. */
static void merge_blocks(const struct work *w, int64_t t, int kv_head, const float *partials)
{
    const bc_session *s = w->s;
    const bc_config *c = &s->model->config;
    const int d = c->head_dim, heads = c->n_heads / c->n_kv_heads;
    const int blocks = blocks_of(seen_by(w, t));
    const size_t size = partial_size(c);
    float *out = s->q + (t * c->n_heads + (int64_t)kv_head * heads) * d;
    for (int h = 0; h < heads; h++) {
        float max = -INFINITY, total = 0.0f;
        float *y = out + h * d;
        for (int b = 0; b < blocks; b++) {
            const float m = partials[(size_t)b * size + (size_t)(heads * d + h)];
            max = m > max ? m : max;
        }
        memset(y, 0, (size_t)d * sizeof *y);
        for (int b = 0; b < blocks; b++) {
            const float *p = partials + (size_t)b * size, *x = p + h * d;
            const float weight = expf(p[heads * d + h] - max);
            total += weight * p[heads * d + heads + h];
            for (int i = 0; i < d; i++) y[i] += weight * x[i];
        }
        for (int i = 0; i < d; i++) y[i] *= 1.0f / total;
    }
    spread(s->places[t].session, out, heads);
}

static void attend_token(void *arg, int64_t item, int thread)
{
    const struct work *w = arg;
    const bc_session *s = w->s;
    const bc_config *c = &s->model->config;
    if (bc_cancelled(s->cancel)) return;
    const int64_t t = item / c->n_kv_heads;
    const int kv_head = (int)(item % c->n_kv_heads), blocks = blocks_of(seen_by(w, t));
    float *partials = partials_of(s, thread);
    for (int b = 0; b < blocks; b++)
        attend_block(w, t, kv_head, b, partials + (size_t)b * partial_size(c), thread);
    merge_blocks(w, t, kv_head, partials);
}

/* The first token alone: its KV heads' blocks are the items. */
static void attend_part(void *arg, int64_t item, int thread)
{
    const struct work *w = arg;
    const bc_session *s = w->s;
    if (bc_cancelled(s->cancel)) return;
    const int blocks = blocks_of(seen_by(w, 0));
    const int kv_head = (int)(item / blocks), b = (int)(item % blocks);
    float *partial = partials_of(s, kv_head) + (size_t)b * partial_size(&s->model->config);
    attend_block(w, 0, kv_head, b, partial, thread);
}

/* Below this many products of a query with a key or value, other threads come too late to help. */
enum { WORTH_SHARING = 1 << 18 };

void bc_attention(bc_session *s, int layer, int n)
{
    struct work w = { s, layer };
    const bc_config *c = &s->model->config;
    bc_pool *pool = s->engine->pool;
    const int kv_heads = c->n_kv_heads;
    bc_pool_run(pool, place_token, &w, n);
    if (n > 1) {
        bc_pool_run(pool, attend_token, &w, (int64_t)n * kv_heads);
        return;
    }
    const struct span seen = seen_by(&w, 0);
    if ((int64_t)seen.n * c->n_heads * c->head_dim < WORTH_SHARING) {
        for (int i = 0; i < kv_heads; i++) attend_token(&w, i, 0);
        return;
    }
    bc_pool_run(pool, attend_part, &w, (int64_t)kv_heads * blocks_of(seen));
    for (int i = 0; i < kv_heads; i++) merge_blocks(&w, 0, i, partials_of(s, i));
}
