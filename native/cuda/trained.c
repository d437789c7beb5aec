/* trained.c - layers on a card with room for steps of training: opening and closing, and groups of windows. */
#include "trained.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "error.h"

static int most(int a, int b) { return a > b ? a : b; }
static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

static bc_ptr floats(bc_arena *a, int64_t rows, int64_t cols)
{
    return bc_arena_take(a, rows * cols * (int64_t)sizeof(float));
}

/* ---- what lies on the card, in the order of the allocation ---- */

static void lay_matrix(bc_arena *a, bc_trained *s, int layer, int matrix)
{
    const bc_weight *w = bc_layer_weight(&s->model->layers[layer], matrix);
    bc_trained_matrix *m = &s->layers[layer].matrix[matrix];
    bc_arena_matrix(a, &s->layers[layer].gpu.matrix[matrix], w, s->rotations, &s->n_rotations);
    m->rank = w->lora.rank;
    m->scales = floats(a, s->params.replicas, w->rows);
    m->a = m->rank ? floats(a, m->rank, w->cols) : 0;
    m->b = m->rank ? floats(a, m->rank, w->rows) : 0;
}

static void lay_layer(bc_arena *a, bc_trained *s, int layer)
{
    const bc_config *c = &s->model->config;
    const bc_layer *from = &s->model->layers[layer];
    bc_trained_layer *to = &s->layers[layer];
    const int64_t f = sizeof(float);
    to->gpu.attn_norm = bc_arena_vector(a, from->attn_norm, c->hidden);
    to->gpu.mlp_norm = bc_arena_vector(a, from->mlp_norm, c->hidden);
    to->gpu.q_norm = bc_arena_copy(a, from->q_norm, f * c->head_dim);
    to->gpu.k_norm = bc_arena_copy(a, from->k_norm, f * c->head_dim);
    for (int i = 0; i < BC_N_STACK_MATRICES; i++) lay_matrix(a, s, layer, i);
    to->x = s->params.back ? floats(a, s->params.tokens, bc_gpu_width(c->hidden)) : 0;
}

static void lay_sums(bc_arena *a, bc_trained *s)
{
    const int64_t before = a->used;
    s->sums = a->base + (bc_ptr)before;
    for (int l = 0; l < s->model->config.n_layers && s->params.back; l++)
        for (int i = 0; i < BC_N_STACK_MATRICES; i++) {
            bc_trained_matrix *m = &s->layers[l].matrix[i];
            const bc_weight *w = bc_layer_weight(&s->model->layers[l], i);
            m->gain = bc_arena_take(a, w->rows * (int64_t)sizeof(double));
            m->sum_a = bc_arena_take(a, m->rank * w->cols * (int64_t)sizeof(double));
            m->sum_b = bc_arena_take(a, m->rank * w->rows * (int64_t)sizeof(double));
        }
    s->sums_bytes = a->used - before;
}

static int largest_rank(const bc_trained *s)
{
    int rank = 0;
    for (int l = 0; l < s->model->config.n_layers; l++)
        for (int i = 0; i < BC_N_STACK_MATRICES; i++)
            rank = most(rank, bc_layer_weight(&s->model->layers[l], i)->lora.rank);
    return rank;
}

static int most_rows(const bc_config *c)
{
    return most(most(c->n_heads * c->head_dim, c->intermediate), c->hidden);
}

/* What bc_gpu_linear works in. */
static void lay_linear(bc_arena *a, bc_trained *s, int rank)
{
    const bc_config *c = &s->model->config;
    bc_gpu_buffers *b = &s->b;
    const int widest = (int)bc_gpu_width(most_rows(c)); /* of inputs, too */
    const int tiles = (c->n_heads + 2 * c->n_kv_heads) * c->head_dim + 2 * c->intermediate +
                      c->hidden; /* rows of matrices with one input, at most */
    const int64_t tile_rows = tiles / BC_GPU_TILE_ROWS + 3;
    const int64_t joined = s->group < BC_JOIN_TOKENS ? s->group : BC_JOIN_TOKENS;
    b->a_stride = (int)up(widest, BC_GPU_ACT_PAD) * BC_GPU_ACT_PAD;
    b->plain = rank ? floats(a, s->group, widest) : 0;
    b->work = bc_gpu_wide(s->device, b->a_stride) ? floats(a, s->group, widest) : 0;
    b->a = bc_arena_take(a, (int64_t)s->group * b->a_stride);
    b->scale = floats(a, s->group, 1);
    b->sum = floats(a, s->group, 1);
    b->partial_stride = (int)(tile_rows * BC_GPU_TILE_ROWS);
    b->partial_bytes = joined * b->partial_stride * (int64_t)sizeof(int32_t);
    b->arrived_bytes = 2 * tile_rows * (int64_t)sizeof(int32_t);
    b->partial = bc_arena_take(a, b->partial_bytes);
    b->arrived = bc_arena_take(a, b->arrived_bytes);
}

static void lay_back(bc_arena *a, bc_trained *s)
{
    const bc_config *c = &s->model->config;
    bc_trained_work *w = &s->w;
    const int64_t n = s->group, blocks = up(most_rows(c), BC_GPU_BACK_ROWS);
    w->dots = floats(a, n, c->n_heads);
    w->dh = floats(a, n, w->hidden);
    w->d_out = floats(a, n, w->q_stride);
    w->d_q = floats(a, n, w->q_stride);
    w->d_k = floats(a, n, w->kv_stride);
    w->d_v = floats(a, n, w->kv_stride);
    w->d_product = floats(a, n, w->mlp);
    w->d_gate = floats(a, n, w->mlp);
    w->d_up = floats(a, n, w->mlp);
    w->rotated = floats(a, n, bc_gpu_width(most_rows(c)));
    w->limb = n * blocks * BC_GPU_BACK_ROWS;
    w->codes = bc_arena_take(a, 2 * w->limb);
    w->step = floats(a, blocks, n);
    w->total = floats(a, blocks, n);
}

static void lay_work(bc_arena *a, bc_trained *s)
{
    const bc_config *c = &s->model->config;
    bc_trained_work *w = &s->w;
    const int64_t n = s->group;
    const int rank = largest_rank(s);
    w->hidden = (int)bc_gpu_width(c->hidden);
    w->mlp = (int)bc_gpu_width(c->intermediate);
    w->q_stride = (int)bc_gpu_width(c->n_heads * c->head_dim);
    w->kv_stride = c->n_kv_heads * c->head_dim;
    lay_linear(a, s, rank);
    w->x = floats(a, n, w->hidden);
    w->dy = floats(a, n, w->hidden);
    w->o_out = floats(a, n, w->hidden);
    w->down_out = floats(a, n, w->hidden);
    w->q = floats(a, n, w->q_stride);
    w->q_placed = floats(a, n, w->q_stride);
    w->out = floats(a, n, w->q_stride);
    w->k = floats(a, n, w->kv_stride);
    w->k_placed = floats(a, n, w->kv_stride);
    w->v = floats(a, n, w->kv_stride);
    w->stats = floats(a, n, 2 * (int64_t)c->n_heads);
    w->gate = floats(a, n, w->mlp);
    w->up = floats(a, n, w->mlp);
    w->rank_u = floats(a, n, rank);
    w->rank_v = floats(a, n, rank);
    w->positions = bc_arena_take(a, n * (int64_t)sizeof(int32_t));
    w->tiles = bc_arena_take(a, n * (int64_t)sizeof(bc_gpu_window_tile));
    s->cos = floats(a, s->params.window, c->head_dim / 2);
    s->sin = floats(a, s->params.window, c->head_dim / 2);
    if (s->params.back) lay_back(a, s);
}

static void lay_head(bc_arena *a, bc_trained *s)
{
    const bc_model *m = s->model;
    bc_trained_head *h = &s->head;
    const int64_t vocab = m->head.rows, width = s->w.hidden, f = sizeof(float);
    h->tokens = s->group < BC_LOSS_TOKENS ? s->group : BC_LOSS_TOKENS;
    const int64_t n = h->tokens, blocks = up(vocab, BC_GPU_BACK_ROWS);
    h->norm = bc_arena_vector(a, m->final_norm, m->config.hidden);
    bc_arena_matrix(a, &h->matrix, &m->head, s->rotations, &s->n_rotations);
    h->h = floats(a, n, width);
    h->logits = floats(a, n, vocab);
    h->targets = bc_arena_take(a, n * f);
    h->weights = floats(a, n, 1);
    h->found = bc_arena_take(a, n * 3 * (int64_t)sizeof(double));
    if (!s->params.back) return;
    h->limb = n * blocks * BC_GPU_BACK_ROWS;
    h->codes = bc_arena_take(a, 2 * h->limb);
    h->step = floats(a, blocks, n);
    h->total = floats(a, blocks, n);
    h->rotated = floats(a, n, width);
    h->d_normed = floats(a, n, width);
    h->dh = floats(a, n, width);
}

static void lay_all(bc_arena *a, bc_trained *s)
{
    s->n_rotations = 0;
    bc_arena_begin(a, s->device);
    for (int l = 0; l < s->model->config.n_layers; l++) lay_layer(a, s, l);
    lay_sums(a, s);
    lay_work(a, s);
    if (s->params.head) lay_head(a, s);
}

static int start(bc_trained *s, bc_device *device, const bc_model *model,
                 const bc_trained_params *params)
{
    *s = (bc_trained){ .device = device, .model = model, .params = *params };
    s->group = most(params->window, BC_GROUP_TOKENS);
    if (s->group > params->tokens) s->group = params->tokens;
    s->layers = calloc((size_t)model->config.n_layers + 1, sizeof *s->layers);
    return s->layers != NULL;
}

int64_t bc_trained_bytes(bc_device *device, const bc_model *model, const bc_trained_params *params)
{
    bc_trained s;
    if (!start(&s, device, model, params)) return INT64_MAX / 4; /* fits nowhere */
    bc_arena counting = { .status = BC_OK };
    lay_all(&counting, &s);
    free(s.layers);
    return counting.used;
}

/* ---- opening and closing ---- */

static int fill(bc_trained *s, bc_error *err)
{
    int status = bc_stack_check_model(s->model, err);
    if (status != BC_OK) return status;
    s->starts = calloc((size_t)s->params.tokens + 1, sizeof *s->starts);
    s->host_positions = calloc((size_t)s->group, sizeof *s->host_positions);
    s->host_tiles = calloc((size_t)s->group, sizeof *s->host_tiles);
    if (!s->starts || !s->host_positions || !s->host_tiles)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for a list of windows");
    bc_arena counting = { .status = BC_OK };
    lay_all(&counting, s);
    status = bc_device_alloc(s->device, &s->memory, counting.used, err);
    if (status != BC_OK) return status;
    s->bytes = counting.used;
    /* first: what lies behind the rows' ends is 0 and stays it */
    status = bc_device_clear(s->device, s->memory, s->bytes, err);
    bc_arena copying = { .device = s->device, .base = s->memory, .status = status, .err = err };
    lay_all(&copying, s);
    return copying.status == BC_OK ? bc_device_wait(s->device, err) : copying.status;
}

int bc_trained_open(bc_trained **out, bc_device *device, const bc_model *model,
                    const bc_trained_params *params, bc_error *err)
{
    *out = NULL;
    int status = bc_device_enter(device, err);
    if (status != BC_OK) return status;
    bc_trained *s = calloc(1, sizeof *s);
    if (!s || !start(s, device, model, params)) {
        free(s);
        return bc_fail(err, BC_ERR_NOMEM, "no memory for layers on a device");
    }
    status = fill(s, err);
    if (status == BC_OK)
        *out = s;
    else
        bc_trained_close(s);
    return status;
}

void bc_trained_close(bc_trained *s)
{
    if (!s) return;
    bc_device_enter(s->device, NULL);
    bc_device_wait(s->device, NULL);
    bc_device_release(s->device, s->memory, s->bytes);
    free(s->starts);
    free(s->host_positions);
    free(s->host_tiles);
    free(s->layers);
    free(s);
}

/* ---- groups of windows ---- */

bc_gpu_space bc_trained_space(const bc_trained *s)
{
    const int widest = s->b.a_stride * (int)sizeof(float);
    return (bc_gpu_space){ .device = s->device, .b = &s->b, .shared = s->b.work ? 0 : widest };
}

int bc_trained_launch(const bc_trained_run *r, int kernel, int64_t grid_x, int64_t grid_y,
                      int threads, int shared, void *args)
{
    const bc_launch launch = { kernel, (unsigned)grid_x,  (unsigned)grid_y,
                               1,      (unsigned)threads, (unsigned)shared,
                               args };
    return bc_device_start(r->s->device, &launch, r->err);
}

static int tile_rows(const bc_config *c)
{
    const int wide = c->head_dim <= 64 ? 64 : (c->head_dim <= 128 ? 128 : 256);
    return BC_GPU_WINDOW_FLOATS / wide;
}

int bc_trained_by_width(const bc_trained *s, int first_kernel)
{
    const int d = s->model->config.head_dim;
    return first_kernel + (d <= 64 ? 0 : (d <= 128 ? 1 : 2));
}

static void add_window(bc_trained_run *r, int start, int end)
{
    bc_trained *s = r->s;
    const int rows = tile_rows(&s->model->config);
    for (int t = start; t < end; t++) s->host_positions[t] = t - start;
    for (int t = start; t < end; t += rows)
        s->host_tiles[r->n_tiles++] =
            (bc_gpu_window_tile){ t, end - t < rows ? end - t : rows, start, end };
    r->n = end;
}

int bc_trained_group(bc_trained_run *r, const int32_t *starts, int first, int n_windows, int share,
                     int *status)
{
    bc_trained *s = r->s;
    int count = 0;
    r->first = starts[first];
    r->n = r->n_tiles = 0;
    r->replica = first / share;
    for (int i = first; i < n_windows && i / share == r->replica; i++, count++) {
        if (starts[i + 1] - r->first > s->group) break;
        add_window(r, starts[i] - r->first, starts[i + 1] - r->first);
    }
    *status = bc_device_upload(s->device, s->w.positions, s->host_positions,
                               (int64_t)r->n * (int64_t)sizeof *s->host_positions, r->err);
    if (*status == BC_OK)
        *status = bc_device_upload(s->device, s->w.tiles, s->host_tiles,
                                   (int64_t)r->n_tiles * (int64_t)sizeof *s->host_tiles, r->err);
    return *status == BC_OK ? count : 0;
}

int bc_trained_rows_in(const bc_trained_run *r, bc_ptr to, const float *from, int n)
{
    const int64_t cols = r->s->model->config.hidden, width = r->s->w.hidden, f = sizeof(float);
    if (cols == width) return bc_device_upload(r->s->device, to, from, n * cols * f, r->err);
    int status = BC_OK;
    for (int t = 0; t < n && status == BC_OK; t++)
        status = bc_device_upload(r->s->device, to + (bc_ptr)(t * width * f), from + t * cols,
                                  cols * f, r->err);
    return status;
}

int bc_trained_rows_out(const bc_trained_run *r, float *to, bc_ptr from, int n)
{
    const int64_t cols = r->s->model->config.hidden, width = r->s->w.hidden, f = sizeof(float);
    if (cols == width) return bc_device_download(r->s->device, to, from, n * cols * f, r->err);
    int status = BC_OK;
    for (int t = 0; t < n && status == BC_OK; t++)
        status = bc_device_download(r->s->device, to + t * cols, from + (bc_ptr)(t * width * f),
                                    cols * f, r->err);
    return status;
}
