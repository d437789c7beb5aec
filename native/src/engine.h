/* engine.h - the inside of bc_engine. */
#ifndef BC_ENGINE_H
#define BC_ENGINE_H

#include "bitconverter.h"
#include "kernels.h"
#include "pool.h"

struct bc_engine {
    bc_kernels k;
    bc_pool *pool;
    uint32_t cpu_flags;
    /* work space of a layer's gradient and of its forward pass over windows, kept for the next call of any layer:
     * one call at a time runs on an engine */
    struct bc_block_back *back;
    struct bc_block_space *windows;
    struct bc_devices *devices; /* NULL: no backend is open */
};

/* Returns when `cancel` is no longer paused, or requested. */
void bc_wait_while_paused(const bc_cancel *cancel);

/* A relaxed look at the caller's flags. */
static inline int bc_cancelled(const bc_cancel *cancel)
{
    if (!cancel) return 0;
    if (cancel->paused) bc_wait_while_paused(cancel);
    return cancel->requested != 0;
}

#endif
