/* checkasm_tiles.c - the kernels of calibrated quantizing: equal bits, and what they promise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"
#include "platform.h"

enum { LANES = BC_TILE_ROWS };

/* A tile, aligned as the contract says and with a guard behind it that is checked when freed. */
typedef struct tile {
    float *x;
    int cols;
} tile;

enum { GUARD = 16 };

static tile tile_new(int cols)
{
    tile t = { bc_aligned_alloc(((size_t)cols * LANES + GUARD) * sizeof(float)), cols };
    if (!t.x) abort();
    memset(t.x, 0xa5, ((size_t)cols * LANES + GUARD) * sizeof *t.x);
    return t;
}

static tile tile_copy(tile from)
{
    tile t = tile_new(from.cols);
    memcpy(t.x, from.x, (size_t)from.cols * LANES * sizeof *t.x);
    return t;
}

static void tile_free(checker *c, tile t)
{
    const unsigned char *guard = (const unsigned char *)(t.x + (size_t)t.cols * LANES);
    for (size_t i = 0; i < GUARD * sizeof(float); i++) {
        if (guard[i] != 0xa5) check_fail(c, "%d columns: wrote behind the tile", t.cols);
    }
    bc_aligned_free(t.x);
}

static void tile_same(checker *c, const char *what, tile got, tile want)
{
    if (memcmp(got.x, want.x, (size_t)got.cols * LANES * sizeof *got.x))
        check_fail(c, "%d columns: %s has other bits", got.cols, what);
}

/* ---- in and out ---- */

static void one_transpose(checker *c, int rows, int cols, int gap)
{
    const size_t stride = (size_t)(cols + gap), n = (size_t)(rows - 1) * stride + (size_t)cols;
    float *x = check_alloc(n * sizeof *x), *y = check_alloc(n * sizeof *y);
    for (size_t i = 0; i < n; i++) x[i] = check_normal(c);
    memcpy(y, x, n * sizeof *y);
    tile t = tile_new(cols);
    c->k->tile_in(t.x, x, stride, rows, cols);
    for (int k = 0; k < cols; k++) {
        for (int i = 0; i < LANES; i++) {
            const float want = i < rows ? x[(size_t)i * stride + (size_t)k] : 0.0f;
            if (memcmp(&want, &t.x[k * LANES + i], sizeof want))
                check_fail(c, "in, %d x %d: row %d, column %d", rows, cols, i, k);
        }
    }
    for (int k = 0; k < cols * LANES; k++) t.x[k] += 1.0f;
    c->k->tile_out(y, stride, t.x, rows, cols);
    for (size_t i = 0; i < n; i++) {
        const float want = i % stride < (size_t)cols ? x[i] + 1.0f : x[i]; /* gaps stay */
        if (memcmp(&want, &y[i], sizeof want))
            check_fail(c, "out, %d x %d: element %d", rows, cols, (int)i);
    }
    tile_free(c, t);
    free(x);
    free(y);
}

static void check_transpose(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 1024; s++) {
        one_transpose(c, LANES, n, 0);
        one_transpose(c, check_range(c, 1, LANES), n, check_range(c, 0, 9));
    }
}

/* ---- GPTQ ---- */

static const int q_maxes[] = { 1, 4, 13, 40, 127 };

struct pass {
    tile x, q, out; /* w, integers, errors */
    float *m;       /* u [cols, cols] */
    float scales[LANES];
};

/* Values that land on ties, on the ends of the range and on zeros now and then. */
static struct pass pass_new(checker *c, int cols, int q_max)
{
    struct pass p = { tile_new(cols),
                      tile_new(cols),
                      tile_new(cols),
                      check_alloc((size_t)cols * (size_t)cols * sizeof(float)),
                      { 0 } };
    for (int i = 0; i < LANES; i++)
        p.scales[i] = check_range(c, 0, 9) ? fabsf(check_normal(c)) * 0.1f + 0.01f : 0.0f;
    for (int k = 0; k < cols; k++) {
        for (int i = 0; i < LANES; i++) {
            const int q = check_range(c, -q_max, q_max);
            float v = check_normal(c) * 0.5f;
            if (check_range(c, 0, 7) == 0) v = ((float)q + 0.5f) * p.scales[i];
            p.x.x[k * LANES + i] = check_range(c, 0, 15) ? v : 0.0f;
        }
    }
    const float size = 0.3f / sqrtf((float)cols);
    for (int j = 0; j < cols; j++) {
        for (int k = 0; k < j; k++) {
            float *a = &p.m[(size_t)j * (size_t)cols + (size_t)k];
            *a = p.m[(size_t)k * (size_t)cols + (size_t)j] = size * check_normal(c);
        }
        p.m[(size_t)j * (size_t)cols + (size_t)j] = 0.5f + fabsf(check_normal(c));
    }
    return p;
}

static struct pass pass_copy(const struct pass *p)
{
    struct pass copy = *p;
    copy.x = tile_copy(p->x);
    copy.q = tile_new(p->q.cols);
    copy.out = tile_new(p->out.cols);
    return copy;
}

static void pass_free(checker *c, struct pass *p)
{
    tile_free(c, p->x);
    tile_free(c, p->q);
    tile_free(c, p->out);
}

/* Runs both tables on the same numbers, and compares with an f64 sum of what was promised. */
static void one_pass(checker *c, int cols, int q_max)
{
    struct pass start = pass_new(c, cols, q_max), got = pass_copy(&start), want = pass_copy(&start);
    c->k->gptq_tile(got.x.x, got.out.x, got.q.x, start.m, start.scales, cols, q_max);
    c->scalar->gptq_tile(want.x.x, want.out.x, want.q.x, start.m, start.scales, cols, q_max);
    tile_same(c, "the remainder", got.x, want.x);
    tile_same(c, "the output", got.out, want.out);
    tile_same(c, "the integers", got.q, want.q);
    for (int k = 0; k < cols; k++) {
        for (int i = 0; i < LANES; i++) {
            double x = start.x.x[k * LANES + i], size = fabs(x);
            for (int j = 0; j < k; j++) {
                const double term = (double)got.out.x[j * LANES + i] *
                                    (double)start.m[(size_t)j * (size_t)cols + (size_t)k];
                x -= term;
                size += fabs(term);
            }
            const float integer = got.q.x[k * LANES + i];
            if (fabs(got.x.x[k * LANES + i] - x) > 1e-5 * size + 1e-30)
                check_fail(c, "%d columns: remainder %g, not %g", cols,
                           (double)got.x.x[k * LANES + i], x);
            if (integer != rintf(integer) || fabsf(integer) > (float)q_max)
                check_fail(c, "%d columns: integer %g", cols, (double)integer);
            if (start.scales[i] == 0.0f && integer != 0.0f)
                check_fail(c, "%d columns: a scale of 0 gives %g", cols, (double)integer);
        }
    }
    pass_free(c, &got);
    pass_free(c, &want);
    free(start.m);
    pass_free(c, &start);
}

static void check_gptq(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 600; s++) one_pass(c, n, q_maxes[s % 5]);
    for (int i = 0; i < 5; i++) one_pass(c, 128, q_maxes[i]);
}

/* ---- descent ---- */

/* One row: `near` of its integers are what they come out as already, so that most blocks of columns stay as they are. */
static void one_descent(checker *c, int cols, int q_max, float scale, int near)
{
    const size_t n = (size_t)cols;
    float *h = check_alloc(n * n * sizeof *h), *diagonal = check_alloc(n * sizeof *diagonal);
    float *wh = check_alloc(n * sizeof *wh), *start = check_alloc(n * sizeof *start);
    float *got = check_alloc(n * sizeof *got), *want = check_alloc(n * sizeof *want);
    int8_t *q = check_alloc(n), *got_q = check_alloc(n), *want_q = check_alloc(n);
    const float size = 0.3f / sqrtf((float)cols);
    for (int j = 0; j < cols; j++) {
        for (int k = 0; k < j; k++)
            h[(size_t)j * n + (size_t)k] = h[(size_t)k * n + (size_t)j] = size * check_normal(c);
        diagonal[j] = h[(size_t)j * n + (size_t)j] = 0.5f + fabsf(check_normal(c));
        q[j] = (int8_t)check_range(c, -q_max, q_max);
        start[j] = check_normal(c);
        /* a step of the integer that wh asks for: none, one that a tie decides, or any */
        const float wish = check_range(c, 1, 100) <= near ? 0.0f
                           : check_range(c, 0, 3)         ? 3.0f * check_normal(c)
                                                          : 0.5f;
        wh[j] = scale * start[j] + wish * scale * diagonal[j];
    }
    memcpy(got, start, n * sizeof *got);
    memcpy(want, start, n * sizeof *want);
    memcpy(got_q, q, n);
    memcpy(want_q, q, n);
    c->k->descend(got, got_q, wh, h, diagonal, scale, cols, q_max);
    c->scalar->descend(want, want_q, wh, h, diagonal, scale, cols, q_max);
    if (memcmp(got_q, want_q, n)) check_fail(c, "%d columns: other integers", cols);
    if (memcmp(got, want, n * sizeof *got)) check_fail(c, "%d columns: q H has other bits", cols);
    int changed = 0;
    for (int j = 0; j < cols; j++) {
        changed += got_q[j] != q[j];
        if (got_q[j] < -q_max || got_q[j] > q_max)
            check_fail(c, "%d columns: integer %d", cols, got_q[j]);
    }
    if (scale == 0.0f && changed) check_fail(c, "%d columns: a scale of 0 changes some", cols);
    for (int k = 0; k < cols; k++) {
        double x = start[k], sum = fabs(x);
        for (int j = 0; j < cols; j++) {
            const double term = (double)(got_q[j] - q[j]) * (double)h[(size_t)j * n + (size_t)k];
            x += term;
            sum += fabs(term);
        }
        if (fabs(got[k] - x) > 1e-5 * sum + 1e-30)
            check_fail(c, "%d columns: q H %g, not %g", cols, (double)got[k], x);
    }
    void *all[] = { h, diagonal, wh, start, got, want, q, got_q, want_q };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void check_descent(checker *c)
{
    for (int s = 0, n; (n = check_size(s)) && n <= 600; s++) {
        one_descent(c, n, q_maxes[s % 5], 0.01f + fabsf(check_normal(c)), s % 3 * 50);
        one_descent(c, n, q_maxes[s % 5], 0.0f, 0);
    }
}

const check_entry check_tile_entries[] = {
    { "tile in and out", check_transpose, { SLOT(tile_in), SLOT(tile_out) } },
    { "gptq", check_gptq, { SLOT(gptq_tile) } },
    { "descent", check_descent, { SLOT(descend) } },
    { NULL, NULL, { 0 } },
};
