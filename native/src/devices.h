/* devices.h - the engine's side of a backend: its library, its open devices, and what of a model lies there. */
#ifndef BC_DEVICES_H
#define BC_DEVICES_H

#include "backend.h"

enum { BC_MAX_DEVICES = 16 };

/* Of an engine. */
typedef struct bc_devices {
    void *library;
    const bc_backend *backend;
    int32_t count;
    bc_device *open[BC_MAX_DEVICES]; /* NULL until one is used */
} bc_devices;

/* Of a model whose layers first .. n_layers - 1 lie on a device. */
typedef struct bc_placed {
    const bc_backend *backend;
    bc_device *device;
    bc_stack *stack;
    int first, head, n_batch;
} bc_placed;

void bc_devices_close(bc_devices *devices);
/* A device of the engine's backend, opened when it is first asked for. */
int bc_devices_get(bc_engine *engine, int32_t index, bc_device **out, bc_error *err);
/* What the driver leaves, less what it will want itself. With a limit (0: none) the device is taken for one that has only so
 * much memory in all. */
int bc_devices_room(const bc_engine *engine, bc_device *device, int64_t limit, int64_t *room,
                    bc_error *err);
void bc_placed_close(bc_placed *placed);

/* How many of the model's layers run on the CPU: those before the placed ones. */
static inline int bc_cpu_layers(const bc_model *m)
{
    return m->placed ? m->placed->first : m->config.n_layers;
}

#endif
