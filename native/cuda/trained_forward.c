/* trained_forward.c - windows through layers that are trained: bc_trained_layer_forward() reads straight down. */
#include <math.h>
#include <string.h>

#include "error.h"
#include "trained.h"

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

/* ---- the pieces of a layer ---- */

int bc_trained_project(const bc_trained_run *r, bc_ptr m, int rank, int cols, bc_ptr x,
                       int x_stride, bc_ptr u)
{
    bc_project_args args = {
        .m = m, .x = x, .x_stride = x_stride, .cols = cols, .rank = rank, .u = u
    };
    return bc_trained_launch(r, BC_K_bc_rank_project, r->n, up(rank, BC_RING_WARPS),
                             32 * BC_RING_WARPS, 0, &args);
}

int bc_trained_expand(const bc_trained_run *r, bc_ptr m, int rank, int cols, bc_ptr u, bc_ptr y,
                      int y_stride)
{
    bc_expand_args args = {
        .m = m, .u = u, .cols = cols, .rank = rank, .y_stride = y_stride, .y = y
    };
    return bc_trained_launch(r, BC_K_bc_rank_expand, up(cols, BC_GPU_VECTOR_THREADS), r->n,
                             BC_GPU_VECTOR_THREADS, 0, &args);
}

bc_window_args bc_trained_window(const bc_trained_run *r, int layer)
{
    const bc_trained *s = r->s;
    const bc_config *c = &s->model->config;
    const bc_trained_work *w = &s->w;
    return (bc_window_args){ .q = w->q,
                             .k = w->k,
                             .v = w->v,
                             .q_placed = w->q_placed,
                             .k_placed = w->k_placed,
                             .out = w->out,
                             .stats = w->stats,
                             .d_out = w->d_out,
                             .dots = w->dots,
                             .d_q = w->d_q,
                             .d_k = w->d_k,
                             .d_v = w->d_v,
                             .cos = s->cos,
                             .sin = s->sin,
                             .positions = w->positions,
                             .q_norm = s->layers[layer].gpu.q_norm,
                             .k_norm = s->layers[layer].gpu.k_norm,
                             .tiles = w->tiles,
                             .q_stride = w->q_stride,
                             .heads = c->n_heads,
                             .kv_heads = c->n_kv_heads,
                             .head_dim = c->head_dim,
                             .window = bc_gpu_slides(c, layer),
                             .eps = c->rms_eps,
                             .factor = 1.0f / sqrtf((float)c->head_dim) };
}

static int attend(const bc_trained_run *r, int layer)
{
    const bc_config *c = &r->s->model->config;
    bc_window_args args = bc_trained_window(r, layer);
    const int status = bc_trained_launch(r, BC_K_bc_window_place, r->n,
                                         up(c->n_heads + c->n_kv_heads, BC_RING_WARPS),
                                         32 * BC_RING_WARPS, 0, &args);
    if (status != BC_OK) return status;
    return bc_trained_launch(r, bc_trained_by_width(r->s, BC_K_bc_window_attend_64), r->n_tiles,
                             c->n_heads, BC_GPU_WINDOW_THREADS, 0, &args);
}

static bc_prepare_args normed(const bc_trained_run *r, bc_ptr x, bc_ptr y, bc_ptr norm)
{
    const bc_config *c = &r->s->model->config;
    return (bc_prepare_args){
        .source = BC_FROM_X, .cols = c->hidden, .x = x, .y = y, .norm = norm, .eps = c->rms_eps
    };
}

static bc_prepare_args gated(const bc_trained_run *r)
{
    return (bc_prepare_args){ .source = BC_FROM_SWIGLU,
                              .cols = r->s->model->config.intermediate,
                              .gate = r->s->w.gate,
                              .up = r->s->w.up };
}

int bc_trained_input(const bc_trained_run *r, int layer, int matrix, bc_ptr x, bc_ptr *input,
                     int *stride)
{
    const bc_trained *s = r->s;
    const bc_gpu_layer *l = &s->layers[layer].gpu;
    if (matrix == BC_MATRIX_O) {
        *input = s->w.out;
        *stride = s->w.q_stride;
        return BC_OK;
    }
    bc_prepare_args source = gated(r);
    if (matrix != BC_MATRIX_DOWN)
        source = normed(r, x, 0, matrix < BC_MATRIX_O ? l->attn_norm : l->mlp_norm);
    *input = s->b.plain;
    *stride = (int)bc_gpu_width(source.cols);
    return bc_gpu_prepare(&r->space, source, &l->matrix[matrix], 1, r->n, r->err);
}

/* What is added to `count` matrices from `first` on, whose outputs are y. */
static int add_ranks(const bc_trained_run *r, int layer, int first, int count,
                     const bc_gpu_product *products)
{
    const bc_trained *s = r->s;
    bc_ptr x = 0;
    int stride = 0, status = BC_OK;
    for (int i = 0; i < count && status == BC_OK; i++) {
        const bc_trained_matrix *m = &s->layers[layer].matrix[first + i];
        const bc_weight *w = products[i].matrix->of;
        if (!m->rank) continue;
        if (!x) status = bc_trained_input(r, layer, first + i, s->w.x, &x, &stride);
        if (status == BC_OK)
            status = bc_trained_project(r, m->a, m->rank, (int)w->cols, x, stride, s->w.rank_u);
        if (status == BC_OK)
            status = bc_trained_expand(r, m->b, m->rank, (int)w->rows, s->w.rank_u, products[i].y,
                                       products[i].y_stride);
    }
    return status;
}

static int linear(const bc_trained_run *r, int layer, bc_prepare_args source, int first, int count,
                  const bc_gpu_product *products)
{
    const int status = bc_gpu_linear(&r->space, source, products, count, r->n, r->err);
    return status == BC_OK ? add_ranks(r, layer, first, count, products) : status;
}

int bc_trained_layer_forward(const bc_trained_run *r, int layer, int whole)
{
    const bc_trained *s = r->s;
    const bc_trained_work *w = &s->w;
    const bc_gpu_layer *l = &s->layers[layer].gpu;
    bc_gpu_matrix m[BC_N_STACK_MATRICES]; /* with the replica's scales */
    for (int i = 0; i < BC_N_STACK_MATRICES; i++) {
        m[i] = l->matrix[i];
        m[i].scales = s->layers[layer].matrix[i].scales +
                      (bc_ptr)r->replica * (bc_ptr)m[i].of->rows * sizeof(float);
    }
    const bc_gpu_product qkv[] = { { &m[BC_MATRIX_Q], w->q, w->q_stride, 0, 0 },
                                   { &m[BC_MATRIX_K], w->k, w->kv_stride, 0, 0 },
                                   { &m[BC_MATRIX_V], w->v, w->kv_stride, 0, 0 } };
    const bc_gpu_product o = { &m[BC_MATRIX_O], w->o_out, w->hidden, 0, 0 };
    const bc_gpu_product both[] = { { &m[BC_MATRIX_GATE], w->gate, w->mlp, 0, 0 },
                                    { &m[BC_MATRIX_UP], w->up, w->mlp, 0, 0 } };
    const bc_gpu_product down = { &m[BC_MATRIX_DOWN], w->down_out, w->hidden, 0, 0 };
    const bc_prepare_args mixed = { .source = BC_FROM_X,
                                    .cols = (int)m[BC_MATRIX_O].of->cols,
                                    .x = w->out };
    int status = linear(r, layer, normed(r, w->x, 0, l->attn_norm), BC_MATRIX_Q, 3, qkv);
    if (status == BC_OK) status = attend(r, layer);
    if (status == BC_OK) status = linear(r, layer, mixed, BC_MATRIX_O, 1, &o);
    if (status == BC_OK)
        status = linear(r, layer, normed(r, w->x, w->o_out, l->mlp_norm), BC_MATRIX_GATE, 2, both);
    if (status == BC_OK && whole) status = linear(r, layer, gated(r), BC_MATRIX_DOWN, 1, &down);
    return status;
}

/* ---- the call ---- */

/* Row scales, low-rank additions and angles. */
static int send_parameters(bc_trained *s, const bc_trained_batch *batch, bc_error *err)
{
    const bc_config *c = &s->model->config;
    const int64_t f = sizeof(float), angles = (int64_t)s->params.window * (c->head_dim / 2) * f;
    int status = bc_device_upload(s->device, s->cos, batch->cos, angles, err);
    if (status == BC_OK) status = bc_device_upload(s->device, s->sin, batch->sin, angles, err);
    for (int i = 0; i < c->n_layers * BC_N_STACK_MATRICES && status == BC_OK; i++) {
        const int l = i / BC_N_STACK_MATRICES, matrix = i % BC_N_STACK_MATRICES;
        const bc_weight *w = bc_layer_weight(&s->model->layers[l], matrix);
        const bc_trained_matrix *m = &s->layers[l].matrix[matrix];
        status = bc_device_upload(s->device, m->scales, batch->scales[i],
                                  batch->replicas * w->rows * f, err);
        if (status == BC_OK && m->rank)
            status = bc_device_upload(s->device, m->a, w->lora.a, m->rank * w->cols * f, err);
        if (status == BC_OK && m->rank)
            status = bc_device_upload(s->device, m->b, w->lora.b, m->rank * w->rows * f, err);
    }
    return status;
}

static int stopped(bc_stop stop, bc_error *err)
{
    return stop.asked(stop.arg) ? bc_fail(err, BC_ERR_CANCELLED, "the layers' pass was cancelled")
                                : BC_OK;
}

static int run_group(const bc_trained_run *r, const bc_trained_batch *batch)
{
    const bc_trained *s = r->s;
    const bc_trained_work *w = &s->w;
    float *x = batch->x + (size_t)r->first * (size_t)s->model->config.hidden;
    const int64_t row = w->hidden * (int64_t)sizeof(float);
    int status = bc_trained_rows_in(r, w->x, x, r->n);
    for (int l = 0; l < s->model->config.n_layers && status == BC_OK; l++) {
        status = stopped(batch->stop, r->err);
        if (status == BC_OK && batch->keep)
            status = bc_device_copy(s->device, s->layers[l].x + (bc_ptr)(r->first * row), w->x,
                                    r->n * row, r->err);
        if (status == BC_OK) status = bc_trained_layer_forward(r, l, 1);
        bc_add_args add = { .x = w->x, .y = w->down_out, .count = (int64_t)r->n * w->hidden };
        if (status == BC_OK)
            status = bc_trained_launch(r, BC_K_bc_add, up(add.count, 256), 1, 256, 0, &add);
    }
    if (status == BC_OK) status = bc_trained_rows_out(r, x, w->x, r->n);
    const int waited = bc_device_wait(s->device, status == BC_OK ? r->err : NULL);
    return status == BC_OK ? waited : status;
}

int bc_trained_forward(bc_trained *s, const bc_trained_batch *batch, bc_error *err)
{
    bc_trained_run r = { .s = s, .err = err };
    r.space = bc_trained_space(s);
    int status = bc_device_enter(s->device, err);
    if (status == BC_OK) status = send_parameters(s, batch, err);
    s->n_windows = 0;
    for (int i = 0; i < batch->n_windows && status == BC_OK;) {
        i += bc_trained_group(&r, batch->starts, i, batch->n_windows,
                              batch->n_windows / batch->replicas, &status);
        if (status == BC_OK) status = run_group(&r, batch);
    }
    if (status == BC_OK && batch->keep) {
        s->n_windows = batch->n_windows;
        memcpy(s->starts, batch->starts, ((size_t)batch->n_windows + 1) * sizeof *s->starts);
    }
    return status;
}
