/* engine_open.c - opening and closing an engine: its thread pool and kernel table, and what devices and layers left in it.
 * Those know the inside of an engine; only this file knows them. */
#include "engine.h"

#include <stdlib.h>

#include "block_space.h"
#include "cpu.h"
#include "devices.h"
#include "error.h"
#include "platform.h"

enum { MAX_THREADS = 256 };

uint32_t bc_abi_version(void) { return BC_ABI_VERSION; }

void bc_engine_params_init(bc_engine_params *params)
{
    if (!params) return;
    params->n_threads = 0;
    params->cpu_flags_mask = ~0u;
}

int bc_engine_open(bc_engine **out, const bc_engine_params *params, bc_error *err)
{
    if (!out) return bc_fail(err, BC_ERR_INVALID, "out is NULL");
    *out = NULL;
    if (!params) return bc_fail(err, BC_ERR_INVALID, "params is NULL");
    if (params->n_threads < 0 || params->n_threads > MAX_THREADS)
        return bc_fail(err, BC_ERR_INVALID, "n_threads is %d, must be 0 to %d", params->n_threads,
                       MAX_THREADS);
    bc_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return bc_fail(err, BC_ERR_NOMEM, "no memory for the engine");
    engine->cpu_flags = bc_cpu_flags() & params->cpu_flags_mask;
    bc_kernels_init(&engine->k, engine->cpu_flags);
    int n_threads = params->n_threads ? params->n_threads : bc_physical_cores();
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    engine->pool = bc_pool_new(n_threads);
    if (!engine->pool) {
        free(engine);
        return bc_fail(err, BC_ERR_NOMEM, "%d threads could not be started", n_threads);
    }
    *out = engine;
    return BC_OK;
}

void bc_engine_close(bc_engine *engine)
{
    if (!engine) return;
    bc_block_back_free(engine->back);
    bc_block_space_free(engine->windows);
    bc_devices_close(engine->devices);
    bc_pool_free(engine->pool);
    free(engine);
}

void bc_engine_let_go(bc_engine *engine)
{
    if (!engine) return;
    bc_block_back_free(engine->back);
    bc_block_space_free(engine->windows);
    engine->back = NULL;
    engine->windows = NULL;
    bc_memory_trim();
}
