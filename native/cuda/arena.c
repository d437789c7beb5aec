/* arena.c - see arena.h. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "placed.h"

enum { ALIGN = 256, PIECE = 16 << 20, STAGING = 1 << 20, ARRANGERS = 256 };

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

/* Rows of `cols` bytes with zeros up to `padded`, to `to`. */
static void upload_padded(bc_arena *a, bc_ptr to, const uint8_t *from, int64_t rows, int64_t cols,
                          int64_t padded)
{
    if (a->status != BC_OK) return;
    if (padded == cols) {
        a->status = bc_device_upload(a->device, to, from, rows * cols, a->err);
        return;
    }
    const int64_t piece = PIECE / padded + 1;
    uint8_t *room = calloc((size_t)piece, (size_t)padded);
    if (!room)
        a->status = bc_fail(a->err, BC_ERR_NOMEM, "no memory (%lld MB) to copy a matrix",
                            (long long)(piece * padded >> 20));
    for (int64_t r = 0; r < rows && a->status == BC_OK; r += piece) {
        const int64_t n = rows - r < piece ? rows - r : piece;
        for (int64_t i = 0; i < n; i++)
            memcpy(room + i * padded, from + (r + i) * cols, (size_t)cols);
        a->status =
            bc_device_upload(a->device, to + (bc_ptr)(r * padded), room, n * padded, a->err);
        if (a->status == BC_OK) a->status = bc_device_wait(a->device, a->err); /* room changes */
    }
    free(room);
}

static bc_ptr copy_padded(bc_arena *a, const uint8_t *from, int64_t rows, int64_t cols,
                          int64_t padded)
{
    const bc_ptr p = bc_arena_take(a, rows * padded);
    if (a->device) upload_padded(a, p, from, rows, cols, padded);
    return p;
}

void bc_arena_begin(bc_arena *a, const bc_device *device)
{
    a->tiled = device->tiled;
    a->staging = a->tiled ? bc_arena_take(a, STAGING) : 0;
}

bc_ptr bc_arena_vectors(bc_arena *a, const void *from, int64_t rows, int64_t cols)
{
    if (!from || bc_gpu_width(cols) == cols) return bc_arena_copy(a, from, 4 * rows * cols);
    return copy_padded(a, from, rows, 4 * cols, 4 * bc_gpu_width(cols));
}

bc_ptr bc_arena_vector(bc_arena *a, const void *from, int64_t count)
{
    return bc_arena_vectors(a, from, 1, count);
}

bc_ptr bc_arena_placed(bc_arena *a, const float *from, const bc_rotation *r, int signs)
{
    const int64_t bytes = bc_gpu_width(r->cols) * (int64_t)sizeof(float);
    const bc_ptr p = bc_arena_take(a, bytes);
    if (!a->device || a->status != BC_OK) return p;
    float *placed = malloc((size_t)bytes);
    if (placed) {
        bc_place_vector(placed, from, r, signs);
        a->status = bc_device_upload(a->device, p, placed, bytes, a->err);
        if (a->status == BC_OK) a->status = bc_device_wait(a->device, a->err); /* the host's goes */
    } else {
        a->status =
            bc_fail(a->err, BC_ERR_NOMEM, "no memory to copy a vector of %d elements", r->cols);
    }
    free(placed);
    return p;
}

/* Where a rotation's elements come from and go to; of none, only where they lie placed. What is behind the vector's end stays
 * where it is. */
static void copy_indices(bc_arena *a, bc_gpu_rotation *to, const bc_rotation *r)
{
    const int width = (int)bc_gpu_width(r->cols), kinds = r->sign ? 3 : 1;
    const int64_t bytes = width * (int64_t)sizeof(uint32_t);
    bc_ptr *const on_card[] = { &to->homes, &to->order, &to->places };
    for (int k = 0; k < kinds; k++) *on_card[k] = bc_arena_take(a, bytes);
    if (!a->device || a->status != BC_OK) return;
    uint32_t *homes = malloc(3 * (size_t)bytes), *order = homes + width, *places = order + width;
    if (!homes) {
        a->status =
            bc_fail(a->err, BC_ERR_NOMEM, "no memory to copy a rotation of %d columns", r->cols);
        return;
    }
    for (int i = 0; i < width; i++) {
        const int from = r->perm && i < r->cols ? r->perm[i] : i;
        const uint32_t flip = r->flip && i < r->cols ? r->flip[i] : 0;
        order[i] = (uint32_t)bc_gpu_slot(from) | flip;
        places[from] = (uint32_t)i | flip;
        homes[from] = (uint32_t)bc_gpu_home(i, r->cols) | flip;
    }
    for (int k = 0; k < kinds && a->status == BC_OK; k++)
        a->status = bc_device_upload(a->device, *on_card[k], homes + k * width, bytes, a->err);
    if (a->status == BC_OK) a->status = bc_device_wait(a->device, a->err); /* the host's go */
    free(homes);
}

int bc_arena_same_rotation(const bc_rotation *a, const bc_rotation *b)
{
    return a == b || (a->sign && b->sign && a->cols == b->cols && a->seed == b->seed);
}

static const bc_gpu_rotation *find_rotation(bc_arena *a, const bc_rotation *r,
                                            bc_gpu_rotation *rotations, int *n)
{
    for (int i = 0; i < *n; i++)
        if (bc_arena_same_rotation(rotations[i].of, r)) return &rotations[i];
    bc_gpu_rotation *new = &rotations[(*n)++];
    *new = (bc_gpu_rotation){ .of = r };
    copy_indices(a, new, r);
    return new;
}

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* `groups` groups of a plane, from `first` on, lie in the staging room: into their places. */
static void arrange(bc_arena *a, const bc_gpu_matrix *m, int plane, int64_t first, int64_t groups)
{
    bc_arrange_args args = { .from = a->staging,
                             .to = m->data,
                             .first = (int)first,
                             .groups = (int)groups,
                             .all_groups = (int)((m->of->rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP),
                             .cols = m->cols,
                             .plane = plane,
                             .n_planes = m->of->n_planes };
    const int64_t blocks = groups * m->cols / BC_GPU_UNIT_COLS / ARRANGERS + 1;
    const bc_launch launch = { BC_K_bc_arrange, (unsigned)blocks, 1, 1, ARRANGERS, 0, &args };
    a->status = bc_device_start(a->device, &launch, a->err);
}

/* Planes as kernels/tiled.cuh wants them, through the staging room. */
static void copy_tiled(bc_arena *a, bc_gpu_matrix *m, const bc_weight *w)
{
    const int64_t groups = (w->rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP;
    m->data = bc_arena_take(a, groups * m->cols * w->n_planes);
    if (!a->device) return;
    const int64_t most = STAGING / m->cols / BC_GPU_TILE_GROUPS * BC_GPU_TILE_GROUPS;
    for (int plane = 0; plane < w->n_planes; plane++)
        for (int64_t first = 0; first < groups && a->status == BC_OK; first += most) {
            const int64_t n = groups - first < most ? groups - first : most;
            upload_padded(a, a->staging,
                          (const uint8_t *)w->data + (size_t)plane * w->plane_stride +
                              (size_t)(first * w->cols),
                          n, w->cols, m->cols);
            if (a->status == BC_OK) arrange(a, m, plane, first, n);
        }
}

/* Planes as they are, each behind the last. */
static void copy_planes(bc_arena *a, bc_gpu_matrix *m, const bc_weight *w)
{
    const int64_t groups = (w->rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP;
    m->plane_stride = groups * m->cols;
    m->data = bc_arena_take(a, m->plane_stride * w->n_planes);
    for (int plane = 0; plane < w->n_planes && a->device && a->status == BC_OK; plane++)
        upload_padded(a, m->data + (bc_ptr)(plane * m->plane_stride),
                      (const uint8_t *)w->data + (size_t)plane * w->plane_stride, groups, w->cols,
                      m->cols);
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
    const int tiled = a->tiled && w->kind == BC_WEIGHT_PLANES;
    m->cols = (int)up(w->cols, tiled ? BC_GPU_STEP_COLS : BC_GPU_COL_PAD);
    if (w->kind == BC_WEIGHT_INT8)
        m->data = copy_padded(a, w->data, w->rows, w->cols, m->cols);
    else if (tiled)
        copy_tiled(a, m, w);
    else
        copy_planes(a, m, w);
    m->scales = bc_arena_copy(a, w->scales, (int64_t)sizeof(float) * w->rows);
    m->rotation = find_rotation(a, w->rotation, rotations, n_rotations);
}
