// cache.cuh - heads on their way to the KV cache and elements on their way back; attention.c defines both.
#pragma once

enum { BC_GPU_KV_F16 = 0, BC_GPU_KV_I8 = 1, BC_GPU_KV_F32 = 2 }; // enum bc_kv_type

BC_DEVICE int bc_kv_bytes(int kv_type)
{
    return kv_type == BC_GPU_KV_F16 ? 2 : kv_type == BC_GPU_KV_I8 ? 1 : 4;
}

// Index of (layer, kv_head, position) in units of positions.
BC_DEVICE int64_t bc_cache_row(const bc_attend_args &p, const bc_gpu_place &place, int kv_head,
                               int position)
{
    return ((int64_t)p.layer * p.kv_heads + kv_head) * place.n_ctx + position;
}

// Four elements of a row, without its scale.
BC_DEVICE void bc_cache_four(float v[4], uint32_t w) // of int8
{
    w ^= 0x80808080u; // byte + 128 as the low bits of 2^23 + it: conversions are slower
#pragma unroll
    for (int i = 0; i < 4; i++)
        v[i] = bc_bits_to_float(bc_bytes(w, 0x4b000000u, 0x7440u + i)) - 8388736.0f;
}
BC_DEVICE void bc_cache_four(float v[4], uint64_t w) // of f16
{
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = bc_half_to_float((uint16_t)(w >> 16 * i & 0xffff));
}
BC_DEVICE void bc_cache_load4(float v[4], const uint8_t *row, int kv_type, int d)
{
    if (kv_type == BC_GPU_KV_I8) {
        bc_cache_four(v, *(const uint32_t *)(row + d));
    } else if (kv_type == BC_GPU_KV_F16) {
        bc_cache_four(v, *(const uint64_t *)(row + 2 * d));
    } else {
        const bc_words4 w = bc_load((const float *)row + d);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = bc_bits_to_float(w.w[i]);
    }
}

// One warp: RMSNorm of a head (norm 0: none), then rotate-half RoPE; x f32 [d], in place.
BC_DEVICE void bc_place_head(float *x, const float *norm, const float *cos, const float *sin, int d,
                             float eps)
{
    const int lane = threadIdx.x % 32, half = d / 2;
    float inverse = 1.0f;
    if (norm) {
        bc_wide_sum squares = bc_no_squares();
        for (int i = lane; i < d; i += 32) bc_add_square(&squares, x[i]);
        const double sum = bc_warp_sum(bc_squares(squares));
        inverse = 1.0f / sqrtf((float)(sum / d) + eps);
        bc_sync_warp(); // what other lanes have read is written now
    }
    for (int i = lane; i < half; i += 32) {
        float u = x[i], v = x[i + half];
        if (norm) {
            u = u * inverse * norm[i];
            v = v * inverse * norm[i + half];
        }
        x[i] = u * cos[i] - v * sin[i];
        x[i + half] = v * cos[i] + u * sin[i];
    }
    bc_sync_warp();
}

// One warp: x f32 [d] into row `row` of a cache (`write`), and x becomes what the cache gives back of it.
BC_DEVICE void bc_store_head(float *x, int d, uint8_t *cache, float *scales, int64_t row,
                             int kv_type, bool write)
{
    const int lane = threadIdx.x % 32;
    if (kv_type == BC_GPU_KV_F16) {
        for (int i = lane; i < d; i += 32) {
            const uint16_t bits = bc_float_to_half(x[i]);
            if (write) ((uint16_t *)cache)[row * d + i] = bits;
            x[i] = bc_half_to_float(bits);
        }
    } else if (kv_type == BC_GPU_KV_F32) {
        for (int i = lane; i < d && write; i += 32) ((float *)cache)[row * d + i] = x[i];
    } else { // as quantize_i8 of kernels_scalar.c
        int top = 0;
        for (int i = lane; i < d; i += 32) {
            const int bits = (int)(bc_float_to_bits(x[i]) & 0x7fffffffu);
            top = bits > top ? bits : top;
        }
        top = bc_warp_max(top);
        const bc_rounding rounding = bc_rounding_of(top);
        const float scale = rounding.scale();
        for (int i = lane; i < d; i += 32) {
            const int q = bc_rounded(rounding, x[i]);
            if (write) ((int8_t *)cache)[row * d + i] = (int8_t)q;
            x[i] = scale * (float)q;
        }
        if (write && lane == 0) scales[row] = scale;
    }
    bc_sync_warp();
}

// Many tokens of one cache: queries in place, keys and values to the cache. One warp per head: grid (tokens, heads / 4).
BC_KERNEL BC_BOUNDS(128, 4) bc_place_rows(const bc_attend_args p)
{
    BC_SHARED float room[4][BC_GPU_MAX_HEAD_DIM];
    const int t = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = p.head_dim;
    int head = blockIdx.y * 4 + warp;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (head >= p.heads + 2 * p.kv_heads) return;
    float *x = room[warp];
    const float *cos = p.cos + (int64_t)t * (d / 2), *sin = p.sin + (int64_t)t * (d / 2);
    const bool query = head < p.heads, key = !query && head < p.heads + p.kv_heads;
    if (!query) head -= key ? p.heads : p.heads + p.kv_heads;
    const float *from = query ? p.q + (int64_t)t * p.q_stride + head * d
                              : (key ? p.k : p.v) + ((int64_t)t * p.kv_heads + head) * d;
    for (int i = lane; i < d; i += 32) x[i] = from[i];
    bc_sync_warp();
    if (query || key) bc_place_head(x, query ? p.q_norm : p.k_norm, cos, sin, d, p.eps);
    if (query) {
        float *q = p.q + (int64_t)t * p.q_stride + head * d;
        for (int i = lane; i < d; i += 32) q[i] = x[i];
        return;
    }
    const bc_gpu_place &place = p.places[t];
    bc_store_head(x, d, key ? place.keys : place.values,
                  key ? place.key_scales : place.value_scales,
                  bc_cache_row(p, place, head, place.position), p.kv_type, true);
}
