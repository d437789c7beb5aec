/* rotation.c - docs/FORMAT.md 1.3. */
#include "rotation.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "random.h"

enum { MAX_COLS = 1 << 20 };

int bc_rotation_init(bc_rotation *r, int64_t cols, uint64_t seed, bc_error *err)
{
    *r = (bc_rotation){ 0 };
    if (cols < 1 || cols > MAX_COLS)
        return bc_fail(err, BC_ERR_INVALID, "a rotation of %lld columns: must be 1 to %d",
                       (long long)cols, MAX_COLS);
    const int n = (int)cols;
    r->cols = n;
    r->block = n & -n;
    r->seed = seed;
    const size_t count = (size_t)n;
    r->sign = malloc(count * sizeof *r->sign);
    r->flip = malloc(count * sizeof *r->flip);
    if (r->block != n) {
        r->perm = malloc(count * sizeof *r->perm);
        r->back_perm = malloc(count * sizeof *r->back_perm);
        r->back_flip = malloc(count * sizeof *r->back_flip);
    }
    if (!r->sign || !r->flip || (r->block != n && (!r->perm || !r->back_perm || !r->back_flip))) {
        bc_rotation_free(r);
        return bc_fail(err, BC_ERR_NOMEM, "no memory for a rotation of %d columns", n);
    }
    const uint64_t z = bc_random_mix(seed * BC_RANDOM_STEP + (uint64_t)n);
    uint64_t j = 0;
    for (int i = 0; i < n; i++) {
        r->flip[i] = (uint32_t)(bc_random_mix(z + ++j * BC_RANDOM_STEP) >> 63) << 31;
        r->sign[i] = r->flip[i] ? -1.0f : 1.0f;
    }
    if (!r->perm) return BC_OK;
    for (int i = 0; i < n; i++) r->perm[i] = i;
    for (int i = n - 1; i > 0; i--) {
        const uint64_t u = bc_random_mix(z + ++j * BC_RANDOM_STEP);
        const int k = (int)(((u >> 32) * (uint64_t)(i + 1)) >> 32);
        const int32_t swap = r->perm[i];
        r->perm[i] = r->perm[k];
        r->perm[k] = swap;
    }
    for (int i = 0; i < n; i++) {
        r->back_perm[r->perm[i]] = i;
        r->back_flip[r->perm[i]] = r->flip[i];
    }
    return BC_OK;
}

bc_rotation bc_rotation_none(int64_t cols)
{
    return (bc_rotation){ .cols = (int)cols, .block = 1 };
}

int bc_rotation_same(const bc_rotation *a, const bc_rotation *b)
{
    return a->cols == b->cols && (a->sign == NULL) == (b->sign == NULL) && a->seed == b->seed;
}

void bc_rotation_free(bc_rotation *r)
{
    free(r->perm);
    free(r->sign);
    free(r->flip);
    free(r->back_perm);
    free(r->back_flip);
    *r = (bc_rotation){ 0 };
}

/* Two words as one, the first of them in its low half on a little-endian machine. */
static uint64_t two_of(const void *from)
{
    uint64_t two;
    memcpy(&two, from, sizeof two);
    return two;
}

/* The words of x at the two places, side by side as in memory: whichever half is the first, both stay where they are. */
static uint64_t gather_two(const float *x, uint64_t places)
{
    uint32_t low, high;
    memcpy(&low, x + (uint32_t)places, sizeof low);
    memcpy(&high, x + (places >> 32), sizeof high);
    return low | (uint64_t)high << 32;
}

/* y[i] = x[from[i]], the sign bit flipped by flip[i]: a product with +-1. Two at a time through integer registers take
 * half the time of one at a time, and less than the processor's own gathering (Zen 4, docs/SPEED.md). y and x do not
 * overlap: said so that several are on their way at a time. */
static void gather(float *restrict y, const float *restrict x, const uint32_t *restrict flip,
                   const int32_t *restrict from, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint64_t a = gather_two(x, two_of(from + i)) ^ two_of(flip + i);
        const uint64_t b = gather_two(x, two_of(from + i + 2)) ^ two_of(flip + i + 2);
        memcpy(y + i, &a, sizeof a);
        memcpy(y + i + 2, &b, sizeof b);
    }
    for (; i < n; i++) y[i] = flip[i] ? -x[from[i]] : x[from[i]];
}

void bc_rotation_apply(const bc_rotation *r, const bc_kernels *k, float *y, const float *x)
{
    if (!r->sign) {
        memcpy(y, x, (size_t)r->cols * sizeof *y);
        return;
    }
    if (r->perm)
        gather(y, x, r->flip, r->perm, r->cols);
    else
        for (int i = 0; i < r->cols; i++) y[i] = r->sign[i] * x[i];
    k->hadamard(y, r->cols, r->block);
}

void bc_rotation_undo(const bc_rotation *r, const bc_kernels *k, float *x, float *y)
{
    if (!r->sign) {
        memcpy(x, y, (size_t)r->cols * sizeof *x);
        return;
    }
    k->hadamard(y, r->cols, r->block); /* its own inverse */
    if (r->perm)
        gather(x, y, r->back_flip, r->back_perm, r->cols);
    else
        for (int i = 0; i < r->cols; i++) x[i] = r->sign[i] * y[i];
}

struct rotate_work {
    const bc_rotation *rotation;
    const bc_kernels *k;
    float *x, *scratch;
    int inverse;
};

static void rotate_row(void *arg, int64_t row, int thread)
{
    const struct rotate_work *w = arg;
    const int n = w->rotation->cols;
    float *x = w->x + row * n, *t = w->scratch + (int64_t)thread * n;
    for (int i = 0; i < n; i++) t[i] = x[i];
    if (w->inverse)
        bc_rotation_undo(w->rotation, w->k, x, t);
    else
        bc_rotation_apply(w->rotation, w->k, x, t);
}

int bc_rotate(bc_engine *engine, float *x, int64_t rows, int64_t cols, uint64_t seed,
              int32_t inverse, bc_error *err)
{
    if (!engine || !x) return bc_fail(err, BC_ERR_INVALID, "engine or x is NULL");
    if (rows < 0) return bc_fail(err, BC_ERR_INVALID, "rows is %lld", (long long)rows);
    bc_rotation r;
    const int status = bc_rotation_init(&r, cols, seed, err);
    if (status != BC_OK) return status;
    const size_t threads = (size_t)bc_pool_size(engine->pool);
    float *scratch = malloc(threads * (size_t)cols * sizeof *scratch);
    if (!scratch) {
        bc_rotation_free(&r);
        return bc_fail(err, BC_ERR_NOMEM, "no memory to rotate rows of %lld", (long long)cols);
    }
    struct rotate_work work = { &r, &engine->k, x, scratch, inverse };
    bc_pool_run(engine->pool, rotate_row, &work, rows);
    free(scratch);
    bc_rotation_free(&r);
    return BC_OK;
}
