// emulated_device.cuh - cuda/kernels/device.cuh once more, for a CPU: the same functions with the same meaning.
//
// A thread of a block is a fiber (fibers.cpp). What the hardware would not forgive is looked at here: addresses that
// are not aligned, threads of a warp that are not together.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct bc_emulated_dim {
    unsigned x, y, z;
};
extern bc_emulated_dim threadIdx, blockIdx, blockDim, gridDim;

#define BC_KERNEL extern "C" void
#define BC_DEVICE inline
#define BC_BOUNDS(threads, blocks)
// Memory of its own in this library's thread-local storage, which nothing else uses: so fibers.cpp can find it all and
// fill it anew before each block. Only one thread runs kernels at a time.
#define BC_SHARED static thread_local
#define BC_SHARED_ALIGNED alignas(16) static thread_local
#define BC_DYNAMIC_SHARED(name) uint8_t *const name = bc_emulated_shared()

// The place in the source of who calls: lanes or threads that wait at different ones have diverged.
struct bc_emulated_site {
    const char *file;
    int line;
};
#define BC_SITE bc_emulated_site site = { __builtin_FILE(), __builtin_LINE() }

uint8_t *bc_emulated_shared();
void bc_emulated_sync(bc_emulated_site site);
void bc_emulated_sync_warp(bc_emulated_site site);
// Gives the `bytes` (at most 32) of every lane, those of lane i 32 i bytes from the address.
const uint8_t *bc_emulated_exchange(const void *mine, size_t bytes, bc_emulated_site site);
[[noreturn]] void bc_emulated_wrong(const char *what, bc_emulated_site site);
// Fails unless the bytes lie in memory that the driver gave out, and nobody writes them while the kernel runs.
void bc_emulated_read_once(const void *p, size_t bytes, bc_emulated_site site);
// Until all but the last `pending` groups of this thread's copies are done, they hold a pattern.
void bc_emulated_copy_ahead(void *shared, const void *global, size_t bytes, bc_emulated_site site);
void bc_emulated_copy_group();
void bc_emulated_copied(unsigned pending);
// One copy for the block: until a thread waits for its number, it holds a pattern.
uint64_t bc_emulated_bring(void *shared, const void *global, size_t bytes, bc_emulated_site site);
void bc_emulated_brought(uint64_t number, bc_emulated_site site);
int bc_emulated_atomic_add(int *p, int v);
void bc_emulated_atomic_max(int *p, int v);
void bc_emulated_fence();
void bc_emulated_wait_for_inputs();
int bc_emulated_capability(); // 90: 9.0

BC_DEVICE int bc_emulated_lane()
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}
template <class T> BC_DEVICE T bc_emulated_of_lane(const uint8_t *all, int lane)
{
    T v;
    memcpy(&v, all + 32 * lane, sizeof v);
    return v;
}
template <class T> BC_DEVICE T bc_emulated_shuffle(T v, int lane, bc_emulated_site site)
{
    return bc_emulated_of_lane<T>(bc_emulated_exchange(&v, sizeof v, site), lane & 31);
}

BC_DEVICE void bc_sync(BC_SITE) { bc_emulated_sync(site); }
BC_DEVICE void bc_sync_warp(BC_SITE) { bc_emulated_sync_warp(site); }
BC_DEVICE int bc_shuffle_xor(int v, int mask, BC_SITE)
{
    return bc_emulated_shuffle(v, bc_emulated_lane() ^ mask, site);
}
BC_DEVICE float bc_shuffle_xor(float v, int mask, BC_SITE)
{
    return bc_emulated_shuffle(v, bc_emulated_lane() ^ mask, site);
}
BC_DEVICE double bc_shuffle_xor(double v, int mask, BC_SITE)
{
    return bc_emulated_shuffle(v, bc_emulated_lane() ^ mask, site);
}

// Integer sums wrap around, as in the hardware.
BC_DEVICE int bc_emulated_plus(int a, int b) { return (int)((uint32_t)a + (uint32_t)b); }

BC_DEVICE int bc_warp_sum(int v, BC_SITE)
{
    const uint8_t *all = bc_emulated_exchange(&v, sizeof v, site);
    int sum = 0;
    for (int lane = 0; lane < 32; lane++)
        sum = bc_emulated_plus(sum, bc_emulated_of_lane<int>(all, lane));
    return sum;
}

BC_DEVICE int bc_warp_max(int v, BC_SITE)
{
    const uint8_t *all = bc_emulated_exchange(&v, sizeof v, site);
    int top = v;
    for (int lane = 0; lane < 32; lane++) {
        const int other = bc_emulated_of_lane<int>(all, lane);
        top = other > top ? other : top;
    }
    return top;
}

BC_DEVICE int bc_dot4_us(uint32_t u, uint32_t s, int acc)
{
    for (int i = 0; i < 32; i += 8)
        acc = bc_emulated_plus(acc, (int)(uint8_t)(u >> i) * (int8_t)(s >> i));
    return acc;
}
BC_DEVICE int bc_dot4_ss(uint32_t u, uint32_t s, int acc)
{
    for (int i = 0; i < 32; i += 8)
        acc = bc_emulated_plus(acc, (int)(int8_t)(u >> i) * (int8_t)(s >> i));
    return acc;
}
BC_DEVICE void bc_prefetch(const void *) {}
BC_DEVICE void bc_copy_ahead(void *shared, const void *global, BC_SITE)
{
    bc_emulated_copy_ahead(shared, global, 16, site);
}
BC_DEVICE void bc_copy_word_ahead(void *shared, const void *global, BC_SITE)
{
    bc_emulated_copy_ahead(shared, global, 4, site);
}
BC_DEVICE void bc_copy_group() { bc_emulated_copy_group(); }
template <int PENDING> BC_DEVICE void bc_copied() { bc_emulated_copied(PENDING); }
template <int TABLE> BC_DEVICE uint32_t bc_logic(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t r = 0;
    for (int i = 0; i < 8; i++)
        if (TABLE >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return r;
}
BC_DEVICE bool bc_is_tiled(int tiled) { return tiled != 0; }
BC_DEVICE uint32_t bc_bytes(uint32_t a, uint32_t b, uint32_t choice, BC_SITE)
{
    if (choice & 0x8888) bc_emulated_wrong("bc_bytes: digits are 0 to 7", site);
    const uint64_t both = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++)
        r |= (uint32_t)(uint8_t)(both >> 8 * (choice >> 4 * i & 7)) << 8 * i;
    return r;
}

struct bc_emulated_fragments {
    uint32_t a[4], b[2];
};
template <class Dot>
BC_DEVICE void bc_emulated_mma(int c[4], const uint32_t a[4], const uint32_t b[2], Dot dot,
                               bc_emulated_site site)
{
    const bc_emulated_fragments mine = { { a[0], a[1], a[2], a[3] }, { b[0], b[1] } };
    const uint8_t *all = bc_emulated_exchange(&mine, sizeof mine, site);
    const int lane = bc_emulated_lane(), g = lane / 4, t = lane % 4;
    for (int k = 0; k < 4; k++) { // four columns, and the four that are 16 further on
        const auto row = bc_emulated_of_lane<bc_emulated_fragments>(all, 4 * g + k);
        for (int j = 0; j < 2; j++) {
            const auto column =
                bc_emulated_of_lane<bc_emulated_fragments>(all, 4 * (2 * t + j) + k);
            for (int half = 0; half < 2; half++) {
                int &sum = c[2 * half + j];
                sum = dot(row.a[half], column.b[0], sum);
                sum = dot(row.a[2 + half], column.b[1], sum);
            }
        }
    }
}
BC_DEVICE void bc_mma_us(int c[4], const uint32_t a[4], const uint32_t b[2], BC_SITE)
{
    bc_emulated_mma(
        c, a, b, [](uint32_t u, uint32_t s, int acc) { return bc_dot4_us(u, s, acc); }, site);
}
BC_DEVICE void bc_mma_ss(int c[4], const uint32_t a[4], const uint32_t b[2], BC_SITE)
{
    bc_emulated_mma(
        c, a, b, [](uint32_t u, uint32_t s, int acc) { return bc_dot4_ss(u, s, acc); }, site);
}

BC_DEVICE void bc_mma_bits(int c[4], const uint32_t a[4], const uint32_t b[2], BC_SITE)
{
    bc_emulated_mma(
        c, a, b,
        [](uint32_t u, uint32_t v, int acc) {
            return bc_emulated_plus(acc, __builtin_popcount(u & v));
        },
        site);
}

BC_DEVICE float bc_bits_to_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
struct bc_arrival {
    uint64_t barrier;
};
BC_DEVICE uint32_t bc_float_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}
BC_DEVICE float bc_half_to_float(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
                   fraction = bits & 1023;
    if (exponent == 31) return bc_bits_to_float(sign | 0x7f800000 | fraction << 13);
    if (exponent) return bc_bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
    const float f = (float)fraction * 0x1p-24f;
    return sign ? -f : f;
}
BC_DEVICE uint16_t bc_float_to_half(float f)
{
    const uint32_t bits = bc_float_to_bits(f), sign = bits >> 16 & 0x8000,
                   magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and above
    if (magnitude <
        0x38800000) { // a subnormal: the sum's last bit counts 2^-24, so the addition rounds
        return (uint16_t)(sign |
                          (bc_float_to_bits(bc_bits_to_float(magnitude) + 0.5f) - 0x3f000000));
    }
    return (uint16_t)(sign | (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
}
BC_DEVICE float bc_round_even(float f) { return nearbyintf(f); }
BC_DEVICE float bc_exp(float f) { return expf(f); }
BC_DEVICE float bc_fma(float a, float b, float c) { return fmaf(a, b, c); }
BC_DEVICE double bc_fma(double a, double b, double c) { return fma(a, b, c); }

BC_DEVICE uint32_t bc_turned(uint32_t v, int n) { return v << (n & 31) | v >> (-n & 31); }

struct bc_words4 {
    uint32_t w[4];
};
BC_DEVICE void bc_put(void *p, const bc_words4 &v, BC_SITE)
{
    if ((uintptr_t)p % 16)
        bc_emulated_wrong("16 bytes are stored at an address that is not a multiple of 16", site);
    memcpy(p, v.w, 16);
}
#define BC_FAST_DOUBLES 0
BC_DEVICE bc_words4 bc_load(const void *p, BC_SITE)
{
    if ((uintptr_t)p % 16)
        bc_emulated_wrong("16 bytes are loaded from an address that is not a multiple of 16", site);
    bc_words4 v;
    memcpy(&v, p, sizeof v);
    return v;
}
BC_DEVICE bc_words4 bc_load_once(const void *p, BC_SITE)
{
    bc_emulated_read_once(p, sizeof(bc_words4), site);
    return bc_load(p, site);
}
BC_DEVICE void bc_bring(float *shared, const float *global, int count, bc_arrival *arrival, BC_SITE)
{
    if (bc_emulated_capability() < 90) bc_emulated_wrong("this card cannot bring floats", site);
    if (count % 4) bc_emulated_wrong("what is brought is not a multiple of 16 bytes", site);
    arrival->barrier = bc_emulated_bring(shared, global, sizeof(float) * (unsigned)count, site);
}
BC_DEVICE void bc_brought(bc_arrival *arrival, BC_SITE)
{
    bc_emulated_brought(arrival->barrier, site);
}
BC_DEVICE int bc_atomic_add(int *p, int v) { return bc_emulated_atomic_add(p, v); }
BC_DEVICE void bc_atomic_max(int *p, int v) { bc_emulated_atomic_max(p, v); }
BC_DEVICE void bc_fence() { bc_emulated_fence(); }
BC_DEVICE void bc_wait_for_inputs() { bc_emulated_wait_for_inputs(); }
BC_DEVICE void bc_let_next_begin() {}
