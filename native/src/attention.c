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

void bc_rope_init(bc_session *s)
{
    const bc_config *c = &s->model->config;
    for (int i = 0; i < c->head_dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)c->head_dim;
        float f = 1.0f / (float)pow((double)c->rope_theta, (double)exponent);
        if (c->rope_type == BC_ROPE_LINEAR) f /= c->rope_factor;
        if (c->rope_type == BC_ROPE_LLAMA3) f = llama3_frequency(c, f);
        s->inv_freq[i] = f;
    }
}

void bc_rope_table(bc_session *s, int n)
{
    const int half = s->model->config.head_dim / 2;
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < half; i++) {
            const float angle = (float)(s->position + t) * s->inv_freq[i];
            s->cos[t * half + i] = (float)cos((double)angle);
            s->sin[t * half + i] = (float)sin((double)angle);
        }
    }
}

/* ---- the cache ---- */

struct work {
    bc_session *s;
    int layer, n;
};

/* Index of (layer, kv_head, position 0) in units of positions. */
static size_t cache_row(const bc_session *s, int layer, int kv_head)
{
    const size_t heads = (size_t)s->model->config.n_kv_heads;
    return ((size_t)layer * heads + (size_t)kv_head) * (size_t)s->n_ctx;
}

static void store(const bc_session *s, uint8_t *cache, float *scales, size_t row, const float *x)
{
    const bc_kernels *k = &s->engine->k;
    const int n = s->model->config.head_dim;
    uint8_t *out = cache + row * (size_t)n * s->kv_element;
    if (s->kv_type == BC_KV_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
    } else if (s->kv_type == BC_KV_F16) {
        k->f32_to_f16((uint16_t *)(void *)out, x, n);
    } else {
        /* the kernel pads its row with zeros, which must not land in the next position */
        _Alignas(64) int8_t padded[256];
        k->quantize_i8(padded, &scales[row], x, n);
        memcpy(out, padded, (size_t)n);
    }
}

/* Norms (Qwen3) and rotates the heads of one token, and writes its keys and values. */
static void place_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct work *w = arg;
    bc_session *s = w->s;
    const bc_config *c = &s->model->config;
    const bc_kernels *kernels = &s->engine->k;
    const bc_layer *layer = &s->model->layers[w->layer];
    const int d = c->head_dim;
    const float *cosines = s->cos + t * (d / 2), *sines = s->sin + t * (d / 2);
    float *q = s->q + t * c->n_heads * d, *k = s->k + t * c->n_kv_heads * d;
    const float *v = s->v + t * c->n_kv_heads * d;
    for (int i = 0; i < c->n_heads; i++) {
        if (layer->q_norm) kernels->rmsnorm(q + i * d, q + i * d, layer->q_norm, d, c->rms_eps);
        kernels->rope(q + i * d, cosines, sines, d);
    }
    for (int i = 0; i < c->n_kv_heads; i++) {
        if (layer->k_norm) kernels->rmsnorm(k + i * d, k + i * d, layer->k_norm, d, c->rms_eps);
        kernels->rope(k + i * d, cosines, sines, d);
        const size_t row = cache_row(s, w->layer, i) + (size_t)s->position + (size_t)t;
        store(s, s->keys, s->key_scales, row, k + i * d);
        store(s, s->values, s->value_scales, row, v + i * d);
    }
}

/* One head of one token over all positions it may see; the result replaces its q. */
static void attend_head(void *arg, int64_t item, int thread)
{
    const struct work *w = arg;
    bc_session *s = w->s;
    if (bc_cancelled(s->cancel)) return;
    const bc_config *c = &s->model->config;
    const bc_kernels *k = &s->engine->k;
    const int d = c->head_dim;
    const int64_t t = item / c->n_heads;
    const int head = (int)(item % c->n_heads), kv_head = head / (c->n_heads / c->n_kv_heads);
    const int last = s->position + (int)t;
    int first = 0;
    if (c->sliding_window > 0 && c->layer_slides[w->layer] && last >= c->sliding_window)
        first = last - c->sliding_window + 1;
    const int n = last - first + 1;
    const size_t row = cache_row(s, w->layer, kv_head) + (size_t)first;
    const size_t offset = row * (size_t)d * s->kv_element;
    const float *key_scales = s->key_scales ? s->key_scales + row : NULL;
    const float *value_scales = s->value_scales ? s->value_scales + row : NULL;
    float *q = s->q + (t * c->n_heads + head) * d;
    float *scores = s->scores + (size_t)thread * (size_t)s->n_ctx;
    k->attn_scores[s->kv_type](scores, q, s->keys + offset, key_scales, n, d,
                               1.0f / sqrtf((float)d));
    k->softmax(scores, n);
    k->attn_mix[s->kv_type](q, scores, s->values + offset, value_scales, n, d);
}

void bc_attention(bc_session *s, int layer, int n)
{
    struct work w = { s, layer, n };
    bc_pool_run(s->engine->pool, place_token, &w, n);
    bc_pool_run(s->engine->pool, attend_head, &w, (int64_t)n * s->model->config.n_heads);
}
