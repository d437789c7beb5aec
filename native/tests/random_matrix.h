/* random_matrix.h - random matrices and vectors for the tests of backends. */
#ifndef BC_TEST_RANDOM_MATRIX_H
#define BC_TEST_RANDOM_MATRIX_H

#include "engine.h"
#include "linear.h"

typedef struct random_matrix {
    bc_weight w;
    bc_rotation rotation;
    void *data;
} random_matrix;

void random_begin(uint64_t seed);
float random_uniform(void);                      /* -1 .. 1 */
void *random_take(size_t bytes);                 /* zeros; ends the program without memory */
float *random_rows(int n, int cols, float size); /* [n, cols], -size .. size */

/* With scales, bias and rotation; `form`: planes, or the type of a dense one. */
void random_matrix_open(bc_engine *engine, random_matrix *m, int kind, int rows, int cols,
                        int form);
void random_matrix_close(random_matrix *m);

#endif
