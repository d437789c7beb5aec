// back_attention.cuh - attention over whole windows without a cache, forwards and backwards, in f32 (attention_back.c
// has the formulas). Probabilities are made again from queries and keys, tile by tile (FlashAttention, Dao et al. 2022),
// with each query's largest score and sum from the way forward. A tile has D * ROWS = BC_GPU_WINDOW_FLOATS elements.
#pragma once

// ---- tiles in shared memory, D + 4 floats from row to row ----

template <int D> struct bc_window_tile {
    enum { ROWS = BC_GPU_WINDOW_FLOATS / D, PAD = D + 4, SCORES = ROWS + 1 };
};

// Rows first .. of `from`, at most `end`, the rest zeros.
template <int D>
BC_DEVICE void bc_load_rows(float *tile, const float *from, int stride, int first, int end, int d)
{
    typedef bc_window_tile<D> T;
    for (int i = threadIdx.x; i < T::ROWS * (D / 4); i += BC_GPU_WINDOW_THREADS) {
        const int row = i / (D / 4), e = i % (D / 4) * 4;
        bc_words4 v = { { 0, 0, 0, 0 } };
        if (first + row < end && e < d) v = bc_load(from + (int64_t)(first + row) * stride + e);
        bc_put(tile + row * T::PAD + e, v);
    }
}

template <int D> BC_DEVICE float bc_row_dot(const float *a, const float *b)
{
    float sum = 0.0f;
#pragma unroll 4
    for (int e = 0; e < D; e += 4) {
        const bc_words4 x = bc_load(a + e), y = bc_load(b + e);
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum = bc_fma(bc_bits_to_float(x.w[i]), bc_bits_to_float(y.w[i]), sum);
    }
    return sum;
}

// A thread's share of a tile's row: elements (sub + m SHARE) * 4 .. + 3.
template <int D> struct bc_row_share {
    enum {
        SHARE = BC_GPU_WINDOW_THREADS / bc_window_tile<D>::ROWS,
        QUADS = BC_GPU_WINDOW_FLOATS / 4 / BC_GPU_WINDOW_THREADS
    };
    float v[QUADS][4];

    BC_DEVICE void clear()
    {
#pragma unroll
        for (int m = 0; m < QUADS; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) v[m][i] = 0.0f;
    }
    // += weight times row `row` of a tile
    BC_DEVICE void add(float weight, const float *tile, int row, int sub)
    {
#pragma unroll
        for (int m = 0; m < QUADS; m++) {
            const bc_words4 w =
                bc_load(tile + row * bc_window_tile<D>::PAD + (sub + m * SHARE) * 4);
#pragma unroll
            for (int i = 0; i < 4; i++) v[m][i] = bc_fma(weight, bc_bits_to_float(w.w[i]), v[m][i]);
        }
    }
    BC_DEVICE void write(float *to, int sub, int d) const
    {
#pragma unroll
        for (int m = 0; m < QUADS; m++) {
            const int e = (sub + m * SHARE) * 4;
            bc_words4 w;
#pragma unroll
            for (int i = 0; i < 4; i++) w.w[i] = bc_float_to_bits(v[m][i]);
            if (e < d) bc_put(to + e, w);
        }
    }
};

// Whether a query sees a key of its window.
BC_DEVICE bool bc_sees(const bc_window_args &p, int query, int key)
{
    return key <= query && (p.window == 0 || key > query - p.window);
}
// The first key that any query from `query` on sees.
BC_DEVICE int bc_first_key(const bc_window_args &p, int query, int start)
{
    const int first = p.window ? query - p.window + 1 : start;
    return first > start ? first : start;
}

// probability[i][j] of queries q0 + i (up to q_end) and keys k0 + j, 0 where a query does not look.
template <int D>
BC_DEVICE void bc_probabilities(const bc_window_args &p, float *out, const float *q, const float *k,
                                int q0, int q_end, int k0, int head)
{
    typedef bc_window_tile<D> T;
    for (int i = threadIdx.x; i < T::ROWS * T::ROWS; i += BC_GPU_WINDOW_THREADS) {
        const int row = i / T::ROWS, key = i % T::ROWS;
        float v = 0.0f;
        if (q0 + row < q_end && bc_sees(p, q0 + row, k0 + key)) {
            const float *stats = p.stats + ((int64_t)(q0 + row) * p.heads + head) * 2;
            v = bc_row_dot<D>(q + row * T::PAD, k + key * T::PAD) * p.factor;
            v = bc_exp(v - stats[0]) * stats[1];
        }
        out[row * T::SCORES + key] = v;
    }
}

// ds = p (d_out v' - dots) factor, in place of p where `to` is p.
template <int D>
BC_DEVICE void bc_score_gradients(const bc_window_args &p, float *to, const float *probability,
                                  const float *d_out, const float *v, int q0, int q_end, int head)
{
    typedef bc_window_tile<D> T;
    for (int i = threadIdx.x; i < T::ROWS * T::ROWS; i += BC_GPU_WINDOW_THREADS) {
        const int row = i / T::ROWS, key = i % T::ROWS, at = row * T::SCORES + key;
        const float weight = probability[at];
        float ds = 0.0f;
        if (weight != 0.0f && q0 + row < q_end) {
            const float centre = p.dots[(int64_t)(q0 + row) * p.heads + head];
            ds = weight * (bc_row_dot<D>(d_out + row * T::PAD, v + key * T::PAD) - centre) *
                 p.factor;
        }
        to[at] = ds;
    }
}

// ---- forwards ----

// A head's norm and RoPE, out of place. One warp per head: grid (tokens, (heads + kv_heads) / 4).
BC_KERNEL BC_BOUNDS(128, 4) bc_window_place(const bc_window_args p)
{
    BC_SHARED float room[4][BC_GPU_MAX_HEAD_DIM];
    const int t = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = p.head_dim;
    const int head = blockIdx.y * 4 + warp, kv_head = head - p.heads;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (head >= p.heads + p.kv_heads) return;
    const bool query = kv_head < 0;
    const int64_t at =
        query ? (int64_t)t * p.q_stride + head * d : ((int64_t)t * p.kv_heads + kv_head) * d;
    const float *from = query ? p.q : p.k;
    float *x = room[warp], *to = query ? p.q_placed : p.k_placed;
    const int64_t angle = (int64_t)p.positions[t] * (d / 2);
    for (int i = lane; i < d; i += 32) x[i] = from[at + i];
    bc_sync_warp();
    bc_place_head(x, query ? p.q_norm : p.k_norm, p.cos + angle, p.sin + angle, d, p.eps);
    for (int i = lane; i < d; i += 32) to[at + i] = x[i];
}

// The largest score and 1 / the sum of each query, then the mix of values. Grid: (tiles, heads).
template <int D> BC_DEVICE void bc_window_attend(const bc_window_args &p)
{
    typedef bc_window_tile<D> T;
    typedef bc_row_share<D> Share;
    alignas(16) BC_SHARED float q[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float kv[T::ROWS * T::PAD];
    BC_SHARED float weights[T::ROWS * T::SCORES];
    const int d = p.head_dim, head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads);
    const int row = threadIdx.x / Share::SHARE, sub = threadIdx.x % Share::SHARE;
    bc_let_next_begin();
    bc_wait_for_inputs();
    const bc_gpu_window_tile tile = p.tiles[blockIdx.x];
    const int end = tile.first + tile.count, query = tile.first + row,
              from = bc_first_key(p, tile.first, tile.start), kv_stride = p.kv_heads * d;
    float *stats = p.stats + ((int64_t)query * p.heads + head) * 2;
    bc_load_rows<D>(q, p.q_placed + head * d, p.q_stride, tile.first, end, d);
    float largest = -INFINITY, sum = 0.0f;
    for (int k0 = from; k0 < end; k0 += T::ROWS) {
        bc_sync();
        bc_load_rows<D>(kv, p.k_placed + kv_head * d, kv_stride, k0, end, d);
        bc_sync();
        for (int j = sub; j < T::ROWS; j += Share::SHARE) {
            if (query >= end || !bc_sees(p, query, k0 + j)) continue;
            const float v = bc_row_dot<D>(q + row * T::PAD, kv + j * T::PAD) * p.factor;
            const float top = v > largest ? v : largest;
            sum = sum * bc_exp(largest - top) + bc_exp(v - top);
            largest = top;
        }
    }
    for (int mask = Share::SHARE / 2; mask; mask /= 2) {
        const float other = bc_shuffle_xor(largest, mask), more = bc_shuffle_xor(sum, mask);
        const float top = other > largest ? other : largest;
        sum = top == -INFINITY ? 0.0f : sum * bc_exp(largest - top) + more * bc_exp(other - top);
        largest = top;
    }
    if (sub == 0 && query < end) {
        stats[0] = largest;
        stats[1] = 1.0f / sum;
    }
    Share out;
    out.clear();
    for (int k0 = from; k0 < end; k0 += T::ROWS) {
        bc_sync(); // of the block: its statistics are there too
        bc_load_rows<D>(kv, p.k_placed + kv_head * d, kv_stride, k0, end, d);
        bc_sync();
        bc_probabilities<D>(p, weights, q, kv, tile.first, end, k0, head);
        bc_sync();
        bc_load_rows<D>(kv, p.v + kv_head * d, kv_stride, k0, end, d);
        bc_sync();
        for (int j = 0; j < T::ROWS; j++) out.add(weights[row * T::SCORES + j], kv, j, sub);
    }
    if (query < end) out.write(p.out + (int64_t)query * p.q_stride + head * d, sub, d);
}

// ---- backwards ----

// dots = d_out . out of each head. One warp per head: grid (tokens, heads / 4).
BC_KERNEL BC_BOUNDS(128, 4) bc_window_dots(const bc_window_args p)
{
    const int t = blockIdx.x, lane = threadIdx.x % 32, d = p.head_dim,
              head = blockIdx.y * 4 + threadIdx.x / 32;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (head >= p.heads) return;
    const int64_t at = (int64_t)t * p.q_stride + head * d;
    float sum = 0.0f;
    for (int i = lane; i < d; i += 32) sum = bc_fma(p.d_out[at + i], p.out[at + i], sum);
    sum = bc_warp_sum(sum);
    if (lane == 0) p.dots[(int64_t)t * p.heads + head] = sum;
}

// dq = ds k. Grid: (tiles of queries, heads).
template <int D> BC_DEVICE void bc_window_back_q(const bc_window_args &p)
{
    typedef bc_window_tile<D> T;
    typedef bc_row_share<D> Share;
    alignas(16) BC_SHARED float q[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float d_out[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float k[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float v[T::ROWS * T::PAD];
    BC_SHARED float ds[T::ROWS * T::SCORES];
    const int d = p.head_dim, head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads);
    const int row = threadIdx.x / Share::SHARE, sub = threadIdx.x % Share::SHARE;
    bc_let_next_begin();
    bc_wait_for_inputs();
    const bc_gpu_window_tile tile = p.tiles[blockIdx.x];
    const int end = tile.first + tile.count, kv_stride = p.kv_heads * d;
    bc_load_rows<D>(q, p.q_placed + head * d, p.q_stride, tile.first, end, d);
    bc_load_rows<D>(d_out, p.d_out + head * d, p.q_stride, tile.first, end, d);
    Share dq;
    dq.clear();
    for (int k0 = bc_first_key(p, tile.first, tile.start); k0 < end; k0 += T::ROWS) {
        bc_sync();
        bc_load_rows<D>(k, p.k_placed + kv_head * d, kv_stride, k0, end, d);
        bc_load_rows<D>(v, p.v + kv_head * d, kv_stride, k0, end, d);
        bc_sync();
        bc_probabilities<D>(p, ds, q, k, tile.first, end, k0, head);
        bc_score_gradients<D>(p, ds, ds, d_out, v, tile.first, end, head); // a thread's own
        bc_sync();
        for (int j = 0; j < T::ROWS; j++) dq.add(ds[row * T::SCORES + j], k, j, sub);
    }
    if (tile.first + row < end)
        dq.write(p.d_q + (int64_t)(tile.first + row) * p.q_stride + head * d, sub, d);
}

// dv = p' d_out, dk = ds' q, over all heads that share them. Grid: (tiles of keys, kv_heads).
template <int D> BC_DEVICE void bc_window_back_kv(const bc_window_args &p)
{
    typedef bc_window_tile<D> T;
    typedef bc_row_share<D> Share;
    alignas(16) BC_SHARED float q[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float d_out[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float k[T::ROWS * T::PAD];
    alignas(16) BC_SHARED float v[T::ROWS * T::PAD];
    BC_SHARED float weights[T::ROWS * T::SCORES], ds[T::ROWS * T::SCORES];
    const int d = p.head_dim, kv_head = blockIdx.y, group = p.heads / p.kv_heads;
    const int row = threadIdx.x / Share::SHARE, sub = threadIdx.x % Share::SHARE;
    bc_let_next_begin();
    bc_wait_for_inputs();
    const bc_gpu_window_tile tile = p.tiles[blockIdx.x];
    const int k0 = tile.first, k_end = k0 + tile.count, kv_stride = p.kv_heads * d;
    const int seen = p.window ? k_end - 1 + p.window : tile.end; // by queries before it
    const int end = seen < tile.end ? seen : tile.end;
    bc_load_rows<D>(k, p.k_placed + kv_head * d, kv_stride, k0, k_end, d);
    bc_load_rows<D>(v, p.v + kv_head * d, kv_stride, k0, k_end, d);
    Share dk, dv;
    dk.clear();
    dv.clear();
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int q0 = k0; q0 < end; q0 += T::ROWS) {
            bc_sync();
            bc_load_rows<D>(q, p.q_placed + head * d, p.q_stride, q0, end, d);
            bc_load_rows<D>(d_out, p.d_out + head * d, p.q_stride, q0, end, d);
            bc_sync();
            bc_probabilities<D>(p, weights, q, k, q0, end, k0, head);
            bc_score_gradients<D>(p, ds, weights, d_out, v, q0, end, head);
            bc_sync();
            for (int i = 0; i < T::ROWS; i++) {
                dv.add(weights[i * T::SCORES + row], d_out, i, sub);
                dk.add(ds[i * T::SCORES + row], q, i, sub);
            }
        }
    }
    if (k0 + row >= k_end) return;
    const int64_t at = (int64_t)(k0 + row) * kv_stride + kv_head * d;
    dk.write(p.d_k + at, sub, d);
    dv.write(p.d_v + at, sub, d);
}

#define BC_WINDOW(name)                                                                            \
    BC_KERNEL BC_BOUNDS(128, 4) name##_64(const bc_window_args p) { name<64>(p); }                 \
    BC_KERNEL BC_BOUNDS(128, 4) name##_128(const bc_window_args p) { name<128>(p); }               \
    BC_KERNEL BC_BOUNDS(128, 4) name##_256(const bc_window_args p) { name<256>(p); }
BC_WINDOW(bc_window_attend)
BC_WINDOW(bc_window_back_q)
BC_WINDOW(bc_window_back_kv)
#undef BC_WINDOW

// The gradients of queries and keys back through RoPE and their norm, in place. One warp per head, as bc_window_place.
BC_KERNEL BC_BOUNDS(128, 4) bc_window_unplace(const bc_window_args p)
{
    BC_SHARED float room[4][BC_GPU_MAX_HEAD_DIM];
    const int t = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = p.head_dim,
              half = d / 2;
    const int head = blockIdx.y * 4 + warp, kv_head = head - p.heads;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (head >= p.heads + p.kv_heads) return;
    const bool query = kv_head < 0;
    const int64_t at =
        query ? (int64_t)t * p.q_stride + head * d : ((int64_t)t * p.kv_heads + kv_head) * d;
    const float *from = (query ? p.q : p.k) + at, *norm = query ? p.q_norm : p.k_norm;
    float *dy = room[warp], *dx = (query ? p.d_q : p.d_k) + at;
    const float *cos = p.cos + (int64_t)p.positions[t] * half,
                *sin = p.sin + (int64_t)p.positions[t] * half;
    for (int i = lane; i < half; i += 32) {
        const float u = dx[i], v = dx[i + half];
        dy[i] = u * cos[i] + v * sin[i];
        dy[i + half] = v * cos[i] - u * sin[i];
    }
    bc_sync_warp();
    float r = 1.0f, pull = 0.0f;
    if (norm) {
        double squares = 0, dot = 0;
        for (int i = lane; i < d; i += 32) {
            squares += (double)from[i] * from[i];
            dot += (double)(norm[i] * dy[i]) * from[i];
        }
        squares = bc_warp_sum(squares);
        dot = bc_warp_sum(dot);
        r = 1.0f / sqrtf((float)(squares / d) + p.eps);
        pull = (float)(dot / d) * r * r * r;
    }
    for (int i = lane; i < d; i += 32) dx[i] = norm ? norm[i] * dy[i] * r - from[i] * pull : dy[i];
}
