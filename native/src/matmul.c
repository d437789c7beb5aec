/* matmul.c - one ternary layer on its own, as the model runs it. */
#include "error.h"
#include "linear.h"
#include "planes.h"

static int check(const bc_engine *engine, const uint8_t *planes, const float *scales,
                 int32_t n_planes, int64_t rows, int64_t cols, const float *x, int64_t tokens,
                 const float *y, bc_error *err)
{
    if (!engine || !planes || !scales || !x || !y)
        return bc_fail(err, BC_ERR_INVALID, "engine, planes, scales, x or y is NULL");
    if (n_planes < 1 || n_planes > BC_MAX_PLANES)
        return bc_fail(err, BC_ERR_INVALID, "n_planes is %d, must be 1 to %d", n_planes,
                       BC_MAX_PLANES);
    if (rows < 1 || rows > INT32_MAX || cols < 1 || cols > 1 << 20 || tokens < 0)
        return bc_fail(err, BC_ERR_INVALID, "a matrix of %lld x %lld with %lld tokens",
                       (long long)rows, (long long)cols, (long long)tokens);
    return BC_OK;
}

int bc_planes_matmul(bc_engine *engine, const uint8_t *planes, const float *scales,
                     int32_t n_planes, int64_t rows, int64_t cols, uint64_t seed, const float *x,
                     int64_t tokens, float *y, bc_error *err)
{
    int status = check(engine, planes, scales, n_planes, rows, cols, x, tokens, y, err);
    if (status != BC_OK) return status;
    bc_rotation rotation;
    status = bc_rotation_init(&rotation, cols, seed, err);
    if (status != BC_OK) return status;
    bc_linear_space space;
    status = bc_linear_space_init(&space, engine, BC_DEFAULT_BATCH, cols, err);
    if (status == BC_OK) {
        const bc_weight w = {
            .kind = BC_WEIGHT_PLANES,
            .n_planes = n_planes,
            .rows = rows,
            .cols = cols,
            .data = planes,
            .rotation = &rotation,
            .plane_stride = (size_t)((rows + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS) * (size_t)cols,
            .scales = (float *)(uintptr_t)scales, /* only read */
        };
        for (int64_t t = 0; t < tokens; t += BC_DEFAULT_BATCH) {
            const int n = (int)(tokens - t < BC_DEFAULT_BATCH ? tokens - t : BC_DEFAULT_BATCH);
            const bc_product product = { &w, y + t * rows, (size_t)rows };
            bc_activations_prepare(&space, &w, x + t * cols, (size_t)cols, n);
            bc_linear(&space, &product, 1, x + t * cols, (size_t)cols, n);
        }
        bc_linear_space_free(&space);
    }
    bc_rotation_free(&rotation);
    return status;
}
