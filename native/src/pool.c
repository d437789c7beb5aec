/* pool.c - threads that wait for work by spinning a little, then sleeping.
 *
 * A decode step runs about a hundred small parallel pieces; waking a sleeping thread for each
 * would cost more than the work. So a worker looks at the generation counter for some
 * microseconds before it sleeps on the condition variable. A worker that is late (asleep, or its
 * core is taken by another program) is not waited for: a run is over when its items are.
 *
 * Each thread begins with a stretch of items of its own, so that it reads one long piece of memory
 * in order (two threads that take turns in one stretch get less out of it than one alone), and
 * then helps the others with what is left of theirs. */
#include "pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "platform.h"

/* Spins before giving the core away, and looks before going to sleep: together some 50 us to
 * a few hundred us. On a machine with other work yielding early matters more than latency. */
enum { SPINS_BEFORE_YIELD = 2000, YIELDS_BEFORE_SLEEP = 50 };

/* What one thread begins with; a cache line of its own. */
struct share {
    _Alignas(64) atomic_llong next;
    int64_t end;
};

struct bc_pool {
    int n_threads;
    bc_thread **threads;
    struct worker *workers;
    bc_mutex *mutex;
    bc_cond *cond;
    atomic_int sleeping;
    atomic_int stop;
    /* one run at a time; written only while `open` is 0 and `active` is 0 */
    bc_pool_fn fn;
    void *arg;
    struct share *shares; /* [n_threads] */
    atomic_int open;      /* the run may be joined */
    atomic_int active;    /* workers that are inside, or looking whether they may be */
    atomic_uint generation;
};

struct worker {
    bc_pool *pool;
    int index;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_items(bc_pool *p, int thread)
{
    for (int t = 0; t < p->n_threads; t++) {
        struct share *share = &p->shares[(thread + t) % p->n_threads];
        for (;;) {
            const int64_t i = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (i >= share->end) break;
            p->fn(p->arg, i, thread);
        }
    }
}

/* Waits until the generation is no longer `seen`, and returns it. */
static unsigned wait_for_work(bc_pool *p, unsigned seen)
{
    unsigned now;
    for (int y = 0; y < YIELDS_BEFORE_SLEEP; y++) {
        for (int s = 0; s < SPINS_BEFORE_YIELD; s++) {
            now = atomic_load_explicit(&p->generation, memory_order_acquire);
            if (now != seen) return now;
            pause_cpu();
        }
        bc_thread_yield();
    }
    bc_mutex_lock(p->mutex);
    atomic_fetch_add(&p->sleeping, 1);
    while ((now = atomic_load(&p->generation)) == seen) bc_cond_wait(p->cond, p->mutex);
    atomic_fetch_sub(&p->sleeping, 1);
    bc_mutex_unlock(p->mutex);
    return now;
}

static void worker_main(void *arg)
{
    const struct worker *w = arg;
    bc_pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_work(p, seen);
        if (atomic_load(&p->stop)) return;
        /* Sequentially consistent on both sides: either this worker sees the run closed, or the
         * caller sees it active and waits for it. */
        atomic_fetch_add(&p->active, 1);
        if (atomic_load(&p->open)) take_items(p, w->index);
        atomic_fetch_sub(&p->active, 1);
    }
}

static void raise_generation(bc_pool *p)
{
    atomic_fetch_add(&p->generation, 1); /* sequentially consistent with `sleeping` */
    if (atomic_load(&p->sleeping) > 0) {
        bc_mutex_lock(p->mutex);
        bc_cond_broadcast(p->cond);
        bc_mutex_unlock(p->mutex);
    }
}

void bc_pool_run(bc_pool *p, bc_pool_fn fn, void *arg, int64_t n_items)
{
    if (p->n_threads == 1 || n_items <= 1) {
        for (int64_t i = 0; i < n_items; i++) fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    for (int t = 0; t < p->n_threads; t++) {
        atomic_store_explicit(&p->shares[t].next, n_items * t / p->n_threads, memory_order_relaxed);
        p->shares[t].end = n_items * (t + 1) / p->n_threads;
    }
    atomic_store(&p->open, 1);
    raise_generation(p);
    take_items(p, 0);
    atomic_store(&p->open, 0);
    for (int s = 1; atomic_load(&p->active) > 0; s++) {
        pause_cpu();
        if (s % SPINS_BEFORE_YIELD == 0) bc_thread_yield();
    }
}

bc_pool *bc_pool_new(int n_threads)
{
    bc_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->n_threads = 1; /* raised as threads start, so that bc_pool_free can stop a half-made pool */
    p->mutex = bc_mutex_new();
    p->cond = bc_cond_new();
    p->threads = calloc((size_t)n_threads, sizeof *p->threads);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    p->shares = bc_aligned_alloc((size_t)n_threads * sizeof *p->shares);
    if (!p->mutex || !p->cond || !p->threads || !p->workers || !p->shares) {
        bc_pool_free(p);
        return NULL;
    }
    for (int i = 1; i < n_threads; i++) {
        p->workers[i] = (struct worker){ p, i };
        if (bc_thread_start(&p->threads[i], worker_main, &p->workers[i]) != 0) {
            bc_pool_free(p);
            return NULL;
        }
        p->n_threads++;
    }
    return p;
}

void bc_pool_free(bc_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, 1);
    if (p->n_threads > 1) raise_generation(p);
    for (int i = 1; i < p->n_threads; i++) bc_thread_join(p->threads[i]);
    bc_mutex_free(p->mutex);
    bc_cond_free(p->cond);
    free(p->threads);
    free(p->workers);
    bc_aligned_free(p->shares);
    free(p);
}

int bc_pool_size(const bc_pool *pool) { return pool->n_threads; }
