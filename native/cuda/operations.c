/* operations.c - see operations.h. */
#include "operations.h"

#include <string.h>

#include "arena.h"
#include "error.h"
#include "linear.h"

enum { COPIES = 10 };

/* ---- the speed of the card's memory ---- */

static int time_copies(bc_device *d, bc_ptr to, bc_ptr from, size_t bytes, const CUevent events[2],
                       float *milliseconds)
{
    CUresult result = d->api.MemcpyDtoDAsync(to, from, bytes, d->stream);
    if (result == CUDA_SUCCESS) result = d->api.EventRecord(events[0], d->stream);
    for (int i = 0; i < COPIES && result == CUDA_SUCCESS; i++)
        result = d->api.MemcpyDtoDAsync(to, from, bytes, d->stream);
    if (result == CUDA_SUCCESS) result = d->api.EventRecord(events[1], d->stream);
    if (result == CUDA_SUCCESS) result = d->api.EventSynchronize(events[1]);
    if (result == CUDA_SUCCESS)
        result = d->api.EventElapsedTime(milliseconds, events[0], events[1]);
    return result;
}

int bc_op_copy_speed(bc_device *d, int64_t bytes, double *bytes_per_second, bc_error *err)
{
    bc_ptr from = 0, to = 0;
    CUevent events[2] = { NULL, NULL };
    float milliseconds = 0.0f;
    int status = bc_device_enter(d, err);
    if (status == BC_OK) status = bc_device_alloc(d, &from, bytes, err);
    if (status == BC_OK) status = bc_device_alloc(d, &to, bytes, err);
    CUresult result = CUDA_SUCCESS;
    for (int i = 0; i < 2 && status == BC_OK && result == CUDA_SUCCESS; i++)
        result = d->api.EventCreate(&events[i], CU_EVENT_DEFAULT);
    if (status == BC_OK && result == CUDA_SUCCESS)
        result = time_copies(d, to, from, (size_t)bytes, events, &milliseconds);
    for (int i = 0; i < 2; i++)
        if (events[i]) d->api.EventDestroy(events[i]);
    bc_device_release(d, from, bytes);
    bc_device_release(d, to, bytes);
    if (status != BC_OK) return status;
    if (result != CUDA_SUCCESS) return bc_cuda_failed(&d->api, result, "timing a copy", err);
    *bytes_per_second =
        milliseconds > 0.0f ? 2.0 * (double)bytes * COPIES / ((double)milliseconds * 1e-3) : 0.0;
    return BC_OK;
}

/* ---- one matrix on its own ---- */

typedef struct bench {
    bc_device *d;
    bc_gpu_buffers b;
    bc_gpu_matrix matrix;
    bc_gpu_rotation rotation;
    bc_ptr x, norm, y, memory;
    int64_t bytes;
    int n, placed; /* as the only token of a stack is */
} bench;

static void lay(bc_arena *a, bench *w, const bc_weight *weight, const float *x, const float *norm)
{
    const int64_t n = w->n, cols = weight->cols, f = sizeof(float);
    int n_rotations = 0;
    bc_gpu_buffers *b = &w->b;
    bc_arena_begin(a, w->d);
    bc_arena_matrix(a, &w->matrix, weight, &w->rotation, &n_rotations);
    const int64_t width = bc_gpu_width(cols);
    if (w->placed) {
        w->x = bc_arena_placed(a, x, weight->rotation, norm == NULL);
        w->norm = norm ? bc_arena_placed(a, norm, weight->rotation, 1) : 0;
    } else {
        w->x = bc_arena_vectors(a, x, n, cols);
        w->norm = bc_arena_vector(a, norm, cols);
    }
    w->y = bc_arena_take(a, n * weight->rows * f);
    b->a_stride = (int)((cols + BC_GPU_ACT_PAD - 1) / BC_GPU_ACT_PAD * BC_GPU_ACT_PAD);
    b->a = bc_arena_take(a, n * b->a_stride);
    b->scale = bc_arena_take(a, n * f);
    b->sum = bc_arena_take(a, n * f);
    b->plain = bc_arena_take(a, n * width * f);
    b->work = bc_gpu_wide(w->d, width) ? bc_arena_take(a, n * width * f) : 0;
    b->partial_stride =
        (int)((weight->rows + BC_GPU_TILE_ROWS - 1) / BC_GPU_TILE_ROWS * BC_GPU_TILE_ROWS);
    b->partial_bytes = BC_JOIN_TOKENS * b->partial_stride * f;
    b->partial = bc_arena_take(a, b->partial_bytes);
    b->arrived_bytes = 2 * (b->partial_stride / BC_GPU_TILE_ROWS) * f;
    b->arrived = bc_arena_take(a, b->arrived_bytes);
}

static int bench_open(bench *w, bc_device *d, const bc_weight *weight, const float *x,
                      const float *norm, int n, bc_error *err)
{
    *w = (bench){ .d = d, .n = n };
    w->placed = n == 1 && d->tiled && weight->kind != BC_WEIGHT_DENSE;
    int status = bc_device_enter(d, err);
    if (status != BC_OK) return status;
    bc_arena counting = { .status = BC_OK };
    lay(&counting, w, weight, x, norm);
    status = bc_device_alloc(d, &w->memory, counting.used, err);
    if (status != BC_OK) return status;
    w->bytes = counting.used;
    bc_arena copying = { .device = d, .base = w->memory, .status = BC_OK, .err = err };
    lay(&copying, w, weight, x, norm);
    status = copying.status;
    if (status == BC_OK) status = bc_device_clear(d, w->b.partial, w->b.partial_bytes, err);
    if (status == BC_OK) status = bc_device_clear(d, w->b.arrived, w->b.arrived_bytes, err);
    return status;
}

static void bench_close(bench *w)
{
    bc_device_wait(w->d, NULL);
    bc_device_release(w->d, w->memory, w->bytes);
}

static bc_gpu_space space_of(const bench *w)
{
    if (!w->matrix.of)
        return (bc_gpu_space){ .device = w->d, .b = &w->b }; /* it could not be opened */
    const int64_t width = w->b.work ? 0 : bc_gpu_width(w->matrix.of->cols);
    return (bc_gpu_space){ .device = w->d,
                           .b = &w->b,
                           .shared = (int)(width * (int64_t)sizeof(float)) };
}

static bc_prepare_args source_of(const bench *w, float eps)
{
    return (bc_prepare_args){ .source = BC_FROM_X,
                              .cols = (int)w->matrix.of->cols,
                              .x = w->x,
                              .norm = w->norm,
                              .eps = eps,
                              .placed = w->placed };
}

int bc_op_prepare(bc_device *d, const bc_weight *like, const float *x, const float *norm, float eps,
                  int32_t n, int8_t *a, float *scale, int32_t *sum, bc_error *err)
{
    bench w;
    int status = bench_open(&w, d, like, x, norm, n, err);
    const bc_gpu_space space = space_of(&w);
    if (status == BC_OK) status = bc_gpu_prepare(&space, source_of(&w, eps), &w.matrix, 0, n, err);
    if (status == BC_OK) status = bc_device_download(d, a, w.b.a, (int64_t)n * w.b.a_stride, err);
    if (status == BC_OK) status = bc_device_download(d, scale, w.b.scale, (int64_t)n * 4, err);
    if (status == BC_OK) status = bc_device_download(d, sum, w.b.sum, (int64_t)n * 4, err);
    if (status == BC_OK) status = bc_device_wait(d, err);
    bench_close(&w);
    return status;
}

int bc_op_linear(bc_device *d, const bc_weight *weight, const float *x, int32_t n, float *y,
                 bc_error *err)
{
    bench w;
    int status = bench_open(&w, d, weight, x, NULL, n, err);
    const bc_gpu_space space = space_of(&w);
    const bc_gpu_product product = { &w.matrix, w.y, (int)weight->rows, 0, 0 };
    if (status == BC_OK) status = bc_gpu_linear(&space, source_of(&w, 0.0f), &product, 1, n, err);
    if (status == BC_OK) status = bc_device_download(d, y, w.y, (int64_t)n * weight->rows * 4, err);
    if (status == BC_OK) status = bc_device_wait(d, err);
    bench_close(&w);
    return status;
}
