/* delta.c - the gradient of a full matrix: a product of dy, laid across, with a panel of columns of x. A sum sees its
 * tokens in order, whatever the number of threads. */
#include "delta.h"

enum { STRIP = BC_DENSE_ROWS, ROWS = 64 };

struct delta_work {
    bc_linear_space *s;
    const bc_delta_back *back;
    int first, n; /* tokens */
};

static int less(int64_t a, int64_t b) { return (int)(a < b ? a : b); }

/* A few rows of dy -> across [rows, n] */
static void across_item(void *arg, int64_t item, int thread)
{
    (void)thread;
    const struct delta_work *w = arg;
    const bc_delta_back *b = w->back;
    const int64_t r0 = item * ROWS, r1 = r0 + less(ROWS, b->rows - r0);
    for (int t = 0; t < w->n; t++) {
        const float *dy = b->dy + (size_t)(w->first + t) * b->dy_stride;
        for (int64_t r = r0; r < r1; r++) b->across[r * w->n + t] = dy[r];
    }
}

static void strip_item(void *arg, int64_t item, int thread)
{
    const struct delta_work *w = arg;
    const bc_delta_back *b = w->back;
    bc_linear_space *s = w->s;
    const bc_kernels *k = &s->engine->k;
    const int64_t c = item * STRIP;
    const int width = less(STRIP, b->cols - c), room = s->n_batch * BC_PANEL_ROWS / STRIP;
    float *panel = (float *)(void *)(s->panels + (size_t)thread * s->panel_bytes);
    float *tile = (float *)(void *)(s->tiles + (size_t)thread * (size_t)s->n_batch * BC_PANEL_ROWS);
    if (bc_cancelled(s->cancel)) return; /* the call fails; its results are not used */
    for (int t = 0; t < w->n; t++)
        for (int j = 0; j < STRIP; j++)
            panel[t * STRIP + j] = j < width ? b->x[(w->first + t) * b->cols + c + j] : 0;
    for (int64_t r = 0; r < b->rows; r += room) {
        const int rows = less(room, b->rows - r);
        k->gemm_dense(tile, STRIP, panel, STRIP, w->n, b->across + r * w->n, (size_t)w->n, rows, 0);
        for (int i = 0; i < rows; i++)
            k->add(b->sum + (r + i) * b->cols + c, tile + i * STRIP, width);
    }
}

void bc_delta_backward(bc_linear_space *s, const bc_delta_back *back)
{
    struct delta_work w = { .s = s, .back = back };
    const int most = (int)(s->panel_bytes / (STRIP * sizeof(float)));
    for (; w.first < back->n; w.first += w.n) {
        w.n = less(most, back->n - w.first);
        bc_pool_run(s->engine->pool, across_item, &w, (back->rows + ROWS - 1) / ROWS);
        bc_pool_run(s->engine->pool, strip_item, &w, (back->cols + STRIP - 1) / STRIP);
    }
}
