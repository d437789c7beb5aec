/* large_pages_test.c - memory that is moved into large pages holds what it held, wherever it begins and
 * ends. */
#include <stdio.h>

#include "platform.h"

enum { BYTES = 9 << 20 };

static uint8_t expected(size_t i) { return (uint8_t)(i * 2654435761u >> 13); }

int main(void)
{
    static const size_t ranges[][2] = {
        { 0, 0 },     { 1, 4095 },         { 0, BYTES }, { 64, 3 << 20 }, { 4097, BYTES - 4097 },
        { BYTES, 0 }, { 5 << 20, 4 << 20 }
    };
    uint8_t *memory = bc_aligned_alloc(BYTES);
    if (!memory) return 1;
    for (size_t i = 0; i < BYTES; i++) memory[i] = expected(i);
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++)
        bc_large_pages(memory + ranges[r][0], ranges[r][1]);
    for (size_t i = 0; i < BYTES; i++) {
        if (memory[i] == expected(i)) continue;
        fprintf(stderr, "byte %zu changed\n", i);
        return 1;
    }
    bc_aligned_free(memory);
    printf("ok\n");
    return 0;
}
