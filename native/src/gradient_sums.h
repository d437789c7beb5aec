/* gradient_sums.h - what is summed over tokens beside the gradients that flow on. */
#ifndef BC_GRADIENT_SUMS_H
#define BC_GRADIENT_SUMS_H

#include "engine.h"

/* One matrix: dy and y f32 [n, rows], each `stride` floats apart; y holds the bias. Adds to the
 * arrays of `to` that are not NULL, for tokens from `token` on, and stores dy. y may be NULL if no
 * gain is asked for. */
typedef struct bc_matrix_sums {
    bc_engine *engine;
    const bc_matrix_grads *to;
    const float *dy, *y, *bias;
    size_t dy_stride, y_stride;
    int64_t rows, token;
    int n;
} bc_matrix_sums;

void bc_matrix_sums_add(const bc_matrix_sums *m);

/* grad f64 [width] += sum over n tokens of dy x r: the gradient of an RMSNorm's weights. dy and x
 * f32 [n, width], r f32 [n]. */
void bc_norm_sums_add(bc_engine *engine, double *grad, const float *dy, const float *x,
                      const float *r, int64_t width, int n);

#endif
