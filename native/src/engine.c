/* engine.c - what an open engine is asked. */
#include "engine.h"

#include <stdio.h>

#include "platform.h"

enum { PAUSE_POLL = 20 /* ms */ };

void bc_engine_get_info(const bc_engine *engine, bc_engine_info *info)
{
    if (!engine || !info) return;
    info->n_threads = bc_pool_size(engine->pool);
    info->cpu_flags = engine->cpu_flags;
    snprintf(info->isa, sizeof info->isa, "%s", engine->k.isa);
}

void bc_wait_while_paused(const bc_cancel *cancel)
{
    while (cancel->paused && !cancel->requested) bc_thread_sleep(PAUSE_POLL);
}
