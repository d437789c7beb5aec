/* cpu.c - CPUID leaves 1 and 7, and XGETBV for what the operating system saves. */
#include "cpu.h"

#include "bitconverter.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#define XCR0_YMM 0x6u  /* SSE and AVX state */
#define XCR0_ZMM 0xe6u /* and opmask, upper halves of ZMM0-15, ZMM16-31 */

static uint32_t xcr0(void)
{
    uint32_t lo, hi;
    /* xgetbv, as bytes: no compiler flag needed */
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static int has(uint32_t reg, int bit) { return (int)((reg >> bit) & 1u); }

int bc_cpu_vex_vnni(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || a < 1) return 0; /* a: the last subleaf */
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, 4);
}

uint32_t bc_cpu_flags(void)
{
    uint32_t a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    int fma = has(c, 12), osxsave = has(c, 27), avx = has(c, 28), f16c = has(c, 29);
    if (!osxsave || !avx || !fma || !f16c) return 0;
    uint32_t saved = xcr0();
    if ((saved & XCR0_YMM) != XCR0_YMM) return 0;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!has(b, 5)) return 0; /* AVX2 */
    flags |= BC_CPU_AVX2;
    if (bc_cpu_vex_vnni()) flags |= BC_CPU_AVX_VNNI;

    int f = has(b, 16), bw = has(b, 30), vl = has(b, 31), vnni = has(c, 11), vbmi = has(c, 1);
    if ((saved & XCR0_ZMM) != XCR0_ZMM || !f || !bw || !vl) return flags;
    flags |= BC_CPU_AVX512;
    if (vnni) flags |= BC_CPU_AVX512_VNNI | BC_CPU_AVX_VNNI;
    if (vnni && vbmi) flags |= BC_CPU_AVX512_VBMI;
    return flags;
}

#else

uint32_t bc_cpu_flags(void) { return 0; }

int bc_cpu_vex_vnni(void) { return 0; }

#endif
