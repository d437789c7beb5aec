/* linear.h - y = W x for one token or a batch, whatever W is stored as. */
#ifndef BC_LINEAR_H
#define BC_LINEAR_H

#include "engine.h"
#include "model.h"
#include "product.h"

/* Tokens of a batch that share each decoded tile of a matrix, and columns that a space has room for at least. */
enum { BC_DEFAULT_BATCH = 256, BC_LEAST_WIDTH = 64 };

/* Rotated int8 activations of a batch: what planes and int8 matrices multiply. */
typedef struct bc_activations {
    int8_t *a;      /* [n_batch, stride], zero-padded */
    float *scale;   /* [n_batch] */
    int32_t *sum;   /* [n_batch] */
    float *scratch; /* f32 [threads, stride]: rotated rows on their way */
    size_t stride;  /* of the widest input, a multiple of BC_ACT_PAD */
    int cols;       /* of what it holds now */
} bc_activations;

/* The buffers that linear maps work in; one call at a time. */
typedef struct bc_linear_space {
    bc_engine *engine;
    int n_batch;     /* tokens at most */
    uint8_t *panels; /* [threads, panel_bytes]: one decoded tile of a matrix */
    size_t panel_bytes;
    int32_t *tiles; /* [threads, n_batch * BC_PANEL_ROWS]: its products */
    bc_activations act;
    int64_t bytes;
    const int32_t *replica;  /* [n] of the batch's tokens, in order: which of the weights' replicas
                              * each belongs to; NULL: there are none */
    const bc_cancel *cancel; /* when requested, results are incomplete */
} bc_linear_space;

/* For inputs of at most `widest` columns. BC_ERR_NOMEM leaves it empty. */
int bc_linear_space_init(bc_linear_space *s, bc_engine *engine, int n_batch, int64_t widest,
                         bc_error *err);
void bc_linear_space_free(bc_linear_space *s);

/* Rotates and rounds x f32 [n, cols] (x_stride floats apart) once for all matrices with that
 * input. Dense matrices need no such thing and are given x itself. */
void bc_activations_prepare(bc_linear_space *s, const bc_weight *like, const float *x,
                            size_t x_stride, int n);

/* What makes the input of one token (an item of bc_pool_run), right before it is rotated: it is then still in the cache.
 * run NULL: it is there already. */
typedef struct bc_token_step {
    bc_pool_fn run;
    void *arg;
} bc_token_step;

/* y = W x + bias, and what is added to W, for `count` (<= 3) matrices that share the input x f32 [n, cols], already prepared
 * where a matrix is planes or int8. */
void bc_linear(bc_linear_space *s, const bc_product *products, int count, const float *x,
               size_t x_stride, int n);

/* The same with the preparing: once for each run of matrices whose inputs are rotated alike. */
void bc_linear_shared(bc_linear_space *s, const bc_product *products, int count, const float *x,
                      size_t x_stride, int n);
void bc_linear_made(bc_linear_space *s, const bc_product *products, int count, const float *x,
                    size_t x_stride, int n, bc_token_step make);

/* Row `row` of a matrix as f32 [cols], in the unrotated basis (embedding look-up); scratch f32
 * [cols]. */
void bc_weight_row(const bc_weight *w, const bc_kernels *k, int64_t row, float *out,
                   float *scratch);

#endif
