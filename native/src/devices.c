/* devices.c - see devices.h. Opening a backend and deciding what fits on a device. */
#include "devices.h"

#include <stdlib.h>
#include <string.h>

#include "device_check.h"
#include "engine.h"
#include "error.h"
#include "platform.h"

/* What a driver takes for itself as work goes on: launches, graphs, page-locked tables. */
#define KEPT_FREE ((int64_t)64 << 20)

enum { MOST_SESSIONS = 65536, MOST_ATTEMPTS = 4, LEAST_BATCH = 64 };

/* ---- the library and its devices ---- */

static int load(bc_devices *devices, const char *path, bc_error *err)
{
    devices->library = bc_library_open(path);
    if (!devices->library)
        return bc_fail(err, BC_ERR_UNSUPPORTED, "the device library %s is not there, or damaged",
                       path);
    bc_backend_table_fn table;
    *(void **)(void *)&table = bc_library_symbol(devices->library, BC_BACKEND_SYMBOL);
    devices->backend = table ? table() : NULL;
    if (!devices->backend || devices->backend->abi != BC_BACKEND_ABI ||
        devices->backend->model_bytes != sizeof(bc_model) ||
        devices->backend->layer_bytes != sizeof(bc_layer))
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the device library %s is of another version: install the program again",
                       path);
    return devices->backend->count(&devices->count, err);
}

int bc_engine_open_backend(bc_engine *engine, const char *path, int32_t *n_devices, bc_error *err)
{
    if (!engine || !path || !n_devices)
        return bc_fail(err, BC_ERR_INVALID, "engine, path or n_devices is NULL");
    *n_devices = 0;
    if (!engine->devices) {
        bc_devices *devices = calloc(1, sizeof *devices);
        if (!devices) return bc_fail(err, BC_ERR_NOMEM, "no memory for a backend");
        const int status = load(devices, path, err);
        if (status != BC_OK) {
            bc_devices_close(devices);
            return status;
        }
        if (devices->count > BC_MAX_DEVICES) devices->count = BC_MAX_DEVICES;
        engine->devices = devices;
    }
    *n_devices = engine->devices->count;
    return BC_OK;
}

void bc_devices_close(bc_devices *devices)
{
    if (!devices) return;
    for (int i = 0; i < BC_MAX_DEVICES; i++)
        if (devices->open[i]) devices->backend->close(devices->open[i]);
    bc_library_close(devices->library);
    free(devices);
}

static int check_device(const bc_engine *engine, int32_t device, bc_error *err)
{
    if (!engine) return bc_fail(err, BC_ERR_INVALID, "engine is NULL");
    if (!engine->devices)
        return bc_fail(err, BC_ERR_INVALID, "this engine has no backend: open one first");
    if (device < 0 || device >= engine->devices->count)
        return bc_fail(err, BC_ERR_INVALID, "there is no device %d: this computer has %d", device,
                       engine->devices->count);
    return BC_OK;
}

int bc_engine_get_device(bc_engine *engine, int32_t device, bc_device_info *info, bc_error *err)
{
    if (!info) return bc_fail(err, BC_ERR_INVALID, "info is NULL");
    const int status = check_device(engine, device, err);
    return status == BC_OK ? engine->devices->backend->describe(device, info, err) : status;
}

int bc_devices_get(bc_engine *engine, int32_t index, bc_device **out, bc_error *err)
{
    const int status = check_device(engine, index, err);
    if (status != BC_OK) return status;
    bc_devices *devices = engine->devices;
    if (!devices->open[index]) {
        const int opened = devices->backend->open(&devices->open[index], index, err);
        if (opened != BC_OK) return opened;
    }
    *out = devices->open[index];
    return BC_OK;
}

int bc_engine_get_memory(bc_engine *engine, int32_t device, bc_device_memory *memory, bc_error *err)
{
    if (!memory) return bc_fail(err, BC_ERR_INVALID, "memory is NULL");
    bc_device *open;
    const int status = bc_devices_get(engine, device, &open, err);
    return status == BC_OK ? engine->devices->backend->memory(open, memory, err) : status;
}

int bc_engine_copy_speed(bc_engine *engine, int32_t device, int64_t bytes, double *bytes_per_second,
                         bc_error *err)
{
    if (!bytes_per_second || bytes < 1)
        return bc_fail(err, BC_ERR_INVALID, "bytes_per_second is NULL or bytes is %lld",
                       (long long)bytes);
    bc_device *open;
    const int status = bc_devices_get(engine, device, &open, err);
    return status == BC_OK
               ? engine->devices->backend->copy_speed(open, bytes, bytes_per_second, err)
               : status;
}

int bc_engine_trace_begin(bc_engine *engine, int32_t device, bc_error *err)
{
    bc_device *open;
    const int status = bc_devices_get(engine, device, &open, err);
    return status == BC_OK ? engine->devices->backend->trace_begin(open, err) : status;
}

int bc_engine_trace_end(bc_engine *engine, int32_t device, bc_kernel_time *times, int32_t *n,
                        bc_error *err)
{
    if (!times || !n) return bc_fail(err, BC_ERR_INVALID, "times or n is NULL");
    *n = 0;
    bc_device *open;
    const int status = bc_devices_get(engine, device, &open, err);
    return status == BC_OK ? engine->devices->backend->trace_end(open, times, n, err) : status;
}

int bc_devices_room(const bc_engine *engine, bc_device *device, int64_t limit, int64_t *room,
                    bc_error *err)
{
    bc_device_memory memory;
    const int status = engine->devices->backend->memory(device, &memory, err);
    if (status != BC_OK) return status;
    int64_t left = memory.free_bytes;
    if (limit > 0 && limit < memory.total_bytes) {
        const int64_t taken = memory.total_bytes - memory.free_bytes;
        left = limit - taken < left ? limit - taken : left;
    }
    *room = left > KEPT_FREE ? left - KEPT_FREE : 0;
    return BC_OK;
}

/* ---- what fits ---- */

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

void bc_placed_close(bc_placed *placed)
{
    if (!placed) return;
    placed->backend->stack_close(placed->stack);
    free(placed);
}

/* ---- forward ---- */

struct rows_work {
    const bc_session *s;
    float *out; /* NULL: each row to its token's session */
    size_t width;
    int32_t first;
    const float *from;
    int64_t stride;
};

static void copy_row(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct rows_work *w = arg;
    const int64_t row = w->first + i;
    float *to = w->out ? w->out + (size_t)row * w->width : w->s->places[row].session->logits;
    memcpy(to, w->from + i * w->stride, w->width * sizeof(float));
}

/* Logits of many tokens are tens of megabytes: all threads copy. */
static void take_rows(void *arg, int32_t first, int32_t count, const float *from, int64_t stride)
{
    struct rows_work *w = arg;
    w->first = first;
    w->from = from;
    w->stride = stride;
    bc_pool_run(w->s->engine->pool, copy_row, w, count);
}

int bc_placed_forward(bc_session *s, int n, int rows, float *out, bc_error *err)
{
    const bc_placed *placed = s->model->placed;
    const bc_config *c = &s->model->config;
    for (int t = 0; t < n; t++)
        s->device_places[t] =
            (bc_stack_place){ s->places[t].session->cache, s->places[t].position };
    struct rows_work work = { .s = s,
                              .out = out,
                              .width = (size_t)(placed->head ? c->vocab : c->hidden) };
    const bc_stack_batch batch = { .x = s->x,
                                   .cos = s->cos,
                                   .sin = s->sin,
                                   .places = s->device_places,
                                   .n = n,
                                   .separate =
                                       n > 1 && s->places[0].session != s->places[1].session,
                                   .rows = rows,
                                   .take = take_rows,
                                   .arg = &work };
    return placed->backend->stack_forward(placed->stack, &batch, err);
}
