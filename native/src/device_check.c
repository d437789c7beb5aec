/* device_check.c - see device_check.h. There are more kinds of cards and drivers than anybody has tried these kernels on:
 * one that calculates wrongly must say so before it answers, not by what it answers. */
#include "device_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "random.h"
#include "session.h"

enum { N_CTX = 160, N_BATCH = 144, HEAD_ROWS = 128, HEAD_BATCH = 48 };

/* Tokens at a time, one batch behind the other: a backend multiplies one, few, more and many each in its own way, and may attend
 * in two to few positions. */
static const struct {
    int n, any_position;
} BATCHES[] = { { 1, 0 }, { 1, 1 }, { 12, 0 }, { 3, 0 }, { N_BATCH, 0 } };

/* Of what a layer adds to a token. The two sides round the same way but sum in another order, and where that moves an
 * activation over a rounding boundary it becomes a whole step: up to 0.023 in the random layers of tests/engine, 0.016 in SmolLM2's. */
#define MOST_OFF 0.1
#define FLOAT_STEPS 1e-5 /* of the token itself: rounding, where a layer adds next to nothing */

struct check {
    bc_session *s; /* on the processor: the model is not placed yet */
    const bc_backend *backend;
    bc_stack *stack;
    bc_cache *cache;
    float *in, *found; /* [N_BATCH, hidden] */
    float *scores;     /* [2, HEAD_BATCH, HEAD_ROWS]: of both sides */
    uint64_t random;
};

static float next_random(struct check *w)
{
    w->random += BC_RANDOM_STEP;
    return (float)(bc_random_mix(w->random) >> 40) * 0x1p-23f - 1; /* -1 .. 1 */
}

static void take(void *arg, int32_t first, int32_t count, const float *from, int64_t stride)
{
    const struct check *w = arg;
    const size_t hidden = (size_t)w->s->model->config.hidden;
    for (size_t i = 0; i < (size_t)count; i++)
        memcpy(w->found + ((size_t)first + i) * hidden, from + i * (size_t)stride,
               hidden * sizeof *from);
}

/* Of one token: the length of the difference as a share of what is added to `in` (NULL: to 0); 0 where the processor itself
 * finds no numbers, which is the model's fault. */
static double share_off(const float *in, const float *expected, const float *found, int width)
{
    double off = 0, added = 0, all = 0;
    for (int i = 0; i < width; i++) {
        const double from = in ? in[i] : 0;
        const double d = (double)found[i] - expected[i], a = expected[i] - from;
        off += d * d;
        added += a * a;
        all += from * from;
    }
    if (!isfinite(added)) return 0;
    if (!isfinite(off)) return INFINITY;
    const double more = sqrt(off) - FLOAT_STEPS * sqrt(all);
    return more <= 0 ? 0 : more / sqrt(added);
}

/* n tokens of `part` of the model, [n, width] as above. */
static int compare(const char *part, const float *in, const float *expected, const float *found,
                   int n, int width, bc_error *err)
{
    double worst = 0;
    for (int t = 0; t < n; t++) {
        const size_t at = (size_t)t * (size_t)width;
        worst = fmax(worst, share_off(in ? in + at : NULL, expected + at, found + at, width));
    }
    if (worst <= MOST_OFF) return BC_OK;
    return bc_fail(err, BC_ERR_DEVICE,
                   "this graphics card, or its driver, calculates wrongly: of %s with %d token%s "
                   "at a time it finds values that are %.0f %% off the processor's, 1 %% would be "
                   "usual. A newer driver may help",
                   part, n, n == 1 ? "" : "s", 100 * fmin(worst, 10));
}

/* The next n tokens of both caches. */
static int layer_on_both(struct check *w, int layer, int n, int any_position, bc_error *err)
{
    bc_session *s = w->s;
    const int hidden = s->model->config.hidden;
    const size_t count = (size_t)n * (size_t)hidden;
    bc_stack_place places[N_BATCH];
    for (size_t i = 0; i < count; i++) w->in[i] = s->x[i] = next_random(w);
    bc_session_own_places(s, n);
    bc_rope_table(s, n);
    for (int t = 0; t < n; t++) places[t] = (bc_stack_place){ w->cache, s->position + t };
    const bc_stack_batch batch = { .x = w->in,
                                   .cos = s->cos,
                                   .sin = s->sin,
                                   .places = places,
                                   .n = n,
                                   .any_position = any_position,
                                   .rows = n,
                                   .take = take,
                                   .arg = w };
    const int status = w->backend->stack_forward(w->stack, &batch, err);
    if (status != BC_OK) return status;
    bc_session_layer(s, layer, n);
    s->position += n;
    char part[32];
    snprintf(part, sizeof part, "layer %d", layer);
    return compare(part, w->in, s->x, w->found, n, hidden, err);
}

/* Its first rows: all of it would take a while. */
static int head_on_both(struct check *w, bc_device *device, int n, bc_error *err)
{
    bc_session *s = w->s;
    const size_t hidden = (size_t)s->model->config.hidden;
    float *expected = w->scores, *found = expected + HEAD_BATCH * HEAD_ROWS;
    bc_weight head = s->model->head;
    if (head.rows > HEAD_ROWS) head.rows = HEAD_ROWS;
    const int rows = (int)head.rows;
    for (size_t i = 0; i < (size_t)n * hidden; i++) w->in[i] = next_random(w);
    const int status = w->backend->op_linear(device, &head, w->in, n, found, err);
    if (status != BC_OK) return status;
    const bc_product product = { &head, expected, (size_t)rows };
    bc_linear_shared(&s->space, &product, 1, w->in, hidden, n);
    return compare("the head", NULL, expected, found, n, rows, err);
}

static int open_both(struct check *w, bc_model *model, bc_device *device, int layer,
                     const bc_placement_params *params, bc_error *err)
{
    const int top = params->n_ctx < N_CTX ? params->n_ctx : N_CTX;
    const bc_session_params sizes = { .n_ctx = top,
                                      .n_batch =
                                          params->n_batch < N_BATCH ? params->n_batch : N_BATCH,
                                      .kv_type = params->kv_type };
    const size_t floats = (size_t)N_BATCH * (size_t)model->config.hidden;
    w->in = malloc(floats * sizeof *w->in);
    w->found = malloc(floats * sizeof *w->found);
    w->scores = malloc(2 * (size_t)(HEAD_BATCH * HEAD_ROWS) * sizeof *w->scores);
    if (!w->in || !w->found || !w->scores)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for checking the graphics card");
    int status = bc_session_open(&w->s, model, &sizes, err);
    if (status == BC_OK)
        status = w->backend->stack_open(&w->stack, device, model, layer, 1, 0, w->s->n_batch, err);
    if (status == BC_OK)
        status = w->backend->cache_open(&w->cache, w->stack, w->s->n_ctx, w->s->kv_type, err);
    return status;
}

int bc_device_check(bc_model *model, const bc_backend *backend, bc_device *device, int layer,
                    int with_head, const bc_placement_params *params, bc_error *err)
{
    struct check w = { .backend = backend };
    int status = open_both(&w, model, device, layer, params, err);
    for (size_t i = 0; i < sizeof BATCHES / sizeof BATCHES[0] && status == BC_OK; i++) {
        const int most = w.s->n_batch, room = w.s->n_ctx - w.s->position;
        const int batch = BATCHES[i].n < most ? BATCHES[i].n : most;
        const int n = batch < room ? batch : room;
        if (n > 0) status = layer_on_both(&w, layer, n, BATCHES[i].any_position, err);
        if (status == BC_OK && with_head && !BATCHES[i].any_position) /* it has seen one token */
            status = head_on_both(&w, device, batch < HEAD_BATCH ? batch : HEAD_BATCH, err);
    }
    if (w.cache) backend->cache_close(w.cache);
    if (w.stack) backend->stack_close(w.stack);
    bc_session_close(w.s);
    free(w.in);
    free(w.found);
    free(w.scores);
    return status;
}
