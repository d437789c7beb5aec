/* random.h - the hash behind every random number of the engine. */
#ifndef BC_RANDOM_H
#define BC_RANDOM_H

#include <stdint.h>

#define BC_RANDOM_STEP 0x9E3779B97F4A7C15u /* 2^64 over the golden ratio */

/* splitmix64's finaliser (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) */
static inline uint64_t bc_random_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

#endif
