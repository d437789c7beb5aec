/* access.cpp - what kernels do to memory beyond plain loads and stores: copies that go on by themselves, atomics. */
#include <algorithm>
#include <deque>

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

void need_device(const void *p, size_t bytes, bc_emulated_site site)
{
    if (!bc_emulated_holds(p, bytes, true))
        bc_emulated_wrong("this is not the device's memory", site);
}
} // namespace

void bc_emulated_read_once(const void *p, size_t bytes, bc_emulated_site site)
{
    need_device(p, bytes, site);
    bc_check_once(p, bytes, __builtin_return_address(0));
}

void bc_emulated_copy_ahead(void *shared, const void *global, size_t bytes, bc_emulated_site site)
{
    const void *code = __builtin_return_address(0);
    need_device(global, bytes, site);
    if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes)
        bc_emulated_wrong("an address of the copy is not a multiple of its bytes", site);
    bc_check_asked(shared, global, bytes, code);
    bc_emulated_poison(shared, bytes);
    Copies &mine = copies[bc_emulated_thread()];
    mine.pending.push_back({ shared, global, bytes, mine.groups, code });
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

void bc_emulated_drop_copies(unsigned n_threads)
{
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
