/* kernels_avx2.c - the kernels for AVX2. */
#include "kernels.h"

void bc_kernels_init_avx2(bc_kernels *k)
{
    k->isa = "avx2";
}
