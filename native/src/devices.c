/* devices.c - see devices.h. */
#include "devices.h"

#include <stdlib.h>

#include "engine.h"
#include "error.h"
#include "platform.h"

/* What a driver takes for itself as work goes on: launches, graphs, page-locked tables. */
#define KEPT_FREE ((int64_t)64 << 20)

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

void bc_placed_close(bc_placed *placed)
{
    if (!placed) return;
    placed->backend->stack_close(placed->stack);
    free(placed);
}
