/* linear.c - y = W x for one token or a batch, whatever W is stored as.
 *
 * One token: every row is read once, straight from the mapped file (gemv). A few: the same, five
 * rows decoded for all of them. A batch: a tile of rows is decoded once into a panel and multiplied
 * with all tokens (gemm), so N planes cost one pass. All give the same integers, hence the same
 * floats. */
#include "linear.h"

#include <string.h>

#include "error.h"
#include "fetch.h"
#include "lora.h"
#include "planes.h"
#include "platform.h"

/* Dense rows: below this many tokens reading a tile again from the cache is cheaper than making a
 * panel of it. Integers: up to so many tokens rows are read in one stream. */
/* The products of so many tokens are scaled while they are in the L1 cache; not where the panel is too large for the L2,
 * through which it would go for each of them. */
enum { TILE_TOKENS = 60, TILE_COLUMNS = 4096 };
enum { DENSE_TOKENS = 4, FEW_TOKENS = 32, GEMV_BYTES = 16384, GEMV_SHARES = 16, MAX_PRODUCTS = 3 };

int bc_linear_space_init(bc_linear_space *s, bc_engine *engine, int n_batch, int64_t widest,
                         bc_error *err)
{
    const size_t threads = (size_t)bc_pool_size(engine->pool), batch = (size_t)n_batch;
    const size_t integers = BC_PANEL_BYTES(widest);
    const size_t floats = BC_DENSE_PANEL_FLOATS(widest) * sizeof(float);
    const size_t stride = (size_t)(widest + BC_ACT_PAD - 1) / BC_ACT_PAD * BC_ACT_PAD;
    *s = (bc_linear_space){ .engine = engine, .n_batch = n_batch };
    s->panel_bytes = ((integers > floats ? integers : floats) + 63) / 64 * 64;
    s->act.stride = stride;
    s->panels = bc_aligned_alloc(threads * s->panel_bytes);
    s->tiles = bc_aligned_alloc(threads * batch * BC_PANEL_ROWS * sizeof *s->tiles);
    s->act.a = bc_aligned_alloc(batch * stride);
    s->act.scale = bc_aligned_alloc(batch * sizeof *s->act.scale);
    s->act.sum = bc_aligned_alloc(batch * sizeof *s->act.sum);
    s->act.scratch = bc_aligned_alloc(threads * stride * sizeof *s->act.scratch);
    s->bytes =
        (int64_t)(threads * s->panel_bytes + threads * batch * BC_PANEL_ROWS * sizeof *s->tiles +
                  batch * stride + batch * (sizeof *s->act.scale + sizeof *s->act.sum) +
                  threads * stride * sizeof *s->act.scratch);
    if (!s->panels || !s->tiles || !s->act.a || !s->act.scale || !s->act.sum || !s->act.scratch) {
        bc_linear_space_free(s);
        return bc_fail(err, BC_ERR_NOMEM, "no memory for the work space of linear maps");
    }
    return BC_OK;
}

void bc_linear_space_free(bc_linear_space *s)
{
    bc_aligned_free(s->panels);
    bc_aligned_free(s->tiles);
    bc_aligned_free(s->act.a);
    bc_aligned_free(s->act.scale);
    bc_aligned_free(s->act.sum);
    bc_aligned_free(s->act.scratch);
    *s = (bc_linear_space){ 0 };
}

struct prepare_work {
    bc_linear_space *s;
    const bc_rotation *rotation;
    const float *x;
    size_t x_stride;
    bc_token_step make;
};

static void prepare_token(void *arg, int64_t t, int thread)
{
    const struct prepare_work *w = arg;
    bc_linear_space *s = w->s;
    bc_activations *act = &s->act;
    const bc_kernels *k = &s->engine->k;
    float *rotated = act->scratch + (size_t)thread * act->stride;
    if (w->make.run) w->make.run(w->make.arg, t, thread);
    int8_t *a = act->a + (size_t)t * act->stride;
    bc_rotation_apply(w->rotation, k, rotated, w->x + (size_t)t * w->x_stride);
    act->sum[t] = k->quantize_i8(a, &act->scale[t], rotated, act->cols);
    const size_t cols = (size_t)act->cols;
    memset(a + cols, 0, (cols + BC_ACT_PAD - 1) / BC_ACT_PAD * BC_ACT_PAD - cols);
}

static void prepare(bc_linear_space *s, const bc_weight *like, const float *x, size_t x_stride,
                    int n, bc_token_step make)
{
    s->act.cols = (int)like->cols;
    struct prepare_work w = { s, like->rotation, x, x_stride, make };
    bc_pool_run(s->engine->pool, prepare_token, &w, n);
}

void bc_activations_prepare(bc_linear_space *s, const bc_weight *like, const float *x,
                            size_t x_stride, int n)
{
    if (like->kind != BC_WEIGHT_DENSE) prepare(s, like, x, x_stride, n, (bc_token_step){ 0 });
}

struct linear_work {
    bc_linear_space *s;
    const bc_product *products;
    int count, n, add; /* to what y holds, in place of it */
    const float *x;
    size_t x_stride;
    int64_t rows_per_item[MAX_PRODUCTS];
    int64_t first_item[MAX_PRODUCTS + 1];
};

static int64_t bytes_per_row(const bc_weight *w)
{
    if (w->kind == BC_WEIGHT_PLANES) return (w->cols * w->n_planes + 4) / BC_GROUP_ROWS;
    if (w->kind == BC_WEIGHT_INT8) return w->cols;
    return w->cols * (w->dtype == BC_F32 ? 4 : 2);
}

/* What is added and dense always is: its sums then are the same whatever other tokens there are. */
static int in_panels(const bc_weight *w, int n, int add)
{
    return w->kind == BC_WEIGHT_DENSE ? add || n >= DENSE_TOKENS : n > FEW_TOKENS;
}

/* A tile of one panel; or GEMV_SHARES pieces for each thread, planes in whole groups, none below
 * GEMV_BYTES. */
static int64_t item_rows(const bc_weight *w, int n, int add, int threads)
{
    if (in_panels(w, n, add)) return w->kind == BC_WEIGHT_DENSE ? BC_DENSE_ROWS : BC_PANEL_ROWS;
    const int64_t least = GEMV_BYTES / (bytes_per_row(w) + 1) + 1;
    const int64_t share = w->rows / (threads * GEMV_SHARES) + 1;
    const int64_t rows = share > least ? share : least;
    return (rows + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS * BC_GROUP_ROWS;
}

/* dots i32 [n, dot_stride] of rows r0..r1 -> y */
static void scale_integers(const struct linear_work *lw, const bc_product *p, const int32_t *dots,
                           size_t dot_stride, int64_t r0, int64_t r1, int t0, int t1)
{
    const bc_activations *act = &lw->s->act;
    const bc_weight *w = p->weight;
    const float *bias = w->bias;
    const int32_t *replica = w->replicas && w->replicas->scales ? lw->s->replica : NULL;
    for (int t = t0; t < t1; t++) {
        const float *scales =
            (replica ? w->replicas->scales + replica[t] * w->rows : w->scales) + r0;
        const int32_t *dot = dots + (size_t)(t - t0) * dot_stride;
        float *y = p->y + (size_t)t * p->y_stride + r0;
        if (lw->add)
            for (int64_t r = 0; r < r1 - r0; r++)
                y[r] += (float)dot[r] * (scales[r] * act->scale[t]);
        else
            lw->s->engine->k.scale_dots(y, dot, scales, act->scale[t], (int)(r1 - r0));
        if (bias)
            for (int64_t r = 0; r < r1 - r0; r++) y[r] += bias[r0 + r];
    }
}

static void gemv_dense_item(const struct linear_work *lw, const bc_product *p, int64_t r0,
                            int64_t r1)
{
    const bc_kernels *k = &lw->s->engine->k;
    const bc_weight *w = p->weight;
    const size_t row = (size_t)w->cols * (w->dtype == BC_F32 ? 4 : 2);
    for (int t = 0; t < lw->n; t++) {
        float *y = p->y + (size_t)t * p->y_stride + r0;
        const float *x = lw->x + (size_t)t * lw->x_stride;
        k->gemv_dense(y, (const uint8_t *)w->data + (size_t)r0 * row, w->dtype, (int)(r1 - r0),
                      (int)w->cols, x);
        if (w->bias) k->add(y, w->bias + r0, (int)(r1 - r0));
    }
}

/* rows of integers by n <= FEW_TOKENS tokens -> dots i32 [n, stride] */
static void few_rows(const struct linear_work *lw, const bc_weight *w, int64_t row, int rows,
                     int32_t *dots, size_t stride, uint8_t *work)
{
    const bc_activations *act = &lw->s->act;
    const bc_kernels *k = &lw->s->engine->k;
    const int cols = (int)w->cols;
    if (w->kind == BC_WEIGHT_INT8) {
        const int8_t *codes = (const int8_t *)w->data + (size_t)row * (size_t)cols;
        if (lw->n == 1)
            k->gemv_i8(dots, codes, rows, cols, act->a, act->sum[0]);
        else
            k->few_i8(dots, stride, codes, rows, cols, act->a, act->stride, act->sum, lw->n);
        return;
    }
    const uint8_t *planes = (const uint8_t *)w->data + (size_t)(row / BC_GROUP_ROWS) * (size_t)cols;
    const int groups = (rows + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS;
    if (lw->n == 1)
        k->gemv_planes(dots, planes, w->plane_stride, w->n_planes, groups, cols, act->a,
                       act->sum[0]);
    else
        k->few_planes(dots, stride, planes, w->plane_stride, w->n_planes, groups, cols, act->a,
                      act->stride, act->sum, lw->n, work);
}

static void few_item(const struct linear_work *lw, const bc_product *p, int64_t r0, int64_t r1,
                     int thread)
{
    bc_linear_space *s = lw->s;
    const size_t room = (size_t)s->n_batch * BC_PANEL_ROWS;
    int32_t *tile = s->tiles + (size_t)thread * room;
    const int64_t rows = (int64_t)room / lw->n / BC_GROUP_ROWS * BC_GROUP_ROWS;
    for (int64_t r = r0; r < r1; r += rows) { /* in pieces that fit the tile */
        const int64_t end = r + rows < r1 ? r + rows : r1;
        if (p->weight->scales) bc_fetch_to_read(p->weight->scales + r, 0, (size_t)(end - r));
        few_rows(lw, p->weight, r, (int)(end - r), tile, (size_t)rows,
                 s->panels + (size_t)thread * s->panel_bytes);
        scale_integers(lw, p, tile, (size_t)rows, r, end, 0, lw->n);
    }
}

static void gemm_dense_item(const struct linear_work *lw, const bc_product *p, int64_t r0,
                            int64_t r1, int thread)
{
    bc_linear_space *s = lw->s;
    const bc_kernels *k = &s->engine->k;
    const bc_weight *w = p->weight;
    const int cols = (int)w->cols, rows = (int)(r1 - r0);
    float *panel = (float *)(void *)(s->panels + (size_t)thread * s->panel_bytes);
    float *tile = (float *)(void *)(s->tiles + (size_t)thread * (size_t)s->n_batch * BC_PANEL_ROWS);
    const size_t element = w->dtype == BC_F32 ? 4 : 2;
    k->panel_dense(panel, (const uint8_t *)w->data + (size_t)r0 * (size_t)cols * element, w->dtype,
                   rows, cols);
    k->gemm_dense(tile, BC_DENSE_ROWS, panel, BC_DENSE_ROWS, cols, lw->x, lw->x_stride, lw->n, 0);
    for (int t = 0; t < lw->n; t++) {
        float *y = p->y + (size_t)t * p->y_stride + r0;
        if (lw->add)
            k->add(y, tile + (size_t)t * BC_DENSE_ROWS, rows);
        else
            memcpy(y, tile + (size_t)t * BC_DENSE_ROWS, (size_t)rows * sizeof *y);
        if (w->bias) k->add(y, w->bias + r0, rows);
    }
}

static void gemm_integer_item(const struct linear_work *lw, const bc_product *p, int64_t r0,
                              int64_t r1, int thread)
{
    bc_linear_space *s = lw->s;
    const bc_kernels *k = &s->engine->k;
    const bc_activations *act = &s->act;
    const bc_weight *w = p->weight;
    const int cols = (int)w->cols;
    uint8_t *panel = s->panels + (size_t)thread * s->panel_bytes;
    int32_t *tile = s->tiles + (size_t)thread * (size_t)s->n_batch * BC_PANEL_ROWS;
    if (w->kind == BC_WEIGHT_PLANES) {
        const uint8_t *planes =
            (const uint8_t *)w->data + (size_t)(r0 / BC_GROUP_ROWS) * (size_t)cols;
        const int groups = (int)((r1 - r0 + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS);
        k->panel_planes(panel, planes, w->plane_stride, w->n_planes, groups, cols);
    } else {
        k->panel_i8(panel, (const int8_t *)w->data + (size_t)r0 * (size_t)cols, (int)(r1 - r0),
                    cols);
    }
    const int step = cols <= TILE_COLUMNS ? TILE_TOKENS : lw->n;
    for (int t = 0; t < lw->n; t += step) {
        const int n = lw->n - t < step ? lw->n - t : step;
        const int8_t *a = act->a + (size_t)t * act->stride;
        for (int i = t; i < t + n; i++)
            bc_fetch_to_write(p->y + (size_t)i * p->y_stride + r0, (size_t)(r1 - r0));
        if (w->kind == BC_WEIGHT_PLANES)
            k->gemm_planes(tile, panel, w->n_planes, cols, a, act->stride, act->sum + t, n);
        else
            k->gemm_i8(tile, panel, cols, a, act->stride, act->sum + t, n);
        scale_integers(lw, p, tile, BC_PANEL_ROWS, r0, r1, t, t + n);
    }
}

static void linear_item(void *arg, int64_t item, int thread)
{
    const struct linear_work *lw = arg;
    if (bc_cancelled(lw->s->cancel)) return; /* the call fails; its results are not used */
    int i = 0;
    while (item >= lw->first_item[i + 1]) i++;
    const bc_product *p = &lw->products[i];
    const int64_t r0 = (item - lw->first_item[i]) * lw->rows_per_item[i];
    int64_t r1 = r0 + lw->rows_per_item[i];
    if (r1 > p->weight->rows) r1 = p->weight->rows;
    const int dense = p->weight->kind == BC_WEIGHT_DENSE,
              panels = in_panels(p->weight, lw->n, lw->add);
    if (dense && panels)
        gemm_dense_item(lw, p, r0, r1, thread);
    else if (dense)
        gemv_dense_item(lw, p, r0, r1);
    else if (panels)
        gemm_integer_item(lw, p, r0, r1, thread);
    else
        few_item(lw, p, r0, r1, thread);
}

static void run_products(bc_linear_space *s, const bc_product *products, int count, const float *x,
                         size_t x_stride, int n, int add)
{
    struct linear_work lw = { .s = s,
                              .products = products,
                              .count = count,
                              .n = n,
                              .add = add,
                              .x = x,
                              .x_stride = x_stride };
    for (int i = 0; i < count; i++) {
        lw.rows_per_item[i] = item_rows(products[i].weight, n, add, bc_pool_size(s->engine->pool));
        const int64_t items =
            (products[i].weight->rows + lw.rows_per_item[i] - 1) / lw.rows_per_item[i];
        lw.first_item[i + 1] = lw.first_item[i] + items;
    }
    bc_pool_run(s->engine->pool, linear_item, &lw, lw.first_item[count]);
}

/* What is added to W for token t on, as products of its own. */
static int deltas_of(const bc_linear_space *s, const bc_product *products, int count, int t,
                     bc_weight *weights, bc_product *deltas)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        const bc_product *p = &products[i];
        const bc_matrix_replicas *own = s->replica ? p->weight->replicas : NULL;
        if (!p->weight->delta) continue;
        weights[n] = *p->weight->delta;
        if (own && own->delta)
            weights[n].data =
                own->delta + (size_t)s->replica[t] * (size_t)(weights[n].rows * weights[n].cols);
        deltas[n] = (bc_product){ &weights[n], p->y + (size_t)t * p->y_stride, p->y_stride };
        n++;
    }
    return n;
}

static void add_deltas(bc_linear_space *s, const bc_product *products, int count, const float *x,
                       size_t x_stride, int n)
{
    bc_weight weights[MAX_PRODUCTS];
    bc_product deltas[MAX_PRODUCTS];
    for (int t = 0, end; t < n; t = end) {
        end = bc_replica_end(s->replica, t, n);
        const int n_deltas = deltas_of(s, products, count, t, weights, deltas);
        if (n_deltas == 0) return;
        run_products(s, deltas, n_deltas, x + (size_t)t * x_stride, x_stride, end - t, 1);
    }
}

void bc_linear(bc_linear_space *s, const bc_product *products, int count, const float *x,
               size_t x_stride, int n)
{
    run_products(s, products, count, x, x_stride, n, 0);
    add_deltas(s, products, count, x, x_stride, n);
    bc_lora_forward(s->engine, s->replica, products, count, x, x_stride, n);
}

void bc_linear_shared(bc_linear_space *s, const bc_product *products, int count, const float *x,
                      size_t x_stride, int n)
{
    bc_linear_made(s, products, count, x, x_stride, n, (bc_token_step){ 0 });
}

void bc_linear_made(bc_linear_space *s, const bc_product *products, int count, const float *x,
                    size_t x_stride, int n, bc_token_step make)
{
    for (int first = 0, last = 0; first < count; first = last) {
        const bc_weight *like = NULL; /* of the run's matrices one that is not dense */
        for (; last < count; last++) {
            const bc_weight *w = products[last].weight;
            if (w->kind == BC_WEIGHT_DENSE) continue;
            if (like && !bc_rotation_same(like->rotation, w->rotation)) break;
            like = w;
        }
        if (like)
            prepare(s, like, x, x_stride, n, make);
        else if (make.run)
            bc_pool_run(s->engine->pool, make.run, make.arg, n);
        make.run = NULL;
        bc_linear(s, products + first, last - first, x, x_stride, n);
    }
}

void bc_weight_row(const bc_weight *w, const bc_kernels *k, int64_t row, float *out, float *scratch)
{
    const size_t cols = (size_t)w->cols;
    if (w->kind == BC_WEIGHT_DENSE) {
        const size_t element = w->dtype == BC_F32 ? 4 : 2;
        k->to_f32(out, (const uint8_t *)w->data + (size_t)row * cols * element, w->dtype, cols);
        return;
    }
    if (w->kind == BC_WEIGHT_INT8) {
        const int8_t *codes = (const int8_t *)w->data + (size_t)row * cols;
        for (size_t c = 0; c < cols; c++) scratch[c] = w->scales[row] * codes[c];
    } else {
        const uint8_t *group = (const uint8_t *)w->data + (size_t)(row / BC_GROUP_ROWS) * cols;
        for (size_t c = 0; c < cols; c++) {
            int q = -BC_Q_MAX[w->n_planes];
            for (int p = 0, power = 2 * BC_Q_MAX[w->n_planes] + 1; p < w->n_planes; p++) {
                power /= 3;
                unsigned byte = group[(size_t)p * w->plane_stride + c];
                for (int64_t i = 0; i < row % BC_GROUP_ROWS; i++) byte = byte * 3 & 255;
                q += power * (int)(byte * 3 >> 8);
            }
            scratch[c] = w->scales[row] * (float)q;
        }
    }
    bc_rotation_undo(w->rotation, k, out, scratch);
}
