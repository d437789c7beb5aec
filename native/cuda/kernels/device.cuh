// device.cuh - what the kernels need of the processor, one small function each.
//
// tests/cuda_emulator/ has a second version of this file for a CPU, so that every kernel runs, and is tested, on
// computers without a graphics card. So the kernels use nothing of CUDA but what is here, threadIdx, blockIdx, blockDim
// and gridDim, and plain C++.
#pragma once

#ifdef __CUDACC_RTC__ // NVRTC has no headers
typedef unsigned char uint8_t;
typedef signed char int8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#define INFINITY __int_as_float(0x7f800000)
#else
#include <math.h>
#include <stdint.h>
#endif

#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900)
#define BC_FAST_DOUBLES 1
#else
#define BC_FAST_DOUBLES 0
#endif
#define BC_KERNEL extern "C" __global__ void
#define BC_DEVICE __device__ __forceinline__
#define BC_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define BC_SHARED __shared__
#define BC_SHARED_ALIGNED __shared__ __align__(16)
// The shared memory whose size the launch gives, 16-byte aligned; once per kernel.
#define BC_DYNAMIC_SHARED(name) extern __shared__ __align__(16) uint8_t name[]

BC_DEVICE void bc_sync() { __syncthreads(); }
BC_DEVICE void bc_sync_warp() { __syncwarp(); }
BC_DEVICE int bc_shuffle_xor(int v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
BC_DEVICE float bc_shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
BC_DEVICE double bc_shuffle_xor(double v, int mask)
{
    return __shfl_xor_sync(0xffffffffu, v, mask);
}

// Sum over the 32 lanes, in every lane.
BC_DEVICE int bc_warp_sum(int v)
{
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(0xffffffffu, v);
#else
    for (int mask = 16; mask; mask /= 2) v += bc_shuffle_xor(v, mask);
    return v;
#endif
}

// The largest over the 32 lanes, in every lane.
BC_DEVICE int bc_warp_max(int v)
{
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, v);
#else
    for (int mask = 16; mask; mask /= 2) {
        const int other = bc_shuffle_xor(v, mask);
        v = other > v ? other : v;
    }
    return v;
#endif
}

// acc + sum of four products of unsigned bytes of u with signed bytes of s.
BC_DEVICE int bc_dot4_us(uint32_t u, uint32_t s, int acc)
{
    int r;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(u), "r"(s), "r"(acc));
    return r;
}
BC_DEVICE int bc_dot4_ss(uint32_t u, uint32_t s, int acc)
{
    int r;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(u), "r"(s), "r"(acc));
    return r;
}
// Byte i of the result is the byte of {b, a} that hex digit i of `choice` names (0..3: of a, 4..7: of b).
BC_DEVICE uint32_t bc_bytes(uint32_t a, uint32_t b, uint32_t choice)
{
    return __byte_perm(a, b, choice);
}

// Bit i of the result is bit 4 a_i + 2 b_i + c_i of TABLE, for each of the 32.
template <int TABLE> BC_DEVICE uint32_t bc_logic(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(r) : "r"(a), "r"(b), "r"(c), "n"(TABLE));
    return r;
}

// c += A B on the tensor cores: A 16 x 32 bytes (row r, columns k), B 32 x 8 bytes. Lane l = 4 g + t holds
//   a[0]: row g, k 4t..4t+3; a[1]: row g + 8; a[2]: row g, k 16 + 4t..; a[3]: row g + 8, k 16 + 4t..
//   b[0]: column g, k 4t..4t+3; b[1]: column g, k 16 + 4t..
//   c[0]: row g, column 2t; c[1]: column 2t + 1; c[2], c[3]: row g + 8.
// On cards without them (before 8.0) the same by shuffles and dot4.
#if __CUDA_ARCH__ >= 800
#define BC_MMA(name, types, dot4)                                                                  \
    BC_DEVICE void name(int c[4], const uint32_t a[4], const uint32_t b[2])                        \
    {                                                                                              \
        asm("mma.sync.aligned.m16n8k32.row.col.s32." types ".s32 "                                 \
            "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"                                   \
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                       \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                   \
    }
#elif __CUDA_ARCH__ >= 750
#define BC_MMA(name, types, dot4)                                                                  \
    BC_DEVICE void name(int c[4], const uint32_t a[4], const uint32_t b[2])                        \
    {                                                                                              \
        _Pragma("unroll") /* rows 0 to 7 or 8 to 15, k 0 to 15 or 16 to 31 */                      \
            for (int part = 0; part < 4; part++) asm(                                              \
                "mma.sync.aligned.m8n8k16.row.col.s32." types ".s32 {%0,%1},{%2},{%3},{%0,%1};" :  \
                "+r"(c[part / 2 * 2]),                                                             \
                "+r"(c[part / 2 * 2 + 1]) : "r"(a[part / 2 + part % 2 * 2]), "r"(b[part % 2]));    \
    }
#endif
// The same by shuffles, whatever a product of two words is
#define BC_MMA_SHUFFLED(name, dot4)                                                                \
    BC_DEVICE void name(int c[4], const uint32_t a[4], const uint32_t b[2])                        \
    {                                                                                              \
        const int lane = threadIdx.x & 31, group = lane & 28, t = lane & 3;                        \
        _Pragma("unroll") for (int k = 0; k < 8; k++)                                              \
        {                                                                                          \
            const int from_a = group | (k & 3);                                                    \
            const uint32_t low = __shfl_sync(0xffffffffu, a[k < 4 ? 0 : 2], from_a);               \
            const uint32_t high = __shfl_sync(0xffffffffu, a[k < 4 ? 1 : 3], from_a);              \
            const uint32_t b0 = __shfl_sync(0xffffffffu, b[k / 4], 8 * t | (k & 3));               \
            const uint32_t b1 = __shfl_sync(0xffffffffu, b[k / 4], 8 * t + 4 | (k & 3));           \
            c[0] = dot4(low, b0, c[0]);                                                            \
            c[1] = dot4(low, b1, c[1]);                                                            \
            c[2] = dot4(high, b0, c[2]);                                                           \
            c[3] = dot4(high, b1, c[3]);                                                           \
        }                                                                                          \
    }
#if __CUDA_ARCH__ < 750
#define BC_MMA(name, types, dot4) BC_MMA_SHUFFLED(name, dot4)
#endif
BC_MMA(bc_mma_us, "u8.s8", bc_dot4_us) // unsigned bytes in A
BC_MMA(bc_mma_ss, "s8.s8", bc_dot4_ss) // signed ones

// c += A B of single bits: A 16 x 256, B 256 x 8. Each word of a fragment has 32 bits in the place of four bytes. Cards from
// 8.0 on have it in their tensor cores, up to 10.0; elsewhere it is slow.
#if __CUDA_ARCH__ >= 800
BC_DEVICE void bc_mma_bits(int c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
BC_DEVICE int bc_common_bits(uint32_t a, uint32_t b, int acc) { return acc + __popc(a & b); }
BC_MMA_SHUFFLED(bc_mma_bits, bc_common_bits)
#endif
#undef BC_MMA
#undef BC_MMA_SHUFFLED

BC_DEVICE float bc_half_to_float(uint16_t bits)
{
    float f;
    asm("{.reg .b16 h; mov.b16 h, %1; cvt.f32.f16 %0, h;}" : "=f"(f) : "h"(bits));
    return f;
}
BC_DEVICE uint16_t bc_float_to_half(float f)
{
    uint16_t bits;
    asm("{.reg .b16 h; cvt.rn.f16.f32 h, %1; mov.b16 %0, h;}" : "=h"(bits) : "f"(f));
    return bits;
}
BC_DEVICE float bc_bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
BC_DEVICE uint32_t bc_float_to_bits(float f) { return __float_as_uint(f); }
BC_DEVICE float bc_round_even(float f) { return rintf(f); }
BC_DEVICE float bc_exp(float f) { return expf(f); }
BC_DEVICE float bc_fma(float a, float b, float c) { return fmaf(a, b, c); }
BC_DEVICE double bc_fma(double a, double b, double c) { return fma(a, b, c); }

// How planes lie (tiled.cuh): known when a card's kernels are compiled
#if __CUDA_ARCH__ >= 750
BC_DEVICE bool bc_is_tiled(int) { return true; }
#else
BC_DEVICE bool bc_is_tiled(int) { return false; }
#endif

// The bits n further to the left, those that leave come in at the right
BC_DEVICE uint32_t bc_turned(uint32_t v, int n) { return __funnelshift_l(v, v, n); }

struct bc_words4 {
    uint32_t w[4];
};
// 16 aligned bytes that nobody will read again soon.
BC_DEVICE bc_words4 bc_load_once(const void *p)
{
    bc_words4 v;
#if __CUDA_ARCH__ >= 700
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "l"(p));
#else
    asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
                 : "l"(p));
#endif
    return v;
}
// Into the cache that all processors share.
BC_DEVICE void bc_prefetch(const void *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
BC_DEVICE bc_words4 bc_load(const void *p)
{
    const uint4 v = *(const uint4 *)p;
    return { { v.x, v.y, v.z, v.w } };
}
// 16 bytes from global into shared memory, without waiting: what a thread has copied it may read itself after
// bc_copied<n>, when all but its last n groups of copies are there. Before Ampere the copy is done at once.
BC_DEVICE void bc_copy_ahead(void *shared, const void *global)
{
#if __CUDA_ARCH__ >= 800
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(global)
                 : "memory");
#else
    *(uint4 *)shared = *(const uint4 *)global;
#endif
}
// The same of 4 bytes
BC_DEVICE void bc_copy_word_ahead(void *shared, const void *global)
{
#if __CUDA_ARCH__ >= 800
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(global) : "memory");
#else
    *(uint32_t *)shared = *(const uint32_t *)global;
#endif
}
// `count` floats, a multiple of 4, from global into shared memory by a unit of its own (9.0 and newer): they do not wait behind
// the copies above. One thread asks for them, once in a kernel.
struct bc_arrival {
    uint64_t barrier;
};
BC_DEVICE void bc_bring(float *shared, const float *global, int count, bc_arrival *arrival)
{
#if __CUDA_ARCH__ >= 900
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(&arrival->barrier),
                   to = (uint32_t)__cvta_generic_to_shared(shared), bytes = 4 * count;
    asm volatile("mbarrier.init.shared.b64 [%0], 1; fence.mbarrier_init.release.cluster;" ::"r"(at)
                 : "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
                 : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(global), "r"(bytes), "r"(at)
                 : "memory");
#endif
}
// They are there. All threads have met since they were asked for.
BC_DEVICE void bc_brought(bc_arrival *arrival)
{
#if __CUDA_ARCH__ >= 900
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(&arrival->barrier);
    uint32_t there = 0;
    while (!there)
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], 0; "
                     "selp.u32 %0, 1, 0, p;}"
                     : "=r"(there)
                     : "r"(at)
                     : "memory");
#endif
}
BC_DEVICE void bc_copy_group()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int PENDING> BC_DEVICE void bc_copied()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}
// 16 aligned bytes
BC_DEVICE void bc_put(void *p, const bc_words4 &v)
{
    *(uint4 *)p = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]);
}
BC_DEVICE int bc_atomic_add(int *p, int v) { return atomicAdd(p, v); }
BC_DEVICE void bc_atomic_max(int *p, int v) { atomicMax(p, v); }
BC_DEVICE void bc_fence() { __threadfence(); }

// Programmatic dependent launch: a kernel may begin before the one before it in the stream has ended (compute
// capability 9.0 and later). Before bc_wait_for_inputs it may read weights only; it calls it before anything that the
// kernels before it wrote is read, and before it writes anything itself.
BC_DEVICE void bc_wait_for_inputs()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
BC_DEVICE void bc_let_next_begin()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
