/* kernels_scalar_gradient.c - the kernels of gradients as plain loops: their definition. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "planes.h"

static void columns_planes(float *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                           int rows, size_t cols, int width, const float *scales)
{
    memset(panel, 0, (size_t)rows * BC_DENSE_ROWS * sizeof *panel);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < width; j++) {
            int q = 0;
            for (int k = 0; k < n_planes; k++) {
                unsigned x = planes[(size_t)k * plane_stride + (size_t)(r / 5) * cols + (size_t)j];
                for (int i = 0; i < r % 5; i++) x = 3 * x & 255u;
                q = 3 * q + (int)(3 * x >> 8);
            }
            panel[r * BC_DENSE_ROWS + j] = scales[r] * (float)(q - BC_Q_MAX[n_planes]);
        }
    }
}

static void columns_i8(float *panel, const int8_t *w, int rows, size_t cols, int width,
                       const float *scales)
{
    memset(panel, 0, (size_t)rows * BC_DENSE_ROWS * sizeof *panel);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < width; j++)
            panel[r * BC_DENSE_ROWS + j] = scales[r] * (float)w[(size_t)r * cols + (size_t)j];
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
    k->columns_planes = columns_planes;
    k->columns_i8 = columns_i8;
    k->swiglu_back = swiglu_back;
    k->rmsnorm_back = rmsnorm_back;
    k->exp_sum = exp_sum;
}
