/* calibrate.c - the two inner loops of calibrated quantizing (docs/MODEL.md): GPTQ (Frantar et al. 2022) on a block of
 * columns, sixteen rows in the lanes of a tile (kernels.h), and coordinate descent row by row. Rows are independent, so
 * neither threads nor the ISA change a bit. */
#include <math.h>
#include <stdatomic.h>

#include "engine.h"
#include "error.h"
#include "platform.h"

enum {
    MAX_COLS = 1024,
    MAX_Q = 127,
    LANES = BC_TILE_ROWS,
    TILES = 3,
    MOST_COLS = 1 << 20,
    SUMS = 3
};

struct gptq {
    const bc_kernels *k;
    float *w; /* rows w_stride apart */
    size_t w_stride;
    const float *u; /* [cols, cols] */
    const float *scales;
    int8_t *q;
    size_t q_stride;
    float *errors; /* [rows, cols] */
    int64_t rows;
    int cols, q_max;
    float *scratch;       /* [threads, TILES, cols, LANES] */
    atomic_llong bad_row; /* a row that came out not finite, or -1 */
};

struct descent {
    const bc_kernels *k;
    const float *w, *wh;
    float *qh; /* rows of all three `stride` apart */
    size_t stride;
    const float *h; /* [cols, cols] */
    const float *scales;
    int8_t *q;
    size_t q_stride;
    int cols, q_max;
    double *sums;    /* [rows, SUMS] */
    float *diagonal; /* of h, [cols] */
    atomic_llong bad_row;
};

/* ---- what both refuse ---- */

static int check_shape(int64_t rows, int32_t cols, int32_t most, int64_t stride, int64_t q_stride,
                       int32_t q_max, bc_error *err)
{
    if (cols < 1 || cols > most || rows < 0 || rows > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "a block of %lld x %d: must be 1 to %d columns",
                       (long long)rows, cols, most);
    if (stride < cols || q_stride < cols || stride > INT32_MAX || q_stride > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "rows of %d columns cannot be %lld or %lld apart", cols,
                       (long long)stride, (long long)q_stride);
    if (q_max < 1 || q_max > MAX_Q)
        return bc_fail(err, BC_ERR_INVALID, "q_max is %d, must be 1 to %d", q_max, MAX_Q);
    return BC_OK;
}

static int check_values(const float *matrix, const char *name, int32_t cols, const float *scales,
                        int64_t rows, bc_error *err)
{
    for (int j = 0; j < cols; j++) {
        const float pivot = matrix[(size_t)j * (size_t)cols + (size_t)j];
        if (!(pivot > 0.0f) || !isfinite(pivot))
            return bc_fail(err, BC_ERR_INVALID, "%s[%d][%d] is %g, must be positive and finite",
                           name, j, j, (double)pivot);
    }
    for (int64_t r = 0; r < rows; r++)
        if (!(scales[r] >= 0.0f) || !isfinite(scales[r]))
            return bc_fail(err, BC_ERR_INVALID, "the scale of row %lld is %g, must be 0 or more",
                           (long long)r, (double)scales[r]);
    return BC_OK;
}

static void bad(atomic_llong *row, int64_t found)
{
    long long none = -1;
    atomic_compare_exchange_strong(row, &none, (long long)found);
}

static int outcome(atomic_llong *row, bc_error *err)
{
    const long long found = atomic_load(row);
    if (found >= 0)
        return bc_fail(err, BC_ERR_INVALID, "row %lld holds or gives a NaN or an infinity", found);
    return BC_OK;
}

/* ---- GPTQ ---- */

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

static void gptq_item(void *arg, int64_t item, int thread)
{
    struct gptq *g = arg;
    const size_t size = (size_t)g->cols * LANES;
    float *w = g->scratch + (size_t)thread * TILES * size, *integers = w + size;
    float *errors = integers + size;
    const int64_t first = item * LANES;
    const int n = (int)(g->rows - first < LANES ? g->rows - first : LANES);
    float scales[LANES] = { 0.0f };
    for (int i = 0; i < n; i++) scales[i] = g->scales[first + i];
    float *rows = g->w + (size_t)first * g->w_stride;
    g->k->tile_in(w, rows, g->w_stride, n, g->cols);
    g->k->gptq_tile(w, errors, integers, g->u, scales, g->cols, g->q_max);
    int lane = bad_lane(w, g->cols);
    if (lane < 0) lane = bad_lane(errors, g->cols);
    if (lane >= 0) {
        bad(&g->bad_row, first + lane);
        return;
    }
    g->k->tile_out(rows, g->w_stride, w, n, g->cols);
    g->k->tile_out(g->errors + (size_t)first * (size_t)g->cols, (size_t)g->cols, errors, n,
                   g->cols);
    g->k->tile_out(w, (size_t)g->cols, integers, n, g->cols);
    for (int i = 0; i < n; i++) {
        int8_t *q = g->q + (size_t)(first + i) * g->q_stride;
        for (int c = 0; c < g->cols; c++) q[c] = (int8_t)w[i * g->cols + c];
    }
}

int bc_gptq_block(bc_engine *engine, float *w, int64_t w_stride, const float *u,
                  const float *scales, int32_t q_max, int8_t *q, int64_t q_stride, float *errors,
                  int64_t rows, int32_t cols, bc_error *err)
{
    if (!engine || !w || !u || !scales || !q || !errors)
        return bc_fail(err, BC_ERR_INVALID, "engine or an array is NULL");
    int status = check_shape(rows, cols, MAX_COLS, w_stride, q_stride, q_max, err);
    if (status == BC_OK) status = check_values(u, "u", cols, scales, rows, err);
    if (status != BC_OK) return status;
    struct gptq g = { .k = &engine->k,
                      .w = w,
                      .w_stride = (size_t)w_stride,
                      .u = u,
                      .scales = scales,
                      .q = q,
                      .q_stride = (size_t)q_stride,
                      .errors = errors,
                      .rows = rows,
                      .cols = cols,
                      .q_max = q_max };
    const size_t threads = (size_t)bc_pool_size(engine->pool);
    g.scratch = bc_aligned_alloc(threads * TILES * (size_t)cols * LANES * sizeof *g.scratch);
    if (!g.scratch) return bc_fail(err, BC_ERR_NOMEM, "no memory for tiles of %d columns", cols);
    atomic_init(&g.bad_row, -1);
    bc_pool_run(engine->pool, gptq_item, &g, (rows + LANES - 1) / LANES);
    bc_aligned_free(g.scratch);
    return outcome(&g.bad_row, err);
}

/* ---- descent ---- */

/* Sixteen sums beside each other: one alone would wait for itself. */
static int all_finite(const float *x, int n)
{
    float sum[LANES] = { 0.0f };
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int i = 0; i < LANES; i++) sum[i] += x[j + i] * 0.0f;
    for (; j < n; j++) sum[0] += x[j] * 0.0f;
    for (int i = 0; i < LANES; i++)
        if (sum[i] != 0.0f) return 0;
    return 1;
}

/* A sum is made in so many parts, so that it depends neither on the compiler nor on its vectors. */
enum { PARTS = 4 };

struct parts {
    double cost[PARTS], slope[PARTS], curve[PARTS];
};

static inline void add_column(struct parts *p, int part, float w, float wh, float qh, float integer,
                              float scale)
{
    const float e = w - scale * integer, he = wh - scale * qh;
    p->cost[part] += (double)e * (double)he;
    p->slope[part] += (double)integer * (double)he;
    p->curve[part] += (double)integer * (double)qh;
}

/* sums += e' H e, q' H e, q' H q of a row */
static void add_sums(double *sums, const float *w, const float *wh, const float *qh,
                     const int8_t *q, float scale, int cols)
{
    struct parts p = { { 0.0 }, { 0.0 }, { 0.0 } };
    int j = 0;
    for (; j + PARTS <= cols; j += PARTS)
        for (int i = 0; i < PARTS; i++)
            add_column(&p, i, w[j + i], wh[j + i], qh[j + i], q[j + i], scale);
    for (int i = 0; j + i < cols; i++)
        add_column(&p, i, w[j + i], wh[j + i], qh[j + i], q[j + i], scale);
    for (int i = 0; i < PARTS; i++) {
        sums[0] += p.cost[i];
        sums[1] += p.slope[i];
        sums[2] += p.curve[i];
    }
}

static void descent_item(void *arg, int64_t item, int thread)
{
    (void)thread;
    struct descent *d = arg;
    const float *w = d->w + (size_t)item * d->stride, *wh = d->wh + (size_t)item * d->stride;
    float *qh = d->qh + (size_t)item * d->stride;
    int8_t *q = d->q + (size_t)item * d->q_stride;
    d->k->descend(qh, q, wh, d->h, d->diagonal, d->scales[item], d->cols, d->q_max);
    add_sums(d->sums + item * SUMS, w, wh, qh, q, d->scales[item], d->cols);
    if (!all_finite(w, d->cols) || !all_finite(wh, d->cols) || !all_finite(qh, d->cols))
        bad(&d->bad_row, item);
}

int bc_descent(bc_engine *engine, const float *w, const float *wh, float *qh, int64_t stride,
               const float *h, const float *scales, int32_t q_max, int8_t *q, int64_t q_stride,
               double *sums, int64_t rows, int32_t cols, bc_error *err)
{
    if (!engine || !w || !wh || !qh || !h || !scales || !q || !sums)
        return bc_fail(err, BC_ERR_INVALID, "engine or an array is NULL");
    int status = check_shape(rows, cols, MOST_COLS, stride, q_stride, q_max, err);
    if (status == BC_OK) status = check_values(h, "h", cols, scales, rows, err);
    if (status != BC_OK) return status;
    struct descent d = { .k = &engine->k,
                         .w = w,
                         .wh = wh,
                         .qh = qh,
                         .stride = (size_t)stride,
                         .h = h,
                         .scales = scales,
                         .q = q,
                         .q_stride = (size_t)q_stride,
                         .cols = cols,
                         .q_max = q_max,
                         .sums = sums };
    d.diagonal = bc_aligned_alloc((size_t)cols * sizeof *d.diagonal);
    if (!d.diagonal) return bc_fail(err, BC_ERR_NOMEM, "no memory for %d columns", cols);
    for (int j = 0; j < cols; j++) d.diagonal[j] = h[(size_t)j * (size_t)cols + (size_t)j];
    atomic_init(&d.bad_row, -1);
    bc_pool_run(engine->pool, descent_item, &d, rows);
    bc_aligned_free(d.diagonal);
    return outcome(&d.bad_row, err);
}
