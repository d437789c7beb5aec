/* lora.c - low-rank additions to a matrix, forwards and backwards.
 *
 * A f32 [rank, cols] and B' f32 [rank, rows] lie alike, so the same two loops do for both: rank dot products with a
 * token, and rank multiples of rows added to a token. A token's arithmetic does not depend on its neighbours. */
#include "lora.h"

/* Dot products that are kept, columns of a strip of sums, tokens that go forward together. */
enum { KEPT = 32 * BC_MAX_RANK, STRIP = 64, GROUP = 12 };

/* y_t += sum_k u_t[k] m[k] for n tokens, u f32 [n, rank], m f32 [rank, width] */
static void add_rows(const bc_kernels *k, float *y, size_t y_stride, const float *u, const float *m,
                     int rank, int64_t width, int n)
{
    int64_t c = 0;
    for (; c + BC_DENSE_ROWS <= width; c += BC_DENSE_ROWS)
        k->gemm_dense(y + c, y_stride, m + c, (size_t)width, rank, u, (size_t)rank, n, 1);
    for (int t = 0; t < n && c < width; t++)
        for (int i = 0; i < rank; i++)
            k->add_scaled(y + (size_t)t * y_stride + c, m + (int64_t)i * width + c, u[t * rank + i],
                          (int)(width - c));
}

struct forward_work {
    const bc_kernels *k;
    const int32_t *replica; /* as in bc_linear_space */
    const bc_product *products;
    const float *x;
    size_t x_stride;
    int count, n;
};

/* What token t has added. */
static bc_lora lora_of(const struct forward_work *w, const bc_weight *weight, int t)
{
    bc_lora lora = weight->lora;
    const bc_matrix_replicas *own = w->replica ? weight->replicas : NULL;
    if (!own || !own->lora_a) return lora;
    const size_t before = (size_t)w->replica[t] * (size_t)lora.rank;
    lora.a = own->lora_a + before * (size_t)weight->cols;
    lora.b = own->lora_b + before * (size_t)weight->rows;
    return lora;
}

/* n <= GROUP tokens of one replica, matrix after matrix: A and B of two do not fit into the L1 cache. */
static void forward_run(const struct forward_work *w, int first, int n)
{
    for (int i = 0; i < w->count; i++) {
        const bc_product *p = &w->products[i];
        const bc_lora lora = lora_of(w, p->weight, first);
        float u[GROUP * BC_MAX_RANK];
        if (!lora.rank) continue;
        w->k->dots_dense(u, (size_t)lora.rank, lora.a, lora.rank, (int)p->weight->cols,
                         w->x + (size_t)first * w->x_stride, w->x_stride, n);
        add_rows(w->k, p->y + (size_t)first * p->y_stride, p->y_stride, u, lora.b, lora.rank,
                 p->weight->rows, n);
    }
}

static void forward_tokens(void *arg, int64_t item, int thread)
{
    (void)thread;
    const struct forward_work *w = arg;
    const int first = (int)item * GROUP, stop = w->n - first < GROUP ? w->n : first + GROUP;
    for (int t = first, end; t < stop; t = end) {
        end = bc_replica_end(w->replica, t, stop);
        forward_run(w, t, end - t);
    }
}

void bc_lora_forward(bc_engine *engine, const int32_t *replica, const bc_product *products,
                     int count, const float *x, size_t x_stride, int n)
{
    struct forward_work w = { &engine->k, replica, products, x, x_stride, count, n };
    int any = 0;
    for (int i = 0; i < count; i++) any |= products[i].weight->lora.rank;
    if (any) bc_pool_run(engine->pool, forward_tokens, &w, (n + GROUP - 1) / GROUP);
}

/* As many tokens backwards as KEPT has room for: u = A x and v = B' dy of each, f32 [tokens, rank]. */
struct back_work {
    const bc_kernels *k;
    const bc_lora_back *back;
    int first, tokens;
    float u[KEPT], v[KEPT];
};

static void back_tokens(void *arg, int64_t item, int thread)
{
    (void)thread;
    struct back_work *w = arg;
    const bc_lora_back *back = w->back;
    const bc_weight *weight = back->weight;
    const bc_lora *lora = &weight->lora;
    const int64_t i = item * GROUP, t = w->first + i, left = w->tokens - i;
    const int rank = lora->rank, n = left < GROUP ? (int)left : GROUP;
    const size_t cols = (size_t)weight->cols;
    float *u = w->u + i * rank, *v = w->v + i * rank;
    if (back->b)
        w->k->dots_dense(u, (size_t)rank, lora->a, rank, (int)cols, back->x + (size_t)t * cols,
                         cols, n);
    w->k->dots_dense(v, (size_t)rank, lora->b, rank, (int)weight->rows,
                     back->dy + (size_t)t * back->dy_stride, back->dy_stride, n);
    add_rows(w->k, back->dx + (size_t)t * cols, cols, v, lora->a, rank, weight->cols, n);
}

/* sums [rank, width] += sum_t of factors_t f32 [rank] times rows_t, a strip of columns: tokens in order. */
static void add_strip(const struct back_work *w, double *sums, const float *factors,
                      const float *rows, size_t stride, int64_t width, int64_t first)
{
    const int rank = w->back->weight->lora.rank;
    const int n = width - first < STRIP ? (int)(width - first) : STRIP;
    w->k->add_outer(sums + first, (size_t)width, factors, (size_t)rank, rank,
                    rows + (size_t)w->first * stride + first, stride, n, w->tokens);
}

static int64_t strips(int64_t width) { return (width + STRIP - 1) / STRIP; }

static void sum_strip(void *arg, int64_t item, int thread)
{
    (void)thread;
    const struct back_work *w = arg;
    const bc_lora_back *back = w->back;
    const int64_t cols = back->weight->cols, of_a = back->a ? strips(cols) : 0;
    if (item < of_a)
        add_strip(w, back->a, w->v, back->x, (size_t)cols, cols, item * STRIP);
    else
        add_strip(w, back->b, w->u, back->dy, back->dy_stride, back->weight->rows,
                  (item - of_a) * STRIP);
}

void bc_lora_backward(bc_engine *engine, const bc_lora_back *back)
{
    const bc_weight *weight = back->weight;
    const int64_t items =
        (back->a ? strips(weight->cols) : 0) + (back->b ? strips(weight->rows) : 0);
    struct back_work w = { .k = &engine->k, .back = back };
    if (!weight->lora.rank) return;
    const int most = KEPT / weight->lora.rank;
    for (; w.first < back->n; w.first += w.tokens) {
        const int left = back->n - w.first;
        w.tokens = left < most ? left : most;
        bc_pool_run(engine->pool, back_tokens, &w, (w.tokens + GROUP - 1) / GROUP);
        bc_pool_run(engine->pool, sum_strip, &w, items);
    }
}
