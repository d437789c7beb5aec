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

/* Moves c[i] of the heap c[0..n), whose first is the lowest of rank, to its place below. */
static void sink(struct candidate *c, int32_t n, int32_t i)
{
    for (;;) {
        int32_t low = 2 * i + 1;
        if (low >= n) return;
        if (low + 1 < n && by_rank(&c[low], &c[low + 1]) < 0) low++;
        if (by_rank(&c[i], &c[low]) > 0) return;
        const struct candidate swap = c[i];
        c[i] = c[low];
        c[low] = swap;
        i = low;
    }
}

/* c[0..k): the k best of x / temperature, in no order. One look at each, and hardly any gets
 * further: tokens come in their order, so one that only ties with the worst so far is worse. */
static void select_best(struct candidate *c, int32_t k, const float *x, int32_t vocab,
                        float temperature)
{
    for (int32_t i = 0; i < k; i++) c[i] = (struct candidate){ x[i] / temperature, i };
    for (int32_t i = k / 2 - 1; i >= 0; i--) sink(c, k, i);
    float worst = x[c[0].token];
    for (int32_t i = k; i < vocab; i++) {
        if (!(x[i] > worst)) continue;
        const float logit = x[i] / temperature;
        if (!(logit > c[0].logit)) continue;
        c[0] = (struct candidate){ logit, i };
        sink(c, k, 0);
        worst = x[c[0].token];
    }
}

/* Sorted candidates' logits -> probabilities: e^(logit - the best) over `mass`, or over their own
 * sum if that is 0. */
static void normalise(struct candidate *c, int32_t n, double mass)
{
    const float top = c[0].logit;
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        c[i].logit = expf(c[i].logit - top);
        sum += (double)c[i].logit;
    }
    if (mass > 0.0) sum = mass;
    for (int32_t i = 0; i < n; i++) c[i].logit = (float)((double)c[i].logit / sum);
}

/* The sum over the vocabulary of e^(x / temperature - top). */
static double mass_of(const float *x, int32_t vocab, float temperature, float top)
{
    double sum = 0.0;
    for (int32_t i = 0; i < vocab; i++) sum += (double)expf(x[i] / temperature - top);
    return sum;
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

enum { LANES = 32 }; /* looked at together, so that compilers take vectors */

static int32_t greedy(const float *x, int32_t n)
{
    float most[LANES];
    for (int l = 0; l < LANES; l++) most[l] = -INFINITY;
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
    float best = -INFINITY;
    for (int l = 0; l < LANES; l++) best = most[l] > best ? most[l] : best;
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (i = 0; i + 1 < n && x[i] != best;) i++;
    return i;
}

/* The first number of x that is not finite, or n: its exponent is all ones. */
static int32_t not_finite(const float *x, int32_t n)
{
    const uint32_t exponent = 0x7F800000u;
    for (int32_t i = 0; i < n; i += LANES) {
        const int32_t count = n - i < LANES ? n - i : LANES;
        uint32_t bits[LANES] = { 0 }, bad = 0;
        memcpy(bits, x + i, (size_t)count * sizeof *x);
        for (int l = 0; l < LANES; l++) bad |= (bits[l] & exponent) == exponent;
        if (!bad) continue;
        for (int32_t j = i; j < i + count; j++)
            if (!isfinite(x[j])) return j;
    }
    return n;
}

/* Whether top-p or min-p is sure to stop among the n sorted candidates. */
static int stops_inside(const struct candidate *c, int32_t n, const bc_sampler_params *p)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)c[i].logit;
    return (p->top_p < 1.0f && sum >= (double)p->top_p) || c[n - 1].logit < p->min_p * c[0].logit;
}

enum { FEW = 256 }; /* without top-k: to be sorted first, as top-p or min-p mostly stop there */

/* One draw from x f32 [vocab]; `c` has room for `most` candidates, top-k or all. */
static int32_t draw_from(const float *x, int32_t vocab, const bc_sampler_params *p,
                         uint64_t counter, struct candidate *c, int32_t most)
{
    int32_t n = most == vocab && FEW < most ? FEW : most;
    double mass = 0.0;
    for (;;) {
        select_best(c, n, x, vocab, p->temperature);
        qsort(c, (size_t)n, sizeof *c, by_rank);
        if (n < most && mass == 0.0) mass = mass_of(x, vocab, p->temperature, c[0].logit);
        normalise(c, n, mass);
        if (n == most || stops_inside(c, n, p)) break;
        n = most;
    }
    n = cut(c, n, p);
    return draw(c, n, uniform(p->seed, counter));
}

int bc_sample(const float *logits, int32_t vocab, const int32_t *history, int32_t n_history,
              const bc_sampler_params *p, uint64_t counter, int32_t *token, bc_error *err)
{
    const int status = bc_sampler_check(p, err);
    if (status != BC_OK) return status;
    if (!logits || !token || vocab < 1 || n_history < 0 || (n_history > 0 && !history))
        return bc_fail(err, BC_ERR_INVALID, "logits, token or history is NULL, or vocab is %d",
                       vocab);
    const int32_t bad = not_finite(logits, vocab);
    if (bad < vocab)
        return bc_fail(err, BC_ERR_INVALID, "the logit of token %d is not finite", bad);
    const int greedily = p->temperature == 0.0f;
    const int changes = p->repeat_penalty != 1.0f;
    const int32_t most = p->top_k > 0 && p->top_k < vocab ? p->top_k : vocab;
    float *x = changes ? malloc((size_t)vocab * sizeof *x) : NULL;
    struct candidate *c = greedily ? NULL : malloc((size_t)most * sizeof *c);
    if ((changes && !x) || (!greedily && !c)) {
        free(x);
        free(c);
        return bc_fail(err, BC_ERR_NOMEM, "no memory to sample from %d tokens", vocab);
    }
    if (changes) {
        memcpy(x, logits, (size_t)vocab * sizeof *x);
        penalise(x, vocab, history, n_history, p);
    }
    const float *from = changes ? x : logits;
    *token = greedily ? greedy(from, vocab) : draw_from(from, vocab, p, counter, c, most);
    free(x);
    free(c);
    return BC_OK;
}
