/* checkasm_integer.c - planes, int8 matrices, int8 activations: exact, against sums made here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"

/* LIMIT: products of four columns, 2j, 2j + 1, 2j + 32 and 2j + 33, that just fit 16 bits, or just do not. */
enum content {
    RANDOM,
    TOP,
    BOTTOM,
    GARBAGE,
    ZERO_ACTIVATIONS,
    NORMAL_ACTIVATIONS,
    LIMIT,
    N_CONTENTS
};

/* A planes matrix, activations for some tokens, and what their products must be. */
typedef struct planes_case {
    int n_planes, n_groups, cols, tokens;
    size_t stride, a_stride;
    uint8_t *memory, *planes; /* planes: memory at some offset, ending with it */
    int8_t *q;                /* [5 n_groups][cols] */
    int8_t *a;                /* [tokens][a_stride] */
    int32_t *a_sum;
} planes_case;

static void fill_activations(checker *c, int8_t *a, int32_t *a_sum, int cols, size_t a_stride,
                             int tokens, enum content what)
{
    for (int t = 0; t < tokens; t++) {
        int8_t *row = a + (size_t)t * a_stride;
        memset(row, 0, check_padded(cols));
        a_sum[t] = 0;
        const int more = (int)(check_random(c) % 2);
        for (int i = 0; i < cols; i++) {
            row[i] = (int8_t)(what == TOP || what == BOTTOM ? 127
                              : what == ZERO_ACTIVATIONS    ? 0
                              : what == NORMAL_ACTIVATIONS  ? check_normal_i8(c)
                              : what == LIMIT               ? 64 + (more && (i & 33) == 33)
                                                            : check_range(c, -127, 127));
            a_sum[t] += row[i];
        }
    }
}

/* Packed bytes whose digits are those of q, or any bytes and the q they decode to. */
static void fill_planes(checker *c, planes_case *p, enum content what)
{
    int top = 1;
    for (int k = 0; k < p->n_planes; k++) top *= 3;
    for (int g = 0; g < p->n_groups; g++) {
        for (int i = 0; i < p->cols; i++) {
            int u[5] = { 0 };
            if (what != GARBAGE) {
                for (int r = 0; r < 5; r++) {
                    u[r] = what == TOP                       ? top - 1
                           : what == BOTTOM || what == LIMIT ? 0
                                                             : check_range(c, 0, top - 1);
                }
            }
            int power = top;
            for (int k = 0; k < p->n_planes; k++) {
                uint8_t *byte = p->planes + (size_t)k * p->stride + (size_t)g * (size_t)p->cols + i;
                power /= 3;
                if (what == GARBAGE) {
                    int x = *byte = (uint8_t)check_random(c);
                    for (int r = 0; r < 5; r++) {
                        u[r] += power * (3 * x / 256);
                        x = 3 * x % 256;
                    }
                } else {
                    int v = 0;
                    for (int r = 0; r < 5; r++) v = 3 * v + u[r] / power % 3;
                    *byte = (uint8_t)((256 * v + 242) / 243);
                }
            }
            for (int r = 0; r < 5; r++) {
                p->q[((size_t)g * 5 + (size_t)r) * (size_t)p->cols + (size_t)i] =
                    (int8_t)(u[r] - (top - 1) / 2);
            }
        }
    }
}

static planes_case make_case(checker *c, int n_planes, int n_groups, int cols, int tokens,
                             enum content what)
{
    size_t group_bytes = (size_t)n_groups * (size_t)cols, offset = check_random(c) % 64;
    planes_case p = { n_planes, n_groups, cols, tokens, 0, 0, NULL, NULL, NULL, NULL, NULL };
    p.stride = group_bytes + check_random(c) % 3 * 5;
    size_t bytes = (size_t)(n_planes - 1) * p.stride + group_bytes;
    p.memory = check_alloc(offset + bytes);
    p.planes = p.memory + offset;
    p.q = check_alloc(group_bytes * 5);
    p.a_stride = check_padded(cols) + check_random(c) % 2 * 64;
    p.a = check_alloc((size_t)(tokens - 1) * p.a_stride + check_padded(cols));
    p.a_sum = check_alloc((size_t)tokens * sizeof *p.a_sum);
    fill_planes(c, &p, what);
    fill_activations(c, p.a, p.a_sum, cols, p.a_stride, tokens, what);
    return p;
}

static void free_case(planes_case *p)
{
    free(p->memory);
    free(p->q);
    free(p->a);
    free(p->a_sum);
}

static int32_t exact_dot(const int8_t *w, const int8_t *a, int cols)
{
    int64_t sum = 0;
    for (int i = 0; i < cols; i++) sum += w[i] * a[i];
    return (int32_t)sum;
}

static void one_gemv_planes(checker *c, int n_planes, int n_groups, int cols, enum content what)
{
    planes_case p = make_case(c, n_planes, n_groups, cols, 1, what);
    int32_t *out = check_alloc((size_t)n_groups * 5 * sizeof *out);
    c->k->gemv_planes(out, p.planes, p.stride, n_planes, n_groups, cols, p.a, p.a_sum[0]);
    for (int r = 0; r < 5 * n_groups; r++) {
        int32_t want = exact_dot(p.q + (size_t)r * (size_t)cols, p.a, cols);
        if (out[r] == want) continue;
        check_fail(c, "N %d, groups %d, cols %d, content %d: row %d is %d, not %d", n_planes,
                   n_groups, cols, (int)what, r, out[r], want);
    }
    free(out);
    free_case(&p);
}

static void check_gemv_planes(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        for (int n_planes = 1; n_planes <= BC_MAX_PLANES; n_planes++) {
            enum content what = (enum content)((s + n_planes) % N_CONTENTS);
            one_gemv_planes(c, n_planes, check_range(c, 1, cols > 200 ? 3 : 17), cols, what);
        }
    }
    for (int what = 0; what < N_CONTENTS; what++) {
        one_gemv_planes(c, BC_MAX_PLANES, 1, 53248, (enum content)what);
        one_gemv_planes(c, 2, 1, 300007, (enum content)what); /* far beyond any model */
    }
}

static void compare_planes(checker *c, const planes_case *p, const int32_t *out, size_t stride,
                           enum content what)
{
    for (int t = 0; t < p->tokens; t++) {
        for (int r = 0; r < 5 * p->n_groups; r++) {
            const int8_t *a = p->a + (size_t)t * p->a_stride;
            int32_t want = exact_dot(p->q + (size_t)r * (size_t)p->cols, a, p->cols);
            int32_t got = out[(size_t)t * stride + (size_t)r];
            if (got == want) continue;
            check_fail(c, "N %d, groups %d, cols %d, tokens %d, content %d: [%d, %d] is %d, not %d",
                       p->n_planes, p->n_groups, p->cols, p->tokens, (int)what, t, r, got, want);
        }
    }
}

static void one_gemm_planes(checker *c, int n_planes, int n_groups, int cols, int tokens,
                            enum content what)
{
    planes_case p = make_case(c, n_planes, n_groups, cols, tokens, what);
    uint8_t *panel = check_alloc(BC_PANEL_BYTES(cols));
    int32_t *out = check_alloc((size_t)tokens * BC_PANEL_ROWS * sizeof *out);
    c->k->panel_planes(panel, p.planes, p.stride, n_planes, n_groups, cols);
    c->k->gemm_planes(out, panel, n_planes, cols, p.a, p.a_stride, p.a_sum, tokens);
    compare_planes(c, &p, out, BC_PANEL_ROWS, what);
    free(panel);
    free(out);
    free_case(&p);
}

static void one_few_planes(checker *c, int n_planes, int n_groups, int cols, int tokens,
                           enum content what)
{
    planes_case p = make_case(c, n_planes, n_groups, cols, tokens, what);
    const size_t stride = (size_t)n_groups * 5 + check_random(c) % 3;
    uint8_t *work = check_alloc(BC_FEW_BYTES(cols));
    int32_t *out =
        check_alloc(((size_t)(tokens - 1) * stride + (size_t)n_groups * 5) * sizeof *out);
    c->k->few_planes(out, stride, p.planes, p.stride, n_planes, n_groups, cols, p.a, p.a_stride,
                     p.a_sum, tokens, work);
    compare_planes(c, &p, out, stride, what);
    free(work);
    free(out);
    free_case(&p);
}

static void check_few_planes(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        for (int n_planes = 1; n_planes <= BC_MAX_PLANES; n_planes++) {
            enum content what = (enum content)((s + n_planes) % N_CONTENTS);
            int tokens = cols > 200 ? check_range(c, 1, 4) : check_range(c, 1, 17);
            one_few_planes(c, n_planes, check_range(c, 1, cols > 200 ? 2 : 5), cols, tokens, what);
        }
    }
    for (int tokens = 1; tokens <= 40; tokens++) {
        one_few_planes(c, 1 + tokens % 4, 3, 69, tokens, RANDOM);
    }
    for (int what = 0; what < N_CONTENTS; what++) {
        one_few_planes(c, BC_MAX_PLANES, 1, 53248, 3, (enum content)what);
    }
}

static void check_gemm_planes(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        enum content what = (enum content)(s % N_CONTENTS);
        int tokens = cols > 200 ? check_range(c, 1, 3) : check_range(c, 1, 17);
        one_gemm_planes(c, 1 + s / N_CONTENTS % 4, check_range(c, 1, 16), cols, tokens, what);
    }
    for (int tokens = 1; tokens <= 40; tokens++) {
        one_gemm_planes(c, 1 + tokens % 4, 16, 69, tokens, RANDOM);
    }
    for (int what = 0; what < N_CONTENTS; what++) {
        one_gemm_planes(c, BC_MAX_PLANES, 16, 14336, 2, (enum content)what);
    }
    one_gemm_planes(c, 2, 16, 66, 512, RANDOM);
}

enum way { VECTOR, FEW, PANEL };

/* An int8 matrix times one token, a few, or through the panel. */
static void one_i8(checker *c, enum way way, int rows, int cols, int n, enum content what)
{
    size_t offset = check_random(c) % 64, count = (size_t)rows * (size_t)cols;
    size_t a_stride = check_padded(cols);
    int8_t *memory = check_alloc(offset + count), *w = memory + offset;
    int8_t *a = check_alloc((size_t)n * a_stride);
    int32_t *a_sum = check_alloc((size_t)n * sizeof *a_sum);
    int out_rows = way == PANEL ? BC_PANEL_ROWS : rows;
    int32_t *out = check_alloc((size_t)n * (size_t)out_rows * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        w[i] = (int8_t)(what == TOP ? 127 : what == BOTTOM ? -127 : check_range(c, -127, 127));
    }
    fill_activations(c, a, a_sum, cols, a_stride, n, what);
    if (way == PANEL) {
        uint8_t *panel = check_alloc(BC_PANEL_BYTES(cols));
        c->k->panel_i8(panel, w, rows, cols);
        c->k->gemm_i8(out, panel, cols, a, a_stride, a_sum, n);
        free(panel);
    } else if (way == FEW) {
        c->k->few_i8(out, (size_t)out_rows, w, rows, cols, a, a_stride, a_sum, n);
    } else {
        c->k->gemv_i8(out, w, rows, cols, a, a_sum[0]);
    }
    for (int t = 0; t < n; t++) {
        for (int r = 0; r < rows; r++) {
            int32_t want = exact_dot(w + (size_t)r * (size_t)cols, a + (size_t)t * a_stride, cols);
            int32_t got = out[t * out_rows + r];
            if (got == want) continue;
            check_fail(c, "rows %d, cols %d, tokens %d, content %d: [%d, %d] is %d, not %d", rows,
                       cols, n, (int)what, t, r, got, want);
        }
    }
    free(memory);
    free(a);
    free(a_sum);
    free(out);
}

static void check_gemv_i8(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        one_i8(c, VECTOR, check_range(c, 1, 11), cols, 1, (enum content)(s % N_CONTENTS));
    }
    for (int what = 0; what < N_CONTENTS; what++)
        one_i8(c, VECTOR, 5, 53250, 1, (enum content)what);
}

static void check_gemm_i8(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        enum content what = (enum content)(s % N_CONTENTS);
        one_i8(c, PANEL, check_range(c, 1, 80), cols, check_range(c, 1, cols > 200 ? 3 : 13), what);
    }
    for (int what = 0; what < N_CONTENTS; what++)
        one_i8(c, PANEL, 80, 14336, 2, (enum content)what);
    one_i8(c, PANEL, 80, 66, 512, RANDOM);
}

static void check_few_i8(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        enum content what = (enum content)(s % N_CONTENTS);
        one_i8(c, FEW, check_range(c, 1, 11), cols, check_range(c, 1, cols > 200 ? 5 : 13), what);
    }
    for (int what = 0; what < N_CONTENTS; what++) one_i8(c, FEW, 5, 14336, 3, (enum content)what);
}

/* ---- quantize_i8: equal bits, and half a step from the input ---- */

static void fill_rounding(checker *c, float *x, int n, int kind)
{
    for (int i = 0; i < n; i++) {
        x[i] = check_normal(c);
        if (kind == 1) x[i] *= 1e-40f; /* subnormal */
        if (kind == 2) x[i] *= 5e37f;
        if (kind == 3) x[i] = (float)check_range(c, -127, 126) + 0.5f; /* ties, once max is 127 */
        if (kind == 4) x[i] = 0;
        if (kind == 5) x[i] *= 1e-37f;
    }
    int at = check_range(c, 0, n - 1);
    if (kind == 3) x[at] = 127.0f;
    if (kind == 6) x[at] = NAN;
    if (kind == 7) x[at] = -INFINITY;
    if (kind == 8) x[at] = -1000.0f; /* an outlier */
}

static void check_quantize_i8(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        int kind = s % 9;
        size_t padded = check_padded(n);
        float *x = check_alloc((size_t)n * sizeof *x), scale = -1, want_scale = -1;
        int8_t *a = check_alloc(padded), *want = check_alloc(padded);
        fill_rounding(c, x, n, kind);
        int32_t sum = c->k->quantize_i8(a, &scale, x, n), exact = 0;
        int32_t want_sum = c->scalar->quantize_i8(want, &want_scale, x, n);
        for (size_t i = 0; i < padded; i++) exact += a[i];
        int same_scale = scale == want_scale || (isnan(scale) && isnan(want_scale));
        if (memcmp(a, want, padded) || !same_scale || sum != want_sum || sum != exact) {
            check_fail(c, "n %d, kind %d: scale %g (%g), sum %d (%d, %d)", n, kind, (double)scale,
                       (double)want_scale, sum, want_sum, exact);
        }
        if (isnan(scale) != (kind == 6 || kind == 7)) check_fail(c, "n %d, kind %d: NaN", n, kind);
        for (int i = 0; i < n && !isnan(scale); i++) {
            double error = fabs((double)a[i] * scale - x[i]);
            /* 1e-44: the scale of subnormals is itself a subnormal */
            if (error > 0.5001 * scale + 127 * 1e-44) {
                check_fail(c, "n %d, kind %d: %g is far from %d * %g", n, kind, (double)x[i], a[i],
                           (double)scale);
            }
        }
        free(x);
        free(a);
        free(want);
    }
}

const check_entry check_integer_entries[] = {
    { "gemv_planes", check_gemv_planes, { SLOT(gemv_planes) } },
    { "gemm_planes", check_gemm_planes, { SLOT(panel_planes), SLOT(gemm_planes) } },
    { "few_planes", check_few_planes, { SLOT(few_planes) } },
    { "gemv_i8", check_gemv_i8, { SLOT(gemv_i8) } },
    { "gemm_i8", check_gemm_i8, { SLOT(panel_i8), SLOT(gemm_i8) } },
    { "few_i8", check_few_i8, { SLOT(few_i8) } },
    { "quantize_i8", check_quantize_i8, { SLOT(quantize_i8) } },
    { NULL, NULL, { 0 } },
};
