/* arena.h - one allocation on the card, handed out piece by piece. The same code first counts (device NULL), then
 * allocates nothing but copies: so what is predicted is what is taken. */
#ifndef BC_CUDA_ARENA_H
#define BC_CUDA_ARENA_H

#include "device.h"
#include "matrix.h"

typedef struct bc_arena {
    bc_device *device; /* NULL: count only */
    bc_ptr base;
    int64_t used;
    int tiled;      /* how planes are to lie */
    bc_ptr staging; /* room on the card for planes on their way */
    int status;     /* of the first copy that failed */
    bc_error *err;
} bc_arena;

/* Before the first matrix. */
void bc_arena_begin(bc_arena *a, const bc_device *device);
/* 256-byte aligned. */
bc_ptr bc_arena_take(bc_arena *a, int64_t bytes);
/* from NULL: 0 */
bc_ptr bc_arena_copy(bc_arena *a, const void *from, int64_t bytes);
/* `count` floats or int32 with zeros up to bc_gpu_width. */
bc_ptr bc_arena_vector(bc_arena *a, const void *from, int64_t count);
bc_ptr bc_arena_vectors(bc_arena *a, const void *from, int64_t rows, int64_t cols); /* each row */
/* Layers that are trained have rotations of their own: what they say is compared too. */
int bc_arena_same_rotation(const bc_rotation *a, const bc_rotation *b);
/* A vector for bc_rotation `r`, see placed.h. */
bc_ptr bc_arena_placed(bc_arena *a, const float *from, const bc_rotation *r, int signs);
/* A matrix, with its scales and bias and, the first time one is met, its rotation, which joins `rotations`. */
void bc_arena_matrix(bc_arena *a, bc_gpu_matrix *m, const bc_weight *w, bc_gpu_rotation *rotations,
                     int *n_rotations);

#endif
