/* kernels_scalar.c - every kernel as plain loops: the definition of the table.
 *
 * Built with -ffp-contract=off, so that the entries that promise equal bits
 * (hadamard, quantize_i8, quant_moments, quant_round) have no hidden FMA.
 * Integer sums are kept modulo 2^32 in uint32_t, which no order can change. */
#include <math.h>
#include <string.h>

#include "bitconverter.h"
#include "kernels.h"

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To the nearest integer, ties to even, for |v| < 2^22. */
static float round_even(float v) { return (v + 12582912.0f) - 12582912.0f; }

/* ---- half floats ---- */

static float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mant = h & 0x3ffu;
    if (exponent == 31) { /* infinity, or a NaN made quiet as the hardware does */
        return float_of(sign | 0x7f800000u | (mant << 13) | (mant ? 0x400000u : 0));
    }
    if (exponent == 0) { /* zero or subnormal: mant * 2^-24, exact */
        float v = (float)mant * 0x1p-24f;
        return sign ? -v : v;
    }
    return float_of(sign | ((exponent + 112) << 23) | (mant << 13));
}

static uint16_t f16_of_f32(float f)
{
    uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and up round to infinity */
    if (a < 0x38800000u) {                                   /* below 2^-14: subnormal */
        /* adding 0.5 leaves the multiple of 2^-24, rounded to even, in the low bits */
        return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - 0x3f000000u));
    }
    a += 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((a - 0x38000000u) >> 13));
}

static void f32_to_f16(uint16_t *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) y[i] = f16_of_f32(x[i]);
}

static float element(const void *x, int dtype, size_t i)
{
    uint16_t half; /* weights may lie at odd addresses */
    float whole;
    if (dtype == BC_F32) {
        memcpy(&whole, (const uint8_t *)x + 4 * i, sizeof whole);
        return whole;
    }
    memcpy(&half, (const uint8_t *)x + 2 * i, sizeof half);
    return dtype == BC_F16 ? f16_to_f32(half) : float_of((uint32_t)half << 16);
}

static void to_f32(float *out, const void *x, int dtype, size_t n)
{
    if (dtype == BC_F32) {
        memcpy(out, x, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) out[i] = element(x, dtype, i);
}

/* ---- ternary planes ---- */

static void gemv_planes(int32_t *out, const uint8_t *planes, size_t plane_stride, int n_planes,
                        int n_groups, int cols, const int8_t *a, int32_t a_sum)
{
    for (int g = 0; g < n_groups; g++) {
        uint32_t q_sum[5] = { 0 };
        for (int k = 0; k < n_planes; k++) {
            const uint8_t *row = planes + (size_t)k * plane_stride + (size_t)g * (size_t)cols;
            uint32_t d_sum[5] = { 0 };
            for (int c = 0; c < cols; c++) {
                unsigned x = row[c];
                for (int i = 0; i < 5; i++) {
                    x = 3 * (x & 255u);
                    d_sum[i] += (uint32_t)((int)(x >> 8) * a[c]);
                }
            }
            for (int i = 0; i < 5; i++) q_sum[i] = 3 * q_sum[i] + d_sum[i] - (uint32_t)a_sum;
        }
        for (int i = 0; i < 5; i++) out[5 * g + i] = (int32_t)q_sum[i];
    }
}

static void few_planes(int32_t *out, size_t out_stride, const uint8_t *planes, size_t plane_stride,
                       int n_planes, int n_groups, int cols, const int8_t *a, size_t a_stride,
                       const int32_t *a_sum, int tokens, uint8_t *work)
{
    (void)work;
    for (int t = 0; t < tokens; t++) {
        gemv_planes(out + (size_t)t * out_stride, planes, plane_stride, n_planes, n_groups, cols,
                    a + (size_t)t * a_stride, a_sum[t]);
    }
}

/* Scalar panels are int8 [cols][80]. */
static void panel_planes(uint8_t *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                         int n_groups, int cols)
{
    int8_t *q = (int8_t *)panel;
    memset(panel, 0, BC_PANEL_BYTES(cols));
    for (int k = 0; k < n_planes; k++) {
        for (int g = 0; g < n_groups; g++) {
            const uint8_t *row = planes + (size_t)k * plane_stride + (size_t)g * (size_t)cols;
            for (int c = 0; c < cols; c++) {
                int8_t *to = q + (size_t)c * BC_PANEL_ROWS + 5 * g;
                unsigned x = row[c];
                for (int i = 0; i < 5; i++) {
                    x = 3 * (x & 255u);
                    to[i] = (int8_t)(3 * to[i] + (int)(x >> 8) - 1);
                }
            }
        }
    }
}

static void gemm_i8(int32_t *out, const uint8_t *panel, int cols, const int8_t *a, size_t a_stride,
                    const int32_t *a_sum, int tokens)
{
    const int8_t *q = (const int8_t *)panel;
    (void)a_sum;
    for (int t = 0; t < tokens; t++) {
        uint32_t sum[BC_PANEL_ROWS] = { 0 };
        for (int c = 0; c < cols; c++) {
            int v = a[(size_t)t * a_stride + (size_t)c];
            const int8_t *column = q + (size_t)c * BC_PANEL_ROWS;
            for (int r = 0; r < BC_PANEL_ROWS; r++) sum[r] += (uint32_t)(v * column[r]);
        }
        memcpy(out + (size_t)t * BC_PANEL_ROWS, sum, sizeof sum);
    }
}

static void gemm_planes(int32_t *out, const uint8_t *panel, int n_planes, int cols, const int8_t *a,
                        size_t a_stride, const int32_t *a_sum, int tokens)
{
    (void)n_planes;
    gemm_i8(out, panel, cols, a, a_stride, a_sum, tokens);
}

/* ---- int8 matrices ---- */

static void gemv_i8(int32_t *out, const int8_t *w, int rows, int cols, const int8_t *a,
                    int32_t a_sum)
{
    (void)a_sum;
    for (int r = 0; r < rows; r++) {
        const int8_t *row = w + (size_t)r * (size_t)cols;
        uint32_t sum = 0;
        for (int c = 0; c < cols; c++) sum += (uint32_t)(row[c] * a[c]);
        out[r] = (int32_t)sum;
    }
}

static void few_i8(int32_t *out, size_t out_stride, const int8_t *w, int rows, int cols,
                   const int8_t *a, size_t a_stride, const int32_t *a_sum, int tokens)
{
    for (int t = 0; t < tokens; t++)
        gemv_i8(out + (size_t)t * out_stride, w, rows, cols, a + (size_t)t * a_stride, a_sum[t]);
}

static void panel_i8(uint8_t *panel, const int8_t *w, int rows, int cols)
{
    memset(panel, 0, BC_PANEL_BYTES(cols));
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c++) {
            panel[(size_t)c * BC_PANEL_ROWS + (size_t)r] =
                (uint8_t)w[(size_t)r * (size_t)cols + (size_t)c];
        }
    }
}

/* ---- dense matrices ---- */

static void gemv_dense(float *out, const void *w, int dtype, int rows, int cols, const float *x)
{
    for (int r = 0; r < rows; r++) {
        size_t first = (size_t)r * (size_t)cols;
        float sum = 0;
        for (int c = 0; c < cols; c++) sum += element(w, dtype, first + (size_t)c) * x[c];
        out[r] = sum;
    }
}

/* Dense panels are f32 [cols][32] on every ISA; missing rows are 0. */
static void panel_dense(float *panel, const void *w, int dtype, int rows, int cols)
{
    memset(panel, 0, BC_DENSE_PANEL_FLOATS(cols) * sizeof *panel);
    for (int r = 0; r < rows; r++) {
        size_t first = (size_t)r * (size_t)cols;
        for (int c = 0; c < cols; c++) {
            panel[(size_t)c * BC_DENSE_ROWS + (size_t)r] = element(w, dtype, first + (size_t)c);
        }
    }
}

static void gemm_dense(float *out, size_t out_stride, const float *panel, size_t panel_stride,
                       int cols, const float *x, size_t x_stride, int tokens, int add)
{
    for (int t = 0; t < tokens; t++, out += out_stride) {
        float sum[BC_DENSE_ROWS] = { 0 };
        if (add) memcpy(sum, out, sizeof sum);
        for (int c = 0; c < cols; c++) {
            float v = x[(size_t)t * x_stride + (size_t)c];
            const float *column = panel + (size_t)c * panel_stride;
            for (int r = 0; r < BC_DENSE_ROWS; r++) sum[r] += v * column[r];
        }
        memcpy(out, sum, sizeof sum);
    }
}

static void dots_dense(float *out, size_t out_stride, const float *w, int rows, int cols,
                       const float *x, size_t x_stride, int tokens)
{
    for (int t = 0; t < tokens; t++)
        gemv_dense(out + (size_t)t * out_stride, w, BC_F32, rows, cols, x + (size_t)t * x_stride);
}

/* ---- activations ---- */

static int32_t quantize_i8(int8_t *a, float *scale, const float *x, int n)
{
    size_t padded = ((size_t)n + BC_ACT_PAD - 1) / BC_ACT_PAD * BC_ACT_PAD;
    uint32_t top = 0; /* the bits of |x| order like the numbers, NaN above infinity */
    for (int i = 0; i < n; i++) {
        uint32_t u = bits_of(x[i]) & 0x7fffffffu;
        top = u > top ? u : top;
    }
    if (top == 0 || top >= 0x7f800000u) {
        memset(a, 0, padded);
        *scale = top ? NAN : 0.0f;
        return 0;
    }
    /* 127 / max would overflow for a tiny max: bring such a row up first, exactly */
    float max = float_of(top), up = max < 0x1p-60f ? 0x1p80f : 1.0f, inverse = 127.0f / (max * up);
    int32_t sum = 0;
    for (int i = 0; i < n; i++) {
        a[i] = (int8_t)round_even(x[i] * up * inverse);
        sum += a[i];
    }
    memset(a + n, 0, padded - (size_t)n);
    *scale = max / 127.0f;
    return sum;
}

static void hadamard(float *x, int n, int block)
{
    float norm = 1.0f / sqrtf((float)block);
    for (int first = 0; first < n; first += block) {
        float *b = x + first;
        for (int h = 1; h < block; h *= 2) {
            for (int i = 0; i < block; i += 2 * h) {
                for (int j = i; j < i + h; j++) {
                    float u = b[j], v = b[j + h];
                    b[j] = u + v;
                    b[j + h] = u - v;
                }
            }
        }
        for (int i = 0; i < block; i++) b[i] *= norm;
    }
}

/* ---- the small pieces of a layer ---- */

static void rmsnorm(float *y, const float *x, const float *weight, int n, float eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)x[i] * x[i];
    float r = 1.0f / sqrtf((float)(sum / n) + eps);
    for (int i = 0; i < n; i++) y[i] = x[i] * r * weight[i];
}

static void rope(float *x, const float *cos, const float *sin, int head_dim)
{
    int half = head_dim / 2;
    for (int i = 0; i < half; i++) {
        float u = x[i], v = x[i + half];
        x[i] = u * cos[i] - v * sin[i];
        x[i + half] = v * cos[i] + u * sin[i];
    }
}

static void swiglu(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void add_scaled(float *y, const float *x, float factor, int n)
{
    for (int i = 0; i < n; i++) y[i] += factor * x[i];
}

static void scale_dots(float *y, const int32_t *dots, const float *scales, float factor, int n)
{
    for (int i = 0; i < n; i++) y[i] = (float)dots[i] * (scales[i] * factor);
}

static void add(float *x, const float *y, int n)
{
    for (int i = 0; i < n; i++) x[i] += y[i];
}

static void softmax(float *x, int n)
{
    float max = -INFINITY;
    double sum = 0;
    for (int i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    float inverse = (float)(1.0 / sum);
    for (int i = 0; i < n; i++) x[i] *= inverse;
}

static int peaks(float *most, const float *x, int n)
{
    int good = 1;
    for (int first = 0; first < n; first += BC_PEAK) {
        const int count = n - first < BC_PEAK ? n - first : BC_PEAK;
        float top = x[first];
        for (int i = 0; i < count; i++) {
            good &= isfinite(x[first + i]) != 0;
            top = x[first + i] > top ? x[first + i] : top;
        }
        *most++ = top;
    }
    return good;
}

/* ---- quantizing ---- */

static float quantized(float w, float inv_scale, float q_max)
{
    float v = w * inv_scale;
    v = v > -q_max ? v : -q_max; /* a NaN becomes -q_max, as in SIMD */
    v = v < q_max ? v : q_max;
    return round_even(v);
}

/* Column c adds to lane c % 16 in f32; every 1,024 columns the lanes go to f64, in order. This
 * order is part of the definition: a conversion gives the same bytes on every processor. */
static void quant_moments(double *wq, double *qq, const float *w, const float *importance, int n,
                          float inv_scale, int q_max)
{
    double wq_sum = 0, qq_sum = 0;
    for (int first = 0; first < n; first += 1024) {
        int end = n - first < 1024 ? n : first + 1024;
        float wq_lane[16] = { 0 }, qq_lane[16] = { 0 };
        for (int c = first; c < end; c++) {
            float q = quantized(w[c], inv_scale, (float)q_max);
            float weighted = importance ? q * importance[c] : q;
            wq_lane[c & 15] += weighted * w[c];
            qq_lane[c & 15] += weighted * q;
        }
        for (int i = 0; i < 16; i++) {
            wq_sum += wq_lane[i];
            qq_sum += qq_lane[i];
        }
    }
    *wq = wq_sum;
    *qq = qq_sum;
}

static void quant_round(int8_t *q, const float *w, int n, float inv_scale, int q_max)
{
    for (int c = 0; c < n; c++) q[c] = (int8_t)quantized(w[c], inv_scale, (float)q_max);
}

#include "kernels_scalar_attention.inc"

void bc_kernels_init_scalar(bc_kernels *k)
{
    *k = (bc_kernels){
        .isa = "scalar",
        .gemv_planes = gemv_planes,
        .panel_planes = panel_planes,
        .gemm_planes = gemm_planes,
        .few_planes = few_planes,
        .gemv_i8 = gemv_i8,
        .panel_i8 = panel_i8,
        .gemm_i8 = gemm_i8,
        .few_i8 = few_i8,
        .to_f32 = to_f32,
        .gemv_dense = gemv_dense,
        .panel_dense = panel_dense,
        .gemm_dense = gemm_dense,
        .dots_dense = dots_dense,
        .quantize_i8 = quantize_i8,
        .hadamard = hadamard,
        .rmsnorm = rmsnorm,
        .rope = rope,
        .swiglu = swiglu,
        .add = add,
        .add_scaled = add_scaled,
        .scale_dots = scale_dots,
        .softmax = softmax,
        .peaks = peaks,
        .f32_to_f16 = f32_to_f16,
        .attn_scores = { scores_f16, scores_i8, scores_f32, scores_i4 },
        .attn_mix = { mix_f16, mix_i8, mix_f32, mix_i4 },
        .quant_moments = quant_moments,
        .quant_round = quant_round,
    };
    bc_kernels_init_scalar_tiles(k);
    bc_kernels_init_scalar_gradient(k);
}
