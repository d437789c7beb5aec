// attend_fast.cuh - bc_attend for the usual shapes: heads of 64 or 128 dimensions, caches of f16 or int8. The same parts
// of the context and the same outputs; everything that decides a loop is known to the compiler.
//
// Eight threads share the keys of two positions (four one key, of 64 bytes), so that a query that is read from shared memory
// serves twice; then every thread has four elements of every SLICES-th position's value. Those of a part's first positions are
// asked for before the kernel's inputs are there: they are older. The token's own key and value are written to the cache by
// every block that needs them (all write the same), and read from shared memory.
//
// A block takes GROUP query heads of a KV head. Two are half of the work, for twice as many blocks: where there are more
// processors than blocks (bc_plan_attention). Else a key or a value is read once for more of them.
#pragma once

enum { BC_FAST_THREADS = BC_GPU_FAST_THREADS, BC_FAST_TILE = BC_GPU_LEAST_PART };

// Elements e .. e + 3 of those in 16 bytes of a cache row: 16 of int8, 8 of f16
template <bool INT8> BC_DEVICE void bc_four_of(float v[4], const bc_words4 &w, int e)
{
    if constexpr (INT8)
        bc_cache_four(v, w.w[e / 4]);
    else
        bc_cache_four(v, w.w[e / 2] | (uint64_t)w.w[e / 2 + 1] << 32);
}

// The sums of N values over LANES neighbours. With each step a lane goes on with half of the values, another one with the
// others: of N / LANES, or one, it has the sums then, from v[0] on. Returns which is the first.
template <int N, int LANES> BC_DEVICE int bc_spread_sums(float v[N])
{
    int first = 0;
#pragma unroll
    for (int mask = 1; mask < LANES; mask *= 2) {
        const int half = N / mask / 2; // 0: a single one is left
        const bool upper = half && threadIdx.x & mask;
        first += upper ? half : 0;
        if (!half) v[0] += bc_shuffle_xor(v[0], mask);
#pragma unroll
        for (int i = 0; i < half; i++) {
            const float mine = upper ? v[half + i] : v[i], other = upper ? v[i] : v[half + i];
            v[i] = mine + bc_shuffle_xor(other, mask);
        }
    }
    return first;
}

// What N heads' sums take a position's value by
template <int N> BC_DEVICE void bc_load_weights(float v[N], const float *from)
{
    if constexpr (N == 2) {
        const uint64_t both = *(const uint64_t *)from;
        v[0] = bc_bits_to_float((uint32_t)both);
        v[1] = bc_bits_to_float((uint32_t)(both >> 32));
    } else {
#pragma unroll
        for (int h = 0; h < N; h += 4) {
            const bc_four four = bc_load_four(from + h);
#pragma unroll
            for (int i = 0; i < 4; i++) v[h + i] = four.v[i];
        }
    }
}

// One warp: a head of D elements from memory, normed and rotated where asked for, in registers: lane l has elements
// l + 32 m of both halves.
template <int D>
BC_DEVICE void bc_fast_head(float u[D / 64], float w[D / 64], const float *from, const float *norm,
                            bool turned, const float *cos, const float *sin, float eps)
{
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
        u[m] = from[lane + 32 * m];
        w[m] = from[lane + 32 * m + D / 2];
    }
    if (norm) {
        bc_wide_sum squares = bc_no_squares();
#pragma unroll
        for (int m = 0; m < D / 64; m++) {
            bc_add_square(&squares, u[m]);
            bc_add_square(&squares, w[m]);
        }
        const double sum = bc_warp_sum(bc_squares(squares));
        const float inverse = 1.0f / sqrtf((float)(sum / D) + eps);
#pragma unroll
        for (int m = 0; m < D / 64; m++) {
            u[m] = u[m] * inverse * norm[lane + 32 * m];
            w[m] = w[m] * inverse * norm[lane + 32 * m + D / 2];
        }
    }
    if (!turned) return;
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
        const float c = cos[lane + 32 * m], s = sin[lane + 32 * m], a = u[m], b = w[m];
        u[m] = a * c - b * s;
        w[m] = b * c + a * s;
    }
}

// The same head into row `row` of a cache, and into shared memory.
template <int D, bool INT8>
BC_DEVICE void bc_fast_store(const float u[D / 64], const float w[D / 64], uint8_t *cache,
                             float *scales, int64_t row, bc_words4 *own, float *own_scale)
{
    const int lane = threadIdx.x % 32;
    if (!INT8) {
        uint16_t *to = (uint16_t *)cache + row * D, *copy = (uint16_t *)own;
#pragma unroll
        for (int m = 0; m < D / 64; m++) {
            const int at = lane + 32 * m;
            to[at] = copy[at] = bc_float_to_half(u[m]);
            to[at + D / 2] = copy[at + D / 2] = bc_float_to_half(w[m]);
        }
        return;
    }
    int top = 0; // as quantize_i8 of kernels_scalar.c
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
        const int a = (int)(bc_float_to_bits(u[m]) & 0x7fffffffu),
                  b = (int)(bc_float_to_bits(w[m]) & 0x7fffffffu);
        top = a > top ? a : top;
        top = b > top ? b : top;
    }
    top = bc_warp_max(top);
    const bc_rounding rounding = bc_rounding_of(top);
    int8_t *to = (int8_t *)cache + row * D, *copy = (int8_t *)own;
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
        const int at = lane + 32 * m;
        to[at] = copy[at] = (int8_t)bc_rounded(rounding, u[m]);
        to[at + D / 2] = copy[at + D / 2] = (int8_t)bc_rounded(rounding, w[m]);
    }
    if (lane == 0) scales[row] = *own_scale = rounding.scale();
}

template <int D, bool INT8, int GROUP> struct bc_fast_shared {
    static const int SLICES = BC_FAST_THREADS / (D / 4);
    // A thread reads as many elements as 16 bytes of a key have, its neighbour the next ones: four more between them, and they
    // lie in other banks.
    enum { ELEMENTS = INT8 ? 16 : 8, ROW = D / ELEMENTS, QUERY = ROW * (ELEMENTS + 4) };
    BC_DEVICE static int query_at(int e) { return e + e / ELEMENTS * 4; }
    // what is loaded and stored in four words at a time
    bc_words4 own[2][ROW]; // the token's key and value as they are in the cache
    float q[GROUP * QUERY], mixes[SLICES][GROUP * D];
    float scores[BC_FAST_TILE][GROUP], value_scales[BC_FAST_TILE];
    float largest[GROUP], sum[GROUP], factor[GROUP], own_scales[2];
    uint32_t places[GROUP * D]; // of the outputs
};

// Queries into shared memory; the token's own key and value there and into the cache, where this part has them.
template <int D, bool INT8, int GROUP>
BC_DEVICE void bc_fast_place(const bc_attend_args &p, const bc_gpu_place &place,
                             const bc_attend_block &b, bc_fast_shared<D, INT8, GROUP> *s)
{
    typedef bc_fast_shared<D, INT8, GROUP> Shared;
    float *q = s->q;
    const int t = blockIdx.z, lane = threadIdx.x % 32, rows = b.heads + (b.own ? 2 : 0);
    const float *cos = p.cos + (int64_t)t * (D / 2), *sin = p.sin + (int64_t)t * (D / 2);
    for (int r = threadIdx.x / 32; r < rows; r += BC_FAST_THREADS / 32) {
        const bool query = r < b.heads, key = r == b.heads;
        const float *from = query ? p.q + (int64_t)t * p.q_stride + (b.head0 + r) * D
                                  : (key ? p.k : p.v) + ((int64_t)t * p.kv_heads + b.kv_head) * D;
        float u[D / 64], w[D / 64];
        bc_fast_head<D>(u, w, from, query ? p.q_norm : (key ? p.k_norm : 0), query || key, cos, sin,
                        p.eps);
        if (query) {
#pragma unroll
            for (int m = 0; m < D / 64; m++) {
                q[r * Shared::QUERY + Shared::query_at(lane + 32 * m)] = u[m];
                q[r * Shared::QUERY + Shared::query_at(lane + 32 * m + D / 2)] = w[m];
            }
        } else {
            bc_fast_store<D, INT8>(u, w, key ? place.keys : place.values,
                                   key ? place.key_scales : place.value_scales,
                                   bc_cache_row(p, place, b.kv_head, place.position),
                                   s->own[key ? 0 : 1], &s->own_scales[key ? 0 : 1]);
        }
    }
}

// They become e^(score - largest so far), times the scales of `n` values; warp h has head h.
template <int D, bool INT8, int GROUP>
BC_DEVICE void bc_fast_softmax(bc_fast_shared<D, INT8, GROUP> *s, int n)
{
    const int h = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (h >= GROUP) return;
    float *one = &s->scores[lane][h], *two = &s->scores[lane + 32][h];
    const float before = s->largest[h], a = *one, b = *two;
    float top = a > b ? a : b;
    top = bc_warp_max(top > before ? top : before);
    const float x = bc_exp(a - top), y = bc_exp(b - top);
    *one = INT8 && lane < n ? x * s->value_scales[lane] : x;
    *two = INT8 && lane + 32 < n ? y * s->value_scales[lane + 32] : y;
    const float sum = bc_warp_sum(x + y);
    bc_sync_warp(); // every lane has read the largest so far
    if (lane) return;
    const float factor = bc_exp(before - top);
    s->factor[h] = factor;
    s->sum[h] = s->sum[h] * factor + sum;
    s->largest[h] = top;
}

// Four elements of a value as they are in the cache
template <bool INT8> struct bc_fast_quad {
    typedef uint64_t bits;
};
template <> struct bc_fast_quad<true> {
    typedef uint32_t bits;
};

// What a thread has of a tile of positions: an eighth of two keys, or a quarter of one, and four elements of several values. Of
// up to four heads they are asked for before they are wanted, of four heads keys of up to 128 bytes; there are no registers
// for more.
template <int D, bool INT8, int GROUP> struct bc_fast_tile {
    typedef bc_fast_shared<D, INT8, GROUP> Shared;
    typedef typename bc_fast_quad<INT8>::bits bits;
    static const int QUADS = D / 4, SLICES = BC_FAST_THREADS / QUADS, TURNS = BC_FAST_TILE / SLICES;
    static const int ELEMENTS = Shared::ELEMENTS, BYTES = INT8 ? 1 : 2;
    // Threads of a group that shares keys, their number, and what a thread has of each: chunks of 16 bytes
    static const int SHARE = D / ELEMENTS < 8 ? 4 : 8,
                     KEYS = SHARE * BC_FAST_TILE / BC_FAST_THREADS, CHUNKS = D / ELEMENTS / SHARE;
    static const bool EARLY = GROUP <= 4, EARLY_KEYS = EARLY && (GROUP == 2 || CHUNKS * KEYS <= 2);
    struct key_part {
        bc_words4 w[KEYS][CHUNKS];
        float scale[KEYS], value_scale[KEYS];
    };
    key_part early_key;
    bits early[EARLY ? TURNS : 1];
    int64_t row; // of the cache
    // Positions; of them those to be read from the cache: asked for early, without the token's own, which is the last one
    int n, cached;

    BC_DEVICE static int at(int k) { return (int)threadIdx.x / QUADS + k * SLICES; }
    BC_DEVICE static int first_key() { return (int)threadIdx.x / SHARE * KEYS; }
    // Positions from `first` on of the part
    BC_DEVICE void begin(const bc_attend_args &p, const bc_gpu_place &place,
                         const bc_attend_block &b, int first)
    {
        const int left = (b.own ? place.position + 1 : b.end) - first;
        row = bc_cache_row(p, place, b.kv_head, first);
        n = left < BC_FAST_TILE ? left : BC_FAST_TILE;
        cached = EARLY && b.end - first < n ? b.end - first : n;
        if (EARLY_KEYS) take_key(place, &early_key);
#pragma unroll
        for (int k = 0; EARLY && k < TURNS; k++) early[k] = at(k) < cached ? value(place, k) : 0;
    }
    BC_DEVICE void take_key(const bc_gpu_place &place, key_part *key) const
    {
        *key = {};
#pragma unroll
        for (int i = 0; i < KEYS; i++) {
            const int64_t j = first_key() + i;
            if (j >= cached) return;
            const uint8_t *from = place.keys + (row + j) * (D * BYTES) + threadIdx.x % SHARE * 16;
#pragma unroll
            for (int c = 0; c < CHUNKS; c++) key->w[i][c] = bc_load(from + SHARE * 16 * c);
            if (!INT8) continue;
            key->scale[i] = place.key_scales[row + j];
            key->value_scale[i] = place.value_scales[row + j];
        }
    }
    BC_DEVICE bits value(const bc_gpu_place &place, int k) const
    {
        return ((const bits *)place.values)[(row + at(k)) * QUADS + threadIdx.x % QUADS];
    }
    // The token's own
    BC_DEVICE void take_own_key(const Shared *s, key_part *key) const
    {
        if (cached == n) return;
#pragma unroll
        for (int i = 0; i < KEYS; i++) {
            if (first_key() + i != cached) continue;
#pragma unroll
            for (int c = 0; c < CHUNKS; c++)
                key->w[i][c] = s->own[0][threadIdx.x % SHARE + SHARE * c];
            if (!INT8) continue;
            key->scale[i] = s->own_scales[0];
            key->value_scale[i] = s->own_scales[1];
        }
    }
    BC_DEVICE static bits own_value(const Shared *s)
    {
        return ((const bits *)s->own[1])[threadIdx.x % QUADS];
    }
    BC_DEVICE void scores(const bc_attend_args &p, const bc_gpu_place &place, Shared *s) const
    {
        const int sub = threadIdx.x % SHARE, first = first_key();
        float sum[KEYS * GROUP] = {};
        key_part key;
        if (EARLY_KEYS)
            key = early_key;
        else
            take_key(place, &key);
        if (EARLY) take_own_key(s, &key);
        if (first < n) {
#pragma unroll
            for (int i = 0; INT8 && i < KEYS; i++)
                if (sub == 0) s->value_scales[first + i] = key.value_scale[i];
#pragma unroll
            for (int c = 0; c < CHUNKS; c++) {
                const float *q = s->q + Shared::query_at((sub + SHARE * c) * ELEMENTS);
#pragma unroll
                for (int e = 0; e < ELEMENTS; e += 4) {
                    float v[KEYS][4];
#pragma unroll
                    for (int i = 0; i < KEYS; i++) bc_four_of<INT8>(v[i], key.w[i][c], e);
#pragma unroll
                    for (int h = 0; h < GROUP; h++) {
                        const bc_four four = bc_load_four(q + h * Shared::QUERY + e);
#pragma unroll
                        for (int i = 0; i < KEYS; i++)
#pragma unroll
                            for (int k = 0; k < 4; k++)
                                sum[i * GROUP + h] = bc_fma(four.v[k], v[i][k], sum[i * GROUP + h]);
                    }
                }
            }
        }
        // scores of neighbouring positions lie beside each other, as the sums do
        const int at = bc_spread_sums<KEYS * GROUP, SHARE>(sum);
        if (sub >= KEYS * GROUP) return; // fewer sums than threads
        const bool next = at >= GROUP;
        const float scale = next ? key.scale[KEYS - 1] : key.scale[0];
#pragma unroll
        for (int i = 0; i < (GROUP + 3) / 4; i++) {
            const float v = INT8 ? sum[i] * scale : sum[i];
            (&s->scores[first][0])[at + i] = first + next < n ? v * p.factor : -INFINITY;
        }
    }
    BC_DEVICE void mix(const bc_gpu_place &place, const Shared *s, float sum[GROUP][4]) const
    {
#pragma unroll
        for (int h = 0; h < GROUP; h++)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[h][e] *= s->factor[h];
#pragma unroll(EARLY ? TURNS : 2)
        for (int k = 0; k < TURNS; k++) {
            const int j = at(k);
            if (j >= n) break;
            float v[4];
            bc_cache_four(v, EARLY && j == cached ? own_value(s)
                             : EARLY              ? early[EARLY ? k : 0]
                                                  : value(place, k));
            float weights[GROUP];
            bc_load_weights<GROUP>(weights, s->scores[j]);
#pragma unroll
            for (int h = 0; h < GROUP; h++)
#pragma unroll
                for (int e = 0; e < 4; e++) sum[h][e] = bc_fma(weights[h], v[e], sum[h][e]);
        }
    }
};

template <int D, bool INT8, int GROUP> BC_DEVICE void bc_attend_fast(const bc_attend_args &p)
{
    BC_SHARED_ALIGNED bc_fast_shared<D, INT8, GROUP> s;
    typedef bc_fast_tile<D, INT8, GROUP> Tile;
    Tile tile;
    const int QUADS = D / 4, SLICES = BC_FAST_THREADS / QUADS, t = blockIdx.z;
    bc_let_next_begin();
    // the places and the keys and values of earlier positions are older than the kernels that are waited for
    const bc_gpu_place place = p.places[t];
    const bc_context context = bc_context_of(place.position, p.window, p.splits);
    const bool active = (int)blockIdx.y < context.parts;
    const bc_attend_block b = bc_attend_share(p, GROUP, place.position, context);
    if (active) {
        tile.begin(p, place, b, b.first);
        bc_attend_fetch(p, place, b, b.first + (Tile::EARLY_KEYS ? BC_FAST_TILE : 0));
        for (int i = threadIdx.x; p.out_places && i < b.heads * D; i += BC_FAST_THREADS)
            s.places[i] = p.out_places[b.head0 * D + i];
    }
    bc_wait_for_inputs();
    if (!active) return;
    for (int i = threadIdx.x; i < GROUP; i += BC_FAST_THREADS) {
        s.largest[i] = -INFINITY;
        s.sum[i] = 0.0f;
    }
    for (int i = threadIdx.x + b.heads * s.QUERY; i < GROUP * s.QUERY; i += BC_FAST_THREADS)
        s.q[i] = 0.0f;
    bc_fast_place<D, INT8, GROUP>(p, place, b, &s);
    bc_sync();

    float mix[GROUP][4] = {};
    const int end = b.own ? place.position + 1 : b.end;
    for (int from = b.first; from < end; from += BC_FAST_TILE) {
        if (from != b.first) tile.begin(p, place, b, from);
        tile.scores(p, place, &s);
        bc_sync();
        bc_fast_softmax(&s, tile.n);
        bc_sync();
        tile.mix(place, &s, mix);
        if (from + BC_FAST_TILE < end) bc_sync();
    }

    const int quad = threadIdx.x % QUADS * 4, slice = threadIdx.x / QUADS;
#pragma unroll
    for (int h = 0; h < GROUP; h++)
        bc_put_four(&s.mixes[slice][h * D + quad],
                    { { mix[h][0], mix[h][1], mix[h][2], mix[h][3] } });
    bc_sync();
    const uint32_t *places = p.out_places ? s.places : nullptr;
#pragma unroll 1 // eight heads have no registers for more
    for (int i = threadIdx.x; i < b.heads * D; i += BC_FAST_THREADS) {
        float v = s.mixes[0][i];
#pragma unroll
        for (int k = 1; k < SLICES; k++) v += s.mixes[k][i];
        bc_attend_give(p, b, D, context.parts, s.sum, places, i, v);
    }
    bc_attend_finish(p, b, D, context.parts, s.largest, s.sum, &s.scores[0][0], places);
}

// The order is that of fast_kernel() in forward.c: by dimensions, then type, then heads.
#define BC_FAST(name, d, int8, group)                                                              \
    BC_KERNEL BC_BOUNDS(BC_FAST_THREADS, 2) name(const bc_attend_args p)                           \
    {                                                                                              \
        bc_attend_fast<d, int8, group>(p);                                                         \
    }
BC_FAST(bc_attend_64_f16_2, 64, false, 2)
BC_FAST(bc_attend_64_f16_4, 64, false, 4)
BC_FAST(bc_attend_64_f16_8, 64, false, 8)
BC_FAST(bc_attend_64_i8_2, 64, true, 2)
BC_FAST(bc_attend_64_i8_4, 64, true, 4)
BC_FAST(bc_attend_64_i8_8, 64, true, 8)
BC_FAST(bc_attend_128_f16_2, 128, false, 2)
BC_FAST(bc_attend_128_f16_4, 128, false, 4)
BC_FAST(bc_attend_128_f16_8, 128, false, 8)
BC_FAST(bc_attend_128_i8_2, 128, true, 2)
BC_FAST(bc_attend_128_i8_4, 128, true, 4)
BC_FAST(bc_attend_128_i8_8, 128, true, 8)
#undef BC_FAST
