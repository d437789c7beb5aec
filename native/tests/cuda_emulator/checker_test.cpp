/* checker_test.cpp - small kernels with one mistake each, which checker.cpp has to find, and the same without it. */
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "checker.hpp"
#include "emulator.hpp"

namespace
{
constexpr unsigned THREADS = 64;
constexpr size_t BYTES = 4096;
int *device; /* BYTES of the card's memory, written by nobody */

BC_SHARED int one_shared;
BC_SHARED int shared[THREADS];

void run(unsigned blocks, bool overlaps, std::function<void()> thread)
{
    bc_check_launch("test", overlaps);
    bc_emulated_run({ "test", { blocks, 1, 1 }, { THREADS, 1, 1 }, 1024, std::move(thread) });
}
void fill()
{
    bc_check_filled(device, BYTES);
    memset(device, 0, BYTES);
}
int thread() { return (int)threadIdx.x; }

/* -- within a block -- */

template <bool SYNC> void neighbours_of_a_block()
{
    run(1, false, [] {
        shared[thread()] = 0;
        bc_sync();
        shared[thread()] = thread();
        if (SYNC) bc_sync();
        device[thread()] = shared[(thread() + 32) % THREADS];
    });
}
template <bool SYNC> void read_then_written()
{
    run(1, false, [] {
        if (thread() == 0) one_shared = 1;
        bc_sync();
        const int read = one_shared;
        if (SYNC) bc_sync();
        if (thread() == 40) one_shared = 2;
        device[thread()] = read;
    });
}
template <bool SYNC> void neighbours_of_a_warp()
{
    run(1, false, [] {
        shared[thread()] = thread();
        if (SYNC) bc_sync_warp();
        bc_shuffle_xor(1, 1); /* orders no memory */
        device[thread()] = shared[thread() ^ 1];
    });
}
/* Of two warps one writes 0 too, and then 1 after the other's read. */
void written_again()
{
    run(1, false, [] {
        one_shared = 0;
        bc_sync_warp();
        if (thread() == 0) device[0] = one_shared;
        bc_sync_warp();
        if (thread() == 32) one_shared = 1;
    });
}
template <bool ATOMIC> void sums()
{
    run(1, false, [] {
        if (thread() == 0) one_shared = 0;
        bc_sync();
        if (ATOMIC)
            bc_atomic_add(&one_shared, 1);
        else
            one_shared += 1;
        bc_sync();
        device[thread()] = one_shared;
    });
}
template <bool SYNC> void sum_read_early()
{
    run(1, false, [] {
        if (thread() == 0) one_shared = 0;
        bc_sync();
        bc_atomic_add(&one_shared, 1);
        if (SYNC) bc_sync();
        if (thread() == 63) device[0] = one_shared;
    });
}
template <bool WRITTEN> void shared_not_written()
{
    run(2, false, [] {
        if (WRITTEN || blockIdx.x == 0) shared[thread()] = 1;
        if (blockIdx.x == 1) device[thread()] = shared[thread()];
    });
}

/* -- beside the memory that there is -- */

template <int INT> void at_an_end()
{
    fill();
    run(1, false, [] {
        if (thread() == 63) device[0] = device[INT];
    });
}
template <int BYTE> void across_an_end()
{
    fill();
    run(1, false, [] {
        bc_words4 v;
        memcpy(&v, reinterpret_cast<const uint8_t *>(device) + BYTE, sizeof v);
        if (thread() == 63) device[0] = (int)v.w[3];
    });
}

/* -- copies that go on by themselves -- */

template <bool WAITED, bool SYNC> void copied()
{
    fill();
    run(1, false, [] {
        uint8_t *to = bc_emulated_shared() + 16 * thread();
        bc_copy_ahead(to, device + 4 * thread());
        bc_copy_group();
        bc_copy_group();
        if (WAITED)
            bc_copied<1>();
        else
            bc_copied<2>();
        if (SYNC) bc_sync();
        device[512 + thread()] = bc_emulated_shared()[SYNC ? 16 * (thread() ^ 1) : 16 * thread()];
    });
}
void copied_for_another()
{
    fill();
    run(1, false, [] {
        bc_copy_ahead(bc_emulated_shared() + 16 * thread(), device + 4 * thread());
        bc_copy_group();
        bc_copied<0>();
        device[512 + thread()] = bc_emulated_shared()[16 * (thread() ^ 1)];
    });
}

/* By one thread for all */
template <bool MET, bool WAITED> void brought()
{
    fill();
    run(1, false, [] {
        BC_SHARED bc_arrival arrival;
        auto *to = reinterpret_cast<float *>(bc_emulated_shared());
        if (thread() == 40) bc_bring(to, reinterpret_cast<float *>(device), THREADS, &arrival);
        if (MET) bc_sync();
        if (WAITED) bc_brought(&arrival);
        device[512 + thread()] = (int)to[thread()];
    });
}

/* -- between blocks -- */

template <bool FILLED> void device_not_written()
{
    if (FILLED) fill();
    run(1, false, [] { device[thread()] = device[512 + thread()]; });
}
template <bool SAME> void written_by_two_blocks()
{
    run(2, false, [] { device[thread()] = SAME ? 7 : (int)blockIdx.x; });
}
void read_while_written()
{
    fill();
    run(2, false, [] {
        if (blockIdx.x == 0) device[thread()] = 7;
        if (blockIdx.x == 1) device[512 + thread()] = device[thread()];
    });
}
/* The block that comes last adds up what all have written. */
template <bool FENCE, bool SYNC, bool SECOND_FENCE> void joined()
{
    fill();
    run(4, false, [] {
        device[64 + blockIdx.x * THREADS + thread()] = 1;
        bc_atomic_add(&device[1], 1);
        if (FENCE) bc_fence();
        if (SYNC) bc_sync();
        if (thread() == 0) one_shared = bc_atomic_add(&device[0], 1) == 3;
        bc_sync();
        if (!one_shared) return;
        if (SECOND_FENCE) bc_fence();
        int sum = 0;
        for (unsigned b = 0; b < 4; b++) sum += device[64 + b * THREADS + thread()];
        device[512 + thread()] = sum;
        if (thread() == 0) device[0] = device[1] = 0;
    });
}

/* The same of a sum to which all have added. */
template <bool SYNC> void summed()
{
    fill();
    run(4, false, [] {
        bc_atomic_add(&device[1], 1);
        bc_fence();
        if (SYNC) bc_sync();
        if (thread() == 0) one_shared = bc_atomic_add(&device[0], 1) == 3;
        bc_sync();
        if (!one_shared) return;
        bc_fence();
        if (thread() == 0) device[512] = device[1];
    });
}

/* -- kernels that begin before the one before has ended -- */

template <bool WAIT, bool OVERLAPS> void reads_what_the_last_wrote()
{
    run(1, false, [] { device[thread()] = 1; });
    run(1, OVERLAPS, [] {
        if (WAIT) bc_wait_for_inputs();
        const int read = device[thread()];
        bc_wait_for_inputs();
        device[512 + thread()] = read;
    });
}
/* The second may begin while the first runs, the third while the second has not waited yet. */
template <bool DRAINED> void reads_what_the_last_but_one_wrote()
{
    run(1, false, [] { device[thread()] = 1; });
    if (DRAINED) bc_check_drained();
    run(1, true, [] { bc_wait_for_inputs(); });
    run(1, true, [] {
        const int read = device[thread()];
        bc_wait_for_inputs();
        device[512 + thread()] = read;
    });
}
void writes_before_it_waits()
{
    run(1, false, [] {});
    run(1, true, [] {
        device[thread()] = 1;
        bc_wait_for_inputs();
    });
}
void never_waits()
{
    run(1, false, [] {});
    run(1, true, [] {
        if (thread()) bc_wait_for_inputs();
    });
}
template <bool ONCE> void past_the_caches()
{
    run(1, false, [] { device[thread()] = 1; });
    run(1, true, [] {
        bc_wait_for_inputs();
        const bc_words4 v = ONCE ? bc_load_once(device) : bc_load(device);
        device[512 + thread()] = (int)v.w[0];
    });
}

struct Case {
    const char *name;
    void (*run)();
    const char *report; /* null: none */
};
const char *const AFTER_WRITE = "nothing orders that after another's write";
const char *const AFTER_READ = "nothing orders that after another's read";
const char *const IN_ANY_ORDER = "nothing orders that after another's"; /* write or read */
const char *const NOT_WRITTEN = "nobody has written it";
const char *const OUTSIDE = "not all of that is inside";
const Case CASES[] = {
    { "two warps, a barrier", neighbours_of_a_block<true>, nullptr },
    { "two warps, none", neighbours_of_a_block<false>, IN_ANY_ORDER },
    { "written after it is read, a barrier", read_then_written<true>, nullptr },
    { "written after it is read, none", read_then_written<false>, AFTER_READ },
    { "two lanes, a barrier", neighbours_of_a_warp<true>, nullptr },
    { "two lanes, a shuffle", neighbours_of_a_warp<false>, AFTER_WRITE },
    { "written alike, then otherwise", written_again, "another" },
    { "sums, atomic", sums<true>, nullptr },
    { "sums, plain", sums<false>, AFTER_WRITE },
    { "a sum, a barrier", sum_read_early<true>, nullptr },
    { "a sum, none", sum_read_early<false>, AFTER_WRITE },
    { "each block writes its shared memory", shared_not_written<true>, nullptr },
    { "another block wrote it", shared_not_written<false>, NOT_WRITTEN },
    { "the last word", at_an_end<1023>, nullptr },
    { "the one behind it", at_an_end<1024>, OUTSIDE },
    { "the one before the first", at_an_end<-1>, OUTSIDE },
    { "the last sixteen bytes", across_an_end<4080>, nullptr },
    { "four of them, and twelve", across_an_end<4092>, OUTSIDE },
    { "twelve and the first four", across_an_end<-12>, OUTSIDE },
    { "a copy, waited for", copied<true, false>, nullptr },
    { "a copy, waited for, to another's place", copied<true, true>, nullptr },
    { "a copy, not waited for", copied<false, false>, NOT_WRITTEN },
    { "another's copy, no barrier", copied_for_another, NOT_WRITTEN },
    { "brought", brought<true, true>, nullptr },
    { "brought, not waited for", brought<true, false>, NOT_WRITTEN },
    { "brought, not met", brought<false, true>, NOT_WRITTEN },
    { "memory that was filled", device_not_written<true>, nullptr },
    { "memory that was not", device_not_written<false>, NOT_WRITTEN },
    { "two blocks write the same", written_by_two_blocks<true>, nullptr },
    { "two blocks write", written_by_two_blocks<false>, "another wrote something else" },
    { "one block writes, one reads", read_while_written, IN_ANY_ORDER },
    { "the last block joins", joined<true, true, true>, nullptr },
    { "the last block joins, no fence", joined<false, true, true>, AFTER_WRITE },
    { "the last block joins, no barrier", joined<true, false, true>, AFTER_WRITE },
    { "the last block joins, no second fence", joined<true, true, false>, AFTER_WRITE },
    { "the last block has the sum", summed<true>, nullptr },
    { "the last block has the sum, no barrier", summed<false>, AFTER_WRITE },
    { "waits", reads_what_the_last_wrote<true, true>, nullptr },
    { "need not wait", reads_what_the_last_wrote<false, false>, nullptr },
    { "does not wait", reads_what_the_last_wrote<false, true>, "was not waited for" },
    { "older than a pause", reads_what_the_last_but_one_wrote<true>, nullptr },
    { "two kernels ago", reads_what_the_last_but_one_wrote<false>, "was not waited for" },
    { "writes before it waits", writes_before_it_waits, "a kernel before may still read it" },
    { "a thread never waits", never_waits, "ended without bc_wait_for_inputs" },
    { "loaded as others are", past_the_caches<false>, nullptr },
    { "loaded past the caches", past_the_caches<true>, "it is written while the kernel may run" },
};

/* What a process of its own says when it runs the case; sets *status to how it ended. */
std::string said(const Case &c, int *status)
{
    int ends[2];
    if (pipe(ends)) abort();
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        device = reinterpret_cast<int *>(bc_emulated_alloc(BYTES, true));
        c.run();
        _exit(0);
    }
    close(ends[1]);
    std::string all;
    char text[4096];
    for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;) all.append(text, (size_t)n);
    close(ends[0]);
    waitpid(child, status, 0);
    return all;
}
} // namespace

int bc_emulated_capability() { return 90; }

int main()
{
    int failed = 0;
    for (const Case &c : CASES) {
        int status;
        const std::string text = said(c, &status);
        const bool right = c.report
                               ? WIFSIGNALED(status) && text.find(c.report) != std::string::npos
                               : WIFEXITED(status) && !WEXITSTATUS(status) && text.empty();
        if (right) continue;
        failed++;
        printf("%s: expected %s, and it said:\n%s\n", c.name, c.report ? c.report : "nothing",
               text.c_str());
    }
    printf("%zu passed, %d failed\n", sizeof CASES / sizeof *CASES - (size_t)failed, failed);
    return failed != 0;
}
