// reduce.cuh - sums and maxima over a warp, sums over a block, and what a largest element means for rounding to int8.
#pragma once

// A sum of f32 squares that rounds like one in f64. Cards for computing (8.0, 9.0) have the units for that; on cards for
// games the error of every step is carried along in f32 (Dekker 1971, Knuth's two-sum).
#if BC_FAST_DOUBLES
typedef double bc_wide_sum;
BC_DEVICE bc_wide_sum bc_no_squares() { return 0.0; }
BC_DEVICE void bc_add_square(bc_wide_sum *s, float v) { *s = bc_fma((double)v, (double)v, *s); }
BC_DEVICE double bc_squares(bc_wide_sum s) { return s; }
#else
struct bc_wide_sum {
    float high, low;
};
BC_DEVICE bc_wide_sum bc_no_squares() { return { 0.0f, 0.0f }; }
BC_DEVICE double bc_squares(bc_wide_sum s) { return (double)s.high + s.low; }

BC_DEVICE void bc_add_square(bc_wide_sum *s, float v)
{
    const float p = v * v, rest = bc_fma(v, v, -p);
    const float t = s->high + p, z = t - s->high;
    s->low += ((s->high - (t - z)) + (p - z)) + rest;
    s->high = t;
}
#endif

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
// Bits of floats order like integers once those of a negative one, but its sign, are turned over: a card from 8.0 on has an
// instruction for integers.
BC_DEVICE int bc_turned_over(int bits) { return bits ^ (bits >> 31 & 0x7fffffff); }
BC_DEVICE float bc_warp_max(float v)
{
    const int top = bc_warp_max(bc_turned_over((int)bc_float_to_bits(v)));
    return bc_bits_to_float((uint32_t)bc_turned_over(top));
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

// What `warps` warps have left in a room, 32 at most.
BC_DEVICE double bc_sum_of_warps(const double *room, int warps)
{
    int lanes = 32;
    while (lanes >= 2 * warps) lanes /= 2;
    const int own = threadIdx.x % 32 & (lanes - 1);
    double v = own < warps ? room[own] : 0.0;
    for (int mask = lanes / 2; mask; mask /= 2) v += bc_shuffle_xor(v, mask);
    return v;
}

// The same where nobody has used the room before: threads meet once.
BC_DEVICE double bc_block_sum_once(double v, double *room)
{
    const int warps = blockDim.x / 32, lane = threadIdx.x % 32;
    v = bc_warp_sum(v);
    if (warps == 1) return v;
    if (lane == 0) room[threadIdx.x / 32] = v;
    bc_sync();
    return bc_sum_of_warps(room, warps);
}

// What quantize_i8 of kernels_scalar.c makes of a vector's largest |x|, given as its bits: these order like the numbers,
// NaN above infinity. A tiny one is brought up first, so that 127 / max is finite.
struct bc_rounding {
    bool usable;
    int top;
    float up, inverse;

    // From an integer back to what was rounded; not finite where an element was not
    BC_DEVICE float scale() const
    {
        return usable ? bc_bits_to_float((uint32_t)top) / 127.0f
                      : (top ? bc_bits_to_float(0x7fc00000u) : 0.0f);
    }
    // x / scale to the nearest integer, ties to even, in the last bits of 1.5 x 2^23 and it: conversions to integers are
    // slower than additions. Of no use where nothing is.
    BC_DEVICE uint32_t near(float x) const
    {
        return bc_float_to_bits(x * up * inverse + 12582912.0f);
    }
};

BC_DEVICE bc_rounding bc_rounding_of(int top)
{
    bc_rounding r;
    const float max = bc_bits_to_float((uint32_t)top);
    r.usable = top > 0 && top < 0x7f800000;
    r.top = top;
    r.up = max < 0x1p-60f ? 0x1p80f : 1.0f;
    r.inverse = r.usable ? 127.0f / (max * r.up) : 0.0f;
    return r;
}

BC_DEVICE int bc_rounded(const bc_rounding &r, float x)
{
    return r.usable ? (int)(r.near(x) - 0x4b400000u) : 0;
}
