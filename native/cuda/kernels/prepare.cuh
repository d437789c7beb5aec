// prepare.cuh - one vector per token, from where it comes to what matrices multiply: residual added, normed, rotated,
// rounded to int8. One block per token, sixteen neighbouring elements per thread: the stages of the Hadamard transform
// cost least in registers, and the fewer instructions there are the sooner the matrices begin, since nothing else runs
// meanwhile. The arithmetic and its order are the CPU's (rmsnorm, hadamard, quantize_i8 of kernels_scalar.c).
#pragma once

enum { BC_SHARE = BC_GPU_PREPARE_SHARE };

struct bc_sixteen {
    float v[BC_SHARE];
};

BC_DEVICE bc_sixteen bc_load16(const float *p)
{
    bc_sixteen out;
#pragma unroll
    for (int i = 0; i < BC_SHARE / 4; i++) {
        const bc_words4 w = bc_load(p + 4 * i);
#pragma unroll
        for (int k = 0; k < 4; k++) out.v[4 * i + k] = bc_bits_to_float(w.w[k]);
    }
    return out;
}
BC_DEVICE void bc_put16(float *p, const bc_sixteen &v)
{
#pragma unroll
    for (int i = 0; i < BC_SHARE / 4; i++) {
        bc_words4 w;
#pragma unroll
        for (int k = 0; k < 4; k++) w.w[k] = bc_float_to_bits(v.v[4 * i + k]);
        bc_put(p + 4 * i, w);
    }
}

// The elements of x that sixteen indices name.
BC_DEVICE bc_sixteen bc_gather16(const float *x, const int32_t *indices)
{
    bc_sixteen out;
#pragma unroll
    for (int k = 0; k < BC_SHARE; k += 4) {
        const bc_words4 at = bc_load(indices + k);
#pragma unroll
        for (int e = 0; e < 4; e++) out.v[k + e] = x[at.w[e]];
    }
    return out;
}

// ---- the elements before the rotation; a thread's turn is sixteen of them ----

BC_DEVICE int bc_turn_element(int turn)
{
    return (turn * (int)blockDim.x + (int)threadIdx.x) * BC_SHARE;
}

struct bc_element_source {
    const float *x, *gate, *up;
    float inverse_rms;
};

// Elements i .. i + 15, i < width
template <int SOURCE>
BC_DEVICE bc_sixteen bc_elements(const bc_prepare_args &p, const bc_element_source &from, int i)
{
    bc_sixteen v = bc_load16((SOURCE == BC_FROM_SWIGLU ? from.gate : from.x) + i);
    if (SOURCE == BC_FROM_SWIGLU) {
        const bc_sixteen up = bc_load16(from.up + i);
#pragma unroll
        for (int k = 0; k < BC_SHARE; k++) v.v[k] = v.v[k] / (1.0f + bc_exp(-v.v[k])) * up.v[k];
    } else if (p.norm) {
        const bc_sixteen norm = bc_load16(p.norm + i);
#pragma unroll
        for (int k = 0; k < BC_SHARE; k++) v.v[k] = v.v[k] * from.inverse_rms * norm.v[k];
    }
    return v;
}

// x += y in place; 1 / rms of the sum
BC_DEVICE float bc_add_and_measure(const bc_prepare_args &p, float *x, const float *y, double *room)
{
    bc_wide_sum squares = bc_no_squares();
#pragma unroll 1
    for (int i = threadIdx.x * BC_SHARE; i < p.width; i += blockDim.x * BC_SHARE) {
        bc_sixteen v = bc_load16(x + i);
        if (y) {
            const bc_sixteen more = bc_load16(y + i);
#pragma unroll
            for (int k = 0; k < BC_SHARE; k++) v.v[k] += more.v[k];
            bc_put16(x + i, v);
        }
#pragma unroll
        for (int k = 0; k < BC_SHARE; k++) bc_add_square(&squares, v.v[k]);
    }
    const double sum = bc_block_sum(bc_squares(squares), room);
    return 1.0f / sqrtf((float)(sum * p.inverse_cols) + p.eps);
}

// ---- the Hadamard transform ----

// Stages 1, 2, .. below `block` of COUNT elements; block >= COUNT: all of them.
template <int COUNT> BC_DEVICE void bc_butterflies(float *v, int block)
{
#pragma unroll
    for (int s = 1; s < COUNT; s *= 2) {
        if (s >= block) break;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (i & s) continue;
            const float a = v[i], b = v[i | s];
            v[i] = a + b;
            v[i | s] = a - b;
        }
    }
}

// Stages h, 2 h, .. of all elements in shared memory, COUNT elements apart by 2^shift = h at a time.
template <int COUNT> BC_DEVICE void bc_hadamard_pass(float *x, int n, int shift)
{
#pragma unroll 1
    for (int item = threadIdx.x; item < n / COUNT; item += blockDim.x) {
        float v[COUNT], *at = x + ((item >> shift) * COUNT << shift) + (item & ((1 << shift) - 1));
#pragma unroll
        for (int i = 0; i < COUNT; i++) v[i] = at[i << shift];
        bc_butterflies<COUNT>(v, COUNT);
#pragma unroll
        for (int i = 0; i < COUNT; i++) at[i << shift] = v[i];
    }
    bc_sync();
}

// The stages behind those of a thread's sixteen.
BC_DEVICE void bc_hadamard_block(float *x, int n, int block)
{
    int shift = 4;
#pragma unroll 1
    for (; 16 << shift <= block; shift += 4) bc_hadamard_pass<16>(x, n, shift);
    if (8 << shift <= block)
        bc_hadamard_pass<8>(x, n, shift);
    else if (4 << shift <= block)
        bc_hadamard_pass<4>(x, n, shift);
    else if (2 << shift <= block)
        bc_hadamard_pass<2>(x, n, shift);
}

// Sixteen elements with their signs, through their first stages.
BC_DEVICE void bc_turn_signs(bc_sixteen *v, const bc_sixteen &sign, int block)
{
#pragma unroll
    for (int k = 0; k < BC_SHARE; k++) v->v[k] = sign.v[k] * v->v[k];
    bc_butterflies<BC_SHARE>(v->v, block);
}

// Elements i .. i + 15 get their signs and their first stages, and go to x.
BC_DEVICE void bc_rotate_share(const bc_prepare_args &p, bc_sixteen *v, int i, float *x)
{
    if (p.sign) bc_turn_signs(v, bc_load16(p.sign + i), p.block);
    bc_put16(x + i, *v);
}

// All elements to `to`, as they are.
template <int SOURCE>
BC_DEVICE void bc_put_elements(const bc_prepare_args &p, const bc_element_source &from, float *to)
{
#pragma unroll 1
    for (int i = threadIdx.x * BC_SHARE; i < p.width; i += blockDim.x * BC_SHARE)
        bc_put16(to + i, bc_elements<SOURCE>(p, from, i));
}

template <int SOURCE>
BC_DEVICE void bc_rotate_straight(const bc_prepare_args &p, const bc_element_source &from, float *x)
{
#pragma unroll 1
    for (int i = threadIdx.x * BC_SHARE; i < p.width; i += blockDim.x * BC_SHARE) {
        bc_sixteen v = bc_elements<SOURCE>(p, from, i);
        bc_rotate_share(p, &v, i, x);
    }
}

// A permutation needs the whole vector: it is put down first, and comes back in its new order.
template <int SOURCE>
BC_DEVICE void bc_rotate_permuted(const bc_prepare_args &p, const bc_element_source &from, float *x)
{
    bc_put_elements<SOURCE>(p, from, x);
    bc_sync();
    bc_sixteen v[BC_GPU_PREPARE_TURNS];
#pragma unroll
    for (int turn = 0; turn < BC_GPU_PREPARE_TURNS; turn++) {
        const int i = bc_turn_element(turn);
        if (i >= p.width) continue;
        v[turn] = bc_gather16(x, p.perm + i);
    }
    bc_sync();
#pragma unroll
    for (int turn = 0; turn < BC_GPU_PREPARE_TURNS; turn++)
        if (bc_turn_element(turn) < p.width) bc_rotate_share(p, &v[turn], bc_turn_element(turn), x);
}

// ---- rounding ----

struct bc_rounded_vector {
    float scale;
    int sum;
};

// out i8 [stride] = round(127 x / max|x|) of x times `divisor`, 0 behind its end; scale and sum in every thread.
BC_DEVICE bc_rounded_vector bc_round_vector(const bc_prepare_args &p, const float *x, float divisor,
                                            int8_t *out, int stride, int *room)
{
    int top = 0; // the bits of |x| order like the numbers, NaN above infinity
#pragma unroll 1
    for (int i = threadIdx.x * BC_SHARE; i < p.width; i += blockDim.x * BC_SHARE) {
        const bc_sixteen v = bc_load16(x + i);
#pragma unroll
        for (int k = 0; k < BC_SHARE; k++) {
            const int bits = (int)(bc_float_to_bits(v.v[k] * divisor) & 0x7fffffffu);
            top = bits > top ? bits : top;
        }
    }
    top = bc_block_max(top, room);
    const bc_rounding rounding = bc_rounding_of(top);
    int sum = 0;
#pragma unroll 1
    for (int i = threadIdx.x * BC_SHARE; i < stride; i += blockDim.x * BC_SHARE) {
        bc_words4 packed = { { 0, 0, 0, 0 } };
        if (rounding.usable && i < p.width) {
            const bc_sixteen v = bc_load16(x + i);
#pragma unroll
            for (int k = 0; k < BC_SHARE; k++) {
                const int q = bc_rounded(rounding, v.v[k] * divisor);
                sum += q;
                packed.w[k / 4] |= (uint32_t)(q & 255) << 8 * (k % 4);
            }
        }
        bc_put(out + i, packed);
    }
    return { rounding.scale, bc_block_sum(sum, room) };
}

// What the stages of a transform grow a vector by.
BC_DEVICE float bc_divisor(const bc_prepare_args &p)
{
    return p.sign ? 1.0f / sqrtf((float)p.block) : 1.0f;
}

// ---- the kernel ----

// A token's weights have pushed these out of the cache since the last one.
BC_DEVICE void bc_fetch_constants(const bc_prepare_args &p)
{
    for (int i = threadIdx.x * 8; i < p.width; i += blockDim.x * 8) { // sectors of 32 bytes
        if (p.norm) bc_prefetch(p.norm + i);
        if (p.sign) bc_prefetch(p.sign + i);
        if (p.perm) bc_prefetch(p.perm + i);
    }
}

// `shared`: f32 [width], unless WORK: that is too much for the card.
template <int SOURCE, bool WORK> BC_DEVICE void bc_prepare(const bc_prepare_args &p, float *shared)
{
    BC_SHARED double room[32];
    const int t = blockIdx.x;
    const int64_t row = (int64_t)t * p.width;
    float *x = WORK ? p.work + row : shared;
    bc_element_source from = { p.x + row, p.gate + row, p.up + row, 1.0f };
    bc_let_next_begin();
    bc_fetch_constants(p);
    bc_wait_for_inputs();
    if (SOURCE == BC_FROM_X && (p.norm || p.y))
        from.inverse_rms = bc_add_and_measure(p, p.x + row, p.y ? p.y + row : p.y, room);
    if (p.plain) bc_put_elements<SOURCE>(p, from, p.plain + row);
    if (!p.a) return;
    if (p.perm)
        bc_rotate_permuted<SOURCE>(p, from, x);
    else
        bc_rotate_straight<SOURCE>(p, from, x);
    bc_sync();
    if (p.sign) bc_hadamard_block(x, p.width, p.block);
    const bc_rounded_vector rounded = bc_round_vector(
        p, x, bc_divisor(p), p.a + (int64_t)t * p.a_stride, p.a_stride, (int *)room);
    if (threadIdx.x == 0) {
        p.scale[t] = rounded.scale;
        p.sum[t] = rounded.sum;
    }
}

#define BC_PREPARE(name, source, work)                                                             \
    BC_KERNEL BC_BOUNDS(BC_GPU_PREPARE_THREADS, 1) name(const bc_prepare_args p)                   \
    {                                                                                              \
        BC_DYNAMIC_SHARED(vector);                                                                 \
        bc_prepare<source, work>(p, (float *)vector);                                              \
    }
BC_PREPARE(bc_prepare_x, BC_FROM_X, false)
BC_PREPARE(bc_prepare_swiglu, BC_FROM_SWIGLU, false)
BC_PREPARE(bc_prepare_wide_x, BC_FROM_X, true)
BC_PREPARE(bc_prepare_wide_swiglu, BC_FROM_SWIGLU, true)
#undef BC_PREPARE

BC_KERNEL BC_BOUNDS(256, 4) bc_add(const bc_add_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.count) p.x[i] += p.y[i];
}
