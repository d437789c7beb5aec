// codes.cuh - y = W x of int8 codes for two to 32 tokens on the tensor cores, 16 rows in a block; its warps take turns over
// steps of 64 columns. Lane 4 g + t has sixteen columns of row g and of row g + 8.
#pragma once

enum { BC_CODES_ROWS = 16, BC_CODES_COLS = 64 };

template <int TILES> BC_DEVICE void bc_codes(const bc_linear_args &p)
{
    const int PITCH = bc_sums_pitch<8 * TILES>::VALUE;
    BC_SHARED int total[BC_CODES_ROWS * bc_sums_pitch<8 * TILES>::VALUE];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int which = bc_matrix_of(p, blockIdx.x),
              row0 = ((int)blockIdx.x - p.first[which]) * BC_CODES_ROWS;
    const bc_matrix_args &m = p.m[which];
    const int first = warp * BC_CODES_COLS + 16 * t;
    const int stride = p.warps * BC_CODES_COLS, all = p.cols / BC_CODES_COLS;
    const int steps = warp < all ? (all - warp + p.warps - 1) / p.warps : 0;
    const uint8_t *low = m.data + (int64_t)bc_least(row0 + g, m.rows - 1) * p.cols + first;
    const uint8_t *high = m.data + (int64_t)bc_least(row0 + g + 8, m.rows - 1) * p.cols + first;
    bc_let_next_begin();
    for (int i = threadIdx.x; i < BC_CODES_ROWS * PITCH; i += blockDim.x) total[i] = 0;
    bc_wait_for_inputs();
    bc_sync();
    const uint8_t *tokens[TILES];
#pragma unroll
    for (int k = 0; k < TILES; k++)
        tokens[k] =
            (const uint8_t *)p.a + (int64_t)bc_least(8 * k + g, p.n - 1) * p.a_stride + first;
    int sums[TILES][4] = {};
#pragma unroll 2
    for (int step = 0; step < steps; step++) {
        const int column = step * stride;
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
            if (token < p.n) bc_atomic_add(&total[(g + e / 2 * 8) * PITCH + token], sums[k][e]);
        }
    bc_sync();
    for (int i = threadIdx.x; i < BC_CODES_ROWS * p.n; i += blockDim.x) {
        const int token = i / BC_CODES_ROWS, r = i % BC_CODES_ROWS, row = row0 + r;
        if (row >= m.rows) continue;
        const float y = (float)total[r * PITCH + token] * (m.scales[row] * p.scale[token]);
        m.y[(int64_t)token * m.y_stride + row] = m.bias ? y + m.bias[row] : y;
    }
}

BC_KERNEL BC_BOUNDS(256, 2) bc_codes_8(const bc_linear_args p) { bc_codes<1>(p); }
BC_KERNEL BC_BOUNDS(256, 2) bc_codes_32(const bc_linear_args p) { bc_codes<4>(p); }
