/* memory.cpp - the emulated device's memory: ordinary memory with a guard on both sides of each piece. */
#include <algorithm>
#include <cstdlib>
#include <map>

#include "checker.hpp"
#include "emulator.hpp"
#include "guard.hpp"

namespace
{
/* The driver gives out multiples of 512 bytes at multiples of 512. */
constexpr size_t GUARD = MEMORY_GUARD, UNIT = 512;

struct Piece {
    size_t bytes;
    bool on_device;
};
std::map<uint8_t *, Piece> pieces;
size_t used;

size_t whole(size_t bytes) { return (bytes + UNIT - 1) / UNIT * UNIT; }

/* The guard behind begins at the last byte that was asked for, not where its unit ends. */
size_t behind(const Piece &piece) { return whole(piece.bytes) - piece.bytes + GUARD; }

void close(uint8_t *p, const Piece &piece)
{
    guard_close(p - GUARD, GUARD);
    guard_close(p + piece.bytes, behind(piece));
}

void open(uint8_t *p, const Piece &piece, const char *when)
{
    const uint8_t *low = guard_open(p - GUARD, GUARD);
    const uint8_t *high = guard_open(p + piece.bytes, behind(piece));
    if (low == p && high == p + piece.bytes + behind(piece)) return;
    bc_emulated_fail("%s: byte %td of a piece of %zu bytes of %s memory was written", when,
                     (low != p ? low : high) - p, piece.bytes,
                     piece.on_device ? "device" : "pinned");
}
} // namespace

/* As f16 and as f32 this is no number; as an integer it is far from 0. Each launch begins with a megabyte of it, and the
 * processor's own loop is the quickest there. */
void bc_emulated_poison(void *p, size_t bytes)
{
    static const uint64_t pattern = 0xfffdfffdfffdfffd;
    size_t words = bytes / sizeof pattern;
    asm volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(pattern) : "memory");
    memcpy(p, &pattern, bytes % sizeof pattern);
}

uint8_t *bc_emulated_alloc(size_t bytes, bool on_device)
{
    const size_t all = GUARD + whole(bytes) + GUARD;
    uint8_t *room = static_cast<uint8_t *>(aligned_alloc(4096, (all + 4095) / 4096 * 4096));
    if (!room) return nullptr;
    uint8_t *p = room + GUARD;
    const Piece piece = { bytes, on_device };
    bc_emulated_poison(p, bytes);
    close(p, piece);
    pieces[p] = piece;
    if (on_device) {
        used += whole(bytes);
        bc_check_alloc(p, bytes);
    }
    return p;
}

bool bc_emulated_free(uint8_t *p, bool on_device)
{
    const auto found = pieces.find(p);
    if (found == pieces.end() || found->second.on_device != on_device) return false;
    const Piece piece = found->second;
    open(p, piece, "free");
    if (on_device) {
        used -= whole(piece.bytes);
        bc_check_free(p);
    }
    pieces.erase(found);
    free(p - GUARD);
    return true;
}

bool bc_emulated_holds(const void *p, size_t bytes, bool on_device)
{
    uint8_t *first = static_cast<uint8_t *>(const_cast<void *>(p));
    auto found = pieces.upper_bound(first);
    if (found == pieces.begin()) return false;
    --found;
    const size_t from = (size_t)(first - found->first);
    return found->second.on_device == on_device && from <= found->second.bytes &&
           bytes <= found->second.bytes - from;
}

void bc_emulated_check_memory(const char *when)
{
    for (const auto &[p, piece] : pieces) {
        open(p, piece, when);
        ASAN_POISON_MEMORY_REGION(p - GUARD, GUARD);
        ASAN_POISON_MEMORY_REGION(p + piece.bytes, behind(piece));
    }
}

size_t bc_emulated_used() { return used; }
