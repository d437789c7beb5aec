/* sort.c - see sort.h. */
#include "sort.h"

#include <string.h>

void bc_sort_indices(uint32_t *items, uint32_t *scratch, size_t n,
                     int (*compare)(const void *context, uint32_t a, uint32_t b),
                     const void *context)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t middle = n - start < width ? n : start + width;
            size_t end = n - start < 2 * width ? n : start + 2 * width;
            size_t a = start, b = middle;
            for (size_t out = start; out < end; out++) {
                int left = a < middle && (b == end || compare(context, items[a], items[b]) <= 0);
                scratch[out] = left ? items[a++] : items[b++];
            }
        }
        memcpy(items, scratch, n * sizeof *items);
    }
}
