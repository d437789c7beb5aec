/* linear.c - see linear.h. */
#include "linear.h"

#include <string.h>

enum {
    GEMV_THREADS = 256,
    GEMV_BLOCKS = 8, /* per processor at most */
    GEMM_THREADS = 128,
    GEMM_BLOCKS = 3, /* per processor: as many as run at once */
    MOST_SPLITS = 8,
    SKINNY_TILE = 8, /* tokens that cost no more than one */
    SKINNY_TOKENS = 32,
    LEAST_WARPS = 4,
    SKINNY_ROWS = 40,               /* BC_SKINNY_ROWS */
    SKINNY_CODES = 16,              /* BC_SKINNY_CODES */
    SKINNY_COLS = 64,               /* BC_SKINNY_COLS */
    RING_8 = 512 * BC_GPU_STAGES_8, /* bytes of a warp */
    RING_32 = 512 * 5 * BC_GPU_STAGES_32,
    SKINNY_WIDE_WARPS = 16, /* of a processor at a time: its registers' number */
    SKINNY_INT8_WARPS = 32,
    SKINNY_ARCH = 75, /* Turing: the first with tensor cores for integers */
    DENSE_ROWS = 8,   /* warps of a block */
    DENSE_TOKENS = 8, /* BC_DENSE_TOKENS */
    MAX_PRODUCTS = 3
};

static unsigned at_most(int64_t n, int64_t most) { return (unsigned)(n < most ? n : most); }
static int up(int64_t n, int64_t unit) { return (int)((n + unit - 1) / unit); }

/* ---- the input ---- */

static unsigned prepare_threads(int cols)
{
    const int wanted = up(cols, BC_GPU_PREPARE_SHARE * 32) * 32;
    return (unsigned)(wanted > BC_GPU_PREPARE_THREADS ? BC_GPU_PREPARE_THREADS : wanted);
}

int bc_gpu_prepare(const bc_gpu_space *s, bc_prepare_args args, const bc_gpu_matrix *like,
                   int plain, int n, bc_error *err)
{
    const bc_gpu_buffers *b = s->b;
    args.inverse_cols = 1.0 / args.cols;
    args.width = (int)bc_gpu_width(args.cols);
    if (plain) {
        args.plain = b->plain;
    } else {
        args.sign = like->rotation->sign;
        args.perm = args.placed ? 0 : like->rotation->perm;
        args.block = like->rotation->of->block;
        args.a = b->a;
        args.a_stride = b->a_stride;
        args.scale = b->scale;
        args.sum = b->sum;
        args.work = b->work;
    }
    /* the order of enum bc_gpu_source */
    const int kernel = (b->work ? BC_K_bc_prepare_wide_x : BC_K_bc_prepare_x) + args.source;
    const bc_launch launch = {
        kernel, (unsigned)n, 1, 1, prepare_threads(args.cols), (unsigned)s->shared, &args
    };
    return bc_device_start(s->device, &launch, err);
}

/* ---- integer matrices ---- */

static bc_matrix_args matrix_args(const bc_gpu_product *p)
{
    const bc_gpu_matrix *m = p->matrix;
    return (bc_matrix_args){ .data = m->data,
                             .plane_stride = (uint64_t)m->plane_stride,
                             .scales = m->scales,
                             .bias = m->bias,
                             .y = p->y,
                             .y_stride = p->y_stride,
                             .rows = (int)m->of->rows,
                             .n_planes = m->of->kind == BC_WEIGHT_PLANES ? m->of->n_planes : 0 };
}

/* Those of `products` that are of `kind`, each beginning at a multiple of `unit` rows. */
static bc_linear_args linear_args(const bc_gpu_space *s, const bc_gpu_product *products, int count,
                                  int kind, int unit, int n)
{
    bc_linear_args args = { .n = n,
                            .a = s->b->a,
                            .a_stride = s->b->a_stride,
                            .scale = s->b->scale,
                            .sum = s->b->sum,
                            .warps = 1,
                            .splits = 1,
                            .partial = s->b->partial,
                            .partial_stride = s->b->partial_stride,
                            .arrived = s->b->arrived };
    for (int i = 0; i < count; i++) {
        if (products[i].matrix->of->kind != kind) continue;
        args.m[args.count] = matrix_args(&products[i]);
        args.cols = products[i].matrix->cols;
        args.first[args.count + 1] = args.first[args.count] + up(args.m[args.count].rows, unit);
        args.count++;
    }
    return args;
}

/* How many warps share the columns of a group: few idle lanes first, then many warps. */
static int gemv_warps(int cols)
{
    int best = 1, best_lanes = 1 << 30;
    for (int warps = 1; warps <= GEMV_THREADS / 32; warps++) {
        const int lanes = up(cols, 512 * warps) * 32 * warps; /* that work or wait */
        if (lanes <= best_lanes) {
            best = warps;
            best_lanes = lanes;
        }
    }
    return best;
}

static int one_token(const bc_gpu_space *s, const bc_gpu_product *products, int count, int kind,
                     bc_error *err)
{
    const int planes = kind == BC_WEIGHT_PLANES;
    bc_linear_args args = linear_args(s, products, count, kind, planes ? BC_GPU_GROUP : 1, 1);
    if (!args.count) return BC_OK;
    args.warps = planes ? gemv_warps(args.cols) : 1;
    const int slots = GEMV_THREADS / 32 / args.warps, groups = args.first[args.count];
    int most_planes = 0;
    for (int i = 0; i < args.count; i++)
        most_planes = args.m[i].n_planes > most_planes ? args.m[i].n_planes : most_planes;
    const bc_launch launch = {
        !planes ? BC_K_bc_gemv_int8
                : (most_planes <= 2 ? BC_K_bc_gemv_planes_2 : BC_K_bc_gemv_planes_4),
        at_most(up(groups, slots), (int64_t)s->device->processors * GEMV_BLOCKS),
        1,
        1,
        (unsigned)(32 * args.warps * slots),
        0,
        &args
    };
    return bc_device_start(s->device, &launch, err);
}

/* How many parts the columns are cut into so that every processor has work. */
static int gemm_splits(const bc_gpu_space *s, int tiles, int cols, int n)
{
    if (n > BC_JOIN_TOKENS || tiles * BC_GPU_TILE_ROWS > s->b->partial_stride) return 1;
    const int steps = up(cols, BC_GPU_TILE_COLS);
    int splits = up((int64_t)s->device->processors * GEMM_BLOCKS, tiles);
    splits = splits < steps / 2 ? splits : steps / 2;
    splits = splits < MOST_SPLITS ? splits : MOST_SPLITS;
    return splits < 1 ? 1 : splits;
}

/* How many warps share the columns of a tile of `tiles`: as many as keep all tiles running at once. */
static int skinny_warps(const bc_gpu_space *s, int tiles, int cols, int most)
{
    const int blocks = up(tiles, s->device->processors); /* of one processor */
    int warps = most / blocks > LEAST_WARPS ? most / blocks : LEAST_WARPS;
    const int steps = up(cols, SKINNY_COLS);
    return warps < steps ? warps : steps;
}

/* How many tokens' activations fit beside the rings of few warps. */
static int tokens_that_fit(const bc_gpu_space *s, int cols)
{
    const int fit = (s->device->shared_bytes - LEAST_WARPS * RING_8) / cols;
    return fit < 1 ? 1 : (fit > SKINNY_TILE ? SKINNY_TILE : fit);
}

/* One to SKINNY_TOKENS tokens on cards with tensor cores for integers. */
static int few_tokens(const bc_gpu_space *s, const bc_linear_args *matrices, int planes,
                      bc_error *err)
{
    bc_linear_args args = *matrices;
    const int tiles = args.first[args.count], wide = args.n > SKINNY_TILE;
    const int ring = !planes ? 0 : (wide ? RING_32 : RING_8);
    const int staged = planes && !wide ? args.n * args.cols : 0;
    const int running = !planes ? SKINNY_INT8_WARPS : (wide ? SKINNY_WIDE_WARPS : 32);
    const int most = ring ? (s->device->shared_bytes - staged) / ring : 8;
    args.warps = skinny_warps(s, tiles, args.cols, running);
    if (args.warps > most) args.warps = most;
    const int kernel8 = !planes       ? BC_K_bc_skinny_int8_8
                        : args.n == 1 ? BC_K_bc_skinny_1
                                      : BC_K_bc_skinny_8;
    const int kernel32 = planes ? BC_K_bc_skinny_32 : BC_K_bc_skinny_int8_32;
    const bc_launch launch = { wide ? kernel32 : kernel8,
                               (unsigned)tiles,
                               1,
                               1,
                               (unsigned)(32 * args.warps),
                               (unsigned)(args.warps * ring + staged),
                               &args };
    return bc_device_start(s->device, &launch, err);
}

/* The same, in parts of as many tokens as fit a block's shared memory. */
static int skinny(const bc_gpu_space *s, const bc_gpu_product *products, int count, int kind, int n,
                  bc_error *err)
{
    const int planes = kind == BC_WEIGHT_PLANES;
    bc_linear_args args =
        linear_args(s, products, count, kind, planes ? SKINNY_ROWS : SKINNY_CODES, n);
    if (!args.count) return BC_OK;
    const int part = planes && n <= SKINNY_TILE ? tokens_that_fit(s, args.cols) : n;
    int status = BC_OK;
    for (int done = 0; done < n && status == BC_OK; done += part) {
        args.n = n - done < part ? n - done : part;
        status = few_tokens(s, &args, planes, err);
        args.a += (bc_ptr)(args.n * args.a_stride);
        args.scale += (bc_ptr)args.n * sizeof(float);
        args.sum += (bc_ptr)args.n * sizeof(int32_t);
        for (int i = 0; i < args.count; i++)
            args.m[i].y += (bc_ptr)args.n * (bc_ptr)args.m[i].y_stride * sizeof(float);
    }
    return status;
}

int bc_gpu_gated(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product gate_up[2],
                 const bc_gpu_matrix *next, int n, int *done, bc_error *err)
{
    const bc_gpu_matrix *gate = gate_up[0].matrix, *up_ = gate_up[1].matrix;
    *done = n <= SKINNY_TOKENS && s->device->arch >= SKINNY_ARCH &&
            gate->of->kind == BC_WEIGHT_PLANES && up_->of->kind == BC_WEIGHT_PLANES &&
            gate->of->n_planes == up_->of->n_planes && gate->rotation == up_->rotation &&
            (n > SKINNY_TILE || tokens_that_fit(s, gate->cols) >= n);
    if (!*done) return BC_OK;
    int status = bc_gpu_prepare(s, source, gate, 0, n, err);
    if (status != BC_OK) return status;
    bc_linear_args args = linear_args(s, gate_up, 2, BC_WEIGHT_PLANES, SKINNY_ROWS / 2, n);
    args.count = 1; /* the tiles of the first are those of both */
    args.paired = 1;
    args.places = next->rotation ? next->rotation->places : 0;
    return few_tokens(s, &args, 1, err);
}

static int many_tokens(const bc_gpu_space *s, const bc_gpu_product *products, int count, int kind,
                       int n, bc_error *err)
{
    const int planes = kind == BC_WEIGHT_PLANES;
    bc_linear_args args = linear_args(s, products, count, kind, BC_GPU_TILE_ROWS, n);
    if (!args.count) return BC_OK;
    const int tiles = args.first[args.count];
    const int wide = tiles * up(n, 128) >= s->device->processors * 2;
    const int tokens = n <= 32 ? 32 : (n <= BC_JOIN_TOKENS || !wide ? 64 : 128);
    args.splits = gemm_splits(s, tiles, args.cols, n);
    const int kernel32 = planes ? BC_K_bc_gemm_planes_32 : BC_K_bc_gemm_int8_32;
    const int kernel64 = planes ? BC_K_bc_gemm_planes_64 : BC_K_bc_gemm_int8_64;
    const int kernel128 = planes ? BC_K_bc_gemm_planes_128 : BC_K_bc_gemm_int8_128;
    const bc_launch launch = { tokens == 32 ? kernel32 : (tokens == 64 ? kernel64 : kernel128),
                               (unsigned)tiles,
                               (unsigned)up(n, tokens),
                               (unsigned)args.splits,
                               GEMM_THREADS,
                               0,
                               &args };
    return bc_device_start(s->device, &launch, err);
}

static int integers(const bc_gpu_space *s, const bc_gpu_product *products, int count, int n,
                    bc_error *err)
{
    static const int KINDS[] = { BC_WEIGHT_PLANES, BC_WEIGHT_INT8 };
    const int few = n <= SKINNY_TOKENS && s->device->arch >= SKINNY_ARCH;
    int status = BC_OK;
    for (int i = 0; i < 2 && status == BC_OK; i++) {
        if (few && (n > 1 || KINDS[i] == BC_WEIGHT_PLANES))
            status = skinny(s, products, count, KINDS[i], n, err);
        else if (n == 1)
            status = one_token(s, products, count, KINDS[i], err);
        else
            status = many_tokens(s, products, count, KINDS[i], n, err);
    }
    return status;
}

static int dense(const bc_gpu_space *s, const bc_gpu_product *product, int n, bc_error *err)
{
    const bc_gpu_matrix *m = product->matrix;
    bc_dense_args args = { .data = m->data,
                           .dtype = m->of->dtype,
                           .rows = (int)m->of->rows,
                           .cols = m->cols,
                           .n = n,
                           .x = s->b->plain,
                           .x_stride = (int)bc_gpu_width(m->cols),
                           .bias = m->bias,
                           .y = product->y,
                           .y_stride = product->y_stride };
    const bc_launch launch = { BC_K_bc_dense,
                               (unsigned)up(args.rows, DENSE_ROWS),
                               (unsigned)up(n, DENSE_TOKENS),
                               1,
                               32 * DENSE_ROWS,
                               0,
                               &args };
    return bc_device_start(s->device, &launch, err);
}

/* ---- matrices that share an input ---- */

static int rotated_alike(const bc_gpu_matrix *a, const bc_gpu_matrix *b)
{
    return a->rotation == b->rotation;
}

/* What of the source happens once, even when it is prepared again for another rotation. */
static void added_already(bc_prepare_args *source) { source->y = 0; }

int bc_gpu_linear(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product *products,
                  int count, int n, bc_error *err)
{
    int status = BC_OK;
    for (int i = 0; i < count && status == BC_OK; i++) {
        if (products[i].matrix->of->kind != BC_WEIGHT_DENSE) continue;
        if (i == 0 || products[i - 1].matrix->of->kind != BC_WEIGHT_DENSE) {
            status = bc_gpu_prepare(s, source, products[i].matrix, 1, n, err);
            added_already(&source);
        }
        if (status == BC_OK) status = dense(s, &products[i], n, err);
    }
    for (int first = 0, last = 0; first < count && status == BC_OK; first = last) {
        if (products[first].matrix->of->kind == BC_WEIGHT_DENSE) {
            last = first + 1;
            continue;
        }
        bc_gpu_product run[MAX_PRODUCTS];
        int length = 0;
        for (last = first; last < count; last++) {
            if (products[last].matrix->of->kind == BC_WEIGHT_DENSE) break;
            if (!rotated_alike(products[first].matrix, products[last].matrix)) break;
            run[length++] = products[last];
        }
        status = bc_gpu_prepare(s, source, products[first].matrix, 0, n, err);
        added_already(&source);
        if (status == BC_OK) status = integers(s, run, length, n, err);
    }
    return status;
}
