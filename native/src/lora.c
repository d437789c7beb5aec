/* lora.c - low-rank additions to a matrix, forwards and backwards.
 *
 * A f32 [rank, cols] and B' f32 [rank, rows] lie alike, so the same two loops do for both: rank dot products with a
 * token, and rank multiples of rows added to a token. A token's arithmetic does not depend on its neighbours. */
#include "lora.h"

/* y += sum_k u[k] m[k], m f32 [rank, width] */
static void add_rows(float *y, const float *u, const float *m, int rank, size_t width)
{
    for (int k = 0; k < rank; k++) {
        const float factor = u[k], *row = m + (size_t)k * width;
        for (size_t i = 0; i < width; i++) y[i] += factor * row[i];
    }
}

struct forward_work {
    const bc_kernels *k;
    const bc_product *products;
    const float *x;
    size_t x_stride;
    int count;
};

static void forward_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct forward_work *w = arg;
    for (int i = 0; i < w->count; i++) {
        const bc_weight *weight = w->products[i].weight;
        const bc_lora *lora = &weight->lora;
        float u[BC_MAX_RANK];
        if (!lora->rank) continue;
        w->k->gemv_dense(u, lora->a, BC_F32, lora->rank, (int)weight->cols,
                         w->x + (size_t)t * w->x_stride);
        add_rows(w->products[i].y + (size_t)t * w->products[i].y_stride, u, lora->b, lora->rank,
                 (size_t)weight->rows);
    }
}

void bc_lora_forward(bc_engine *engine, const bc_product *products, int count, const float *x,
                     size_t x_stride, int n)
{
    struct forward_work w = { &engine->k, products, x, x_stride, count };
    int any = 0;
    for (int i = 0; i < count; i++) any |= products[i].weight->lora.rank;
    if (any) bc_pool_run(engine->pool, forward_token, &w, n);
}

struct back_work {
    const bc_kernels *k;
    const bc_lora_back *back;
};

static void back_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct back_work *w = arg;
    const bc_lora_back *back = w->back;
    const bc_weight *weight = back->weight;
    float v[BC_MAX_RANK];
    w->k->gemv_dense(v, weight->lora.b, BC_F32, weight->lora.rank, (int)weight->rows,
                     back->dy + (size_t)t * back->dy_stride);
    add_rows(back->dx + (size_t)t * (size_t)weight->cols, v, weight->lora.a, weight->lora.rank,
             (size_t)weight->cols);
}

/* Row k of a gradient: sum_t (m[k] . from_t) other_t, m f32 [rank, width]. */
struct sum_work {
    const bc_kernels *k;
    const float *m, *from, *other;
    size_t width, from_stride, other_width, other_stride;
    double *sum; /* [rank, other_width] */
    int n;
};

static void sum_row(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct sum_work *w = arg;
    double *sum = w->sum + (size_t)row * w->other_width;
    for (int t = 0; t < w->n; t++) {
        float dot;
        w->k->gemv_dense(&dot, w->m + (size_t)row * w->width, BC_F32, 1, (int)w->width,
                         w->from + (size_t)t * w->from_stride);
        const float *other = w->other + (size_t)t * w->other_stride;
        for (size_t i = 0; i < w->other_width; i++) sum[i] += (double)dot * (double)other[i];
    }
}

void bc_lora_backward(bc_engine *engine, const bc_lora_back *back)
{
    const bc_weight *weight = back->weight;
    const bc_lora *lora = &weight->lora;
    const size_t rows = (size_t)weight->rows, cols = (size_t)weight->cols;
    struct back_work tokens = { &engine->k, back };
    struct sum_work a = { &engine->k,      lora->b, back->dy, back->x, rows,
                          back->dy_stride, cols,    cols,     back->a, back->n };
    struct sum_work b = { &engine->k, lora->a, back->x,         back->dy, cols,
                          cols,       rows,    back->dy_stride, back->b,  back->n };
    if (!lora->rank) return;
    bc_pool_run(engine->pool, back_token, &tokens, back->n);
    if (back->a) bc_pool_run(engine->pool, sum_row, &a, lora->rank);
    if (back->b) bc_pool_run(engine->pool, sum_row, &b, lora->rank);
}
