/* kernels_avx_vnni.c - for processors with AVX-VNNI but without AVX-512 (Intel's since 2021). */
#define DOT4 "%{vex%} vpdpbusd"
#define INIT bc_kernels_init_avx_vnni
#include "kernels_vnni256.inc"
