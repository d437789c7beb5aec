// back_vector.cuh - vectors on the way back (kernels_scalar_gradient.c says the same for the processor), sums over
// tokens, and low-rank additions.
#pragma once

// dx += what comes through an RMSNorm. One block per token.
BC_KERNEL BC_BOUNDS(256, 4) bc_back_norm(const bc_norm_back_args p)
{
    BC_SHARED double room[2][32];
    const int64_t row = (int64_t)blockIdx.x * p.width;
    bc_let_next_begin();
    bc_wait_for_inputs();
    double squares = 0, dot = 0;
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x) {
        const float x = p.x[row + i];
        squares += (double)x * x;
        dot += (double)(p.norm[i] * p.dy[row + i]) * x;
    }
    squares = bc_block_sum(squares, room[0]);
    dot = bc_block_sum(dot, room[1]);
    const float r = 1.0f / sqrtf((float)(squares / p.cols) + p.eps);
    const float pull = (float)(dot / p.cols) * r * r * r;
    for (int i = threadIdx.x; i < p.cols; i += blockDim.x)
        p.dx[row + i] += p.norm[i] * p.dy[row + i] * r - p.x[row + i] * pull;
}

BC_KERNEL BC_BOUNDS(256, 4) bc_back_swiglu(const bc_swiglu_back_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.count) return;
    const float gate = p.gate[i], d = p.d[i], s = 1.0f / (1.0f + bc_exp(-gate));
    p.d_gate[i] = d * p.up[i] * (s * (1.0f + gate * (1.0f - s)));
    p.d_up[i] = d * (gate * s);
}

// One block per token: exponentials in f32, their sum in f64.
BC_KERNEL BC_BOUNDS(256, 4) bc_back_entropy(const bc_entropy_args p)
{
    BC_SHARED double room[32];
    BC_SHARED float tops[32];
    const int t = blockIdx.x;
    bc_let_next_begin();
    bc_wait_for_inputs();
    float *x = p.logits + (int64_t)t * p.vocab, top = -INFINITY;
    const int target = p.targets[t];
    const float at_target = x[target];
    for (int v = threadIdx.x; v < p.vocab; v += blockDim.x) top = x[v] > top ? x[v] : top;
    top = bc_warp_max(top);
    if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top;
    bc_sync();
    for (int w = 0; w < (int)blockDim.x / 32; w++) top = tops[w] > top ? tops[w] : top;
    double sum = 0;
    for (int v = threadIdx.x; v < p.vocab; v += blockDim.x) sum += (double)bc_exp(x[v] - top);
    sum = bc_block_sum(sum, room);
    if (threadIdx.x == 0) {
        p.found[3 * t] = (double)top;
        p.found[3 * t + 1] = sum;
        p.found[3 * t + 2] = (double)at_target;
    }
    if (!p.back) return;
    const float weight = p.weights[t], share = (float)((double)weight / sum);
    for (int v = threadIdx.x; v < p.vocab; v += blockDim.x) {
        const float d = bc_exp(x[v] - top) * share;
        x[v] = v == target ? d - weight : d;
    }
}

// Sums over tokens in f64. A warp has every eighth token; the eight parts are added in their order, so nothing depends
// on which is there first. Grid: (columns / BC_GPU_SUM_COLS, ranks).
BC_KERNEL BC_BOUNDS(256, 4) bc_back_sum(const bc_sum_args p)
{
    BC_SHARED double room[BC_GPU_VECTOR_THREADS];
    const int lane = threadIdx.x % BC_GPU_SUM_COLS, warp = threadIdx.x / BC_GPU_SUM_COLS;
    const int warps = BC_GPU_VECTOR_THREADS / BC_GPU_SUM_COLS, k = blockIdx.y,
              c = blockIdx.x * BC_GPU_SUM_COLS + lane;
    bc_let_next_begin();
    bc_wait_for_inputs();
    double sum = 0;
    if (c < p.cols) {
        const float shift = p.shift ? p.shift[c] : 0.0f;
        for (int t = warp; t < p.n; t += warps) {
            const float u = p.u[(int64_t)t * p.u_stride + (p.rank ? k : c)];
            sum += (double)u * (double)(p.x[(int64_t)t * p.x_stride + c] - shift);
        }
    }
    room[threadIdx.x] = sum;
    bc_sync();
    if (warp > 0 || c >= p.cols) return;
    for (int w = 1; w < warps; w++) sum += room[w * BC_GPU_SUM_COLS + lane];
    p.sum[(int64_t)k * p.cols + c] += sum;
}

// Grid: (tokens, ranks / 4), one warp for a dot product.
BC_KERNEL BC_BOUNDS(128, 8) bc_rank_project(const bc_project_args p)
{
    const int t = blockIdx.x, lane = threadIdx.x % 32,
              k = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (k >= p.rank) return;
    const float *m = p.m + (int64_t)k * p.cols, *x = p.x + (int64_t)t * p.x_stride;
    float sum = 0.0f;
    for (int c = lane; c < p.cols; c += 32) sum = bc_fma(m[c], x[c], sum);
    sum = bc_warp_sum(sum);
    if (lane == 0) p.u[(int64_t)t * p.rank + k] = sum;
}

// Grid: (columns / 256, tokens).
BC_KERNEL BC_BOUNDS(256, 4) bc_rank_expand(const bc_expand_args p)
{
    const int t = blockIdx.y, c = blockIdx.x * blockDim.x + threadIdx.x;
    bc_let_next_begin();
    bc_wait_for_inputs();
    if (c >= p.cols) return;
    const float *u = p.u + (int64_t)t * p.rank;
    float *y = p.y + (int64_t)t * p.y_stride + c, v = *y;
    for (int k = 0; k < p.rank; k++) v = bc_fma(u[k], p.m[(int64_t)k * p.cols + c], v);
    *y = v;
}
