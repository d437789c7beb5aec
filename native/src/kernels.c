/* kernels.c - the scalar table, then each instruction set over it, widest last. */
#include "kernels.h"

#include "bitconverter.h"
#include "cpu.h"

void bc_kernels_init(bc_kernels *k, uint32_t cpu_flags)
{
    bc_kernels_init_scalar(k);
#if defined(__x86_64__)
    if (!(cpu_flags & BC_CPU_AVX2)) return;
    bc_kernels_init_avx2(k);
    if (cpu_flags & BC_CPU_AVX_VNNI) {
        if (bc_cpu_vex_vnni())
            bc_kernels_init_avx_vnni(k);
        else
            bc_kernels_init_avx512_vnni256(k);
    }
    if (!(cpu_flags & BC_CPU_AVX512)) return;
    bc_kernels_init_avx512(k);
    if (!(cpu_flags & BC_CPU_AVX512_VNNI)) return;
    bc_kernels_init_avx512_vnni(k);
    if (!(cpu_flags & BC_CPU_AVX512_VBMI)) return;
    bc_kernels_init_avx512_vbmi(k);
#else
    (void)cpu_flags;
#endif
}
