/* fibers.cpp - a block's threads as fibers on the calling thread, one block after the other.
 *
 * Each fiber runs until it waits at a barrier or ends. A barrier opens when all threads that it is for wait at the same
 * place of the source; when they cannot, the kernel is wrong, and it is said where each of them is. Threads and blocks
 * run forwards and backwards in turn, so that a kernel that lacks a barrier reads what is not there yet. */
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "checker.hpp"
#include "emulator.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#include "guard.hpp"

bc_emulated_dim threadIdx, blockIdx, blockDim, gridDim;

/* Saves the registers that a function keeps on the stack, that stack in *from, and goes on with `to`. */
extern "C" void bc_emulated_switch(void **from, void *to) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .hidden bc_emulated_switch
    .globl bc_emulated_switch
    .type bc_emulated_switch, @function
bc_emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size bc_emulated_switch, .-bc_emulated_switch
)");

namespace
{
enum State { READY, IN_WARP, IN_WARP_BARRIER, IN_BLOCK, ENDED };
constexpr size_t PAGE = 4096, SLOT = 32; /* bytes that a lane can exchange */
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t STACK = 256 * 1024;
#else
constexpr size_t STACK = 64 * 1024;
#endif
constexpr size_t LEFT = 2048; /* more than to_scheduler() and fiber_main() take of a stack */

struct Fiber {
    void *stack_pointer;
    uint8_t *stack;
    State state;
    bc_emulated_site site;
    bc_emulated_dim index;
    unsigned exchanges; /* how many there were: the buffer is one of two in turn */
};

Fiber fibers[MAX_THREADS];
alignas(64) uint8_t exchanged[MAX_THREADS / WARP][2][WARP][SLOT];
Fiber *current;
void *scheduler;
const bc_emulated_launch *running;
std::vector<uint8_t> dynamic_shared;
uint8_t *dynamic_start;
constexpr size_t GUARD = 1024;

#if defined(__SANITIZE_ADDRESS__)
void *scheduler_fake_stack;
const void *scheduler_stack;
size_t scheduler_stack_bytes;
#endif

void to_fiber(Fiber &fiber)
{
    current = &fiber;
    bc_check_thread((unsigned)(&fiber - fibers));
    threadIdx = fiber.index;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack, STACK);
    bc_emulated_switch(&scheduler, fiber.stack_pointer);
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#else
    bc_emulated_switch(&scheduler, fiber.stack_pointer);
#endif
}

void to_scheduler(Fiber &fiber)
{
#if defined(__SANITIZE_ADDRESS__)
    void *fake_stack = nullptr;
    const bool ended = fiber.state == ENDED;
    __sanitizer_start_switch_fiber(ended ? nullptr : &fake_stack, scheduler_stack,
                                   scheduler_stack_bytes);
    bc_emulated_switch(&fiber.stack_pointer, scheduler);
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#else
    bc_emulated_switch(&fiber.stack_pointer, scheduler);
#endif
}

void fiber_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
    running->thread();
    bc_check_thread_ends();
    current->state = ENDED;
    to_scheduler(*current);
    abort(); /* one that has ended is never gone on with */
}

void wait(State state, bc_emulated_site site)
{
    Fiber &fiber = *current;
    fiber.state = state;
    fiber.site = site;
    to_scheduler(fiber);
}

#if !defined(__SANITIZE_ADDRESS__) /* which says more than this */
void out_of_bounds(int)
{
    signal(SIGSEGV, SIG_DFL);
    if (!running) return; /* not a kernel: once more, without us */
    bc_emulated_wrong("an address that is nowhere, or more than a thread's stack",
                      { running->name, 0 });
}

void name_kernels_that_crash()
{
    static uint8_t room[32768]; /* the fiber's own stack may be what has run out */
    stack_t stack = {};
    stack.ss_sp = room;
    stack.ss_size = sizeof room;
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_handler = out_of_bounds;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
}
#else
void name_kernels_that_crash() {}
#endif

void make_stacks()
{
    if (fibers[0].stack) return;
    name_kernels_that_crash();
    constexpr size_t each =
        PAGE + STACK; /* the page below a stack is not there: who needs more is stopped */
    void *room = mmap(nullptr, MAX_THREADS * each, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) bc_emulated_fail("no memory for the threads' stacks");
    for (unsigned i = 0; i < MAX_THREADS; i++) {
        uint8_t *start = static_cast<uint8_t *>(room) + i * each;
        mprotect(start, PAGE, PROT_NONE);
        fibers[i].stack = start + PAGE;
    }
}

void begin(unsigned i, bc_emulated_dim index)
{
    Fiber &fiber = fibers[i];
    /* not all at the same place of a page: they would share a few lines of the cache */
    void **top = reinterpret_cast<void **>(fiber.stack + STACK - i % 32 * 128);
    /* the last functions of the thread that had this stack never returned: their marks are still there */
    ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<uint8_t *>(top) - LEFT, LEFT);
    *--top = nullptr; /* fiber_main's stack is aligned as if it had been called from here */
    *--top = reinterpret_cast<void *>(fiber_main);
    for (int r = 0; r < 6; r++) *--top = nullptr;
    fiber.stack_pointer = top;
    fiber.state = READY;
    fiber.index = index;
    fiber.exchanges = 0;
}

void need_whole_warp(bc_emulated_site site)
{
    const unsigned i = bc_emulated_thread(), n = blockDim.x * blockDim.y * blockDim.z;
    if (i / WARP * WARP + WARP > n)
        bc_emulated_wrong("the last warp has fewer than 32 threads", site);
}

bool same_place(const Fiber &a, const Fiber &b)
{
    return a.state == b.state && (a.state == ENDED || (a.site.line == b.site.line &&
                                                       (a.site.file == b.site.file ||
                                                        strcmp(a.site.file, b.site.file) == 0)));
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void say_where(char *text, size_t room, const Fiber &fiber)
{
    const bc_emulated_dim i = fiber.index;
    const char *what = fiber.state == IN_BLOCK ? "waits for its block" : "waits for its warp";
    if (fiber.state == ENDED) {
        snprintf(text, room, "thread (%u, %u, %u) has ended", i.x, i.y, i.z);
    } else {
        snprintf(text, room, "thread (%u, %u, %u) %s at %s:%d", i.x, i.y, i.z, what,
                 base_name(fiber.site.file), fiber.site.line);
    }
}

[[noreturn]] void diverged(const Fiber &a, const Fiber &b)
{
    char first[300], second[300];
    say_where(first, sizeof first, a);
    say_where(second, sizeof second, b);
    bc_emulated_fail("kernel %s, block (%u, %u, %u): %s, but %s", running->name, blockIdx.x,
                     blockIdx.y, blockIdx.z, first, second);
}

bool waits_for_warp(const Fiber &lane)
{
    return lane.state == IN_WARP || lane.state == IN_WARP_BARRIER;
}

/* Runs a warp until all its lanes have ended or wait for the block. */
void run_warp(Fiber *lanes, unsigned n, bool backwards)
{
    for (;;) {
        for (unsigned i = 0; i < n; i++) {
            Fiber &fiber = lanes[backwards ? n - 1 - i : i];
            if (fiber.state == READY) to_fiber(fiber);
        }
        for (unsigned i = 1; i < n; i++)
            if ((waits_for_warp(lanes[i]) || waits_for_warp(lanes[0])) &&
                !same_place(lanes[0], lanes[i]))
                diverged(lanes[0], lanes[i]);
        if (!waits_for_warp(lanes[0])) return;
        if (lanes[0].state == IN_WARP_BARRIER)
            bc_check_warp_synced((unsigned)(lanes - fibers) / WARP);
        for (unsigned i = 0; i < n; i++) lanes[i].state = READY;
    }
}

void run_threads(unsigned n, bool backwards)
{
    const unsigned n_warps = (n + WARP - 1) / WARP;
    do {
        for (unsigned w = 0; w < n_warps; w++) {
            const unsigned warp = backwards ? n_warps - 1 - w : w;
            run_warp(&fibers[warp * WARP], std::min(WARP, n - warp * WARP), backwards);
        }
        for (unsigned i = 1; i < n; i++)
            if (!same_place(fibers[0], fibers[i])) diverged(fibers[0], fibers[i]);
        if (fibers[0].state == ENDED) return;
        bc_check_block_synced();
        for (unsigned i = 0; i < n; i++) fibers[i].state = READY;
    } while (true);
}

void run_block(const bc_emulated_launch &launch, bool backwards,
               const bc_emulated_shared_memory &own)
{
    bc_emulated_begin_own_shared(own, launch.name);
    bc_emulated_poison(dynamic_start, launch.shared_bytes);
    uint8_t *guard = dynamic_start + launch.shared_bytes;
    guard_close(guard, GUARD);
    const bc_emulated_dim size = launch.block;
    unsigned n = 0;
    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x; x++) begin(n++, { x, y, z });
    bc_emulated_drop_copies(n);
    bc_check_block(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z), n, own.start,
                   own.bytes, dynamic_start, launch.shared_bytes);
    run_threads(n, backwards);
    if (guard_open(guard, GUARD) != guard + GUARD)
        bc_emulated_fail(
            "kernel %s, block (%u, %u, %u): wrote beyond the %zu bytes of shared memory",
            launch.name, blockIdx.x, blockIdx.y, blockIdx.z, launch.shared_bytes);
}
} // namespace

void bc_emulated_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("CUDA emulator: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    fflush(stderr);
    abort();
}

void bc_emulated_wrong(const char *what, bc_emulated_site site)
{
    bc_emulated_fail("kernel %s, block (%u, %u, %u), thread (%u, %u, %u) at %s:%d: %s",
                     running->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y,
                     threadIdx.z, base_name(site.file), site.line, what);
}

unsigned bc_emulated_thread() { return (unsigned)(current - fibers); }

uint8_t *bc_emulated_shared() { return dynamic_start; }

void bc_emulated_sync(bc_emulated_site site) { wait(IN_BLOCK, site); }

void bc_emulated_sync_warp(bc_emulated_site site)
{
    need_whole_warp(site);
    wait(IN_WARP_BARRIER, site);
}

const uint8_t *bc_emulated_exchange(const void *mine, size_t bytes, bc_emulated_site site)
{
    need_whole_warp(site);
    const unsigned i = bc_emulated_thread();
    uint8_t (*buffer)[SLOT] = exchanged[i / WARP][current->exchanges++ % 2];
    memcpy(buffer[i % WARP], mine, bytes);
    wait(IN_WARP, site);
    return buffer[0];
}

void bc_emulated_run(const bc_emulated_launch &launch)
{
    static unsigned launches;
    make_stacks();
    running = &launch;
    gridDim = launch.grid;
    blockDim = launch.block;
    dynamic_shared.resize(launch.shared_bytes + GUARD + 1024);
    dynamic_start =
        dynamic_shared.data() + (1024 - reinterpret_cast<uintptr_t>(dynamic_shared.data()) % 1024);
    const bc_emulated_shared_memory own = bc_emulated_own_shared();
    const size_t n = (size_t)gridDim.x * gridDim.y * gridDim.z;
    for (size_t i = 0; i < n; i++) {
        const size_t b = launches % 2 ? n - 1 - i : i;
        blockIdx = { (unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y),
                     (unsigned)(b / gridDim.x / gridDim.y) };
        run_block(launch, (launches + b) % 2, own);
    }
    bc_emulated_end_own_shared(own, launch.name);
    launches++;
    running = nullptr;
}
