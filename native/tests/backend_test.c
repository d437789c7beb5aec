/* backend_test.c - a backend's single operations against the CPU's scalar kernels, on random matrices.
 *
 *   backend_test LIBRARY    LIBRARY is libbitconverter_cuda; its driver may be the emulated one
 *
 * Everything up to a matrix's integers is exact, and so is their scaling: outputs of planes and int8 are equal bit for
 * bit. Dense matrices are summed in another order: within 1e-5 of the sum of the products' sizes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "engine.h"
#include "linear.h"
#include "platform.h"
#include "random_matrix.h"
#include "test_folder.h"

static bc_error err;

struct place {
    bc_engine *engine;
    const bc_backend *backend;
    bc_device *device;
};

/* ---- the operations ---- */

static void check_product(const struct place *p, const random_matrix *m, int form, int n)
{
    const int kind = m->w.kind, rows = (int)m->w.rows, cols = (int)m->w.cols;
    float *x = random_rows(n, cols, 3.0f),
          *expected = random_take((size_t)n * (size_t)rows * sizeof(float));
    float *y = random_take((size_t)n * (size_t)rows * sizeof(float));
    bc_linear_space space;
    CHECK(bc_linear_space_init(&space, p->engine, n, cols > 64 ? cols : 64, &err) == BC_OK);
    const bc_product product = { &m->w, expected, (size_t)rows };
    bc_linear_shared(&space, &product, 1, x, (size_t)cols, n);
    const int status = p->backend->op_linear(p->device, &m->w, x, n, y, &err);
    int wrong = status != BC_OK;
    for (int i = 0; i < n * rows && !wrong; i++)
        wrong = kind == BC_WEIGHT_DENSE ? !(fabsf(y[i] - expected[i]) <= 1e-5f * 3.0f * (float)cols)
                                        : memcmp(&y[i], &expected[i], sizeof *y) != 0;
    if (wrong)
        printf("linear of kind %d, %d x %d, form %d, %d tokens: %s\n", kind, rows, cols, form, n,
               status == BC_OK ? "another result" : err.message);
    CHECK(!wrong);
    bc_linear_space_free(&space);
    free(x);
    free(y);
    free(expected);
}

static void check_linear(const struct place *p, int kind, int rows, int cols, int form, int n)
{
    random_matrix m;
    random_matrix_open(p->engine, &m, kind, rows, cols, form);
    check_product(p, &m, form, n);
    random_matrix_close(&m);
}

/* The first rows of a matrix, as device_check.c has them. */
static void check_first_rows(const struct place *p, int kind, int rows, int form, int n)
{
    random_matrix m;
    random_matrix_open(p->engine, &m, kind, 83, 200, form);
    m.w.rows = rows;
    check_product(p, &m, form, n);
    random_matrix_close(&m);
}

static void check_prepare(const struct place *p, int cols, int n, float size)
{
    random_matrix m;
    random_matrix_open(p->engine, &m, BC_WEIGHT_PLANES, 5, cols, 1);
    const bc_kernels *k = &p->engine->k;
    const size_t stride = ((size_t)cols + 127) / 128 * 128;
    float *x = random_rows(n, cols, 3.0f), *norm = random_rows(1, cols, 3.0f),
          *scale = random_take((size_t)n * 4);
    float *h = random_take((size_t)cols * 4), *rotated = random_take((size_t)cols * 4);
    int8_t *a = random_take((size_t)n * stride), *expected = random_take(stride);
    int32_t *sum = random_take((size_t)n * 4);
    for (int i = 0; i < n * cols; i++) x[i] *= size;
    x[0] = size * 200.0f;
    CHECK(p->backend->op_prepare(p->device, &m.w, x, norm, 1e-5f, n, a, scale, sum, &err) == BC_OK);
    int wrong = 0;
    for (int t = 0; t < n; t++) {
        float expected_scale;
        k->rmsnorm(h, x + t * cols, norm, cols, 1e-5f);
        bc_rotation_apply(&m.rotation, k, rotated, h);
        memset(expected, 0, stride);
        const int32_t expected_sum = k->quantize_i8(expected, &expected_scale, rotated, cols);
        wrong |= memcmp(a + (size_t)t * stride, expected, stride) != 0;
        wrong |= memcmp(&scale[t], &expected_scale, sizeof expected_scale) != 0;
        wrong |= sum[t] != expected_sum;
    }
    if (wrong) printf("prepare of %d columns, %d tokens, size %g\n", cols, n, (double)size);
    CHECK(!wrong);
    free(x);
    free(norm);
    free(scale);
    free(h);
    free(rotated);
    free(a);
    free(expected);
    free(sum);
    random_matrix_close(&m);
}

static void check_operations(const struct place *p)
{
    static const int COLS[] = { 16, 24, 64, 100, 128, 192, 256, 576, 1000, 1024, 2560 };
    static const int TOKENS[] = { 1, 2, 8, 9, 31, 33, 65, 130 };
    for (size_t i = 0; i < sizeof COLS / sizeof *COLS; i++) {
        check_prepare(p, COLS[i], 3, 1.0f);
        for (int planes = 1; planes <= 4; planes++)
            check_linear(p, BC_WEIGHT_PLANES, 83, COLS[i], planes, planes % 2 ? 1 : 3);
        check_linear(p, BC_WEIGHT_INT8, 81, COLS[i], 0, 1);
        check_linear(p, BC_WEIGHT_INT8, 7, COLS[i], 0, 5);
    }
    for (int n = 1; n < 50; n += 16) {
        check_first_rows(p, BC_WEIGHT_PLANES, 31, 3, n);
        check_first_rows(p, BC_WEIGHT_INT8, 31, 0, n);
        check_first_rows(p, BC_WEIGHT_DENSE, 31, BC_F16, n);
    }
    check_linear(p, BC_WEIGHT_PLANES, 83, 4160, 2, 1); /* columns in parts */
    check_linear(p, BC_WEIGHT_PLANES, 83, 4160, 3, 3);
    check_linear(p, BC_WEIGHT_PLANES, 701, 64, 2, 1); /* several tiles for each block */
    check_linear(p, BC_WEIGHT_PLANES, 701, 64, 3, 6);
    check_linear(p, BC_WEIGHT_PLANES, 701, 128, 2, 20);
    check_linear(p, BC_WEIGHT_PLANES, 20, 4160, 2, 40);
    check_linear(p, BC_WEIGHT_PLANES, 403, 14336, 2, 1);  /* planes come in parts */
    check_linear(p, BC_WEIGHT_PLANES, 1999, 1026, 3, 20); /* several tiles of many tokens */
    check_linear(p, BC_WEIGHT_PLANES, 83, 8000, 2, 1);    /* prepared beside the ring */
    check_linear(p, BC_WEIGHT_PLANES, 83, 20000, 2, 1);   /* too wide for that, and for a turn */
    check_linear(p, BC_WEIGHT_DENSE, 21, 20000, BC_F32, 1);
    /* wider than the shared memory of older cards, and than one turn of a block's threads */
    check_prepare(p, 14336, 2, 1.0f);
    check_prepare(p, 28672, 1, 1.0f);
    check_linear(p, BC_WEIGHT_PLANES, 11, 14336, 2, 5);
    check_prepare(p, 192, 2, 1e-30f);
    check_prepare(p, 192, 2, 0.0f);
    for (size_t i = 0; i < sizeof TOKENS / sizeof *TOKENS; i++) {
        check_linear(p, BC_WEIGHT_PLANES, 170, 320, 2, TOKENS[i]);
        check_linear(p, BC_WEIGHT_INT8, 100, 200, 0, TOKENS[i]);
        for (int dtype = BC_F32; dtype <= BC_BF16; dtype++)
            check_linear(p, BC_WEIGHT_DENSE, 21, 96, dtype, TOKENS[i]);
    }
}

static int open_place(struct place *p, const char *path)
{
    bc_engine_params params;
    int32_t n = 0;
    bc_engine_params_init(&params);
    params.cpu_flags_mask = 0; /* the scalar kernels define */
    CHECK(bc_engine_open(&p->engine, &params, &err) == BC_OK);
    void *library = bc_library_open(path);
    bc_backend_table_fn table = NULL;
    if (library) *(void **)(void *)&table = bc_library_symbol(library, BC_BACKEND_SYMBOL);
    p->backend = table ? table() : NULL;
    int status = p->backend ? p->backend->count(&n, &err) : BC_ERR_IO;
    if (status == BC_OK) status = p->backend->open(&p->device, 0, &err);
    if (status != BC_OK) printf("%s: %s\n", path, p->backend ? err.message : "no table");
    CHECK(status == BC_OK);
    return status;
}

int main(int argc, char **argv)
{
    struct place p = { NULL, NULL, NULL };
    if (argc != 2) {
        fprintf(stderr, "usage: backend_test LIBRARY\n");
        return 2;
    }
    if (open_place(&p, argv[1]) == BC_OK) {
        bc_device_memory memory;
        check_operations(&p);
        CHECK(p.backend->memory(p.device, &memory, &err) == BC_OK);
        CHECK(memory.used_bytes == 0 && memory.peak_bytes > 0);
        p.backend->close(p.device);
    }
    bc_engine_close(p.engine);
    return test_summary();
}
