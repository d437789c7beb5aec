// gemm.cuh - y = W x for a batch: tiles of rows become bytes in shared memory once and are multiplied on the
// tensor cores, so N planes cost one product. All sums are exact integers, so neither the tiling nor the splitting of
// the columns changes a bit.
#pragma once

enum {
    BC_TILE_WORDS = BC_GPU_TILE_COLS / 4,
    BC_TILE_STRIDE = BC_TILE_WORDS +
        4, // words from row to row in shared memory: no bank is hit twice
    BC_TILE_GROUPS = BC_GPU_TILE_ROWS / BC_GPU_GROUP,
    BC_TILE_THREADS = 128,
    BC_WARP_TOKENS = 32,
    BC_TILE_LOADS = BC_TILE_GROUPS * BC_TILE_WORDS /
        BC_TILE_THREADS, // words of a plane for one thread
    BC_CODE_LOADS = BC_GPU_TILE_ROWS * BC_TILE_WORDS / BC_TILE_THREADS // the same of int8 codes
};

// 4 bytes of a row at column c
BC_DEVICE uint32_t bc_load_word(const uint8_t *row, int c, int cols)
{
    return c < cols ? *(const uint32_t *)(row + c) : 0u;
}

// ---- what a thread loads ahead of a tile's step, and how it becomes bytes in shared memory ----

// Planes that are tiled: threads 2 u and 2 u + 1 have the halves of unit u, of four beside each other of 16 groups. Others:
// thread t has word t % 32 of groups t / 32 + 4 j.
struct bc_plane_tile {
    uint32_t w[4][BC_TILE_LOADS];

    BC_DEVICE static int unit_group() { return threadIdx.x / 8; }
    BC_DEVICE static int unit() { return threadIdx.x / 2 % 4; }
    BC_DEVICE void load_units(const bc_matrix_args &m, int cols, int row0, int col0)
    {
        const int groups = (m.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP,
                  group = row0 / BC_GPU_GROUP + unit_group();
        const int half = bc_half_bytes(groups, group / BC_STEP_GROUPS);
        const uint8_t *at =
            m.data + bc_tiled_at(cols, m.n_planes, groups, group, col0 / BC_STEP_COLS, unit()) +
            threadIdx.x % 2 * half;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (k >= m.n_planes) continue;
            bc_words4 v = { { 0, 0, 0, 0 } };
            if (group < groups) v = bc_load(at + k * 2 * half);
#pragma unroll
            for (int j = 0; j < BC_TILE_LOADS; j++) w[k][j] = v.w[j];
        }
    }
    BC_DEVICE void load_words(const bc_matrix_args &m, int cols, int row0, int col0)
    {
        const int word = threadIdx.x % BC_TILE_WORDS, column = col0 + 4 * word,
                  groups = (m.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP;
#pragma unroll
        for (int j = 0; j < BC_TILE_LOADS; j++) {
            const int group = row0 / BC_GPU_GROUP + (int)threadIdx.x / BC_TILE_WORDS +
                              j * (BC_TILE_THREADS / BC_TILE_WORDS);
            const uint8_t *at = m.data + (int64_t)group * cols + column;
#pragma unroll
            for (int k = 0; k < 4; k++)
                if (k < m.n_planes)
                    w[k][j] = group < groups && column < cols
                                  ? *(const uint32_t *)(at + k * m.plane_stride)
                                  : 0u;
        }
    }
    BC_DEVICE void load(const bc_matrix_args &m, bool tiled, int cols, int row0, int col0)
    {
        if (tiled)
            load_units(m, cols, row0, col0);
        else
            load_words(m, cols, row0, col0);
    }

    // q + (its largest) of five rows, a byte for each column, plane by plane: all of them have no room in registers
    BC_DEVICE void store_units(const bc_matrix_args &m, uint32_t *tile) const
    {
        const int second = threadIdx.x % 2;
        uint32_t *to = tile + unit_group() * BC_GPU_GROUP * BC_TILE_STRIDE +
                       (second * BC_HALF_COLS + unit() * BC_UNIT_HALF) / 4;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (k >= m.n_planes) break;
            const bc_trits trits = bc_take_apart_halves(w[k]);
#pragma unroll
            for (int i = 0; i < 5; i++) {
                bc_words4 q = { { 0, 0, 0, 0 } };
                if (k) q = bc_load(to + i * BC_TILE_STRIDE);
                bc_row_digits(trits, i, second).add_to(&q);
                bc_put(to + i * BC_TILE_STRIDE, q);
            }
        }
    }
    // The same of words as a file has them
    BC_DEVICE void store_words(const bc_matrix_args &m, uint32_t *tile) const
    {
        const int word = threadIdx.x % BC_TILE_WORDS;
#pragma unroll
        for (int j = 0; j < BC_TILE_LOADS; j++) {
            uint32_t q[5] = { 0, 0, 0, 0, 0 };
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (k >= m.n_planes) break;
                bc_add_digits(q, w[k][j]);
            }
            const int group = threadIdx.x / BC_TILE_WORDS + j * (BC_TILE_THREADS / BC_TILE_WORDS);
#pragma unroll
            for (int i = 0; i < 5; i++)
                tile[(group * BC_GPU_GROUP + i) * BC_TILE_STRIDE + word] = q[i];
        }
    }
    BC_DEVICE void store(const bc_matrix_args &m, bool tiled, uint32_t *tile) const
    {
        if (tiled)
            store_units(m, tile);
        else
            store_words(m, tile);
    }
};

struct bc_code_tile {
    uint32_t w[BC_CODE_LOADS];

    BC_DEVICE void load(const bc_matrix_args &m, bool, int cols, int row0, int col0)
    {
        const int word = threadIdx.x % BC_TILE_WORDS;
#pragma unroll
        for (int j = 0; j < BC_CODE_LOADS; j++) {
            const int row =
                row0 + (int)threadIdx.x / BC_TILE_WORDS + j * (BC_TILE_THREADS / BC_TILE_WORDS);
            w[j] = row < m.rows ? bc_load_word(m.data + (int64_t)row * cols, col0 + 4 * word, cols)
                                : 0u;
        }
    }

    BC_DEVICE void store(const bc_matrix_args &, bool, uint32_t *tile) const
    {
        const int word = threadIdx.x % BC_TILE_WORDS;
#pragma unroll
        for (int j = 0; j < BC_CODE_LOADS; j++)
            tile[(threadIdx.x / BC_TILE_WORDS + j * (BC_TILE_THREADS / BC_TILE_WORDS)) *
                     BC_TILE_STRIDE +
                 word] = w[j];
    }
};

// Activations: thread t has 16 bytes t % 8 of tokens t / 8 + 16 j.
template <int TOKENS> struct bc_token_tile {
    bc_words4 v[TOKENS / 16];

    BC_DEVICE void load(const bc_linear_args &p, int token0, int col0)
    {
#pragma unroll
        for (int j = 0; j < TOKENS / 16; j++) {
            const int token = token0 + (int)threadIdx.x / 8 + 16 * j;
            v[j] = { { 0, 0, 0, 0 } };
            if (token < p.n)
                v[j] = bc_load(p.a + (int64_t)token * p.a_stride + col0 + threadIdx.x % 8 * 16);
        }
    }

    BC_DEVICE void store(uint32_t *tile) const
    {
#pragma unroll
        for (int j = 0; j < TOKENS / 16; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                tile[(threadIdx.x / 8 + 16 * j) * BC_TILE_STRIDE + threadIdx.x % 8 * 4 + i] =
                    v[j].w[i];
    }
};

// ---- the product ----

// Tile times tokens for one warp, 32 columns from word `first`: SIXTEENS x 16 rows x 32 tokens, STRIDE words from row to row.
template <bool SIGNED, int SIXTEENS, int STRIDE>
BC_DEVICE void bc_multiply(int c[SIXTEENS][4][4], const uint32_t *rows, const uint32_t *tokens,
                           int first)
{
    const int lane = threadIdx.x % 32, g = lane / 4, at = first + lane % 4;
    uint32_t b[4][2];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        b[j][0] = tokens[(8 * j + g) * STRIDE + at];
        b[j][1] = tokens[(8 * j + g) * STRIDE + at + 4];
    }
#pragma unroll
    for (int i = 0; i < SIXTEENS; i++) {
        const uint32_t *low = rows + (16 * i + g) * STRIDE + at, *high = low + 8 * STRIDE;
        const uint32_t a[4] = { low[0], high[0], low[4], high[4] };
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (SIGNED)
                bc_mma_ss(c[i][j], a, b[j]);
            else
                bc_mma_us(c[i][j], a, b[j]);
        }
    }
}

BC_DEVICE void bc_gemm_write(const bc_linear_args &p, const bc_matrix_args &m, int zero, int row,
                             int token, int dot)
{
    if (row >= m.rows || token >= p.n) return;
    const float y = (float)(dot - zero * p.sum[token]) * (m.scales[row] * p.scale[token]);
    m.y[(int64_t)token * m.y_stride + row] = m.bias ? y + m.bias[row] : y;
}

// Adds the block's dots [80][bc_sums_pitch] to those of the other parts of the columns; the block that comes last writes.
template <int TOKENS>
BC_DEVICE void bc_gemm_join(const bc_linear_args &p, const bc_matrix_args &m, int row0, int token0,
                            const int *dots)
{
    BC_SHARED int last;
    const int zero = m.largest;
    const int rows = m.rows - row0 < BC_GPU_TILE_ROWS ? m.rows - row0 : BC_GPU_TILE_ROWS;
    const int tokens = p.n - token0 < TOKENS ? p.n - token0 : TOKENS;
    int *sums = p.partial + (int64_t)token0 * p.partial_stride + blockIdx.x * BC_GPU_TILE_ROWS;
    int *arrived = p.arrived + blockIdx.y * gridDim.x + blockIdx.x;
    for (int i = threadIdx.x; i < rows * tokens; i += blockDim.x)
        bc_atomic_add(&sums[(int64_t)(i / rows) * p.partial_stride + i % rows],
                      dots[i % rows * bc_sums_pitch<TOKENS>::VALUE + i / rows]);
    bc_fence();
    bc_sync();
    if (threadIdx.x == 0) last = bc_atomic_add(arrived, 1) == p.splits - 1;
    bc_sync();
    if (!last) return;
    bc_fence();
    for (int i = threadIdx.x; i < rows * tokens; i += blockDim.x) {
        int *sum = &sums[(int64_t)(i / rows) * p.partial_stride + i % rows];
        bc_gemm_write(p, m, zero, row0 + i % rows, token0 + i / rows, bc_atomic_add(sum, 0));
        *sum = 0;
    }
    if (threadIdx.x == 0) *arrived = 0;
}

// Of one warp: c[i][j][e] is row 16 i + lane / 4 + (e / 2) * 8, token 8 j + (lane % 4) * 2 + e % 2.
BC_DEVICE void bc_gemm_write_tile(const bc_linear_args &p, const bc_matrix_args &m, int row0,
                                  int token0, const int c[5][4][4])
{
    const int lane = threadIdx.x % 32, token = token0 + lane % 4 * 2, zero = m.largest;
    float scale[8];
    int offset[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int t = token + i / 2 * 8 + i % 2;
        scale[i] = t < p.n ? p.scale[t] : 0.0f;
        offset[i] = t < p.n ? zero * p.sum[t] : 0;
    }
#pragma unroll
    for (int i = 0; i < 10; i++) {
        const int row = row0 + lane / 4 + 8 * i;
        if (row >= m.rows) break;
        const float row_scale = m.scales[row], bias = m.bias ? m.bias[row] : 0.0f;
        float *y = m.y + (int64_t)token * m.y_stride + row;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const int t = j / 2 * 8 + j % 2;
            const float v =
                (float)(c[i / 2][j / 2][i % 2 * 2 + j % 2] - offset[j]) * (row_scale * scale[j]);
            if (token + t < p.n) y[(int64_t)t * m.y_stride] = m.bias ? v + bias : v;
        }
    }
}

// Several warps have each a part of the columns of the same 32 tokens.
template <int WIDE>
BC_DEVICE void bc_gemm_finish(const bc_linear_args &p, const bc_matrix_args &m, int row0,
                              int token0, const int c[5][4][4])
{
    const int ROWS = BC_GPU_TILE_ROWS, TOKENS = WIDE * BC_WARP_TOKENS,
              PITCH = bc_sums_pitch<TOKENS>::VALUE;
    BC_SHARED int dots[BC_GPU_TILE_ROWS * bc_sums_pitch<WIDE * BC_WARP_TOKENS>::VALUE];
    const int lane = threadIdx.x % 32, row = lane / 4;
    const int token = (int)threadIdx.x / 32 / (4 / WIDE) * BC_WARP_TOKENS + lane % 4 * 2;
    for (int i = threadIdx.x; i < ROWS * PITCH; i += blockDim.x) dots[i] = 0;
    bc_sync();
#pragma unroll
    for (int i = 0; i < 5; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                bc_atomic_add(&dots[(row + 16 * i + e / 2 * 8) * PITCH + token + 8 * j + e % 2],
                              c[i][j][e]);
    bc_sync();
    if (p.splits > 1) {
        bc_gemm_join<TOKENS>(p, m, row0, token0, dots);
        return;
    }
    const int zero = m.largest;
    for (int i = threadIdx.x; i < ROWS * TOKENS; i += blockDim.x)
        bc_gemm_write(p, m, zero, row0 + i % ROWS, token0 + i / ROWS,
                      dots[i % ROWS * PITCH + i / ROWS]);
}

// Four warps: WIDE of them beside each other over the tokens, the rest take turns over a step's columns.
// Grid: tiles of rows, tiles of tokens, parts of the columns.
template <class TILE, int WIDE, bool SIGNED> BC_DEVICE void bc_gemm(const bc_linear_args &p)
{
    const int TOKENS = WIDE * BC_WARP_TOKENS, DEEP = 4 / WIDE;
    BC_SHARED_ALIGNED uint32_t rows[BC_GPU_TILE_ROWS * BC_TILE_STRIDE];
    BC_SHARED uint32_t tokens[TOKENS * BC_TILE_STRIDE];
    const int warp = threadIdx.x / 32;
    int which = 0; // by a loop: one register less
#pragma unroll 1
    while ((int)blockIdx.x >= p.first[which + 1]) which++;
    const bc_matrix_args &m = p.m[which];
    const int row0 = ((int)blockIdx.x - p.first[which]) * BC_GPU_TILE_ROWS,
              token0 = blockIdx.y * TOKENS;
    const int all_steps = (p.cols + BC_GPU_TILE_COLS - 1) / BC_GPU_TILE_COLS;
    const int share = (all_steps + p.splits - 1) / p.splits, begin = blockIdx.z * share;
    const int end = begin + share < all_steps ? begin + share : all_steps;
    int c[5][4][4] = {};
    TILE tile;
    bc_token_tile<TOKENS> a;
    const bool tiled = bc_is_tiled(p.tiled);
    if (begin < end) tile.load(m, tiled, p.cols, row0, begin * BC_GPU_TILE_COLS);
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (begin < end) a.load(p, token0, begin * BC_GPU_TILE_COLS);
    for (int step = begin; step < end; step++) {
        bc_sync();
        tile.store(m, tiled, rows);
        a.store(tokens);
        bc_sync();
        if (step + 1 < end) {
            tile.load(m, tiled, p.cols, row0, (step + 1) * BC_GPU_TILE_COLS);
            a.load(p, token0, (step + 1) * BC_GPU_TILE_COLS);
        }
#pragma unroll
        for (int k = 0; k < 4 / DEEP; k++)
            bc_multiply<SIGNED, BC_GPU_TILE_ROWS / 16, BC_TILE_STRIDE>(
                c, rows, tokens + warp / DEEP * BC_WARP_TOKENS * BC_TILE_STRIDE,
                8 * (k * DEEP + warp % DEEP));
    }
    if constexpr (WIDE == 4)
        bc_gemm_write_tile(p, m, row0, token0 + warp / DEEP * BC_WARP_TOKENS, c);
    else
        bc_gemm_finish<WIDE>(p, m, row0, token0, c);
}

// Blocks of planes on a processor at once: as many as there are without registers in memory (of 64 tokens, two have the
// shared memory).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860 && __CUDA_ARCH__ < 1200
#define BC_GEMM_BLOCKS 3
#else
#define BC_GEMM_BLOCKS 2
#endif
BC_KERNEL BC_BOUNDS(128, BC_GEMM_BLOCKS) bc_gemm_planes_32(const bc_linear_args p)
{
    bc_gemm<bc_plane_tile, 1, false>(p);
}
BC_KERNEL BC_BOUNDS(128, 2) bc_gemm_planes_64(const bc_linear_args p)
{
    bc_gemm<bc_plane_tile, 2, false>(p);
}
BC_KERNEL BC_BOUNDS(128, BC_GEMM_BLOCKS) bc_gemm_planes_128(const bc_linear_args p)
{
    bc_gemm<bc_plane_tile, 4, false>(p);
}
#undef BC_GEMM_BLOCKS
BC_KERNEL BC_BOUNDS(128, 2) bc_gemm_int8_32(const bc_linear_args p)
{
    bc_gemm<bc_code_tile, 1, true>(p);
}
BC_KERNEL BC_BOUNDS(128, 2) bc_gemm_int8_64(const bc_linear_args p)
{
    bc_gemm<bc_code_tile, 2, true>(p);
}
BC_KERNEL BC_BOUNDS(128, 2) bc_gemm_int8_128(const bc_linear_args p)
{
    bc_gemm<bc_code_tile, 4, true>(p);
}
