// skinny.cuh - y = W x for one to a few tokens on the tensor cores, straight from the packed planes: no digit is ever
// taken out, and nothing is decoded into memory.
//
// As in gemv.cuh the high bytes H_1 .. H_5 of a word times 3^i are all that is needed: row i of a group is
// S_i - 3 S_(i-1), S_i = sum_c a_c H_i. Here the sums are matrix products: 8 groups x (H_1, H_2), (H_3, H_4) and H_5 as
// the 16 rows of a tile, 32 columns deep, with 8 tokens beside each other. The columns of a tile may come in any order
// as long as both sides agree: lane 4 g + t takes 16 neighbouring bytes of group g and the same columns of token g, so
// every load is 16 bytes wide.
//
// A block has one tile of rows; its warps take turns over steps of 64 columns, all of the first plane, then all of the
// next (the sums so far times three). Each lane has a ring of steps in shared memory that its copies fill ahead of it, the
// first weights before the kernel's inputs are there. Nothing is checked on the way: columns are padded with zeros to
// whole steps, and lanes without a row or token repeat the last one.
#pragma once

enum { BC_SKINNY_COLS = 64, BC_SKINNY_GROUPS = 8, BC_SKINNY_ROWS = 40, BC_SKINNY_CODES = 16 };

BC_DEVICE int bc_least(int a, int b) { return a < b ? a : b; }

// What a warp does: `steps` of them in each of `planes`.
struct bc_skinny_way {
    int steps, planes, stride; // stride: bytes from a step to the next
    int64_t plane_stride;
};

BC_DEVICE bc_skinny_way bc_skinny_share(const bc_linear_args &p, int planes, int64_t plane_stride)
{
    const int warp = threadIdx.x / 32, all = p.cols / BC_SKINNY_COLS;
    bc_skinny_way way = { (all - warp + p.warps - 1) / p.warps, planes, p.warps * BC_SKINNY_COLS,
                          plane_stride };
    if (warp >= all) way.steps = way.planes = 0;
    return way;
}

// The bytes of a lane's row, step by step and plane by plane; behind the last it stays where it is.
struct bc_skinny_cursor {
    const uint8_t *at;
    int left, planes; // steps of this plane, planes

    BC_DEVICE bool next(const bc_skinny_way &way) // true: a plane begins
    {
        at += way.stride;
        if (--left) return false;
        left = way.steps;
        at -= (int64_t)way.steps * way.stride;
        if (--planes <= 0) return false;
        at += way.plane_stride;
        return true;
    }
};

// The column of a token's step, plane by plane.
BC_DEVICE void bc_skinny_turn(int *column, int *left, const bc_skinny_way &way)
{
    *column += way.stride;
    if (--*left) return;
    *left = way.steps;
    *column = 0;
}

// ---- planes: a word's H_i against the tokens ----

// The sums of one lane: TILES of 8 tokens on the tensor cores, sums[0] of H_1 and H_2, sums[1] of H_3 and H_4, sums[2] of
// H_5 of this lane's words; or, for one token alone (TILES 0), this lane's own S_1 .. S_5 by products of four.
template <int TILES> struct bc_skinny_sums {
    int v[TILES][3][4];

    BC_DEVICE void multiply(const bc_words4 &w, const bc_words4 b[TILES])
    {
#pragma unroll
        for (int pair = 0; pair < 2; pair++) {
            uint32_t h[2][5];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint32_t word = w.w[2 * pair + i];
                uint32_t even = word & 0x00ff00ffu, odd = bc_bytes(word, 0, 0x4341);
#pragma unroll
                for (int k = 0; k < 5; k++) {
                    even *= 3;
                    odd *= 3;
                    h[i][k] = bc_bytes(even, odd, 0x7351);
                }
            }
            const uint32_t a12[4] = { h[0][0], h[0][1], h[1][0], h[1][1] };
            const uint32_t a34[4] = { h[0][2], h[0][3], h[1][2], h[1][3] };
            const uint32_t a5[4] = { h[0][4], 0, h[1][4], 0 };
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
                const uint32_t tokens[2] = { b[tile].w[2 * pair], b[tile].w[2 * pair + 1] };
                bc_mma_us(v[tile][0], a12, tokens);
                bc_mma_us(v[tile][1], a34, tokens);
                bc_mma_us(v[tile][2], a5, tokens);
            }
        }
    }
    BC_DEVICE void times3()
    {
#pragma unroll
        for (int k = 0; k < TILES * 12; k++)
            v[k / 12][k / 4 % 3][k % 4] = (int)(3u * (uint32_t)v[k / 12][k / 4 % 3][k % 4]);
    }
    // S_i by group and token
    BC_DEVICE void add_to(int *total, int n) const
    {
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
        for (int k = 0; k < TILES; k++)
#pragma unroll
            for (int i = 0; i < 5; i++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int token = 8 * k + 2 * t + e;
                    if (token < n)
                        bc_atomic_add(&total[(i * BC_SKINNY_GROUPS + g) * 8 * TILES + token],
                                      v[k][i / 2][i % 2 * 2 + e]);
                }
    }
};

template <> struct bc_skinny_sums<0> {
    int v[5];

    BC_DEVICE void multiply(const bc_words4 &w, const bc_words4 b[1])
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t even = w.w[i] & 0x00ff00ffu, odd = bc_bytes(w.w[i], 0, 0x4341);
#pragma unroll
            for (int k = 0; k < 5; k++) {
                even *= 3;
                odd *= 3;
                v[k] = bc_dot4_us(bc_bytes(even, odd, 0x7351), b[0].w[i], v[k]);
            }
        }
    }
    BC_DEVICE void times3()
    {
#pragma unroll
        for (int k = 0; k < 5; k++) v[k] = (int)(3u * (uint32_t)v[k]);
    }
    BC_DEVICE void add_to(int *total, int) const
    {
        const int lane = threadIdx.x % 32, g = lane / 4;
#pragma unroll
        for (int k = 0; k < 5; k++) {
            int s = v[k];
            s = (int)((uint32_t)s + (uint32_t)bc_shuffle_xor(s, 1));
            s = (int)((uint32_t)s + (uint32_t)bc_shuffle_xor(s, 2));
            if (lane % 4 == 0) bc_atomic_add(&total[k * BC_SKINNY_GROUPS + g], s);
        }
    }
};

// ---- from the sums to rows ----

BC_DEVICE float bc_skinny_value(const bc_linear_args &p, const bc_matrix_args &m, int row,
                                int token, int dot)
{
    const float y =
        (float)(dot - bc_largest(m.n_planes) * p.sum[token]) * (m.scales[row] * p.scale[token]);
    return m.bias ? y + m.bias[row] : y;
}

// S_i - 3 S_(i-1) of row r of the tile
BC_DEVICE int bc_skinny_dot(const int *total, int tokens, int r, int token)
{
    const int at = r / BC_GPU_GROUP * tokens + token, digit = r % BC_GPU_GROUP,
              next = BC_SKINNY_GROUPS * tokens;
    const uint32_t before = digit ? 3u * (uint32_t)total[(digit - 1) * next + at] : 0u;
    return (int)((uint32_t)total[digit * next + at] - before);
}

BC_DEVICE void bc_skinny_write(const bc_linear_args &p, const bc_matrix_args &m, int row0,
                               const int *total, int tokens)
{
    const int rows = bc_least(m.rows - row0, BC_SKINNY_ROWS);
    for (int i = threadIdx.x; i < rows * p.n; i += blockDim.x) {
        const int token = i / rows, r = i % rows, row = row0 + r;
        m.y[(int64_t)token * m.y_stride + row] =
            bc_skinny_value(p, m, row, token, bc_skinny_dot(total, tokens, r, token));
    }
}

// Gate and up: silu(gate) * up into the first matrix's y, at the place that the next matrix's rotation wants it.
BC_DEVICE void bc_skinny_write_pair(const bc_linear_args &p, int row0, const int *total, int tokens)
{
    const bc_matrix_args &gate = p.m[0], &up = p.m[1];
    const int half = BC_SKINNY_ROWS / 2, rows = bc_least(gate.rows - row0, half);
    for (int i = threadIdx.x; i < rows * p.n; i += blockDim.x) {
        const int token = i / rows, r = i % rows, row = row0 + r;
        const float g =
            bc_skinny_value(p, gate, row, token, bc_skinny_dot(total, tokens, r, token));
        const float u =
            bc_skinny_value(p, up, row, token, bc_skinny_dot(total, tokens, half + r, token));
        const int to = p.places ? p.places[row] : row;
        gate.y[(int64_t)token * gate.y_stride + to] = g / (1.0f + bc_exp(-g)) * u;
    }
}

// TILES: of 8 tokens. Grid: tiles of groups. blockDim.x = 32 * p.warps. shared: STAGES 16 bytes of each thread for the
// ring, and behind it the activations: all of them, i8 [n, cols], or STREAMED through rings of their own, as the weights.
// p.paired: groups 0 to 3 of a tile are of p.m[0], 4 to 7 the same ones of p.m[1].
template <int TILES, int STAGES, bool STREAMED>
BC_DEVICE void bc_skinny(const bc_linear_args &p, uint8_t *shared)
{
    const int TOKENS = TILES ? 8 * TILES : 1, LOADS = TILES ? TILES : 1,
              OPERANDS = STREAMED ? 1 + TILES : 1;
    BC_SHARED int total[5 * BC_SKINNY_GROUPS * (TILES ? 8 * TILES : 1)]; // S_i by group and token
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = p.paired ? 0 : bc_matrix_of(p, blockIdx.x),
              tile = (int)blockIdx.x - p.first[which];
    const bc_matrix_args &m = p.m[which];
    const int last_group = (m.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP - 1;
    const int group = bc_least(
        p.paired ? tile * (BC_SKINNY_GROUPS / 2) + g % 4 : tile * BC_SKINNY_GROUPS + g, last_group);
    const uint8_t *data = p.paired && g > 3 ? p.m[1].data : m.data;
    const int first = warp * BC_SKINNY_COLS + 16 * t;
    const bc_skinny_way way = bc_skinny_share(p, m.n_planes, (int64_t)m.plane_stride);
    bc_skinny_cursor ahead = { data + (int64_t)group * p.cols + first, way.steps, way.planes };
    const int operand = blockDim.x * 16, stage_bytes = operand * OPERANDS,
              all_steps = way.steps * way.planes;
    uint8_t *ring = shared + threadIdx.x * 16; // this lane's 16 bytes of stage 0
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < all_steps) {
            bc_copy_ahead(ring + i * stage_bytes, ahead.at);
            ahead.next(way);
        }
        if (!STREAMED) bc_copy_group();
    }
    bc_let_next_begin();
    for (int i = threadIdx.x; i < 5 * BC_SKINNY_GROUPS * TOKENS; i += blockDim.x) total[i] = 0;
    bc_wait_for_inputs();

    const uint8_t *tokens[LOADS]; // where this lane's columns of its tokens begin
    if (STREAMED) {
#pragma unroll
        for (int k = 0; k < TILES; k++)
            tokens[k] =
                (const uint8_t *)p.a + (int64_t)bc_least(8 * k + g, p.n - 1) * p.a_stride + first;
    } else {
        uint8_t *staged = shared + STAGES * stage_bytes;
        for (int token = 0; token < p.n; token++)
            for (int c = threadIdx.x * 16; c < p.cols; c += blockDim.x * 16)
                bc_put(staged + token * p.cols + c, bc_load(p.a + (int64_t)token * p.a_stride + c));
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            tokens[k] = staged + bc_least(8 * k + g, p.n - 1) * p.cols + first;
    }
    int column = 0, column_left = way.steps; // of the activations that are taken next
    for (int i = 0; STREAMED && i < STAGES - 1; i++) {
        if (i < all_steps) {
#pragma unroll
            for (int k = 0; k < TILES; k++)
                bc_copy_ahead(ring + i * stage_bytes + (1 + k) * operand, tokens[k] + column);
            bc_skinny_turn(&column, &column_left, way);
        }
        bc_copy_group();
    }
    bc_sync();

    bc_skinny_sums<TILES> sums = {};
    int left = way.steps; // of the plane that is multiplied now
    int stage = 0, free_stage = STAGES - 1;
#pragma unroll 2
    for (int done = 0; done < all_steps; done++) {
        bc_words4 b[LOADS];
        if (!STREAMED) {
#pragma unroll
            for (int k = 0; k < LOADS; k++) b[k] = bc_load(tokens[k] + column);
            bc_skinny_turn(&column, &column_left, way);
        }
        bc_copied<STAGES - 2>();
        const uint8_t *from = ring + stage * stage_bytes;
        const bc_words4 w = bc_load(from);
        if (STREAMED) {
#pragma unroll
            for (int k = 0; k < TILES; k++) b[k] = bc_load(from + (1 + k) * operand);
        }
        if (done + STAGES - 1 < all_steps) {
            uint8_t *to = ring + free_stage * stage_bytes;
            bc_copy_ahead(to, ahead.at);
            ahead.next(way);
            if (STREAMED) {
#pragma unroll
                for (int k = 0; k < TILES; k++)
                    bc_copy_ahead(to + (1 + k) * operand, tokens[k] + column);
                bc_skinny_turn(&column, &column_left, way);
            }
        }
        bc_copy_group();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        free_stage = free_stage + 1 == STAGES ? 0 : free_stage + 1;
        sums.multiply(w, b);
        if (--left || done + 1 == all_steps) continue;
        left = way.steps;
        sums.times3();
    }
    if (way.steps) sums.add_to(total, p.n);
    bc_sync();
    if (p.paired)
        bc_skinny_write_pair(p, tile * (BC_SKINNY_ROWS / 2), total, TOKENS);
    else
        bc_skinny_write(p, m, tile * BC_SKINNY_ROWS, total, TOKENS);
}

// ---- int8 codes: 16 rows of a tile are 16 rows of the matrix ----

template <int TILES> BC_DEVICE void bc_skinny_codes(const bc_linear_args &p)
{
    const int TOKENS = 8 * TILES;
    BC_SHARED int total[BC_SKINNY_CODES * 8 * TILES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = bc_matrix_of(p, blockIdx.x),
              row0 = ((int)blockIdx.x - p.first[which]) * BC_SKINNY_CODES;
    const bc_matrix_args &m = p.m[which];
    const int first = warp * BC_SKINNY_COLS + 16 * t;
    const bc_skinny_way way = bc_skinny_share(p, 1, 0);
    const uint8_t *low = m.data + (int64_t)bc_least(row0 + g, m.rows - 1) * p.cols + first;
    const uint8_t *high = m.data + (int64_t)bc_least(row0 + g + 8, m.rows - 1) * p.cols + first;
    bc_let_next_begin();
    for (int i = threadIdx.x; i < BC_SKINNY_CODES * TOKENS; i += blockDim.x) total[i] = 0;
    bc_wait_for_inputs();
    bc_sync();
    const uint8_t *tokens[TILES];
#pragma unroll
    for (int k = 0; k < TILES; k++)
        tokens[k] =
            (const uint8_t *)p.a + (int64_t)bc_least(8 * k + g, p.n - 1) * p.a_stride + first;
    int sums[TILES][4] = {};
#pragma unroll 2
    for (int step = 0; step < way.steps; step++) {
        const int column = step * way.stride;
        const bc_words4 w = bc_load_once(low + column), v = bc_load_once(high + column);
#pragma unroll
        for (int k = 0; k < TILES; k++) {
            const bc_words4 b = bc_load(tokens[k] + column);
#pragma unroll
            for (int pair = 0; pair < 2; pair++) {
                const uint32_t a[4] = { w.w[2 * pair], v.w[2 * pair], w.w[2 * pair + 1],
                                        v.w[2 * pair + 1] };
                const uint32_t two[2] = { b.w[2 * pair], b.w[2 * pair + 1] };
                bc_mma_ss(sums[k], a, two);
            }
        }
    }
#pragma unroll
    for (int k = 0; k < TILES; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int token = 8 * k + 2 * t + e % 2;
            if (token < p.n && way.steps)
                bc_atomic_add(&total[(g + e / 2 * 8) * TOKENS + token], sums[k][e]);
        }
    bc_sync();
    for (int i = threadIdx.x; i < BC_SKINNY_CODES * p.n; i += blockDim.x) {
        const int token = i / BC_SKINNY_CODES, r = i % BC_SKINNY_CODES, row = row0 + r;
        if (row >= m.rows) continue;
        const float y = (float)total[r * TOKENS + token] * (m.scales[row] * p.scale[token]);
        m.y[(int64_t)token * m.y_stride + row] = m.bias ? y + m.bias[row] : y;
    }
}

BC_KERNEL BC_BOUNDS(1024, 1) bc_skinny_1(const bc_linear_args p)
{
    BC_DYNAMIC_SHARED(ring);
    bc_skinny<0, BC_GPU_STAGES_8, false>(p, ring);
}
BC_KERNEL BC_BOUNDS(1024, 1) bc_skinny_8(const bc_linear_args p)
{
    BC_DYNAMIC_SHARED(ring);
    bc_skinny<1, BC_GPU_STAGES_8, false>(p, ring);
}
BC_KERNEL BC_BOUNDS(512, 1) bc_skinny_32(const bc_linear_args p)
{
    BC_DYNAMIC_SHARED(ring);
    bc_skinny<4, BC_GPU_STAGES_32, true>(p, ring);
}
BC_KERNEL BC_BOUNDS(256, 2) bc_skinny_int8_8(const bc_linear_args p) { bc_skinny_codes<1>(p); }
BC_KERNEL BC_BOUNDS(256, 2) bc_skinny_int8_32(const bc_linear_args p) { bc_skinny_codes<4>(p); }
