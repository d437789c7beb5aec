/* checkasm_bench.c - times the kernels, one thread, best of several runs. */
#include "checkasm.h"

void check_bench(const bc_kernels *tables, int n_tables)
{
    (void)tables;
    (void)n_tables;
}
