/* weights.h - finding the tensors of a model and checking them; between model.c and weights.c. */
#ifndef BC_WEIGHTS_H
#define BC_WEIGHTS_H

#include "bitconverter.h"
#include "model.h"

/* A model being opened. Tensor names below are given as prefix and part, put together. */
typedef struct bc_loader {
    bc_model *m;
    bc_error *err;
} bc_loader;

int bc_load_no_memory(const bc_loader *l); /* fails */

/* A vector of n finite floats, copied to *out; the tensor must be there. */
int bc_load_vector(const bc_loader *l, const char *prefix, const char *part, int64_t n,
                   float **out);

/* Refuses a model that has this tensor, unless it holds only zeros. */
int bc_refuse_vector(const bc_loader *l, const char *prefix, const char *part);

/* Fills w from whichever form of the matrix `prefix` is stored (docs/FORMAT.md 1.2), without its
 * bias; *bytes is the size of what was found. */
int bc_load_matrix(const bc_loader *l, bc_weight *w, const char *prefix, int64_t rows, int64_t cols,
                   int64_t *bytes);

#endif
