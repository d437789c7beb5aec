/* head.c - losses over the vocabulary and their gradients, a chunk of tokens at a time. */
#include "bitconverter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gradient_sums.h"
#include "linear_back.h"
#include "platform.h"
#include "random.h"

enum { CHUNK_LOGITS = 8 << 20, MAX_CHUNK = 256, MIN_CHUNK = 12 };
enum { MAX_HIDDEN = 1 << 20, MAX_VOCAB = 1 << 24 };

/* A head made ready to run. */
typedef struct running_head {
    const bc_head *of;
    bc_weight weight;
    bc_rotation rotation;
    bc_linear_space space;
    float *x, *h, *logits; /* [chunk, hidden] gathered, the same normed, [chunk, vocab] */
} running_head;

/* Call and chunk. */
struct head_work {
    bc_engine *engine;
    running_head student, teacher;
    int chunk, has_teacher;
    const float *h, *teacher_h, *w;
    const int32_t *targets; /* NULL and no teacher: drawn from the head's own distribution */
    uint64_t draw_seed;
    double *loss, *dnorm;
    int32_t *hits;
    float *dh;
    const bc_cancel *cancel;
    bc_back_space back;  /* with dh */
    float *dy, *rotated; /* [chunk, hidden] */
    float *inverse_rms;  /* [chunk] */
    float *fine_above;   /* [chunk]: see FINE */
    float *exponentials; /* [threads, 2, vocab]: the teacher's, the student's */
    int64_t *counted;    /* [chunk]: the tokens of the chunk */
    int n;
};

/* ---- checks ---- */

static int check_head(const bc_head *head, const char *whose, bc_error *err)
{
    if (!head || !head->norm || !head->weights)
        return bc_fail(err, BC_ERR_INVALID, "the %shead, its norm or its weights are NULL", whose);
    if (head->hidden < 1 || head->hidden > MAX_HIDDEN || head->vocab < 1 || head->vocab > MAX_VOCAB)
        return bc_fail(err, BC_ERR_INVALID, "a %shead of %d x %d", whose, head->vocab,
                       head->hidden);
    if (!head->scales && (head->dtype < BC_F32 || head->dtype > BC_BF16))
        return bc_fail(err, BC_ERR_INVALID, "dtype is %d, must be 0 to 2", head->dtype);
    if (!(head->rms_eps >= 0.0f && head->rms_eps <= 1.0f))
        return bc_fail(err, BC_ERR_INVALID, "rms_eps is %g, must be 0 to 1", (double)head->rms_eps);
    return BC_OK;
}

static int check_tokens(const struct head_work *w, int64_t tokens, bc_error *err)
{
    if (tokens < 0 || tokens > INT32_MAX)
        return bc_fail(err, BC_ERR_INVALID, "tokens is %lld", (long long)tokens);
    const int32_t vocab = w->student.of->vocab;
    for (int64_t t = 0; t < tokens; t++) {
        if (w->targets && (w->targets[t] < -1 || w->targets[t] >= vocab))
            return bc_fail(err, BC_ERR_INVALID, "target %lld is token %d, the vocabulary has %d",
                           (long long)t, w->targets[t], vocab);
        if (w->w && !isfinite(w->w[t]))
            return bc_fail(err, BC_ERR_INVALID, "weight %lld is %g, must be finite", (long long)t,
                           (double)w->w[t]);
    }
    return BC_OK;
}

/* ---- work space ---- */

static float *take(size_t count, int *failed)
{
    float *p = bc_aligned_alloc(count * sizeof *p);
    if (!p) *failed = 1;
    return p;
}

static int head_open(running_head *h, const struct head_work *w, const bc_head *of, bc_error *err)
{
    const size_t chunk = (size_t)w->chunk, hidden = (size_t)of->hidden;
    int failed = 0;
    h->of = of;
    h->weight = (bc_weight){ .kind = of->scales ? BC_WEIGHT_INT8 : BC_WEIGHT_DENSE,
                             .dtype = of->dtype,
                             .rows = of->vocab,
                             .cols = of->hidden,
                             .data = of->weights,
                             .scales = (float *)(uintptr_t)of->scales }; /* only read */
    if (of->scales) {
        const int status = bc_rotation_init(&h->rotation, of->hidden, of->seed, err);
        if (status != BC_OK) return status;
        h->weight.rotation = &h->rotation;
    }
    h->x = take(chunk * hidden, &failed);
    h->h = take(chunk * hidden, &failed);
    h->logits = take(chunk * (size_t)of->vocab, &failed);
    const int64_t widest = of->hidden > BC_LEAST_WIDTH ? of->hidden : BC_LEAST_WIDTH;
    if (failed || bc_linear_space_init(&h->space, w->engine, w->chunk, widest, NULL) != BC_OK)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for the logits of %d tokens", w->chunk);
    h->space.cancel = w->cancel;
    return BC_OK;
}

static void head_close(running_head *h)
{
    bc_aligned_free(h->x);
    bc_aligned_free(h->h);
    bc_aligned_free(h->logits);
    bc_linear_space_free(&h->space);
    bc_rotation_free(&h->rotation);
}

static int work_open(struct head_work *w, const bc_head *student, const bc_head *teacher,
                     bc_error *err)
{
    const size_t threads = (size_t)bc_pool_size(w->engine->pool);
    int failed = 0;
    w->chunk = CHUNK_LOGITS / student->vocab;
    w->chunk = w->chunk > MAX_CHUNK ? MAX_CHUNK : w->chunk / MIN_CHUNK * MIN_CHUNK;
    w->chunk = w->chunk < MIN_CHUNK ? MIN_CHUNK : w->chunk;
    const size_t floats = (size_t)w->chunk * (size_t)student->hidden;
    w->dy = take(floats, &failed);
    w->rotated = take(floats, &failed);
    w->inverse_rms = take((size_t)w->chunk, &failed);
    w->fine_above = take((size_t)w->chunk, &failed);
    w->counted = bc_aligned_alloc((size_t)w->chunk * sizeof *w->counted);
    if (teacher) w->exponentials = take(threads * 2 * (size_t)teacher->vocab, &failed);
    if (w->dh && bc_back_space_init(&w->back, w->engine, w->chunk, NULL) != BC_OK) failed = 1;
    if (failed || !w->counted)
        return bc_fail(err, BC_ERR_NOMEM, "no memory for the gradients of %d tokens", w->chunk);
    int status = head_open(&w->student, w, student, err);
    if (status == BC_OK && teacher) status = head_open(&w->teacher, w, teacher, err);
    return status;
}

static void work_close(struct head_work *w)
{
    head_close(&w->student);
    head_close(&w->teacher);
    bc_back_space_free(&w->back);
    bc_aligned_free(w->dy);
    bc_aligned_free(w->rotated);
    bc_aligned_free(w->inverse_rms);
    bc_aligned_free(w->fine_above);
    bc_aligned_free(w->exponentials);
    bc_aligned_free(w->counted);
}

/* ---- one chunk ---- */

struct norm_work {
    const struct head_work *w;
    const running_head *h;
    const float *from;
};

static void gather_token(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct norm_work *n = arg;
    const size_t hidden = (size_t)n->h->of->hidden, at = (size_t)i * hidden;
    float *x = n->h->x + at;
    memcpy(x, n->from + (size_t)n->w->counted[i] * hidden, hidden * sizeof *x);
    n->w->engine->k.rmsnorm(n->h->h + at, x, n->h->of->norm, n->h->of->hidden, n->h->of->rms_eps);
}

/* The logits of the chunk's tokens. */
static void head_logits(const struct head_work *w, running_head *h, const float *from)
{
    struct norm_work norm = { w, h, from };
    const size_t hidden = (size_t)h->of->hidden;
    const bc_product product = { &h->weight, h->logits, (size_t)h->of->vocab };
    bc_pool_run(w->engine->pool, gather_token, &norm, w->n);
    bc_activations_prepare(&h->space, &h->weight, h->h, hidden, w->n);
    bc_linear(&h->space, &product, 1, h->h, hidden, w->n);
}

/* The exponentials x of token i, which add up to sum -> the gradient of -weight log p(target). No number is larger than
 * the target's; with head.coarse, blocks of the vocabulary whose numbers are all below 1 / FINE of it are integers of 8
 * bits, dithered: what is below their step are many numbers of one sign, which must not vanish all. */
static void gradient_row(const struct head_work *w, int64_t i, float *x, int32_t target,
                         float weight, double sum)
{
    enum { FINE = 16 };
    const bc_head *of = w->student.of;
    const float scale = (float)((double)weight / sum);
    for (int32_t v = 0; v < of->vocab; v++) x[v] *= scale;
    x[target] -= weight;
    if (of->scales) w->fine_above[i] = fabsf(x[target] * of->scales[target]) / FINE;
}

/* logits -> their gradient, in place, where one is wanted; the loss of one token. */
static void entropy_row(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct head_work *w = arg;
    const int32_t vocab = w->student.of->vocab, target = w->targets[w->counted[i]];
    const float weight = w->w ? w->w[w->counted[i]] : 1.0f;
    float *x = w->student.logits + (size_t)i * (size_t)vocab;
    const float at_target = x[target];
    float top;
    const double sum = w->engine->k.exp_sum(x, &top, x, vocab);
    w->loss[w->counted[i]] = log(sum) + ((double)top - (double)at_target);
    if (w->hits) w->hits[w->counted[i]] = at_target >= top;
    if (w->dh) gradient_row(w, i, x, target, weight, sum);
}

/* The token at which the running sum of `weights` f32 [n], which add up to sum, first exceeds a number
 * drawn from 0 <= u < sum: token v with probability weights[v] / sum. */
static int32_t draw_token(const float *weights, int32_t n, double sum, uint64_t seed, int64_t place)
{
    const uint64_t bits = bc_random_mix(seed + (uint64_t)(place + 1) * BC_RANDOM_STEP);
    const double wanted = (double)(bits >> 11) * 0x1p-53 * sum;
    double so_far = 0;
    int32_t last = 0; /* rounding may leave the running sum below sum: then the last possible one */
    for (int32_t v = 0; v < n; v++) {
        if (weights[v] <= 0.0f) continue;
        so_far += (double)weights[v];
        last = v;
        if (so_far > wanted) break;
    }
    return last;
}

/* As entropy_row, with a target drawn from the distribution itself. */
static void drawn_row(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct head_work *w = arg;
    const int32_t vocab = w->student.of->vocab;
    const int64_t place = w->counted[i];
    const float weight = w->w ? w->w[place] : 1.0f;
    float *x = w->student.logits + (size_t)i * (size_t)vocab, top;
    const double sum = w->engine->k.exp_sum(x, &top, x, vocab);
    const int32_t target = draw_token(x, vocab, sum, w->draw_seed, place);
    w->loss[place] = log(sum / (double)x[target]);
    if (w->dh) gradient_row(w, i, x, target, weight, sum);
}

static void divergence_row(void *arg, int64_t i, int thread)
{
    const struct head_work *w = arg;
    const int32_t vocab = w->student.of->vocab;
    const float weight = w->w ? w->w[w->counted[i]] : 1.0f;
    float *s = w->student.logits + (size_t)i * (size_t)vocab;
    const float *t = w->teacher.logits + (size_t)i * (size_t)vocab;
    float *p = w->exponentials + (size_t)thread * 2 * (size_t)vocab, *q = p + vocab, top_t, top_s;
    const double sum_t = w->engine->k.exp_sum(p, &top_t, t, vocab);
    const double sum_s = w->engine->k.exp_sum(q, &top_s, s, vocab);
    double difference = 0; /* of logits below their largest, weighted by the teacher */
    for (int32_t v = 0; v < vocab; v++)
        difference +=
            (double)p[v] * (((double)t[v] - (double)top_t) - ((double)s[v] - (double)top_s));
    w->loss[w->counted[i]] = difference / sum_t + log(sum_s / sum_t);
    if (!w->dh) return;
    const float scale_s = (float)((double)weight / sum_s);
    const float scale_t = (float)((double)weight / sum_t);
    for (int32_t v = 0; v < vocab; v++) s[v] = q[v] * scale_s - p[v] * scale_t;
}

static void scatter_token(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct head_work *w = arg;
    const bc_head *of = w->student.of;
    const size_t hidden = (size_t)of->hidden, at = (size_t)i * hidden;
    float *dx = w->dh + (size_t)w->counted[i] * hidden;
    memset(dx, 0, hidden * sizeof *dx);
    w->inverse_rms[i] = w->engine->k.rmsnorm_back(dx, w->student.x + at, of->norm, w->dy + at,
                                                  of->hidden, of->rms_eps);
}

static void run_chunk(struct head_work *w)
{
    running_head *s = &w->student;
    head_logits(w, s, w->h);
    if (w->has_teacher) head_logits(w, &w->teacher, w->teacher_h);
    if (bc_cancelled(w->cancel)) return;
    bc_pool_run(w->engine->pool,
                w->has_teacher ? divergence_row : (w->targets ? entropy_row : drawn_row), w, w->n);
    if (!w->dh) return;
    const bc_back_product product = { &s->weight, s->logits, (size_t)s->of->vocab,
                                      s->of->coarse && !w->has_teacher ? w->fine_above : NULL };
    const bc_back_job job = { .products = &product,
                              .count = 1,
                              .n = w->n,
                              .rotated = w->rotated,
                              .dx = w->dy,
                              .take = { scatter_token, w } };
    bc_linear_back(&s->space, &w->back, &job);
    bc_norm_sums_add(w->engine, w->dnorm, w->dy, s->x, w->inverse_rms, s->of->hidden, w->n);
}

static int counts(const struct head_work *w, int64_t t)
{
    return (!w->targets || w->targets[t] >= 0) && (!w->w || w->w[t] != 0.0f);
}

/* All tokens that count, a chunk at a time; the others get a loss and a gradient of 0. */
static void run(struct head_work *w, int64_t tokens)
{
    const size_t hidden = (size_t)w->student.of->hidden;
    for (int64_t t = 0; t < tokens && !bc_cancelled(w->cancel);) {
        for (w->n = 0; t < tokens && w->n < w->chunk; t++) {
            w->loss[t] = 0;
            if (w->hits) w->hits[t] = 0;
            if (counts(w, t))
                w->counted[w->n++] = t;
            else if (w->dh)
                memset(w->dh + (size_t)t * hidden, 0, hidden * sizeof *w->dh);
        }
        if (w->n) run_chunk(w);
    }
}

static int head_loss(struct head_work *w, const bc_head *student, const bc_head *teacher,
                     int64_t tokens, bc_error *err)
{
    if (!w->engine || !w->h || !w->loss)
        return bc_fail(err, BC_ERR_INVALID, "engine, h or loss is NULL");
    int status = check_head(student, "", err);
    if (status != BC_OK) return status;
    w->student.of = student;
    status = check_tokens(w, tokens, err);
    if (status == BC_OK) status = work_open(w, student, teacher, err);
    if (status == BC_OK) run(w, tokens);
    work_close(w);
    if (status == BC_OK && bc_cancelled(w->cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the loss was cancelled");
    return status;
}

int bc_head_cross_entropy(bc_engine *engine, const bc_head *head, const float *h, int64_t tokens,
                          const int32_t *targets, const float *w, double *loss, float *dh,
                          double *dnorm, int32_t *hits, const bc_cancel *cancel, bc_error *err)
{
    if (!targets) return bc_fail(err, BC_ERR_INVALID, "targets is NULL");
    struct head_work work = { .engine = engine, .h = h, .targets = targets, .w = w, .loss = loss };
    work.hits = hits;
    work.dh = dh;
    work.dnorm = dnorm;
    work.cancel = cancel;
    return head_loss(&work, head, NULL, tokens, err);
}

int bc_head_drawn_entropy(bc_engine *engine, const bc_head *head, const float *h, int64_t tokens,
                          uint64_t seed, const float *w, double *loss, float *dh, double *dnorm,
                          const bc_cancel *cancel, bc_error *err)
{
    struct head_work work = { .engine = engine, .h = h, .draw_seed = seed, .w = w, .loss = loss };
    work.dh = dh;
    work.dnorm = dnorm;
    work.cancel = cancel;
    return head_loss(&work, head, NULL, tokens, err);
}

int bc_head_divergence(bc_engine *engine, const bc_head *head, const float *h, int64_t tokens,
                       const bc_head *teacher, const float *teacher_h, const float *w, double *loss,
                       float *dh, double *dnorm, const bc_cancel *cancel, bc_error *err)
{
    const int status = check_head(teacher, "teacher's ", err);
    if (status != BC_OK) return status;
    if (!teacher_h) return bc_fail(err, BC_ERR_INVALID, "teacher_h is NULL");
    if (head && head->vocab != teacher->vocab)
        return bc_fail(err, BC_ERR_INVALID, "a vocabulary of %d, and the teacher's has %d",
                       head->vocab, teacher->vocab);
    struct head_work work = { .engine = engine, .h = h, .w = w, .loss = loss };
    work.has_teacher = 1;
    work.teacher_h = teacher_h;
    work.dh = dh;
    work.dnorm = dnorm;
    work.cancel = cancel;
    return head_loss(&work, head, teacher, tokens, err);
}
