/* products_test.c - matrices that share an input on a graphics card, started as forward.c starts them, against the CPU's
 * scalar kernels, bit for bit: random shapes, up to three matrices with planes of their own, with a norm before, added to
 * what is there, gate and up in one go, placed for the next rotation (to a millionth: a card has an exponential of its own).
 * A single token's vectors are placed, or not.
 *
 *   products_test COUNT [FIRST]    seeds FIRST (0) and on; the driver may be the emulated one */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cuda/linear.h" /* not the CPU's */
#include "arena.h"
#include "engine.h"
#include "placed.h"
#include "random_matrix.h"
#include "test_folder.h"

enum { MOST = 3, MOST_WEIGHTS = 1 << 20, BATCH = 33 };
static const float GATED_OFF = 1e-6f;

static bc_error err;

/* ---- what is tried ---- */

typedef struct shape {
    int cols, count, n; /* of matrices, tokens */
    int rows[MOST], planes[MOST];
    int gated, adds, normed;
    int placed; /* the vector, and what is added to, */
    int apart;  /* which is not where the sum goes */
    float size;
} shape;

static int below(int n) { return (int)((random_uniform() + 1.0f) * 0.5f * (float)n) % n; }

static int some_rows(int cols)
{
    const int rows = 1 + below(below(2) ? 60 : 1500);
    return rows < MOST_WEIGHTS / cols ? rows : MOST_WEIGHTS / cols;
}

static shape draw(void)
{
    static const int COLS[] = { 16,   64,   100,  128,  192,  256,   576,   768,  1000,
                                1024, 2048, 2560, 4096, 8192, 14336, 18944, 28672 };
    shape s = { .cols = below(2) ? COLS[below(17)] : 8 + below(300) };
    s.gated = below(3) == 0;
    s.count = s.gated ? 2 : 1 + below(MOST);
    s.adds = s.count == 1 && below(2);
    s.normed = below(2);
    s.n = below(6) ? 1 : 2 + below(BATCH);
    s.placed = s.n == 1 && below(4);
    s.apart = s.adds && below(2);
    s.size = below(12) ? 3.0f : (below(2) ? 0.0f : 1e-30f);
    for (int i = 0; i < s.count; i++) {
        s.rows[i] = s.gated && i ? s.rows[0] : some_rows(s.cols);
        s.planes[i] = s.gated && i ? s.planes[0] : 1 + below(BC_MAX_PLANES);
    }
    return s;
}

typedef struct trial {
    shape s;
    random_matrix m[MOST], next; /* whose rotation places the first one's rows */
    float *x, *norm, *before[MOST], *expected[MOST]; /* the last two [n, stride] */
    int stride[MOST];
} trial;

static void open_trial(bc_engine *engine, trial *t)
{
    const shape *s = &t->s;
    for (int i = 0; i < s->count; i++) {
        random_matrix_open(engine, &t->m[i], BC_WEIGHT_PLANES, s->rows[i], s->cols, s->planes[i]);
        t->stride[i] = (int)bc_gpu_width(s->rows[i]);
        t->before[i] = random_rows(s->n, t->stride[i], 1.0f);
        t->expected[i] = random_take((size_t)(s->n * t->stride[i]) * sizeof(float));
    }
    random_matrix_open(engine, &t->next, BC_WEIGHT_PLANES, 5, s->rows[0], 1);
    t->x = random_rows(s->n, s->cols, s->size);
    t->norm = random_rows(1, s->cols, 1.0f);
}

static void close_trial(trial *t)
{
    for (int i = 0; i < t->s.count; i++) {
        random_matrix_close(&t->m[i]);
        free(t->before[i]);
        free(t->expected[i]);
    }
    random_matrix_close(&t->next);
    free(t->x);
    free(t->norm);
}

/* ---- on the processor ---- */

/* silu(gate) * up of a token, placed for the next rotation. */
static void gate(const trial *t, float *gate, const float *up)
{
    const int rows = t->s.rows[0];
    float *product = random_take((size_t)rows * sizeof *product);
    for (int i = 0; i < rows; i++) product[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
    bc_place_vector(gate, product, &t->next.rotation, 1);
    free(product);
}

static void expect(bc_engine *engine, trial *t)
{
    const shape *s = &t->s;
    const size_t cols = (size_t)s->cols;
    bc_linear_space space;
    bc_product products[MOST];
    float *x = random_take((size_t)s->n * cols * sizeof *x);
    for (int i = 0; i < s->n; i++) {
        const size_t at = (size_t)i * cols;
        if (s->normed)
            engine->k.rmsnorm(x + at, t->x + at, t->norm, s->cols, 1e-5f);
        else
            memcpy(x + at, t->x + at, cols * sizeof *x);
    }
    for (int i = 0; i < s->count; i++)
        products[i] = (bc_product){ &t->m[i].w, t->expected[i], (size_t)t->stride[i] };
    CHECK(bc_linear_space_init(&space, engine, s->n, s->cols > 64 ? s->cols : 64, &err) == BC_OK);
    bc_linear_shared(&space, products, s->count, x, cols, s->n);
    bc_linear_space_free(&space);
    free(x);
    for (int i = 0; i < s->n && s->gated; i++)
        gate(t, t->expected[0] + i * t->stride[0], t->expected[1] + i * t->stride[1]);
    for (int i = 0; i < s->n * t->stride[0] && s->adds; i++) t->expected[0][i] += t->before[0][i];
    if (!s->adds || !s->placed || s->apart) return;
    float *sum = t->expected[0];
    t->expected[0] = random_take((size_t)t->stride[0] * sizeof *sum);
    bc_place_vector(t->expected[0], sum, &t->next.rotation, 0);
    free(sum);
}

/* ---- on the card ---- */

typedef struct on_card {
    bc_gpu_matrix m[MOST], next;
    bc_gpu_rotation rotations[2];
    bc_gpu_buffers b;
    bc_ptr memory, x, norm, before, y[MOST];
    int64_t bytes;
} on_card;

static void lay_out(bc_arena *a, on_card *c, const trial *t, const bc_device *d)
{
    const shape *s = &t->s;
    const int64_t width = bc_gpu_width(s->cols);
    int n_rotations = 0, rows = 0;
    bc_arena_begin(a, d);
    if (s->adds && s->placed)
        c->before = bc_arena_placed(a, t->before[0], &t->next.rotation, 0);
    else
        c->before = bc_arena_copy(a, t->before[0], (int64_t)s->n * t->stride[0] * 4);
    for (int i = 0; i < s->count; i++) {
        bc_arena_matrix(a, &c->m[i], &t->m[i].w, c->rotations, &n_rotations);
        c->y[i] = s->adds && !s->apart
                      ? c->before
                      : bc_arena_copy(a, t->before[i], (int64_t)s->n * t->stride[i] * 4);
        rows += (s->rows[i] + BC_GPU_TILE_ROWS - 1) / BC_GPU_TILE_ROWS * BC_GPU_TILE_ROWS;
    }
    bc_arena_matrix(a, &c->next, &t->next.w, c->rotations, &n_rotations);
    if (s->placed) {
        c->x = bc_arena_placed(a, t->x, &t->m[0].rotation, !s->normed);
        c->norm = bc_arena_placed(a, t->norm, &t->m[0].rotation, 1);
    } else {
        c->x = bc_arena_vectors(a, t->x, s->n, s->cols);
        c->norm = bc_arena_vector(a, t->norm, s->cols);
    }
    c->b.a_stride = (s->cols + BC_GPU_ACT_PAD - 1) / BC_GPU_ACT_PAD * BC_GPU_ACT_PAD;
    c->b.a = bc_arena_take(a, (int64_t)s->n * c->b.a_stride);
    c->b.scale = bc_arena_take(a, (int64_t)s->n * 4);
    c->b.sum = bc_arena_take(a, (int64_t)s->n * 4);
    c->b.work = bc_gpu_wide(d, width) ? bc_arena_take(a, s->n * width * 4) : 0;
    c->b.partial_stride = rows;
    c->b.partial_bytes = (int64_t)BC_JOIN_TOKENS * rows * 4;
    c->b.partial = bc_arena_take(a, c->b.partial_bytes);
    c->b.arrived_bytes = 2 * rows / BC_GPU_TILE_ROWS * 4;
    c->b.arrived = bc_arena_take(a, c->b.arrived_bytes);
}

static int put(bc_device *d, on_card *c, const trial *t)
{
    bc_arena a = { .status = BC_OK };
    lay_out(&a, c, t, d);
    c->bytes = a.used;
    int status = bc_device_alloc(d, &c->memory, c->bytes, &err);
    if (status != BC_OK) return status;
    a = (bc_arena){ .device = d, .base = c->memory, .status = BC_OK, .err = &err };
    lay_out(&a, c, t, d);
    status = a.status;
    if (status == BC_OK) status = bc_device_clear(d, c->b.partial, c->b.partial_bytes, &err);
    if (status == BC_OK) status = bc_device_clear(d, c->b.arrived, c->b.arrived_bytes, &err);
    return status;
}

/* *done: whether there is a result; gate and up may not go in one go. */
static int multiply(bc_device *d, const on_card *c, const trial *t, int *done)
{
    const shape *s = &t->s;
    const bc_gpu_space space = { d, &c->b, c->b.work ? 0 : (int)bc_gpu_width(s->cols) * 4 };
    const bc_prepare_args source = { .source = BC_FROM_X,
                                     .cols = s->cols,
                                     .x = c->x,
                                     .norm = s->normed ? c->norm : 0,
                                     .eps = 1e-5f,
                                     .placed = s->placed };
    bc_gpu_product products[MOST];
    const bc_ptr places = s->adds && s->placed ? c->next.rotation->homes : 0;
    for (int i = 0; i < s->count; i++)
        products[i] = (bc_gpu_product){ .matrix = &c->m[i],
                                        .y = c->y[i],
                                        .y_stride = t->stride[i],
                                        .before = s->adds ? c->before : 0,
                                        .places = places };
    *done = !s->adds || bc_gpu_adds(&space, &c->m[0], s->n);
    if (!*done) return BC_OK;
    if (s->gated) return bc_gpu_gated(&space, source, products, &c->next, s->n, done, &err);
    return bc_gpu_linear(&space, source, products, s->count, s->n, &err);
}

/* ---- both ---- */

static int differs(const trial *t, int i, const float *y)
{
    for (int token = 0; token < t->s.n; token++)
        for (int row = 0; row < t->s.rows[i]; row++) {
            const int at = token * t->stride[i] + row; /* placed ones are as many */
            const float expected = t->expected[i][at], off = fabsf(y[at] - expected);
            if (memcmp(&y[at], &expected, sizeof expected) == 0) continue;
            if (t->s.gated && off <= GATED_OFF * fabsf(expected)) continue;
            printf("matrix %d, row %d, token %d: %.9g instead of %.9g\n", i, row, token,
                   (double)y[at], (double)expected);
            return 1;
        }
    return 0;
}

/* 1: it could be done in the way that is tried. */
static int try(bc_engine *engine, bc_device *d, int seed)
{
    random_begin((uint64_t)seed * 7919 + 3);
    trial t = { .s = draw() };
    on_card c = { .memory = 0 };
    int done = 0;
    open_trial(engine, &t);
    expect(engine, &t);
    int status = put(d, &c, &t);
    if (status == BC_OK) status = multiply(d, &c, &t, &done);
    int wrong = status != BC_OK;
    for (int i = 0; i < (t.s.gated ? 1 : t.s.count) && done && !wrong; i++) {
        const size_t bytes = (size_t)(t.s.n * t.stride[i]) * sizeof(float);
        float *y = random_take(bytes);
        status = bc_device_download(d, y, c.y[i], (int64_t)bytes, &err);
        if (status == BC_OK) status = bc_device_wait(d, &err);
        wrong = status != BC_OK || differs(&t, i, y);
        free(y);
    }
    if (wrong)
        printf(
            "seed %d: %d columns, %d matrices (%d rows, %d planes), %d tokens, gated %d, added %d, "
            "placed %d: %s\n",
            seed, t.s.cols, t.s.count, t.s.rows[0], t.s.planes[0], t.s.n, t.s.gated, t.s.adds,
            t.s.placed, status == BC_OK ? "another result" : err.message);
    CHECK(!wrong);
    bc_device_release(d, c.memory, c.bytes);
    close_trial(&t);
    return done;
}

int main(int argc, char **argv)
{
    const int count = argc > 1 ? atoi(argv[1]) : 0, first = argc > 2 ? atoi(argv[2]) : 0;
    bc_engine *engine = NULL;
    bc_device *device = NULL;
    bc_engine_params params;
    if (count < 1) {
        fprintf(stderr, "usage: products_test COUNT [FIRST]\n");
        return 2;
    }
    bc_engine_params_init(&params);
    params.cpu_flags_mask = 0; /* the scalar kernels define */
    CHECK(bc_engine_open(&engine, &params, &err) == BC_OK);
    const int status = bc_device_open(&device, 0, &err);
    if (status != BC_OK) printf("%s\n", err.message);
    CHECK(status == BC_OK);
    int done = 0;
    for (int seed = first; seed < first + count && status == BC_OK; seed++)
        done += try(engine, device, seed);
    CHECK(3 * done > count); /* many can be done so on any card */
    bc_device_close(device);
    bc_engine_close(engine);
    return test_summary();
}
