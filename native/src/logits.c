/* logits.c - log-likelihood and KL divergence over rows of logits, in f64. */
#include <float.h>
#include <math.h>

#include "engine.h"
#include "error.h"

struct work {
    const float *reference, *logits;
    int32_t vocab;
    const int32_t *targets;
    double *nll, *kl;
    int32_t *argmax;
};

/* log sum exp of a row, and where its maximum is (the first of equals). */
static double log_sum_exp(const float *x, int32_t n, int32_t *argmax)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)expf(x[i] - x[best]);
    *argmax = best;
    return (double)x[best] + log(sum);
}

static void score_row(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct work *w = arg;
    const float *x = w->logits + row * w->vocab;
    const double lse = log_sum_exp(x, w->vocab, &w->argmax[row]);
    w->nll[row] = lse - (double)x[w->targets[row]];
}

static void divergence_row(void *arg, int64_t row, int thread)
{
    (void)thread;
    const struct work *w = arg;
    const float *p = w->reference + row * w->vocab, *q = w->logits + row * w->vocab;
    int32_t unused;
    const double lse_p = log_sum_exp(p, w->vocab, &unused);
    const double lse_q = log_sum_exp(q, w->vocab, &unused);
    double kl = 0.0;
    for (int32_t i = 0; i < w->vocab; i++) {
        const double log_p = (double)p[i] - lse_p;
        const float probability = expf((float)log_p);
        if (!(probability <= 0.0f)) /* one that is no number makes the sum none */
            kl += (double)probability * (log_p - ((double)q[i] - lse_q));
    }
    w->kl[row] = kl;
}

static int check(const bc_engine *engine, const void *a, const void *b, const void *c, int32_t n,
                 int32_t vocab, bc_error *err)
{
    if (!engine || !a || !b || !c) return bc_fail(err, BC_ERR_INVALID, "an argument is NULL");
    if (n < 0 || vocab < 1) return bc_fail(err, BC_ERR_INVALID, "%d rows of %d logits", n, vocab);
    return BC_OK;
}

int bc_logits_score(bc_engine *engine, const float *logits, int32_t n, int32_t vocab,
                    const int32_t *targets, double *nll, int32_t *argmax, bc_error *err)
{
    const int status = check(engine, logits, targets, nll, n, vocab, err);
    if (status != BC_OK) return status;
    if (!argmax) return bc_fail(err, BC_ERR_INVALID, "argmax is NULL");
    for (int32_t i = 0; i < n; i++)
        if (targets[i] < 0 || targets[i] >= vocab)
            return bc_fail(err, BC_ERR_INVALID, "target %d is token %d, the vocabulary has %d", i,
                           targets[i], vocab);
    struct work w = {
        .logits = logits, .vocab = vocab, .targets = targets, .nll = nll, .argmax = argmax
    };
    bc_pool_run(engine->pool, score_row, &w, n);
    return BC_OK;
}

int bc_logits_divergence(bc_engine *engine, const float *reference, const float *logits, int32_t n,
                         int32_t vocab, double *kl, bc_error *err)
{
    const int status = check(engine, reference, logits, kl, n, vocab, err);
    if (status != BC_OK) return status;
    struct work w = { .reference = reference, .logits = logits, .vocab = vocab, .kl = kl };
    bc_pool_run(engine->pool, divergence_row, &w, n);
    return BC_OK;
}
