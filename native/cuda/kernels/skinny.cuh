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
// whole steps, and lanes without a row or token repeat the last one. The loop is one step, not several: code that does
// not fit the smallest instruction cache costs more here than the loop does.
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
    bc_skinny_way way = { (all - warp + p.warps - 1) / p.warps, planes, p.warps * BC_SKINNY_COLS, plane_stride };
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

// sums[0]: H_1 and H_2, sums[1]: H_3 and H_4, sums[2]: H_5 of this lane's words times the tokens of b
template <int TILES>
BC_DEVICE void bc_skinny_multiply(int sums[TILES][3][4], const bc_words4 &w, const bc_words4 b[TILES])
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
            bc_mma_us(sums[tile][0], a12, tokens);
            bc_mma_us(sums[tile][1], a34, tokens);
            bc_mma_us(sums[tile][2], a5, tokens);
        }
    }
}

// TILES: of 8 tokens. Grid: tiles of groups. blockDim.x = 32 * p.warps. shared: STAGES 16 bytes of each thread for the
// ring, and behind it the activations: all of them, i8 [n, cols], or STREAMED through rings of their own, as the weights.
template <int TILES, int STAGES, bool STREAMED> BC_DEVICE void bc_skinny(const bc_linear_args &p, uint8_t *shared)
{
    const int TOKENS = 8 * TILES, OPERANDS = STREAMED ? 1 + TILES : 1;
    BC_SHARED int total[5][BC_SKINNY_GROUPS * 8 * TILES]; // S_i by group and token
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = bc_matrix_of(p, blockIdx.x), tile = (int)blockIdx.x - p.first[which];
    const bc_matrix_args &m = p.m[which];
    const int last_group = (m.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP - 1;
    const int group = bc_least(tile * BC_SKINNY_GROUPS + g, last_group);
    const int first = warp * BC_SKINNY_COLS + 16 * t;
    const bc_skinny_way way = bc_skinny_share(p, m.n_planes, (int64_t)m.plane_stride);
    bc_skinny_cursor ahead = { m.data + (int64_t)group * p.cols + first, way.steps, way.planes };
    const int operand = blockDim.x * 16, stage_bytes = operand * OPERANDS, all_steps = way.steps * way.planes;
    uint8_t *ring = shared + threadIdx.x * 16; // this lane's 16 bytes of stage 0
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < all_steps) {
            bc_copy_ahead(ring + i * stage_bytes, ahead.at);
            ahead.next(way);
        }
        if (!STREAMED) bc_copy_group();
    }
    if ((int)threadIdx.x < BC_SKINNY_ROWS && tile * BC_SKINNY_ROWS + (int)threadIdx.x < m.rows)
        bc_prefetch(m.scales + tile * BC_SKINNY_ROWS + threadIdx.x);
    bc_let_next_begin();
    for (int i = threadIdx.x; i < 5 * BC_SKINNY_GROUPS * TOKENS; i += blockDim.x) total[0][i] = 0;
    bc_wait_for_inputs();

    const uint8_t *tokens[TILES]; // where this lane's columns of its tokens begin
    if (STREAMED) {
#pragma unroll
        for (int k = 0; k < TILES; k++)
            tokens[k] = (const uint8_t *)p.a + (int64_t)bc_least(8 * k + g, p.n - 1) * p.a_stride + first;
    } else {
        uint8_t *staged = shared + STAGES * stage_bytes;
        for (int token = 0; token < p.n; token++)
            for (int c = threadIdx.x * 16; c < p.cols; c += blockDim.x * 16)
                bc_put(staged + token * p.cols + c, bc_load(p.a + (int64_t)token * p.a_stride + c));
#pragma unroll
        for (int k = 0; k < TILES; k++) tokens[k] = staged + bc_least(8 * k + g, p.n - 1) * p.cols + first;
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

    int sums[TILES][3][4] = {};
    int left = way.steps; // of the plane that is multiplied now
    int stage = 0, free_stage = STAGES - 1;
#pragma unroll 1
    for (int done = 0; done < all_steps; done++) {
        bc_words4 b[TILES];
        if (!STREAMED) {
#pragma unroll
            for (int k = 0; k < TILES; k++) b[k] = bc_load(tokens[k] + column);
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
                for (int k = 0; k < TILES; k++) bc_copy_ahead(to + (1 + k) * operand, tokens[k] + column);
                bc_skinny_turn(&column, &column_left, way);
            }
        }
        bc_copy_group();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        free_stage = free_stage + 1 == STAGES ? 0 : free_stage + 1;
        bc_skinny_multiply<TILES>(sums, w, b);
        if (--left || done + 1 == all_steps) continue;
        left = way.steps;
#pragma unroll
        for (int k = 0; k < TILES * 12; k++)
            sums[k / 12][k / 4 % 3][k % 4] = (int)(3u * (uint32_t)sums[k / 12][k / 4 % 3][k % 4]);
    }
#pragma unroll
    for (int k = 0; k < TILES; k++)
#pragma unroll
        for (int i = 0; i < 5; i++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int token = 8 * k + 2 * t + e;
                if (token < p.n && way.steps)
                    bc_atomic_add(&total[i][g * TOKENS + token], sums[k][i / 2][i % 2 * 2 + e]);
            }
    bc_sync();
    int zero = 0;
    for (int k = 0; k < m.n_planes; k++) zero = 3 * zero + 1;
    for (int i = threadIdx.x; i < BC_SKINNY_ROWS * p.n; i += blockDim.x) {
        const int token = i / BC_SKINNY_ROWS, r = i % BC_SKINNY_ROWS, row = tile * BC_SKINNY_ROWS + r;
        const int at = r / BC_GPU_GROUP * TOKENS + token, digit = r % BC_GPU_GROUP;
        if (row >= m.rows) continue;
        const uint32_t before = digit ? 3u * (uint32_t)total[digit - 1][at] : 0u;
        const int dot = (int)((uint32_t)total[digit][at] - before - (uint32_t)(zero * p.sum[token]));
        const float y = (float)dot * (m.scales[row] * p.scale[token]);
        m.y[(int64_t)token * m.y_stride + row] = m.bias ? y + m.bias[row] : y;
    }
}

// ---- int8 codes: 16 rows of a tile are 16 rows of the matrix ----

template <int TILES> BC_DEVICE void bc_skinny_codes(const bc_linear_args &p)
{
    const int TOKENS = 8 * TILES;
    BC_SHARED int total[BC_SKINNY_CODES * 8 * TILES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = bc_matrix_of(p, blockIdx.x), row0 = ((int)blockIdx.x - p.first[which]) * BC_SKINNY_CODES;
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
        tokens[k] = (const uint8_t *)p.a + (int64_t)bc_least(8 * k + g, p.n - 1) * p.a_stride + first;
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
                const uint32_t a[4] = { w.w[2 * pair], v.w[2 * pair], w.w[2 * pair + 1], v.w[2 * pair + 1] };
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
            if (token < p.n && way.steps) bc_atomic_add(&total[(g + e / 2 * 8) * TOKENS + token], sums[k][e]);
        }
    bc_sync();
    for (int i = threadIdx.x; i < BC_SKINNY_CODES * p.n; i += blockDim.x) {
        const int token = i / BC_SKINNY_CODES, r = i % BC_SKINNY_CODES, row = row0 + r;
        if (row >= m.rows) continue;
        const float y = (float)total[r * TOKENS + token] * (m.scales[row] * p.scale[token]);
        m.y[(int64_t)token * m.y_stride + row] = m.bias ? y + m.bias[row] : y;
    }
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
