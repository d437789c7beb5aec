/* matrix.h - how vectors, rotations and matrices lie on a card. */
#ifndef BC_CUDA_MATRIX_H
#define BC_CUDA_MATRIX_H

#include "device.h"
#include "kernels/params.h"

/* Floats from row to row of vectors of n. bc_gpu_slot moves elements about in units of so many. */
static inline int64_t bc_gpu_width(int64_t n)
{
    return (n + BC_GPU_VECTOR_PAD - 1) / BC_GPU_VECTOR_PAD * BC_GPU_VECTOR_PAD;
}

/* What the elements of a vector do before the Hadamard transform, as the kernels want it (params.h): order and places are 0 where
 * they do nothing. */
typedef struct bc_gpu_rotation {
    const bc_rotation *of;
    bc_ptr order;         /* [bc_gpu_width] where an element comes from, */
    bc_ptr places, homes; /* and where it goes to, in order or placed (placed.h) */
} bc_gpu_rotation;

/* A matrix on the card, rows padded (params.h). */
typedef struct bc_gpu_matrix {
    const bc_weight *of;
    bc_ptr data, scales, bias;
    int64_t plane_stride;
    int cols;
    const bc_gpu_rotation *rotation; /* NULL when dense */
} bc_gpu_matrix;

#endif
