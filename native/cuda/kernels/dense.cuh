// dense.cuh - y = W x + bias for matrices as they come from Hugging Face: f32, f16 or bf16, summed in f32. What a
// converted model leaves dense is small, so this is plain: one warp per row, eight tokens at a time.
#pragma once

enum { BC_DENSE_TOKENS = 8 };

BC_DEVICE float bc_dense_element(const uint8_t *data, int dtype, int64_t i)
{
    if (dtype == 0) return ((const float *)data)[i];
    const uint16_t bits = ((const uint16_t *)data)[i];
    return dtype == 1 ? bc_half_to_float(bits) : bc_bits_to_float((uint32_t)bits << 16);
}

BC_KERNEL BC_BOUNDS(256, 2) bc_dense(const bc_dense_args p)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const int token0 = blockIdx.y * BC_DENSE_TOKENS;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (row >= p.rows) return;
    float sum[BC_DENSE_TOKENS] = {};
    for (int c = lane; c < p.cols; c += 32) {
        const float w = bc_dense_element(p.data, p.dtype, (int64_t)row * p.cols + c);
#pragma unroll
        for (int t = 0; t < BC_DENSE_TOKENS; t++)
            if (token0 + t < p.n)
                sum[t] = bc_fma(w, p.x[(int64_t)(token0 + t) * p.x_stride + c], sum[t]);
    }
#pragma unroll
    for (int t = 0; t < BC_DENSE_TOKENS; t++) {
        const float y = bc_warp_sum(sum[t]);
        if (lane == 0 && token0 + t < p.n)
            p.y[(int64_t)(token0 + t) * p.y_stride + row] = p.bias ? y + p.bias[row] : y;
    }
}
