/* checkasm_gradient.c - the kernels of gradients, against their definition or sums in f64. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"

/* ---- a matrix from the other side: exact integers, and the same floats as the definition ---- */

enum { MAX_TOKENS = 31 };

/* Gradients whose integers are wanted[tokens][rows]: of ordinary size, tiny, huge, all zero, one not finite. */
static void one_quantize_i16(checker *c, int rows, float size, float broken)
{
    const int fine = check_range(c, 0, 1), dither = check_range(c, 0, 1);
    const float above = fine ? -1 : INFINITY;
    float *dy = check_floats(c, (size_t)rows, size), *scales = check_floats(c, (size_t)rows, 1),
          step, scalar_step;
    uint8_t *codes = check_alloc(BC_BACK_CODES), *scalar_codes = check_alloc(BC_BACK_CODES);
    if (broken != 0) dy[check_range(c, 0, rows - 1)] = broken;
    const int32_t sum = c->k->quantize_i16(codes, &step, dy, scales, rows, above, dither);
    const int32_t want =
        c->scalar->quantize_i16(scalar_codes, &scalar_step, dy, scales, rows, above, dither);
    if (sum != want) check_fail(c, "%d rows: the sum is %d, not %d", rows, sum, want);
    if (memcmp(&step, &scalar_step, sizeof step) != 0 && !(isnan(step) && isnan(scalar_step)))
        check_fail(c, "%d rows: the step is %g, not %g", rows, (double)step, (double)scalar_step);
    int32_t total = 0; /* and the definition is what the header says */
    for (int r = 0; r < rows; r++) {
        int16_t a;
        memcpy(&a, scalar_codes + 2 * r, 2);
        total += a;
        const double off = fabs((double)dy[r] * scales[r] - (double)a * scalar_step);
        /* half an integer, and four f32 roundings of a number of up to BC_BACK_MAX steps */
        const double half = 0.5 + 4 * BC_BACK_MAX * 0x1p-24;
        const double bound = (fine ? half : dither ? 256.6 : 128.6) * (double)scalar_step;
        if ((isnan(scalar_step) ? a == 0 : off <= bound + BC_BACK_MAX * 0x1p-149) &&
            (fine || a % 256 == 0))
            continue;
        check_fail(c, "%d rows: integer %d is %d for %g", rows, r, a, (double)(dy[r] * scales[r]));
    }
    if (total != want)
        check_fail(c, "%d rows: the definition's sum is %d, not %d", rows, want, total);
    free(dy);
    free(scales);
    free(codes);
    free(scalar_codes);
}

static void check_quantize_i16(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= BC_BACK_ROWS; s++) {
        one_quantize_i16(c, n, s % 3 ? 1 : 1e-40f, 0);
        one_quantize_i16(c, n, s % 3 ? 1e-10f : 1e30f, 0);
        one_quantize_i16(c, n, s % 3 ? 0 : 1, s % 2 ? NAN : INFINITY);
        one_quantize_i16(c, n, 0, 0);
    }
    one_quantize_i16(c, BC_BACK_ROWS, 1, 0);
}

/* All of it for one matrix: planes (n_planes > 0) or int8. top: the largest numbers everywhere. */
static void one_product(checker *c, int rows, int cols, int n_planes, int tokens, int top)
{
    const int groups = (rows + 4) / 5, first = check_range(c, 0, cols - 1),
              add = check_range(c, 0, 1), kind = check_range(c, 0, 2);
    const int width = cols - first < BC_BACK_COLS ? cols - first : BC_BACK_COLS;
    const size_t stride = (size_t)groups * (size_t)cols, panel_bytes = BC_BACK_PANEL_BYTES;
    const size_t bytes = n_planes ? stride * (size_t)n_planes : (size_t)rows * (size_t)cols;
    const size_t y_stride = (size_t)width + (size_t)check_range(c, 0, 3);
    const size_t outs = (size_t)(tokens - 1) * y_stride + (size_t)width;
    uint8_t *w = check_alloc(bytes);
    float *dy = check_floats(c, (size_t)rows, 1), *ones = check_floats(c, (size_t)rows, 1),
          *got = check_floats(c, outs, 100);
    float *want = check_alloc(outs * sizeof *want);
    int32_t sum[2][MAX_TOKENS];
    float step[2][MAX_TOKENS];
    uint8_t *panel[2], *codes[2];
    const bc_kernels *tables[2] = { c->k, c->scalar };
    memcpy(want, got, outs * sizeof *want);
    for (size_t i = 0; i < bytes; i++)
        w[i] = (uint8_t)(!n_planes ? (top ? 127 : check_range(c, -127, 127))
                                   : (256 * (top ? 242 : check_range(c, 0, 242)) + 242) / 243);
    for (int i = 0; i < 2; i++) {
        panel[i] = check_alloc(panel_bytes);
        codes[i] = check_alloc((size_t)tokens * BC_BACK_CODES);
    }
    for (int t = 0; t < tokens; t++) {
        for (int r = 0; r < rows; r++) {
            dy[r] = top ? 1 : check_normal(c);
            ones[r] = 1;
        }
        /* tokens of one kind, or mixed */
        const int fine = kind == 2 ? check_range(c, 0, 1) : kind, dither = check_range(c, 0, 1);
        for (int i = 0; i < 2; i++)
            sum[i][t] = tables[i]->quantize_i16(codes[i] + t * BC_BACK_CODES, &step[i][t], dy, ones,
                                                rows, fine ? -1 : INFINITY, dither);
    }
    for (int i = 0; i < 2; i++) {
        if (n_planes)
            tables[i]->columns_planes(panel[i], w + first, stride, n_planes, rows, (size_t)cols,
                                      width);
        else
            tables[i]->columns_i8(panel[i], (const int8_t *)w + first, rows, (size_t)cols, width);
        tables[i]->gemm_columns(i ? want : got, y_stride, panel[i], n_planes, rows, width, codes[i],
                                step[i], sum[i], tokens, add);
    }
    for (size_t i = 0; i < outs; i++) {
        if (memcmp(got + i, want + i, sizeof *got) == 0) continue;
        check_fail(c, "%d planes, %d rows, width %d, %d tokens, add %d: number %d is %g, not %g",
                   n_planes, rows, width, tokens, add, (int)i, (double)got[i], (double)want[i]);
    }
    for (int r = 0; r < rows; r++) { /* and the definition is that of the format */
        for (int j = 0; j < width; j++) {
            int q = n_planes ? 0 : (int8_t)w[(size_t)r * (size_t)cols + (size_t)(first + j)];
            for (int k = 0; k < n_planes; k++) {
                const uint8_t *group = w + (size_t)k * stride + (size_t)(r / 5) * (size_t)cols;
                const int value = group[first + j] * 243 / 256; /* the packed number, base 3 */
                static const int power[] = { 81, 27, 9, 3, 1 };
                q = 3 * q + value / power[r % 5] % 3 - 1;
            }
            if ((int8_t)panel[1][r * BC_BACK_COLS + j] == q) continue;
            check_fail(c, "%d planes: row %d, column %d is not %d", n_planes, r, j, q);
        }
    }
    void *const owned[] = { w, dy, ones, got, want, panel[0], panel[1], codes[0], codes[1] };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

static void check_columns(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= BC_BACK_ROWS; s++) {
        const int tokens = check_range(c, 1, MAX_TOKENS), n_planes = s % (BC_MAX_PLANES + 1);
        one_product(c, check_range(c, 1, 83), n, n_planes, tokens, 0);
        one_product(c, n, check_range(c, 1, 70), n_planes, tokens, 0);
    }
    for (int n_planes = 0; n_planes <= BC_MAX_PLANES; n_planes++) {
        one_product(c, BC_BACK_ROWS, 32, n_planes, 13, 1);
        one_product(c, BC_BACK_ROWS, 40, n_planes, 27, 0);
    }
}

/* ---- swiglu_back: 1e-6 of |dy up s| (1 + |gate|), of |dy gate s|; 1e-36 near nothing ---- */

static void one_swiglu_back(checker *c, int n, float size, int in_place)
{
    float *gate = check_floats(c, (size_t)n, size), *up = check_floats(c, (size_t)n, 1),
          *d = check_floats(c, (size_t)n, 1);
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
        float *x = check_floats(c, (size_t)n, size), *w = check_floats(c, (size_t)n, 1),
              *dy = check_floats(c, (size_t)n, 1);
        float *dx = check_floats(c, (size_t)n, 1), *old = check_alloc((size_t)n * sizeof *old);
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

/* ---- add_outer: the definition's bits ---- */

static void check_add_outer(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 600; s++) {
        const int rank = check_range(c, 1, 9), stride = n + check_range(c, 0, 3);
        const int tokens = check_range(c, 1, 5), more = check_range(c, 0, 2);
        const size_t x_stride = (size_t)(n + more), v_stride = (size_t)(rank + more);
        const size_t size = (size_t)(rank - 1) * (size_t)stride + (size_t)n;
        double *got = check_alloc(size * sizeof *got), *want = check_alloc(size * sizeof *want);
        float *v = check_floats(c, (size_t)(tokens * (rank + more)), 1);
        float *x = check_floats(c, (size_t)(tokens * (n + more)), s % 2 ? 1 : 1e-20f);
        for (size_t i = 0; i < size; i++) got[i] = want[i] = check_normal(c);
        c->k->add_outer(got, (size_t)stride, v, v_stride, rank, x, x_stride, n, tokens);
        c->scalar->add_outer(want, (size_t)stride, v, v_stride, rank, x, x_stride, n, tokens);
        if (memcmp(got, want, size * sizeof *got) != 0) check_fail(c, "n %d, rank %d", n, rank);
        for (int k = 0; k < rank; k++) /* and it is what the header says, from nothing */
            memset(want + (size_t)k * (size_t)stride, 0, (size_t)n * sizeof *want);
        c->scalar->add_outer(want, (size_t)stride, v, v_stride, rank, x, x_stride, n, 1);
        if (want[size - 1] != (double)v[rank - 1] * (double)x[n - 1])
            check_fail(c, "n %d: the last is %g", n, want[size - 1]);
        free(got);
        free(want);
        free(v);
        free(x);
    }
}

/* ---- transpose: the definition's bits, and nothing beside them ---- */

static void check_transpose(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 300; s++) {
        const int rows = s % 2 ? n : check_range(c, 1, 50),
                  cols = s % 2 ? check_range(c, 1, 50) : n;
        const size_t x_stride = (size_t)(cols + check_range(c, 0, 3));
        const size_t y_stride = (size_t)(rows + check_range(c, 0, 3));
        const int size = (int)((size_t)(cols - 1) * y_stride) + rows;
        float *x = check_floats(c, (size_t)(rows - 1) * x_stride + (size_t)cols, 1);
        float *got = check_floats(c, (size_t)size, 1),
              *want = check_alloc((size_t)size * sizeof *want);
        memcpy(want, got, (size_t)size * sizeof *want);
        c->k->transpose(got, y_stride, x, x_stride, rows, cols);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < cols; i++)
                want[(size_t)i * y_stride + (size_t)r] = x[(size_t)r * x_stride + (size_t)i];
        if (memcmp(got, want, (size_t)size * sizeof *got) != 0)
            check_fail(c, "%d rows, %d columns", rows, cols);
        free(x);
        free(got);
        free(want);
    }
}

/* ---- exp_sum: 4e-6 of the value and the rounding of x - max, as softmax; the sum 1e-6 ---- */

static void one_exp_sum(checker *c, int n, float size, float shift, int in_place)
{
    float *x = check_floats(c, (size_t)n, size), *kept = check_alloc((size_t)n * sizeof *kept), top;
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
    { "quantize_i16", check_quantize_i16, { SLOT(quantize_i16) } },
    { "columns", check_columns, { SLOT(columns_planes), SLOT(columns_i8), SLOT(gemm_columns) } },
    { "swiglu_back", check_swiglu_back, { SLOT(swiglu_back) } },
    { "rmsnorm_back", check_rmsnorm_back, { SLOT(rmsnorm_back) } },
    { "add_outer", check_add_outer, { SLOT(add_outer) } },
    { "transpose", check_transpose, { SLOT(transpose) } },
    { "exp_sum", check_exp_sum, { SLOT(exp_sum) } },
    { NULL, NULL, { 0 } },
};
