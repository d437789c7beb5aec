/* sampler.c - logits -> token.
 *
 * Order: repeat penalty, temperature, top-k, top-p, min-p (the last three look at the softmax of
 * what is left by the one before), then one draw. The draw is a hash of (seed, counter), so a
 * text is reproduced by its seed alone (a counter-based generator: Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", 2011). */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "random.h"

struct candidate {
    float logit; /* later: probability */
    int32_t token;
};

void bc_sampler_params_init(bc_sampler_params *p)
{
    if (!p) return;
    *p = (bc_sampler_params){ .temperature = 0.7f,
                              .top_p = 0.95f,
                              .min_p = 0.05f,
                              .repeat_penalty = 1.0f,
                              .top_k = 40,
                              .repeat_last_n = 64,
                              .seed = 0 };
}

int bc_sampler_check(const bc_sampler_params *p, bc_error *err)
{
    if (!p) return bc_fail(err, BC_ERR_INVALID, "the sampler's params are NULL");
    if (!(p->temperature >= 0.0f && p->temperature <= 100.0f))
        return bc_fail(err, BC_ERR_INVALID, "temperature is %g, must be 0 to 100",
                       (double)p->temperature);
    if (!(p->top_p > 0.0f && p->top_p <= 1.0f))
        return bc_fail(err, BC_ERR_INVALID, "top_p is %g, must be above 0 and at most 1",
                       (double)p->top_p);
    if (!(p->min_p >= 0.0f && p->min_p <= 1.0f))
        return bc_fail(err, BC_ERR_INVALID, "min_p is %g, must be 0 to 1", (double)p->min_p);
    if (!(p->repeat_penalty > 0.0f && p->repeat_penalty <= 10.0f))
        return bc_fail(err, BC_ERR_INVALID, "repeat_penalty is %g, must be above 0 and at most 10",
                       (double)p->repeat_penalty);
    if (p->top_k < 0 || p->repeat_last_n < 0)
        return bc_fail(err, BC_ERR_INVALID, "top_k is %d and repeat_last_n %d, neither may be < 0",
                       p->top_k, p->repeat_last_n);
    return BC_OK;
}

/* Uniform in [0, 1) from 53 bits. */
static double uniform(uint64_t seed, uint64_t counter)
{
    const uint64_t z =
        bc_random_mix(bc_random_mix(seed + BC_RANDOM_STEP) ^ (counter * 0xD1B54A32D192ED03u));
    return (double)(bc_random_mix(z) >> 11) * 0x1p-53;
}

/* Divides positive and multiplies negative logits of recent tokens (Keskar et al., CTRL, 2019),
 * each token once however often it occurred. */
static void penalise(float *x, int32_t vocab, const int32_t *history, int32_t n_history,
                     const bc_sampler_params *p)
{
    const int32_t from = n_history > p->repeat_last_n ? n_history - p->repeat_last_n : 0;
    for (int32_t i = from; i < n_history; i++) {
        const int32_t token = history[i];
        if (token < 0 || token >= vocab) continue;
        int seen = 0;
        for (int32_t j = from; j < i && !seen; j++) seen = history[j] == token;
        if (!seen)
            x[token] =
                x[token] > 0.0f ? x[token] / p->repeat_penalty : x[token] * p->repeat_penalty;
    }
}

/* Higher first; equal ones by token, so that the order is the same on every machine. */
static int by_rank(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;
    if (a->logit != b->logit) return a->logit < b->logit ? 1 : -1;
    return (a->token > b->token) - (a->token < b->token);
}

/* Moves the k best to the front (quickselect by rank), in no order. */
static void select_best(struct candidate *c, int32_t n, int32_t k)
{
    int32_t low = 0, high = n - 1;
    while (low < high) {
        const struct candidate pivot = c[low + (high - low) / 2];
        int32_t i = low, j = high;
        while (i <= j) {
            while (by_rank(&c[i], &pivot) < 0) i++;
            while (by_rank(&c[j], &pivot) > 0) j--;
            if (i <= j) {
                const struct candidate swap = c[i];
                c[i++] = c[j];
                c[j--] = swap;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

/* Sorted candidates' logits -> probabilities that sum to 1. */
static void normalise(struct candidate *c, int32_t n)
{
    const float top = c[0].logit;
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        c[i].logit = expf(c[i].logit - top);
        sum += (double)c[i].logit;
    }
    for (int32_t i = 0; i < n; i++) c[i].logit = (float)((double)c[i].logit / sum);
}

/* How many of the n sorted candidates top-p and then min-p keep; at least one. */
static int32_t cut(const struct candidate *c, int32_t n, const bc_sampler_params *p)
{
    if (p->top_p < 1.0f) {
        double sum = 0.0;
        for (int32_t i = 0; i < n; i++) {
            sum += (double)c[i].logit;
            if (sum >= (double)p->top_p) {
                n = i + 1;
                break;
            }
        }
    }
    if (p->min_p > 0.0f)
        while (n > 1 && c[n - 1].logit < p->min_p * c[0].logit) n--;
    return n;
}

static int32_t draw(const struct candidate *c, int32_t n, double u)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)c[i].logit;
    double left = u * sum;
    for (int32_t i = 0; i < n; i++) {
        left -= (double)c[i].logit;
        if (left < 0.0) return c[i].token;
    }
    return c[n - 1].token;
}

static int32_t greedy(const float *x, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

int bc_sample(const float *logits, int32_t vocab, const int32_t *history, int32_t n_history,
              const bc_sampler_params *p, uint64_t counter, int32_t *token, bc_error *err)
{
    const int status = bc_sampler_check(p, err);
    if (status != BC_OK) return status;
    if (!logits || !token || vocab < 1 || n_history < 0 || (n_history > 0 && !history))
        return bc_fail(err, BC_ERR_INVALID, "logits, token or history is NULL, or vocab is %d",
                       vocab);
    for (int32_t i = 0; i < vocab; i++)
        if (!isfinite(logits[i]))
            return bc_fail(err, BC_ERR_INVALID, "the logit of token %d is not finite", i);
    const size_t n_bytes = (size_t)vocab * sizeof(float);
    float *x = malloc(n_bytes);
    struct candidate *c = malloc((size_t)vocab * sizeof *c);
    if (!x || !c) {
        free(x);
        free(c);
        return bc_fail(err, BC_ERR_NOMEM, "no memory to sample from %d tokens", vocab);
    }
    memcpy(x, logits, n_bytes);
    if (p->repeat_penalty != 1.0f) penalise(x, vocab, history, n_history, p);
    if (p->temperature == 0.0f) {
        *token = greedy(x, vocab);
    } else {
        for (int32_t i = 0; i < vocab; i++) c[i] = (struct candidate){ x[i] / p->temperature, i };
        int32_t n = vocab;
        if (p->top_k > 0 && p->top_k < n) {
            select_best(c, n, p->top_k);
            n = p->top_k;
        }
        qsort(c, (size_t)n, sizeof *c, by_rank);
        normalise(c, n);
        n = cut(c, n, p);
        *token = draw(c, n, uniform(p->seed, counter));
    }
    free(x);
    free(c);
    return BC_OK;
}
