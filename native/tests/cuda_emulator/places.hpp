/* places.hpp - where in the code an access is. */
#ifndef BC_EMULATOR_PLACES_H
#define BC_EMULATOR_PLACES_H

#include <dlfcn.h>

#include <cstdint>

/* From the start of the library or program that this is part of, as addr2line counts; `code` is behind the access. */
inline uint32_t place_of(const void *code)
{
    static const uint8_t *start = [] {
        Dl_info info = {};
        dladdr(reinterpret_cast<void *>(&place_of), &info);
        return static_cast<const uint8_t *>(info.dli_fbase);
    }();
    return (uint32_t)(static_cast<const uint8_t *>(code) - start);
}

#endif
