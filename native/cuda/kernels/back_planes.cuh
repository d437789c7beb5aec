// back_planes.cuh - how a gradient goes back through a matrix of planes, or of int8 codes: dx = R' W' dy. dy times the row scales is made
// integers of 8 bits (one limb) or 16 (two) with one step for a token and BC_GPU_BACK_ROWS rows, and multiplied with
// the digits transposed on the tensor cores: exact but for those steps, as in linear_back.c.
#pragma once

enum {
    BC_BACK_WORDS = BC_GPU_BACK_ROWS / 4, // of a column's rows
    // words from column to column, or token to token: odd, so that neither writing nor reading hits a bank often
    BC_BACK_STRIDE = BC_BACK_WORDS + 1,
    // and from row to row of digits that are not transposed yet, a multiple of 16 bytes: a thread writes so many
    BC_BACK_DIGITS = BC_GPU_BACK_COLS / 4 + 4,
    // of both in the same place
    BC_BACK_ROOM = BC_GPU_BACK_ROWS * BC_BACK_DIGITS > BC_GPU_BACK_TOKENS *BC_BACK_STRIDE
        ? BC_GPU_BACK_ROWS * BC_BACK_DIGITS
        : BC_GPU_BACK_TOKENS * BC_BACK_STRIDE
};

// ---- gradients as integers ----

// Grid: (tokens, blocks of rows / 4), one warp for a block of rows.
template <int LIMBS> BC_DEVICE void bc_back_round(const bc_round_args &p)
{
    const int LOADS = BC_GPU_BACK_ROWS / 32, MOST = LIMBS == 1 ? BC_GPU_LIMB_MAX : BC_GPU_LIMBS_MAX;
    const int t = blockIdx.x, lane = threadIdx.x % 32,
              block = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (block >= p.blocks) return;
    float v[LOADS];
    int top = 0; // the bits of |v| order like the numbers, NaN above infinity
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int row = block * BC_GPU_BACK_ROWS + i * 32 + lane;
        v[i] = row < p.rows ? p.dy[(int64_t)t * p.dy_stride + row] * p.scales[row] : 0.0f;
        const int bits = (int)(bc_float_to_bits(v[i]) & 0x7fffffffu);
        top = bits > top ? bits : top;
    }
    top = bc_warp_max(top);
    const float max = bc_bits_to_float((uint32_t)top);
    const bool usable = top > 0 && top < 0x7f800000;
    const float up = max < 0x1p-60f ? 0x1p80f : 1.0f; // so that MOST / max is finite
    const float inverse = usable ? (float)MOST / (max * up) : 0.0f;
    int8_t *out = p.codes + ((int64_t)t * p.blocks + block) * BC_GPU_BACK_ROWS + lane;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int a = usable ? (int)bc_round_even(v[i] * up * inverse) : 0;
        const int high = (a + 128) >> 8; // two limbs: a = 256 high + low
        sum += a;
        out[i * 32] = (int8_t)(LIMBS == 1 ? a : high);
        if (LIMBS == 2) out[p.limb + i * 32] = (int8_t)(a - 256 * high);
    }
    sum = bc_warp_sum(sum);
    if (lane == 0) {
        const float nothing = top ? bc_bits_to_float(0x7fc00000u) : 0.0f;
        p.step[(int64_t)block * p.n + t] = usable ? max / (float)MOST : nothing;
        p.sum[(int64_t)block * p.n + t] = sum;
    }
}
BC_KERNEL BC_BOUNDS(128, 4) bc_back_round_1(const bc_round_args p) { bc_back_round<1>(p); }
BC_KERNEL BC_BOUNDS(128, 4) bc_back_round_2(const bc_round_args p) { bc_back_round<2>(p); }

// ---- the product ----

// Four words of rows i .. i + 3, a byte for each of four columns -> four words of columns, a byte for each row.
BC_DEVICE void bc_transpose_bytes(const uint32_t row[4], uint32_t column[4])
{
    const uint32_t low01 = bc_bytes(row[0], row[1], 0x5140),
                   high01 = bc_bytes(row[0], row[1], 0x7362);
    const uint32_t low23 = bc_bytes(row[2], row[3], 0x5140),
                   high23 = bc_bytes(row[2], row[3], 0x7362);
    column[0] = bc_bytes(low01, low23, 0x5410);
    column[1] = bc_bytes(low01, low23, 0x7632);
    column[2] = bc_bytes(high01, high23, 0x5410);
    column[3] = bc_bytes(high01, high23, 0x7632);
}

// BC_GPU_BACK_ROWS rows from row0 on of BC_GPU_BACK_COLS columns, which are one half of their step's, q + (its largest), a
// byte for each column: from planes that are tiled into `digits` [row][BC_BACK_DIGITS], in words. A thread has half a unit.
BC_DEVICE void bc_back_units(const bc_back_args &p, int row0, int col0, uint32_t *digits)
{
    const int own = threadIdx.x / 4, unit = threadIdx.x % 4, second = col0 / BC_HALF_COLS % 2;
    const int groups = (p.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP,
              group = row0 / BC_GPU_GROUP + own;
    const int half = bc_half_bytes(groups, group / BC_STEP_GROUPS);
    const uint8_t *at =
        p.data + bc_tiled_at(p.cols, p.n_planes, groups, group, col0 / BC_STEP_COLS, unit);
    bc_words4 q[5] = {};
#pragma unroll 1
    for (int k = 0; k < p.n_planes && group < groups; k++) {
        const bc_words4 low = bc_load(at + k * 2 * half), high = bc_load(at + (k * 2 + 1) * half);
        const bc_trits trits = bc_take_apart({ low, high });
#pragma unroll
        for (int i = 0; i < 5; i++) bc_row_digits(trits, i, second).add_to(&q[i]);
    }
#pragma unroll
    for (int i = 0; i < 5; i++)
        bc_put(digits + (own * BC_GPU_GROUP + i) * BC_BACK_DIGITS + 4 * unit, q[i]);
}

// The same four columns from `col` on of the twenty rows of four groups, of other planes.
BC_DEVICE void bc_back_words(const bc_back_args &p, int group0, int col, uint32_t q[20])
{
    const int groups = (p.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP;
#pragma unroll
    for (int g = 0; g < 4; g++) {
        const int group = group0 + g;
        const uint8_t *at = p.data + (int64_t)group * p.cols + col;
#pragma unroll
        for (int i = 0; i < 5; i++) q[5 * g + i] = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (k >= p.n_planes) break;
            const uint32_t word =
                group < groups && col < p.cols ? *(const uint32_t *)(at + k * p.plane_stride) : 0u;
            bc_add_digits(q + 5 * g, word);
        }
    }
}

// BC_GPU_BACK_ROWS rows from row0 on of BC_GPU_BACK_COLS columns -> tile [column][row], by way of `room` where
// planes are tiled. A thread has four columns of twenty rows, which are five times four.
template <bool CODES>
BC_DEVICE void bc_back_columns(const bc_back_args &p, int row0, int col0, uint32_t *room,
                               uint32_t *tile)
{
    const int word = threadIdx.x % (BC_GPU_BACK_COLS / 4),
              twenty = threadIdx.x / (BC_GPU_BACK_COLS / 4), row = row0 + 20 * twenty;
    uint32_t q[20];
    if (CODES) {
#pragma unroll
        for (int i = 0; i < 20; i++)
            q[i] = row + i < p.rows
                       ? bc_load_word(p.data + (int64_t)(row + i) * p.cols, col0 + 4 * word, p.cols)
                       : 0u;
    } else if (bc_is_tiled(p.tiled)) {
        bc_back_units(p, row0, col0, room);
        bc_sync();
#pragma unroll
        for (int i = 0; i < 20; i++) q[i] = room[(20 * twenty + i) * BC_BACK_DIGITS + word];
        bc_sync(); // tokens come there
    } else {
        bc_back_words(p, row / BC_GPU_GROUP, col0 + 4 * word, q);
    }
#pragma unroll
    for (int i = 0; i < 5; i++) {
        uint32_t columns[4];
        bc_transpose_bytes(q + 4 * i, columns);
#pragma unroll
        for (int c = 0; c < 4; c++)
            tile[(4 * word + c) * BC_BACK_STRIDE + 5 * twenty + i] = columns[c];
    }
}

// The integers of a block of rows of BC_GPU_BACK_TOKENS tokens -> tile [token][row]
BC_DEVICE void bc_back_tokens(const bc_back_args &p, const int8_t *codes, int block, int token0,
                              uint32_t *tile)
{
    const int PIECES = BC_BACK_WORDS / 4; // of 16 bytes
    for (int i = threadIdx.x; i < BC_GPU_BACK_TOKENS * PIECES; i += BC_GPU_BACK_THREADS) {
        const int token = i / PIECES, piece = i % PIECES;
        bc_words4 v = { { 0, 0, 0, 0 } };
        if (token0 + token < p.n)
            v = bc_load(codes + ((int64_t)(token0 + token) * p.blocks + block) * BC_GPU_BACK_ROWS +
                        16 * piece);
#pragma unroll
        for (int w = 0; w < 4; w++) tile[token * BC_BACK_STRIDE + 4 * piece + w] = v.w[w];
    }
}

// One warp: 32 columns from `columns` on times 32 tokens from `tokens` on, over a block of rows.
template <bool SIGNED>
BC_DEVICE void bc_back_multiply(int c[2][4][4], const uint32_t *columns, const uint32_t *tokens)
{
#pragma unroll
    for (int k = 0; k < BC_BACK_WORDS; k += 8)
        bc_multiply<SIGNED, 2, BC_BACK_STRIDE>(c, columns, tokens, k);
}

// Four warps, two by two over 64 columns and 64 tokens. Grid: (tiles of columns, tiles of tokens).
template <bool CODES> BC_DEVICE void bc_back(const bc_back_args &p)
{
    BC_SHARED uint32_t columns[BC_GPU_BACK_COLS * BC_BACK_STRIDE];
    BC_SHARED_ALIGNED uint32_t tokens[CODES ? BC_GPU_BACK_TOKENS * BC_BACK_STRIDE : BC_BACK_ROOM];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int col0 = blockIdx.x * BC_GPU_BACK_COLS, token0 = blockIdx.y * BC_GPU_BACK_TOKENS;
    const int zero = CODES ? 0 : bc_gpu_largest(p.n_planes), first_token = warp / 2 * 32,
              first_col = warp % 2 * 32;
    float total[2][4][4] = {};
    bc_let_next_begin();
    bc_wait_for_inputs();
    for (int block = 0; block < p.blocks; block++) {
        int c[2][4][4] = {};
        for (int limb = 0; limb < p.limbs; limb++) {
            bc_sync();
            if (limb == 0)
                bc_back_columns<CODES>(p, block * BC_GPU_BACK_ROWS, col0, tokens, columns);
            bc_back_tokens(p, p.codes + limb * p.limb, block, token0, tokens);
            bc_sync();
            if (limb == 1) { // what is there is of the upper limb
#pragma unroll
                for (int i = 0; i < 32; i++) c[i / 16][i / 4 % 4][i % 4] *= 256;
            }
            bc_back_multiply<CODES>(c, columns + first_col * BC_BACK_STRIDE,
                                    tokens + first_token * BC_BACK_STRIDE);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) { // two neighbouring tokens of each of four tiles
            const int t = token0 + first_token + j / 2 * 8 + lane % 4 * 2 + j % 2;
            const int64_t at = (int64_t)block * p.n + t;
            const float step = t < p.n ? p.step[at] : 0.0f;
            const int offset = t < p.n ? zero * p.sum[at] : 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int e = i % 2 * 2 + j % 2;
                total[i / 2][j / 2][e] += step * (float)(c[i / 2][j / 2][e] - offset);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const int e = i % 4, col = col0 + first_col + i / 16 * 16 + e / 2 * 8 + lane / 4,
                  t = token0 + first_token + i / 4 % 4 * 8 + lane % 4 * 2 + e % 2;
        if (col >= p.out_cols || t >= p.n) continue;
        float *out = p.out + (int64_t)t * p.out_stride + col;
        const float v = total[i / 16][i / 4 % 4][e];
        *out = p.add ? *out + v : v;
    }
}

BC_KERNEL BC_BOUNDS(128, 3) bc_back_planes(const bc_back_args p) { bc_back<false>(p); }
BC_KERNEL BC_BOUNDS(128, 3) bc_back_codes(const bc_back_args p) { bc_back<true>(p); }

// ---- back to the order of the inputs ----

// The inverse of a rotation: the transform, and every element back to its place. One block per token.
BC_KERNEL BC_BOUNDS(256, 4) bc_back_unrotate(const bc_unrotate_args p)
{
    BC_DYNAMIC_SHARED(vector);
    float *y = p.rotated + (int64_t)blockIdx.x * p.width,
          *out = p.out + (int64_t)blockIdx.x * p.width;
    float *x = p.shared ? (float *)vector : y;
    bc_let_next_begin();
    bc_wait_for_inputs();
    for (int first = 0; first < p.width; first += blockDim.x * BC_SHARE) {
        const int i = first + (int)threadIdx.x * BC_SHARE;
        bc_sixteen v = {};
        if (i < p.width) v = bc_load16(y + i);
        bc_butterflies<BC_SHARE>(v.v, p.block);
        bc_sync_warp(); // where x is y, the lane beside this one has read what is overwritten now
        if (i < p.width) bc_put_slots(x, i, v);
    }
    bc_sync();
    bc_hadamard_block(x, p.width, p.block, nullptr);
    const float divisor = p.block > 1 ? 1.0f / sqrtf((float)p.block) : 1.0f;
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
        const uint32_t place = p.places ? p.places[i] : (uint32_t)i;
        out[i] = bc_flipped(x[bc_gpu_slot((int)(place & BC_PLACE))] * divisor, place);
    }
}
