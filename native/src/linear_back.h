/* linear_back.h - dx = sum of W' dy over the matrices of one input. */
#ifndef BC_LINEAR_BACK_H
#define BC_LINEAR_BACK_H

#include "linear.h"

/* Gradients on their way through planes and int8 matrices, a few blocks of rows at a time. */
typedef struct bc_back_space {
    uint8_t *panels; /* [threads, BC_BACK_PANEL_BYTES] */
    uint8_t *codes;  /* [BC_BACK_BLOCKS, n_batch, BC_BACK_CODES] */
    float *step;     /* [BC_BACK_BLOCKS, n_batch] */
    int32_t *sum;    /* the same */
    int n_batch;
    int coarse; /* gradients are rounded to BC_BACK_COARSE steps each way instead of BC_BACK_MAX */
} bc_back_space;

enum { BC_BACK_BLOCKS = 16 };

/* BC_ERR_NOMEM leaves it empty. */
int bc_back_space_init(bc_back_space *s, bc_engine *engine, int n_batch, bc_error *err);
void bc_back_space_free(bc_back_space *s);

typedef struct bc_back_product {
    const bc_weight *weight;
    const float *dy; /* f32 [n, weight->rows], dy_stride floats apart */
    size_t dy_stride;
    const float *
        fine_above; /* [n]: of a token the size of numbers that make a block of rows fine, the other blocks are
                              * dithered; NULL: as the work space says */
} bc_back_product;

/* dx f32 [n, cols] = sum of W' dy over `count` (<= 3) matrices of one input, with what is added to them; n <= n_batch of
 * both spaces. `rotated` f32 [n, cols] is work space. */
typedef struct bc_back_job {
    const bc_back_product *products;
    int count, n;
    float *rotated, *dx;
    bc_token_step make; /* makes a token's dy; run NULL: it is there */
    bc_token_step take; /* takes a token's dx, at once */
} bc_back_job;

/* The rounding of the inputs of planes and int8 matrices is passed straight through: their dx is R' Q' (scales * dy),
 * where scales * dy of a token and a block of BC_BACK_ROWS rows is rounded as back->coarse says. Cancelled by s->cancel,
 * like bc_linear. dx NULL: what there is remains in `rotated` and every token wants bc_linear_back_token; only where
 * bc_back_in_integers of the one matrix. */
void bc_linear_back(bc_linear_space *s, bc_back_space *back, const bc_back_job *job);
int bc_back_in_integers(const bc_weight *w);
void bc_linear_back_token(const bc_linear_space *s, const bc_weight *w, float *rotated, float *dx,
                          int64_t t);

#endif
