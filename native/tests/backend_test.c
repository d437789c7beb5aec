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
#include "planes.h"
#include "platform.h"
#include "random.h"
#include "test_folder.h"

static bc_error err;
static uint64_t state = 1;

static float uniform(void) /* -1 .. 1 */
{
    state += BC_RANDOM_STEP;
    return (float)(bc_random_mix(state) >> 40) * 0x1p-23f - 1.0f;
}

static void *take(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p) exit(2);
    return p;
}

struct place {
    bc_engine *engine;
    const bc_backend *backend;
    bc_device *device;
};

/* ---- a random matrix ---- */

typedef struct matrix {
    bc_weight w;
    bc_rotation rotation;
    void *data;
} matrix;

static void fill_planes(const struct place *p, matrix *m)
{
    const int64_t rows = m->w.rows, cols = m->w.cols, groups = (rows + 4) / 5;
    const int q_max = BC_Q_MAX[m->w.n_planes];
    int8_t *q = take((size_t)(rows * cols));
    for (int64_t i = 0; i < rows * cols; i++) q[i] = (int8_t)lrintf(uniform() * (float)q_max);
    m->data = take((size_t)(m->w.n_planes * groups * cols));
    CHECK(bc_planes_pack(p->engine, q, m->w.n_planes, rows, cols, m->data, &err) == BC_OK);
    m->w.plane_stride = (size_t)(groups * cols);
    free(q);
}

static void open_matrix(const struct place *p, matrix *m, int kind, int rows, int cols, int form)
{
    *m = (matrix){ .w = { .kind = kind, .rows = rows, .cols = cols } };
    m->w.n_planes = kind == BC_WEIGHT_PLANES ? form : 0;
    m->w.dtype = kind == BC_WEIGHT_DENSE ? form : 0;
    if (kind == BC_WEIGHT_PLANES) {
        fill_planes(p, m);
    } else if (kind == BC_WEIGHT_INT8) {
        int8_t *codes = m->data = take((size_t)rows * (size_t)cols);
        for (int i = 0; i < rows * cols; i++) codes[i] = (int8_t)lrintf(uniform() * 127.0f);
    } else {
        uint8_t *bytes = m->data = take((size_t)rows * (size_t)cols * 4);
        for (int i = 0; i < rows * cols; i++) {
            const float f = uniform();
            uint32_t bits;
            memcpy(&bits, &f, sizeof bits);
            const uint16_t half = (uint16_t)(form == BC_BF16 ? bits >> 16 : 0x3c00 + (bits & 255));
            if (form == BC_F32)
                memcpy(bytes + 4 * i, &f, sizeof f);
            else
                memcpy(bytes + 2 * i, &half, sizeof half);
        }
    }
    m->w.data = m->data;
    m->w.bias = take((size_t)rows * sizeof(float));
    for (int i = 0; i < rows; i++) m->w.bias[i] = uniform();
    if (kind == BC_WEIGHT_DENSE) return;
    m->w.scales = take((size_t)rows * sizeof(float));
    for (int i = 0; i < rows; i++) m->w.scales[i] = uniform() * 0.01f;
    CHECK(bc_rotation_init(&m->rotation, cols, 7, &err) == BC_OK);
    m->w.rotation = &m->rotation;
}

static void close_matrix(matrix *m)
{
    free(m->data);
    free(m->w.scales);
    free(m->w.bias);
    bc_rotation_free(&m->rotation);
}

/* ---- the operations ---- */

static float *random_rows(int n, int cols)
{
    float *x = take((size_t)n * (size_t)cols * sizeof *x);
    for (int i = 0; i < n * cols; i++) x[i] = uniform() * 3.0f;
    return x;
}

static void check_product(const struct place *p, const matrix *m, int form, int n)
{
    const int kind = m->w.kind, rows = (int)m->w.rows, cols = (int)m->w.cols;
    float *x = random_rows(n, cols), *expected = take((size_t)n * (size_t)rows * sizeof(float));
    float *y = take((size_t)n * (size_t)rows * sizeof(float));
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
    matrix m;
    open_matrix(p, &m, kind, rows, cols, form);
    check_product(p, &m, form, n);
    close_matrix(&m);
}

/* The first rows of a matrix, as device_check.c has them. */
static void check_first_rows(const struct place *p, int kind, int rows, int form, int n)
{
    matrix m;
    open_matrix(p, &m, kind, 83, 200, form);
    m.w.rows = rows;
    check_product(p, &m, form, n);
    close_matrix(&m);
}

static void check_prepare(const struct place *p, int cols, int n, float size)
{
    matrix m;
    open_matrix(p, &m, BC_WEIGHT_PLANES, 5, cols, 1);
    const bc_kernels *k = &p->engine->k;
    const size_t stride = ((size_t)cols + 127) / 128 * 128;
    float *x = random_rows(n, cols), *norm = random_rows(1, cols), *scale = take((size_t)n * 4);
    float *h = take((size_t)cols * 4), *rotated = take((size_t)cols * 4);
    int8_t *a = take((size_t)n * stride), *expected = take(stride);
    int32_t *sum = take((size_t)n * 4);
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
    close_matrix(&m);
}

static void check_operations(const struct place *p)
{
    static const int COLS[] = { 16, 24, 64, 100, 128, 192, 576, 1000, 2560 };
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
