/* sort.h - a sort that hostile files cannot slow down. */
#ifndef BC_SORT_H
#define BC_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Stable merge sort of indices: n log n whatever the input (hostile files choose the keys).
 * compare is < 0, 0, > 0; scratch is [n]. */
void bc_sort_indices(uint32_t *items, uint32_t *scratch, size_t n,
                     int (*compare)(const void *context, uint32_t a, uint32_t b),
                     const void *context);

#endif
