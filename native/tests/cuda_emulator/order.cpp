/* order.cpp - events, and what each thread knows of the others' */
#include "order.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "emulator.hpp"

namespace order
{
namespace
{
/* One thread, or several lanes of a warp or warps of a block between the same barriers; or several blocks, as a list of such
 * events */
enum Who : uint8_t { THREAD, LANES, WARPS, BLOCKS };
struct Details {
    Who who;
    bool atomic;
    uint16_t thread;
    uint32_t block;
    uint32_t barriers, warp_barriers; /* how many the thread had passed */
    Event last, others; /* BLOCKS: the event of the last block, and those of the blocks before */
};
std::vector<Details> events;

/* From a block to the barriers it had passed when it told what it had done */
using Blocks = std::map<uint32_t, uint32_t>;

/* Of a block on one word */
struct Atomics {
    uint32_t passed; /* barriers before the last */
    unsigned thread; /* that made them; or MANY */
};
constexpr unsigned MANY = MAX_THREADS;

struct Thread {
    Event event[2]; /* plain and atomic, between these barriers; 0: none yet */
    bool unfenced, fenced_since_barrier;
    std::shared_ptr<Blocks> seen, known; /* by an atomic; and a fence after it */
};
Thread threads[MAX_THREADS];
unsigned n_threads, me;
uint32_t block, barriers, warp_barriers[MAX_THREADS / WARP];
bool barrier_unfenced, anyone_has_seen;

Event lanes_event[MAX_THREADS / WARP][2], warps_event[2]; /* plain and atomic */
std::unordered_map<uint64_t, Event> blocks_events;        /* by their last and others */
std::unordered_map<const void *, Blocks> told;            /* by an atomic's address */
std::unordered_map<const void *, std::map<uint32_t, Atomics>> atomics; /* by word and block */

Event new_event(Who who, bool atomic)
{
    events.push_back(
        { who, atomic, (uint16_t)me, block, barriers, warp_barriers[me / WARP], 0, 0 });
    return (Event)events.size() - 1;
}

Event blocks_of(Event last, Event others)
{
    Event &event = blocks_events[(uint64_t)last << 32 | others];
    if (!event) {
        event = new_event(BLOCKS, false);
        events[event].last = last;
        events[event].others = others;
    }
    return event;
}

/* Does it know what another block did after so many barriers? */
bool knows(uint32_t other, uint32_t passed)
{
    const Blocks *known = threads[me].known.get();
    if (!known) return false;
    const auto it = known->find(other);
    return it != known->end() && passed < it->second;
}

void add(std::shared_ptr<Blocks> &to, const Blocks &more)
{
    auto all = to ? std::make_shared<Blocks>(*to) : std::make_shared<Blocks>();
    for (const auto &[other, passed] : more) (*all)[other] = std::max((*all)[other], passed);
    to = all;
}

void forget_groups()
{
    memset(lanes_event, 0, sizeof lanes_event);
    memset(warps_event, 0, sizeof warps_event);
}
} // namespace

void begin_launch()
{
    events.assign(1, {});
    told.clear();
    atomics.clear();
    blocks_events.clear();
}

void begin_block(uint32_t number, unsigned n)
{
    block = number;
    barriers = 0;
    n_threads = n;
    memset(warp_barriers, 0, sizeof warp_barriers);
    forget_groups();
    barrier_unfenced = anyone_has_seen = false;
    for (unsigned i = 0; i < n; i++) threads[i] = {};
}

void run(unsigned thread) { me = thread; }
unsigned thread() { return me; }

void block_synced()
{
    barriers++;
    barrier_unfenced = false;
    forget_groups();
    std::shared_ptr<Blocks> seen, known;
    for (unsigned i = 0; anyone_has_seen && i < n_threads; i++) {
        if (threads[i].seen) add(seen, *threads[i].seen);
        if (threads[i].known) add(known, *threads[i].known);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        Thread &thread = threads[i];
        thread.event[0] = thread.event[1] = 0;
        barrier_unfenced |= thread.unfenced;
        thread.fenced_since_barrier = false;
        if (seen) thread.seen = seen;
        if (known) thread.known = known;
    }
}

void warp_synced(unsigned warp)
{
    warp_barriers[warp]++;
    lanes_event[warp][0] = lanes_event[warp][1] = 0;
    for (unsigned i = warp * WARP; i < (warp + 1) * WARP; i++)
        threads[i].event[0] = threads[i].event[1] = 0;
}

void fence()
{
    Thread &thread = threads[me];
    thread.unfenced = false;
    thread.fenced_since_barrier = true;
    thread.known = thread.seen;
}

void atomic(const void *word)
{
    Thread &thread = threads[me];
    Atomics &before = atomics[word].try_emplace(block, Atomics{ 0, me }).first->second;
    before = { barriers, before.thread == me ? me : MANY };
    if (told.count(word)) {
        add(thread.seen, told[word]);
        anyone_has_seen = true;
    }
    if (!barrier_unfenced || thread.fenced_since_barrier) told[word][block] = barriers;
    thread.unfenced = true;
}

void touched_device() { threads[me].unfenced = true; }

Event mine(bool atomic)
{
    Event &event = threads[me].event[atomic];
    if (!event) event = new_event(THREAD, atomic);
    return event;
}

Event joined(Event before, Event mine)
{
    const Details e = events[before]; /* a copy: new ones move them */
    if (before == mine) return mine;
    if (e.who == BLOCKS) {
        return events[e.last].block == block ? blocks_of(joined(e.last, mine), e.others)
                                             : blocks_of(mine, before);
    }
    if (over(before)) return mine;
    if (e.block != block) return blocks_of(mine, before);
    const bool one_warp = e.who != WARPS && e.thread / WARP == me / WARP;
    Event &event = one_warp ? lanes_event[me / WARP][e.atomic] : warps_event[e.atomic];
    if (!event) event = new_event(one_warp ? LANES : WARPS, e.atomic);
    return event;
}

bool is_atomic(Event event) { return events[event].atomic; }

bool over(Event event)
{
    const Details &e = events[event];
    if (e.who == BLOCKS) return over(e.last) && over(e.others);
    if (e.block != block) return knows(e.block, e.barriers);
    if (e.barriers < barriers) return true;
    if (e.who == WARPS || e.thread / WARP != me / WARP) return false;
    return e.warp_barriers < warp_barriers[me / WARP] || (e.who == THREAD && e.thread == me);
}

bool atomics_over(const void *word, Event last)
{
    if (events[last].block == block && !over(last)) return false;
    const auto &all = atomics[word];
    const Blocks *known = threads[me].known.get();
    return std::all_of(all.begin(), all.end(), [&](const auto &of) {
        if (of.first == block || knows(of.first, of.second.passed)) return true;
        /* a single thread's, by which it told what is known now */
        return of.second.thread != MANY && told[word].count(of.first) && known &&
               known->count(of.first);
    });
}

std::string who(Event event)
{
    static const char *const texts[] = { "thread", "lanes, one of them", "warps, one with thread",
                                         "blocks; thread" };
    const Details &e = events[event];
    char text[200];
    snprintf(text, sizeof text, "block %u, %s %u, after %u barriers", e.block, texts[e.who],
             e.thread, e.barriers);
    return text;
}
} // namespace order
