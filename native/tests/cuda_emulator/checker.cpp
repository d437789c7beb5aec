/* checker.cpp - the state of every byte, and the functions that -fsanitize=thread calls. */
#include "checker.hpp"

#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "emulator.hpp"
#include "order.hpp"
#include "places.hpp"

namespace
{
struct Access {
    uint32_t when;      /* number of the operation; in shared memory of the block. 0: never */
    order::Event event; /* where `when` is now */
    uint32_t place;     /* in this library's code */
};
struct Byte {
    Access written, read;
};
struct Range {
    const uint8_t *start;
    size_t bytes, room; /* how many bytes there are; and states */
    Byte *state;
    bool holds(const uint8_t *p) const { return p >= start && p < start + bytes; }
    bool holds_or_guards(const uint8_t *p) const
    {
        return p >= start - MEMORY_GUARD && p < start + bytes + MEMORY_GUARD;
    }
};
std::map<const uint8_t *, Range> device; /* by the end of a piece */
Range shared_memory[2];
const Range *found; /* the device's memory that was found last */

/* What lies in a page of addresses, which is never more than one piece with what is just beside it: most accesses are to
 * a few pages, many of them stacks, where there is none. */
struct Page {
    uintptr_t number;
    const Range *range;
};
constexpr uintptr_t PAGE = 4096, PAGES = 4096;
Page pages[PAGES]; /* by the last bits of their numbers; pages of number 0 hold nothing */

/* A write that is not in order with another: fine, if the byte stays what it is */
struct Written {
    const uint8_t *address;
    uint8_t byte;
    uint32_t place;
    Access before;
    unsigned thread;
};
std::vector<Written> same;

uint32_t operation = 1, oldest = 1; /* this one's number, and of the first that may still run */
uint32_t blocks_begun;
const char *kernel;
bool waited[MAX_THREADS]; /* each thread for its inputs */

bool overlaps() { return oldest < operation; }

const Range *range_in_page(uintptr_t number)
{
    const uint8_t *first = reinterpret_cast<const uint8_t *>(number * PAGE);
    const auto next = device.upper_bound(first - MEMORY_GUARD);
    if (next == device.end() || next->second.start - MEMORY_GUARD >= first + PAGE) return nullptr;
    return &next->second;
}

/* Where an address is, or of the device what it is just beside; null: the thread's own stack, or the launch's
 * arguments. */
const Range *range_of(const uint8_t *p)
{
    for (const Range &range : shared_memory)
        if (range.holds(p)) return &range;
    if (found && found->holds(p)) return found;
    const uintptr_t number = reinterpret_cast<uintptr_t>(p) / PAGE;
    Page &page = pages[number % PAGES];
    if (page.number != number) page = { number, range_in_page(number) };
    if (!page.range || !page.range->holds_or_guards(p)) return nullptr;
    return found = page.range;
}

void forget_pages()
{
    memset(pages, 0, sizeof pages);
    found = nullptr;
}

/* of range_of(), which remembers the device's */
bool is_shared(const Range *range) { return range != found; }

Byte *device_state(const void *address)
{
    const uint8_t *p = static_cast<const uint8_t *>(address);
    const Range *range = range_of(p);
    return range->state + (p - range->start);
}

/* -- reports -- */

std::string line_of(uint32_t place)
{
    Dl_info info;
    if (!dladdr(reinterpret_cast<void *>(&line_of), &info)) return "?";
    char command[4200], text[1000] = "";
    snprintf(command, sizeof command, "addr2line -Cspfie '%s' %#x 2>/dev/null", info.dli_fname,
             place - 1);
    FILE *pipe = popen(command, "r");
    const size_t n = pipe ? fread(text, 1, sizeof text - 1, pipe) : 0;
    if (pipe) pclose(pipe);
    text[n] = 0;
    return text;
}

std::string name_of(const void *address)
{
    char text[100];
    const uint8_t *p = static_cast<const uint8_t *>(address);
    for (const Range &range : shared_memory)
        if (range.holds(p)) {
            snprintf(text, sizeof text, "byte %td of %s shared memory", p - range.start,
                     &range == shared_memory ? "the kernel's own" : "the launch's");
            return text;
        }
    snprintf(text, sizeof text, "byte %td of a piece of %zu bytes of the device", p - found->start,
             found->bytes);
    return text;
}

/* `before`: the access that this one is at odds with, or null. */
[[noreturn]] void report(const char *verb, const void *address, uint32_t place, const char *what,
                         const Access *before)
{
    std::string other;
    if (before && before->event)
        other = "\nThe other: " + order::who(before->event) + "; at\n" + line_of(before->place);
    bc_emulated_fail("kernel %s: %s %s %s: %s; at\n%s%s", kernel,
                     order::who(order::mine(false)).c_str(), verb, name_of(address).c_str(), what,
                     line_of(place).c_str(), other.c_str());
}

const void *word_of(const void *p)
{
    return reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(p) / 4 * 4);
}

bool over(const Access &before, const void *address, bool shared, bool atomic)
{
    if (!order::is_atomic(before.event) || shared)
        return (order::is_atomic(before.event) && atomic) || order::over(before.event);
    return atomic || order::atomics_over(word_of(address), before.event);
}

/* -- accesses -- */

void read_byte(Byte &b, const void *address, bool shared, uint32_t place, bool atomic)
{
    const uint32_t now = shared ? blocks_begun : operation;
    if (shared ? b.written.when != now : !b.written.when)
        report("reads", address, place, "nobody has written it", nullptr);
    if (!shared && !waited[order::thread()] && b.written.when >= oldest && b.written.when < now)
        report("reads", address, place, "a kernel before wrote it, and was not waited for",
               nullptr);
    if (b.written.when == now && !over(b.written, address, shared, atomic))
        report("reads", address, place, "nothing orders that after another's write", &b.written);
    if (atomic) return; /* it is remembered as a write */
    const order::Event mine = order::mine(false);
    b.read = { now, b.read.when == now ? order::joined(b.read.event, mine) : mine, place };
}

void write_byte(Byte &b, const void *address, bool shared, uint32_t place, bool atomic)
{
    const uint32_t now = shared ? blocks_begun : operation;
    if (!shared && overlaps() && !waited[order::thread()])
        report("writes", address, place, "a kernel before may still read it", nullptr);
    if (b.written.when == now && !over(b.written, address, shared, atomic)) {
        /* nobody is the worse for it if they all write the same, and read what they have written */
        same.push_back({ static_cast<const uint8_t *>(address),
                         *static_cast<const uint8_t *>(address), place, b.written,
                         order::thread() });
    } else if (b.read.when == now && !order::over(b.read.event)) {
        report("writes", address, place, "nothing orders that after another's read", &b.read);
    }
    order::Event event = order::mine(atomic);
    if (shared && atomic && b.written.when == now && order::is_atomic(b.written.event))
        event = order::joined(b.written.event, event);
    b.written = { now, event, place };
    if (b.read.when != now || order::over(b.read.event)) b.read = {};
}

/* A write is looked at before it happens: what it wrote is there when the next access begins. */
void look_at_writes()
{
    for (const Written &w : same)
        if (*w.address != w.byte) {
            order::run(w.thread);
            report("writes", w.address, w.place, "another wrote something else, in any order",
                   &w.before);
        }
    same.clear();
}

template <class Each> void each_byte(const void *p, size_t bytes, uint32_t place, Each each)
{
    if (!same.empty()) look_at_writes();
    const uint8_t *at = static_cast<const uint8_t *>(p);
    const Range *range = range_of(at);
    if (!range) return;
    if (!range->holds(at) || !range->holds(at + bytes - 1))
        report("touches", p, place, "not all of that is inside", nullptr);
    const bool shared = is_shared(range);
    Byte *b = range->state + (at - range->start);
    if (!shared) order::touched_device();
    for (size_t i = 0; i < bytes;) {
        const Byte before = b[i];
        each(b[i], at + i, shared);
        const size_t first = i++;
        /* The other bytes of a word are mostly like its first, so what was found out holds for them. */
        while (i < bytes && same.empty() && word_of(at + i) == word_of(at + first) &&
               memcmp(&b[i], &before, sizeof before) == 0)
            b[i++] = b[first];
    }
}

void read(const void *p, size_t bytes, const void *code)
{
    const uint32_t place = place_of(code);
    each_byte(p, bytes, place, [=](Byte &b, const void *at, bool shared) {
        read_byte(b, at, shared, place, false);
    });
}
void write(const void *p, size_t bytes, const void *code)
{
    const uint32_t place = place_of(code);
    each_byte(p, bytes, place, [=](Byte &b, const void *at, bool shared) {
        write_byte(b, at, shared, place, false);
    });
}

Byte *new_state(size_t bytes)
{
    void *state = mmap(nullptr, bytes * sizeof(Byte), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (state == MAP_FAILED) bc_emulated_fail("no memory for the checks");
    return static_cast<Byte *>(state);
}
void drop_state(Range &range)
{
    if (range.state) munmap(range.state, range.room * sizeof(Byte));
    range.state = nullptr;
}
/* The state may stay: it is of other blocks. */
void begin_shared(Range &range, const void *start, size_t bytes)
{
    if (bytes > range.room) {
        drop_state(range);
        range.state = new_state(bytes);
        range.room = bytes;
    }
    range.bytes = bytes;
    range.start = static_cast<const uint8_t *>(start);
}
} // namespace

/* -- the stream -- */

void bc_check_drained() { oldest = ++operation; }

void bc_check_launch(const char *name, bool may_overlap)
{
    operation++;
    if (!may_overlap) oldest = operation;
    kernel = name;
    order::begin_launch();
}

void bc_check_filled(const void *p, size_t bytes)
{
    bc_check_drained(); /* the operations before a copy have ended, and it has when the next begins */
    Byte *b = device_state(p);
    for (size_t i = 0; i < bytes; i++) b[i] = { { operation, 0, 0 }, {} };
    bc_check_drained();
}

void bc_check_copied(const void *to, const void *from, size_t bytes)
{
    bc_check_drained();
    const Byte *source = device_state(from);
    std::vector<bool> written(bytes);
    for (size_t i = 0; i < bytes; i++) written[i] = source[i].written.when != 0;
    Byte *b = device_state(to);
    for (size_t i = 0; i < bytes; i++) b[i] = { { written[i] ? operation : 0, 0, 0 }, {} };
    bc_check_drained();
}

void bc_check_alloc(const void *p, size_t bytes)
{
    const uint8_t *start = static_cast<const uint8_t *>(p);
    device[start + bytes] = { start, bytes, bytes, new_state(bytes) };
    forget_pages();
}
void bc_check_free(const void *p)
{
    const auto next = device.upper_bound(static_cast<const uint8_t *>(p));
    drop_state(next->second);
    device.erase(next);
    forget_pages();
}

/* -- a kernel -- */

void bc_check_block(unsigned number, unsigned n, const void *own, size_t own_bytes,
                    const void *dynamic, size_t dynamic_bytes)
{
    blocks_begun++;
    order::begin_block(number, n);
    std::fill(waited, waited + n, false);
    begin_shared(shared_memory[0], own, own_bytes);
    begin_shared(shared_memory[1], dynamic, dynamic_bytes);
}

void bc_check_thread(unsigned thread)
{
    if (!same.empty()) look_at_writes();
    order::run(thread);
}

void bc_check_thread_ends()
{
    if (!same.empty()) look_at_writes();
    if (overlaps() && !waited[order::thread()])
        bc_emulated_fail("kernel %s: %s ended without bc_wait_for_inputs: the next kernel would "
                         "not wait for the ones before",
                         kernel, order::who(order::mine(false)).c_str());
}

void bc_check_block_synced() { order::block_synced(); }
void bc_check_warp_synced(unsigned warp) { order::warp_synced(warp); }
void bc_check_fence() { order::fence(); }
void bc_check_waited() { waited[order::thread()] = true; }

void bc_check_atomic(const void *p, const void *code)
{
    const uint32_t place = place_of(code);
    bool in_shared = true;
    each_byte(p, 4, place, [&](Byte &b, const void *at, bool shared) {
        in_shared = shared;
        read_byte(b, at, shared, place, true);
        write_byte(b, at, shared, place, true);
    });
    if (!in_shared) order::atomic(p);
}

void bc_check_once(const void *p, size_t bytes, const void *code)
{
    const uint32_t place = place_of(code);
    each_byte(p, bytes, place, [=](Byte &b, const void *at, bool) {
        if (b.written.when >= oldest)
            report("reads once", at, place, "it is written while the kernel may run", &b.written);
    });
}

void bc_check_asked(const void *shared, const void *global, size_t bytes, const void *code)
{
    read(global, bytes, code);
    write(shared, bytes, code);
    each_byte(shared, bytes, place_of(code),
              [](Byte &b, const void *, bool) { b.written.when = 0; });
}
void bc_check_arrived(const void *shared, size_t bytes, const void *code)
{
    write(shared, bytes, code);
}
void bc_check_brought(const void *shared, size_t bytes)
{
    /* who asked, and when, is there still */
    each_byte(shared, bytes, 0, [](Byte &b, const void *, bool) { b.written.when = blocks_begun; });
}

/* -- what the compiler calls -- */

#include "hooks.inc"
