/* placement.c - deciding what of a model fits on a device, and putting it there. */
#include <stdlib.h>

#include "device_check.h"
#include "devices.h"
#include "engine.h"
#include "error.h"
#include "session.h"

enum { MOST_SESSIONS = 65536, MOST_ATTEMPTS = 4, LEAST_BATCH = 64 };

void bc_placement_params_init(bc_placement_params *params)
{
    if (!params) return;
    *params = (bc_placement_params){ .n_layers = -1, .kv_type = BC_KV_F16, .n_sessions = 1 };
}

struct plan {
    const bc_backend *backend;
    bc_device *device;
    const bc_model *model;
    bc_placement_params p; /* nothing left to default */
    int64_t room;
    int checked; /* the device has calculated rightly: 1, a layer of this model; 2, its head too */
};

static int64_t weights(const struct plan *w, int count, int head)
{
    const int n_layers = w->model->config.n_layers;
    return w->backend->weight_bytes(w->device, w->model, n_layers - count, count, head,
                                    w->p.n_batch);
}

static int64_t caches(const struct plan *w, int count)
{
    return w->p.n_sessions * w->backend->cache_bytes(w->model, count, w->p.n_ctx, w->p.kv_type);
}

/* The most layers, without the head, then the head: a layer saves as much time per byte, and the head goes last. */
static bc_placement fitting(const struct plan *w)
{
    const int n_layers = w->model->config.n_layers;
    const int most = w->p.n_layers < 0 || w->p.n_layers > n_layers ? n_layers : w->p.n_layers;
    bc_placement out = { .all_bytes = weights(w, n_layers, 1) + caches(w, n_layers),
                         .room_bytes = w->room };
    int count = most;
    while (count > 0 && weights(w, count, 0) + caches(w, count) > w->room) count--;
    out.n_layers = count;
    out.head = count > 0 && weights(w, count, 1) + caches(w, count) <= w->room;
    return out;
}

static int all_of_it(const struct plan *w, const bc_placement *placement)
{
    return placement->head && placement->n_layers == w->model->config.n_layers;
}

/* With smaller batches of a prompt than `most` where that lets all of the model fit: each token would wait for what does not. */
static bc_placement fitting_whole(struct plan *w, int32_t most)
{
    w->p.n_batch = most;
    const bc_placement as_asked = fitting(w);
    bc_placement out = as_asked;
    while (!all_of_it(w, &out) && w->p.n_batch >= 2 * LEAST_BATCH) {
        w->p.n_batch /= 2;
        out = fitting(w);
    }
    if (all_of_it(w, &out)) return out;
    w->p.n_batch = most;
    return as_asked;
}

static int check_params(const bc_model *model, const bc_placement_params *p, bc_error *err)
{
    const int status = bc_check_sizes(model, p->n_ctx, p->n_batch, err);
    if (status != BC_OK) return status;
    if (p->kv_type != BC_KV_F16 && p->kv_type != BC_KV_I8 && p->kv_type != BC_KV_F32)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "a KV cache of type %d runs on the processor only: use int8 (1)",
                       p->kv_type);
    if (p->n_layers < -1 || p->n_layers == 0)
        return bc_fail(err, BC_ERR_INVALID,
                       "n_layers is %d, must be -1 (all that fit) or 1 and more", p->n_layers);
    if (p->n_sessions < 0 || p->n_sessions > MOST_SESSIONS || p->memory_limit < 0)
        return bc_fail(err, BC_ERR_INVALID,
                       "n_sessions is %d and memory_limit %lld: 0 to %d sessions, and no negative "
                       "limit",
                       p->n_sessions, (long long)p->memory_limit, MOST_SESSIONS);
    if (model->placed) return bc_fail(err, BC_ERR_INVALID, "the model is on a device already");
    if (model->n_sessions)
        return bc_fail(err, BC_ERR_INVALID, "close the model's %d sessions first",
                       model->n_sessions);
    for (int i = 0; i < model->config.n_layers; i++)
        for (int m = 0; m < BC_N_MATRICES; m++)
            if (bc_layer_weight(&model->layers[i], m)->lora.rank ||
                bc_layer_weight(&model->layers[i], m)->delta)
                return bc_fail(err, BC_ERR_UNSUPPORTED,
                               "layer %d has a low-rank addition (LoRA) or a matrix added: those "
                               "run on the processor",
                               i);
    return BC_OK;
}

static int check_device_works(bc_model *model, struct plan *w, const bc_placement *placement,
                              bc_error *err)
{
    if (w->checked > placement->head) return BC_OK;
    const int first = model->config.n_layers - placement->n_layers;
    const int status =
        bc_device_check(model, w->backend, w->device, first, placement->head, &w->p, err);
    if (status == BC_OK) w->checked = 1 + placement->head;
    return status;
}

static int keep(bc_model *model, const struct plan *w, const bc_placement *placement, bc_error *err)
{
    bc_placed *placed = calloc(1, sizeof *placed);
    if (!placed) return bc_fail(err, BC_ERR_NOMEM, "no memory for a placement");
    *placed = (bc_placed){ .backend = w->backend,
                           .device = w->device,
                           .first = model->config.n_layers - placement->n_layers,
                           .head = placement->head,
                           .n_batch = w->p.n_batch };
    const int status =
        w->backend->stack_open(&placed->stack, w->device, model, placed->first, placement->n_layers,
                               placement->head, w->p.n_batch, err);
    if (status != BC_OK) {
        free(placed);
        return status;
    }
    model->placed = placed;
    return BC_OK;
}

static int nothing_fits(const struct plan *w, const bc_placement *plan, bc_error *err)
{
    return bc_fail(
        err, BC_ERR_NOMEM,
        "not one layer of this model fits on the graphics card: %lld MB are free for it, "
        "one layer with its cache takes %lld MB, all of the model %lld MB",
        (long long)(w->room >> 20), (long long)((weights(w, 1, 0) + caches(w, 1)) >> 20),
        (long long)(plan->all_bytes >> 20));
}

int bc_model_place(bc_model *model, const bc_placement_params *params, bc_placement *placement,
                   bc_error *err)
{
    if (!model || !params || !placement)
        return bc_fail(err, BC_ERR_INVALID, "model, params or placement is NULL");
    *placement = (bc_placement){ 0 };
    struct plan w = { .model = model, .p = *params };
    int status = check_params(model, &w.p, err);
    if (status == BC_OK) status = bc_devices_get(model->engine, w.p.device, &w.device, err);
    if (status != BC_OK) return status;
    w.backend = model->engine->devices->backend;
    if (!w.p.n_ctx) w.p.n_ctx = bc_default_ctx(model);
    if (!w.p.n_batch) w.p.n_batch = BC_DEFAULT_BATCH;
    if (w.p.n_batch > w.p.n_ctx) w.p.n_batch = w.p.n_ctx;
    if (!w.p.n_sessions) w.p.n_sessions = 1;
    const int32_t most_batch = w.p.n_batch;
    status = bc_devices_room(model->engine, w.device, w.p.memory_limit, &w.room, err);
    if (status != BC_OK) return status;
    for (int attempt = 0;; attempt++) {
        *placement = fitting_whole(&w, most_batch);
        if (placement->n_layers == 0) return nothing_fits(&w, placement, err);
        status = check_device_works(model, &w, placement, err);
        if (status == BC_OK) status = keep(model, &w, placement, err);
        if (status != BC_ERR_NOMEM || attempt == MOST_ATTEMPTS) break;
        /* another program took memory meanwhile, or the driver rounds up: less, then */
        const int64_t before = w.room;
        if (bc_devices_room(model->engine, w.device, w.p.memory_limit, &w.room, err) != BC_OK)
            break;
        w.room = (w.room < before ? w.room : before) / 16 * 15;
    }
    if (status != BC_OK) return status;
    placement->weight_bytes = weights(&w, placement->n_layers, placement->head);
    placement->session_bytes = caches(&w, placement->n_layers);
    return BC_OK;
}
