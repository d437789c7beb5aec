/* product.h - what a linear map is asked for: what is added to a matrix (lora.h) sees this, not the buffers of linear.h. */
#ifndef BC_PRODUCT_H
#define BC_PRODUCT_H

#include "model.h"

typedef struct bc_product {
    const bc_weight *weight;
    float *y; /* f32 [n, weight->rows], y_stride floats apart */
    size_t y_stride;
} bc_product;

/* The tokens from `first` on, before `end`, that belong to one replica: where the next one's begin. */
static inline int bc_replica_end(const int32_t *replica, int first, int end)
{
    int t = first + 1;
    while (replica && t < end && replica[t] == replica[first]) t++;
    return replica ? t : end;
}

#endif
