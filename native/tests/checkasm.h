/* checkasm.h - what the parts of checkasm share. */
#ifndef BC_CHECKASM_H
#define BC_CHECKASM_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"
#include "kernels.h"

typedef struct checker {
    const bc_kernels *k;      /* the table under test */
    const bc_kernels *scalar; /* the definition */
    const char *check;
    uint64_t state;
    int failures; /* of this check */
} checker;

#define CHECK_MAX_SLOTS 4

/* Pointers of bc_kernels that a check covers: their numbers, counted from gemv_planes. */
#define SLOT(member)                                                                               \
    ((int)((offsetof(bc_kernels, member) - offsetof(bc_kernels, gemv_planes)) / sizeof(void *)) + 1)
#define CHECK_SLOTS                                                                                \
    ((int)((sizeof(bc_kernels) - offsetof(bc_kernels, gemv_planes)) / sizeof(void *)))

typedef struct check_entry {
    const char *name;
    void (*run)(checker *c);
    int slots[CHECK_MAX_SLOTS]; /* SLOT numbers from 1; 0: unused */
} check_entry;

extern const check_entry check_integer_entries[], check_dense_entries[], check_vector_entries[],
    check_tile_entries[], check_gradient_entries[], check_sampler_entries[];

void check_bench(const bc_kernels *tables, int n_tables, const char *isa); /* NULL: all */

uint64_t check_random(checker *c);
int check_range(checker *c, int lo, int hi); /* lo..hi */
float check_normal(checker *c);              /* about N(0, 1) */
int check_normal_i8(checker *c); /* as a rotated vector is rounded: about N(0, 34), -127..127 */
void *check_alloc(size_t bytes); /* to the byte, filled with 0xa5; exits when out of memory */
float *check_floats(checker *c, size_t n, float size); /* about N(0, size), to be freed */
void check_fail(checker *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sizes every check runs over: 1..130 and some odd large ones. */
int check_size(int index); /* 0 past the end */

static inline size_t check_padded(int n)
{
    return ((size_t)n + BC_ACT_PAD - 1) / BC_ACT_PAD * BC_ACT_PAD;
}

#endif
