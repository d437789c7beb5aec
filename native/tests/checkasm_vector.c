/* checkasm_vector.c - Hadamard, norm, rope, activations, softmax, the quantizer's loops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"

static float *copy_of(const float *x, size_t n)
{
    float *y = check_alloc(n * sizeof *y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* ---- hadamard: equal bits; the definition within 2^-20 of the matrix, times the block's norm ---- */

static void matrix_hadamard(double *y, const float *x, int block)
{
    for (int i = 0; i < block; i++) {
        y[i] = 0;
        for (int j = 0; j < block; j++) {
            y[i] += __builtin_popcount((unsigned)(i & j)) & 1 ? -(double)x[j] : (double)x[j];
        }
        y[i] /= sqrt(block);
    }
}

static void check_hadamard(checker *c)
{
    for (int block = 1; block <= 8192; block *= 2) {
        for (int blocks = 1; blocks <= 3; blocks += 2) {
            int n = block * blocks;
            float *x = check_floats(c, (size_t)n, 1), *got = copy_of(x, (size_t)n);
            float *want = copy_of(x, (size_t)n);
            c->k->hadamard(got, n, block);
            c->scalar->hadamard(want, n, block);
            if (memcmp(got, want, (size_t)n * sizeof *x)) {
                check_fail(c, "n %d, block %d: not the bits of the definition", n, block);
            }
            for (int b = 0; b < n && block <= 256; b += block) {
                double exact[256], norm = 0;
                matrix_hadamard(exact, x + b, block);
                for (int i = 0; i < block; i++) norm += (double)x[b + i] * x[b + i];
                for (int i = 0; i < block; i++) {
                    if (fabs(got[b + i] - exact[i]) <= 0x1p-20 * sqrt(norm)) continue;
                    check_fail(c, "block %d: element %d is %g, not %g", block, i,
                               (double)got[b + i], exact[i]);
                }
            }
            free(x);
            free(got);
            free(want);
        }
    }
}

/* ---- rmsnorm: 2^-19 of the value ---- */

static void check_rmsnorm(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float size = s % 4 == 0 ? 1e-4f : s % 4 == 1 ? 1000 : 1, eps = s % 2 ? 1e-5f : 1e-6f;
        float *x = check_floats(c, (size_t)n, size), *w = check_floats(c, (size_t)n, 1);
        float *y = check_alloc((size_t)n * sizeof *y);
        double sum = 0;
        if (s % 7 == 3) memset(x, 0, (size_t)n * sizeof *x);
        c->k->rmsnorm(y, x, w, n, eps);
        for (int i = 0; i < n; i++) sum += (double)x[i] * x[i];
        for (int i = 0; i < n; i++) {
            double want = x[i] / sqrt(sum / n + eps) * w[i];
            if (fabs(y[i] - want) <= 0x1p-19 * fabs(want) + 1e-37) continue;
            check_fail(c, "n %d: element %d is %g, not %g", n, i, (double)y[i], want);
        }
        free(x);
        free(w);
        free(y);
    }
}

/* ---- rope: 2^-22 of |u| + |v| ---- */

static void check_rope(checker *c)
{
    for (int head_dim = 2; head_dim <= 260; head_dim += 2) {
        int half = head_dim / 2;
        float *x = check_floats(c, (size_t)head_dim, 1), *old = copy_of(x, (size_t)head_dim);
        float *cs = check_alloc((size_t)half * sizeof *cs), *sn = check_alloc((size_t)half * 4);
        for (int i = 0; i < half; i++) {
            float angle = check_normal(c) * 3;
            cs[i] = cosf(angle);
            sn[i] = sinf(angle);
        }
        c->k->rope(x, cs, sn, head_dim);
        for (int i = 0; i < half; i++) {
            double u = old[i], v = old[i + half], bound = 0x1p-22 * (fabs(u) + fabs(v));
            if (fabs(x[i] - (u * cs[i] - v * sn[i])) > bound ||
                fabs(x[i + half] - (v * cs[i] + u * sn[i])) > bound) {
                check_fail(c, "head_dim %d: pair %d", head_dim, i);
            }
        }
        free(x);
        free(old);
        free(cs);
        free(sn);
    }
}

/* ---- swiglu: 1e-6 of the value, 1e-36 near nothing; softmax: 4e-6 of the value and the rounding
 *      of x - max ---- */

static const float extremes[] = { 0.0f,    -0.0f,   88.0f,    -88.0f, 88.73f,  -88.73f, -103.0f,
                                  -104.5f, 1000.0f, -1000.0f, 1e-30f, -1e-30f, 1e37f,   -1e30f };
#define N_EXTREMES (int)(sizeof extremes / sizeof *extremes)

static void one_swiglu(checker *c, float *gate, float *up, int n, int in_place)
{
    float *kept = copy_of(gate, (size_t)n);
    float *y = in_place ? gate : check_alloc((size_t)n * sizeof *y);
    c->k->swiglu(y, gate, up, n);
    for (int i = 0; i < n; i++) {
        double g = kept[i], want = g / (1 + exp(-g)) * up[i];
        int good = isnan(want) ? isnan(y[i]) : fabs(y[i] - want) <= 1e-6 * fabs(want) + 1e-36;
        if (!good) check_fail(c, "n %d: of %g it is %g, not %g", n, g, (double)y[i], want);
    }
    if (!in_place) free(y);
    free(kept);
}

static void check_swiglu(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *gate = check_floats(c, (size_t)n, s % 2 ? 1 : 20),
              *up = check_floats(c, (size_t)n, 1);
        if (s % 5 == 0) gate[check_range(c, 0, n - 1)] = extremes[s / 5 % N_EXTREMES];
        if (s % 11 == 0) gate[check_range(c, 0, n - 1)] = NAN;
        one_swiglu(c, gate, up, n, s % 3 == 0);
        free(gate);
        free(up);
    }
    float gate[N_EXTREMES], up[N_EXTREMES];
    memcpy(gate, extremes, sizeof gate);
    for (int i = 0; i < N_EXTREMES; i++) up[i] = 1.0f;
    one_swiglu(c, gate, up, N_EXTREMES, 0);
}

static void one_softmax(checker *c, float *x, int n, const char *what)
{
    float *kept = copy_of(x, (size_t)n);
    double max = -INFINITY, sum = 0, total = 0;
    int nan = 0;
    for (int i = 0; i < n; i++) {
        nan |= isnan(kept[i]);
        if (kept[i] > max) max = kept[i];
    }
    for (int i = 0; i < n; i++) sum += exp(kept[i] - max);
    c->k->softmax(x, n);
    for (int i = 0; i < n; i++) {
        double d = kept[i] - max, want = exp(d) / sum;
        double bound = want * (4e-6 + fmin(fabs(d), 200) * 0x1p-23) + 1e-37;
        total += x[i];
        if (nan ? isnan(x[i]) : fabs(x[i] - want) <= bound) continue;
        check_fail(c, "%s, n %d: element %d is %g, not %g", what, n, i, (double)x[i], want);
    }
    if (!nan && fabs(total - 1) > 1e-5) check_fail(c, "%s, n %d: the sum is %g", what, n, total);
    free(kept);
}

static void check_softmax(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *x = check_floats(c, (size_t)n, s % 2 ? 2 : 40);
        one_softmax(c, x, n, "normal");
        for (int i = 0; i < n; i++) x[i] = check_normal(c) + 1e6f;
        for (int i = 1; i < n; i += 2) x[i] = -INFINITY;
        one_softmax(c, x, n, "half of it -inf");
        for (int i = 0; i < n; i++) x[i] = i ? -3e38f : 3e38f;
        one_softmax(c, x, n, "3e38");
        for (int i = 0; i < n; i++) x[i] = -1e5f;
        one_softmax(c, x, n, "all equal");
        for (int i = 0; i < n; i++) x[i] = check_normal(c) - 85.0f * (float)(i & 1);
        one_softmax(c, x, n, "near the smallest");
        x[check_range(c, 0, n - 1)] = NAN;
        one_softmax(c, x, n, "NaN");
        free(x);
    }
}

static void check_add(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *x = check_floats(c, (size_t)n, 1), *y = check_floats(c, (size_t)n, 1);
        float *old = copy_of(x, (size_t)n);
        c->k->add(x, y, n);
        for (int i = 0; i < n; i++) {
            float want = old[i] + y[i];
            if (memcmp(&want, &x[i], sizeof want)) check_fail(c, "n %d: element %d", n, i);
        }
        free(x);
        free(y);
        free(old);
    }
}

/* 1e-6 of the sizes */
static void check_add_scaled(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *x = check_floats(c, (size_t)n, 1), *y = check_floats(c, (size_t)n, 1),
              factor = check_normal(c);
        float *old = copy_of(y, (size_t)n);
        c->k->add_scaled(y, x, factor, n);
        for (int i = 0; i < n; i++) {
            const double product = (double)factor * (double)x[i], want = (double)old[i] + product;
            if (fabs((double)y[i] - want) > 1e-6 * (fabs((double)old[i]) + fabs(product)))
                check_fail(c, "n %d: element %d is %g, not %g", n, i, (double)y[i], want);
        }
        free(x);
        free(y);
        free(old);
    }
}

/* ---- sums of integers as floats: equal bits ---- */

static void check_scale_dots(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        float *scales = check_floats(c, (size_t)n, 1), *y = check_floats(c, (size_t)n, 1);
        int32_t *dots = check_alloc((size_t)n * sizeof *dots);
        const float factor = check_normal(c);
        for (int i = 0; i < n; i++) dots[i] = (int32_t)check_random(c) >> (s % 20);
        c->k->scale_dots(y, dots, scales, factor, n);
        for (int i = 0; i < n; i++) {
            const float want = (float)dots[i] * (scales[i] * factor);
            if (memcmp(&want, &y[i], sizeof want)) check_fail(c, "n %d: element %d", n, i);
        }
        free(scales);
        free(y);
        free(dots);
    }
}

/* ---- the quantizer: equal bits; the sums within 1e-5 of sums in f64 ---- */

static const int q_maxes[] = { 1, 4, 13, 40, 127 };

static void one_quant(checker *c, int n, int q_max, int weighted, float inv_scale)
{
    float *w = check_floats(c, (size_t)n, 1),
          *importance = weighted ? check_floats(c, (size_t)n, 1) : NULL;
    double wq, qq, wq_want, qq_want, wq_exact = 0, qq_exact = 0, size = 0;
    int8_t *q = check_alloc((size_t)n), *q_want = check_alloc((size_t)n);
    for (int i = 0; i < n && i % 5 == 0; i++)
        w[i] = ((float)check_range(c, -9, 9) + 0.5f) / inv_scale;
    for (int i = 0; weighted && i < n; i++) importance[i] *= importance[i];
    c->k->quant_moments(&wq, &qq, w, importance, n, inv_scale, q_max);
    c->k->quant_round(q, w, n, inv_scale, q_max);
    c->scalar->quant_moments(&wq_want, &qq_want, w, importance, n, inv_scale, q_max);
    c->scalar->quant_round(q_want, w, n, inv_scale, q_max);
    if (wq != wq_want || qq != qq_want) {
        check_fail(c, "n %d, q_max %d, weighted %d: sums %.17g %.17g, not %.17g %.17g", n, q_max,
                   weighted, wq, qq, wq_want, qq_want);
    }
    if (memcmp(q, q_want, (size_t)n)) check_fail(c, "n %d, q_max %d: other integers", n, q_max);
    for (int i = 0; i < n; i++) {
        double h = weighted ? importance[i] : 1, v = (double)w[i] * inv_scale;
        v = v > q_max ? q_max : v < -q_max ? -q_max : v;
        if (fabs(q[i] - v) > 0.5 + 1e-5) check_fail(c, "%g rounded to %d", v, q[i]);
        wq_exact += h * w[i] * q[i];
        qq_exact += h * q[i] * q[i];
        size += h * fabs((double)w[i] * q[i]);
    }
    if (fabs(wq - wq_exact) > 1e-5 * size || fabs(qq - qq_exact) > 1e-5 * qq_exact) {
        check_fail(c, "n %d, q_max %d: sums %g %g, exactly %g %g", n, q_max, wq, qq, wq_exact,
                   qq_exact);
    }
    free(w);
    free(importance);
    free(q);
    free(q_want);
}

static void check_quant(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) {
        for (int i = 0; i < 5; i++) {
            one_quant(c, n, q_maxes[i], (s + i) % 2, (float)q_maxes[i] / (0.5f + (float)(s % 7)));
        }
    }
}

const check_entry check_vector_entries[] = {
    { "hadamard", check_hadamard, { SLOT(hadamard) } },
    { "rmsnorm", check_rmsnorm, { SLOT(rmsnorm) } },
    { "rope", check_rope, { SLOT(rope) } },
    { "swiglu", check_swiglu, { SLOT(swiglu) } },
    { "softmax", check_softmax, { SLOT(softmax) } },
    { "add", check_add, { SLOT(add) } },
    { "add_scaled", check_add_scaled, { SLOT(add_scaled) } },
    { "scale_dots", check_scale_dots, { SLOT(scale_dots) } },
    { "quant", check_quant, { SLOT(quant_moments), SLOT(quant_round) } },
    { NULL, NULL, { 0 } },
};
