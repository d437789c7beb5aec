/* kernels_avx512_vnni.c - the kernels for AVX-512 VNNI. */
#include "kernels.h"

void bc_kernels_init_avx512_vnni(bc_kernels *k)
{
    k->isa = "avx512-vnni";
}
