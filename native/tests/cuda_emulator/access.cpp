/* access.cpp - what kernels do to memory beyond plain loads and stores: copies that go on by themselves, atomics. */
#include <algorithm>
#include <deque>
#include <vector>

#include "checker.hpp"
#include "emulator.hpp"

namespace
{
/* A thread's copies that are on their way */
struct Copy {
    void *to;
    const void *from;
    size_t bytes;
    unsigned group;
    const void *code; /* who asked for it */
};
struct Copies {
    std::deque<Copy> pending;
    unsigned groups; /* how many are closed */
};
Copies copies[MAX_THREADS];
std::vector<Copy> brought; /* for the block; no bytes: it is there */

void need_device(const void *p, size_t bytes, bc_emulated_site site)
{
    if (!bc_emulated_holds(p, bytes, true))
        bc_emulated_wrong("this is not the device's memory", site);
}

/* A copy that goes on by itself begins: until it is done there is a pattern. */
void begin_copy(const Copy &copy, size_t unit, bc_emulated_site site)
{
    need_device(copy.from, copy.bytes, site);
    if ((reinterpret_cast<uintptr_t>(copy.to) | reinterpret_cast<uintptr_t>(copy.from)) % unit)
        bc_emulated_wrong(
            "an address of the copy is not a multiple of the bytes that it takes at a time", site);
    bc_check_asked(copy.to, copy.from, copy.bytes, copy.code);
    bc_emulated_poison(copy.to, copy.bytes);
}
} // namespace

void bc_emulated_read_once(const void *p, size_t bytes, bc_emulated_site site)
{
    need_device(p, bytes, site);
    bc_check_once(p, bytes, __builtin_return_address(0));
}

void bc_emulated_copy_ahead(void *shared, const void *global, size_t bytes, bc_emulated_site site)
{
    Copies &mine = copies[bc_emulated_thread()];
    const Copy copy = { shared, global, bytes, mine.groups, __builtin_return_address(0) };
    begin_copy(copy, bytes, site);
    mine.pending.push_back(copy);
}

void bc_emulated_copy_group() { copies[bc_emulated_thread()].groups++; }

void bc_emulated_copied(unsigned pending)
{
    Copies &mine = copies[bc_emulated_thread()];
    while (!mine.pending.empty() && mine.pending.front().group + pending < mine.groups) {
        const Copy copy = mine.pending.front();
        mine.pending.pop_front();
        bc_check_arrived(copy.to, copy.bytes, copy.code);
        memcpy(copy.to, copy.from, copy.bytes);
    }
}

uint64_t bc_emulated_bring(void *shared, const void *global, size_t bytes, bc_emulated_site site)
{
    const Copy copy = { shared, global, bytes, 0, __builtin_return_address(0) };
    begin_copy(copy, 16, site);
    brought.push_back(copy);
    return brought.size();
}

void bc_emulated_brought(uint64_t number, bc_emulated_site site)
{
    if (number - 1 >= brought.size())
        bc_emulated_wrong("nobody has asked for what is waited for", site);
    Copy &copy = brought[number - 1];
    if (!copy.bytes) return;
    bc_check_brought(copy.to, copy.bytes);
    memcpy(copy.to, copy.from, copy.bytes);
    copy.bytes = 0;
}

void bc_emulated_drop_copies(unsigned n_threads)
{
    brought.clear();
    for (unsigned i = 0; i < n_threads; i++) {
        copies[i].pending.clear();
        copies[i].groups = 0;
    }
}

int bc_emulated_atomic_add(int *p, int v)
{
    bc_check_atomic(p, __builtin_return_address(0));
    const int before = *p;
    *p = bc_emulated_plus(before, v);
    return before;
}
void bc_emulated_atomic_max(int *p, int v)
{
    bc_check_atomic(p, __builtin_return_address(0));
    *p = std::max(*p, v);
}
void bc_emulated_fence() { bc_check_fence(); }
void bc_emulated_wait_for_inputs() { bc_check_waited(); }
