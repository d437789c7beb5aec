/* pool.h - the engine's threads. */
#ifndef BC_POOL_H
#define BC_POOL_H

#include <stdint.h>

typedef struct bc_pool bc_pool;

/* One piece of work: item 0 <= i < n, on thread 0 <= thread < bc_pool_size. Which thread runs
 * which item varies; so an item's result must depend on its index only. */
typedef void (*bc_pool_fn)(void *arg, int64_t item, int thread);

bc_pool *bc_pool_new(int n_threads); /* the caller counts as one of them; NULL: no memory */
void bc_pool_free(bc_pool *pool);
int bc_pool_size(const bc_pool *pool);

/* Runs fn for every item and returns when all are done. Not reentrant. */
void bc_pool_run(bc_pool *pool, bc_pool_fn fn, void *arg, int64_t n_items);

#endif
