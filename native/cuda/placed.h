/* placed.h - a single token's vectors lie on the card in the order of the rotation that they are for, as bc_gpu_home of params.h
 * says: who writes an element puts it where the next matrix's product looks for it, and nobody has to move it. */
#ifndef BC_CUDA_PLACED_H
#define BC_CUDA_PLACED_H

#include "rotation.h"

/* to f32 [bc_gpu_width(cols)]: f32 `from` [cols] in the order of `r`, with its signs if `signs`, and zeros behind. */
void bc_place_vector(float *to, const float *from, const bc_rotation *r, int signs);

#endif
