/* trained_back.c - the gradient of layers that are trained, one group of windows after the other: layer_back() reads
 * straight down. */
#include <string.h>

#include "error.h"
#include "platform.h"
#include "trained.h"

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

/* One matrix on the way back: its number, the gradient of its output. */
typedef struct matrix_back {
    int matrix;
    bc_ptr dy;
    int dy_stride;
    bc_ptr y; /* its output, in rows like dy's */
} matrix_back;

/* ---- sums ---- */

static int sum(const bc_trained_run *r, bc_sum_args args)
{
    args.n = r->n;
    return bc_trained_launch(r, BC_K_bc_back_sum, up(args.cols, BC_GPU_SUM_COLS),
                             args.rank ? args.rank : 1, BC_GPU_VECTOR_THREADS, 0, &args);
}

/* The gradient of a matrix's gains. */
static int sum_gain(const bc_trained_run *r, int layer, const bc_block_grads *to, matrix_back m)
{
    if (!to->matrix[m.matrix].gain) return BC_OK;
    const bc_gpu_matrix *matrix = &r->s->layers[layer].gpu.matrix[m.matrix];
    return sum(r, (bc_sum_args){ .u = m.dy,
                                 .u_stride = m.dy_stride,
                                 .x = m.y,
                                 .x_stride = m.dy_stride,
                                 .shift = matrix->bias,
                                 .cols = (int)matrix->of->rows,
                                 .sum = r->s->layers[layer].matrix[m.matrix].gain });
}

/* What is added to a matrix, of low rank: its gradients, and what goes through it into dx (the order of bc_lora_back). */
static int rank_back(const bc_trained_run *r, int layer, const matrix_back *m, bc_ptr x, bc_ptr dx,
                     int dx_stride)
{
    const bc_trained *s = r->s;
    const bc_trained_matrix *t = &s->layers[layer].matrix[m->matrix];
    const bc_weight *w = s->layers[layer].gpu.matrix[m->matrix].of;
    const int rows = (int)w->rows, cols = (int)w->cols;
    bc_ptr input = 0;
    int stride = 0;
    if (!t->rank) return BC_OK;
    int status = bc_trained_input(r, layer, m->matrix, x, &input, &stride);
    if (status == BC_OK)
        status = bc_trained_project(r, t->a, t->rank, cols, input, stride, s->w.rank_u);
    if (status == BC_OK)
        status = bc_trained_project(r, t->b, t->rank, rows, m->dy, m->dy_stride, s->w.rank_v);
    if (status == BC_OK)
        status = sum(r, (bc_sum_args){ .u = s->w.rank_u,
                                       .u_stride = t->rank,
                                       .x = m->dy,
                                       .x_stride = m->dy_stride,
                                       .cols = rows,
                                       .rank = t->rank,
                                       .sum = t->sum_b });
    if (status == BC_OK)
        status = sum(r, (bc_sum_args){ .u = s->w.rank_v,
                                       .u_stride = t->rank,
                                       .x = input,
                                       .x_stride = stride,
                                       .cols = cols,
                                       .rank = t->rank,
                                       .sum = t->sum_a });
    return status == BC_OK ? bc_trained_expand(r, t->a, t->rank, cols, s->w.rank_v, dx, dx_stride)
                           : status;
}

/* ---- through planes ---- */

/* s->w.rotated = (or +=) W' dy */
static int planes_back(const bc_trained_run *r, int layer, const matrix_back *m, int add)
{
    const bc_trained *s = r->s;
    const bc_trained_work *w = &s->w;
    const bc_gpu_matrix *matrix = &s->layers[layer].gpu.matrix[m->matrix];
    const int rows = (int)matrix->of->rows, blocks = (int)up(rows, BC_GPU_BACK_ROWS);
    bc_round_args round = { .dy = m->dy,
                            .dy_stride = m->dy_stride,
                            .scales = s->layers[layer].matrix[m->matrix].scales,
                            .rows = rows,
                            .n = r->n,
                            .blocks = blocks,
                            .codes = w->codes,
                            .limb = w->limb,
                            .step = w->step,
                            .sum = w->total };
    const int status =
        bc_trained_launch(r, r->limbs == 1 ? BC_K_bc_back_round_1 : BC_K_bc_back_round_2, r->n,
                          up(blocks, BC_RING_WARPS), 32 * BC_RING_WARPS, 0, &round);
    bc_back_args back = { .data = matrix->data,
                          .plane_stride = (uint64_t)matrix->plane_stride,
                          .tiled = s->device->tiled,
                          .rows = rows,
                          .cols = matrix->cols,
                          .n_planes = matrix->of->n_planes,
                          .n = r->n,
                          .blocks = blocks,
                          .limbs = r->limbs,
                          .codes = w->codes,
                          .limb = w->limb,
                          .step = w->step,
                          .sum = w->total,
                          .out = w->rotated,
                          .out_stride = (int)bc_gpu_width(matrix->of->cols),
                          .out_cols = (int)matrix->of->cols,
                          .add = add };
    if (status != BC_OK) return status;
    return bc_trained_launch(r, BC_K_bc_back_planes, up(back.cols, BC_GPU_BACK_COLS),
                             up(r->n, BC_GPU_BACK_TOKENS), BC_GPU_BACK_THREADS, 0, &back);
}

int bc_trained_unrotate(const bc_trained_run *r, const bc_gpu_matrix *like, bc_ptr rotated,
                        bc_ptr out)
{
    const int cols = (int)like->of->cols, width = (int)bc_gpu_width(cols);
    const int shared = width * (int)sizeof(float);
    bc_unrotate_args args = { .rotated = rotated,
                              .out = out,
                              .cols = cols,
                              .width = width,
                              .block = like->rotation->of->block,
                              .places = like->rotation->places,
                              .shared = shared <= r->s->device->shared_bytes };
    return bc_trained_launch(r, BC_K_bc_back_unrotate, r->n, 1, BC_GPU_VECTOR_THREADS,
                             args.shared ? shared : 0, &args);
}

/* dx of matrices with one input, which x gave (see bc_trained_input). */
static int matrices_back(const bc_trained_run *r, int layer, const matrix_back *m, int count,
                         bc_ptr x, bc_ptr dx)
{
    const bc_gpu_matrix *like = &r->s->layers[layer].gpu.matrix[m[0].matrix];
    int status = BC_OK;
    for (int i = 0; i < count && status == BC_OK; i++) status = planes_back(r, layer, &m[i], i > 0);
    if (status == BC_OK) status = bc_trained_unrotate(r, like, r->s->w.rotated, dx);
    for (int i = 0; i < count && status == BC_OK; i++)
        status = rank_back(r, layer, &m[i], x, dx, (int)bc_gpu_width(like->of->cols));
    return status;
}

/* ---- the rest of a layer ---- */

static int norm_back(const bc_trained_run *r, bc_ptr x, bc_ptr norm)
{
    const bc_trained *s = r->s;
    bc_norm_back_args args = { .dx = s->w.dy,
                               .x = x,
                               .dy = s->w.dh,
                               .norm = norm,
                               .cols = s->model->config.hidden,
                               .width = s->w.hidden,
                               .eps = s->model->config.rms_eps };
    return bc_trained_launch(r, BC_K_bc_back_norm, r->n, 1, BC_GPU_VECTOR_THREADS, 0, &args);
}

static int swiglu_back(const bc_trained_run *r)
{
    const bc_trained_work *w = &r->s->w;
    bc_swiglu_back_args args = { .gate = w->gate,
                                 .up = w->up,
                                 .d = w->d_product,
                                 .d_gate = w->d_gate,
                                 .d_up = w->d_up,
                                 .count = (int64_t)r->n * w->mlp };
    return bc_trained_launch(r, BC_K_bc_back_swiglu, up(args.count, BC_GPU_VECTOR_THREADS), 1,
                             BC_GPU_VECTOR_THREADS, 0, &args);
}

static int attention_back(const bc_trained_run *r, int layer)
{
    const bc_config *c = &r->s->model->config;
    bc_window_args args = bc_trained_window(r, layer);
    int status = bc_trained_launch(r, BC_K_bc_window_dots, r->n, up(c->n_heads, BC_RING_WARPS),
                                   32 * BC_RING_WARPS, 0, &args);
    if (status == BC_OK)
        status = bc_trained_launch(r, bc_trained_by_width(r->s, BC_K_bc_window_back_q_64),
                                   r->n_tiles, c->n_heads, BC_GPU_WINDOW_THREADS, 0, &args);
    if (status == BC_OK)
        status = bc_trained_launch(r, bc_trained_by_width(r->s, BC_K_bc_window_back_kv_64),
                                   r->n_tiles, c->n_kv_heads, BC_GPU_WINDOW_THREADS, 0, &args);
    if (status == BC_OK)
        status = bc_trained_launch(r, BC_K_bc_window_unplace, r->n,
                                   up(c->n_heads + c->n_kv_heads, BC_RING_WARPS),
                                   32 * BC_RING_WARPS, 0, &args);
    return status;
}

static int sum_gains(const bc_trained_run *r, int layer, const bc_block_grads *to,
                     const matrix_back *m, int count)
{
    int status = BC_OK;
    for (int i = 0; i < count && status == BC_OK; i++) status = sum_gain(r, layer, to, m[i]);
    return status;
}

static int layer_back(const bc_trained_run *r, int layer, const bc_block_grads *to)
{
    const bc_trained *s = r->s;
    const bc_trained_work *w = &s->w;
    const bc_trained_layer *l = &s->layers[layer];
    const bc_ptr x = l->x + (bc_ptr)r->first * (bc_ptr)w->hidden * sizeof(float);
    const matrix_back down = { BC_MATRIX_DOWN, w->dy, w->hidden, w->down_out };
    const matrix_back both[] = { { BC_MATRIX_GATE, w->d_gate, w->mlp, w->gate },
                                 { BC_MATRIX_UP, w->d_up, w->mlp, w->up } };
    const matrix_back o = { BC_MATRIX_O, w->dy, w->hidden, w->o_out };
    const matrix_back qkv[] = { { BC_MATRIX_Q, w->d_q, w->q_stride, w->q },
                                { BC_MATRIX_K, w->d_k, w->kv_stride, w->k },
                                { BC_MATRIX_V, w->d_v, w->kv_stride, w->v } };
    /* forwards once more; w->x is then what lies between attention and MLP */
    int status = bc_device_copy(s->device, w->x, x,
                                (int64_t)r->n * w->hidden * (int64_t)sizeof(float), r->err);
    if (status == BC_OK)
        status = bc_trained_layer_forward(r, layer, to->matrix[BC_MATRIX_DOWN].gain != NULL);
    /* the MLP */
    if (status == BC_OK) status = sum_gains(r, layer, to, &down, 1);
    if (status == BC_OK) status = matrices_back(r, layer, &down, 1, w->x, w->d_product);
    if (status == BC_OK) status = swiglu_back(r);
    if (status == BC_OK) status = sum_gains(r, layer, to, both, 2);
    if (status == BC_OK) status = matrices_back(r, layer, both, 2, w->x, w->dh);
    if (status == BC_OK) status = norm_back(r, w->x, l->gpu.mlp_norm);
    /* attention */
    if (status == BC_OK) status = sum_gains(r, layer, to, &o, 1);
    if (status == BC_OK) status = matrices_back(r, layer, &o, 1, w->x, w->d_out);
    if (status == BC_OK) status = attention_back(r, layer);
    if (status == BC_OK) status = sum_gains(r, layer, to, qkv, 3);
    if (status == BC_OK) status = matrices_back(r, layer, qkv, 3, x, w->dh);
    return status == BC_OK ? norm_back(r, x, l->gpu.attn_norm) : status;
}

/* ---- the call ---- */

static int run_group(bc_trained_run *r, float *dy, const bc_block_grads *const *grads, bc_stop stop)
{
    const bc_trained *s = r->s;
    float *rows = dy + (size_t)r->first * (size_t)s->model->config.hidden;
    int status = bc_trained_rows_in(r, s->w.dy, rows, r->n);
    for (int l = s->model->config.n_layers - 1; l >= 0 && status == BC_OK; l--) {
        r->limbs = grads[l]->coarse ? 1 : 2;
        status = stop.asked(stop.arg)
                     ? bc_fail(r->err, BC_ERR_CANCELLED, "the layers' way back was cancelled")
                     : layer_back(r, l, grads[l]);
    }
    if (status == BC_OK) status = bc_trained_rows_out(r, rows, s->w.dy, r->n);
    const int waited = bc_device_wait(s->device, status == BC_OK ? r->err : NULL);
    return status == BC_OK ? waited : status;
}

static void add_sums(double *to, const uint8_t *sums, int64_t at, int64_t count)
{
    if (!to) return;
    const double *from = (const double *)(const void *)(sums + at);
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

/* What all groups have summed up, to the caller's arrays. */
static int take_sums(bc_trained *s, const bc_block_grads *const *grads, bc_error *err)
{
    uint8_t *sums = bc_aligned_alloc((size_t)s->sums_bytes + 1);
    if (!sums) return bc_fail(err, BC_ERR_NOMEM, "no memory for the gradients of a step");
    int status = bc_device_download(s->device, sums, s->sums, s->sums_bytes, err);
    if (status == BC_OK) status = bc_device_wait(s->device, err);
    for (int l = 0; l < s->model->config.n_layers && status == BC_OK; l++)
        for (int i = 0; i < BC_N_STACK_MATRICES; i++) {
            const bc_trained_matrix *m = &s->layers[l].matrix[i];
            const bc_weight *w = s->layers[l].gpu.matrix[i].of;
            const bc_matrix_grads *to = &grads[l]->matrix[i];
            add_sums(to->gain, sums, (int64_t)(m->gain - s->sums), w->rows);
            add_sums(to->lora_a, sums, (int64_t)(m->sum_a - s->sums), m->rank * w->cols);
            add_sums(to->lora_b, sums, (int64_t)(m->sum_b - s->sums), m->rank * w->rows);
        }
    bc_aligned_free(sums);
    return status;
}

int bc_trained_backward(bc_trained *s, float *dy, const bc_block_grads *const *grads, bc_stop stop,
                        bc_error *err)
{
    bc_trained_run r = { .s = s, .err = err };
    r.space = bc_trained_space(s);
    int status = bc_device_enter(s->device, err);
    if (status == BC_OK) status = bc_device_clear(s->device, s->sums, s->sums_bytes, err);
    for (int i = 0; i < s->n_windows && status == BC_OK;) {
        i += bc_trained_group(&r, s->starts, i, s->n_windows, s->n_windows, &status);
        if (status == BC_OK) status = run_group(&r, dy, grads, stop);
    }
    return status == BC_OK ? take_sums(s, grads, err) : status;
}
