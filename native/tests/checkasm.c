/* checkasm.c - compares every entry of the kernel table, on every instruction set this processor
 * has, with its definition.
 *
 *   checkasm [seed]           check (the seed is printed; give it again to repeat a run)
 *   checkasm --bench [isa]    time the entries on the shapes of real models
 *
 * Buffers are allocated to the byte, so that a sanitizer sees every access outside them. The
 * bounds of the float entries are written beside their checks. */
#include "checkasm.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"

#define MAX_ISAS 6

uint64_t check_random(checker *c)
{
    uint64_t z = (c->state += 0x9E3779B97F4A7C15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int check_range(checker *c, int lo, int hi)
{
    return lo + (int)(check_random(c) % (uint64_t)(hi - lo + 1));
}

float check_normal(checker *c)
{
    float sum = -6.0f; /* twelve uniform numbers: variance 1 */
    for (int i = 0; i < 12; i++) sum += (float)(check_random(c) >> 40) * 0x1p-24f;
    return sum;
}

int check_normal_i8(checker *c)
{
    const int v = (int)lrintf(34.0f * check_normal(c));
    return v > 127 ? 127 : v < -127 ? -127 : v;
}

void *check_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) {
        fprintf(stderr, "checkasm: out of memory for %zu bytes\n", bytes);
        exit(2);
    }
    memset(p, 0xa5, bytes);
    return p;
}

float *check_floats(checker *c, size_t n, float size)
{
    float *x = check_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = check_normal(c) * size;
    return x;
}

void check_fail(checker *c, const char *format, ...)
{
    if (c->failures++ >= 3) return; /* enough to see the pattern */
    va_list args;
    va_start(args, format);
    fprintf(stderr, "  %s %s: ", c->k->isa, c->check);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

int check_size(int index)
{
    static const int large[] = { 191, 192, 255, 257, 511, 576, 1023, 1025, 1536, 2049, 4099, 0 };
    return index < 130 ? index + 1 : large[index - 130];
}

static int make_tables(bc_kernels *tables)
{
    const uint32_t masks[MAX_ISAS] = { 0,
                                       BC_CPU_AVX2,
                                       BC_CPU_AVX2 | BC_CPU_AVX_VNNI,
                                       BC_CPU_AVX2 | BC_CPU_AVX512,
                                       BC_CPU_AVX2 | BC_CPU_AVX512 | BC_CPU_AVX512_VNNI,
                                       BC_CPU_AVX2 | BC_CPU_AVX512 | BC_CPU_AVX512_VNNI |
                                           BC_CPU_AVX512_VBMI };
    uint32_t have = bc_cpu_flags();
    int n = 0;
    for (int i = 0; i < MAX_ISAS; i++) {
        if ((masks[i] & have) == masks[i]) bc_kernels_init(&tables[n++], masks[i]);
    }
    return n;
}

static const check_entry *const groups[] = { check_integer_entries,
                                             check_dense_entries,
                                             check_vector_entries,
                                             check_tile_entries,
                                             check_gradient_entries,
                                             check_sampler_entries,
                                             NULL };

/* Every pointer of the table must be some check's. */
static int uncovered_slots(void)
{
    unsigned char covered[CHECK_SLOTS] = { 0 };
    int missing = 0;
    for (int g = 0; groups[g]; g++) {
        for (const check_entry *e = groups[g]; e->name; e++) {
            for (int s = 0; s < CHECK_MAX_SLOTS; s++) {
                if (e->slots[s]) covered[e->slots[s] - 1] = 1;
            }
        }
    }
    for (int s = 0; s < CHECK_SLOTS; s++) {
        if (covered[s]) continue;
        fprintf(stderr, "  pointer %d of bc_kernels has no check\n", s);
        missing++;
    }
    return missing;
}

/* Every pointer must be set, and the table of each instruction set must have its own name. */
static int table_faults(const bc_kernels *tables, int n)
{
    int faults = 0;
    for (int t = 0; t < n; t++) {
        void *slot[CHECK_SLOTS];
        memcpy(slot, (const char *)&tables[t] + offsetof(bc_kernels, gemv_planes), sizeof slot);
        for (int s = 0; s < CHECK_SLOTS; s++) {
            if (slot[s]) continue;
            fprintf(stderr, "  %s: pointer %d of bc_kernels is NULL\n", tables[t].isa, s);
            faults++;
        }
        if (t && strcmp(tables[t].isa, tables[t - 1].isa) == 0) {
            fprintf(stderr, "  two tables are called %s\n", tables[t].isa);
            faults++;
        }
    }
    return faults;
}

int main(int argc, char **argv)
{
    bc_kernels tables[MAX_ISAS];
    int n_tables = make_tables(tables), passed = 0, failed = 0;
    uint64_t seed = (uint64_t)time(NULL);

    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        check_bench(tables, n_tables, argc > 2 ? argv[2] : NULL);
        return 0;
    }
    if (argc > 1) {
        char *end;
        errno = 0;
        seed = strtoull(argv[1], &end, 10);
        if (errno || *end || end == argv[1]) {
            fprintf(stderr, "usage: checkasm [seed | --bench [isa]]\n");
            return 2;
        }
    }
    printf("checkasm: seed %llu, %d table entries\n", (unsigned long long)seed, CHECK_SLOTS);

    if (uncovered_slots()) {
        failed++;
    } else {
        passed++;
    }
    if (table_faults(tables, n_tables)) {
        failed++;
    } else {
        passed++;
    }
    for (int t = 0; t < n_tables; t++) {
        int isa_failed = 0, checks = 0;
        for (int g = 0; groups[g]; g++) {
            for (const check_entry *e = groups[g]; e->name; e++, checks++) {
                checker c = { &tables[t], &tables[0], e->name, seed, 0 };
                e->run(&c);
                if (c.failures) {
                    fprintf(stderr, "  %s %s: %d failures, seed %llu\n", c.k->isa, e->name,
                            c.failures, (unsigned long long)seed);
                    isa_failed++;
                }
            }
        }
        printf("  %-12s %d of %d checks passed\n", tables[t].isa, checks - isa_failed, checks);
        failed += isa_failed;
        passed += checks - isa_failed;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
