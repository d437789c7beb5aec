/* guard.hpp - bytes around a piece of memory that nobody may touch. */
#ifndef BC_EMULATOR_GUARD_H
#define BC_EMULATOR_GUARD_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(                                                                                       \
    __SANITIZE_ADDRESS__) /* then whoever touches one, if only to read it, is stopped at once */
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

constexpr uint8_t GUARD_MARK = 0xa7;

inline void guard_close(uint8_t *guard, size_t bytes)
{
    std::fill(guard, guard + bytes, GUARD_MARK);
    ASAN_POISON_MEMORY_REGION(guard, bytes);
}

/* The first byte that was written, or the guard's end. Without mistakes the guard can be closed again. */
inline const uint8_t *guard_open(const uint8_t *guard, size_t bytes)
{
    ASAN_UNPOISON_MEMORY_REGION(guard, bytes);
    /* all bytes are equal to their neighbours and the first is right: at the speed of memcmp */
    if (guard[0] == GUARD_MARK && memcmp(guard, guard + 1, bytes - 1) == 0) return guard + bytes;
    return std::find_if(guard, guard + bytes, [](uint8_t byte) { return byte != GUARD_MARK; });
}

#endif
