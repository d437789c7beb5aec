/* calibrate.c - the two inner loops of calibrated quantizing (docs/MODEL.md), on one block of
 * columns: GPTQ (Frantar et al. 2022) and coordinate descent. Rows are independent: sixteen of them
 * lie in the lanes of a tile (kernels.h), so neither threads nor the ISA change a bit. */
#include <math.h>
#include <stdatomic.h>

#include "engine.h"
#include "error.h"
#include "platform.h"

enum { MAX_COLS = 1024, MAX_Q = 127, LANES = BC_TILE_ROWS, TILES = 3 };

/* Both passes read x and m, write x, q and out; GPTQ does not read q. */
struct work {
    const bc_kernels *k;
    void (*pass)(float *x, float *q, float *out, const struct work *w, const float *scales);
    float *x; /* w or r, rows x_stride apart */
    size_t x_stride;
    int8_t *q;
    size_t q_stride;
    float *out;     /* errors or delta [rows, cols] */
    const float *m; /* u or h [cols, cols] */
    const float *scales;
    int64_t rows;
    int cols, q_max, reads_q;
    float *scratch;       /* [threads, TILES, cols, LANES] */
    atomic_llong bad_row; /* a row that came out not finite, or -1 */
};

static void gptq_pass(float *x, float *q, float *out, const struct work *w, const float *scales)
{
    w->k->gptq_tile(x, out, q, w->m, scales, w->cols, w->q_max);
}

static void descent_pass(float *x, float *q, float *out, const struct work *w, const float *scales)
{
    w->k->descent_tile(x, q, out, w->m, scales, w->cols, w->q_max);
}

/* Integers cross between tiles and rows as floats; `rows` f32 [LANES, cols] is work space. */
static void integers_in(const struct work *w, float *tile, float *rows, int64_t first, int n)
{
    for (int i = 0; i < n; i++) {
        const int8_t *q = w->q + (size_t)(first + i) * w->q_stride;
        for (int c = 0; c < w->cols; c++) rows[i * w->cols + c] = q[c];
    }
    w->k->tile_in(tile, rows, (size_t)w->cols, n, w->cols);
}

static void integers_out(const struct work *w, const float *tile, float *rows, int64_t first, int n)
{
    w->k->tile_out(rows, (size_t)w->cols, tile, n, w->cols);
    for (int i = 0; i < n; i++) {
        int8_t *q = w->q + (size_t)(first + i) * w->q_stride;
        for (int c = 0; c < w->cols; c++) q[c] = (int8_t)rows[i * w->cols + c];
    }
}

/* x * 0 is NaN exactly for what is not finite; a lane that has such a value, or -1 */
static int bad_lane(const float *tile, int cols)
{
    float sum[LANES] = { 0.0f };
    for (int c = 0; c < cols; c++)
        for (int i = 0; i < LANES; i++) sum[i] += tile[c * LANES + i] * 0.0f;
    for (int i = 0; i < LANES; i++)
        if (sum[i] != 0.0f) return i;
    return -1;
}

static void tile_item(void *arg, int64_t item, int thread)
{
    struct work *w = arg;
    const size_t size = (size_t)w->cols * LANES;
    float *x = w->scratch + (size_t)thread * TILES * size, *q = x + size, *out = q + size;
    const int64_t first = item * LANES;
    const int n = (int)(w->rows - first < LANES ? w->rows - first : LANES);
    float scales[LANES] = { 0.0f };
    for (int i = 0; i < n; i++) scales[i] = w->scales[first + i];
    float *rows_x = w->x + (size_t)first * w->x_stride;
    w->k->tile_in(x, rows_x, w->x_stride, n, w->cols);
    if (w->reads_q) integers_in(w, q, out, first, n);
    w->pass(x, q, out, w, scales);
    int bad = bad_lane(x, w->cols);
    if (bad < 0) bad = bad_lane(out, w->cols);
    if (bad >= 0) {
        long long none = -1;
        atomic_compare_exchange_strong(&w->bad_row, &none, (long long)(first + bad));
        return;
    }
    w->k->tile_out(rows_x, w->x_stride, x, n, w->cols);
    w->k->tile_out(w->out + (size_t)first * (size_t)w->cols, (size_t)w->cols, out, n, w->cols);
    integers_out(w, q, out, first, n);
}

static int check(const bc_engine *engine, const struct work *w, int64_t x_stride, int64_t q_stride,
                 const char *matrix, bc_error *err)
{
    if (!engine || !w->x || !w->m || !w->scales || !w->q || !w->out)
        return bc_fail(err, BC_ERR_INVALID, "engine or an array is NULL");
    if (w->cols < 1 || w->cols > MAX_COLS || w->rows < 0 || w->rows > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "a block of %lld x %d: must be 1 to %d columns",
                       (long long)w->rows, w->cols, MAX_COLS);
    if (x_stride < w->cols || q_stride < w->cols || x_stride > INT32_MAX || q_stride > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "rows of %d columns cannot be %lld or %lld apart",
                       w->cols, (long long)x_stride, (long long)q_stride);
    if (w->q_max < 1 || w->q_max > MAX_Q)
        return bc_fail(err, BC_ERR_INVALID, "q_max is %d, must be 1 to %d", w->q_max, MAX_Q);
    for (int j = 0; j < w->cols; j++) {
        const float pivot = w->m[(size_t)j * (size_t)w->cols + (size_t)j];
        if (!(pivot > 0.0f) || !isfinite(pivot))
            return bc_fail(err, BC_ERR_INVALID, "%s[%d][%d] is %g, must be positive and finite",
                           matrix, j, j, (double)pivot);
    }
    for (int64_t r = 0; r < w->rows; r++)
        if (!(w->scales[r] >= 0.0f) || !isfinite(w->scales[r]))
            return bc_fail(err, BC_ERR_INVALID, "the scale of row %lld is %g, must be 0 or more",
                           (long long)r, (double)w->scales[r]);
    return BC_OK;
}

static int run(bc_engine *engine, struct work *w, bc_error *err)
{
    const size_t threads = (size_t)bc_pool_size(engine->pool);
    w->k = &engine->k;
    w->scratch = bc_aligned_alloc(threads * TILES * (size_t)w->cols * LANES * sizeof *w->scratch);
    if (!w->scratch)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for tiles of %d columns", w->cols);
    atomic_init(&w->bad_row, -1);
    bc_pool_run(engine->pool, tile_item, w, (w->rows + LANES - 1) / LANES);
    bc_aligned_free(w->scratch);
    const long long bad = atomic_load(&w->bad_row);
    if (bad >= 0)
        return bc_fail(err, BC_ERR_INVALID, "row %lld holds or gives a NaN or an infinity", bad);
    return BC_OK;
}

int bc_gptq_block(bc_engine *engine, float *w, int64_t w_stride, const float *u,
                  const float *scales, int32_t q_max, int8_t *q, int64_t q_stride, float *errors,
                  int64_t rows, int32_t cols, bc_error *err)
{
    struct work work = { .pass = gptq_pass,
                         .x = w,
                         .x_stride = (size_t)w_stride,
                         .q = q,
                         .q_stride = (size_t)q_stride,
                         .out = errors,
                         .m = u,
                         .scales = scales,
                         .rows = rows,
                         .cols = cols,
                         .q_max = q_max };
    const int status = check(engine, &work, w_stride, q_stride, "u", err);
    return status != BC_OK ? status : run(engine, &work, err);
}

int bc_descent_block(bc_engine *engine, float *r, int64_t r_stride, const float *h,
                     const float *scales, int32_t q_max, int8_t *q, int64_t q_stride, float *delta,
                     int64_t rows, int32_t cols, bc_error *err)
{
    struct work work = { .pass = descent_pass,
                         .x = r,
                         .x_stride = (size_t)r_stride,
                         .q = q,
                         .q_stride = (size_t)q_stride,
                         .out = delta,
                         .m = h,
                         .scales = scales,
                         .rows = rows,
                         .cols = cols,
                         .q_max = q_max,
                         .reads_q = 1 };
    const int status = check(engine, &work, r_stride, q_stride, "h", err);
    return status != BC_OK ? status : run(engine, &work, err);
}
