/* delta.h - the gradient of a full matrix that is added to one of planes. */
#ifndef BC_DELTA_H
#define BC_DELTA_H

#include "linear.h"

/* sum f32 [rows, cols] += sum_t dy_t x_t': dy f32 [n, rows], dy_stride floats apart, x f32 [n, cols]. across f32 [rows,
 * n] is work space. n <= s->n_batch. */
typedef struct bc_delta_back {
    const float *dy, *x;
    size_t dy_stride;
    int64_t rows, cols;
    float *sum, *across;
    int n;
} bc_delta_back;

void bc_delta_backward(bc_linear_space *s, const bc_delta_back *back);

#endif
