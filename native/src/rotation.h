/* rotation.h - the input rotation of docs/FORMAT.md: permute, flip signs, block Hadamard. */
#ifndef BC_ROTATION_H
#define BC_ROTATION_H

#include <stdint.h>

#include "bitconverter.h"
#include "kernels.h"

typedef struct bc_rotation {
    int cols;
    int block;     /* largest power of two that divides cols */
    int32_t *perm; /* [cols], NULL when block == cols */
    float *sign;   /* [cols] of +-1; NULL: no rotation at all */
    uint64_t seed;
    uint32_t *flip;      /* [cols] the bit of each sign */
    int32_t *back_perm;  /* and the way back: x = back_sign * y[back_perm] */
    uint32_t *back_flip; /* both NULL where perm is */
} bc_rotation;

int bc_rotation_init(bc_rotation *r, int64_t cols, uint64_t seed, bc_error *err);
/* What leaves its input as it is. */
bc_rotation bc_rotation_none(int64_t cols);
/* Whether both do the same. */
int bc_rotation_same(const bc_rotation *a, const bc_rotation *b);
void bc_rotation_free(bc_rotation *r);

/* y = H (sign * x[perm]) / sqrt(block); y and x differ */
void bc_rotation_apply(const bc_rotation *r, const bc_kernels *k, float *y, const float *x);
void bc_rotation_undo(const bc_rotation *r, const bc_kernels *k, float *x, float *y_is_scratch);

#endif
