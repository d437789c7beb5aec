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
};

/* A relaxed look at the caller's flag. */
static inline int bc_cancelled(const bc_cancel *cancel) { return cancel && cancel->requested != 0; }

#endif
