// tiled.cuh - how planes lie on cards with tensor cores for integers (compute capability 7.5 and newer): in units of 32
// columns of a group (trits.cuh), in the order in which a warp wants them, so that memory is read in long runs. Tile after
// tile of eight groups, in a tile step after step of 128 columns, in a step plane after plane. Of a plane's 1024 bytes the
// first half has words 0 to 3 of its units, group after group, the second words 4 to 7. The last tile has the groups that
// are left, and less in each step. A group's four units in a step have sixteen columns each of the first 64, and the sixteen
// 64 further on: so four lanes' loads of a token's columns are 64 bytes in a row.
#pragma once

enum {
    BC_STEP_GROUPS = BC_GPU_TILE_GROUPS,
    BC_STEP_COLS = BC_GPU_STEP_COLS,
    BC_STEP_BYTES = BC_GPU_STEP_BYTES,
    BC_STEP_HALF = BC_STEP_BYTES / 2,
    BC_HALF_COLS = 64, // of a step, and a group's bytes of half a plane in it
    BC_UNIT_HALF = 16  // columns
};

BC_DEVICE int bc_least(int a, int b) { return a < b ? a : b; }

// In shared memory, integers from a row's sums of so many tokens to the next row's. Odd: neighbouring rows lie in banks of
// their own. And of a product's sums, the row lane / 4 and the token lane % 4 * 2, only two meet in a bank.
template <int TOKENS> struct bc_sums_pitch {
    static const int VALUE = TOKENS / 32 * 32 + 9;
};

// Of a matrix of `groups`: bytes of half a plane in each step of a tile
BC_DEVICE int bc_half_bytes(int groups, int tile)
{
    return bc_least(groups - tile * BC_STEP_GROUPS, BC_STEP_GROUPS) * BC_HALF_COLS;
}

// Where the first four words are, in plane 0 and in bytes, of unit 0 to 3 of a step: the other four are bc_half_bytes
// further, the next plane's twice that.
BC_DEVICE int64_t bc_tiled_at(int cols, int n_planes, int groups, int group, int step, int unit)
{
    const int tile = group / BC_STEP_GROUPS;
    return (int64_t)tile * BC_STEP_GROUPS * cols * n_planes +
           (int64_t)step * n_planes * 2 * bc_half_bytes(groups, tile) +
           group % BC_STEP_GROUPS * BC_HALF_COLS + unit * 16;
}

// Groups of one plane as a file has them, into their places: a thread takes a unit.
BC_KERNEL BC_BOUNDS(256, 4) bc_arrange(const bc_arrange_args p)
{
    BC_SHARED int codes[BC_UNIT_NUMBERS];
    bc_let_next_begin();
    bc_find_codes(codes);
    bc_wait_for_inputs();
    const int units = p.cols / BC_UNIT_COLS, stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.groups * units; i += stride) {
        const int row = i / units, group = p.first + row, tile = group / BC_STEP_GROUPS,
                  step = i % units / 4, unit = i % 4;
        const uint32_t *from =
            p.from + ((int64_t)row * p.cols + step * BC_STEP_COLS + unit * BC_UNIT_HALF) / 4;
        uint32_t s[BC_UNIT_WORDS] = {};
#pragma unroll 1
        for (int j = 0; j < BC_UNIT_WORDS; j++) {
            const uint32_t word = from[j / 4 * (BC_HALF_COLS / 4) + j % 4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const uint32_t code = bc_code_of(codes, word >> 8 * e & 255);
#pragma unroll
                for (int k = 0; k < BC_UNIT_WORDS; k++)
                    s[k] |= (code >> k & 1) << bc_unit_bit(4 * j + e);
            }
        }
        const int half = bc_half_bytes(p.all_groups, tile);
        uint8_t *to = p.to + bc_tiled_at(p.cols, p.n_planes, p.all_groups, group, step, unit) +
                      2 * p.plane * half;
        bc_put(to, { { s[0], s[1], s[2], s[3] } });
        bc_put(to + half, { { s[4], s[5], s[6], s[7] } });
    }
}

// A unit's other four words are with the thread beside this one, which has an odd number where this one's is even.
BC_DEVICE bc_trits bc_take_apart_halves(const uint32_t mine[4])
{
    const int second = threadIdx.x % 2;
    bc_unit unit;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint32_t other = (uint32_t)bc_shuffle_xor((int)mine[k], 1);
        unit.s[k] = second ? other : mine[k];
        unit.s[4 + k] = second ? mine[k] : other;
    }
    return bc_take_apart(unit);
}

// q = 3 q + digit of five rows, a byte for each of four columns, of a file's word
BC_DEVICE void bc_add_digits(uint32_t q[5], uint32_t word)
{
    uint32_t even = word & 0x00ff00ffu, odd = bc_bytes(word, 0, 0x4341);
#pragma unroll
    for (int i = 0; i < 5; i++) {
        even *= 3;
        odd *= 3;
        q[i] = 3 * q[i] + bc_bytes(even, odd, 0x7351);
        even &= 0x00ff00ffu;
        odd &= 0x00ff00ffu;
    }
}
