/* cpu.h - what this processor can do, by CPUID and XGETBV. */
#ifndef BC_CPU_H
#define BC_CPU_H

#include <stdint.h>

uint32_t bc_cpu_flags(void); /* bc_cpu_flag bits of bitconverter.h */

#endif
