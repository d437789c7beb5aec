// flash.cuh - attention of many tokens of one cache, one tile of queries of one head per block, keys and values tile by
// tile with a running softmax (FlashAttention, Dao et al. 2022). In f32: the products are a small part of a prefill.
//
// Grid: (tiles of tokens, heads). bc_place_rows has put queries, keys and values in place. The output replaces the
// queries.
#pragma once

// D: the largest head_dim; ROWS: queries, and keys, of a tile. SHARE threads have two queries, so that what they load of a
// key or a value serves twice: each has every SHARE-th key, then every SHARE-th four elements of the output.
template <int D, int ROWS> BC_DEVICE void bc_flash(const bc_attend_args &p)
{
    const int PAD = D + 4, PAIRS = ROWS / 2, SHARE = BC_GPU_FLASH_THREADS / PAIRS,
              KEYS = ROWS / SHARE, QUADS = D / 4 / SHARE;
    alignas(16) BC_SHARED float q[ROWS * (D + 4)], kv[ROWS * (D + 4)];
    BC_SHARED float scores[ROWS * (ROWS + 1)];
    const int d = p.head_dim, head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads),
              t0 = blockIdx.x * ROWS;
    const int tokens = p.n - t0 < ROWS ? p.n - t0 : ROWS;
    const int pair = threadIdx.x / SHARE, sub = threadIdx.x % SHARE; // queries pair, pair + PAIRS
    bc_let_next_begin();
    bc_wait_for_inputs();
    const bc_gpu_place place = p.places[t0];
    const int64_t base = bc_cache_row(p, place, kv_head, 0);
    const int bytes = d * bc_kv_bytes(p.kv_type);
    const bool scaled = p.kv_type == BC_GPU_KV_I8;

    for (int i = threadIdx.x; i < ROWS * D; i += BC_GPU_FLASH_THREADS) {
        const int r = i / D, e = i % D;
        q[r * PAD + e] =
            r < tokens && e < d ? p.q[(int64_t)(t0 + r) * p.q_stride + head * d + e] : 0.0f;
    }
    bc_four out[2][QUADS] = {};
    float largest[2] = { -INFINITY, -INFINITY }, sum[2] = {};
    const int last = place.position + tokens - 1;
    const int start =
        p.window > 0 && place.position >= p.window ? place.position - p.window + 1 : 0;

    for (int from = start; from <= last; from += ROWS) {
        const int n = last - from + 1 < ROWS ? last - from + 1 : ROWS;
        for (int part = 0; part < 2; part++) { // the keys, then the values
            bc_sync();
            for (int i = threadIdx.x; i < ROWS * (D / 4); i += BC_GPU_FLASH_THREADS) {
                const int j = i / (D / 4), e = i % (D / 4) * 4;
                bc_four four = {};
                if (j < n && e < d) {
                    const int64_t at = base + from + j;
                    bc_cache_load4(four.v, (part ? place.values : place.keys) + at * bytes,
                                   p.kv_type, e);
                    const float scale =
                        scaled ? (part ? place.value_scales : place.key_scales)[at] : 1.0f;
                    for (int x = 0; x < 4; x++) four.v[x] *= scale;
                }
                bc_put_four(kv + j * PAD + e, four);
            }
            bc_sync();
            if (part == 0) {
                float s[2][KEYS] = {};
#pragma unroll 4
                for (int e = 0; e < D; e += 4) {
                    const bc_four query[2] = { bc_load_four(q + pair * PAD + e),
                                               bc_load_four(q + (pair + PAIRS) * PAD + e) };
#pragma unroll
                    for (int m = 0; m < KEYS; m++) {
                        const bc_four key = bc_load_four(kv + (sub + m * SHARE) * PAD + e);
#pragma unroll
                        for (int x = 0; x < 8; x++)
                            s[x / 4][m] = bc_fma(query[x / 4].v[x % 4], key.v[x % 4], s[x / 4][m]);
                    }
                }
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const int row = pair + r * PAIRS, position = place.position + row;
                    const int lowest =
                        p.window > 0 && position >= p.window ? position - p.window + 1 : 0;
                    float top = largest[r];
#pragma unroll
                    for (int m = 0; m < KEYS; m++) {
                        const int j = sub + m * SHARE, at = from + j;
                        const bool seen = j < n && at <= position && at >= lowest;
                        s[r][m] = seen ? s[r][m] * p.factor : -INFINITY;
                        top = s[r][m] > top ? s[r][m] : top;
                    }
                    for (int mask = SHARE / 2; mask; mask /= 2) {
                        const float other = bc_shuffle_xor(top, mask);
                        top = other > top ? other : top;
                    }
                    const float shrink = top == -INFINITY ? 1.0f : bc_exp(largest[r] - top);
                    float added = 0.0f;
#pragma unroll
                    for (int m = 0; m < KEYS; m++) {
                        const float e = s[r][m] == -INFINITY ? 0.0f : bc_exp(s[r][m] - top);
                        scores[row * (ROWS + 1) + sub + m * SHARE] = e;
                        added += e;
                    }
                    for (int mask = SHARE / 2; mask; mask /= 2)
                        added += bc_shuffle_xor(added, mask);
                    sum[r] = sum[r] * shrink + added;
                    largest[r] = top;
#pragma unroll
                    for (int m = 0; m < QUADS * 4; m++) out[r][m / 4].v[m % 4] *= shrink;
                }
            } else {
                for (int j = 0; j < n; j++) {
                    const float weight[2] = { scores[pair * (ROWS + 1) + j],
                                              scores[(pair + PAIRS) * (ROWS + 1) + j] };
#pragma unroll
                    for (int m = 0; m < QUADS; m++) {
                        const bc_four value = bc_load_four(kv + j * PAD + (sub + m * SHARE) * 4);
#pragma unroll
                        for (int x = 0; x < 8; x++)
                            out[x / 4][m].v[x % 4] =
                                bc_fma(weight[x / 4], value.v[x % 4], out[x / 4][m].v[x % 4]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int row = pair + r * PAIRS;
        if (row >= tokens) return;
#pragma unroll
        for (int m = 0; m < QUADS; m++) {
            const int e = (sub + m * SHARE) * 4;
#pragma unroll
            for (int x = 0; x < 4; x++) out[r][m].v[x] *= 1.0f / sum[r];
            if (e < d)
                bc_put_four(p.q + (int64_t)(t0 + row) * p.q_stride + head * d + e, out[r][m]);
        }
    }
}

BC_KERNEL BC_BOUNDS(128, 3) bc_flash_64(const bc_attend_args p) { bc_flash<64, 32>(p); }
BC_KERNEL BC_BOUNDS(128, 3) bc_flash_128(const bc_attend_args p) { bc_flash<128, 32>(p); }
BC_KERNEL BC_BOUNDS(128, 2) bc_flash_256(const bc_attend_args p) { bc_flash<256, 16>(p); }
