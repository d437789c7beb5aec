// attend.cuh - attention of one token per cache, a part of its context per block; the block that comes last joins the
// parts (as attention.c does with its blocks; the method is Flash-Decoding's, Dao et al. 2023).
//
// Grid: (blocks of up to BC_GPU_HEADS query heads of one KV head, parts of the context, tokens).
// What attend_fast.cuh has in common with it is here too; its blocks may have fewer heads.
#pragma once

enum { BC_ATTEND_TILE = BC_GPU_LEAST_PART };

// Which positions a token sees, its own included: start .. position, in `parts` parts of `share`.
struct bc_context {
    int start, share, parts;
};
BC_DEVICE bc_context bc_context_of(int position, int window, int splits)
{
    bc_context c;
    c.start = window > 0 && position >= window ? position - window + 1 : 0;
    const int n = position - c.start + 1;
    c.share = (n + splits - 1) / splits;
    if (c.share < BC_GPU_LEAST_PART) c.share = BC_GPU_LEAST_PART; // few positions: fewer parts
    c.parts = (n + c.share - 1) / c.share;
    return c;
}

struct bc_attend_block {
    int kv_head, head0, heads; // query heads head0 .. head0 + heads - 1
    int first, end;            // of the cache, without the token's own position
    bool own;                  // this part has the token's own position
    bool writes;               // and puts its key and value into the cache
};

// `most`: heads of a block
BC_DEVICE bc_attend_block bc_attend_share(const bc_attend_args &p, int most, int position,
                                          const bc_context &c)
{
    const int group = p.heads / p.kv_heads, blocks = (group + most - 1) / most;
    bc_attend_block b;
    const int sub = blockIdx.x % blocks;
    b.kv_head = blockIdx.x / blocks;
    b.head0 = b.kv_head * group + sub * most;
    b.heads = group - sub * most < most ? group - sub * most : most;
    b.first = c.start + (int)blockIdx.y * c.share;
    b.own = (int)blockIdx.y == c.parts - 1;
    b.end = b.own ? position : b.first + c.share;
    b.writes = b.own && sub == 0;
    return b;
}

// The block's positions from `first` on
BC_DEVICE void bc_attend_fetch(const bc_attend_args &p, const bc_gpu_place &place,
                               const bc_attend_block &b, int first)
{
    const int64_t row = bc_cache_row(p, place, b.kv_head, first);
    const int bytes = p.head_dim * bc_kv_bytes(p.kv_type), all = (b.end - first) * bytes;
    for (int i = threadIdx.x * 32; i < all; i += blockDim.x * 32) { // sectors of 32 bytes
        bc_prefetch(place.keys + row * bytes + i);
        bc_prefetch(place.values + row * bytes + i);
    }
    if (p.kv_type != BC_GPU_KV_I8) return;
    for (int i = threadIdx.x * 8; i < b.end - first; i += blockDim.x * 8) {
        bc_prefetch(place.key_scales + row + i);
        bc_prefetch(place.value_scales + row + i);
    }
}

struct bc_attend_state { // in shared memory
    float largest[BC_GPU_HEADS], sum[BC_GPU_HEADS], factor[BC_GPU_HEADS];
    float scores[BC_GPU_HEADS][BC_ATTEND_TILE];
};

// The scores of `n` positions join: they become e^(score - largest), and factor what counted before shrinks by.
BC_DEVICE void bc_attend_softmax(bc_attend_state *s, int heads, int n)
{
    const int lane = threadIdx.x % 32;
    for (int h = threadIdx.x / 32; h < heads; h += BC_GPU_ATTEND_THREADS / 32) {
        const float before = s->largest[h];
        float top = before, sum = 0.0f;
        for (int j = lane; j < n; j += 32) top = s->scores[h][j] > top ? s->scores[h][j] : top;
        top = bc_warp_max(top);
        for (int j = lane; j < n; j += 32) {
            const float e = bc_exp(s->scores[h][j] - top);
            s->scores[h][j] = e;
            sum += e;
        }
        sum = bc_warp_sum(sum);
        bc_sync_warp();
        if (lane == 0) {
            s->factor[h] = bc_exp(before - top);
            s->sum[h] = s->sum[h] * s->factor[h] + sum;
            s->largest[h] = top;
        }
    }
}

// Element i of the output of the block's heads: where the queries were or, `places` being those of its elements, placed.
BC_DEVICE void bc_attend_put(const bc_attend_args &p, const bc_attend_block &b,
                             const uint32_t *places, int i, float v)
{
    if (places)
        p.placed[places[i] & BC_PLACE] = bc_flipped(v, places[i]);
    else
        p.q[(int64_t)blockIdx.z * p.q_stride + b.head0 * p.head_dim + i] = v;
}

// Element i of this part's mix of the block's heads, not divided by their sums: the output, or what is joined to it.
BC_DEVICE void bc_attend_give(const bc_attend_args &p, const bc_attend_block &b, int d, int parts,
                              const float *sum, const uint32_t *places, int i, float v)
{
    const int64_t head = (int64_t)blockIdx.z * p.heads + b.head0 + i / d;
    if (parts == 1)
        bc_attend_put(p, b, places, i, v * (1.0f / sum[i / d]));
    else
        p.mixes[(head * p.splits + blockIdx.y) * d + i % d] = v;
}

// Joins the parts of the block's heads, which are all there. A warp finds what a head's parts count.
BC_DEVICE void bc_attend_join(const bc_attend_args &p, const bc_attend_block &b, int d, int parts,
                              float *weights, const uint32_t *places)
{
    const int t = blockIdx.z, lane = threadIdx.x % 32;
    const int64_t head = (int64_t)t * p.heads + b.head0;
    for (int h = threadIdx.x / 32; h < b.heads; h += blockDim.x / 32) {
        const float *sums = p.sums + (head + h) * p.splits * 2;
        float *weight = weights + h * parts, top = -INFINITY, total = 0.0f;
        for (int s = lane; s < parts; s += 32) top = sums[2 * s] > top ? sums[2 * s] : top;
        top = bc_warp_max(top);
        for (int s = lane; s < parts; s += 32) {
            weight[s] = bc_exp(sums[2 * s] - top);
            total = bc_fma(weight[s], sums[2 * s + 1], total);
        }
        total = bc_warp_sum(total);
        for (int s = lane; s < parts; s += 32) weight[s] *= 1.0f / total;
    }
    bc_sync();
    for (int i = threadIdx.x * 4; i < b.heads * d; i += blockDim.x * 4) {
        const float *mix = p.mixes + (head + i / d) * p.splits * d + i % d;
        const float *weight = weights + i / d * parts;
        float v[4] = {};
#pragma unroll 4
        for (int s = 0; s < parts; s++) {
            const bc_words4 part = bc_load(mix + s * d);
#pragma unroll
            for (int e = 0; e < 4; e++) v[e] = bc_fma(weight[s], bc_bits_to_float(part.w[e]), v[e]);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) bc_attend_put(p, b, places, i + e, v[e]);
    }
}

// After bc_attend_give of all elements: the last part to come joins them all. `weights`: f32 [heads][parts] of shared memory;
// `places`: see bc_attend_put.
BC_DEVICE void bc_attend_finish(const bc_attend_args &p, const bc_attend_block &b, int d, int parts,
                                const float *largest, const float *sum, float *weights,
                                const uint32_t *places)
{
    BC_SHARED int last;
    const int t = blockIdx.z;
    const int64_t head = (int64_t)t * p.heads + b.head0;
    if (parts == 1) return;
    for (int h = threadIdx.x; h < b.heads; h += blockDim.x) {
        const int64_t part = (head + h) * p.splits + blockIdx.y;
        p.sums[2 * part] = largest[h];
        p.sums[2 * part + 1] = sum[h];
    }
    int *arrived = p.arrived + t * gridDim.x + blockIdx.x;
    bc_fence();
    bc_sync();
    if (threadIdx.x == 0) last = bc_atomic_add(arrived, 1) == parts - 1;
    bc_sync();
    if (!last) return;
    bc_fence();
    if (threadIdx.x == 0) *arrived = 0;
    bc_attend_join(p, b, d, parts, weights, places);
}

// Shared memory: f32 [heads of a block + 2][head_dim]: queries, then the token's own key and value.
BC_KERNEL BC_BOUNDS(BC_GPU_ATTEND_THREADS, 4) bc_attend(const bc_attend_args p)
{
    BC_DYNAMIC_SHARED(shared);
    BC_SHARED bc_attend_state s;
    const int t = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = p.head_dim;
    bc_let_next_begin();
    // the places and the keys and values of earlier positions are older than the kernels that are waited for
    const bc_gpu_place place = p.places[t];
    const bc_context context = bc_context_of(place.position, p.window, p.splits);
    const bool active = (int)blockIdx.y < context.parts;
    const bc_attend_block b = bc_attend_share(p, BC_GPU_HEADS, place.position, context);
    if (active) bc_attend_fetch(p, place, b, b.first);
    bc_wait_for_inputs();
    if (!active) return;
    float *q = (float *)shared, *key = q + b.heads * d, *value = key + d;
    const float *cos = p.cos + (int64_t)t * (d / 2), *sin = p.sin + (int64_t)t * (d / 2);

    for (int h = warp; h < b.heads + 2; h += BC_GPU_ATTEND_THREADS / 32) {
        float *x = q + h * d;
        const float *from =
            h < b.heads ? p.q + (int64_t)t * p.q_stride + (b.head0 + h) * d
                        : (h == b.heads ? p.k : p.v) + ((int64_t)t * p.kv_heads + b.kv_head) * d;
        if (h >= b.heads && !b.own) continue;
        for (int i = lane; i < d; i += 32) x[i] = from[i];
        bc_sync_warp();
        if (h <= b.heads) bc_place_head(x, h < b.heads ? p.q_norm : p.k_norm, cos, sin, d, p.eps);
        if (h >= b.heads)
            bc_store_head(x, d, h == b.heads ? place.keys : place.values,
                          h == b.heads ? place.key_scales : place.value_scales,
                          bc_cache_row(p, place, b.kv_head, place.position), p.kv_type, b.writes);
    }
    for (int h = threadIdx.x; h < b.heads; h += BC_GPU_ATTEND_THREADS) {
        s.largest[h] = -INFINITY;
        s.sum[h] = 0.0f;
    }
    bc_sync();

    // thread: four elements from `quad` of every row-th position's value
    const int quads = d / 4, quad = (int)threadIdx.x % quads * 4, row = (int)threadIdx.x / quads;
    const int rows = BC_GPU_ATTEND_THREADS / quads;
    float mix[BC_GPU_HEADS][4] = {};
    const int64_t base = bc_cache_row(p, place, b.kv_head, 0);
    const int bytes = d * bc_kv_bytes(p.kv_type);
    const bool scaled = p.kv_type == BC_GPU_KV_I8;

    for (int from = b.first; from < b.end; from += BC_ATTEND_TILE) {
        const int n = b.end - from < BC_ATTEND_TILE ? b.end - from : BC_ATTEND_TILE;
        // eight lanes per position
#pragma unroll 1
        for (int j0 = 0; j0 < n; j0 += BC_GPU_ATTEND_THREADS / 8) { // whole warps: they shuffle
            const int j = j0 + (int)threadIdx.x / 8, sub = threadIdx.x % 8 * 4;
            float sum[BC_GPU_HEADS] = {};
            if (j < n) {
                const uint8_t *k = place.keys + (base + from + j) * bytes;
#pragma unroll 1
                for (int i = sub; i < d; i += 32) {
                    float v[4];
                    bc_cache_load4(v, k, p.kv_type, i);
#pragma unroll
                    for (int h = 0; h < BC_GPU_HEADS; h++) {
                        if (h >= b.heads) break;
#pragma unroll
                        for (int e = 0; e < 4; e++) sum[h] = bc_fma(q[h * d + i + e], v[e], sum[h]);
                    }
                }
            }
            const float scale = scaled && j < n ? place.key_scales[base + from + j] : 1.0f;
#pragma unroll
            for (int h = 0; h < BC_GPU_HEADS; h++) {
                if (h >= b.heads) break;
                float v = sum[h];
                for (int mask = 4; mask; mask /= 2) v += bc_shuffle_xor(v, mask);
                if (j < n && threadIdx.x % 8 == 0) s.scores[h][j] = v * scale * p.factor;
            }
        }
        bc_sync();
        bc_attend_softmax(&s, b.heads, n);
        bc_sync();
        if (row < rows) {
#pragma unroll
            for (int h = 0; h < BC_GPU_HEADS; h++) {
                if (h >= b.heads) break;
#pragma unroll
                for (int e = 0; e < 4; e++) mix[h][e] *= s.factor[h];
            }
#pragma unroll 2
            for (int j = row; j < n; j += rows) {
                float v[4];
                bc_cache_load4(v, place.values + (base + from + j) * bytes, p.kv_type, quad);
                const float scale = scaled ? place.value_scales[base + from + j] : 1.0f;
#pragma unroll
                for (int h = 0; h < BC_GPU_HEADS; h++) {
                    if (h >= b.heads) break;
                    const float weight = s.scores[h][j] * scale;
#pragma unroll
                    for (int e = 0; e < 4; e++) mix[h][e] = bc_fma(weight, v[e], mix[h][e]);
                }
            }
        }
        bc_sync();
    }

    if (b.own) {
        for (int h = warp; h < b.heads; h += BC_GPU_ATTEND_THREADS / 32) {
            float v = 0.0f;
            for (int i = lane; i < d; i += 32) v = bc_fma(q[h * d + i], key[i], v);
            v = bc_warp_sum(v);
            if (lane == 0) s.scores[h][0] = v * p.factor;
        }
        bc_sync();
        bc_attend_softmax(&s, b.heads, 1);
        bc_sync();
#pragma unroll
        for (int h = 0; h < BC_GPU_HEADS; h++) {
            if (h >= b.heads) break;
#pragma unroll
            for (int e = 0; e < 4; e++) {
                mix[h][e] *= s.factor[h];
                if (row == 0) mix[h][e] = bc_fma(s.scores[h][0], value[quad + e], mix[h][e]);
            }
        }
        bc_sync();
    }

    // the rows' sums into shared memory, in order, where the queries were
    for (int r = 0; r < rows; r++) {
        if (row == r) {
#pragma unroll
            for (int h = 0; h < BC_GPU_HEADS; h++) {
                if (h >= b.heads) break;
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float *at = &q[h * d + quad + e];
                    *at = r ? *at + mix[h][e] : mix[h][e];
                }
            }
        }
        bc_sync();
    }
    const uint32_t *places = p.out_places ? p.out_places + b.head0 * d : nullptr;
#pragma unroll 1
    for (int i = threadIdx.x; i < b.heads * d; i += BC_GPU_ATTEND_THREADS)
        bc_attend_give(p, b, d, context.parts, s.sum, places, i, q[i]);
    bc_attend_finish(p, b, d, context.parts, s.largest, s.sum, &s.scores[0][0], places);
}
