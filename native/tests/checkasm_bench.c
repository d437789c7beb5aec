/* checkasm_bench.c - times the kernels on one thread: the best of some samples.
 *
 * "memory": a matrix larger than the caches, as decoding reads it; "cache": 512 kB of it. GB/s
 * count packed bytes. The others work on what a layer keeps in the cache; GOP/s count a multiply
 * and an add as two. "read" only reads: what the memory gives one core. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkasm.h"

#define MEMORY_BYTES ((size_t)96 << 20)
#define CACHE_BYTES ((size_t)512 << 10)
#define SAMPLES 8
#define SAMPLE_SECONDS 0.01

typedef struct work {
    const bc_kernels *k;
    uint8_t *memory; /* MEMORY_BYTES of random weights */
    uint8_t *panel;
    int8_t *a;
    float *x, *y, *z, *dense_panel, *weights; /* weights: 0..1 */
    int32_t *sums, *out;
    int cols, n_planes, tokens, dtype, heads;
    size_t bytes; /* read or written by one run */
    double ops;   /* of one run */
} work;

#define MAX_COLS 14336
#define MAX_TOKENS 512

/* Processor time where the system counts it, so that other programs disturb little. */
static double seconds_of(work *w, void (*run)(work *), int times)
{
    clock_t start = clock();
    for (int i = 0; i < times; i++) run(w);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

/* One line of the table. Each sample runs long enough for a coarse clock. */
static void report(work *w, const char *name, const char *shape, void (*run)(work *))
{
    int batch = 1;
    double sample, best;
    run(w);
    while ((sample = seconds_of(w, run, batch)) < SAMPLE_SECONDS) batch *= 2;
    best = sample / batch;
    for (int i = 1; i < SAMPLES; i++) best = fmin(best, seconds_of(w, run, batch) / batch);
    printf("%-12s %-14s %-24s %11.0f ns", w->k->isa, name, shape, best * 1e9);
    if (w->bytes) printf(" %7.2f GB/s", (double)w->bytes / best * 1e-9);
    if (w->ops > 0) printf(" %7.1f GOP/s", w->ops / best * 1e-9);
    printf("\n");
}

static void run_read(work *w)
{
    uint64_t sum[8] = { 0 };
    for (size_t i = 0; i + sizeof sum <= w->bytes; i += sizeof sum) {
        uint64_t v[8];
        memcpy(v, w->memory + i, sizeof v);
        for (int j = 0; j < 8; j++) sum[j] ^= v[j];
    }
    for (int j = 0; j < 8; j++) w->out[j] = (int32_t)sum[j];
}

static void run_gemv_planes(work *w)
{
    int groups = (int)(w->bytes / (size_t)w->cols) / w->n_planes;
    w->k->gemv_planes(w->out, w->memory, (size_t)groups * (size_t)w->cols, w->n_planes, groups,
                      w->cols, w->a, 1);
}

static void run_gemv_i8(work *w)
{
    w->k->gemv_i8(w->out, (int8_t *)w->memory, (int)(w->bytes / (size_t)w->cols), w->cols, w->a, 1);
}

static void run_gemv_dense(work *w)
{
    int size = w->dtype == BC_F32 ? 4 : 2;
    w->k->gemv_dense((float *)w->out, w->memory, w->dtype, (int)(w->bytes / (size_t)w->cols) / size,
                     w->cols, w->x);
}

static void run_panel_planes(work *w)
{
    w->k->panel_planes(w->panel, w->memory, (size_t)16 * (size_t)w->cols, w->n_planes, 16, w->cols);
}

static void run_gemm_planes(work *w)
{
    w->k->gemm_planes(w->out, w->panel, w->n_planes, w->cols, w->a, MAX_COLS, w->sums, w->tokens);
}

static void run_gemm_i8(work *w)
{
    w->k->gemm_i8(w->out, w->panel, w->cols, w->a, MAX_COLS, w->sums, w->tokens);
}

static void run_panel_dense(work *w)
{
    w->k->panel_dense(w->dense_panel, w->memory, BC_BF16, 32, w->cols);
}

static void run_gemm_dense(work *w)
{
    w->k->gemm_dense((float *)w->out, BC_DENSE_ROWS, w->dense_panel, BC_DENSE_ROWS, w->cols, w->x,
                     MAX_COLS, w->tokens, 0);
}

static void run_quantize(work *w)
{
    float scale;
    w->sums[0] += 0 * w->k->quantize_i8(w->a, &scale, w->x, w->cols);
}

static void run_hadamard(work *w) { w->k->hadamard(w->y, w->cols, w->cols & -w->cols); }

static void run_rmsnorm(work *w) { w->k->rmsnorm(w->y, w->x, w->z, w->cols, 1e-5f); }

static void run_swiglu(work *w) { w->k->swiglu(w->y, w->x, w->z, w->cols); }

static void run_softmax(work *w) { w->k->softmax(w->z, w->cols); }

/* All logits of a token of Llama 3. */
static void run_peaks(work *w)
{
    w->sums[0] += 0 * w->k->peaks(w->y, (const float *)w->memory, w->cols);
}

static void run_scores(work *w)
{
    w->k->attn_scores[w->dtype](w->dense_panel, BC_KV_BLOCK, w->x, w->heads, w->memory, w->weights,
                                w->tokens, w->cols, 0.125f);
}

static void run_mix(work *w)
{
    w->k->attn_mix[w->dtype](w->y, w->weights, BC_KV_BLOCK, w->heads, w->memory, w->weights,
                             w->tokens, w->cols);
}

static void run_moments(work *w)
{
    double wq, qq;
    w->k->quant_moments(&wq, &qq, w->x, NULL, w->cols, 4, 4);
}

static void run_round(work *w) { w->k->quant_round(w->a, w->x, w->cols, 4, 4); }

static const int shapes[] = { 576, 1536, 2048, 4096, 14336 };

/* Matrices from memory, or small enough for the L2 cache (then only what computing costs). */
static void bench_vectors(work *w, size_t limit, const char *where)
{
    char shape[64];
    for (int s = 0; s < 5; s++) {
        w->cols = shapes[s];
        for (w->n_planes = 1; w->n_planes <= 4; w->n_planes++) {
            size_t group = (size_t)w->cols * (size_t)w->n_planes;
            w->bytes = limit / group * group;
            w->ops = 10.0 * (double)w->bytes / w->n_planes;
            snprintf(shape, sizeof shape, "%s %d N=%d", where, w->cols, w->n_planes);
            report(w, "gemv_planes", shape, run_gemv_planes);
        }
        w->bytes = limit / (size_t)w->cols * (size_t)w->cols;
        w->ops = 2.0 * (double)w->bytes;
        snprintf(shape, sizeof shape, "%s %d", where, w->cols);
        report(w, "gemv_i8", shape, run_gemv_i8);
        for (w->dtype = 0; w->dtype < 3; w->dtype++) {
            snprintf(shape, sizeof shape, "%s %d %s", where, w->cols,
                     w->dtype == BC_F32   ? "f32"
                     : w->dtype == BC_F16 ? "f16"
                                          : "bf16");
            w->ops = (double)w->bytes / (w->dtype == BC_F32 ? 2 : 1);
            report(w, "gemv_dense", shape, run_gemv_dense);
        }
    }
}

static void bench_matrices(work *w)
{
    char shape[64];
    for (int s = 0; s < 5; s++) {
        w->cols = shapes[s];
        w->ops = 0;
        for (w->n_planes = 1; w->n_planes <= 4; w->n_planes++) {
            w->bytes = (size_t)16 * (size_t)w->cols * (size_t)w->n_planes;
            snprintf(shape, sizeof shape, "%d N=%d", w->cols, w->n_planes);
            report(w, "panel_planes", shape, run_panel_planes);
        }
        w->n_planes = 2;
        for (w->tokens = 1; w->tokens <= MAX_TOKENS; w->tokens *= 8) {
            w->bytes = 0;
            snprintf(shape, sizeof shape, "%d tokens %d", w->cols, w->tokens);
            w->ops = 2.0 * BC_PANEL_ROWS * w->cols * w->tokens;
            report(w, "gemm_planes", shape, run_gemm_planes);
            report(w, "gemm_i8", shape, run_gemm_i8);
            w->ops = 2.0 * BC_DENSE_ROWS * w->cols * w->tokens;
            report(w, "gemm_dense", shape, run_gemm_dense);
        }
        w->bytes = (size_t)32 * 2 * (size_t)w->cols;
        w->ops = 0;
        report(w, "panel_dense", shape, run_panel_dense);
    }
}

static void bench_small(work *w)
{
    char shape[64];
    w->ops = 0;
    for (int s = 0; s < 5; s++) {
        w->cols = shapes[s];
        w->bytes = (size_t)w->cols * 4;
        snprintf(shape, sizeof shape, "%d", w->cols);
        for (int i = 0; i < w->cols; i++) w->y[i] = w->x[i];
        report(w, "quantize_i8", shape, run_quantize);
        report(w, "hadamard", shape, run_hadamard);
        report(w, "rmsnorm", shape, run_rmsnorm);
        report(w, "swiglu", shape, run_swiglu);
        report(w, "softmax", shape, run_softmax);
        report(w, "quant_moments", shape, run_moments);
        report(w, "quant_round", shape, run_round);
    }
    w->cols = 128256;
    w->bytes = (size_t)w->cols * 4;
    report(w, "peaks", "128256", run_peaks);
    static const char *const kv[] = { "f16", "int8", "f32", "int4" };
    static const size_t kv_bits[] = { 16, 8, 32, 4 };
    w->tokens = BC_KV_BLOCK; /* positions */
    for (w->dtype = 0; w->dtype < BC_KV_TYPES; w->dtype++) {
        for (int h = 0; h < 4; h++) {
            w->heads = (const int[]){ 1, 3, 4, 8 }[h];
            for (w->cols = 64; w->cols <= 128; w->cols *= 2) {
                w->bytes = (size_t)w->tokens * (size_t)w->cols * kv_bits[w->dtype] / 8;
                w->ops = 2.0 * w->tokens * w->cols * w->heads;
                snprintf(shape, sizeof shape, "%d of %s %d x %d", w->tokens, kv[w->dtype], w->heads,
                         w->cols);
                report(w, "attn_scores", shape, run_scores);
                report(w, "attn_mix", shape, run_mix);
            }
        }
    }
}

/* Blocks of calibrated quantizing; x is a tile, dense_panel two more and the matrix. */
static void run_gptq(work *w)
{
    float *q = w->dense_panel, *errors = q + w->cols * BC_TILE_ROWS;
    const float *u = errors + w->cols * BC_TILE_ROWS;
    w->k->gptq_tile(w->x, errors, q, u, w->z, w->cols, 4);
}

/* A row whose integers stay: what a sweep costs at least. w->a holds them. */
static void run_descent(work *w)
{
    float *wh = w->dense_panel, *diagonal = wh + w->cols;
    const float *h = wh + 2 * w->cols * BC_TILE_ROWS;
    w->k->descend(w->x, (int8_t *)w->a, wh, h, diagonal, 0.1f, w->cols, 4);
}

static void bench_tiles(work *w)
{
    char shape[64];
    w->bytes = 0;
    for (w->cols = 64; w->cols <= 512; w->cols *= 2) {
        float *q = w->dense_panel, *m = q + 2 * w->cols * BC_TILE_ROWS;
        for (int i = 0; i < w->cols * w->cols; i++) m[i] = i % (w->cols + 1) ? 0.0f : 1.0f;
        for (int i = 0; i < BC_TILE_ROWS; i++) w->z[i] = 0.1f;
        snprintf(shape, sizeof shape, "%d", w->cols);
        w->ops = 1.0 * BC_TILE_ROWS * w->cols * w->cols;
        report(w, "gptq_tile", shape, run_gptq);
        memset(w->a, 0, (size_t)w->cols);
        for (int i = 0; i < w->cols; i++) { /* scale q H = w H, the diagonal behind it */
            w->x[i] = 10.0f;
            q[i] = q[w->cols + i] = 1.0f;
        }
        w->ops = 2.0 * w->cols;
        report(w, "descend", shape, run_descent);
    }
}

void check_bench(const bc_kernels *tables, int n_tables, const char *isa)
{
    checker c = { &tables[0], &tables[0], "bench", 1, 0 };
    work w = { 0 };
    w.memory = check_alloc(MEMORY_BYTES);
    w.panel = check_alloc(BC_PANEL_BYTES(MAX_COLS));
    w.dense_panel = check_alloc(BC_DENSE_PANEL_FLOATS(MAX_COLS) * sizeof(float));
    w.a = check_alloc((size_t)MAX_COLS * MAX_TOKENS);
    w.x = check_alloc((size_t)MAX_COLS * MAX_TOKENS * sizeof(float));
    w.y = check_alloc(MAX_COLS * sizeof(float));
    w.z = check_alloc(MAX_COLS * sizeof(float));
    w.weights = check_alloc(MAX_COLS * sizeof(float));
    w.sums = check_alloc(MAX_TOKENS * sizeof(int32_t));
    w.out = check_alloc(MEMORY_BYTES / 576 * 5 * sizeof(int32_t));
    for (size_t i = 0; i < MEMORY_BYTES; i += 4) { /* small numbers in every format */
        uint32_t bits = (uint32_t)check_random(&c) & 0xbfffbfffu;
        memcpy(w.memory + i, &bits, 4);
    }
    for (size_t i = 0; i < (size_t)MAX_COLS * MAX_TOKENS; i++) {
        w.a[i] = (int8_t)check_normal_i8(&c);
        w.x[i] = (float)w.a[i] / 64.0f;
    }
    for (int i = 0; i < MAX_COLS; i++) {
        w.z[i] = check_normal(&c);
        w.weights[i] = (float)check_range(&c, 0, 255) / 255.0f;
    }
    w.k = &(bc_kernels){ .isa = "-" };
    w.bytes = MEMORY_BYTES;
    report(&w, "read", "memory", run_read);
    for (int t = 0; t < n_tables; t++) {
        w.k = &tables[t];
        if (isa && strcmp(isa, w.k->isa) != 0) continue;
        if (t > 0) bench_vectors(&w, MEMORY_BYTES, "memory"); /* scalar would take minutes */
        bench_vectors(&w, CACHE_BYTES, "cache");
        bench_matrices(&w);
        bench_small(&w);
        bench_tiles(&w);
    }
    free(w.memory);
    free(w.panel);
    free(w.dense_panel);
    free(w.a);
    free(w.x);
    free(w.y);
    free(w.z);
    free(w.weights);
    free(w.sums);
    free(w.out);
}
