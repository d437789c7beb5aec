/* linear_back.c - the transposed product: how a gradient goes back through W.
 *
 * dx[t][c] = sum_r dy[t][r] W[r][c] is a matrix product whose panel holds columns of W. Those of planes and int8 matrices
 * are multiplied as the integers they are: scales * dy is made integers of 16 or 8 bits with a step of its own for
 * each token and block of rows, all strips of columns go through a few such blocks, then come the next ones. Dense matrices are
 * multiplied in f32. A strip's rows come in ascending order whatever the number of threads. */
#include "linear_back.h"

#include <math.h>
#include <string.h>

#include "error.h"
#include "fetch.h"
#include "planes.h"
#include "platform.h"

enum { STRIP = BC_DENSE_ROWS, DENSE_BLOCK = 2000 /* rows: the panel stays in the L2 */ };
enum { MAX_PRODUCTS = 3 };

int bc_back_space_init(bc_back_space *s, bc_engine *engine, int n_batch, bc_error *err)
{
    const size_t tokens = (size_t)n_batch * BC_BACK_BLOCKS;
    *s = (bc_back_space){ .n_batch = n_batch };
    s->panels = bc_aligned_alloc((size_t)bc_pool_size(engine->pool) * BC_BACK_PANEL_BYTES);
    s->codes = bc_aligned_alloc(tokens * BC_BACK_CODES);
    s->step = bc_aligned_alloc(tokens * sizeof *s->step);
    s->sum = bc_aligned_alloc(tokens * sizeof *s->sum);
    if (s->panels && s->codes && s->step && s->sum) return BC_OK;
    bc_back_space_free(s);
    return bc_fail(err, BC_ERR_NOMEM, "no memory for the work space of gradients");
}

void bc_back_space_free(bc_back_space *s)
{
    bc_aligned_free(s->panels);
    bc_aligned_free(s->codes);
    bc_aligned_free(s->step);
    bc_aligned_free(s->sum);
    *s = (bc_back_space){ 0 };
}

struct back_work {
    bc_linear_space *s;
    bc_back_space *back;
    const bc_back_product *products;
    int count, n;
    size_t cols;
    float *rotated, *dx;
    bc_token_step make, take;
    const bc_rotation *rotation; /* of the matrices that have one; NULL: none of them */
    int any_dense;
    /* the blocks at work; they add to what is there once there was one */
    struct block {
        const bc_back_product *product;
        int64_t row;
        int rows;
    } blocks[BC_BACK_BLOCKS];
    int n_blocks, any_before;
};

static int is_rotated(const bc_weight *w) { return w->kind != BC_WEIGHT_DENSE; }

/* ---- integers ---- */

static void integers_of(void *arg, int64_t t, int thread)
{
    const struct back_work *w = arg;
    if (w->make.run) w->make.run(w->make.arg, t, thread);
    for (int i = 0; i < w->n_blocks; i++) {
        const struct block *b = &w->blocks[i];
        const size_t at = (size_t)i * (size_t)w->back->n_batch + (size_t)t;
        const bc_back_product *p = b->product;
        const float *dy = p->dy + (size_t)t * p->dy_stride + b->row;
        if (!w->make.run)
            bc_fetch_to_read(dy, p->dy_stride, (size_t)b->rows); /* of the next token */
        const float fine_above = p->fine_above ? p->fine_above[t] : w->back->coarse ? INFINITY : -1;
        w->back->sum[at] = w->s->engine->k.quantize_i16(
            w->back->codes + at * BC_BACK_CODES, &w->back->step[at], dy, p->weight->scales + b->row,
            b->rows, fine_above, p->fine_above != NULL);
    }
}

/* The rows of block i lie far apart and there are too few of them for the processor to follow: they are asked for while
 * the block before is multiplied. */
static void fetch_block(const struct back_work *w, int i, size_t c)
{
    const struct block *b = &w->blocks[i];
    const bc_weight *m = b->product->weight;
    const int planes = m->kind == BC_WEIGHT_PLANES, per = planes ? BC_GROUP_ROWS : 1;
    const uint8_t *from = (const uint8_t *)m->data + (size_t)(b->row / per) * w->cols + c;
    for (int k = 0; k < (planes ? m->n_planes : 1); k++)
        for (int r = 0; r < b->rows; r += per)
            __builtin_prefetch(from + (size_t)k * m->plane_stride + (size_t)(r / per) * w->cols);
}

/* One strip of columns. */
static void integer_strip(void *arg, int64_t item, int thread)
{
    const struct back_work *w = arg;
    const bc_kernels *k = &w->s->engine->k;
    const size_t c = (size_t)item * BC_BACK_COLS;
    const int width = w->cols - c < BC_BACK_COLS ? (int)(w->cols - c) : BC_BACK_COLS;
    uint8_t *panel = w->back->panels + (size_t)thread * BC_BACK_PANEL_BYTES;
    if (bc_cancelled(w->s->cancel)) return; /* the call fails; its results are not used */
    for (int i = 0; i < w->n_blocks; i++) {
        const struct block *b = &w->blocks[i];
        const bc_weight *m = b->product->weight;
        const size_t at = (size_t)i * (size_t)w->back->n_batch;
        if (m->kind == BC_WEIGHT_PLANES)
            k->columns_planes(
                panel, (const uint8_t *)m->data + (size_t)(b->row / BC_GROUP_ROWS) * w->cols + c,
                m->plane_stride, m->n_planes, b->rows, w->cols, width);
        else
            k->columns_i8(panel, (const int8_t *)m->data + (size_t)b->row * w->cols + c, b->rows,
                          w->cols, width);
        if (i + 1 < w->n_blocks)
            fetch_block(w, i + 1, c);
        else if (c + BC_BACK_COLS < w->cols)
            fetch_block(w, 0, c + BC_BACK_COLS); /* of the strip that probably comes next */
        k->gemm_columns(w->rotated + c, w->cols, panel,
                        m->kind == BC_WEIGHT_PLANES ? m->n_planes : 0, b->rows, width,
                        w->back->codes + at * BC_BACK_CODES, w->back->step + at, w->back->sum + at,
                        w->n, i > 0 || w->any_before);
    }
}

static void run_blocks(struct back_work *w)
{
    if (w->n_blocks == 0) return;
    const int64_t strips = (int64_t)((w->cols + BC_BACK_COLS - 1) / BC_BACK_COLS);
    bc_pool *pool = w->s->engine->pool;
    bc_pool_run(pool, integers_of, w, w->n);
    w->make.run = NULL;
    bc_pool_run(pool, integer_strip, w, strips);
    w->any_before = 1;
    w->n_blocks = 0;
}

/* All blocks of all matrices with integers -> rotated. Blocks are whole groups and about equally long. */
static void run_integers(struct back_work *w)
{
    for (int i = 0; i < w->count; i++) {
        const bc_back_product *p = &w->products[i];
        if (!is_rotated(p->weight)) continue;
        const int64_t rows = p->weight->rows, pieces = (rows + BC_BACK_ROWS - 1) / BC_BACK_ROWS;
        const int64_t even = (rows + pieces - 1) / pieces;
        const int64_t step = (even + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS * BC_GROUP_ROWS;
        for (int64_t r = 0; r < rows; r += step) {
            if (w->n_blocks == BC_BACK_BLOCKS) run_blocks(w);
            w->blocks[w->n_blocks++] =
                (struct block){ p, r, (int)(rows - r < step ? rows - r : step) };
        }
    }
    run_blocks(w);
}

/* ---- dense matrices ---- */

/* Rows of columns c.. -> panel [rows][STRIP] */
static void dense_panel(const bc_kernels *k, float *panel, const bc_weight *w, int64_t r0, int rows,
                        size_t c, int width)
{
    const size_t cols = (size_t)w->cols, element = w->dtype == BC_F32 ? 4 : 2;
    const uint8_t *from = (const uint8_t *)w->data + ((size_t)r0 * cols + c) * element;
    if (width < STRIP) memset(panel, 0, (size_t)rows * STRIP * sizeof *panel);
    for (int r = 0; r < rows; r++)
        k->to_f32(panel + (size_t)r * STRIP, from + (size_t)r * cols * element, w->dtype,
                  (size_t)width);
}

static void dense_strip(void *arg, int64_t item, int thread)
{
    const struct back_work *w = arg;
    bc_linear_space *s = w->s;
    const bc_kernels *k = &s->engine->k;
    const size_t c = (size_t)item * STRIP;
    const int width = w->cols - c < STRIP ? (int)(w->cols - c) : STRIP;
    float *panel = (float *)(void *)(s->panels + (size_t)thread * s->panel_bytes);
    float *tile = (float *)(void *)(s->tiles + (size_t)thread * (size_t)s->n_batch * BC_PANEL_ROWS);
    int64_t block = (int64_t)(s->panel_bytes / (STRIP * sizeof *panel));
    block = block > DENSE_BLOCK ? DENSE_BLOCK : block;
    int first = 1;
    for (int i = 0; i < w->count; i++) {
        const bc_back_product *p = &w->products[i];
        if (is_rotated(p->weight)) continue;
        for (int64_t r = 0; r < p->weight->rows; r += block) {
            if (bc_cancelled(s->cancel)) return; /* the call fails; its results are not used */
            const int rows = (int)(p->weight->rows - r < block ? p->weight->rows - r : block);
            dense_panel(k, panel, p->weight, r, rows, c, width);
            k->gemm_dense(tile, STRIP, panel, STRIP, rows, p->dy + r, p->dy_stride, w->n, 0);
            for (int t = 0; t < w->n; t++) {
                float *to = w->dx + c + (size_t)t * w->cols;
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

/* ---- both ---- */

static void unrotate_token(void *arg, int64_t t, int thread)
{
    const struct back_work *w = arg;
    const bc_kernels *k = &w->s->engine->k;
    float *y = w->rotated + (size_t)t * w->cols, *to = w->dx + (size_t)t * w->cols;
    if (!w->any_dense) {
        bc_rotation_undo(w->rotation, k, to, y);
    } else {
        float *x = w->s->act.scratch + (size_t)thread * w->s->act.stride;
        bc_rotation_undo(w->rotation, k, x, y);
        k->add(to, x, (int)w->cols);
    }
    if (w->take.run) w->take.run(w->take.arg, t, thread);
}

int bc_back_in_integers(const bc_weight *w) { return is_rotated(w) && !w->delta; }

void bc_linear_back_token(const bc_linear_space *s, const bc_weight *w, float *rotated, float *dx,
                          int64_t t)
{
    const size_t at = (size_t)t * (size_t)w->cols;
    bc_rotation_undo(w->rotation, &s->engine->k, dx + at, rotated + at);
}

/* The matrices and what is added to them. */
static void list_products(struct back_work *w, bc_back_product *all, const bc_back_job *job)
{
    for (int i = 0; i < job->count; i++) {
        const bc_back_product *p = &job->products[i];
        all[w->count++] = *p;
        if (p->weight->delta)
            all[w->count++] = (bc_back_product){ p->weight->delta, p->dy, p->dy_stride, NULL };
    }
    for (int i = 0; i < w->count; i++) {
        if (is_rotated(all[i].weight))
            w->rotation = all[i].weight->rotation;
        else
            w->any_dense = 1;
    }
}

void bc_linear_back(bc_linear_space *s, bc_back_space *back, const bc_back_job *job)
{
    bc_back_product all[2 * MAX_PRODUCTS];
    bc_pool *pool = s->engine->pool;
    struct back_work w = { .s = s, .back = back, .products = all, .n = job->n };
    w.cols = (size_t)job->products[0].weight->cols;
    w.rotated = job->rotated;
    w.dx = job->dx;
    w.make = job->make;
    w.take = job->take;
    list_products(&w, all, job);
    if (w.any_dense) {
        if (w.make.run) bc_pool_run(pool, w.make.run, w.make.arg, w.n);
        w.make.run = NULL;
        bc_pool_run(pool, dense_strip, &w, (int64_t)((w.cols + STRIP - 1) / STRIP));
    }
    if (w.rotation) {
        run_integers(&w);
        if (w.dx) bc_pool_run(pool, unrotate_token, &w, w.n);
    } else if (w.take.run) {
        bc_pool_run(pool, w.take.run, w.take.arg, w.n);
    }
}
