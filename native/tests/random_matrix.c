/* random_matrix.c - see random_matrix.h. */
#include "random_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "planes.h"
#include "random.h"
#include "test_folder.h"

static bc_error err;
static uint64_t state = 1;

void random_begin(uint64_t seed) { state = seed; }

float random_uniform(void)
{
    state += BC_RANDOM_STEP;
    return (float)(bc_random_mix(state) >> 40) * 0x1p-23f - 1.0f;
}

void *random_take(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p) exit(2);
    return p;
}

float *random_rows(int n, int cols, float size)
{
    float *x = random_take((size_t)n * (size_t)cols * sizeof *x);
    for (int i = 0; i < n * cols; i++) x[i] = random_uniform() * size;
    return x;
}

static void fill_planes(bc_engine *engine, random_matrix *m)
{
    const int64_t rows = m->w.rows, cols = m->w.cols, groups = (rows + 4) / 5;
    const int q_max = BC_Q_MAX[m->w.n_planes];
    int8_t *q = random_take((size_t)(rows * cols));
    for (int64_t i = 0; i < rows * cols; i++)
        q[i] = (int8_t)lrintf(random_uniform() * (float)q_max);
    m->data = random_take((size_t)(m->w.n_planes * groups * cols));
    CHECK(bc_planes_pack(engine, q, m->w.n_planes, rows, cols, m->data, &err) == BC_OK);
    m->w.plane_stride = (size_t)(groups * cols);
    free(q);
}

void random_matrix_open(bc_engine *engine, random_matrix *m, int kind, int rows, int cols, int form)
{
    *m = (random_matrix){ .w = { .kind = kind, .rows = rows, .cols = cols } };
    m->w.n_planes = kind == BC_WEIGHT_PLANES ? form : 0;
    m->w.dtype = kind == BC_WEIGHT_DENSE ? form : 0;
    if (kind == BC_WEIGHT_PLANES) {
        fill_planes(engine, m);
    } else if (kind == BC_WEIGHT_INT8) {
        int8_t *codes = m->data = random_take((size_t)rows * (size_t)cols);
        for (int i = 0; i < rows * cols; i++) codes[i] = (int8_t)lrintf(random_uniform() * 127.0f);
    } else {
        uint8_t *bytes = m->data = random_take((size_t)rows * (size_t)cols * 4);
        for (int i = 0; i < rows * cols; i++) {
            const float f = random_uniform();
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
    m->w.bias = random_take((size_t)rows * sizeof(float));
    for (int i = 0; i < rows; i++) m->w.bias[i] = random_uniform();
    if (kind == BC_WEIGHT_DENSE) return;
    m->w.scales = random_take((size_t)rows * sizeof(float));
    for (int i = 0; i < rows; i++) m->w.scales[i] = random_uniform() * 0.01f;
    CHECK(bc_rotation_init(&m->rotation, cols, 7, &err) == BC_OK);
    m->w.rotation = &m->rotation;
}

void random_matrix_close(random_matrix *m)
{
    free(m->data);
    free(m->w.scales);
    free(m->w.bias);
    bc_rotation_free(&m->rotation);
}
