// gemv.cuh - y = W x for one token, straight from the packed planes.
//
// A byte of a plane holds the digits d_1 .. d_5 in {0, 1, 2} of five rows as the fraction x = ceil(256 v / 243). With
// 16 bits for each byte, x * 3^i is H_i * 256 + (the rest), where H_i = 3^(i-1) d_1 + .. + d_i: the high bytes give,
// without a digit ever being taken out, S_i = sum_c a_c H_i, and the rows are S_i - 3 S_(i-1), in exact integers
// modulo 2^32. Per 20 weights of one plane that is 10 multiplications, 5 byte choices and 5 dot products of four.
#pragma once

// s[i] += sum over four columns of a * H_(i+1)
BC_DEVICE void bc_digits_dot(uint32_t word, uint32_t a, int s[5])
{
    uint32_t even = word & 0x00ff00ffu, odd = bc_bytes(word, 0, 0x4341);
#pragma unroll
    for (int i = 0; i < 5; i++) {
        even *= 3;
        odd *= 3;
        s[i] = bc_dot4_us(bc_bytes(even, odd, 0x7351), a, s[i]);
    }
}

template <int PLANES>
struct bc_gemv_step { // what one lane loads for one step: 16 columns of a group
    bc_words4 planes[PLANES];
};

BC_DEVICE int bc_matrix_of(const bc_linear_args &p, int item)
{
    return item < p.first[1] ? 0 : item < p.first[2] ? 1 : 2;
}

template <int PLANES>
BC_DEVICE void bc_gemv_load(const bc_linear_args &p, int item, int column,
                            bc_gemv_step<PLANES> *step)
{
    if (item >= p.first[3] || column >= p.cols) return;
    const int which = bc_matrix_of(p, item);
    const bc_matrix_args &m = p.m[which];
    const uint8_t *at = m.data + (int64_t)(item - p.first[which]) * p.cols + column;
#pragma unroll
    for (int k = 0; k < PLANES; k++)
        if (k < m.n_planes) step->planes[k] = bc_load_once(at + k * m.plane_stride);
}

BC_DEVICE void bc_gemv_write(const bc_linear_args &p, int item, int i, int biased)
{
    const int which = bc_matrix_of(p, item);
    const bc_matrix_args &m = p.m[which];
    const int row = (item - p.first[which]) * BC_GPU_GROUP + i;
    if (row >= m.rows) return;
    const int dot = (int)((uint32_t)biased - (uint32_t)(m.largest * p.sum[0]));
    const float y = (float)dot * (m.scales[row] * p.scale[0]);
    m.y[row] = m.bias ? y + m.bias[row] : y;
}

// blockDim.x = 32 * warps * slots: each slot takes one group at a time.
// PLANES: of the matrix that has most.
template <int PLANES> BC_DEVICE void bc_gemv_planes(const bc_linear_args &p)
{
    BC_SHARED int parts[8][5];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int part = warp % p.warps, slot = warp / p.warps, slots = blockDim.x / 32 / p.warps;
    const int width = 32 * p.warps * 16, steps = (p.cols + width - 1) / width;
    const int column = (part * 32 + lane) * 16, stride = gridDim.x * slots, all = p.first[3];
    int item = blockIdx.x * slots + slot;
    bc_gemv_step<PLANES> now, next;
    bc_gemv_load(p, item, column, &next);
    bc_let_next_begin();
    bc_wait_for_inputs();
    for (int base = blockIdx.x * slots; base < all; base += stride, item += stride) {
        int s[5] = { 0, 0, 0, 0, 0 };
        const int n_planes = item < all ? p.m[bc_matrix_of(p, item)].n_planes : 0;
        for (int step = 0; step < steps; step++) {
            now = next;
            if (step + 1 < steps)
                bc_gemv_load(p, item, column + (step + 1) * width, &next);
            else
                bc_gemv_load(p, item + stride, column, &next);
            const int c = column + step * width;
            if (c >= p.cols) continue;
            const bc_words4 a = bc_load(p.a + c);
            int local[5] = { 0, 0, 0, 0, 0 };
#pragma unroll
            for (int k = 0; k < PLANES; k++) {
                if (k >= n_planes) break;
#pragma unroll
                for (int i = 0; i < 5; i++) local[i] = (int)(3u * (uint32_t)local[i]);
#pragma unroll
                for (int w = 0; w < 4; w++) bc_digits_dot(now.planes[k].w[w], a.w[w], local);
            }
#pragma unroll
            for (int i = 0; i < 5; i++) s[i] = (int)((uint32_t)s[i] + (uint32_t)local[i]);
        }
#pragma unroll
        for (int i = 0; i < 5; i++) s[i] = bc_warp_sum(s[i]);
        if (p.warps > 1) {
            bc_sync();
            if (lane == 0)
                for (int i = 0; i < 5; i++) parts[warp][i] = s[i];
            bc_sync();
            if (part == 0)
                for (int w = 1; w < p.warps; w++)
                    for (int i = 0; i < 5; i++)
                        s[i] = (int)((uint32_t)s[i] + (uint32_t)parts[warp + w][i]);
        }
        if (part == 0 && item < all) {
            int before = 0, own = s[0]; // chosen without an index: s stays in registers
#pragma unroll
            for (int i = 1; i < 5; i++) {
                before = lane == i ? s[i - 1] : before;
                own = lane == i ? s[i] : own;
            }
            if (lane < 5)
                bc_gemv_write(p, item, lane, (int)((uint32_t)own - 3u * (uint32_t)before));
        }
    }
}

BC_KERNEL BC_BOUNDS(256, 4) bc_gemv_planes_2(const bc_linear_args p) { bc_gemv_planes<2>(p); }
BC_KERNEL BC_BOUNDS(256, 3) bc_gemv_planes_4(const bc_linear_args p) { bc_gemv_planes<4>(p); }

// Row `item` of all matrices' int8 codes
BC_DEVICE const uint8_t *bc_gemv_row(const bc_linear_args &p, int item)
{
    const int which = bc_matrix_of(p, item);
    return p.m[which].data + (int64_t)(item - p.first[which]) * p.cols;
}

// int8 codes: one warp per row
BC_KERNEL BC_BOUNDS(256, 4) bc_gemv_int8(const bc_linear_args p)
{
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32, all = p.first[3];
    const int first = blockIdx.x * warps + threadIdx.x / 32;
    bc_let_next_begin();
    // on its way while the inputs are made; sectors of 32 bytes
    for (int c = lane * 32; first < all && c < p.cols; c += 32 * 32)
        bc_prefetch(bc_gemv_row(p, first) + c);
    bc_wait_for_inputs();
    for (int item = first; item < all; item += gridDim.x * warps) {
        const int which = bc_matrix_of(p, item), row = item - p.first[which];
        const bc_matrix_args &m = p.m[which];
        const uint8_t *w = bc_gemv_row(p, item);
        int sum = 0;
#pragma unroll 4
        for (int c = lane * 16; c < p.cols; c += 512) {
            const bc_words4 v = bc_load_once(w + c), a = bc_load(p.a + c);
#pragma unroll
            for (int i = 0; i < 4; i++) sum = bc_dot4_ss(v.w[i], a.w[i], sum);
        }
        sum = bc_warp_sum(sum);
        if (lane) continue;
        const float y = (float)sum * (m.scales[row] * p.scale[0]);
        m.y[row] = m.bias ? y + m.bias[row] : y;
    }
}
