/* arena.c - see arena.h. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

enum { ALIGN = 256, PIECE = 16 << 20 };

bc_ptr bc_arena_take(bc_arena *a, int64_t bytes)
{
    const bc_ptr p = a->base + (bc_ptr)a->used;
    a->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

bc_ptr bc_arena_copy(bc_arena *a, const void *from, int64_t bytes)
{
    if (!from) return 0;
    const bc_ptr p = bc_arena_take(a, bytes);
    if (a->device && a->status == BC_OK)
        a->status = bc_device_upload(a->device, p, from, bytes, a->err);
    return p;
}

/* Rows of `cols` bytes with zeros up to `padded`. */
static bc_ptr copy_padded(bc_arena *a, const uint8_t *from, int64_t rows, int64_t cols,
                          int64_t padded)
{
    const bc_ptr p = bc_arena_take(a, rows * padded);
    if (!a->device || a->status != BC_OK) return p;
    const int64_t piece = PIECE / padded + 1;
    uint8_t *room = calloc((size_t)piece, (size_t)padded);
    if (!room)
        a->status = bc_fail(a->err, BC_ERR_NOMEM, "no memory (%lld MB) to copy a matrix",
                            (long long)(piece * padded >> 20));
    for (int64_t r = 0; r < rows && a->status == BC_OK; r += piece) {
        const int64_t n = rows - r < piece ? rows - r : piece;
        for (int64_t i = 0; i < n; i++)
            memcpy(room + i * padded, from + (r + i) * cols, (size_t)cols);
        a->status = bc_device_upload(a->device, p + (bc_ptr)(r * padded), room, n * padded, a->err);
        if (a->status == BC_OK) a->status = bc_device_wait(a->device, a->err); /* room changes */
    }
    free(room);
    return p;
}

bc_ptr bc_arena_vectors(bc_arena *a, const void *from, int64_t rows, int64_t cols)
{
    if (!from || cols % BC_GPU_PREPARE_SHARE == 0) return bc_arena_copy(a, from, 4 * rows * cols);
    return copy_padded(a, from, rows, 4 * cols, 4 * bc_gpu_width(cols));
}

bc_ptr bc_arena_vector(bc_arena *a, const void *from, int64_t count)
{
    return bc_arena_vectors(a, from, 1, count);
}

/* Where each element of a vector goes: the inverse of `perm`. */
static bc_ptr copy_places(bc_arena *a, const int32_t *perm, int n)
{
    if (!perm) return 0;
    if (!a->device) return bc_arena_vector(a, perm, n); /* counting */
    int32_t *places = calloc((size_t)n, sizeof *places);
    if (!places) {
        if (a->status == BC_OK)
            a->status =
                bc_fail(a->err, BC_ERR_NOMEM, "no memory to copy a rotation of %d columns", n);
        return 0;
    }
    for (int i = 0; i < n; i++) places[perm[i]] = i;
    const bc_ptr p = bc_arena_vector(a, places, n);
    if (a->status == BC_OK) a->status = bc_device_wait(a->device, a->err);
    free(places);
    return p;
}

static const bc_gpu_rotation *find_rotation(bc_arena *a, const bc_rotation *r,
                                            bc_gpu_rotation *rotations, int *n)
{
    for (int i = 0; i < *n; i++)
        if (rotations[i].of == r) return &rotations[i];
    bc_gpu_rotation *new = &rotations[(*n)++];
    new->of = r;
    new->sign = bc_arena_vector(a, r->sign, r->cols);
    new->perm = bc_arena_vector(a, r->perm, r->cols);
    new->places = copy_places(a, r->perm, r->cols);
    return new;
}

void bc_arena_matrix(bc_arena *a, bc_gpu_matrix *m, const bc_weight *w, bc_gpu_rotation *rotations,
                     int *n_rotations)
{
    *m = (bc_gpu_matrix){ .of = w, .cols = (int)w->cols };
    m->bias = bc_arena_copy(a, w->bias, (int64_t)sizeof(float) * w->rows);
    if (w->kind == BC_WEIGHT_DENSE) {
        m->data = bc_arena_copy(a, w->data, w->rows * w->cols * (w->dtype == BC_F32 ? 4 : 2));
        return;
    }
    const int64_t lines = w->kind == BC_WEIGHT_PLANES
                              ? w->n_planes * ((w->rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP)
                              : w->rows;
    const int64_t padded = (w->cols + BC_GPU_COL_PAD - 1) / BC_GPU_COL_PAD * BC_GPU_COL_PAD;
    m->cols = (int)padded;
    m->plane_stride = w->kind == BC_WEIGHT_PLANES ? lines / w->n_planes * padded : 0;
    m->data = padded == w->cols ? bc_arena_copy(a, w->data, lines * padded)
                                : copy_padded(a, w->data, lines, w->cols, padded);
    m->scales = bc_arena_copy(a, w->scales, (int64_t)sizeof(float) * w->rows);
    m->rotation = find_rotation(a, w->rotation, rotations, n_rotations);
}
