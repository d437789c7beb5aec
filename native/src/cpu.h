/* cpu.h - what this processor can do, by CPUID and XGETBV. */
#ifndef BC_CPU_H
#define BC_CPU_H

#include <stdint.h>

uint32_t bc_cpu_flags(void); /* bc_cpu_flag bits of bitconverter.h */

/* Whether BC_CPU_AVX_VNNI means instructions in AVX's encoding; else they need AVX-512's. */
int bc_cpu_vex_vnni(void);

#endif
