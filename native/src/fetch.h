/* fetch.h - asking for a matrix's bytes before they are multiplied.
 *
 * A core that reads in order still waits: its own prefetching keeps few lines on their way and begins
 * anew at every page and wherever planes take turns. It is asked into the second cache, which can
 * wait for more lines than the first. An address behind the matrix does no harm. */
#ifndef BC_FETCH_H
#define BC_FETCH_H

#include <stddef.h>
#include <stdint.h>

enum { BC_FETCH_AHEAD = 4096 };

static inline void bc_fetch_from(const void *at, unsigned ahead)
{
    __builtin_prefetch((const void *)((uintptr_t)at + ahead), 0, 2);
}

/* The lines of `count` floats that will be written soon: a core reads what it writes to. */
static inline void bc_fetch_to_write(const float *to, size_t count)
{
    for (size_t i = 0; i < count; i += 16)
        __builtin_prefetch((const void *)((uintptr_t)to + i * sizeof *to), 1, 2);
}

/* `count` floats that will be read soon, `ahead` behind what is read now, where the core would not look by itself. */
static inline void bc_fetch_to_read(const float *now, size_t ahead, size_t count)
{
    for (size_t i = 0; i < count; i += 16)
        __builtin_prefetch((const void *)((uintptr_t)now + (ahead + i) * sizeof *now), 0, 3);
}

static inline void bc_fetch_ahead(const void *at) { bc_fetch_from(at, BC_FETCH_AHEAD); }

#endif
