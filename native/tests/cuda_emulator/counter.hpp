/* counter.hpp - what the accesses of the kernels would cost a card. In libcuda_counted only: the kernels are compiled as
 * those of libcuda_checked are, and counter.cpp is what is called before every access. */
#ifndef BC_EMULATOR_COUNTER_H
#define BC_EMULATOR_COUNTER_H

#define BC_COUNT_EXPORT extern "C" __attribute__((visibility("default")))

/* Forgets all that was counted. Before the first call nothing is: it takes time. */
BC_COUNT_EXPORT void bc_count_begin();

/* What was counted since, as lines of columns between tabs, named by the first line; 0 if the file cannot be written.
 *   kernel, memory (shared or device), access (read, write or atomic), bytes (of a lane's access);
 *   requests  how often a warp made it, with whichever of its lanes
 *   cost      of shared memory turns of its 32 banks, of the device's memory sectors of 32 bytes
 *   fewest    what they would cost if no lane were in another's way and no byte of a sector came in vain
 *   place     in this library's code, for addr2line */
BC_COUNT_EXPORT int bc_count_write(const char *path);

#endif
