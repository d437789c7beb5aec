/* own_shared.cpp - the shared memory that kernels declare themselves, which is this library's thread-local storage.
 *
 * All kernels' lies there together, nearly a megabyte, of which one touches a few pages. Filling all of it before each
 * block would take a fifth of the tests' time. So it is filled before each launch, and before each block only the pages
 * that the kernel is known to touch. They are looked for behind each block of its first launch and behind each launch. */
#include <link.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "emulator.hpp"

namespace
{
constexpr size_t PAGE = 4096;

/* A thread-local variable makes the library's thread-local storage be there; it counts as shared memory. */
thread_local uint8_t first_shared;

struct Kernel {
    std::set<size_t> pages; /* where those begin that it touches */
    bool known;             /* a launch has ended */
};
std::map<std::string, Kernel> kernels;

/* This library's thread-local storage on this thread. */
int find_storage(dl_phdr_info *info, size_t, void *found)
{
    uint8_t *start = static_cast<uint8_t *>(info->dlpi_tls_data);
    for (int i = 0; start && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &part = info->dlpi_phdr[i];
        if (part.p_type == PT_TLS && &first_shared >= start &&
            &first_shared < start + part.p_memsz) {
            *static_cast<bc_emulated_shared_memory *>(found) = { start, part.p_memsz };
            return 1;
        }
    }
    return 0;
}

size_t page_bytes(const bc_emulated_shared_memory &own, size_t at)
{
    return std::min(PAGE, own.bytes - at);
}

/* The pattern repeats itself: it is what its beginning is. */
bool holds_the_pattern(const uint8_t *p, size_t bytes)
{
    uint8_t pattern[8];
    bc_emulated_poison(pattern, sizeof pattern);
    const size_t first = std::min(bytes, sizeof pattern);
    return memcmp(p, pattern, first) == 0 && memcmp(p, p + first, bytes - first) == 0;
}

void look(const bc_emulated_shared_memory &own, Kernel &kernel)
{
    for (size_t at = 0; at < own.bytes; at += PAGE)
        if (!holds_the_pattern(own.start + at, page_bytes(own, at))) kernel.pages.insert(at);
}
} // namespace

bc_emulated_shared_memory bc_emulated_own_shared()
{
    bc_emulated_shared_memory own = { nullptr, 0 };
    first_shared = 0;
    dl_iterate_phdr(find_storage, &own);
    if (!own.start) bc_emulated_fail("the shared memory's place was not found");
    bc_emulated_poison(own.start, own.bytes);
    return own;
}

void bc_emulated_begin_own_shared(const bc_emulated_shared_memory &own, const char *name)
{
    Kernel &kernel = kernels[name];
    if (!kernel.known) look(own, kernel);
    for (const size_t at : kernel.pages) bc_emulated_poison(own.start + at, page_bytes(own, at));
}

void bc_emulated_end_own_shared(const bc_emulated_shared_memory &own, const char *name)
{
    Kernel &kernel = kernels[name];
    look(own, kernel);
    kernel.known = true;
}
