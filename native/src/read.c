/* read.c - reading memory and nothing else: what the fastest decode could get. */
#include <stdatomic.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "fetch.h"
#include "files.h"
#include "model.h"

enum { PIECE = 1 << 18 };

struct read_work {
    const uint8_t *data;
    int64_t bytes;
    atomic_ullong sum;
};

static void read_piece(void *arg, int64_t item, int thread)
{
    (void)thread;
    struct read_work *w = arg;
    const int64_t first = item * PIECE, left = w->bytes - first;
    const int64_t end = left < PIECE ? w->bytes : first + PIECE;
    uint64_t sum[16] = { 0 }; /* more than one, so that no addition waits for another */
    int64_t i = first;
    for (; i + (int64_t)sizeof sum <= end; i += (int64_t)sizeof sum) {
        uint64_t v[16];
        bc_fetch_ahead(w->data + i);
        bc_fetch_ahead(w->data + i + sizeof v / 2);
        memcpy(v, w->data + i, sizeof v);
        for (int j = 0; j < 16; j++) sum[j] += v[j];
    }
    for (; i < end; i++) sum[0] += w->data[i];
    uint64_t total = 0;
    for (int j = 0; j < 16; j++) total += sum[j];
    atomic_fetch_add(&w->sum, total);
}

static uint64_t read_all(bc_engine *engine, const void *data, int64_t bytes)
{
    struct read_work w = { .data = data, .bytes = bytes };
    atomic_init(&w.sum, 0);
    bc_pool_run(engine->pool, read_piece, &w, (bytes + PIECE - 1) / PIECE);
    return atomic_load(&w.sum);
}

int bc_memory_read(bc_engine *engine, const void *data, int64_t bytes, uint64_t *sum, bc_error *err)
{
    if (!engine || !data || !sum)
        return bc_fail(err, BC_ERR_INVALID, "engine, data or sum is NULL");
    if (bytes < 0) return bc_fail(err, BC_ERR_INVALID, "bytes is %lld", (long long)bytes);
    *sum = read_all(engine, data, bytes);
    return BC_OK;
}

int bc_model_read(bc_model *model, uint64_t *sum, bc_error *err)
{
    if (!model || !sum) return bc_fail(err, BC_ERR_INVALID, "model or sum is NULL");
    *sum = 0;
    for (size_t i = 0; i < model->files->n_files; i++) {
        const bc_map *map = &model->files->files[i].map;
        *sum += read_all(model->engine, map->data, (int64_t)map->size);
    }
    return BC_OK;
}
