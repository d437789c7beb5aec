// tiled.cuh - how planes lie on cards with tensor cores for integers (compute capability 7.5 and newer): the bytes of a file
// in the order in which a warp wants them, so that memory is read in long runs. Tile after tile of eight groups, in a tile
// step after step of 64 columns, in a step plane after plane, of a plane's 512 bytes group after group.
#pragma once

enum { BC_STEP_GROUPS = BC_GPU_TILE_GROUPS, BC_STEP_COLS = 64, BC_STEP_BYTES = 512 };

// Where 4 columns of a group begin, in bytes; `cols` is a multiple of 64.
BC_DEVICE int64_t bc_tiled_at(int cols, int n_planes, int group, int plane, int column)
{
    const int64_t step =
        (int64_t)(group / BC_STEP_GROUPS) * (cols / BC_STEP_COLS) + column / BC_STEP_COLS;
    return (step * n_planes + plane) * BC_STEP_BYTES + group % BC_STEP_GROUPS * BC_STEP_COLS +
           column % BC_STEP_COLS;
}

// Groups of one plane as a file has them, into their places; a tile's last groups may not be there.
BC_KERNEL BC_BOUNDS(256, 4) bc_arrange(const bc_arrange_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int words = p.cols / 4, stride = gridDim.x * blockDim.x,
              groups = (p.groups + BC_STEP_GROUPS - 1) / BC_STEP_GROUPS * BC_STEP_GROUPS;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < groups * words; i += stride) {
        const int group = i / words;
        const int64_t at = bc_tiled_at(p.cols, p.n_planes, p.first + group, p.plane, i % words * 4);
        *(uint32_t *)(p.to + at) = group < p.groups ? p.from[i] : 0u;
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
