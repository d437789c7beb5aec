/* kernels_avx512.c - the kernels for AVX-512. */
#include "kernels.h"

void bc_kernels_init_avx512(bc_kernels *k)
{
    k->isa = "avx512";
}
