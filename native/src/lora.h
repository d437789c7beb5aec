/* lora.h - low-rank additions to a matrix: y += B (A x) (Hu et al. 2021). */
#ifndef BC_LORA_H
#define BC_LORA_H

#include "engine.h"
#include "product.h"

/* Adds them to the products' y where a weight has one, x f32 [n, cols]; `replica` as in bc_linear_space. */
void bc_lora_forward(bc_engine *engine, const int32_t *replica, const bc_product *products,
                     int count, const float *x, size_t x_stride, int n);

/* One matrix backwards: dy f32 [n, rows], x and dx f32 [n, cols], dy_stride floats apart in dy. */
typedef struct bc_lora_back {
    const bc_weight *weight;
    const float *dy, *x;
    size_t dy_stride;
    float *dx;     /* += A' B' dy */
    double *a, *b; /* [rank, cols] +=, [rank, rows] +=, or NULL */
    int n;
} bc_lora_back;

/* Nothing for a weight without one. Sums over tokens are in f64 and see them in order. */
void bc_lora_backward(bc_engine *engine, const bc_lora_back *back);

#endif
