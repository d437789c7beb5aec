/* checker.hpp - who touched which byte when: what compute-sanitizer's racecheck and initcheck find on a card, and more.
 *
 * In libcuda_checked only (BC_EMULATED_CHECKS): the kernels are compiled with -fsanitize=thread, which calls a function
 * before every access, and checker.cpp has these functions in place of that sanitizer's own. Reported is
 *   - a byte that two threads access, one of them to write it, with nothing between that orders them: a barrier of the
 *     block or bc_sync_warp (a shuffle orders no memory), or, between blocks, a fence and a barrier, an atomic, an atomic, a fence;
 *     unless both write the same;
 *   - a byte that is read and was never written, in shared memory too; one beside the memory that there is;
 *   - what happens before bc_wait_for_inputs and may not: a write, or a read of what a kernel wrote that can still run;
 *   - a load past the coherent caches (bc_load_once) of what is written while the kernel may run.
 * Elsewhere these functions do nothing. */
#ifndef BC_EMULATOR_CHECKER_H
#define BC_EMULATOR_CHECKER_H

#include <cstddef>
#include <cstdint>

#if defined(BC_EMULATED_CHECKS)
#define BC_CHECK(declaration) declaration;
#else
#define BC_CHECK(declaration)                                                                      \
    inline declaration {}
#endif

/* -- the stream -- */

/* Everything before has ended. */
BC_CHECK(void bc_check_drained())
/* A kernel; `overlaps`: the one before it, if that was the operation before, may still run. */
BC_CHECK(void bc_check_launch(const char *, bool /* overlaps */))
/* A copy to the device, or within it */
BC_CHECK(void bc_check_filled(const void *, size_t))
BC_CHECK(void bc_check_copied(const void * /* to */, const void * /* from */, size_t))

/* -- the device's memory -- */

BC_CHECK(void bc_check_alloc(const void *, size_t))
BC_CHECK(void bc_check_free(const void *))

/* -- a kernel -- */

/* A block begins, with so many threads and two pieces of shared memory. */
BC_CHECK(void bc_check_block(unsigned, unsigned, const void *, size_t, const void *, size_t))
/* Whose accesses the next ones are */
BC_CHECK(void bc_check_thread(unsigned))
BC_CHECK(void bc_check_thread_ends())
BC_CHECK(void bc_check_block_synced())
BC_CHECK(void bc_check_warp_synced(unsigned /* warp */))
BC_CHECK(void bc_check_fence())
BC_CHECK(void bc_check_waited())
/* `code`: where in the kernel */
BC_CHECK(void bc_check_atomic(const void *, const void * /* code */))
BC_CHECK(void bc_check_once(const void *, size_t, const void * /* code */))
/* A copy into shared memory that goes on without the thread: asked for, and done */
BC_CHECK(void bc_check_asked(const void * /* shared */, const void * /* global */, size_t,
                             const void * /* code */))
BC_CHECK(void bc_check_arrived(const void * /* shared */, size_t, const void * /* code */))
/* The same, but for the whole block: it is there for each thread that had met the one that asked. */
BC_CHECK(void bc_check_brought(const void * /* shared */, size_t))

#undef BC_CHECK
#endif
