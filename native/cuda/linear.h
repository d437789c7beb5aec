/* linear.h - vectors and matrices on a card: what linear.c does on the CPU. */
#ifndef BC_CUDA_LINEAR_H
#define BC_CUDA_LINEAR_H

#include "stack.h"

typedef struct bc_gpu_product {
    const bc_gpu_matrix *matrix;
    bc_ptr y;
    int y_stride;
    bc_ptr
        before; /* what is added to y, where bc_gpu_adds says that this can be; it may be y. 0: nothing */
    bc_ptr places; /* where its elements are (bc_linear_args), 0: in order */
} bc_gpu_product;

/* Where the buffers of the steps below lie. */
typedef struct bc_gpu_space {
    bc_device *device;
    const bc_gpu_buffers *b;
    int shared; /* bytes of bc_prepare */
} bc_gpu_space;

/* y = W x + bias for `count` (<= 3) matrices with one input, which `source` describes (its rotation and outputs are
 * filled in here) for n tokens. */
int bc_gpu_linear(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product *products,
                  int count, int n, bc_error *err);

/* Whether the product of n tokens with this matrix can be added to what is there. */
int bc_gpu_adds(const bc_gpu_space *s, const bc_gpu_matrix *m, int n);

/* silu(gate) * up into y, placed for matrix `next` (placed.h), with its signs, where the card and the matrices allow to do it
 * in one go: *done says whether. The source is of gate and up. */
int bc_gpu_gated(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product gate_up[2],
                 const bc_gpu_matrix *next, int n, int *done, bc_error *err);

/* One bc_prepare for matrix `like`: rotated and rounded, or plain where that is 1. */
int bc_gpu_prepare(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_matrix *like,
                   int plain, int n, bc_error *err);

#endif
