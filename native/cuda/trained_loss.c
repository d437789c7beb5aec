/* trained_loss.c - the loss over the vocabulary on a card, and its gradient: bc_head_cross_entropy (head.c), some tokens
 * at a time. The gradients of logits are integers of 16 bits in blocks of rows: beside its target's number the small ones
 * of a block would all round to nothing in 8. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "trained.h"

static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

/* Tokens that count, gathered: what is on its way. */
typedef struct chunk {
    bc_trained_run run;
    const bc_trained_losses *of;
    int64_t *places;    /* [tokens] among all */
    float *h, *weights; /* f32 [tokens, hidden], [tokens] */
    int32_t *targets;
    double *found; /* f64 [tokens, 3] */
} chunk;

static int make_room(chunk *c, bc_error *err)
{
    const size_t n = (size_t)c->run.s->head.tokens;
    c->places = malloc(n * sizeof *c->places);
    c->h = malloc(n * (size_t)c->run.s->model->config.hidden * sizeof *c->h);
    c->weights = malloc(n * sizeof *c->weights);
    c->targets = malloc(n * sizeof *c->targets);
    c->found = malloc(3 * n * sizeof *c->found);
    return c->places && c->h && c->weights && c->targets && c->found
               ? BC_OK
               : bc_fail(err, BC_ERR_NOMEM, "no memory for the losses of a step");
}

static void free_room(chunk *c)
{
    free(c->places);
    free(c->h);
    free(c->weights);
    free(c->targets);
    free(c->found);
}

/* ---- what the card does ---- */

static int send(const chunk *c)
{
    const bc_trained_head *head = &c->run.s->head;
    bc_device *d = c->run.s->device;
    const int64_t bytes = (int64_t)c->run.n * (int64_t)sizeof(float);
    int status = bc_trained_rows_in(&c->run, head->h, c->h, c->run.n);
    if (status == BC_OK) status = bc_device_upload(d, head->targets, c->targets, bytes, c->run.err);
    if (status == BC_OK) status = bc_device_upload(d, head->weights, c->weights, bytes, c->run.err);
    return status;
}

static int entropies(const chunk *c)
{
    const bc_trained *s = c->run.s;
    const bc_trained_head *head = &s->head;
    const int vocab = (int)head->matrix.of->rows;
    const bc_gpu_product product = { &head->matrix, head->logits, vocab, 0, 0 };
    const bc_prepare_args normed = { .source = BC_FROM_X,
                                     .cols = s->model->config.hidden,
                                     .x = head->h,
                                     .norm = head->norm,
                                     .eps = s->model->config.rms_eps };
    bc_entropy_args args = { .logits = head->logits,
                             .vocab = vocab,
                             .back = c->of->dh != NULL,
                             .targets = head->targets,
                             .weights = head->weights,
                             .found = head->found };
    const int status = bc_gpu_linear(&c->run.space, normed, &product, 1, c->run.n, c->run.err);
    if (status != BC_OK) return status;
    return bc_trained_launch(&c->run, BC_K_bc_back_entropy, c->run.n, 1, BC_GPU_VECTOR_THREADS, 0,
                             &args);
}

/* From the logits' gradients to those of h. */
static int head_back(const chunk *c)
{
    const bc_trained_run *r = &c->run;
    const bc_trained_head *head = &r->s->head;
    const bc_gpu_matrix *m = &head->matrix;
    const int vocab = (int)m->of->rows, blocks = (int)up(vocab, BC_GPU_BACK_ROWS);
    bc_round_args round = { .dy = head->logits,
                            .dy_stride = vocab,
                            .scales = m->scales,
                            .rows = vocab,
                            .n = r->n,
                            .blocks = blocks,
                            .codes = head->codes,
                            .limb = head->limb,
                            .step = head->step,
                            .sum = head->total };
    bc_back_args back = { .data = m->data,
                          .rows = vocab,
                          .cols = m->cols,
                          .n = r->n,
                          .blocks = blocks,
                          .limbs = 2,
                          .codes = head->codes,
                          .limb = head->limb,
                          .step = head->step,
                          .sum = head->total,
                          .out = head->rotated,
                          .out_stride = (int)bc_gpu_width(m->of->cols),
                          .out_cols = (int)m->of->cols };
    bc_norm_back_args norm = { .dx = head->dh,
                               .x = head->h,
                               .dy = head->d_normed,
                               .norm = head->norm,
                               .cols = (int)m->of->cols,
                               .width = r->s->w.hidden,
                               .eps = r->s->model->config.rms_eps };
    const int64_t bytes = (int64_t)r->n * r->s->w.hidden * (int64_t)sizeof(float);
    int status = bc_trained_launch(r, BC_K_bc_back_round_2, r->n, up(blocks, BC_RING_WARPS),
                                   32 * BC_RING_WARPS, 0, &round);
    if (status == BC_OK)
        status = bc_trained_launch(r, BC_K_bc_back_codes, up(back.cols, BC_GPU_BACK_COLS),
                                   up(r->n, BC_GPU_BACK_TOKENS), BC_GPU_BACK_THREADS, 0, &back);
    if (status == BC_OK) status = bc_trained_unrotate(r, m, head->rotated, head->d_normed);
    if (status == BC_OK) status = bc_device_clear(r->s->device, head->dh, bytes, r->err);
    if (status == BC_OK)
        status = bc_trained_launch(r, BC_K_bc_back_norm, r->n, 1, BC_GPU_VECTOR_THREADS, 0, &norm);
    return status == BC_OK ? bc_trained_rows_out(r, c->h, head->dh, r->n) : status;
}

/* ---- the call ---- */

static void give(const chunk *c)
{
    const bc_trained_losses *to = c->of;
    const size_t hidden = (size_t)c->run.s->model->config.hidden;
    for (int i = 0; i < c->run.n; i++) {
        const int64_t t = c->places[i];
        const double top = c->found[3 * i], sum = c->found[3 * i + 1], at = c->found[3 * i + 2];
        to->loss[t] = log(sum) + (top - at);
        if (to->hits) to->hits[t] = at >= top;
        if (to->dh)
            memcpy(to->dh + (size_t)t * hidden, c->h + (size_t)i * hidden, hidden * sizeof *to->dh);
    }
}

static int run_chunk(chunk *c)
{
    bc_trained *s = c->run.s;
    if (c->run.n == 0) return BC_OK;
    if (c->of->stop.asked(c->of->stop.arg))
        return bc_fail(c->run.err, BC_ERR_CANCELLED, "the losses were cancelled");
    int status = send(c);
    if (status == BC_OK) status = entropies(c);
    if (status == BC_OK)
        status = bc_device_download(s->device, c->found, s->head.found,
                                    (int64_t)c->run.n * 3 * (int64_t)sizeof(double), c->run.err);
    if (status == BC_OK && c->of->dh) status = head_back(c);
    const int waited = bc_device_wait(s->device, status == BC_OK ? c->run.err : NULL);
    if (status == BC_OK) status = waited;
    if (status == BC_OK) give(c);
    c->run.n = 0;
    return status;
}

/* Tokens without a target or with weight 0 cost no time. */
static void take_token(chunk *c, int64_t t)
{
    const bc_trained_losses *of = c->of;
    const size_t hidden = (size_t)c->run.s->model->config.hidden;
    const float weight = of->weights ? of->weights[t] : 1.0f;
    of->loss[t] = 0;
    if (of->hits) of->hits[t] = 0;
    if (of->targets[t] < 0 || weight == 0.0f) {
        if (of->dh) memset(of->dh + (size_t)t * hidden, 0, hidden * sizeof *of->dh);
        return;
    }
    const int i = c->run.n++;
    c->places[i] = t;
    c->targets[i] = of->targets[t];
    c->weights[i] = weight;
    memcpy(c->h + (size_t)i * hidden, of->h + (size_t)t * hidden, hidden * sizeof *c->h);
}

int bc_trained_loss(bc_trained *s, const bc_trained_losses *losses, bc_error *err)
{
    chunk c = { .run = { .s = s, .err = err }, .of = losses };
    c.run.space = bc_trained_space(s);
    int status = bc_device_enter(s->device, err);
    if (status == BC_OK) status = make_room(&c, err);
    for (int64_t t = 0; t < losses->tokens && status == BC_OK; t++) {
        take_token(&c, t);
        if (c.run.n == s->head.tokens) status = run_chunk(&c);
    }
    if (status == BC_OK) status = run_chunk(&c);
    free_room(&c);
    return status;
}
