/* checkasm_gradient.c - the kernels of gradients, against their definition or sums in f64. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"

static float *floats(checker *c, int n, float size)
{
    float *x = check_alloc((size_t)n * sizeof *x);
    for (int i = 0; i < n; i++) x[i] = check_normal(c) * size;
    return x;
}

/* ---- columns as panels: the numbers of the definition; the rest of a row is finite ---- */

static void compare_panels(checker *c, const float *got, const float *want, int rows, int width)
{
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < BC_DENSE_ROWS; j++) {
            const float g = got[r * BC_DENSE_ROWS + j], w = want[r * BC_DENSE_ROWS + j];
            if (j < width ? g == w : isfinite(g)) continue;
            check_fail(c, "%d rows, width %d: row %d, column %d is %g, not %g", rows, width, r, j,
                       (double)g, (double)w);
        }
    }
}

static void one_columns_planes(checker *c, int rows, int cols, int n_planes)
{
    const int groups = (rows + 4) / 5, first = check_range(c, 0, cols - 1);
    const int width = cols - first < BC_DENSE_ROWS ? cols - first : BC_DENSE_ROWS;
    const size_t stride = (size_t)groups * (size_t)cols, bytes = stride * (size_t)n_planes;
    uint8_t *planes = check_alloc(bytes);
    float *scales = floats(c, rows, 0.1f);
    float *got = check_alloc((size_t)rows * BC_DENSE_ROWS * sizeof *got);
    float *want = check_alloc((size_t)rows * BC_DENSE_ROWS * sizeof *want);
    for (size_t i = 0; i < bytes; i++)
        planes[i] = (uint8_t)((256 * check_range(c, 0, 242) + 242) / 243);
    c->k->columns_planes(got, planes + first, stride, n_planes, rows, (size_t)cols, width, scales);
    c->scalar->columns_planes(want, planes + first, stride, n_planes, rows, (size_t)cols, width,
                              scales);
    compare_panels(c, got, want, rows, width);
    for (int r = 0; r < rows; r++) { /* and the definition is that of the format */
        for (int j = 0; j < width; j++) {
            int q = 0;
            for (int k = 0; k < n_planes; k++) {
                const uint8_t *group = planes + (size_t)k * stride + (size_t)(r / 5) * (size_t)cols;
                const int value = group[first + j] * 243 / 256; /* the packed number, base 3 */
                static const int power[] = { 81, 27, 9, 3, 1 };
                q = 3 * q + value / power[r % 5] % 3 - 1;
            }
            if (want[r * BC_DENSE_ROWS + j] == scales[r] * (float)q) continue;
            check_fail(c, "%d planes: row %d, column %d is not %d", n_planes, r, j, q);
        }
    }
    free(planes);
    free(scales);
    free(got);
    free(want);
}

static void check_columns_planes(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 600; s++) {
        one_columns_planes(c, check_range(c, 1, 83), n, 1 + s % 4);
        one_columns_planes(c, n, check_range(c, 1, 70), 1 + s % 4);
    }
}

static void one_columns_i8(checker *c, int rows, int cols)
{
    const int first = check_range(c, 0, cols - 1);
    const int width = cols - first < BC_DENSE_ROWS ? cols - first : BC_DENSE_ROWS;
    const size_t n = (size_t)rows * (size_t)cols;
    int8_t *w = check_alloc(n);
    float *scales = floats(c, rows, 0.1f);
    float *got = check_alloc((size_t)rows * BC_DENSE_ROWS * sizeof *got);
    float *want = check_alloc((size_t)rows * BC_DENSE_ROWS * sizeof *want);
    for (size_t i = 0; i < n; i++) w[i] = (int8_t)check_range(c, -127, 127);
    c->k->columns_i8(got, w + first, rows, (size_t)cols, width, scales);
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < width; j++)
            want[r * BC_DENSE_ROWS + j] =
                scales[r] * (float)w[(size_t)r * (size_t)cols + (size_t)(first + j)];
    }
    compare_panels(c, got, want, rows, width);
    free(w);
    free(scales);
    free(got);
    free(want);
}

static void check_columns_i8(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 600; s++) {
        one_columns_i8(c, check_range(c, 1, 83), n);
        one_columns_i8(c, n, check_range(c, 1, 70));
    }
}

/* ---- swiglu_back: 1e-6 of |dy up s| (1 + |gate|), of |dy gate s|; 1e-36 near nothing ---- */

static void one_swiglu_back(checker *c, int n, float size, int in_place)
{
    float *gate = floats(c, n, size), *up = floats(c, n, 1), *d = floats(c, n, 1);
    float *kept = check_alloc((size_t)n * sizeof *kept);
    float *d_gate = check_alloc((size_t)n * sizeof *d_gate);
    float *d_up = in_place ? d : check_alloc((size_t)n * sizeof *d_up);
    if (n > 3) gate[check_range(c, 0, n - 1)] = check_range(c, 0, 1) ? 1000.0f : -1000.0f;
    memcpy(kept, d, (size_t)n * sizeof *kept);
    c->k->swiglu_back(d_gate, d_up, gate, up, d, n);
    for (int i = 0; i < n; i++) {
        const double g = gate[i], s = 1 / (1 + exp(-g)), dy = kept[i];
        const double want_gate = dy * up[i] * s * (1 + g * (1 - s)), want_up = dy * g * s;
        const double bound = 1e-6 * fabs(dy * up[i] * s) * (1 + fabs(g)) + 1e-36;
        if (fabs(d_gate[i] - want_gate) > bound)
            check_fail(c, "n %d: of gate %g it is %g, not %g", n, g, (double)d_gate[i], want_gate);
        if (fabs(d_up[i] - want_up) > 1e-6 * fabs(want_up) + 1e-36)
            check_fail(c, "n %d: of up, gate %g, it is %g, not %g", n, g, (double)d_up[i], want_up);
    }
    free(gate);
    free(up);
    free(d);
    free(kept);
    free(d_gate);
    if (!in_place) free(d_up);
}

static void check_swiglu_back(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) one_swiglu_back(c, n, s % 2 ? 1 : 20, s % 3 == 0);
}

/* ---- rmsnorm_back: 2^-18 of the sum of |terms| of an element; r 2^-20 of its value ---- */

static void check_rmsnorm_back(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        const float size = s % 4 == 0 ? 1e-4f : s % 4 == 1 ? 1000 : 1, eps = s % 2 ? 1e-5f : 1e-6f;
        float *x = floats(c, n, size), *w = floats(c, n, 1), *dy = floats(c, n, 1);
        float *dx = floats(c, n, 1), *old = check_alloc((size_t)n * sizeof *old);
        double squares = 0, dot = 0, terms = 0;
        if (s % 7 == 3) memset(x, 0, (size_t)n * sizeof *x);
        memcpy(old, dx, (size_t)n * sizeof *old);
        const float got = c->k->rmsnorm_back(dx, x, w, dy, n, eps);
        for (int i = 0; i < n; i++) {
            squares += (double)x[i] * x[i];
            dot += (double)w[i] * dy[i] * x[i];
            terms += fabs((double)w[i] * dy[i] * x[i]);
        }
        const double r = 1 / sqrt(squares / n + eps);
        if (fabs(got - r) > 0x1p-20 * r) check_fail(c, "n %d: r is %g, not %g", n, (double)got, r);
        for (int i = 0; i < n; i++) {
            const double direct = (double)w[i] * dy[i] * r, pull = x[i] * r * r * r / n;
            const double want = old[i] + direct - pull * dot;
            const double bound = 0x1p-18 * (fabs(old[i]) + fabs(direct) + fabs(pull) * terms);
            if (fabs(dx[i] - want) <= bound + 1e-37) continue;
            check_fail(c, "n %d: element %d is %g, not %g", n, i, (double)dx[i], want);
        }
        free(x);
        free(w);
        free(dy);
        free(dx);
        free(old);
    }
}

/* ---- exp_sum: 4e-6 of the value and the rounding of x - max, as softmax; the sum 1e-6 ---- */

static void one_exp_sum(checker *c, int n, float size, float shift, int in_place)
{
    float *x = floats(c, n, size), *kept = check_alloc((size_t)n * sizeof *kept), top;
    float *y = in_place ? x : check_alloc((size_t)n * sizeof *y);
    double max = -INFINITY, total = 0, sum;
    for (int i = 0; i < n; i++) x[i] += shift;
    if (n > 2 && check_range(c, 0, 3) == 0) x[check_range(c, 0, n - 1)] = -INFINITY;
    memcpy(kept, x, (size_t)n * sizeof *kept);
    for (int i = 0; i < n; i++) max = kept[i] > max ? kept[i] : max;
    sum = c->k->exp_sum(y, &top, x, n);
    if (top != max) check_fail(c, "n %d: the largest is %g, not %g", n, (double)top, max);
    for (int i = 0; i < n; i++) {
        const double d = kept[i] - max, want = exp(d);
        total += want;
        if (fabs(y[i] - want) <= want * (4e-6 + fmin(fabs(d), 200) * 0x1p-23) + 1e-37) continue;
        check_fail(c, "n %d: element %d is %g, not %g", n, i, (double)y[i], want);
    }
    if (fabs(sum - total) > total * (1e-6 + size * 0x1p-22))
        check_fail(c, "n %d: the sum is %.9g, not %.9g", n, sum, total);
    if (!in_place) free(y);
    free(x);
    free(kept);
}

static void check_exp_sum(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        one_exp_sum(c, n, s % 2 ? 1 : 20, 0, s % 3 == 0);
        one_exp_sum(c, n, 1, -1e4f, s % 3 == 1);
    }
    one_exp_sum(c, 49153, 4, 0, 1);
    float x[40], top;
    for (int i = 0; i < 40; i++) x[i] = i == 37 ? NAN : (float)i;
    if (!isnan(c->k->exp_sum(x, &top, x, 40))) check_fail(c, "a NaN is not in the sum");
}

const check_entry check_gradient_entries[] = {
    { "columns of planes", check_columns_planes, { SLOT(columns_planes) } },
    { "columns of int8", check_columns_i8, { SLOT(columns_i8) } },
    { "swiglu_back", check_swiglu_back, { SLOT(swiglu_back) } },
    { "rmsnorm_back", check_rmsnorm_back, { SLOT(rmsnorm_back) } },
    { "exp_sum", check_exp_sum, { SLOT(exp_sum) } },
    { NULL, NULL, { 0 } },
};
