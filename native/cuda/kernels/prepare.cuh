// prepare.cuh - one vector per token, from where it comes to what matrices multiply: residual added, normed, rotated,
// rounded to int8. One block per token. The arithmetic and its order are the CPU's (rmsnorm, hadamard, quantize_i8 of
// kernels_scalar.c).
#pragma once

// ---- the elements before the rotation ----

BC_DEVICE float bc_swiglu(float gate, float up) { return gate / (1.0f + bc_exp(-gate)) * up; }

// weights[head * splits + s]: what part s counts for in the output of a head
BC_DEVICE void bc_merge_weights(const bc_prepare_args &p, int t, float *weights)
{
    for (int h = threadIdx.x; h < p.heads; h += blockDim.x) {
        const float *sums = p.sums + ((int64_t)t * p.heads + h) * p.splits * 2;
        float top = sums[0], total = 0.0f;
        for (int s = 1; s < p.splits; s++) top = sums[2 * s] > top ? sums[2 * s] : top;
        for (int s = 0; s < p.splits; s++) {
            const float w = bc_exp(sums[2 * s] - top);
            weights[h * p.splits + s] = w;
            total = bc_fma(w, sums[2 * s + 1], total);
        }
        for (int s = 0; s < p.splits; s++) weights[h * p.splits + s] *= 1.0f / total;
    }
}

BC_DEVICE float bc_merged(const bc_prepare_args &p, int t, const float *weights, int i)
{
    const int h = i / p.head_dim, d = i % p.head_dim;
    const float *mix = p.mixes + ((int64_t)t * p.heads + h) * p.splits * p.head_dim + d;
    float v = 0.0f;
    for (int s = 0; s < p.splits; s++) v = bc_fma(weights[h * p.splits + s], mix[s * p.head_dim], v);
    return v;
}

struct bc_element_source {
    const float *x, *gate, *up, *weights;
    float inverse_rms;
};

BC_DEVICE float bc_element(const bc_prepare_args &p, const bc_element_source &from, int t, int i)
{
    if (p.source == BC_FROM_SWIGLU) return bc_swiglu(from.gate[i], from.up[i]);
    if (p.source == BC_FROM_ATTENTION) return bc_merged(p, t, from.weights, i);
    return p.norm ? from.x[i] * from.inverse_rms * p.norm[i] : from.x[i];
}

// x += y in place; 1 / rms of the sum
BC_DEVICE float bc_add_and_measure(const bc_prepare_args &p, float *x, const float *y, double *room)
{
    bc_wide_sum squares = { 0.0f, 0.0f };
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
        float v = x[i];
        if (y) {
            v += y[i];
            x[i] = v;
        }
        bc_add_square(&squares, v);
    }
    const double sum = bc_block_sum((double)squares.high + squares.low, room); // also: x is written
    return 1.0f / sqrtf((float)(sum / p.cols) + p.eps);
}

// ---- the Hadamard transform ----

// `stages` (1 to 3) stages of it on v[0..2^stages), which lie h apart
template <int STAGES> BC_DEVICE void bc_butterflies(float *v)
{
#pragma unroll
    for (int s = 0; s < STAGES; s++) {
#pragma unroll
        for (int i = 0; i < 1 << STAGES; i++) {
            if (i & 1 << s) continue;
            const float a = v[i], b = v[i | 1 << s];
            v[i] = a + b;
            v[i | 1 << s] = a - b;
        }
    }
}

template <int STAGES> BC_DEVICE void bc_hadamard_pass(float *x, int n, int h)
{
    const int count = 1 << STAGES;
    for (int item = threadIdx.x; item < n / count; item += blockDim.x) {
        float v[count], *at = x + item / h * (count * h) + item % h;
#pragma unroll
        for (int i = 0; i < count; i++) v[i] = at[i * h];
        bc_butterflies<STAGES>(v);
#pragma unroll
        for (int i = 0; i < count; i++) at[i * h] = v[i];
    }
    bc_sync();
}

// Blocks of `block` elements, without the last division; starts and ends behind a barrier.
BC_DEVICE void bc_hadamard(float *x, int n, int block)
{
    int h = 1;
    for (; 8 * h <= block; h *= 8) bc_hadamard_pass<3>(x, n, h);
    if (4 * h <= block)
        bc_hadamard_pass<2>(x, n, h);
    else if (2 * h <= block)
        bc_hadamard_pass<1>(x, n, h);
}

// ---- rounding ----

BC_DEVICE void bc_round_vector(const bc_prepare_args &p, const float *x, int t, int *room)
{
    int top = 0; // the bits of |x| order like the numbers, NaN above infinity
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
        const int bits = (int)(bc_float_to_bits(x[i]) & 0x7fffffffu);
        top = bits > top ? bits : top;
    }
    top = bc_block_max(top, room);
    const bool usable = top > 0 && top < 0x7f800000;
    const float max = bc_bits_to_float((uint32_t)top);
    const float up = max < 0x1p-60f ? 0x1p80f : 1.0f, inverse = usable ? 127.0f / (max * up) : 0.0f;
    uint32_t *out = (uint32_t *)(p.a + (int64_t)t * p.a_stride);
    int sum = 0;
    for (int word = threadIdx.x; word < p.a_stride / 4; word += blockDim.x) {
        uint32_t packed = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int c = 4 * word + i;
            const int q = usable && c < p.cols ? (int)bc_round_even(x[c] * up * inverse) : 0;
            sum += q;
            packed |= (uint32_t)(q & 255) << 8 * i;
        }
        out[word] = packed;
    }
    sum = bc_block_sum(sum, room);
    if (threadIdx.x == 0) {
        p.scale[t] = usable ? max / 127.0f : (top ? bc_bits_to_float(0x7fc00000u) : 0.0f);
        p.sum[t] = sum;
    }
}

// Shared memory: f32 [heads, splits] of an attention's merging, then f32 [cols] where work is 0.
BC_KERNEL BC_BOUNDS(1024, 1) bc_prepare(const bc_prepare_args p)
{
    BC_DYNAMIC_SHARED(shared);
    BC_SHARED double room[32];
    const int t = blockIdx.x;
    const int64_t row = (int64_t)t * p.cols;
    float *weights = (float *)shared, *x = (float *)shared;
    bc_element_source from = { p.x + row, p.gate + row, p.up + row, weights, 1.0f };
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (p.source == BC_FROM_ATTENTION) {
        bc_merge_weights(p, t, weights);
        x += p.heads * p.splits;
        bc_sync();
    } else if (p.source == BC_FROM_X && (p.norm || p.y)) {
        from.inverse_rms = bc_add_and_measure(p, p.x + row, p.y ? p.y + row : p.y, room);
    }
    if (p.work) x = p.work + row;
    const float divisor = p.sign ? 1.0f / sqrtf((float)p.block) : 1.0f;
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
        if (p.plain) p.plain[row + i] = bc_element(p, from, t, i);
        if (p.a) {
            const float v = bc_element(p, from, t, p.perm ? p.perm[i] : i);
            x[i] = p.sign ? p.sign[i] * v : v;
        }
    }
    if (!p.a) return;
    bc_sync();
    if (p.sign) {
        bc_hadamard(x, p.cols, p.block);
        for (int i = threadIdx.x; i < p.cols; i += blockDim.x) x[i] *= divisor;
        bc_sync();
    }
    bc_round_vector(p, x, t, (int *)room);
}

BC_KERNEL BC_BOUNDS(256, 4) bc_add(const bc_add_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.count) p.x[i] += p.y[i];
}
