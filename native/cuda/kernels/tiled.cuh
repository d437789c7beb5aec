// tiled.cuh - how planes lie on cards with tensor cores for integers (compute capability 7.5 and newer): the bytes of a file
// in the order in which a warp wants them, so that memory is read in long runs. Tile after tile of eight groups, in a tile
// step after step of 64 columns, in a step plane after plane, of a plane's 512 bytes group after group. The last tile has
// the groups that are left, and less in each step.
#pragma once

enum { BC_STEP_GROUPS = BC_GPU_TILE_GROUPS, BC_STEP_COLS = 64, BC_STEP_BYTES = 512 };

BC_DEVICE int bc_least(int a, int b) { return a < b ? a : b; }

// In shared memory, integers from a row's sums of so many tokens to the next row's. Odd: neighbouring rows lie in banks of
// their own. And of a product's sums, the row lane / 4 and the token lane % 4 * 2, only two meet in a bank.
template <int TOKENS> struct bc_sums_pitch {
    static const int VALUE = TOKENS / 32 * 32 + 9;
};

// Of a matrix of `groups`: bytes of a plane in each step of a tile
BC_DEVICE int bc_plane_bytes(int groups, int tile)
{
    return bc_least(groups - tile * BC_STEP_GROUPS, BC_STEP_GROUPS) * BC_STEP_COLS;
}

// Where 4 columns of a group begin in plane 0, in bytes; the next plane's are bc_plane_bytes further. `cols` is a multiple
// of 64.
BC_DEVICE int64_t bc_tiled_at(int cols, int n_planes, int groups, int group, int column)
{
    const int tile = group / BC_STEP_GROUPS;
    return (int64_t)tile * BC_STEP_GROUPS * cols * n_planes +
           (int64_t)(column / BC_STEP_COLS) * n_planes * bc_plane_bytes(groups, tile) +
           group % BC_STEP_GROUPS * BC_STEP_COLS + column % BC_STEP_COLS;
}

// Groups of one plane as a file has them, into their places.
BC_KERNEL BC_BOUNDS(256, 4) bc_arrange(const bc_arrange_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int words = p.cols / 4, stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.groups * words; i += stride) {
        const int group = p.first + i / words;
        const int64_t at = bc_tiled_at(p.cols, p.n_planes, p.all_groups, group, i % words * 4);
        *(uint32_t *)(p.to + at + p.plane * bc_plane_bytes(p.all_groups, group / BC_STEP_GROUPS)) =
            p.from[i];
    }
}

// q = 3 q + digit (0 to 2) of five rows, at four columns, a byte each.
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
