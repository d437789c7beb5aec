/* tower.c - blocks one above the other on a graphics card: what training runs there (backend.h, trained_*). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "devices.h"
#include "error.h"

struct bc_tower {
    bc_engine *engine;
    bc_trained *trained;
    bc_model model;   /* of the blocks that are there: nothing in it is its own */
    bc_layer *layers; /* of all blocks, as they were when it was opened */
    uint8_t *slides;  /* [all blocks] */
    bc_block **blocks;
    float *cos, *sin; /* [window, head_dim / 2] */
    int32_t *starts;  /* [windows + 1] of the last call */
    int32_t n_windows, window, tokens, replicas, back;
    int kept; /* 1: bc_tower_backward may be called */
    int head; /* 1: it is there */
    bc_weight head_weight;
    bc_rotation rotation; /* of the head */
    float *norm;
};

static const bc_backend *backend_of(const bc_tower *t) { return t->engine->devices->backend; }

/* ---- opening and closing ---- */

/* All matrices are planes, of one rotation, with nothing on them that only the processor adds. */
static int check_matrices(bc_block *b, uint64_t seed, bc_error *err)
{
    for (int i = 0; i < BC_N_MATRICES; i++) {
        const bc_weight *w = bc_block_weight(b, i);
        if (w->kind != BC_WEIGHT_PLANES)
            return bc_fail(err, BC_ERR_UNSUPPORTED,
                           "matrix %d of a layer is not planes: such layers are trained on the "
                           "processor",
                           i);
        if (w->delta)
            return bc_fail(err, BC_ERR_UNSUPPORTED,
                           "matrix %d of a layer has a whole matrix added to it: those are trained "
                           "on the processor",
                           i);
        if (b->seeds[i] != seed)
            return bc_fail(err, BC_ERR_UNSUPPORTED,
                           "the matrices of these layers have rotations of different seeds");
    }
    return BC_OK;
}

static int check_blocks(bc_block *const *blocks, int32_t count, bc_error *err)
{
    for (int32_t i = 0; i < count; i++) {
        bc_block *b = blocks[i], *first = blocks[0];
        if (!b) return bc_fail(err, BC_ERR_INVALID, "block %d is NULL", i);
        const bc_config *c = &b->model.config, *like = &first->model.config;
        if (b->model.engine != first->model.engine || b->window != first->window ||
            c->hidden != like->hidden || c->intermediate != like->intermediate ||
            c->n_heads != like->n_heads || c->n_kv_heads != like->n_kv_heads ||
            c->head_dim != like->head_dim)
            return bc_fail(err, BC_ERR_INVALID,
                           "block %d is not of the model, engine or window of the others", i);
        int status = bc_block_check(b, err);
        if (status == BC_OK) status = check_matrices(b, first->seeds[0], err);
        if (status != BC_OK) return status;
    }
    return BC_OK;
}

static int check_params(const bc_tower_params *p, int32_t window, bc_error *err)
{
    if (p->n_blocks < -1 || p->n_blocks == 0)
        return bc_fail(err, BC_ERR_INVALID,
                       "n_blocks is %d, must be -1 (all that fit) or 1 and more", p->n_blocks);
    if (p->tokens < window || p->tokens > 1 << 24 || p->replicas < 1 || p->replicas > 4096 ||
        p->memory_limit < 0)
        return bc_fail(
            err, BC_ERR_INVALID,
            "tokens is %d (a window's %d to 2^24), replicas %d (1 to 4096), memory_limit "
            "%lld",
            p->tokens, window, p->replicas, (long long)p->memory_limit);
    return BC_OK;
}

static int take_blocks(bc_tower *t, bc_block *const *blocks, int32_t count, bc_error *err)
{
    const bc_block *first = blocks[0];
    const size_t half = (size_t)first->model.config.head_dim / 2, n = (size_t)count;
    t->layers = calloc(n, sizeof *t->layers);
    t->slides = calloc(n, sizeof *t->slides);
    t->blocks = calloc(n, sizeof *t->blocks);
    t->cos = malloc((size_t)first->window * half * sizeof *t->cos);
    t->sin = malloc((size_t)first->window * half * sizeof *t->sin);
    if (!t->layers || !t->slides || !t->blocks || !t->cos || !t->sin)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for a list of layers");
    for (int32_t i = 0; i < count; i++) {
        t->blocks[i] = blocks[i];
        t->layers[i] = blocks[i]->layer;
        t->slides[i] =
            blocks[i]->model.config.layer_slides ? blocks[i]->model.config.layer_slides[0] : 0;
    }
    float inv_freq[BC_MAX_HEAD_DIM / 2];
    bc_rope_frequencies(&first->model.config, inv_freq);
    for (size_t at = 0; at < (size_t)first->window * half; at++) {
        const float angle = (float)(at / half) * inv_freq[at % half];
        t->cos[at] = (float)cos((double)angle);
        t->sin[at] = (float)sin((double)angle);
    }
    return BC_OK;
}

/* The head as the model's. BC_ERR_UNSUPPORTED: it is not int8, and stays on the processor. */
static int take_head(bc_tower *t, const bc_head *head, bc_error *err)
{
    const int32_t hidden = t->blocks[0]->model.config.hidden;
    if (head->hidden != hidden || head->vocab < 1 || !head->weights || !head->norm)
        return bc_fail(err, BC_ERR_INVALID, "a head of %d for layers of %d", head->hidden, hidden);
    if (!head->scales)
        return bc_fail(err, BC_ERR_UNSUPPORTED, "a head that is not int8 stays on the processor");
    const int status = bc_rotation_init(&t->rotation, hidden, head->seed, err);
    if (status != BC_OK) return status;
    t->head_weight = (bc_weight){ .kind = BC_WEIGHT_INT8,
                                  .rows = head->vocab,
                                  .cols = hidden,
                                  .data = head->weights,
                                  .scales = (float *)(uintptr_t)head->scales, /* only read */
                                  .rotation = &t->rotation };
    t->norm = (float *)(uintptr_t)head->norm; /* only read */
    return BC_OK;
}

/* The last n of the blocks as a model. */
static bc_model model_of(const bc_tower *t, int32_t count, int32_t n)
{
    bc_model m = t->blocks[0]->model;
    m.config.n_layers = n;
    m.config.layer_slides = t->slides + (count - n);
    m.layers = t->layers + (count - n);
    m.head = t->head_weight;
    m.final_norm = t->norm;
    return m;
}

static int fit(bc_tower *t, bc_device *device, int32_t count, const bc_tower_params *p,
               bc_tower_size *size, bc_error *err)
{
    const bc_backend *backend = backend_of(t);
    bc_trained_params params = {
        .window = t->window, .replicas = p->replicas, .tokens = p->tokens, .back = p->back
    };
    int status = bc_devices_room(t->engine, device, p->memory_limit, &size->room_bytes, err);
    if (status != BC_OK) return status;
    int32_t n = p->n_blocks < 0 || p->n_blocks > count ? count : p->n_blocks;
    t->model = model_of(t, count, count);
    params.head = p->head != NULL;
    size->all_bytes = backend->trained_bytes(device, &t->model, &params);
    for (; n > 0; n--) {
        t->model = model_of(t, count, n);
        params.head = p->head != NULL; /* it goes last */
        size->bytes = backend->trained_bytes(device, &t->model, &params);
        if (params.head && size->bytes > size->room_bytes) {
            params.head = 0;
            size->bytes = backend->trained_bytes(device, &t->model, &params);
        }
        if (size->bytes > size->room_bytes) continue;
        status = backend->trained_open(&t->trained, device, &t->model, &params, err);
        if (status != BC_ERR_NOMEM) break; /* else others have taken the memory meanwhile */
    }
    size->n_blocks = n;
    size->head = t->head = params.head;
    if (n == 0)
        return bc_fail(err, BC_ERR_NOMEM,
                       "not one layer fits on the graphics card for training: %lld MB are free for "
                       "it, one layer with its steps takes %lld MB, all of them %lld MB",
                       (long long)(size->room_bytes >> 20), (long long)(size->bytes >> 20),
                       (long long)(size->all_bytes >> 20));
    memmove(t->blocks, t->blocks + (count - n), (size_t)n * sizeof(bc_block *));
    return status;
}

int bc_tower_open(bc_tower **out, bc_block *const *blocks, int32_t count,
                  const bc_tower_params *params, bc_tower_size *size, bc_error *err)
{
    if (!out || !blocks || !params || !size || count < 1)
        return bc_fail(err, BC_ERR_INVALID,
                       "out, blocks, params or size is NULL, or there are %d blocks", count);
    *out = NULL;
    *size = (bc_tower_size){ 0 };
    int status = check_blocks(blocks, count, err);
    if (status == BC_OK) status = check_params(params, blocks[0]->window, err);
    bc_device *device = NULL;
    if (status == BC_OK)
        status = bc_devices_get(blocks[0]->model.engine, params->device, &device, err);
    if (status != BC_OK) return status;
    bc_tower *t = calloc(1, sizeof *t);
    if (!t) return bc_fail(err, BC_ERR_NOMEM, "no memory for layers on a device");
    t->engine = blocks[0]->model.engine;
    t->window = blocks[0]->window;
    t->tokens = params->tokens;
    t->replicas = params->replicas;
    t->back = params->back;
    status = take_blocks(t, blocks, count, err);
    if (status == BC_OK && params->head) status = take_head(t, params->head, err);
    if (status == BC_OK) status = fit(t, device, count, params, size, err);
    if (status == BC_OK)
        *out = t;
    else
        bc_tower_close(t);
    return status;
}

void bc_tower_close(bc_tower *t)
{
    if (!t) return;
    if (t->trained) backend_of(t)->trained_close(t->trained);
    free(t->layers);
    free(t->slides);
    free(t->blocks);
    free(t->cos);
    free(t->sin);
    free(t->starts);
    bc_rotation_free(&t->rotation);
    free(t);
}

/* ---- running ---- */

static int asked(void *cancel) { return bc_cancelled(cancel); }

static bc_stop stop_of(const bc_cancel *cancel)
{
    return (bc_stop){ asked, (void *)(uintptr_t)cancel }; /* only read */
}

/* What the blocks hold now, of which the ranks must be what they were. */
static int look_at_blocks(bc_tower *t, const float *const *given, const float **scales,
                          int32_t replicas, bc_error *err)
{
    for (int32_t l = 0; l < t->model.config.n_layers; l++)
        for (int i = 0; i < BC_N_MATRICES; i++) {
            const bc_weight *now = bc_block_weight(t->blocks[l], i);
            bc_weight *known = bc_layer_weight(&t->model.layers[l], i);
            if (now->kind != BC_WEIGHT_PLANES || now->data != known->data || now->delta ||
                now->lora.rank != known->lora.rank)
                return bc_fail(err, BC_ERR_INVALID,
                               "matrix %d of block %d is another one than when the blocks were put "
                               "on the device",
                               i, l);
            known->lora = now->lora;
            const float *own = given ? given[l * BC_N_MATRICES + i] : NULL;
            if (!own && replicas > 1)
                return bc_fail(err, BC_ERR_INVALID, "%d replicas need scales", replicas);
            scales[l * BC_N_MATRICES + i] = own ? own : now->scales;
        }
    return BC_OK;
}

static int take_lengths(bc_tower *t, const int32_t *lengths, int32_t windows, int32_t replicas,
                        bc_error *err)
{
    int32_t *starts = realloc(t->starts, ((size_t)windows + 1) * sizeof *starts);
    if (!starts) return bc_fail(err, BC_ERR_NOMEM, "no memory for a list of windows");
    t->starts = starts;
    t->starts[0] = 0;
    int64_t longest = 0;
    for (int32_t i = 0; i < windows; i++) {
        const int32_t share = windows / replicas, first = i / share * share;
        if (lengths[i] < 1 || lengths[i] > t->window)
            return bc_fail(err, BC_ERR_INVALID, "window %d has %d tokens, must be 1 to %d", i,
                           lengths[i], t->window);
        if (t->starts[i] > INT32_MAX - lengths[i])
            return bc_fail(err, BC_ERR_INVALID, "the windows have too many tokens");
        t->starts[i + 1] = t->starts[i] + lengths[i];
        const int64_t of_replica = t->starts[i + 1] - t->starts[first];
        longest = of_replica > longest ? of_replica : longest;
    }
    if (longest > t->tokens)
        return bc_fail(err, BC_ERR_INVALID,
                       "the windows have %lld tokens, and there is room for %d on the device",
                       (long long)longest, t->tokens);
    t->n_windows = windows;
    return BC_OK;
}

int bc_tower_windows(bc_tower *t, float *x, const int32_t *lengths, int32_t windows,
                     const float *const *scales, int32_t replicas, int32_t keep,
                     const bc_cancel *cancel, bc_error *err)
{
    if (!t || !x || !lengths) return bc_fail(err, BC_ERR_INVALID, "tower, x or lengths is NULL");
    if (windows < 0 || replicas < 1 || windows % replicas || replicas > t->replicas)
        return bc_fail(err, BC_ERR_INVALID, "%d windows cannot be %d replicas (at most %d)",
                       windows, replicas, t->replicas);
    if (keep && (!t->back || replicas > 1))
        return bc_fail(err, BC_ERR_INVALID,
                       "this tower was not opened for a way back, or there are replicas");
    t->kept = 0;
    if (windows == 0) return BC_OK;
    const size_t n = (size_t)t->model.config.n_layers * BC_N_MATRICES;
    const float **rows = calloc(n, sizeof *rows);
    if (!rows) return bc_fail(err, BC_ERR_NOMEM, "no memory for a list of matrices");
    int status = look_at_blocks(t, scales, rows, replicas, err);
    if (status == BC_OK) status = take_lengths(t, lengths, windows, replicas, err);
    const bc_trained_batch batch = { .x = x,
                                     .cos = t->cos,
                                     .sin = t->sin,
                                     .starts = t->starts,
                                     .n_windows = windows,
                                     .replicas = replicas,
                                     .scales = rows,
                                     .keep = keep,
                                     .stop = stop_of(cancel) };
    if (status == BC_OK) status = backend_of(t)->trained_forward(t->trained, &batch, err);
    free((void *)rows);
    t->kept = status == BC_OK && keep;
    return status;
}

/* Nothing is asked for that the device does not compute. */
static int check_grads(bc_tower *t, const bc_block_grads *const *grads, bc_error *err)
{
    for (int32_t l = 0; l < t->model.config.n_layers; l++) {
        const bc_block_grads *g = grads[l];
        if (!g) return bc_fail(err, BC_ERR_INVALID, "the gradients of block %d are NULL", l);
        int other = g->attn_norm || g->mlp_norm || g->q_norm || g->k_norm || g->qkv_in || g->o_in ||
                    g->mlp_in || g->down_in || g->kept;
        for (int i = 0; i < BC_N_MATRICES; i++) {
            const bc_matrix_grads *m = &g->matrix[i];
            const int rank = bc_layer_weight(&t->model.layers[l], i)->lora.rank;
            other |= m->bias || m->row_squares || m->token_squares || m->dy || m->delta;
            if (m->gain && rank)
                return bc_fail(err, BC_ERR_INVALID,
                               "matrix %d has a low-rank addition: its gain has no gradient here",
                               i);
        }
        if (other)
            return bc_fail(err, BC_ERR_UNSUPPORTED,
                           "on a graphics card there are gradients of gains and of low-rank "
                           "additions only");
    }
    return BC_OK;
}

int bc_tower_backward(bc_tower *t, float *dy, const bc_block_grads *const *grads,
                      const bc_cancel *cancel, bc_error *err)
{
    if (!t || !dy || !grads) return bc_fail(err, BC_ERR_INVALID, "tower, dy or grads is NULL");
    if (!t->kept)
        return bc_fail(err, BC_ERR_INVALID, "nothing was kept on the device for a way back");
    const int status = check_grads(t, grads, err);
    if (status != BC_OK) return status;
    return backend_of(t)->trained_backward(t->trained, dy, grads, stop_of(cancel), err);
}

int bc_tower_cross_entropy(bc_tower *t, const float *h, int64_t tokens, const int32_t *targets,
                           const float *w, double *loss, float *dh, int32_t *hits,
                           const bc_cancel *cancel, bc_error *err)
{
    if (!t || !h || !targets || !loss)
        return bc_fail(err, BC_ERR_INVALID, "tower, h, targets or loss is NULL");
    if (!t->head || tokens < 0 || (dh && !t->back))
        return bc_fail(err, BC_ERR_INVALID,
                       "this tower has no head, or was not opened for a way back");
    for (int64_t i = 0; i < tokens; i++)
        if (targets[i] < -1 || targets[i] >= t->head_weight.rows)
            return bc_fail(err, BC_ERR_INVALID, "target %lld is token %d, the vocabulary has %lld",
                           (long long)i, targets[i], (long long)t->head_weight.rows);
    const bc_trained_losses losses = { .h = h,
                                       .tokens = tokens,
                                       .targets = targets,
                                       .weights = w,
                                       .loss = loss,
                                       .dh = dh,
                                       .hits = hits,
                                       .stop = stop_of(cancel) };
    return backend_of(t)->trained_loss(t->trained, &losses, err);
}
