// flash.cuh - attention of many tokens of one cache, one tile of queries of one head per block, keys and values tile by
// tile with a running softmax (FlashAttention, Dao et al. 2022). In f32: the products are a small part of a prefill.
//
// Grid: (tiles of tokens, heads). bc_place_rows has put queries, keys and values in place. The output replaces the
// queries.
#pragma once

// D: the largest head_dim; ROWS: queries, and keys, of a tile
template <int D, int ROWS> BC_DEVICE void bc_flash(const bc_attend_args &p)
{
    const int PAD = D + 4, SHARE = BC_GPU_FLASH_THREADS / ROWS, KEYS = ROWS / SHARE,
              QUADS = D / 4 / SHARE;
    BC_SHARED float q[ROWS * (D + 4)], kv[ROWS * (D + 4)], scores[ROWS * (ROWS + 1)];
    const int d = p.head_dim, head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads),
              t0 = blockIdx.x * ROWS;
    const int tokens = p.n - t0 < ROWS ? p.n - t0 : ROWS;
    const int row = threadIdx.x / SHARE,
              sub = threadIdx.x % SHARE; // a query, and a part of keys or of elements
    bc_let_next_begin();
    bc_wait_for_inputs();
    const bc_gpu_place place = p.places[t0];
    const int64_t base = bc_cache_row(p, place, kv_head, 0);
    const int bytes = d * bc_kv_bytes(p.kv_type), position = place.position + row;
    const bool scaled = p.kv_type == BC_GPU_KV_I8;

    for (int i = threadIdx.x; i < ROWS * D; i += BC_GPU_FLASH_THREADS) {
        const int r = i / D, e = i % D;
        q[r * PAD + e] =
            r < tokens && e < d ? p.q[(int64_t)(t0 + r) * p.q_stride + head * d + e] : 0.0f;
    }
    float out[D / 4 / SHARE][4] = {}, largest = -INFINITY, sum = 0.0f;
    const int last = place.position + tokens - 1;
    const int start =
        p.window > 0 && place.position >= p.window ? place.position - p.window + 1 : 0;
    const int lowest = p.window > 0 && position >= p.window ? position - p.window + 1 : 0;

    for (int from = start; from <= last; from += ROWS) {
        const int n = last - from + 1 < ROWS ? last - from + 1 : ROWS;
        for (int part = 0; part < 2; part++) { // the keys, then the values
            bc_sync();
            for (int i = threadIdx.x; i < ROWS * (D / 4); i += BC_GPU_FLASH_THREADS) {
                const int j = i / (D / 4), e = i % (D / 4) * 4;
                float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
                if (j < n && e < d) {
                    const int64_t at = base + from + j;
                    bc_cache_load4(v, (part ? place.values : place.keys) + at * bytes, p.kv_type,
                                   e);
                    const float scale =
                        scaled ? (part ? place.value_scales : place.key_scales)[at] : 1.0f;
                    for (int x = 0; x < 4; x++) v[x] *= scale;
                }
                for (int x = 0; x < 4; x++) kv[j * PAD + e + x] = v[x];
            }
            bc_sync();
            if (part == 0) {
                float s[KEYS];
                float top = largest;
#pragma unroll
                for (int m = 0; m < KEYS; m++) {
                    const int j = sub + m * SHARE, at = from + j;
                    float v = 0.0f;
                    for (int e = 0; e < D; e += 4)
                        for (int x = 0; x < 4; x++)
                            v = bc_fma(q[row * PAD + e + x], kv[j * PAD + e + x], v);
                    s[m] = j < n && at <= position && at >= lowest ? v * p.factor : -INFINITY;
                    top = s[m] > top ? s[m] : top;
                }
                for (int mask = SHARE / 2; mask; mask /= 2) {
                    const float other = bc_shuffle_xor(top, mask);
                    top = other > top ? other : top;
                }
                const float shrink = top == -INFINITY ? 1.0f : bc_exp(largest - top);
                float added = 0.0f;
#pragma unroll
                for (int m = 0; m < KEYS; m++) {
                    const float e = s[m] == -INFINITY ? 0.0f : bc_exp(s[m] - top);
                    scores[row * (ROWS + 1) + sub + m * SHARE] = e;
                    added += e;
                }
                for (int mask = SHARE / 2; mask; mask /= 2) added += bc_shuffle_xor(added, mask);
                sum = sum * shrink + added;
                largest = top;
#pragma unroll
                for (int m = 0; m < QUADS; m++)
                    for (int x = 0; x < 4; x++) out[m][x] *= shrink;
            } else {
                for (int j = 0; j < n; j++) {
                    const float weight = scores[row * (ROWS + 1) + j];
#pragma unroll
                    for (int m = 0; m < QUADS; m++)
                        for (int x = 0; x < 4; x++)
                            out[m][x] =
                                bc_fma(weight, kv[j * PAD + (sub + m * SHARE) * 4 + x], out[m][x]);
                }
            }
        }
    }
    if (row >= tokens) return;
#pragma unroll
    for (int m = 0; m < QUADS; m++) {
        const int e = (sub + m * SHARE) * 4;
        for (int x = 0; x < 4 && e < d; x++)
            p.q[(int64_t)(t0 + row) * p.q_stride + head * d + e + x] = out[m][x] * (1.0f / sum);
    }
}

BC_KERNEL BC_BOUNDS(128, 3) bc_flash_64(const bc_attend_args p) { bc_flash<64, 32>(p); }
BC_KERNEL BC_BOUNDS(128, 3) bc_flash_128(const bc_attend_args p) { bc_flash<128, 32>(p); }
BC_KERNEL BC_BOUNDS(128, 2) bc_flash_256(const bc_attend_args p) { bc_flash<256, 16>(p); }
