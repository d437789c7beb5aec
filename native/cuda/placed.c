/* placed.c - see placed.h. */
#include "placed.h"

#include <string.h>

#include "matrix.h"

void bc_place_vector(float *to, const float *from, const bc_rotation *r, int signs)
{
    const int cols = r->cols;
    memset(to + cols, 0, (size_t)(bc_gpu_width(cols) - cols) * sizeof *to);
    for (int i = 0; i < cols; i++) {
        const float v = from[r->perm ? r->perm[i] : i];
        to[bc_gpu_home(i, cols)] = signs && r->flip && r->flip[i] ? -v : v;
    }
}
