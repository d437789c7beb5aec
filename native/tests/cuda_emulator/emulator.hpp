/* emulator.hpp - the parts of the emulated driver: kernels, blocks of threads, memory. */
#ifndef BC_EMULATOR_H
#define BC_EMULATOR_H

#include <cstddef>
#include <cstdint>
#include <functional>

#include "emulated_device.cuh"

/* Of a block, at most; and of a warp */
constexpr unsigned MAX_THREADS = 1024, WARP = 32;

/* A test of the backend has found a mistake: says so and ends the process. */
[[noreturn]] void bc_emulated_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- kernels.cpp -- */

struct bc_emulated_kernel {
    const char *name;
    /* One thread's work; the arguments are copied now, as a launch does. */
    std::function<void()> (*bind)(void **arguments);
};
const bc_emulated_kernel *bc_emulated_find(const char *name);

/* -- fibers.cpp -- */

struct bc_emulated_launch {
    const char *name;
    bc_emulated_dim grid, block;
    size_t shared_bytes;
    std::function<void()> thread;
};
void bc_emulated_run(const bc_emulated_launch &launch);
unsigned bc_emulated_thread(); /* of the block, which runs now */

/* -- own_shared.cpp -- */

struct bc_emulated_shared_memory {
    uint8_t *start;
    size_t bytes;
};
/* What all kernels declare themselves, on this thread, as it is when a launch begins: it holds a pattern. */
bc_emulated_shared_memory bc_emulated_own_shared();
/* A block of the kernel begins, which finds the pattern there; the launch has ended. */
void bc_emulated_begin_own_shared(const bc_emulated_shared_memory &own, const char *kernel);
void bc_emulated_end_own_shared(const bc_emulated_shared_memory &own, const char *kernel);

/* -- access.cpp -- */

/* A block begins: nothing is on its way into its memory. */
void bc_emulated_drop_copies(unsigned n_threads);

/* -- memory.cpp: what is new holds a pattern that is no number; what is written beyond an end is found -- */

constexpr size_t MEMORY_GUARD = 4096; /* bytes on both sides of a piece */
uint8_t *bc_emulated_alloc(size_t bytes, bool on_device);
bool bc_emulated_free(uint8_t *p, bool on_device); /* false: there is no such memory */
/* Is it inside one piece of memory of that kind? */
bool bc_emulated_holds(const void *p, size_t bytes, bool on_device);
void bc_emulated_check_memory(const char *when); /* fails if anything was written around a piece */
void bc_emulated_poison(void *p, size_t bytes);
size_t bc_emulated_used(); /* bytes of the device's memory */

#endif
