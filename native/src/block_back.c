/* block_back.c - the gradient of one decoder layer.
 *
 * A group of windows at a time: the forward pass is computed again, where bc_block_windows has not kept it, and what the
 * way back needs is kept for the group; the MLP, which sees one token at a time, keeps one batch only. */
#include "block_back.h"

#include <string.h>

#include "attention_back.h"
#include "delta.h"
#include "error.h"
#include "gradient_sums.h"
#include "lora.h"

/* What one call works on. */
struct back_call {
    bc_block *b;
    bc_block_back *w;
    bc_engine *engine;
    const bc_config *c;
    const bc_block_grads *grads;
    const bc_cancel *cancel;
    /* the group */
    const float *x;
    float *dy;
    bc_kept kept;        /* or where the same is computed again; of gate_up then a batch */
    int64_t first_token; /* in the caller's arrays */
    int tokens, n_windows;
    int down_is_rotated;                        /* what comes through it waits in `rotated` */
    size_t hidden, mlp, q_cols, kv_cols, width; /* width: R */
};

static const bc_block_grads NOTHING = { 0 };

/* ---- one token ---- */

struct token_work {
    const struct back_call *call;
    const float *norm;
    const float *in;
    float *out;
    float *inverse_rms;
};

static void norm_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * w->call->hidden;
    w->call->engine->k.rmsnorm(w->out + at, w->in + at, w->norm, w->call->c->hidden,
                               w->call->c->rms_eps);
}

/* out (a gradient of the residual stream) += what comes through the norm of in */
static void norm_back_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * w->call->hidden;
    w->inverse_rms[t] =
        w->call->engine->k.rmsnorm_back(w->out + at, w->in + at, w->norm, w->call->w->dh + at,
                                        w->call->c->hidden, w->call->c->rms_eps);
}

static void add_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct token_work *w = arg;
    const size_t at = (size_t)t * w->call->hidden;
    w->call->engine->k.add(w->out + at, w->in + at, w->call->c->hidden);
}

static void swiglu_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct back_call *c = ((const struct token_work *)arg)->call;
    const float *gate = ((const struct token_work *)arg)->in + (size_t)t * 2 * c->mlp;
    c->engine->k.swiglu(c->w->product + (size_t)t * c->mlp, gate, gate + c->mlp, (int)c->mlp);
}

static void swiglu_back_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const struct back_call *c = ((const struct token_work *)arg)->call;
    const size_t at = (size_t)t * 2 * c->mlp;
    const float *gate = ((const struct token_work *)arg)->in + at;
    c->engine->k.swiglu_back(c->w->d_gate_up + at, c->w->d_gate_up + at + c->mlp, gate,
                             gate + c->mlp, c->w->d_product + (size_t)t * c->mlp, (int)c->mlp);
}

/* What comes through `down` into silu(gate) up, and on to gate and up. */
static void down_back_token(void *arg, int64_t t, int thread)
{
    const struct token_work *w = arg;
    bc_block_back *space = w->call->w;
    if (w->call->down_is_rotated)
        bc_linear_back_token(&space->space, &w->call->b->layer.down, space->rotated,
                             space->d_product, t);
    swiglu_back_token(arg, t, thread);
}

static void per_token(const struct back_call *call, bc_pool_fn fn, struct token_work work, int n)
{
    work.call = call;
    bc_pool_run(call->engine->pool, fn, &work, n);
}

/* ---- matrices ---- */

static void keep(const struct back_call *call, float *to, const float *from, int64_t t, int n,
                 size_t width)
{
    if (to)
        memcpy(to + (size_t)(call->first_token + t) * width, from, (size_t)n * width * sizeof *to);
}

/* y = W x for matrices of one input. */
static void forward(const struct back_call *call, const bc_product *products, int count,
                    const float *x, int n)
{
    const size_t cols = (size_t)products[0].weight->cols;
    const bc_weight *like = products[0].weight; /* one that is not dense asks for rounding */
    for (int i = 1; i < count; i++)
        if (products[i].weight->kind != BC_WEIGHT_DENSE) like = products[i].weight;
    bc_activations_prepare(&call->w->space, like, x, cols, n);
    bc_linear(&call->w->space, products, count, x, cols, n);
}

/* The sums of matrix `matrix` over tokens t.. of the group. */
static void sum_matrix(const struct back_call *call, int matrix, const float *dy, size_t dy_stride,
                       const float *y, size_t y_stride, int64_t t, int n)
{
    const bc_weight *weight = bc_block_weight(call->b, matrix);
    const bc_matrix_sums sums = {
        .engine = call->engine,
        .to = &call->grads->matrix[matrix],
        .dy = dy,
        .y = y,
        .bias = weight->bias,
        .dy_stride = dy_stride,
        .y_stride = y_stride,
        .rows = weight->rows,
        .token = call->first_token + t,
        .n = n,
    };
    bc_matrix_sums_add(&sums);
}

/* What was added to matrix `matrix`, x f32 [n, cols] its input: its gradients, and of what is of low rank what goes
 * through it into dx. */
static void added_back(const struct back_call *call, int matrix, const float *dy, size_t dy_stride,
                       const float *x, float *dx, int n)
{
    const bc_matrix_grads *to = &call->grads->matrix[matrix];
    const bc_lora_back back = { .weight = bc_block_weight(call->b, matrix),
                                .dy = dy,
                                .dy_stride = dy_stride,
                                .x = x,
                                .dx = dx,
                                .a = to->lora_a,
                                .b = to->lora_b,
                                .n = n };
    bc_lora_backward(call->engine, &back);
    if (!to->delta) return;
    const bc_delta_back delta = { .dy = dy,
                                  .dy_stride = dy_stride,
                                  .x = x,
                                  .rows = back.weight->rows,
                                  .cols = back.weight->cols,
                                  .sum = to->delta,
                                  .across = call->w->across,
                                  .n = n };
    bc_delta_backward(&call->w->space, &delta);
}

/* Whether what is added to matrix `matrix` needs its input on the way back. */
static int is_added_to(const struct back_call *call, int matrix)
{
    return bc_block_weight(call->b, matrix)->lora.rank || call->grads->matrix[matrix].delta;
}

/* ---- forwards: what was not kept ---- */

static void attention_inputs(struct back_call *call, int64_t t, int n)
{
    const bc_layer *layer = &call->b->layer;
    if (call->grads->kept && !call->grads->qkv_in) return;
    bc_block_back *w = call->w;
    float *q = call->kept.qkv + (size_t)t * call->width;
    const bc_product products[] = {
        { &layer->q, q, call->width },
        { &layer->k, q + call->q_cols, call->width },
        { &layer->v, q + call->q_cols + call->kv_cols, call->width },
    };
    per_token(call, norm_token,
              (struct token_work){
                  .norm = layer->attn_norm, .in = call->x + (size_t)t * call->hidden, .out = w->h },
              n);
    keep(call, call->grads->qkv_in, w->h, t, n, call->hidden);
    if (!call->grads->kept) forward(call, products, 3, w->h, n);
}

static void attention_output(struct back_call *call, int64_t t, int n)
{
    bc_block_back *w = call->w;
    const size_t at = (size_t)t * call->hidden;
    const float *in = call->kept.attention + (size_t)t * call->q_cols;
    const bc_product product = { &call->b->layer.o, w->o_out + at, call->hidden };
    keep(call, call->grads->o_in, in, t, n, call->q_cols);
    if (!call->grads->kept || call->grads->matrix[BC_MATRIX_O].gain)
        forward(call, &product, 1, in, n);
    if (call->grads->kept) return;
    memcpy(w->middle + at, call->x + at, (size_t)n * call->hidden * sizeof(float));
    per_token(call, add_token, (struct token_work){ .in = w->o_out + at, .out = w->middle + at },
              n);
}

/* gate and up of tokens t.., which is a batch's first */
static float *gate_up_of(const struct back_call *call, int64_t t)
{
    return call->kept.gate_up + (call->grads->kept ? (size_t)t * 2 * call->mlp : 0);
}

static void mlp_forward(const struct back_call *call, int64_t t, int n)
{
    const bc_layer *layer = &call->b->layer;
    bc_block_back *w = call->w;
    const bc_product both[] = { { &layer->gate, w->gate_up, 2 * call->mlp },
                                { &layer->up, w->gate_up + call->mlp, 2 * call->mlp } };
    const bc_product down = { &layer->down, w->down_out, call->hidden };
    const bc_block_grads *grads = call->grads;
    if (!grads->kept || grads->mlp_in || is_added_to(call, BC_MATRIX_GATE) ||
        is_added_to(call, BC_MATRIX_UP))
        per_token(call, norm_token,
                  (struct token_work){ .norm = layer->mlp_norm,
                                       .in = call->kept.middle + (size_t)t * call->hidden,
                                       .out = w->h },
                  n);
    keep(call, grads->mlp_in, w->h, t, n, call->hidden);
    if (!grads->kept) forward(call, both, 2, w->h, n);
    if (!grads->down_in && !grads->matrix[BC_MATRIX_DOWN].gain &&
        !is_added_to(call, BC_MATRIX_DOWN))
        return;
    per_token(call, swiglu_token, (struct token_work){ .in = gate_up_of(call, t) }, n);
    keep(call, grads->down_in, w->product, t, n, call->mlp);
    if (grads->matrix[BC_MATRIX_DOWN].gain) forward(call, &down, 1, w->product, n);
}

/* ---- backwards: call->dy is turned step by step into the gradient of x ---- */

/* A norm on the way back: its weights and input. */
struct norm_back {
    const float *norm, *in;
    double *grad;
    int64_t t;
    int n;
};

static struct token_work norm_work(const struct back_call *call, const struct norm_back *to)
{
    const size_t at = (size_t)to->t * call->hidden;
    return (struct token_work){ .call = call,
                                .norm = to->norm,
                                .in = to->in + at,
                                .out = call->dy + at,
                                .inverse_rms = call->w->inverse_rms };
}

/* dx of matrices with one input, which is the output of a norm, and on to the residual stream: dy of its tokens.
 * `first`: the place in MATRICES of the first of them, x their input where it is needed. */
static void through_norm(const struct back_call *call, const bc_back_product *products, int count,
                         int first, const float *x, bc_token_step make, const struct norm_back *to)
{
    bc_block_back *w = call->w;
    struct token_work work = norm_work(call, to);
    bc_back_job job = { .products = products,
                        .count = count,
                        .n = to->n,
                        .rotated = w->rotated,
                        .dx = w->dh,
                        .make = make };
    int any = 0;
    for (int i = 0; i < count; i++) any |= is_added_to(call, first + i);
    if (!any) job.take = (bc_token_step){ norm_back_token, &work };
    bc_linear_back(&w->space, &w->back, &job);
    for (int i = 0; i < count && any; i++)
        added_back(call, first + i, products[i].dy, products[i].dy_stride, x, w->dh, to->n);
    if (any) bc_pool_run(call->engine->pool, norm_back_token, &work, to->n);
    bc_norm_sums_add(call->engine, to->grad, w->dh, work.in, w->inverse_rms, (int64_t)call->hidden,
                     to->n);
}

/* Sums that need the gradients of gate and up before anything is done with them. */
static int sums_of_gate_up(const struct back_call *call)
{
    static const bc_matrix_grads none = { 0 };
    const bc_matrix_grads *gate = &call->grads->matrix[BC_MATRIX_GATE];
    return memcmp(gate, &none, sizeof none) || memcmp(gate + 1, &none, sizeof none);
}

static void mlp_backward(struct back_call *call, int64_t t, int n)
{
    const bc_layer *layer = &call->b->layer;
    bc_block_back *w = call->w;
    const float *dy = call->dy + (size_t)t * call->hidden, *gate_up = gate_up_of(call, t);
    const size_t width = 2 * call->mlp;
    const bc_back_product down = { &layer->down, dy, call->hidden, NULL };
    const bc_back_product both[] = { { &layer->gate, w->d_gate_up, width, NULL },
                                     { &layer->up, w->d_gate_up + call->mlp, width, NULL } };
    bc_back_job job = {
        .products = &down, .count = 1, .n = n, .rotated = w->rotated, .dx = w->d_product
    };
    struct token_work work = { .call = call, .in = gate_up };
    bc_token_step make = { down_back_token, &work };
    sum_matrix(call, BC_MATRIX_DOWN, dy, call->hidden, w->down_out, call->hidden, t, n);
    call->down_is_rotated = bc_back_in_integers(&layer->down) && !is_added_to(call, BC_MATRIX_DOWN);
    if (call->down_is_rotated) job.dx = NULL;
    bc_linear_back(&w->space, &w->back, &job);
    added_back(call, BC_MATRIX_DOWN, dy, call->hidden, w->product, w->d_product, n);
    if (sums_of_gate_up(call)) {
        per_token(call, down_back_token, work, n);
        make.run = NULL;
    }
    sum_matrix(call, BC_MATRIX_GATE, w->d_gate_up, width, gate_up, width, t, n);
    sum_matrix(call, BC_MATRIX_UP, w->d_gate_up + call->mlp, width, gate_up + call->mlp, width, t,
               n);
    through_norm(
        call, both, 2, BC_MATRIX_GATE, w->h, make,
        &(struct norm_back){ layer->mlp_norm, call->kept.middle, call->grads->mlp_norm, t, n });
}

static void output_backward(struct back_call *call, int64_t t, int n)
{
    bc_block_back *w = call->w;
    const size_t at = (size_t)t * call->q_cols;
    const float *dy = call->dy + (size_t)t * call->hidden;
    const bc_back_product o = { &call->b->layer.o, dy, call->hidden, NULL };
    const bc_back_job job = {
        .products = &o, .count = 1, .n = n, .rotated = w->rotated, .dx = w->d_attention + at
    };
    sum_matrix(call, BC_MATRIX_O, dy, call->hidden, w->o_out + (size_t)t * call->hidden,
               call->hidden, t, n);
    bc_linear_back(&w->space, &w->back, &job);
    added_back(call, BC_MATRIX_O, dy, call->hidden, call->kept.attention + at, w->d_attention + at,
               n);
}

static void inputs_backward(struct back_call *call, int64_t t, int n)
{
    const bc_layer *layer = &call->b->layer;
    bc_block_back *w = call->w;
    const size_t at = (size_t)t * call->width, width = call->width;
    const size_t start[] = { at, at + call->q_cols, at + call->q_cols + call->kv_cols };
    const bc_back_product products[] = { { &layer->q, w->d_qkv + start[0], width, NULL },
                                         { &layer->k, w->d_qkv + start[1], width, NULL },
                                         { &layer->v, w->d_qkv + start[2], width, NULL } };
    int any = 0;
    for (int i = 0; i < 3; i++) {
        sum_matrix(call, BC_MATRIX_Q + i, w->d_qkv + start[i], width, call->kept.qkv + start[i],
                   width, t, n);
        any |= is_added_to(call, BC_MATRIX_Q + i);
    }
    struct token_work again = { .call = call, /* the input, for what is added */
                                .norm = layer->attn_norm,
                                .in = call->x + (size_t)t * call->hidden,
                                .out = w->h };
    through_norm(call, products, 3, BC_MATRIX_Q, w->h,
                 (bc_token_step){ any ? norm_token : NULL, &again },
                 &(struct norm_back){ layer->attn_norm, call->x, call->grads->attn_norm, t, n });
}

/* ---- the whole ---- */

static void in_batches(struct back_call *call, void (*step)(struct back_call *, int64_t, int))
{
    for (int t = 0; t < call->tokens && !bc_cancelled(call->cancel); t += call->w->n_batch) {
        const int left = call->tokens - t;
        step(call, t, left < call->w->n_batch ? left : call->w->n_batch);
    }
}

static void mlp(struct back_call *call, int64_t t, int n)
{
    mlp_forward(call, t, n);
    if (!bc_cancelled(call->cancel)) mlp_backward(call, t, n);
}

static void run_group(struct back_call *call)
{
    bc_block_back *w = call->w;
    const bc_attention_job job = {
        .engine = call->engine,
        .config = call->c,
        .layer = &call->b->layer,
        .window = call->b->window,
        .n_windows = call->n_windows,
        .starts = w->starts,
        .positions = w->positions,
        .cancel = call->cancel,
        .cos = w->cos,
        .sin = w->sin,
        .minus_sin = w->minus_sin,
        .qkv = call->kept.qkv,
        .out = call->kept.attention,
        .d_out = w->d_attention,
        .d_qkv = w->d_qkv,
        .d_keys = w->d_keys,
        .d_values = w->d_values,
        .d_norms = w->d_norms,
        .scratch = w->scratch,
    };
    in_batches(call, attention_inputs);
    if (!call->grads->kept) bc_attention_forward(&job);
    in_batches(call, attention_output);
    in_batches(call, mlp);
    in_batches(call, output_backward);
    bc_attention_backward(&job, call->grads->q_norm, call->grads->k_norm);
    in_batches(call, inputs_backward);
}

/* Windows first.. that fit into one group: their starts and the tokens' positions. */
static int fill_group(bc_block_back *w, const int32_t *lengths, int32_t first, int32_t windows)
{
    const int most = w->n_windows * w->window;
    int n = 0;
    w->starts[0] = 0;
    for (int32_t i = first; i < windows; i++, n++) {
        const int length = lengths ? lengths[i] : w->window;
        if (w->starts[n] + length > most) break;
        w->starts[n + 1] = w->starts[n] + length;
        for (int t = 0; t < length; t++) w->positions[w->starts[n] + t] = t;
    }
    return n;
}

static int check(bc_block *b, int32_t windows, const int32_t *lengths, const bc_block_grads *grads,
                 bc_error *err)
{
    if (windows < 0) return bc_fail(err, BC_ERR_INVALID, "windows is %d", windows);
    for (int32_t i = 0; lengths && i < windows; i++)
        if (lengths[i] < 1 || lengths[i] > b->window)
            return bc_fail(err, BC_ERR_INVALID, "window %d has %d tokens, must be 1 to %d", i,
                           lengths[i], b->window);
    const int status = bc_block_check(b, err);
    if (status != BC_OK) return status;
    if (grads && !b->model.config.qk_norm && (grads->q_norm || grads->k_norm))
        return bc_fail(err, BC_ERR_INVALID, "this %s model does not have a q_norm and a k_norm",
                       b->model.info.family);
    for (int i = 0; grads && i < BC_N_MATRICES; i++)
        if (grads->matrix[i].gain && bc_block_weight(b, i)->lora.rank)
            return bc_fail(err, BC_ERR_INVALID,
                           "matrix %d has a low-rank addition: its gain has no gradient here", i);
    for (int i = 0; grads && i < BC_N_MATRICES; i++)
        if (grads->matrix[i].gain && bc_block_weight(b, i)->delta)
            return bc_fail(err, BC_ERR_INVALID,
                           "matrix %d has a matrix added: its gain has no gradient here", i);
    return BC_OK;
}

/* How many whole windows a group holds: no more than there are tokens for. */
static int group_windows(const bc_block *b, int32_t windows, const int32_t *lengths)
{
    int64_t tokens = 0;
    for (int32_t i = 0; i < windows; i++) tokens += lengths ? lengths[i] : b->window;
    const int64_t needed = (tokens + b->window - 1) / b->window;
    const int most = BC_BLOCK_TOKENS / b->window > 1 ? BC_BLOCK_TOKENS / b->window : 1;
    return needed < most ? (int)needed : most;
}

int bc_block_backward(bc_block *b, const float *x, float *dy, int32_t windows,
                      const int32_t *lengths, const bc_block_grads *grads, const bc_cancel *cancel,
                      bc_error *err)
{
    if (!b || !x || !dy) return bc_fail(err, BC_ERR_INVALID, "block, x or dy is NULL");
    int status = check(b, windows, lengths, grads, err);
    if (status != BC_OK || windows == 0) return status;
    status = bc_block_back_ready(b, group_windows(b, windows, lengths), err);
    for (int i = 0; status == BC_OK && grads && i < BC_N_MATRICES; i++)
        if (grads->matrix[i].delta)
            status = bc_block_back_across(b->model.engine->back, &b->model.config, err);
    if (status != BC_OK) return status;
    const bc_config *c = &b->model.config;
    struct back_call call = {
        .b = b, .w = b->model.engine->back, .engine = b->model.engine, .c = c
    };
    call.grads = grads ? grads : &NOTHING;
    call.cancel = call.w->space.cancel = cancel;
    call.hidden = (size_t)c->hidden;
    call.mlp = (size_t)c->intermediate;
    call.q_cols = (size_t)c->n_heads * (size_t)c->head_dim;
    call.kv_cols = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    call.width = call.q_cols + 2 * call.kv_cols;
    call.x = x;
    call.dy = dy;
    call.kept = (bc_kept){ NULL, call.w->qkv, call.w->attention, call.w->middle, call.w->gate_up };
    call.w->back.coarse = call.grads->coarse;
    int64_t tokens = 0;
    for (int32_t i = 0; i < windows; i++) tokens += lengths ? lengths[i] : b->window;
    for (int32_t i = 0; i < windows && !bc_cancelled(cancel);) {
        const int n = fill_group(call.w, lengths, i, windows);
        call.tokens = call.w->starts[n];
        call.n_windows = n;
        if (call.grads->kept) /* only read */
            call.kept =
                bc_kept_parts(b, (float *)(uintptr_t)call.grads->kept, tokens, call.first_token);
        run_group(&call);
        call.first_token += call.tokens;
        call.x += (size_t)call.tokens * call.hidden;
        call.dy += (size_t)call.tokens * call.hidden;
        i += n;
    }
    call.w->space.cancel = NULL;
    if (bc_cancelled(cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the layer's backward pass was cancelled");
    return BC_OK;
}
