/* own_shared_test.cpp - what kernels declare as shared is as new for each block, of each of them. */
#include <cstdio>

#include "emulator.hpp"

namespace
{
constexpr int WORDS = 3000; /* some pages */
constexpr uint32_t PATTERN = 0xfffdfffd;
BC_SHARED uint32_t narrow, wide[WORDS];
int stale;

void look(volatile uint32_t &word)
{
    stale += word != PATTERN;
    word = 0;
}
void touches_one() { look(narrow); }
void touches_all()
{
    for (int i = 0; i < WORDS; i++) look(wide[i]);
}
void one_block_touches_more()
{
    look(narrow);
    if (blockIdx.x == 1) look(wide[0]);
    if (blockIdx.x == 2) stale += wide[0] != PATTERN;
}
/* What a page holds that no launch before had touched is as new in the next launch. */
void touches_more_in_the_third_launch()
{
    static int blocks;
    look(narrow);
    if (++blocks > 8) look(wide[WORDS - 1]);
}

int stale_after(const char *kernel, int launches, unsigned blocks, void (*thread)())
{
    stale = 0;
    for (int i = 0; i < launches; i++)
        bc_emulated_run({ kernel, { blocks, 1, 1 }, { 1, 1, 1 }, 0, thread });
    return stale;
}
} // namespace

int main()
{
    const bool fine[] = {
        stale_after("one", 3, 4, touches_one) == 0,
        stale_after("all", 3, 4, touches_all) == 0,
        stale_after("one", 3, 4, touches_one) == 0,
        stale_after("more", 3, 4, touches_more_in_the_third_launch) <= 3,
        stale_after("more", 3, 4, touches_more_in_the_third_launch) == 0,
        stale_after("some", 3, 4, one_block_touches_more) == 0,
        stale_after("all", 1, 4, touches_all) == 0,
    };
    int failed = 0;
    for (const bool passed : fine) failed += !passed;
    printf("%zu passed, %d failed\n", sizeof fine / sizeof *fine - (size_t)failed, failed);
    return failed != 0;
}
