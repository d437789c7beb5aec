/* quantize.c - rows of a matrix -> rotated, scaled integers -> packed planes (docs/FORMAT.md 1.2).
 *
 * A row's scale and integers are fitted jointly by least squares: for a scale s the best integers
 * are q = round(w / s) cut to +-q_max, and for integers q the best scale is <w,q>/<q,q>, which
 * leaves the error <w,w> - <w,q>^2/<q,q>. We search s on a grid for the largest <w,q>^2/<q,q>,
 * then alternate the two steps (Lloyd 1982). Rows are independent, so the result does not depend
 * on the threads. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "planes.h"
#include "platform.h"
#include "rotation.h"

enum { ROWS = BC_GROUP_ROWS };

/* Best step of a uniform quantizer with 3, 9, 27, 81 levels for a Gaussian, over its deviation:
 * only the middle of the grid. */
static const float GAUSS_STEP[BC_MAX_PLANES + 1] = { 0.0f, 1.224f, 0.534f, 0.221f, 0.088f };

struct work {
    const bc_kernels *k;
    const bc_rotation *rotation;
    const uint8_t *weights;
    int dtype;
    size_t element; /* bytes */
    int64_t rows;
    int cols, n_planes, exact_scales;
    const float *importance;
    uint8_t *planes;
    int8_t *codes;
    float *scales;
    double *errors;   /* [groups, 2] */
    uint8_t *scratch; /* per thread */
    size_t scratch_bytes;
    const bc_cancel *cancel;
    atomic_llong bad_row; /* first row seen that is not finite, or -1 */
};

/* One thread's buffers: raw and rotated row, and five rows of integers. */
struct buffers {
    float *raw, *row;
    int8_t *q;
};

static size_t buffers_bytes(int cols)
{
    const size_t n = (size_t)cols;
    return (2 * n * sizeof(float) + ROWS * n + 63) / 64 * 64;
}

static struct buffers buffers_of(const struct work *w, int thread)
{
    uint8_t *p = w->scratch + (size_t)thread * w->scratch_bytes;
    const size_t n = (size_t)w->cols;
    return (struct buffers){ (float *)(void *)p, (float *)(void *)(p + n * sizeof(float)),
                             (int8_t *)(p + 2 * n * sizeof(float)) };
}

/* Loads and rotates row r; 0 when it holds a NaN or an infinity. */
static int load_row(struct work *w, struct buffers b, int64_t r)
{
    w->k->to_f32(b.raw, w->weights + (size_t)r * (size_t)w->cols * w->element, w->dtype,
                 (size_t)w->cols);
    float sum = 0.0f; /* x * 0 is NaN exactly for what is not finite */
    for (int c = 0; c < w->cols; c++) sum += b.raw[c] * 0.0f;
    if (sum != 0.0f || isnan(sum)) {
        long long none = -1;
        atomic_compare_exchange_strong(&w->bad_row, &none, (long long)r);
        return 0;
    }
    bc_rotation_apply(w->rotation, w->k, b.row, b.raw);
    return 1;
}

/* The error that step s would leave is <w,w> minus this; the best scale goes to *scale. */
static double gain_at(const struct work *w, const float *row, float s, int q_max, float *scale)
{
    double wq = 0.0, qq = 0.0;
    w->k->quant_moments(&wq, &qq, row, w->importance, w->cols, 1.0f / s, q_max);
    if (!(qq > 0.0) || !(wq > 0.0)) return 0.0;
    *scale = (float)(wq / qq);
    return wq * wq / qq;
}

/* Grid search around `middle`, finer around the best, then alternating steps. 0 for no scale. */
static float fit_scale(const struct work *w, const float *row, float middle, int q_max)
{
    enum { COARSE = 6, FINE = 4, ALTERNATE = 3 };
    double best = 0.0;
    float best_step = 0.0f, best_scale = 0.0f, scale = 0.0f;
    for (int i = -COARSE; i <= COARSE; i++) {
        const float step = middle * exp2f((float)i / 5.0f);
        const double gain = gain_at(w, row, step, q_max, &scale);
        if (gain > best) {
            best = gain;
            best_step = step;
            best_scale = scale;
        }
    }
    const float centre = best_step;
    for (int i = -FINE; i <= FINE; i++) {
        const float step = centre * exp2f((float)i / 25.0f);
        const double gain = gain_at(w, row, step, q_max, &scale);
        if (gain > best) {
            best = gain;
            best_scale = scale;
        }
    }
    for (int i = 0; i < ALTERNATE && best_scale > 0.0f; i++) {
        const double gain = gain_at(w, row, best_scale, q_max, &scale);
        if (!(gain > best)) break;
        best = gain;
        best_scale = scale;
    }
    return best_scale;
}

static float to_f16_and_back(const bc_kernels *k, float x)
{
    uint16_t h;
    float y;
    k->f32_to_f16(&h, &x, 1);
    k->to_f32(&y, &h, BC_F16, 1);
    return y;
}

/* Rounds the row with its final scale and adds up its error. */
static void finish_row(const struct work *w, const float *row, float scale, int q_max, int8_t *q,
                       double *error)
{
    const float inv = scale > 0.0f ? 1.0f / scale : 0.0f;
    if (scale > 0.0f && isfinite(inv))
        w->k->quant_round(q, row, w->cols, inv, q_max);
    else
        memset(q, 0, (size_t)w->cols);
    for (int c = 0; c < w->cols; c++) {
        const double difference = (double)row[c] - (double)scale * q[c];
        error[0] += difference * difference;
        error[1] += (double)row[c] * row[c];
    }
}

static void planes_row(const struct work *w, struct buffers b, int64_t r, int8_t *q, double *error)
{
    double square = 0.0;
    for (int c = 0; c < w->cols; c++) square += (double)b.row[c] * b.row[c];
    const int q_max = BC_Q_MAX[w->n_planes];
    const float deviation = (float)sqrt(square / w->cols);
    float scale = 0.0f;
    if (deviation > 0.0f) scale = fit_scale(w, b.row, deviation * GAUSS_STEP[w->n_planes], q_max);
    if (!w->exact_scales) scale = to_f16_and_back(w->k, scale);
    if (!isfinite(scale)) scale = 0.0f;
    w->scales[r] = scale;
    finish_row(w, b.row, scale, q_max, q, error);
}

static void planes_group(void *arg, int64_t group, int thread)
{
    struct work *w = arg;
    if (bc_cancelled(w->cancel)) return;
    const struct buffers b = buffers_of(w, thread);
    const int8_t *rows[ROWS];
    for (int i = 0; i < ROWS; i++) {
        const int64_t r = group * ROWS + i;
        int8_t *q = b.q + (size_t)i * (size_t)w->cols;
        rows[i] = q;
        memset(q, 0, (size_t)w->cols);
        if (r < w->rows && load_row(w, b, r)) planes_row(w, b, r, q, w->errors + 2 * group);
    }
    bc_pack_group(w->planes, w->n_planes, (w->rows + ROWS - 1) / ROWS, group, w->cols, rows);
}

static void int8_row(void *arg, int64_t r, int thread)
{
    struct work *w = arg;
    if (bc_cancelled(w->cancel)) return;
    const struct buffers b = buffers_of(w, thread);
    if (!load_row(w, b, r)) return;
    float top = 0.0f;
    for (int c = 0; c < w->cols; c++) top = fmaxf(top, fabsf(b.row[c]));
    const float scale = top / 127.0f;
    w->scales[r] = scale;
    finish_row(w, b.row, scale, 127, w->codes + (size_t)r * (size_t)w->cols, w->errors + 2 * r);
}

static int check_matrix(const bc_engine *engine, const void *weights, int dtype, int64_t rows,
                        int64_t cols, const float *scales, const double *error, bc_error *err)
{
    if (!engine || !weights || !scales || !error)
        return bc_fail(err, BC_ERR_INVALID, "engine, weights, scales or error is NULL");
    if (dtype < BC_F32 || dtype > BC_BF16)
        return bc_fail(err, BC_ERR_INVALID, "dtype is %d, must be 0 to 2", dtype);
    if (rows < 1 || rows > INT32_MAX || cols < 1 || cols > 1 << 20)
        return bc_fail(err, BC_ERR_INVALID, "a matrix of %lld x %lld cannot be quantized",
                       (long long)rows, (long long)cols);
    return BC_OK;
}

/* Runs `item` over n_items and adds their errors up in order. */
static int quantize(bc_engine *engine, struct work *w, uint64_t seed, bc_pool_fn item,
                    int64_t n_items, double *error, bc_error *err)
{
    bc_rotation rotation;
    int status = bc_rotation_init(&rotation, w->cols, seed, err);
    if (status != BC_OK) return status;
    w->k = &engine->k;
    w->rotation = &rotation;
    w->element = w->dtype == BC_F32 ? 4 : 2;
    w->scratch_bytes = buffers_bytes(w->cols);
    w->scratch = bc_aligned_alloc(w->scratch_bytes * (size_t)bc_pool_size(engine->pool));
    w->errors = calloc((size_t)n_items, 2 * sizeof *w->errors);
    atomic_init(&w->bad_row, -1);
    if (!w->scratch || !w->errors) {
        status = bc_fail(err, BC_ERR_NOMEM, "no memory to quantize rows of %d", w->cols);
    } else {
        bc_pool_run(engine->pool, item, w, n_items);
        error[0] = error[1] = 0.0;
        for (int64_t i = 0; i < n_items; i++) {
            error[0] += w->errors[2 * i];
            error[1] += w->errors[2 * i + 1];
        }
        const long long bad = atomic_load(&w->bad_row);
        if (bc_cancelled(w->cancel))
            status = bc_fail(err, BC_ERR_CANCELLED, "quantizing was cancelled");
        else if (bad >= 0)
            status = bc_fail(err, BC_ERR_FORMAT, "row %lld holds a NaN or an infinity", bad);
    }
    bc_aligned_free(w->scratch);
    free(w->errors);
    bc_rotation_free(&rotation);
    return status;
}

int bc_quantize_planes(bc_engine *engine, const void *weights, int32_t dtype, int64_t rows,
                       int64_t cols, uint64_t seed, int32_t n_planes, const float *importance,
                       int32_t exact_scales, uint8_t *planes, float *scales, double *error,
                       const bc_cancel *cancel, bc_error *err)
{
    const int status = check_matrix(engine, weights, dtype, rows, cols, scales, error, err);
    if (status != BC_OK) return status;
    if (!planes) return bc_fail(err, BC_ERR_INVALID, "planes is NULL");
    if (n_planes < 1 || n_planes > BC_MAX_PLANES)
        return bc_fail(err, BC_ERR_INVALID, "n_planes is %d, must be 1 to %d", n_planes,
                       BC_MAX_PLANES);
    struct work w = { .weights = weights,
                      .dtype = dtype,
                      .rows = rows,
                      .cols = (int)cols,
                      .n_planes = n_planes,
                      .exact_scales = exact_scales,
                      .importance = importance,
                      .planes = planes,
                      .scales = scales,
                      .cancel = cancel };
    return quantize(engine, &w, seed, planes_group, (rows + ROWS - 1) / ROWS, error, err);
}

int bc_quantize_int8(bc_engine *engine, const void *weights, int32_t dtype, int64_t rows,
                     int64_t cols, uint64_t seed, int8_t *codes, float *scales, double *error,
                     const bc_cancel *cancel, bc_error *err)
{
    const int status = check_matrix(engine, weights, dtype, rows, cols, scales, error, err);
    if (status != BC_OK) return status;
    if (!codes) return bc_fail(err, BC_ERR_INVALID, "codes is NULL");
    struct work w = { .weights = weights,
                      .dtype = dtype,
                      .rows = rows,
                      .cols = (int)cols,
                      .codes = codes,
                      .scales = scales,
                      .cancel = cancel };
    return quantize(engine, &w, seed, int8_row, rows, error, err);
}
