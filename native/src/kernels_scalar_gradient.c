/* kernels_scalar_gradient.c - the kernels of gradients as plain loops: their definition. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "planes.h"

/* ---- a matrix from the other side; codes are i16 [rows], a panel is i8 [rows][BC_BACK_COLS] ---- */

static int32_t quantize_i16(uint8_t *codes, float *step, const float *dy, const float *scales,
                            int rows, float fine_above, int dither)
{
    float max = 0;
    int32_t sum = 0;
    int bad = 0;
    for (int r = 0; r < rows; r++) {
        const float size = fabsf(dy[r] * scales[r]);
        if (!isfinite(size)) bad = 1;
        max = size > max ? size : max;
    }
    const int fine = max > fine_above;
    const uint32_t first = bc_dither_first(max);
    const float most = fine ? BC_BACK_MAX : BC_BACK_COARSE;
    *step = bad ? NAN : max / most * (fine ? 1.0f : 0x1p-8f);
    /* most / max stays finite */
    const float up = max < 0x1p-60f ? 0x1p80f : 1.0f;
    const float inverse = most / (max * up);
    for (int r = 0; r < rows; r++) {
        int16_t a = 0;
        if (!bad && max > 0) {
            const float whole = dy[r] * scales[r] * up * inverse;
            a = (int16_t)lrintf(!fine && dither ? whole + bc_dither(first, r) : whole);
        }
        if (!fine) a = (int16_t)(256 * a);
        memcpy(codes + 2 * r, &a, 2);
        sum += a;
    }
    return sum;
}

static void columns_planes(uint8_t *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                           int rows, size_t cols, int width)
{
    memset(panel, 0, (size_t)rows * BC_BACK_COLS);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < width; j++) {
            int q = 0;
            for (int k = 0; k < n_planes; k++) {
                unsigned x = planes[(size_t)k * plane_stride + (size_t)(r / 5) * cols + (size_t)j];
                for (int i = 0; i < r % 5; i++) x = 3 * x & 255u;
                q = 3 * q + (int)(3 * x >> 8);
            }
            panel[r * BC_BACK_COLS + j] = (uint8_t)(q - BC_Q_MAX[n_planes]);
        }
    }
}

static void columns_i8(uint8_t *panel, const int8_t *w, int rows, size_t cols, int width)
{
    for (int r = 0; r < rows; r++)
        memcpy(panel + r * BC_BACK_COLS, w + (size_t)r * cols, (size_t)width);
}

static void gemm_columns(float *y, size_t y_stride, const uint8_t *panel, int n_planes, int rows,
                         int width, const uint8_t *codes, const float *step, const int32_t *sum,
                         int tokens, int add)
{
    (void)n_planes; /* what is in the panel is signed here */
    (void)sum;
    for (int t = 0; t < tokens; t++, y += y_stride, codes += BC_BACK_CODES) {
        int32_t total[BC_BACK_COLS] = { 0 };
        for (int r = 0; r < rows; r++) {
            int16_t a;
            memcpy(&a, codes + 2 * r, 2);
            for (int j = 0; j < width; j++) total[j] += a * (int8_t)panel[r * BC_BACK_COLS + j];
        }
        for (int j = 0; j < width; j++) {
            const float x = step[t] * (float)total[j];
            y[j] = add ? y[j] + x : x;
        }
    }
}

static void swiglu_back(float *d_gate, float *d_up, const float *gate, const float *up,
                        const float *d, int n)
{
    for (int i = 0; i < n; i++) {
        const float s = 1.0f / (1.0f + expf(-gate[i])), dy = d[i];
        d_gate[i] = dy * up[i] * (s * (1.0f + gate[i] * (1.0f - s)));
        d_up[i] = dy * (gate[i] * s);
    }
}

static float rmsnorm_back(float *dx, const float *x, const float *weight, const float *dy, int n,
                          float eps)
{
    double squares = 0, dot = 0;
    for (int i = 0; i < n; i++) {
        squares += (double)x[i] * x[i];
        dot += (double)(weight[i] * dy[i]) * x[i];
    }
    const float r = 1.0f / sqrtf((float)(squares / n) + eps);
    const float pull = (float)(dot / n) * r * r * r;
    for (int i = 0; i < n; i++) dx[i] += weight[i] * dy[i] * r - x[i] * pull;
    return r;
}

static void add_outer(double *sums, size_t stride, const float *v, size_t v_stride, int rank,
                      const float *x, size_t x_stride, int n, int tokens)
{
    for (int t = 0; t < tokens; t++, v += v_stride, x += x_stride)
        for (int k = 0; k < rank; k++)
            for (int i = 0; i < n; i++)
                sums[(size_t)k * stride + (size_t)i] += (double)v[k] * (double)x[i];
}

static void transpose(float *y, size_t y_stride, const float *x, size_t x_stride, int rows,
                      int cols)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            y[(size_t)c * y_stride + (size_t)r] = x[(size_t)r * x_stride + (size_t)c];
}

static double exp_sum(float *y, float *top, const float *x, int n)
{
    float max = x[0];
    double sum = 0;
    for (int i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) {
        y[i] = expf(x[i] - max);
        sum += y[i];
    }
    *top = max;
    return sum;
}

void bc_kernels_init_scalar_gradient(bc_kernels *k)
{
    k->quantize_i16 = quantize_i16;
    k->columns_planes = columns_planes;
    k->columns_i8 = columns_i8;
    k->gemm_columns = gemm_columns;
    k->swiglu_back = swiglu_back;
    k->rmsnorm_back = rmsnorm_back;
    k->add_outer = add_outer;
    k->transpose = transpose;
    k->exp_sum = exp_sum;
}
