// skinny.cuh - y = W x for one to a few tokens on the tensor cores, straight from the packed planes: no digit is ever
// taken out, and nothing is decoded into memory.
//
// As in gemv.cuh the high bytes H_1 .. H_5 of a word times 3^i are all that is needed: row i of a group is
// S_i - 3 S_(i-1), S_i = sum_c a_c H_i. Here the sums are matrix products: 8 groups x (H_1, H_2), (H_3, H_4) and H_5 as
// the 16 rows of a tile, 32 columns deep, with 8 tokens beside each other. The columns of a tile may come in any order
// as long as both sides agree: lane 4 g + t takes 16 neighbouring bytes of group g and the same columns of token g, so
// every load is 16 bytes wide.
//
// A block has one tile of 8 groups; its warps take turns over steps of 64 columns, all of the first plane, then all of
// the next (the sums so far times three), with the loads of BC_AHEAD steps on their way.
#pragma once

enum { BC_SKINNY_GROUPS = 8, BC_SKINNY_ROWS = 40, BC_SKINNY_COLS = 64, BC_AHEAD = 4 };

// A lane's way through the bytes of its group: `at` of plane `plane`, `column` of the plane's rows.
struct bc_skinny_cursor {
    const uint8_t *at;
    int column, plane;
};

BC_DEVICE bc_words4 bc_skinny_load(const bc_skinny_cursor &c, int cols, int n_planes)
{
    if (c.plane >= n_planes || c.column >= cols) return { { 0, 0, 0, 0 } };
    return bc_load_once(c.at + c.column);
}

// `stride`: columns from a warp's step to its next.
BC_DEVICE void bc_skinny_next(bc_skinny_cursor *c, int first, int stride, int cols, int64_t plane_stride)
{
    c->column += stride;
    if ((c->column & ~(BC_SKINNY_COLS - 1)) < cols) return; // the same for all lanes of a warp
    c->column = first;
    c->plane++;
    c->at += plane_stride;
}

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
                even = bc_times3(even);
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

// TILES: of 8 tokens. Grid: tiles of groups. blockDim.x = 32 * p.warps.
template <int TILES> BC_DEVICE void bc_skinny(const bc_linear_args &p)
{
    const int TOKENS = 8 * TILES;
    BC_SHARED int total[5][BC_SKINNY_GROUPS * 8 * TILES]; // S_i by group and token
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = bc_matrix_of(p, blockIdx.x), tile = (int)blockIdx.x - p.first[which];
    const bc_matrix_args &m = p.m[which];
    const int group = tile * BC_SKINNY_GROUPS + g, cols = p.cols, stride = p.warps * BC_SKINNY_COLS;
    const int first = warp * BC_SKINNY_COLS + 16 * t;
    const bool idle = warp * BC_SKINNY_COLS >= cols, exists = group * BC_GPU_GROUP < m.rows;
    const int n_planes = idle ? 0 : m.n_planes;
    const int64_t plane_stride = (int64_t)m.plane_stride;
    bc_skinny_cursor ahead = { m.data + (int64_t)group * cols, first, 0 }, now = ahead;
    bc_words4 ring[BC_AHEAD];
#pragma unroll
    for (int i = 0; i < BC_AHEAD; i++) {
        ring[i] = bc_skinny_load(ahead, exists ? cols : 0, n_planes);
        bc_skinny_next(&ahead, first, stride, cols, plane_stride);
    }
    bc_let_next_begin();
    for (int i = threadIdx.x; i < 5 * BC_SKINNY_GROUPS * TOKENS; i += blockDim.x)
        total[i / (BC_SKINNY_GROUPS * TOKENS)][i % (BC_SKINNY_GROUPS * TOKENS)] = 0;
    bc_wait_for_inputs();
    bc_sync();

    const int8_t *tokens[TILES];
#pragma unroll
    for (int k = 0; k < TILES; k++) tokens[k] = 8 * k + g < p.n ? p.a + (int64_t)(8 * k + g) * p.a_stride : 0;
    int sums[TILES][3][4] = {};
    while (now.plane < n_planes) {
#pragma unroll
        for (int i = 0; i < BC_AHEAD; i++) {
            if (now.plane >= n_planes) break;
            const bc_words4 w = ring[i];
            ring[i] = bc_skinny_load(ahead, exists ? cols : 0, n_planes);
            bc_skinny_next(&ahead, first, stride, cols, plane_stride);
            bc_words4 b[TILES];
#pragma unroll
            for (int k = 0; k < TILES; k++) {
                b[k] = { { 0, 0, 0, 0 } };
                if (tokens[k]) b[k] = bc_load(tokens[k] + now.column);
            }
            bc_skinny_multiply<TILES>(sums, w, b);
            const int plane = now.plane;
            bc_skinny_next(&now, first, stride, cols, 0);
            if (now.plane == plane || now.plane == n_planes) continue;
#pragma unroll
            for (int k = 0; k < TILES * 12; k++)
                sums[k / 12][k / 4 % 3][k % 4] = (int)(3u * (uint32_t)sums[k / 12][k / 4 % 3][k % 4]);
        }
    }
#pragma unroll
    for (int k = 0; k < TILES; k++)
#pragma unroll
        for (int i = 0; i < 5; i++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int token = 8 * k + 2 * t + e;
                if (token < p.n && !idle)
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

BC_KERNEL BC_BOUNDS(512, 2) bc_skinny_8(const bc_linear_args p) { bc_skinny<1>(p); }
BC_KERNEL BC_BOUNDS(512, 1) bc_skinny_32(const bc_linear_args p) { bc_skinny<4>(p); }
