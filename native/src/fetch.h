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

static inline void bc_fetch_ahead(const void *at)
{
    __builtin_prefetch((const void *)((uintptr_t)at + BC_FETCH_AHEAD), 0, 2);
}

/* Bytes that will be written: a core reads the lines that it writes to first. */
static inline void bc_fetch_to_write(const void *to, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64)
        __builtin_prefetch((const void *)((uintptr_t)to + at), 1, 2);
}

#endif
