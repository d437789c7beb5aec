/* pool_test.c - every item runs exactly once, run after run, whatever the number of threads. Worth
 * running under ThreadSanitizer too (-DBC_SANITIZE=thread). */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool.h"

enum { MAX_ITEMS = 300, RUNS = 3000 };

struct work {
    atomic_int seen[MAX_ITEMS];
    int threads;
    atomic_int bad_thread;
    int plain[MAX_ITEMS]; /* written by the item, read by the caller: the run is a barrier */
};

static void item(void *arg, int64_t i, int thread)
{
    struct work *w = arg;
    if (thread < 0 || thread >= w->threads) atomic_store(&w->bad_thread, 1);
    atomic_fetch_add(&w->seen[i], 1);
    w->plain[i] += (int)i + 1;
}

static int check_pool(int threads)
{
    static struct work w;
    bc_pool *pool = bc_pool_new(threads);
    if (!pool || bc_pool_size(pool) != threads) return 1;
    for (int i = 0; i < MAX_ITEMS; i++) {
        atomic_store(&w.seen[i], 0);
        w.plain[i] = 0;
    }
    w.threads = threads;
    int expected[MAX_ITEMS] = { 0 };
    int failed = 0;
    for (int run = 0; run < RUNS && !failed; run++) {
        const int n = run * 7919 % (MAX_ITEMS + 1);
        bc_pool_run(pool, item, &w, n);
        for (int i = 0; i < n; i++) expected[i]++;
        for (int i = 0; i < MAX_ITEMS; i++)
            failed |= w.plain[i] != expected[i] * (i + 1) || atomic_load(&w.seen[i]) != expected[i];
    }
    bc_pool_free(pool);
    failed |= atomic_load(&w.bad_thread);
    printf("pool of %d threads: %s\n", threads, failed ? "FAILED" : "ok");
    return failed;
}

int main(void)
{
    static const int THREADS[] = { 1, 2, 3, 8 };
    int failed = 0, n = (int)(sizeof THREADS / sizeof *THREADS);
    for (int i = 0; i < n; i++) failed += check_pool(THREADS[i]);
    bc_pool_free(NULL);
    printf("%d passed, %d failed\n", n - failed, failed);
    return failed != 0;
}
