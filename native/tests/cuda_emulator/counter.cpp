/* counter.cpp - see counter.hpp.
 *
 * On a card the 32 lanes of a warp access memory with one instruction; here they run one after the other. Taken for one
 * request is what the lanes do at the same place of the code, each for the same time since their warp last met. It is
 * the code of this processor's compiler: what it keeps in a register, or loads as one number, a card's compiler need not,
 * and the other way round. Threads' own variables count as registers. */
#include "counter.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "checker.hpp"
#include "emulator.hpp"
#include "places.hpp"

namespace
{
constexpr unsigned BANKS = 32;
constexpr size_t WORD = 4, SECTOR = 32, WIDEST = 16; /* bytes; a lane accesses 16 at most */

enum Memory { SHARED, DEVICE };
enum Kind { READ, WRITE, ATOMIC };
const char *const MEMORIES[] = { "shared", "device" };
const char *const KINDS[] = { "read", "write", "atomic" };

struct Site {
    uint32_t place;
    Memory memory;
    Kind kind;
    unsigned bytes;
    bool operator<(const Site &o) const
    {
        return std::tie(place, memory, kind, bytes) < std::tie(o.place, o.memory, o.kind, o.bytes);
    }
};
using Request = std::vector<std::pair<unsigned, uintptr_t>>; /* lane, address */
struct Requests {
    size_t times[WARP]; /* each lane's */
    std::vector<Request> all;
};
std::map<Site, Requests> warps[MAX_THREADS / WARP]; /* since each of them last met */

struct Cost {
    uint64_t now, fewest;
};
struct Sum {
    uint64_t requests;
    Cost cost;
};
std::map<std::string, std::map<Site, Sum>> sums; /* by kernel */

bool counting;
std::string kernel;
unsigned thread;
struct {
    uintptr_t start;
    size_t bytes;
} shared_memory[2];

/* -- what a request costs -- */

/* Words of different banks come in one turn, and so does one word for several lanes, unless each changes it. More than
 * a word per lane: a half or a quarter of the warp after the other. */
Cost turns(const Request &request, const Site &site)
{
    const unsigned at_once = site.bytes <= WORD ? WARP : WARP * WORD / site.bytes;
    std::vector<uintptr_t> words[WARP / (WARP * WORD / WIDEST)];
    for (const auto &[lane, address] : request)
        for (uintptr_t word = address / WORD; word <= (address + site.bytes - 1) / WORD; word++)
            words[lane / at_once].push_back(word);
    Cost cost = {};
    for (std::vector<uintptr_t> &part : words) {
        if (part.empty()) continue;
        std::sort(part.begin(), part.end());
        if (site.kind != ATOMIC) part.erase(std::unique(part.begin(), part.end()), part.end());
        unsigned of_bank[BANKS] = {};
        for (const uintptr_t word : part) of_bank[word % BANKS]++;
        cost.now += *std::max_element(of_bank, of_bank + BANKS);
        cost.fewest++;
    }
    return cost;
}

/* A sector that several lanes touch comes once. */
Cost sectors(Request request, const Site &site)
{
    std::sort(request.begin(), request.end(),
              [](const auto &a, const auto &b) { return a.second < b.second; });
    Cost cost = {};
    uintptr_t next_byte = 0, next_sector = 0; /* neither they nor any behind them were counted */
    size_t bytes = 0;
    for (const auto &[lane, address] : request) {
        const uintptr_t end = address + site.bytes, end_sector = (end + SECTOR - 1) / SECTOR;
        bytes += end - std::max(next_byte, address);
        cost.now += end_sector - std::max(next_sector, address / SECTOR);
        next_byte = end;
        next_sector = end_sector;
    }
    cost.fewest = (bytes + SECTOR - 1) / SECTOR;
    return cost;
}

void add_up(std::map<Site, Requests> &warp)
{
    if (warp.empty()) return;
    std::map<Site, Sum> &sums_of_kernel = sums[kernel];
    for (const auto &[site, requests] : warp) {
        Sum &sum = sums_of_kernel[site];
        for (const Request &request : requests.all) {
            const Cost cost = site.memory == SHARED ? turns(request, site) : sectors(request, site);
            sum.requests++;
            sum.cost.now += cost.now;
            sum.cost.fewest += cost.fewest;
        }
    }
    warp.clear();
}
void add_all_up()
{
    for (auto &warp : warps) add_up(warp);
}

/* -- accesses -- */

bool is_shared(uintptr_t address)
{
    for (const auto &piece : shared_memory)
        if (address - piece.start < piece.bytes) return true;
    return false;
}

void access(const void *p, size_t bytes, const void *code, Kind kind)
{
    const uintptr_t address = reinterpret_cast<uintptr_t>(p);
    const bool shared = is_shared(address);
    if (!shared && !bc_emulated_holds(p, 1, true)) return; /* the thread's own, or the arguments */
    const Site site = { place_of(code), shared ? SHARED : DEVICE, kind, (unsigned)bytes };
    Requests &requests = warps[thread / WARP][site];
    const size_t time = requests.times[thread % WARP]++;
    if (time == requests.all.size()) requests.all.emplace_back();
    requests.all[time].emplace_back(thread % WARP, address);
}

/* In pieces that a lane can access; the compiler's hooks for a structure give all of it. */
void in_pieces(const void *p, size_t bytes, const void *code, Kind kind)
{
    if (!counting) return;
    const uint8_t *at = static_cast<const uint8_t *>(p);
    while (bytes) {
        size_t piece = WIDEST;
        while (piece > bytes) piece /= 2;
        access(at, piece, code, kind);
        at += piece;
        bytes -= piece;
    }
}
void read(const void *p, size_t bytes, const void *code) { in_pieces(p, bytes, code, READ); }
void write(const void *p, size_t bytes, const void *code) { in_pieces(p, bytes, code, WRITE); }
} // namespace

/* -- the functions of checker.hpp -- */

/* What threads did after they last met is added up when something else begins. */
void bc_check_launch(const char *name, bool)
{
    add_all_up();
    kernel = name;
}

void bc_check_block(unsigned, unsigned, const void *own, size_t own_bytes, const void *dynamic,
                    size_t dynamic_bytes)
{
    add_all_up();
    shared_memory[0] = { reinterpret_cast<uintptr_t>(own), own_bytes };
    shared_memory[1] = { reinterpret_cast<uintptr_t>(dynamic), dynamic_bytes };
}
void bc_check_thread(unsigned number) { thread = number; }
void bc_check_warp_synced(unsigned warp) { add_up(warps[warp]); }
void bc_check_block_synced() { add_all_up(); }

void bc_check_atomic(const void *p, const void *code) { in_pieces(p, sizeof(int), code, ATOMIC); }
void bc_check_asked(const void *shared, const void *global, size_t bytes, const void *code)
{
    read(global, bytes, code);
    write(shared, bytes, code);
}

/* Nothing is counted here. A load past the caches is one of those that the compiler calls us for. */
void bc_check_drained() {}
void bc_check_filled(const void *, size_t) {}
void bc_check_copied(const void *, const void *, size_t) {}
void bc_check_alloc(const void *, size_t) {}
void bc_check_free(const void *) {}
void bc_check_thread_ends() {}
void bc_check_fence() {}
void bc_check_waited() {}
void bc_check_once(const void *, size_t, const void *) {}
void bc_check_arrived(const void *, size_t, const void *) {}
void bc_check_brought(const void *, size_t) {}

/* -- the counts -- */

void bc_count_begin()
{
    add_all_up();
    sums.clear();
    counting = true;
}

int bc_count_write(const char *path)
{
    add_all_up();
    FILE *file = fopen(path, "w");
    if (!file) return 0;
    fprintf(file, "kernel\tmemory\taccess\tbytes\trequests\tcost\tfewest\tplace\n");
    for (const auto &[name, sites] : sums)
        for (const auto &[site, sum] : sites)
            fprintf(file, "%s\t%s\t%s\t%u\t%llu\t%llu\t%llu\t%#x\n", name.c_str(),
                    MEMORIES[site.memory], KINDS[site.kind], site.bytes,
                    (unsigned long long)sum.requests, (unsigned long long)sum.cost.now,
                    (unsigned long long)sum.cost.fewest, site.place - 1);
    const bool written = !ferror(file);
    return fclose(file) == 0 && written;
}

/* -- what the compiler calls -- */

#include "hooks.inc"
