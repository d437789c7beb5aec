/* planes.c - packing integers into ternary planes, and back (docs/FORMAT.md 1.2). */
#include "planes.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"

enum { ROWS = BC_GROUP_ROWS, MAX_LEVELS = 81 };

const int BC_Q_MAX[BC_MAX_PLANES + 1] = { 0, 1, 4, 13, 40 };

void bc_pack_group(uint8_t *planes, int n_planes, int64_t n_groups, int64_t group, int64_t cols,
                   const int8_t *const rows[BC_GROUP_ROWS])
{
    static const int POWER[BC_MAX_PLANES + 1] = { 1, 3, 9, 27, 81 };
    const int zero = BC_Q_MAX[n_planes];
    for (int k = 0; k < n_planes; k++) {
        uint8_t digit[MAX_LEVELS];
        for (int u = 0; u < POWER[n_planes]; u++)
            digit[u] = (uint8_t)(u / POWER[n_planes - 1 - k] % 3);
        uint8_t *out = planes + ((size_t)k * (size_t)n_groups + (size_t)group) * (size_t)cols;
        for (int64_t c = 0; c < cols; c++) {
            unsigned v = 0;
            for (int i = 0; i < ROWS; i++) v = 3 * v + digit[rows[i][c] + zero];
            out[c] = (uint8_t)((v * 256 + 242) / 243);
        }
    }
}

static int check_shape(int32_t n_planes, int64_t rows, int64_t cols, bc_error *err)
{
    if (n_planes < 1 || n_planes > BC_MAX_PLANES || rows < 1 || rows > INT32_MAX || cols < 1 ||
        cols > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "%d planes of %lld x %lld", n_planes, (long long)rows,
                       (long long)cols);
    return BC_OK;
}

struct pack_work {
    const int8_t *q, *zeros; /* zeros: a row past the last */
    uint8_t *planes;
    int n_planes;
    int64_t rows, cols;
    atomic_llong bad_row; /* a row with an integer that does not fit, or -1 */
};

static int row_fits(const int8_t *row, int64_t cols, int q_max)
{
    int wrong = 0;
    for (int64_t c = 0; c < cols; c++) wrong |= (row[c] > q_max) | (row[c] < -q_max);
    return !wrong;
}

static void pack_item(void *arg, int64_t group, int thread)
{
    (void)thread;
    struct pack_work *w = arg;
    const int8_t *rows[ROWS];
    for (int i = 0; i < ROWS; i++) {
        const int64_t r = group * ROWS + i;
        rows[i] = r < w->rows ? w->q + r * w->cols : w->zeros;
        if (row_fits(rows[i], w->cols, BC_Q_MAX[w->n_planes])) continue;
        long long none = -1;
        atomic_compare_exchange_strong(&w->bad_row, &none, (long long)r);
        return;
    }
    bc_pack_group(w->planes, w->n_planes, (w->rows + ROWS - 1) / ROWS, group, w->cols, rows);
}

int bc_planes_pack(bc_engine *engine, const int8_t *q, int32_t n_planes, int64_t rows, int64_t cols,
                   uint8_t *planes, bc_error *err)
{
    if (!engine || !q || !planes)
        return bc_fail(err, BC_ERR_INVALID, "engine, q or planes is NULL");
    const int status = check_shape(n_planes, rows, cols, err);
    if (status != BC_OK) return status;
    int8_t *zeros = calloc((size_t)cols, 1);
    if (!zeros)
        return bc_fail(err, BC_ERR_NOMEM, "no memory to pack rows of %lld", (long long)cols);
    struct pack_work w = {
        .q = q, .zeros = zeros, .planes = planes, .n_planes = n_planes, .rows = rows, .cols = cols
    };
    atomic_init(&w.bad_row, -1);
    bc_pool_run(engine->pool, pack_item, &w, (rows + ROWS - 1) / ROWS);
    free(zeros);
    const long long bad = atomic_load(&w.bad_row);
    if (bad >= 0)
        return bc_fail(err, BC_ERR_INVALID, "row %lld holds an integer outside -%d to %d, %d %s",
                       bad, BC_Q_MAX[n_planes], BC_Q_MAX[n_planes], n_planes,
                       n_planes == 1 ? "plane's range" : "planes' range");
    return BC_OK;
}

int bc_planes_unpack(bc_engine *engine, const uint8_t *planes, int32_t n_planes, int64_t rows,
                     int64_t cols, int8_t *q, bc_error *err)
{
    if (!engine || !planes || !q)
        return bc_fail(err, BC_ERR_INVALID, "engine, planes or q is NULL");
    const int status = check_shape(n_planes, rows, cols, err);
    if (status != BC_OK) return status;
    const size_t n_groups = (size_t)((rows + ROWS - 1) / ROWS);
    memset(q, 0, (size_t)rows * (size_t)cols);
    for (int k = 0; k < n_planes; k++) {
        for (size_t g = 0; g < n_groups; g++) {
            const uint8_t *in = planes + ((size_t)k * n_groups + g) * (size_t)cols;
            for (size_t c = 0; c < (size_t)cols; c++) {
                unsigned x = in[c];
                for (size_t r = ROWS * g; r < ROWS * g + ROWS; r++) {
                    x *= 3;
                    if (r < (size_t)rows) {
                        int8_t *out = q + r * (size_t)cols + c;
                        *out = (int8_t)(3 * *out + (int)(x >> 8) - 1);
                    }
                    x &= 255;
                }
            }
        }
    }
    return BC_OK;
}
