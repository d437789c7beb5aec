/* stack.c - layers of a model on a card: opening and closing, and the caches of its sessions. */
#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "error.h"

enum { MOST_SPLITS = 64 }; /* of a context */

static int most(int a, int b) { return a > b ? a : b; }

/* ---- sizes ---- */

static int attention_blocks(const bc_config *c, int heads)
{
    const int group = c->n_heads / c->n_kv_heads;
    return c->n_kv_heads * ((group + heads - 1) / heads);
}

/* With few positions a block has a processor of its own, and the fewer heads it has the sooner it ends. With more, two blocks
 * share one: twice as many would be no less work for it, and read each key and value twice as often. */
bc_attention_plan bc_plan_attention(const bc_device *d, const bc_config *c, int n,
                                    int few_positions)
{
    bc_attention_plan plan = { .heads = few_positions ? BC_GPU_FEW_HEADS : BC_GPU_HEADS };
    plan.blocks = attention_blocks(c, plan.heads);
    plan.splits = (few_positions ? 1 : 2) * d->processors / (plan.blocks * n);
    plan.splits = plan.splits < 1 ? 1 : (plan.splits > MOST_SPLITS ? MOST_SPLITS : plan.splits);
    return plan;
}

int bc_few_positions(const bc_device *d, const bc_config *c, int n)
{
    const int parts = d->processors / (attention_blocks(c, BC_GPU_FEW_HEADS) * n);
    return (parts > MOST_SPLITS ? MOST_SPLITS : parts) * BC_GPU_LEAST_PART;
}

static int widest_input(const bc_config *c)
{
    return most(most(c->hidden, c->intermediate), c->n_heads * c->head_dim);
}

int bc_prepare_shared(const bc_stack *s, int with_work)
{
    const bc_config *c = &s->model->config;
    const int widest = (int)bc_gpu_width(widest_input(c));
    return with_work ? 0 : widest * (int)sizeof(float);
}

static int any_dense(const bc_stack *s)
{
    int dense = s->has_head && s->model->head.kind == BC_WEIGHT_DENSE;
    for (int i = 0; i < s->count; i++)
        for (int m = 0; m < BC_N_STACK_MATRICES; m++)
            dense |= s->layers[i].matrix[m].of->kind == BC_WEIGHT_DENSE;
    return dense;
}

static bc_ptr floats(bc_arena *a, int64_t rows, int64_t cols)
{
    return bc_arena_take(a, rows * cols * (int64_t)sizeof(float));
}

bc_gpu_inputs bc_stack_inputs(const bc_stack *s, int n)
{
    const int64_t row = 32; /* bytes that all is aligned to: no two blocks write to a sector of x */
    const int64_t angles = (int64_t)n * (s->model->config.head_dim / 2) * (int64_t)sizeof(float);
    bc_gpu_inputs in = { .places = 0 };
    in.cos = (n * (int64_t)sizeof(bc_gpu_place) + row - 1) / row * row;
    in.sin = in.cos + (angles + row - 1) / row * row;
    in.x = in.sin + (angles + row - 1) / row * row;
    in.bytes = in.x + n * bc_gpu_width(s->model->config.hidden) * (int64_t)sizeof(float);
    return in;
}

/* ---- what lies on the card, in the order of the allocation ---- */

static void lay_buffers(bc_arena *a, bc_stack *s)
{
    const bc_config *c = &s->model->config;
    bc_gpu_buffers *b = &s->b;
    const int64_t n = s->n_batch, d = c->head_dim;
    const int widest = (int)bc_gpu_width(widest_input(c));
    b->hidden = (int)bc_gpu_width(c->hidden);
    b->mlp = (int)bc_gpu_width(c->intermediate);
    b->q_cols = (int)bc_gpu_width(c->n_heads * c->head_dim);
    const int rows =
        most(most((c->n_heads + 2 * c->n_kv_heads) * c->head_dim, 2 * c->intermediate), c->hidden);
    const int64_t tile_rows = rows / BC_GPU_TILE_ROWS + 3; /* three matrices begin a tile each */
    b->inputs_bytes = bc_stack_inputs(s, s->n_batch).bytes;
    b->inputs = bc_arena_take(a, b->inputs_bytes);
    b->y = floats(a, n, b->hidden);
    b->q = floats(a, n, b->q_cols);
    b->attended = floats(a, 1, b->q_cols);
    b->k = floats(a, n, c->n_kv_heads * d);
    b->v = floats(a, n, c->n_kv_heads * d);
    b->gate = floats(a, n, b->mlp);
    b->up = floats(a, n, b->mlp);
    b->plain = any_dense(s) ? floats(a, n, widest) : 0;
    b->work = bc_gpu_wide(s->device, widest) ? floats(a, n, widest) : 0;
    b->a_stride = (widest + BC_GPU_ACT_PAD - 1) / BC_GPU_ACT_PAD * BC_GPU_ACT_PAD;
    b->a = bc_arena_take(a, n * b->a_stride);
    b->scale = floats(a, n, 1);
    b->sum = floats(a, n, 1);
    int64_t parts = 1; /* few positions have no more */
    for (int i = 1; i <= n; i++) {
        const int64_t here = (int64_t)i * bc_plan_attention(s->device, c, i, 0).splits;
        parts = here > parts ? here : parts;
    }
    /* and their blocks a processor each */
    const int64_t blocks = n * attention_blocks(c, BC_GPU_HEADS), single = s->device->processors;
    b->mixes = floats(a, parts, c->n_heads * d);
    b->sums = floats(a, parts, c->n_heads * 2);
    b->joined = floats(a, blocks > single ? blocks : single, 1);
    const int64_t joined = n < BC_JOIN_TOKENS ? n : BC_JOIN_TOKENS;
    b->partial_stride = (int)(tile_rows * BC_GPU_TILE_ROWS);
    b->partial_bytes = joined * b->partial_stride * (int64_t)sizeof(int32_t);
    b->arrived_bytes = 2 * tile_rows * (int64_t)sizeof(int32_t);
    b->partial = bc_arena_take(a, b->partial_bytes);
    b->arrived = bc_arena_take(a, b->arrived_bytes);
    b->logits_bytes = (int64_t)sizeof(float) * (n < BC_LOGIT_ROWS ? n : BC_LOGIT_ROWS) *
                      (s->has_head ? c->vocab : b->hidden);
    b->logits = bc_arena_take(a, b->logits_bytes);
}

/* The rotation of the residual stream, if a single token's vectors can be placed all the way: all matrices are planes, and those
 * with one input share its rotation. */
static const bc_rotation *placed_rotation(const bc_stack *s)
{
    const bc_model *m = s->model;
    if (!s->device->tiled || !s->count) return NULL;
    const bc_rotation *of = m->layers[s->first].q.rotation;
    for (int i = s->first; i < s->first + s->count; i++) {
        const bc_layer *l = &m->layers[i];
        const bc_weight *const in[] = { &l->q, &l->k, &l->v, &l->gate, &l->up };
        for (int k = 0; k < 5; k++)
            if (in[k]->kind != BC_WEIGHT_PLANES || !bc_arena_same_rotation(in[k]->rotation, of))
                return NULL;
        if (l->o.kind != BC_WEIGHT_PLANES || l->down.kind != BC_WEIGHT_PLANES) return NULL;
    }
    return of;
}

static bc_ptr norm_placed(bc_arena *a, const bc_stack *s, const float *norm)
{
    return s->placed ? bc_arena_placed(a, norm, s->placed, 1) : 0;
}

static void lay_layer(bc_arena *a, bc_stack *s, bc_gpu_layer *to, const bc_layer *from)
{
    const bc_config *c = &s->model->config;
    const bc_weight *const matrices[BC_N_STACK_MATRICES] = { &from->q,   &from->k,    &from->v,
                                                             &from->o,   &from->gate, &from->up,
                                                             &from->down };
    const int64_t f = sizeof(float);
    to->attn_norm = bc_arena_vector(a, from->attn_norm, c->hidden);
    to->mlp_norm = bc_arena_vector(a, from->mlp_norm, c->hidden);
    to->attn_norm_placed = norm_placed(a, s, from->attn_norm);
    to->mlp_norm_placed = norm_placed(a, s, from->mlp_norm);
    to->q_norm = bc_arena_copy(a, from->q_norm, f * c->head_dim);
    to->k_norm = bc_arena_copy(a, from->k_norm, f * c->head_dim);
    for (int i = 0; i < BC_N_STACK_MATRICES; i++)
        bc_arena_matrix(a, &to->matrix[i], matrices[i], s->rotations, &s->n_rotations);
}

static void lay_all(bc_arena *a, bc_stack *s)
{
    const bc_config *c = &s->model->config;
    s->n_rotations = 0;
    s->placed = placed_rotation(s);
    bc_arena_begin(a, s->device);
    for (int i = 0; i < s->count; i++)
        lay_layer(a, s, &s->layers[i], &s->model->layers[s->first + i]);
    if (s->has_head) {
        s->final_norm = bc_arena_vector(a, s->model->final_norm, c->hidden);
        bc_arena_matrix(a, &s->head, &s->model->head, s->rotations, &s->n_rotations);
    }
    lay_buffers(a, s);
}

int64_t bc_stack_weight_bytes(bc_device *device, const bc_model *model, int32_t first,
                              int32_t count, int32_t with_head, int32_t n_batch)
{
    bc_stack s = { .device = device,
                   .model = model,
                   .first = first,
                   .count = count,
                   .has_head = with_head,
                   .n_batch = n_batch };
    s.layers = calloc((size_t)count + 1, sizeof *s.layers);
    if (!s.layers) return INT64_MAX / 4; /* fits nowhere, and may be added to */
    bc_arena counting = { .status = BC_OK };
    lay_all(&counting, &s);
    free(s.layers);
    return counting.used;
}

/* ---- opening and closing ---- */

int bc_stack_check_model(const bc_model *model, bc_error *err)
{
    const bc_config *c = &model->config;
    if (c->head_dim % 4 || c->head_dim > BC_GPU_MAX_HEAD_DIM)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the heads of this model have %d dimensions; the graphics card's kernels "
                       "take multiples of 4 up to %d: use the processor",
                       c->head_dim, BC_GPU_MAX_HEAD_DIM);
    if (widest_input(c) > BC_GPU_PREPARE_SHARE * BC_GPU_PREPARE_THREADS * BC_GPU_PREPARE_TURNS)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "this model's vectors have %d elements; the graphics card's kernels take up "
                       "to %d: use the processor",
                       widest_input(c),
                       BC_GPU_PREPARE_SHARE * BC_GPU_PREPARE_THREADS * BC_GPU_PREPARE_TURNS);
    return BC_OK;
}

static int pinned(bc_device *d, void **out, int64_t bytes, bc_error *err)
{
    const CUresult result = d->api.MemAllocHost(out, (size_t)bytes);
    if (result == CUDA_SUCCESS) return BC_OK;
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return bc_fail(err, BC_ERR_NOMEM,
                       "this computer has no %lld MB of memory for exchanging data with the "
                       "graphics card: close other programs",
                       (long long)(bytes >> 20) + 1);
    return bc_cuda_failed(&d->api, result, "asking for page-locked memory", err);
}

static int fill(bc_stack *s, bc_error *err)
{
    int status = bc_stack_check_model(s->model, err);
    if (status != BC_OK) return status;
    s->layers = calloc((size_t)s->count + 1, sizeof *s->layers);
    if (!s->layers) return bc_fail(err, BC_ERR_NOMEM, "no memory for a list of layers");
    bc_arena counting = { .status = BC_OK };
    lay_all(&counting, s);
    status = bc_device_alloc(s->device, &s->memory, counting.used, err);
    if (status != BC_OK) return status;
    s->bytes = counting.used;
    bc_arena copying = { .device = s->device, .base = s->memory, .status = BC_OK, .err = err };
    lay_all(&copying, s);
    if (copying.status != BC_OK) return copying.status;
    /* also: what lies behind the rows' ends is 0 and stays it */
    const int64_t buffers = (int64_t)(s->memory + (bc_ptr)s->bytes - s->b.inputs);
    if ((status = bc_device_clear(s->device, s->b.inputs, buffers, err)) ||
        (status = pinned(s->device, (void **)(void *)&s->staged, s->b.inputs_bytes, err)) ||
        (status = pinned(s->device, (void **)(void *)&s->results, s->b.logits_bytes, err)))
        return status;
    return bc_device_wait(s->device, err);
}

int bc_stack_open(bc_stack **out, bc_device *device, const bc_model *model, int32_t first,
                  int32_t count, int32_t with_head, int32_t n_batch, bc_error *err)
{
    *out = NULL;
    int status = bc_device_enter(device, err);
    if (status != BC_OK) return status;
    bc_stack *s = calloc(1, sizeof *s);
    if (!s) return bc_fail(err, BC_ERR_NOMEM, "no memory for layers on a device");
    *s = (bc_stack){ .device = device,
                     .model = model,
                     .first = first,
                     .count = count,
                     .has_head = with_head,
                     .n_batch = n_batch };
    status = fill(s, err);
    if (status == BC_OK)
        *out = s;
    else
        bc_stack_close(s);
    return status;
}

void bc_stack_close(bc_stack *s)
{
    if (!s) return;
    bc_device *d = s->device;
    bc_device_enter(d, NULL);
    bc_device_wait(d, NULL);
    for (int i = 0; i < BC_MAX_GRAPHS; i++)
        if (s->graphs[i].exec) d->api.GraphExecDestroy(s->graphs[i].exec);
    if (s->staged) d->api.MemFreeHost(s->staged);
    if (s->results) d->api.MemFreeHost(s->results);
    bc_device_release(d, s->memory, s->bytes);
    free(s->layers);
    free(s);
}

int bc_stack_set_scales(bc_stack *s, int32_t layer, int32_t matrix, bc_error *err)
{
    const bc_gpu_matrix *m = &s->layers[layer - s->first].matrix[matrix];
    int status = bc_device_enter(s->device, err);
    if (status == BC_OK)
        status = bc_device_upload(s->device, m->scales, m->of->scales,
                                  (int64_t)sizeof(float) * m->of->rows, err);
    return status == BC_OK ? bc_device_wait(s->device, err) : status;
}

/* ---- caches ---- */

static void lay_cache(bc_arena *a, bc_cache *cache, const bc_config *c, int count)
{
    static const int BYTES[] = { [BC_KV_F16] = 2, [BC_KV_I8] = 1, [BC_KV_F32] = 4 };
    const int64_t rows = (int64_t)count * c->n_kv_heads * cache->n_ctx;
    const int64_t bytes = rows * c->head_dim * BYTES[cache->kv_type];
    cache->keys = bc_arena_take(a, bytes);
    cache->values = bc_arena_take(a, bytes);
    if (cache->kv_type != BC_KV_I8) return;
    cache->key_scales = floats(a, rows, 1);
    cache->value_scales = floats(a, rows, 1);
}

int64_t bc_stack_cache_bytes(const bc_model *model, int32_t count, int32_t n_ctx, int32_t kv_type)
{
    bc_cache cache = { .n_ctx = n_ctx, .kv_type = kv_type };
    bc_arena counting = { .status = BC_OK };
    lay_cache(&counting, &cache, &model->config, count);
    return counting.used;
}

int bc_cache_open(bc_cache **out, bc_stack *stack, int32_t n_ctx, int32_t kv_type, bc_error *err)
{
    *out = NULL;
    if (kv_type == BC_KV_I4)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "a 4-bit KV cache runs on the processor only: use int8");
    int status = bc_device_enter(stack->device, err);
    if (status != BC_OK) return status;
    bc_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return bc_fail(err, BC_ERR_NOMEM, "no memory for a cache");
    *cache = (bc_cache){ .stack = stack, .n_ctx = n_ctx, .kv_type = kv_type };
    const bc_model *model = stack->model;
    cache->bytes = bc_stack_cache_bytes(model, stack->count, n_ctx, kv_type);
    status = bc_device_alloc(stack->device, &cache->memory, cache->bytes, err);
    if (status != BC_OK) {
        free(cache);
        return status;
    }
    bc_arena laying = { .base = cache->memory };
    lay_cache(&laying, cache, &model->config, stack->count);
    *out = cache;
    return BC_OK;
}

void bc_cache_close(bc_cache *cache)
{
    if (!cache) return;
    bc_device_enter(cache->stack->device, NULL);
    bc_device_release(cache->stack->device, cache->memory, cache->bytes);
    free(cache);
}
