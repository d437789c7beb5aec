// reduce.cuh - sums and maxima over a warp and over a block.
#pragma once

// A sum of f32 squares kept exactly enough to round like one in f64: the error of every step is carried along
// (Dekker 1971, Knuth's two-sum). Cards for games have few f64 units.
struct bc_wide_sum {
    float high, low;
};

BC_DEVICE void bc_add_square(bc_wide_sum *s, float v)
{
    const float p = v * v, rest = bc_fma(v, v, -p);
    const float t = s->high + p, z = t - s->high;
    s->low += ((s->high - (t - z)) + (p - z)) + rest;
    s->high = t;
}

BC_DEVICE double bc_warp_sum(double v)
{
    for (int mask = 16; mask; mask /= 2) v += bc_shuffle_xor(v, mask);
    return v;
}
BC_DEVICE float bc_warp_sum(float v)
{
    for (int mask = 16; mask; mask /= 2) v += bc_shuffle_xor(v, mask);
    return v;
}
BC_DEVICE float bc_warp_max(float v)
{
    for (int mask = 16; mask; mask /= 2) {
        const float other = bc_shuffle_xor(v, mask);
        v = other > v ? other : v;
    }
    return v;
}
BC_DEVICE int bc_warp_max(int v)
{
    for (int mask = 16; mask; mask /= 2) {
        const int other = bc_shuffle_xor(v, mask);
        v = other > v ? other : v;
    }
    return v;
}

// Over all threads of the block, in every thread; `room` has one element per warp. Whole warps only. The second of two
// calls may use the same room.
template <typename T> BC_DEVICE T bc_block_sum(T v, T *room)
{
    const int warps = blockDim.x / 32, lane = threadIdx.x % 32;
    v = bc_warp_sum(v);
    if (warps == 1) return v;
    bc_sync();
    if (lane == 0) room[threadIdx.x / 32] = v;
    bc_sync();
    return bc_warp_sum(lane < warps ? room[lane] : (T)0);
}
BC_DEVICE int bc_block_max(int v, int *room)
{
    const int warps = blockDim.x / 32, lane = threadIdx.x % 32;
    v = bc_warp_max(v);
    if (warps == 1) return v;
    bc_sync();
    if (lane == 0) room[threadIdx.x / 32] = v;
    bc_sync();
    return bc_warp_max(room[lane < warps ? lane : 0]);
}
