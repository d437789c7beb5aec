/* kernels_avx512_vbmi.c - a few tokens, for processors that look up bytes (AVX-512 VBMI). Everything
 * else is kernels_avx512_vnni.c's. */
#include <string.h>

#include "bitconverter.h"
#include "fetch.h"
#include "kernels.h"
#include "planes.h"
#include "simd_vnni512.inc"

#define FEW_BLOCK 4
#define FEW_BIAS 128
#define FEW_ROWS "kernels_few_looked_up.inc"
#include "kernels_few.inc"

/* After bc_kernels_init_avx512_vnni. few_i8 is the same code as there. */
void bc_kernels_init_avx512_vbmi(bc_kernels *k)
{
    k->isa = "avx512-vbmi";
    k->few_planes = few_planes;
    k->few_i8 = few_i8;
}
