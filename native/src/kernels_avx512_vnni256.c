/* kernels_avx512_vnni256.c - the kernels of kernels_avx_vnni.c in AVX-512's encoding: how they are
 * tested and measured on processors that have VNNI with AVX-512 only. */
#define DOT4 "%{evex%} vpdpbusd"
#define INIT bc_kernels_init_avx512_vnni256
#include "kernels_vnni256.inc"
