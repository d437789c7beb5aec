/* linear_back.c - the transposed product: how a gradient goes back through W.
 *
 * dx[t][c] = sum_r dy[t][r] W[r][c] is a matrix product whose panel holds BC_DENSE_ROWS columns of
 * W: each is decoded once and multiplied with all tokens, in f32. A panel's rows come in ascending
 * order whatever the number of threads. */
#include "linear_back.h"

#include <string.h>

#include "planes.h"

enum { STRIP = BC_DENSE_ROWS, BLOCK_ROWS = 2000 /* whole groups; the panel stays in the L2 */ };

struct back_work {
    bc_linear_space *s;
    const bc_back_product *products;
    int count, n, n_strips;
    size_t cols;
    float *rotated, *dx;
    const bc_rotation *rotation; /* of the matrices that have one; NULL: none of them */
    int any_dense;
};

static int is_rotated(const bc_weight *w) { return w->kind != BC_WEIGHT_DENSE; }

/* Rows r0.. of columns c.. -> panel [rows][STRIP]; r0 is a multiple of 5. */
static void fill_panel(const bc_kernels *k, float *panel, const bc_weight *w, int64_t r0, int rows,
                       size_t c, int width)
{
    const size_t cols = (size_t)w->cols;
    if (w->kind == BC_WEIGHT_PLANES) {
        const uint8_t *from = (const uint8_t *)w->data + (size_t)(r0 / BC_GROUP_ROWS) * cols + c;
        k->columns_planes(panel, from, w->plane_stride, w->n_planes, rows, cols, width,
                          w->scales + r0);
    } else if (w->kind == BC_WEIGHT_INT8) {
        k->columns_i8(panel, (const int8_t *)w->data + (size_t)r0 * cols + c, rows, cols, width,
                      w->scales + r0);
    } else {
        const size_t element = w->dtype == BC_F32 ? 4 : 2;
        const uint8_t *from = (const uint8_t *)w->data + ((size_t)r0 * cols + c) * element;
        if (width < STRIP) memset(panel, 0, (size_t)rows * STRIP * sizeof *panel);
        for (int r = 0; r < rows; r++)
            k->to_f32(panel + (size_t)r * STRIP, from + (size_t)r * cols * element, w->dtype,
                      (size_t)width);
    }
}

/* One strip of columns, of the rotated matrices or of the dense ones. */
static void strip_item(void *arg, int64_t item, int thread)
{
    const struct back_work *w = arg;
    bc_linear_space *s = w->s;
    const bc_kernels *k = &s->engine->k;
    const int rotated = !w->any_dense || item >= w->n_strips;
    const size_t c = (size_t)(item % w->n_strips) * STRIP;
    const int width = w->cols - c < STRIP ? (int)(w->cols - c) : STRIP;
    float *panel = (float *)(void *)(s->panels + (size_t)thread * s->panel_bytes);
    float *tile = (float *)(void *)(s->tiles + (size_t)thread * (size_t)s->n_batch * BC_PANEL_ROWS);
    float *out = (rotated ? w->rotated : w->dx) + c;
    int64_t block = (int64_t)(s->panel_bytes / (STRIP * sizeof *panel));
    block = block > BLOCK_ROWS ? BLOCK_ROWS : block / BC_GROUP_ROWS * BC_GROUP_ROWS;
    int first = 1;
    for (int i = 0; i < w->count; i++) {
        const bc_back_product *p = &w->products[i];
        if (is_rotated(p->weight) != rotated) continue;
        for (int64_t r = 0; r < p->weight->rows; r += block) {
            if (bc_cancelled(s->cancel)) return; /* the call fails; its results are not used */
            const int rows = (int)(p->weight->rows - r < block ? p->weight->rows - r : block);
            fill_panel(k, panel, p->weight, r, rows, c, width);
            k->gemm_dense(tile, panel, rows, p->dy + r, p->dy_stride, w->n);
            for (int t = 0; t < w->n; t++) {
                float *to = out + (size_t)t * w->cols;
                const float *from = tile + (size_t)t * STRIP;
                if (first)
                    memcpy(to, from, (size_t)width * sizeof *to);
                else
                    for (int j = 0; j < width; j++) to[j] += from[j];
            }
            first = 0;
        }
    }
}

static void unrotate_token(void *arg, int64_t t, int thread)
{
    const struct back_work *w = arg;
    const bc_kernels *k = &w->s->engine->k;
    float *y = w->rotated + (size_t)t * w->cols, *to = w->dx + (size_t)t * w->cols;
    if (!w->any_dense) {
        bc_rotation_undo(w->rotation, k, to, y);
        return;
    }
    float *x = w->s->act.scratch + (size_t)thread * w->s->act.stride;
    bc_rotation_undo(w->rotation, k, x, y);
    k->add(to, x, (int)w->cols);
}

void bc_linear_back(bc_linear_space *s, const bc_back_product *products, int count, float *rotated,
                    float *dx, int n)
{
    struct back_work w = { .s = s, .products = products, .count = count, .n = n };
    w.cols = (size_t)products[0].weight->cols;
    w.n_strips = (int)((w.cols + STRIP - 1) / STRIP);
    w.rotated = rotated;
    w.dx = dx;
    for (int i = 0; i < count; i++) {
        if (is_rotated(products[i].weight))
            w.rotation = products[i].weight->rotation;
        else
            w.any_dense = 1;
    }
    const int bases = (w.rotation != NULL) + w.any_dense;
    bc_pool_run(s->engine->pool, strip_item, &w, (int64_t)w.n_strips * bases);
    if (w.rotation) bc_pool_run(s->engine->pool, unrotate_token, &w, n);
}
