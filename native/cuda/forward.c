/* forward.c - a batch through the layers of a stack: run_layers() reads straight down. */
#include <math.h>
#include <string.h>

#include "error.h"
#include "linear.h"
#include "placed.h"
#include "stack.h"

typedef struct run {
    bc_stack *s;
    const bc_stack_batch *batch;
    bc_gpu_space space;
    bc_gpu_inputs in;
    bc_ptr x, cos, sin, places;
    bc_ptr y; /* what the last layer has left to add to x, or 0 */
    int n, kv_type;
    bc_ptr homes;      /* of x: it is placed (placed.h); 0: it is not */
    int few_positions; /* of each token (bc_plan_attention) */
    bc_error *err;
} run;

/* ---- the pieces of a layer ---- */

/* o or down: to the residual stream where its product can be added, else to y, of which residual() is told then. */
static bc_gpu_product joining(const run *r, const bc_gpu_matrix *m, bc_ptr *y)
{
    const bc_gpu_buffers *b = &r->s->b;
    const int adds = bc_gpu_adds(&r->space, m, r->n);
    *y = adds ? 0 : b->y;
    return (bc_gpu_product){ .matrix = m,
                             .y = adds ? r->x : b->y,
                             .y_stride = b->hidden,
                             .before = adds ? r->x : 0,
                             .places = r->homes };
}

/* The residual stream, once y (or nothing: 0) is added to it, with a norm that lies as it does. */
static bc_prepare_args residual(const run *r, bc_ptr y, bc_ptr norm, bc_ptr norm_placed)
{
    const bc_config *c = &r->s->model->config;
    return (bc_prepare_args){ .source = BC_FROM_X,
                              .cols = c->hidden,
                              .x = r->x,
                              .y = y,
                              .norm = r->homes ? norm_placed : norm,
                              .eps = c->rms_eps,
                              .placed = r->homes != 0 };
}

static bc_attend_args attend_args(const run *r, int layer)
{
    const bc_stack *s = r->s;
    const bc_config *c = &s->model->config;
    const bc_gpu_layer *l = &s->layers[layer];
    return (bc_attend_args){ .q = s->b.q,
                             .q_stride = s->b.q_cols,
                             .placed = s->b.attended,
                             .out_places = r->homes ? l->matrix[BC_MATRIX_O].rotation->homes : 0,
                             .k = s->b.k,
                             .v = s->b.v,
                             .cos = r->cos,
                             .sin = r->sin,
                             .q_norm = l->q_norm,
                             .k_norm = l->k_norm,
                             .places = r->places,
                             .n = r->n,
                             .heads = c->n_heads,
                             .kv_heads = c->n_kv_heads,
                             .head_dim = c->head_dim,
                             .kv_type = r->kv_type,
                             .layer = layer,
                             .window = bc_gpu_slides(c, s->first + layer),
                             .eps = c->rms_eps,
                             .factor = 1.0f / sqrtf((float)c->head_dim),
                             .mixes = s->b.mixes,
                             .sums = s->b.sums,
                             .arrived = s->b.joined };
}

/* Whether attend_fast.cuh has a kernel for this shape, */
static int is_fast(const bc_config *c, int kv_type)
{
    return (c->head_dim == 64 || c->head_dim == 128) &&
           (kv_type == BC_KV_F16 || kv_type == BC_KV_I8);
}

/* and which, for blocks of up to `heads` query heads: the order of list.h. */
static int fast_kernel(const bc_config *c, int kv_type, int heads)
{
    const int group = c->n_heads / c->n_kv_heads, taken = group < heads ? group : heads;
    return BC_K_bc_attend_64_f16_2 + (c->head_dim == 128 ? 6 : 0) + (kv_type == BC_KV_I8 ? 3 : 0) +
           (taken > 4 ? 2 : taken > 2);
}

/* A step that is kept as a graph is one for few positions, or one for any number. */
static int has_few_positions(const run *r)
{
    const bc_config *c = &r->s->model->config;
    if (r->batch->any_position || !is_fast(c, r->kv_type)) return 0;
    if (!r->batch->separate && r->n > 1) return 0;
    const int few = bc_few_positions(r->s->device, c, r->n);
    for (int i = 0; i < r->n; i++)
        if (r->batch->places[i].position >= few) return 0;
    return 1;
}

/* Each token is of another cache: parts of the contexts. */
static int attend_apart(const run *r, int layer)
{
    const bc_config *c = &r->s->model->config;
    const int group = c->n_heads / c->n_kv_heads, fast = is_fast(c, r->kv_type);
    const bc_attention_plan plan = bc_plan_attention(r->s->device, c, r->n, r->few_positions);
    const int heads = group < plan.heads ? group : plan.heads;
    bc_attend_args args = attend_args(r, layer);
    args.splits = plan.splits;
    const bc_launch launch = {
        fast ? fast_kernel(c, r->kv_type, plan.heads) : BC_K_bc_attend,
        (unsigned)plan.blocks,
        (unsigned)plan.splits,
        (unsigned)r->n,
        fast ? BC_GPU_FAST_THREADS : BC_GPU_ATTEND_THREADS,
        fast ? 0 : (unsigned)((heads + 2) * c->head_dim) * (unsigned)sizeof(float),
        &args
    };
    return bc_device_start(r->s->device, &launch, r->err);
}

/* The tokens follow each other in one cache. */
static int attend_along(const run *r, int layer)
{
    const bc_config *c = &r->s->model->config;
    bc_attend_args args = attend_args(r, layer);
    const bc_launch place = { BC_K_bc_place_rows,
                              (unsigned)r->n,
                              (unsigned)((c->n_heads + 2 * c->n_kv_heads + 3) / 4),
                              1,
                              128,
                              0,
                              &args };
    const int d = c->head_dim, rows = d <= 128 ? 32 : 16;
    const bc_launch flash = { d <= 64    ? BC_K_bc_flash_64
                              : d <= 128 ? BC_K_bc_flash_128
                                         : BC_K_bc_flash_256,
                              (unsigned)((r->n + rows - 1) / rows),
                              (unsigned)c->n_heads,
                              1,
                              BC_GPU_FLASH_THREADS,
                              0,
                              &args };
    const int status = bc_device_start(r->s->device, &place, r->err);
    return status == BC_OK ? bc_device_start(r->s->device, &flash, r->err) : status;
}

static int run_layer(run *r, int layer)
{
    const bc_stack *s = r->s;
    const bc_config *c = &s->model->config;
    const bc_gpu_layer *l = &s->layers[layer];
    const bc_gpu_matrix *m = l->matrix;
    const int kv_cols = c->n_kv_heads * c->head_dim;
    const bc_gpu_product qkv[] = { { &m[BC_MATRIX_Q], s->b.q, s->b.q_cols, 0, 0 },
                                   { &m[BC_MATRIX_K], s->b.k, kv_cols, 0, 0 },
                                   { &m[BC_MATRIX_V], s->b.v, kv_cols, 0, 0 } };
    const bc_gpu_product both[] = { { &m[BC_MATRIX_GATE], s->b.gate, s->b.mlp, 0, 0 },
                                    { &m[BC_MATRIX_UP], s->b.up, s->b.mlp, 0, 0 } };
    const bc_prepare_args before = residual(r, r->y, l->attn_norm, l->attn_norm_placed);
    const bc_gpu_product o = joining(r, &m[BC_MATRIX_O], &r->y);
    const bc_prepare_args between = residual(r, r->y, l->mlp_norm, l->mlp_norm_placed);
    bc_gpu_product down = joining(r, &m[BC_MATRIX_DOWN], &r->y);
    if (r->homes && layer == s->count - 1) { /* x in order again */
        down.y = s->b.y;
        r->x = s->b.y;
    }
    const bc_prepare_args attention = { .source = BC_FROM_X,
                                        .cols = c->n_heads * c->head_dim,
                                        .x = r->homes ? s->b.attended : s->b.q,
                                        .placed = r->homes != 0 },
                          gated = { .source = BC_FROM_X,
                                    .cols = c->intermediate,
                                    .x = s->b.gate,
                                    .placed = 1 };
    const bc_prepare_args swiglu = {
        .source = BC_FROM_SWIGLU, .cols = c->intermediate, .gate = s->b.gate, .up = s->b.up
    };
    int one_go = 0;
    int status = bc_gpu_linear(&r->space, before, qkv, 3, r->n, r->err);
    if (status == BC_OK)
        status = r->batch->separate || r->n == 1 ? attend_apart(r, layer) : attend_along(r, layer);
    if (status == BC_OK) status = bc_gpu_linear(&r->space, attention, &o, 1, r->n, r->err);
    if (status == BC_OK)
        status = bc_gpu_gated(&r->space, between, both, &m[BC_MATRIX_DOWN], r->n, &one_go, r->err);
    if (status == BC_OK && !one_go)
        status = bc_gpu_linear(&r->space, between, both, 2, r->n, r->err);
    if (status == BC_OK)
        status = bc_gpu_linear(&r->space, one_go ? gated : swiglu, &down, 1, r->n, r->err);
    return status;
}

/* ---- the batch ---- */

static int run_layers(run *r)
{
    const bc_stack *s = r->s;
    int status = bc_device_upload(s->device, s->b.inputs, s->staged, r->in.bytes, r->err);
    r->y = 0;
    for (int i = 0; i < s->count && status == BC_OK; i++) status = run_layer(r, i);
    r->homes = 0; /* the last layer has put x in order */
    if (status != BC_OK || s->has_head || !r->y) return status;
    /* the last layer's output joins the residual stream */
    bc_add_args add = { .x = r->x, .y = r->y, .count = (int64_t)r->n * s->b.hidden };
    const bc_launch launch = {
        BC_K_bc_add, (unsigned)((add.count + 255) / 256), 1, 1, 256, 0, &add
    };
    return bc_device_start(s->device, &launch, r->err);
}

static int64_t row_floats(const bc_stack *s)
{
    return s->has_head ? s->model->config.vocab : s->b.hidden;
}

/* Rows first .. first + rows - 1 (<= BC_LOGIT_ROWS) of the output, to s->results. */
static int run_rows(const run *r, int first, int rows)
{
    bc_stack *s = r->s;
    const bc_config *c = &s->model->config;
    const int64_t bytes = rows * row_floats(s) * (int64_t)sizeof(float);
    const bc_ptr skipped = (bc_ptr)first * (bc_ptr)s->b.hidden * sizeof(float);
    bc_prepare_args last = residual(r, r->y ? r->y + skipped : 0, s->final_norm, 0);
    last.x += skipped;
    bc_ptr from = last.x;
    int status = BC_OK;
    if (s->has_head) {
        const bc_gpu_product head = { &s->head, s->b.logits, c->vocab, 0, 0 };
        status = bc_gpu_linear(&r->space, last, &head, 1, rows, r->err);
        from = s->b.logits;
    }
    if (status == BC_OK) status = bc_device_download(s->device, s->results, from, bytes, r->err);
    return status;
}

static void give(const run *r, int first, int rows)
{
    if (rows) r->batch->take(r->batch->arg, first, rows, r->s->results, row_floats(r->s));
}

static void stage(const run *r)
{
    const bc_stack *s = r->s;
    const bc_stack_batch *batch = r->batch;
    const size_t n = (size_t)r->n, half = (size_t)s->model->config.head_dim / 2 * sizeof(float);
    const size_t hidden = (size_t)s->model->config.hidden * sizeof(float);
    const size_t padded = (size_t)s->b.hidden * sizeof(float);
    memcpy(s->staged + r->in.cos, batch->cos, n * half);
    memcpy(s->staged + r->in.sin, batch->sin, n * half);
    for (size_t i = 0; i < n; i++) {
        uint8_t *row = s->staged + (size_t)r->in.x + i * padded;
        if (r->homes) {
            bc_place_vector((void *)row, batch->x, s->placed, 0);
            break; /* it is the only one */
        }
        memcpy(row, (const uint8_t *)batch->x + i * hidden, hidden);
        memset(row + hidden, 0, padded - hidden);
    }
    bc_gpu_place *places = (void *)(s->staged + r->in.places);
    for (size_t i = 0; i < n; i++) {
        const bc_cache *cache = batch->places[i].cache;
        places[i] = (bc_gpu_place){ .keys = cache->keys,
                                    .values = cache->values,
                                    .key_scales = cache->key_scales,
                                    .value_scales = cache->value_scales,
                                    .n_ctx = cache->n_ctx,
                                    .position = batch->places[i].position };
    }
}

static int check_places(const bc_stack_batch *batch, int *kv_type, bc_error *err)
{
    *kv_type = batch->places[0].cache->kv_type;
    for (int i = 1; i < batch->n; i++)
        if (batch->places[i].cache->kv_type != *kv_type)
            return bc_fail(err, BC_ERR_UNSUPPORTED,
                           "sessions that run together on a graphics card need one type of KV "
                           "cache");
    return BC_OK;
}

/* ---- small batches are kept as graphs: one start instead of hundreds ---- */

static bc_gpu_graph *find_graph(bc_stack *s, const run *r, int *found)
{
    bc_gpu_graph *oldest = &s->graphs[0];
    for (int i = 0; i < BC_MAX_GRAPHS; i++) {
        bc_gpu_graph *g = &s->graphs[i];
        *found = g->exec && g->n == r->n && g->rows == r->batch->rows &&
                 g->separate == r->batch->separate && g->kv_type == r->kv_type &&
                 g->few_positions == r->few_positions;
        if (*found) return g;
        if (g->last_used < oldest->last_used) oldest = g;
    }
    return oldest;
}

static int capture(run *r, bc_gpu_graph *g)
{
    bc_stack *s = r->s;
    const bc_cuda_api *api = &s->device->api;
    if (g->exec) api->GraphExecDestroy(g->exec);
    *g = (bc_gpu_graph){ .n = r->n,
                         .rows = r->batch->rows,
                         .separate = r->batch->separate,
                         .kv_type = r->kv_type,
                         .few_positions = r->few_positions };
    CUresult result =
        api->StreamBeginCapture(s->device->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result != CUDA_SUCCESS) return bc_cuda_failed(api, result, "recording a step", r->err);
    int status = run_layers(r);
    if (status == BC_OK && r->batch->rows)
        status = run_rows(r, r->n - r->batch->rows, r->batch->rows);
    CUgraph graph = NULL;
    result = api->StreamEndCapture(s->device->stream, &graph);
    if (status == BC_OK && result == CUDA_SUCCESS)
        result = api->GraphInstantiate(&g->exec, graph, 0);
    if (graph) api->GraphDestroy(graph);
    if (status == BC_OK && result != CUDA_SUCCESS)
        return bc_cuda_failed(api, result, "recording a step", r->err);
    return status;
}

static int run_graph(run *r)
{
    bc_stack *s = r->s;
    int found = 0;
    bc_gpu_graph *g = find_graph(s, r, &found);
    int status = found ? BC_OK : capture(r, g);
    if (status != BC_OK) return status;
    g->last_used = ++s->uses;
    const CUresult result = s->device->api.GraphLaunch(g->exec, s->device->stream);
    if (result != CUDA_SUCCESS)
        return bc_cuda_failed(&s->device->api, result, "starting a step", r->err);
    status = bc_device_wait(s->device, r->err);
    if (status == BC_OK) give(r, 0, r->batch->rows);
    return status;
}

static int run_directly(run *r)
{
    bc_stack *s = r->s;
    int status = run_layers(r);
    for (int done = 0; done < r->batch->rows && status == BC_OK; done += BC_LOGIT_ROWS) {
        const int left = r->batch->rows - done, rows = left < BC_LOGIT_ROWS ? left : BC_LOGIT_ROWS;
        status = run_rows(r, r->n - left, rows);
        if (status == BC_OK) status = bc_device_wait(s->device, r->err);
        if (status == BC_OK) give(r, done, rows);
    }
    const int waited = bc_device_wait(s->device, status == BC_OK ? r->err : NULL);
    return status == BC_OK ? waited : status;
}

int bc_stack_forward(bc_stack *s, const bc_stack_batch *batch, bc_error *err)
{
    run r = { .s = s, .batch = batch, .n = batch->n, .err = err };
    if (r.n == 1 && s->placed) r.homes = s->layers[0].matrix[BC_MATRIX_Q].rotation->homes;
    r.in = bc_stack_inputs(s, r.n);
    r.places = s->b.inputs + (bc_ptr)r.in.places;
    r.cos = s->b.inputs + (bc_ptr)r.in.cos;
    r.sin = s->b.inputs + (bc_ptr)r.in.sin;
    r.x = s->b.inputs + (bc_ptr)r.in.x;
    r.space = (bc_gpu_space){ .device = s->device,
                              .b = &s->b,
                              .shared = bc_prepare_shared(s, s->b.work != 0) };
    int status = bc_device_enter(s->device, err);
    if (status == BC_OK) status = check_places(batch, &r.kv_type, err);
    if (status != BC_OK) return status;
    r.few_positions = has_few_positions(&r);
    stage(&r);
    const int small = batch->n <= BC_GRAPH_TOKENS && batch->rows <= BC_LOGIT_ROWS &&
                      (batch->separate || batch->n == 1);
    return small && !s->device->trace ? run_graph(&r) : run_directly(&r);
}
