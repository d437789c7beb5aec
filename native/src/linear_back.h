/* linear_back.h - dx = sum of W' dy over the matrices of one input. */
#ifndef BC_LINEAR_BACK_H
#define BC_LINEAR_BACK_H

#include "linear.h"

typedef struct bc_back_product {
    const bc_weight *weight;
    const float *dy; /* f32 [n, weight->rows], dy_stride floats apart */
    size_t dy_stride;
} bc_back_product;

/* dx f32 [n, cols] is overwritten; n <= s->n_batch. rotated f32 [n, cols] is work space. The
 * rounding of the inputs of planes and int8 matrices is passed straight through: their dx is
 * R' Q' (scales * dy). Cancelled by s->cancel, like bc_linear. */
void bc_linear_back(bc_linear_space *s, const bc_back_product *products, int count, float *rotated,
                    float *dx, int n);

#endif
