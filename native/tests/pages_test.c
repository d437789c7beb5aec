/* pages_test.c - blocks for what lives long: aligned, whole, refused where they cannot be, and the system's again when
 * they are freed. */
#include <stdio.h>

#include "platform.h"
#include "test_os.h"

enum { LARGE = 8 << 20, AROUND = 128 << 10, ALIGNED = 64 };

static int failed(const char *what, size_t bytes)
{
    fprintf(stderr, "%s: %zu bytes\n", what, bytes);
    return 1;
}

static uint8_t expected(size_t i, size_t bytes)
{
    return (uint8_t)((i + bytes) * 2654435761u >> 13);
}

static void fill(uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) p[i] = expected(i, bytes);
}

static int holds(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != expected(i, bytes)) return 0;
    return 1;
}

/* Blocks of all these sizes at once, freed from the middle outwards. */
static int check_sizes(void)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    63,
                                    4096,
                                    AROUND - ALIGNED - 1,
                                    AROUND - ALIGNED,
                                    AROUND - 1,
                                    AROUND,
                                    AROUND + 1,
                                    (2 << 20) - ALIGNED,
                                    (2 << 20) + 1,
                                    LARGE };
    enum { N = sizeof sizes / sizeof *sizes };
    uint8_t *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = bc_pages_alloc(sizes[i]);
        if (!blocks[i]) return failed("no block", sizes[i]);
        if ((uintptr_t)blocks[i] % ALIGNED) return failed("not aligned", sizes[i]);
        fill(blocks[i], sizes[i]);
    }
    for (size_t step = 0; step < N; step++) {
        const size_t i = step % 2 ? N / 2 - 1 - step / 2 : N / 2 + step / 2;
        if (!holds(blocks[i], sizes[i])) return failed("another block was written", sizes[i]);
        bc_pages_free(blocks[i]);
    }
    bc_pages_free(NULL);
    return 0;
}

static int check_too_large(void)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX / 2 + 1 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (bc_pages_alloc(sizes[i])) return failed("a block that no computer has", sizes[i]);
    return 0;
}

/* An allocator keeps such a block once it has had one of that size back, and below one that is in use. */
static int check_given_back(void)
{
    uint8_t *first = bc_pages_alloc(2 * LARGE);
    if (!first) return failed("no block", 2 * LARGE);
    fill(first, 2 * LARGE);
    bc_pages_free(first);
    uint8_t *freed = bc_pages_alloc(LARGE), *kept = bc_pages_alloc(LARGE);
    if (!freed || !kept) return failed("no block", LARGE);
    fill(freed, LARGE);
    fill(kept, LARGE);
    const int64_t before = test_resident_bytes();
    bc_pages_free(freed);
    const int64_t after = test_resident_bytes();
    if (!holds(kept, LARGE)) return failed("the other block was written", LARGE);
    bc_pages_free(kept);
    if (before < 0) return 0; /* cannot be asked for here */
    if (before - after < LARGE / 2) return failed("the system did not get back", LARGE);
    return 0;
}

int main(void)
{
    if (check_sizes() || check_too_large() || check_given_back()) return 1;
    printf("ok\n");
    return 0;
}
