/* counter_test.cpp - small kernels with accesses of which it is known what they cost. */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "checker.hpp"
#include "counter.hpp"
#include "emulator.hpp"

namespace
{
constexpr size_t BYTES = 64 * 1024;
uint8_t *device;

void run(unsigned threads, std::function<void()> thread)
{
    bc_check_launch("test", false);
    bc_emulated_run({ "test", { 1, 1, 1 }, { threads, 1, 1 }, BYTES, std::move(thread) });
}
int lane() { return (int)threadIdx.x; }

template <class T> volatile T &in_shared(int byte)
{
    return *reinterpret_cast<volatile T *>(bc_emulated_shared() + byte);
}
template <class T> volatile T &on_device(int byte)
{
    return *reinterpret_cast<volatile T *>(device + byte);
}

/* -- shared memory -- */

template <class T, int STRIDE> void strided()
{
    run(32, [] { in_shared<T>(STRIDE * lane()) = 1; });
}
template <int STRIDE> void strided_16()
{
    run(32, [] { bc_put(bc_emulated_shared() + STRIDE * lane(), {}); });
}
void broadcast()
{
    run(32, [] {
        const int read = in_shared<int>(400);
        (void)read;
    });
}
void two_warps_one_half()
{
    run(48, [] { in_shared<int>(4 * lane()) = 1; });
}
void atomics_of_one_word()
{
    run(32, [] { bc_atomic_max(reinterpret_cast<int *>(bc_emulated_shared()), 1); });
}
/* Lane 0 writes twice, then all meet, and write once more: without the barrier these would not be one request. */
void not_together_then_together()
{
    run(32, [] {
        for (int i = 0; i < 2; i++) {
            for (int again = 0; again < (i == 0 && lane() == 0 ? 2 : 1); again++)
                in_shared<int>(4 * lane()) = again;
            bc_sync_warp();
        }
    });
}

/* -- the device's memory -- */

template <class T, int START, int STRIDE> void loaded()
{
    run(32, [] {
        const T read = on_device<T>(START + STRIDE * lane());
        (void)read;
    });
}
void copied_ahead()
{
    run(32, [] {
        bc_copy_ahead(bc_emulated_shared() + 16 * lane(), device + 16 * lane());
        bc_copy_group();
        bc_copied<0>();
    });
}
void own_variables()
{
    run(32, [] {
        volatile int own[4] = {};
        for (int i = 0; i < 4; i++) own[i] = own[3 - i] + 1;
    });
}

struct Case {
    const char *name;
    void (*run)();
    const char *of; /* memory, access, bytes */
    unsigned long long requests, cost, fewest;
};
const Case CASES[] = {
    { "neighbouring words", strided<int, 4>, "shared write 4", 1, 1, 1 },
    { "neighbouring bytes", strided<char, 1>, "shared write 1", 1, 1, 1 },
    { "every second word", strided<int, 8>, "shared write 4", 1, 2, 1 },
    { "every third word", strided<int, 12>, "shared write 4", 1, 1, 1 },
    { "one bank", strided<int, 128>, "shared write 4", 1, 32, 1 },
    { "one word", broadcast, "shared read 4", 1, 1, 1 },
    { "atomics of one word", atomics_of_one_word, "shared atomic 4", 1, 32, 1 },
    { "a warp and a half", two_warps_one_half, "shared write 4", 2, 2, 2 },
    { "neighbouring 8 bytes", strided<int64_t, 8>, "shared write 8", 1, 2, 2 },
    { "8 bytes of every 16", strided<int64_t, 16>, "shared write 8", 1, 4, 2 },
    { "neighbouring 16 bytes", strided_16<16>, "shared write 16", 1, 4, 4 },
    { "16 bytes of every 32", strided_16<32>, "shared write 16", 1, 8, 4 },
    { "16 bytes of every 48", strided_16<48>, "shared write 16", 1, 4, 4 },
    { "16 bytes of every 128", strided_16<128>, "shared write 16", 1, 32, 4 },
    { "apart, then together", not_together_then_together, "shared write 4", 3, 3, 3 },
    { "device, neighbouring words", loaded<int, 0, 4>, "device read 4", 1, 4, 4 },
    { "device, not from a sector's start", loaded<int, 4, 4>, "device read 4", 1, 5, 4 },
    { "device, neighbouring bytes", loaded<char, 0, 1>, "device read 1", 1, 1, 1 },
    { "device, one word", loaded<int, 64, 0>, "device read 4", 1, 1, 1 },
    { "device, backwards", loaded<int, 124, -4>, "device read 4", 1, 4, 4 },
    { "device, scattered", loaded<int, 0, 256>, "device read 4", 1, 32, 4 },
    { "copied ahead, from", copied_ahead, "device read 16", 1, 16, 16 },
    { "copied ahead, to", copied_ahead, "shared write 16", 1, 4, 4 },
    { "a thread's own", own_variables, "", 0, 0, 0 },
};

/* What was counted of such accesses; of all, without a word. */
Case counted(const char *path, const char *of)
{
    Case sum = { nullptr, nullptr, of, 0, 0, 0 };
    FILE *file = bc_count_write(path) ? fopen(path, "r") : nullptr;
    if (!file) abort();
    char line[500], memory[20], access[20], what[60];
    unsigned bytes;
    unsigned long long requests, cost, fewest;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "test\t%19s\t%19s\t%u\t%llu\t%llu\t%llu\t0x", memory, access, &bytes,
                   &requests, &cost, &fewest) != 6)
            continue; /* the names of the columns */
        snprintf(what, sizeof what, "%s %s %u", memory, access, bytes);
        if (*of && strcmp(what, of) != 0) continue;
        sum.requests += requests;
        sum.cost += cost;
        sum.fewest += fewest;
    }
    fclose(file);
    return sum;
}
} // namespace

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    device = bc_emulated_alloc(BYTES, true);
    int failed = 0;
    for (const Case &c : CASES) {
        bc_count_begin();
        c.run();
        const Case got = counted(argv[1], c.of);
        if (got.requests == c.requests && got.cost == c.cost && got.fewest == c.fewest) continue;
        failed++;
        printf("%s: expected %llu requests, %llu turns or sectors, %llu at best; counted %llu, "
               "%llu, %llu\n",
               c.name, c.requests, c.cost, c.fewest, got.requests, got.cost, got.fewest);
    }
    remove(argv[1]);
    printf("%zu passed, %d failed\n", sizeof CASES / sizeof *CASES - (size_t)failed, failed);
    return failed != 0;
}
