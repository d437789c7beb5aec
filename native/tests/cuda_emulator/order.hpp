/* order.hpp - which accesses of a kernel are in order with which: what barriers, fences and atomics say about it.
 *
 * An event is who accessed something between which barriers; accesses that are alike share one. Its number counts
 * within a launch, 0 is nobody's. */
#ifndef BC_EMULATOR_ORDER_H
#define BC_EMULATOR_ORDER_H

#include <cstdint>
#include <string>

namespace order
{
using Event = uint32_t;

void begin_launch();
void begin_block(uint32_t block, unsigned n_threads);
/* The thread that runs: everything below is about it. */
void run(unsigned thread);
unsigned thread();

void block_synced();
void warp_synced(unsigned warp);
void fence();
/* An atomic: what its block had done when it last met behind a fence is known to whoever makes the next one there, and has
 * a fence behind that. */
void atomic(const void *word);
void touched_device(); /* there is something to tell */

/* The event of an access now; of atomics only, or of others */
Event mine(bool atomic);
/* Of several accesses of which none need be in order with the others: reads, or atomics */
Event joined(Event before, Event mine);
bool is_atomic(Event event);
/* Is all of that over for the thread that runs? */
bool over(Event event);
/* Are all atomics that there were on a word of the device, the last of them `last`? */
bool atomics_over(const void *word, Event last);
std::string who(Event event);
} // namespace order

#endif
