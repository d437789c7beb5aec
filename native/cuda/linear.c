/* linear.c - see linear.h. */
#include "linear.h"

#include <math.h>
#include <string.h>

#include "error.h"

enum {
    GEMV_THREADS = 256,
    GEMV_BLOCKS = 8, /* per processor at most */
    GEMM_THREADS = 128,
    GEMM_BLOCKS = 3, /* per processor: as many as run at once */
    MOST_SPLITS = 8,
    FEW_TILE = 8, /* tokens that cost no more than one */
    FEW_TOKENS = 32,
    TEAM_ROWS = 40,               /* BC_TEAM_ROWS */
    FEW_TEAMS = BC_GPU_ONE_TEAMS, /* at most */
    FEW_PARTS = 2,                /* gate and up */
    LOADED_TURNS = 2, /* of a vector that threads load themselves: one turn after the other */
    SPREAD_SHARED = 8 << 10, /* beyond half of a block's most: no room for a second one */
    LEAST_WARPS = 4,    /* of a block of few tokens, so that its ring hides the memory's latency */
    HELD_WARPS = 8,     /* the same where it could have the tokens go through the rings too */
    CODES_ROWS = 16,    /* BC_CODES_ROWS */
    CODES_COLS = 64,    /* BC_CODES_COLS */
    CODES_WARPS = 8,    /* of a block, at most; */
    CODES_RUNNING = 32, /* of a processor at a time */
    DENSE_ROWS = 8,     /* warps of a block */
    DENSE_TOKENS = 8,   /* BC_DENSE_TOKENS */
    MAX_PRODUCTS = 3
};

static unsigned at_most(int64_t n, int64_t most) { return (unsigned)(n < most ? n : most); }
static int least_of(int a, int b) { return a < b ? a : b; }
static int up(int64_t n, int64_t unit) { return (int)((n + unit - 1) / unit); }

/* ---- the input ---- */

/* Between four elements for each, which loads and rounding like, and sixteen, which the transform has. */
static unsigned prepare_threads(int cols)
{
    return (unsigned)least_of(up(cols, 8 * 32) * 32, BC_GPU_PREPARE_THREADS);
}

/* What all ways to prepare a vector for `like` need. */
static void complete(bc_prepare_args *args, const bc_gpu_matrix *like, int plain)
{
    args->inverse_cols = 1.0 / args->cols;
    args->width = (int)bc_gpu_width(args->cols);
    args->block = 1;
    args->divisor = 1.0f;
    if (plain) return;
    args->block = like->rotation->of->block;
    if (args->block > 1) args->divisor = 1.0f / sqrtf((float)args->block);
    if (args->placed) return;
    args->order = like->rotation->order;
    args->moves = like->rotation->of->perm != NULL;
}

int bc_gpu_prepare(const bc_gpu_space *s, bc_prepare_args args, const bc_gpu_matrix *like,
                   int plain, int n, bc_error *err)
{
    const bc_gpu_buffers *b = s->b;
    complete(&args, like, plain);
    if (plain) {
        args.plain = b->plain;
    } else {
        args.a = b->a;
        args.a_stride = b->a_stride;
        args.scale = b->scale;
        args.sum = b->sum;
    }
    args.work = b->work;
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
    const int n_planes = m->of->kind == BC_WEIGHT_PLANES ? m->of->n_planes : 0;
    return (bc_matrix_args){ .data = m->data,
                             .plane_stride = (uint64_t)m->plane_stride,
                             .scales = m->scales,
                             .bias = m->bias,
                             .y = p->y,
                             .y_stride = p->y_stride,
                             .before = p->before,
                             .rows = (int)m->of->rows,
                             .n_planes = n_planes,
                             .largest = bc_gpu_largest(n_planes) };
}

/* Of fewer than three matrices, the others begin behind the last one. */
static void close_list(bc_linear_args *args)
{
    for (int i = args->count + 1; i <= MAX_PRODUCTS; i++) args->first[i] = args->first[args->count];
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
                            .tiled = s->device->tiled,
                            .warps = 1,
                            .teams = 1,
                            .splits = 1,
                            .partial = s->b->partial,
                            .partial_stride = s->b->partial_stride,
                            .arrived = s->b->arrived };
    for (int i = 0; i < count; i++) {
        if (products[i].matrix->of->kind != kind) continue;
        args.m[args.count] = matrix_args(&products[i]);
        args.places = products[i].places;
        args.cols = products[i].matrix->cols;
        args.first[args.count + 1] = args.first[args.count] + up(args.m[args.count].rows, unit);
        args.count++;
    }
    close_list(&args);
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

/* ---- few tokens, on cards whose planes are tiled ---- */

static void share_steps(bc_linear_args *args, int warps, int teams)
{
    const int steps = args->cols / BC_GPU_STEP_COLS;
    args->warp_steps = up(steps, warps);
    args->warps = up(steps, args->warp_steps); /* those that have any */
    args->teams = teams;
}

/* A kernel of few tokens: bytes of a warp's ring, threads at most, integers from row to row of its sums, and whether a block
 * holds its tokens whole; else they go through the rings too. */
typedef struct form {
    int kernel, ring, threads, pitch, held, least_warps;
} form;

static const form EIGHT = { .kernel = BC_K_bc_few_8,
                            .ring = BC_GPU_FEW_STAGES * BC_GPU_STEP_BYTES,
                            .threads = BC_GPU_FEW_THREADS,
                            .pitch = BC_GPU_FEW_PITCH,
                            .held = 1,
                            .least_warps = LEAST_WARPS };
static const form DOZENS = { .kernel = BC_K_bc_few_32,
                             .ring = BC_GPU_FEW_STAGES * BC_GPU_STEP_BYTES,
                             .threads = BC_GPU_DOZEN_THREADS,
                             .pitch = BC_GPU_DOZEN_PITCH,
                             .held = 1,
                             .least_warps = HELD_WARPS };
static const form STREAMED = { .kernel = BC_K_bc_few_32_streamed,
                               .ring = BC_GPU_DOZEN_STAGES * BC_GPU_STEP_BYTES *
                                       (1 + FEW_TOKENS / FEW_TILE),
                               .threads = BC_GPU_DOZEN_THREADS,
                               .pitch = BC_GPU_DOZEN_PITCH,
                               .held = 0,
                               .least_warps = 1 };

static form one_token_form(const bc_device *d)
{
    return (form){ .kernel = d->bits ? BC_K_bc_one : BC_K_bc_one_bytes,
                   .ring = BC_GPU_ONE_STAGES * 2 * BC_GPU_STEP_BYTES,
                   .threads = BC_GPU_ONE_THREADS,
                   .pitch = 1,
                   .held = 1,
                   .least_warps = LEAST_WARPS };
}

/* Warps, teams and shared memory of form `f` for args->n tokens, or one that is prepared in `vector` bytes; 0: its least warps
 * do not fit. A tile for every team at once where that can be, and as many warps as there is room for. */
static int plan_form(const bc_gpu_space *s, const form *f, bc_linear_args *args, int vector,
                     bc_launch *launch)
{
    const int units = args->first[args->count], rounds = up(units, s->device->processors);
    const int steps = args->cols / BC_GPU_STEP_COLS;
    const int totals =
        2 * (args->paired ? FEW_PARTS : 1) * TEAM_ROWS * f->pitch * (int)sizeof(int32_t);
    const int tokens = f->held ? args->n * bc_gpu_token_pitch(args->cols) : 0;
    const int room = s->device->shared_bytes - (tokens > vector ? tokens : vector);
    const int most = f->threads / 32;
    int teams = least_of(rounds, FEW_TEAMS), warps = least_of(most / teams, steps);
    while (teams > 1 && teams * (warps * f->ring + totals) > room) {
        teams--; /* the same warps with fewer sums */
        warps = least_of(most / teams, steps);
    }
    while (warps > 1 && teams * (warps * f->ring + totals) > room) warps--;
    const int shared = teams * (warps * f->ring + totals);
    if (shared > room || (warps * teams < f->least_warps && warps < steps)) return 0;
    share_steps(args, warps, teams);
    *launch = (bc_launch){ .kernel = f->kernel,
                           .grid_x = at_most(units, s->device->processors),
                           .grid_y = 1,
                           .grid_z = 1,
                           .threads = (unsigned)(32 * args->warps * teams),
                           .shared = (unsigned)(s->device->shared_bytes - room + shared),
                           .args = args };
    return 1;
}

/* Of the forms for so many tokens the first that fits */
static int plan_few(const bc_gpu_space *s, bc_linear_args *args, bc_launch *launch)
{
    if (args->n <= FEW_TILE) return plan_form(s, &EIGHT, args, 0, launch);
    return plan_form(s, &DOZENS, args, 0, launch) || plan_form(s, &STREAMED, args, 0, launch);
}

/* One token prepared and multiplied in one kernel; 0: that leaves no room for the warps which the product wants, or the vector. */
static int plan_one(const bc_gpu_space *s, bc_one_args *args, bc_launch *launch)
{
    const form one = one_token_form(s->device);
    const bc_prepare_args *source = &args->source;
    bc_linear_args alone = args->linear;
    bc_launch apart;
    const int vector = source->width * (int)sizeof(float) + alone.cols;
    if (!plan_few(s, &alone, &apart) || !plan_form(s, &one, &args->linear, vector, launch))
        return 0;
    launch->args = args;
    const int threads = (int)launch->threads;
    const int wanted = least_of((int)apart.threads, BC_GPU_ONE_THREADS);
    return threads * 4 >= wanted * 3 &&
           (!source->norm || threads * BC_GPU_PREPARE_SHARE >= source->width);
}

/* What its blocks want besides where they come while others run. */
static void plan_overlap(const bc_gpu_space *s, const bc_prepare_args *source, bc_launch *launch)
{
    const int threads = (int)launch->threads;
    /* so much that they do not gather on a processor that has none */
    const unsigned most_of = (unsigned)s->device->shared_bytes / 2 + SPREAD_SHARED;
    if (launch->shared < most_of) launch->shared = most_of;
    /* a warp more, which has the vector brought (one.cuh) */
    if (threads + 32 <= BC_GPU_ONE_THREADS &&
        source->width > LOADED_TURNS * BC_GPU_PREPARE_SHARE * threads)
        launch->threads += 32;
}

/* One token whose vector is placed, in one kernel where that can be: *done says whether. */
static int one_in_one_go(const bc_gpu_space *s, const bc_prepare_args *source,
                         const bc_gpu_matrix *like, const bc_linear_args *linear, int *done,
                         bc_error *err)
{
    *done = 0;
    if (linear->n != 1 || !source->placed || source->y) return BC_OK;
    bc_one_args args = { .linear = *linear, .source = *source };
    args.source.plain = 0;
    complete(&args.source, like, 0);
    bc_launch launch;
    if (!plan_one(s, &args, &launch)) return BC_OK;
    if (s->device->overlaps) plan_overlap(s, &args.source, &launch);
    *done = 1;
    return bc_device_start(s->device, &launch, err);
}

/* One to FEW_TOKENS tokens, in parts that fit a block's shared memory. */
static int few_tokens(const bc_gpu_space *s, const bc_gpu_product *products, int count, int n,
                      bc_error *err)
{
    bc_linear_args args = linear_args(s, products, count, BC_WEIGHT_PLANES, TEAM_ROWS, n);
    if (!args.count) return BC_OK;
    int status = BC_OK;
    for (int done = 0; done < n && status == BC_OK;) {
        bc_launch launch;
        args.n = n - done;
        while (!plan_few(s, &args, &launch)) {
            if (args.n == 1)
                return bc_fail(err, BC_ERR_UNSUPPORTED,
                               "a vector of %d elements does not fit this card's shared memory",
                               args.cols);
            args.n = args.n > FEW_TILE ? FEW_TILE : args.n / 2;
        }
        status = bc_device_start(s->device, &launch, err);
        done += args.n;
        args.a += (bc_ptr)(args.n * args.a_stride);
        args.scale += (bc_ptr)args.n * sizeof(float);
        args.sum += (bc_ptr)args.n * sizeof(int32_t);
        for (int i = 0; i < args.count; i++) {
            const bc_ptr bytes = (bc_ptr)args.n * (bc_ptr)args.m[i].y_stride * sizeof(float);
            args.m[i].y += bytes;
            if (args.m[i].before) args.m[i].before += bytes;
        }
    }
    return status;
}

static int are_few(const bc_gpu_space *s, int n) { return n <= FEW_TOKENS && s->device->tiled; }

int bc_gpu_adds(const bc_gpu_space *s, const bc_gpu_matrix *m, int n)
{
    return are_few(s, n) && m->of->kind == BC_WEIGHT_PLANES;
}

static int all_planes(const bc_gpu_product *products, int count)
{
    for (int i = 0; i < count; i++)
        if (products[i].matrix->of->kind != BC_WEIGHT_PLANES) return 0;
    return 1;
}

int bc_gpu_gated(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product gate_up[2],
                 const bc_gpu_matrix *next, int n, int *done, bc_error *err)
{
    const bc_gpu_matrix *gate = gate_up[0].matrix, *up_ = gate_up[1].matrix;
    *done = are_few(s, n) && all_planes(gate_up, 2) && gate->of->n_planes == up_->of->n_planes &&
            gate->rotation == up_->rotation && next->rotation;
    if (!*done) return BC_OK;
    bc_linear_args args = linear_args(s, gate_up, 2, BC_WEIGHT_PLANES, TEAM_ROWS, n);
    args.count = 1; /* the tiles of the first are those of both */
    close_list(&args);
    args.paired = 1;
    args.places = next->rotation->homes;
    bc_launch launch;
    int status = one_in_one_go(s, &source, gate, &args, done, err);
    if (*done) return status;
    *done = plan_few(s, &args, &launch);
    if (!*done) return BC_OK;
    status = bc_gpu_prepare(s, source, gate, 0, n, err);
    return status == BC_OK ? bc_device_start(s->device, &launch, err) : status;
}

/* ---- int8 codes for few tokens, on such cards ---- */

static int few_codes(const bc_gpu_space *s, const bc_gpu_product *products, int count, int n,
                     bc_error *err)
{
    bc_linear_args args = linear_args(s, products, count, BC_WEIGHT_INT8, CODES_ROWS, n);
    if (!args.count) return BC_OK;
    const int tiles = args.first[args.count], steps = up(args.cols, CODES_COLS);
    const int running = CODES_RUNNING / up(tiles, s->device->processors);
    args.warps =
        running > CODES_WARPS ? CODES_WARPS : (running < LEAST_WARPS ? LEAST_WARPS : running);
    if (args.warps > steps) args.warps = steps;
    const bc_launch launch = { n <= FEW_TILE ? BC_K_bc_codes_8 : BC_K_bc_codes_32,
                               (unsigned)tiles,
                               1,
                               1,
                               (unsigned)(32 * args.warps),
                               0,
                               &args };
    return bc_device_start(s->device, &launch, err);
}

/* ---- many tokens ---- */

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

/* With tiles of so many tokens. */
static int gemm_kernel(int kind, int tokens)
{
    const int planes = kind == BC_WEIGHT_PLANES;
    if (tokens == 32) return planes ? BC_K_bc_gemm_planes_32 : BC_K_bc_gemm_int8_32;
    if (tokens == 64) return planes ? BC_K_bc_gemm_planes_64 : BC_K_bc_gemm_int8_64;
    return planes ? BC_K_bc_gemm_planes_128 : BC_K_bc_gemm_int8_128;
}

static int many_tokens(const bc_gpu_space *s, const bc_gpu_product *products, int count, int kind,
                       int n, bc_error *err)
{
    bc_linear_args args = linear_args(s, products, count, kind, BC_GPU_TILE_ROWS, n);
    if (!args.count) return BC_OK;
    const int tiles = args.first[args.count];
    const int wide = tiles * up(n, 128) >= s->device->processors * 2;
    const int tokens = n <= 32 ? 32 : (n <= BC_JOIN_TOKENS || !wide ? 64 : 128);
    args.splits = gemm_splits(s, tiles, args.cols, n);
    const bc_launch launch = { gemm_kernel(kind, tokens),
                               (unsigned)tiles,
                               (unsigned)up(n, tokens),
                               (unsigned)args.splits,
                               GEMM_THREADS,
                               0,
                               &args };
    return bc_device_start(s->device, &launch, err);
}

/* ---- dense matrices ---- */

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

static int multiply_planes(const bc_gpu_space *s, const bc_gpu_product *products, int count, int n,
                           bc_error *err)
{
    if (are_few(s, n)) return few_tokens(s, products, count, n, err);
    if (n == 1) return one_token(s, products, count, BC_WEIGHT_PLANES, err);
    return many_tokens(s, products, count, BC_WEIGHT_PLANES, n, err);
}

static int multiply_int8(const bc_gpu_space *s, const bc_gpu_product *products, int count, int n,
                         bc_error *err)
{
    if (n == 1) return one_token(s, products, count, BC_WEIGHT_INT8, err);
    if (are_few(s, n)) return few_codes(s, products, count, n, err);
    return many_tokens(s, products, count, BC_WEIGHT_INT8, n, err);
}

/* Integers that are rotated alike: the input is prepared once for all of them. */
static int multiply_run(const bc_gpu_space *s, const bc_prepare_args *source,
                        const bc_gpu_product *products, int count, int n, bc_error *err)
{
    int status, done = 0;
    if (n == 1 && s->device->tiled && all_planes(products, count)) {
        const bc_linear_args args = linear_args(s, products, count, BC_WEIGHT_PLANES, TEAM_ROWS, n);
        status = one_in_one_go(s, source, products[0].matrix, &args, &done, err);
        if (done) return status;
    }
    status = bc_gpu_prepare(s, *source, products[0].matrix, 0, n, err);
    if (status == BC_OK) status = multiply_planes(s, products, count, n, err);
    return status == BC_OK ? multiply_int8(s, products, count, n, err) : status;
}

static int is_dense(const bc_gpu_product *p) { return p->matrix->of->kind == BC_WEIGHT_DENSE; }

/* How many, from the first on, want the input as it does: dense ones have no rotation. */
static int run_length(const bc_gpu_product *products, int count)
{
    int n = 1;
    while (n < count && products[n].matrix->rotation == products[0].matrix->rotation) n++;
    return n;
}

/* What of the source happens once, even when it is prepared again for another rotation. */
static void added_already(bc_prepare_args *source) { source->y = 0; }

static int dense_runs(const bc_gpu_space *s, bc_prepare_args *source,
                      const bc_gpu_product *products, int count, int n, bc_error *err)
{
    int status = BC_OK;
    for (int first = 0, last; first < count && status == BC_OK; first = last) {
        last = first + run_length(products + first, count - first);
        if (!is_dense(&products[first])) continue;
        status = bc_gpu_prepare(s, *source, products[first].matrix, 1, n, err);
        added_already(source);
        for (int i = first; i < last && status == BC_OK; i++)
            status = dense(s, &products[i], n, err);
    }
    return status;
}

static int integer_runs(const bc_gpu_space *s, bc_prepare_args *source,
                        const bc_gpu_product *products, int count, int n, bc_error *err)
{
    int status = BC_OK;
    for (int first = 0, last; first < count && status == BC_OK; first = last) {
        last = first + run_length(products + first, count - first);
        if (is_dense(&products[first])) continue;
        status = multiply_run(s, source, products + first, last - first, n, err);
        added_already(source);
    }
    return status;
}

int bc_gpu_linear(const bc_gpu_space *s, bc_prepare_args source, const bc_gpu_product *products,
                  int count, int n, bc_error *err)
{
    const int status = dense_runs(s, &source, products, count, n, err);
    return status == BC_OK ? integer_runs(s, &source, products, count, n, err) : status;
}
