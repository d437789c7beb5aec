/* checkasm_dense.c - dense matrices, half floats, attention, against sums in f64.
 *
 * Bound of a dot product of n terms: 2^-24 (4 + 4 sqrt(n)) times the sum of |terms|, that is,
 * rounding errors that add up like a random walk, with room to spare; a lost or doubled term of
 * average size breaks it up to n = 4,099. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"

static const int dtypes[] = { BC_F32, BC_F16, BC_BF16 };

typedef struct dot_sum {
    double sum, size;
} dot_sum;

static double dot_bound(dot_sum d, int n) { return 0x1p-24 * (4 + 4 * sqrt(n)) * d.size; }

static size_t dtype_size(int dtype) { return dtype == BC_F32 ? 4 : 2; }

/* The value of element i, made here from its bits. */
static double value_of(const void *x, int dtype, size_t i)
{
    if (dtype == BC_F32) return ((const float *)x)[i];
    uint32_t u = ((const uint16_t *)x)[i];
    if (dtype == BC_BF16) {
        float f;
        u <<= 16;
        memcpy(&f, &u, sizeof f);
        return f;
    }
    double sign = u & 0x8000u ? -1 : 1;
    int exponent = (int)(u >> 10) & 31;
    double mant = u & 0x3ffu;
    if (exponent == 31) return mant != 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mant, exponent - 25) : ldexp(mant, -24));
}

/* n finite numbers of a type, some of them zero, subnormal or large. */
static void fill_dtype(checker *c, void *x, int dtype, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float v = check_normal(c) * 0.5f;
        if (check_range(c, 0, 30) == 0) v = 0;
        if (check_range(c, 0, 30) == 0) v *= 1e-6f;
        if (check_range(c, 0, 30) == 0) v *= 100;
        if (dtype == BC_F32) {
            ((float *)x)[i] = v;
        } else if (dtype == BC_F16) {
            c->scalar->f32_to_f16((uint16_t *)x + i, &v, 1);
        } else {
            uint32_t u;
            memcpy(&u, &v, sizeof u);
            ((uint16_t *)x)[i] = (uint16_t)(u >> 16);
        }
    }
}

/* ---- conversions: exact ---- */

static int same_number(float got, double want)
{
    return isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want);
}

static void check_to_f32(checker *c)
{
    uint16_t *half = check_alloc(65536 * sizeof *half);
    float *out = check_alloc(65536 * sizeof *out);
    for (int i = 0; i < 65536; i++) half[i] = (uint16_t)i;
    for (int d = 1; d < 3; d++) {
        c->k->to_f32(out, half, dtypes[d], 65536);
        for (size_t i = 0; i < 65536; i++) {
            if (same_number(out[i], value_of(half, dtypes[d], i))) continue;
            check_fail(c, "dtype %d, bits %04x: %g", dtypes[d], (unsigned)i, (double)out[i]);
        }
    }
    free(half);
    free(out);
    for (int s = 0, n; (n = check_size(s)); s++) {
        int dtype = dtypes[s % 3];
        void *x = check_alloc((size_t)n * dtype_size(dtype));
        float *y = check_alloc((size_t)n * sizeof *y);
        fill_dtype(c, x, dtype, (size_t)n);
        c->k->to_f32(y, x, dtype, (size_t)n);
        for (int i = 0; i < n; i++) {
            if (same_number(y[i], value_of(x, dtype, (size_t)i))) continue;
            check_fail(c, "dtype %d, n %d: element %d", dtype, n, i);
        }
        free(x);
        free(y);
    }
}

/* Equal bits with the definition; and the definition is the nearest f16, ties to even. */
static void check_f32_to_f16(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *x = check_alloc((size_t)n * sizeof *x);
        uint16_t *y = check_alloc((size_t)n * 2), *want = check_alloc((size_t)n * 2);
        for (int i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)check_random(c);
            if (i % 3 == 0) bits = (bits & 0x8fffffffu) | 0x38000000u; /* in or near f16's range */
            if (i % 3 == 1) bits &= 0xfffff000u;                       /* often a tie */
            memcpy(&x[i], &bits, sizeof bits);
        }
        c->k->f32_to_f16(y, x, n);
        c->scalar->f32_to_f16(want, x, n);
        for (int i = 0; i < n; i++) {
            if (y[i] != want[i]) {
                check_fail(c, "n %d: %a gives %04x, not %04x", n, (double)x[i], y[i], want[i]);
            }
            uint16_t around[3] = { (uint16_t)(y[i] - 1), y[i], (uint16_t)(y[i] + 1) };
            if (!isfinite(x[i]) || (y[i] & 0x7fffu) == 0 || (y[i] & 0x7fffu) >= 0x7bffu) continue;
            double below = fabs(value_of(around, BC_F16, 0) - x[i]);
            double here = fabs(value_of(around, BC_F16, 1) - x[i]);
            double above = fabs(value_of(around, BC_F16, 2) - x[i]);
            int tie = here == below || here == above;
            if (here > below || here > above || (tie && (y[i] & 1))) {
                check_fail(c, "%a gives %04x, which is not the nearest", (double)x[i], y[i]);
            }
        }
        free(x);
        free(y);
        free(want);
    }
    const float edge[] = { 65519.996f, 65520.0f, 0x1p-25f, 0x1.000002p-25f, INFINITY, -0.0f };
    const uint16_t edge_want[] = { 0x7bff, 0x7c00, 0, 1, 0x7c00, 0x8000 };
    uint16_t edge_got[6];
    c->k->f32_to_f16(edge_got, edge, 6);
    if (memcmp(edge_got, edge_want, sizeof edge_want)) check_fail(c, "at the ends of the range");
}

/* ---- dense matrices ---- */

static dot_sum dense_dot(const void *w, int dtype, size_t first, const float *x, int cols)
{
    dot_sum d = { 0, 0 };
    for (int i = 0; i < cols; i++) {
        double term = value_of(w, dtype, first + (size_t)i) * x[i];
        d.sum += term;
        d.size += fabs(term);
    }
    return d;
}

static void check_gemv_dense(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        int dtype = dtypes[s % 3], rows = check_range(c, 1, 9);
        void *w = check_alloc((size_t)rows * (size_t)cols * dtype_size(dtype));
        float *x = check_floats(c, (size_t)cols, 1), *out = check_alloc((size_t)rows * sizeof *out);
        fill_dtype(c, w, dtype, (size_t)rows * (size_t)cols);
        c->k->gemv_dense(out, w, dtype, rows, cols, x);
        for (int r = 0; r < rows; r++) {
            dot_sum want = dense_dot(w, dtype, (size_t)r * (size_t)cols, x, cols);
            if (fabs(out[r] - want.sum) <= dot_bound(want, cols)) continue;
            check_fail(c, "dtype %d, rows %d, cols %d: row %d is %g, not %g", dtype, rows, cols, r,
                       (double)out[r], want.sum);
        }
        free(w);
        free(x);
        free(out);
    }
}

/* Right, alone and together with other tokens to the last bit, and nothing is written beside them. */
static void check_dots_dense(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        const int rows = check_range(c, 1, 9), tokens = check_range(c, 1, 11);
        const size_t x_stride = (size_t)(cols + check_range(c, 0, 3));
        const size_t stride = (size_t)(rows + check_range(c, 0, 3)), end = (size_t)tokens - 1;
        const size_t outs = end * stride + (size_t)rows;
        float *w = check_floats(c, (size_t)rows * (size_t)cols, 1), alone[9];
        float *x = check_floats(c, end * x_stride + (size_t)cols, 1);
        float *out = check_floats(c, outs, 1), *before = check_alloc(outs * sizeof *before);
        memcpy(before, out, outs * sizeof *out);
        c->k->dots_dense(out, stride, w, rows, cols, x, x_stride, tokens);
        for (int t = 0; t < tokens; t++) {
            const float *own = x + (size_t)t * x_stride, *got = out + (size_t)t * stride;
            c->k->dots_dense(alone, 9, w, rows, cols, own, x_stride, 1);
            if (memcmp(alone, got, (size_t)rows * sizeof *got) != 0)
                check_fail(c, "%d rows, %d columns: token %d of %d depends on the others", rows,
                           cols, t, tokens);
            for (int r = 0; r < rows; r++) {
                const dot_sum want = dense_dot(w, BC_F32, (size_t)r * (size_t)cols, own, cols);
                if (fabs(got[r] - want.sum) <= dot_bound(want, cols)) continue;
                check_fail(c, "%d rows, %d columns: row %d is %g, not %g", rows, cols, r,
                           (double)got[r], want.sum);
            }
        }
        for (size_t i = 0; i < outs; i++)
            if (i % stride >= (size_t)rows && memcmp(out + i, before + i, sizeof *out) != 0)
                check_fail(c, "%d rows of %d: number %d was written", rows, (int)stride, (int)i);
        free(w);
        free(x);
        free(out);
        free(before);
    }
}

static void one_gemm_dense(checker *c, int dtype, int rows, int cols, int tokens)
{
    size_t stride = (size_t)cols + check_random(c) % 5;
    void *w = check_alloc((size_t)rows * (size_t)cols * dtype_size(dtype));
    float *x = check_floats(c, (size_t)(tokens - 1) * stride + (size_t)cols, 1);
    float *panel = check_alloc(BC_DENSE_PANEL_FLOATS(cols) * sizeof *panel);
    const int add = check_range(c, 0, 1),
              wide = check_range(c, 0, 1) * 7; /* panel, in wider rows */
    const size_t pitch = BC_DENSE_ROWS + (size_t)wide,
                 out_stride = BC_DENSE_ROWS + check_random(c) % 3;
    const size_t outs = (size_t)(tokens - 1) * out_stride + BC_DENSE_ROWS;
    float *out = check_floats(c, outs, 1), *before = check_alloc(outs * sizeof *before);
    float *copy = check_alloc((((size_t)cols - 1) * pitch + BC_DENSE_ROWS) * sizeof *copy);
    memcpy(before, out, outs * sizeof *out);
    fill_dtype(c, w, dtype, (size_t)rows * (size_t)cols);
    c->k->panel_dense(panel, w, dtype, rows, cols);
    for (int i = 0; i < cols; i++)
        memcpy(copy + (size_t)i * pitch, panel + (size_t)i * BC_DENSE_ROWS,
               BC_DENSE_ROWS * sizeof *copy);
    c->k->gemm_dense(out, out_stride, wide ? copy : panel, pitch, cols, x, stride, tokens, add);
    for (size_t i = 0; i < outs; i++)
        if (i % out_stride >= BC_DENSE_ROWS && memcmp(out + i, before + i, sizeof *out) != 0)
            check_fail(c, "cols %d, tokens %d: number %d was written", cols, tokens, (int)i);
    for (int t = 0; t < tokens; t++) {
        float alone[BC_DENSE_ROWS];
        memcpy(alone, before + (size_t)t * out_stride, sizeof alone);
        c->k->gemm_dense(alone, BC_DENSE_ROWS, panel, BC_DENSE_ROWS, cols, x + (size_t)t * stride,
                         stride, 1, add);
        if (memcmp(alone, out + (size_t)t * out_stride, (size_t)rows * sizeof *out) != 0)
            check_fail(c, "cols %d: token %d of %d depends on the others", cols, t, tokens);
        for (int r = 0; r < rows; r++) {
            dot_sum want =
                dense_dot(w, dtype, (size_t)r * (size_t)cols, x + (size_t)t * stride, cols);
            const size_t at = (size_t)t * out_stride + (size_t)r;
            const float got = out[at];
            want.sum += add ? (double)before[at] : 0;
            want.size += add ? fabs((double)before[at]) : 0;
            if (fabs(got - want.sum) <= dot_bound(want, cols)) continue;
            check_fail(c, "dtype %d, rows %d, cols %d, tokens %d: [%d, %d] is %g, not %g", dtype,
                       rows, cols, tokens, t, r, (double)got, want.sum);
        }
    }
    free(w);
    free(x);
    free(panel);
    free(copy);
    free(before);
    free(out);
}

static void check_gemm_dense(checker *c)
{
    for (int s = 0, cols; (cols = check_size(s)); s++) {
        int tokens = cols > 200 ? check_range(c, 1, 3) : check_range(c, 1, 15);
        one_gemm_dense(c, dtypes[s % 3], check_range(c, 1, 32), cols, tokens);
    }
    for (int tokens = 1; tokens <= 30; tokens++) one_gemm_dense(c, BC_BF16, 32, 37, tokens);
    one_gemm_dense(c, BC_F16, 32, 20, 512);
}

/* ---- attention ---- */

static const int kv_dtype[BC_KV_TYPES] = { BC_F16, -1, BC_F32, -1 }; /* -1: int8, int4 */

static double kv_value(const void *k, int kv, size_t i)
{
    if (kv == BC_KV_I8) return ((const int8_t *)k)[i];
    if (kv != BC_KV_I4) return value_of(k, kv_dtype[kv], i);
    const uint8_t byte = ((const uint8_t *)k)[i / 32 * 16 + i % 16];
    return (i % 32 < 16 ? byte % 16 : byte / 16) - 8;
}

/* Keys or values of n positions, to the byte. */
static void *kv_cache(checker *c, int kv, int n, int head_dim)
{
    size_t count = (size_t)n * (size_t)head_dim;
    if (kv == BC_KV_I4) {
        uint8_t *k = check_alloc(count / 2);
        for (size_t i = 0; i < count / 2; i++) k[i] = (uint8_t)check_random(c);
        return k;
    }
    void *k = check_alloc(count * (kv == BC_KV_I8 ? 1 : dtype_size(kv_dtype[kv])));
    if (kv != BC_KV_I8) {
        fill_dtype(c, k, kv_dtype[kv], count);
        return k;
    }
    for (size_t i = 0; i < count; i++) ((int8_t *)k)[i] = (int8_t)check_range(c, -127, 127);
    return k;
}

/* How far int8's integers may be from `want`: half a step of each query's element, or of each weight, by
 * the `count` codes that are `stride` apart. */
static double i8_slack(const void *codes, size_t stride, int count, double step)
{
    double sum = 0;
    for (int i = 0; i < count; i++) sum += abs(((const int8_t *)codes)[(size_t)i * stride]);
    return 0.501 * step * sum;
}

static double largest(const float *x, const float *factor, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)x[i] * (factor ? factor[i] : 1.0)));
    return most;
}

/* int8 is exact integers and one rounding after another: equal bits */
static void same_as_scalar(checker *c, const float *got, const float *want, size_t n,
                           const char *what)
{
    if (memcmp(got, want, n * sizeof *got) != 0) check_fail(c, "%s: not the scalar bits", what);
}

static void one_attention(checker *c, int kv, int heads, int n, int head_dim)
{
    const int scaled = kv == BC_KV_I8 || kv == BC_KV_I4;
    const size_t stride = (size_t)n + check_random(c) % 3;
    const size_t all = (size_t)heads * stride, q_size = (size_t)heads * (size_t)head_dim;
    void *k = kv_cache(c, kv, n, head_dim);
    float *q = check_floats(c, q_size, 1), *p = check_floats(c, all, 1),
          *scale = check_floats(c, (size_t)n, 1);
    const size_t outs = all - stride + (size_t)n;
    float *out = check_alloc(outs * sizeof *out), factor = 0.125f;
    float *other = check_alloc((outs > q_size ? outs : q_size) * sizeof *other);
    if (kv == BC_KV_I8) {
        for (size_t i = 0; i < all; i++) p[i] = fabsf(p[i]);
        for (int i = 0; i < n; i++) scale[i] = fabsf(scale[i]);
    }
    c->k->attn_scores[kv](out, stride, q, heads, k, scaled ? scale : NULL, n, head_dim, factor);
    if (kv == BC_KV_I8) {
        c->scalar->attn_scores[kv](other, stride, q, heads, k, scale, n, head_dim, factor);
        same_as_scalar(c, out, other, outs, "scores");
    }
    for (int h = 0; h < heads; h++) {
        for (int j = 0; j < n; j++) {
            dot_sum want = { 0, 0 };
            double s = scaled ? (double)factor * scale[j] : factor;
            for (int i = 0; i < head_dim; i++) {
                double term = s * q[h * head_dim + i] *
                              kv_value(k, kv, (size_t)j * (size_t)head_dim + (size_t)i);
                want.sum += term;
                want.size += fabs(term);
            }
            const float got = out[(size_t)h * stride + (size_t)j];
            double bound = dot_bound(want, head_dim);
            if (kv == BC_KV_I8)
                bound += i8_slack((int8_t *)k + (size_t)j * (size_t)head_dim, 1, head_dim,
                                  fabs(s) * largest(q + h * head_dim, NULL, head_dim) / 32639);
            if (fabs(got - want.sum) <= bound) continue;
            check_fail(c, "kv %d, n %d, head_dim %d: score [%d, %d] is %g, not %g", kv, n, head_dim,
                       h, j, (double)got, want.sum);
        }
    }
    free(out);
    out = check_alloc(q_size * sizeof *out);
    c->k->attn_mix[kv](out, p, stride, heads, k, scaled ? scale : NULL, n, head_dim);
    if (kv == BC_KV_I8) {
        c->scalar->attn_mix[kv](other, p, stride, heads, k, scale, n, head_dim);
        same_as_scalar(c, out, other, q_size, "mix");
    }
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < head_dim; i++) {
            dot_sum want = { 0, 0 };
            for (int j = 0; j < n; j++) {
                const double weight = p[(size_t)h * stride + (size_t)j];
                double term = (scaled ? weight * scale[j] : weight) *
                              kv_value(k, kv, (size_t)j * (size_t)head_dim + (size_t)i);
                want.sum += term;
                want.size += fabs(term);
            }
            const float got = out[h * head_dim + i];
            double bound = dot_bound(want, n);
            if (kv == BC_KV_I8)
                bound += i8_slack((int8_t *)k + i, (size_t)head_dim, n,
                                  largest(p + (size_t)h * stride, scale, n) / 32639);
            if (fabs(got - want.sum) <= bound) continue;
            check_fail(c, "kv %d, n %d, head_dim %d: mix [%d, %d] is %g, not %g", kv, n, head_dim,
                       h, i, (double)got, want.sum);
        }
    }
    free(out);
    free(other);
    free(k);
    free(q);
    free(p);
    free(scale);
}

/* What is not finite is not hidden by rounding to integers, and nothing at all stays nothing. */
static void check_i8_extremes(checker *c)
{
    enum { D = 64, N = 5 };
    int8_t *k = kv_cache(c, BC_KV_I8, N, D);
    float q[D] = { 0 }, scale[N] = { 1, 1, 1, 1, 1 }, p[N] = { 0 }, scores[N], mix[D];
    for (int bad = 0; bad < 3; bad++) { /* nothing, infinity, NaN */
        q[3] = p[2] = bad == 0 ? 0.0f : bad == 1 ? INFINITY : NAN;
        c->k->attn_scores[BC_KV_I8](scores, N, q, 1, k, scale, N, D, 0.125f);
        c->k->attn_mix[BC_KV_I8](mix, p, N, 1, k, scale, N, D);
        for (int i = 0; i < N; i++)
            if (bad ? !isnan(scores[i]) : scores[i] != 0) check_fail(c, "scores of case %d", bad);
        for (int i = 0; i < D; i++)
            if (bad ? !isnan(mix[i]) : mix[i] != 0) check_fail(c, "mix of case %d", bad);
    }
    p[2] = 1e-30f; /* the inverse of a step that is tiny is still a number */
    c->k->attn_mix[BC_KV_I8](mix, p, N, 1, k, scale, N, D);
    for (int i = 0; i < D; i++)
        if (fabs(mix[i] - 1e-30 * k[2 * D + i]) > 1e-34) check_fail(c, "a tiny mix");
    free(k);
}

static void check_attention(checker *c)
{
    check_i8_extremes(c);
    static const int dims[] = { 32, 64, 80, 96, 100, 128, 256 };
    for (int kv = 0; kv < BC_KV_TYPES; kv++) {
        const int step = kv == BC_KV_I4 ? 32 : 1; /* rows of int4 are whole blocks */
        for (int head_dim = step; head_dim <= 130; head_dim += step) {
            one_attention(c, kv, check_range(c, 1, 9), check_range(c, 1, 20), head_dim);
        }
        for (int d = 0; d < 7; d++) {
            if (dims[d] % step) continue;
            for (int n = 1; n <= 9; n++) one_attention(c, kv, n, 10 - n, dims[d]);
            one_attention(c, kv, 3, kv == BC_KV_I8 ? BC_KV_BLOCK - d : 515, dims[d]);
        }
    }
}

const check_entry check_dense_entries[] = {
    { "to_f32", check_to_f32, { SLOT(to_f32) } },
    { "f32_to_f16", check_f32_to_f16, { SLOT(f32_to_f16) } },
    { "gemv_dense", check_gemv_dense, { SLOT(gemv_dense) } },
    { "dots_dense", check_dots_dense, { SLOT(dots_dense) } },
    { "gemm_dense", check_gemm_dense, { SLOT(panel_dense), SLOT(gemm_dense) } },
    { "attn_scores",
      check_attention,
      { SLOT(attn_scores[BC_KV_F16]), SLOT(attn_scores[BC_KV_I8]), SLOT(attn_scores[BC_KV_F32]),
        SLOT(attn_scores[BC_KV_I4]) } },
    { "attn_mix",
      check_attention,
      { SLOT(attn_mix[BC_KV_F16]), SLOT(attn_mix[BC_KV_I8]), SLOT(attn_mix[BC_KV_F32]),
        SLOT(attn_mix[BC_KV_I4]) } },
    { NULL, NULL, { 0 } },
};
