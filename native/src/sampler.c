/* sampler.c - logits -> token.
 *
 * The logits are looked at once, for the peak of each BC_PEAK of them and for what is not finite; behind that only blocks
 * are of interest whose peak is.
 *
 * Order: repeat penalty, temperature, top-k, top-p, min-p (the last three look at the softmax of
 * what is left by the one before), then one draw. The draw is a hash of (seed, counter), so a
 * text is reproduced by its seed alone (a counter-based generator: Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", 2011). */
#include "sampler.h"

#include <float.h>
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

static int check_params(const bc_sampler_params *p, bc_error *err)
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

/* What is finite stays so. */
static float penalised(float x, float penalty)
{
    const float y = x > 0.0f ? x / penalty : x * penalty;
    return isinf(y) && isfinite(x) ? copysignf(FLT_MAX, x) : y;
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
        if (!seen) x[token] = penalised(x[token], p->repeat_penalty);
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

static int32_t blocks_of(int32_t n) { return n / BC_PEAK + (n % BC_PEAK != 0); }

/* c[0..k): the k best of x / temperature, in no order. Hardly any is looked at: tokens come in their order, so one that
 * only ties with the worst so far is worse. */
static void select_best(struct candidate *c, int32_t k, const float *x, const float *peaks,
                        int32_t vocab, float temperature)
{
    for (int32_t i = 0; i < k; i++) c[i] = (struct candidate){ x[i] / temperature, i };
    for (int32_t i = k / 2 - 1; i >= 0; i--) sink(c, k, i);
    float worst = x[c[0].token];
    for (int32_t b = k / BC_PEAK; b < blocks_of(vocab); b++) {
        if (!(peaks[b] > worst)) continue;
        const int32_t first = b * BC_PEAK > k ? b * BC_PEAK : k;
        for (int32_t i = first; i < vocab && i / BC_PEAK == b; i++) {
            if (!(x[i] > worst)) continue;
            const float logit = x[i] / temperature;
            if (!(logit > c[0].logit)) continue;
            c[0] = (struct candidate){ logit, i };
            sink(c, k, 0);
            worst = x[c[0].token];
        }
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
static double mass_of(const bc_kernels *k, const float *x, int32_t vocab, float temperature,
                      float top)
{
    float part[1024], most;
    double sum = 0.0;
    for (int32_t done = 0, n; done < vocab; done += n) {
        n = vocab - done < 1024 ? vocab - done : 1024;
        for (int32_t i = 0; i < n; i++) part[i] = x[done + i] / temperature;
        const double of_part = k->exp_sum(part, &most, part, n);
        if (most > -INFINITY) sum += of_part * exp((double)most - (double)top);
    }
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

/* The first of the largest. */
static int32_t greedy(const float *x, const float *peaks, int32_t n)
{
    int32_t best = 0;
    for (int32_t b = 1; b < blocks_of(n); b++)
        if (peaks[b] > peaks[best]) best = b;
    int32_t i = best * BC_PEAK;
    while (x[i] != peaks[best]) i++;
    return i;
}

static int not_finite(const float *x, int32_t n, bc_error *err)
{
    int32_t i = 0;
    while (i + 1 < n && isfinite(x[i])) i++;
    return bc_fail(err, BC_ERR_INVALID, "the logit of token %d is not finite", i);
}

/* Whether top-p or min-p is sure to stop among the n sorted candidates. */
static int stops_inside(const struct candidate *c, int32_t n, const bc_sampler_params *p)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)c[i].logit;
    return (p->top_p < 1.0f && sum >= (double)p->top_p) || c[n - 1].logit < p->min_p * c[0].logit;
}

/* Without top-k: to be sorted first, where top-p or min-p mostly stop; and how many times more then. */
enum { FEW = 256, MORE = 16 };

/* One draw from x f32 [vocab]; `c` has room for `most` candidates, top-k or all. */
static int32_t draw_from(const bc_kernels *k, const float *x, const float *peaks, int32_t vocab,
                         const bc_sampler_params *p, uint64_t counter, struct candidate *c,
                         int32_t most)
{
    const int stops = p->top_p < 1.0f || p->min_p > 0.0f;
    int32_t n = stops && most == vocab && FEW < most ? FEW : most;
    double mass = 0.0;
    for (;;) {
        select_best(c, n, x, peaks, vocab, p->temperature);
        qsort(c, (size_t)n, sizeof *c, by_rank);
        if (n < most && mass == 0.0) mass = mass_of(k, x, vocab, p->temperature, c[0].logit);
        normalise(c, n, mass);
        if (n == most || stops_inside(c, n, p)) break;
        n = n < most / MORE / 4 ? n * MORE : most; /* most of all is sorted as quickly as all */
    }
    n = cut(c, n, p);
    return draw(c, n, uniform(p->seed, counter));
}

struct room {
    float *peaks, *changed;
    struct candidate *c; /* `most` of them */
    int32_t most;
};

/* bc_sample_by, once all is checked and there is room: `changed` where there is a penalty, `c` where something is drawn. */
static int choose(const bc_kernels *k, const struct room *r, const float *logits, int32_t vocab,
                  const int32_t *history, int32_t n_history, const bc_sampler_params *p,
                  uint64_t counter, int32_t *token, bc_error *err)
{
    const float *x = logits;
    if (r->changed) {
        memcpy(r->changed, logits, (size_t)vocab * sizeof *logits);
        penalise(r->changed, vocab, history, n_history, p);
        x = r->changed;
    }
    if (!k->peaks(r->peaks, x, vocab)) return not_finite(x, vocab, err);
    *token = r->c ? draw_from(k, x, r->peaks, vocab, p, counter, r->c, r->most)
                  : greedy(x, r->peaks, vocab);
    return BC_OK;
}

int bc_sample_by(const bc_kernels *k, const float *logits, int32_t vocab, const int32_t *history,
                 int32_t n_history, const bc_sampler_params *p, uint64_t counter, int32_t *token,
                 bc_error *err)
{
    int status = check_params(p, err);
    if (status != BC_OK) return status;
    if (!logits || !token || vocab < 1 || n_history < 0 || (n_history > 0 && !history))
        return bc_fail(err, BC_ERR_INVALID, "logits, token or history is NULL, or vocab is %d",
                       vocab);
    const int draws = p->temperature != 0.0f, changes = p->repeat_penalty != 1.0f;
    struct room r = { .most = p->top_k > 0 && p->top_k < vocab ? p->top_k : vocab };
    r.peaks = malloc((size_t)blocks_of(vocab) * sizeof *r.peaks);
    if (changes) r.changed = malloc((size_t)vocab * sizeof *r.changed);
    if (draws) r.c = malloc((size_t)r.most * sizeof *r.c);
    if (!r.peaks || (changes && !r.changed) || (draws && !r.c))
        status = bc_fail(err, BC_ERR_NOMEM, "no memory to sample from %d tokens", vocab);
    else
        status = choose(k, &r, logits, vocab, history, n_history, p, counter, token, err);
    free(r.peaks);
    free(r.changed);
    free(r.c);
    return status;
}

int bc_sample(const float *logits, int32_t vocab, const int32_t *history, int32_t n_history,
              const bc_sampler_params *p, uint64_t counter, int32_t *token, bc_error *err)
{
    bc_kernels scalar;
    bc_kernels_init_scalar(&scalar);
    return bc_sample_by(&scalar, logits, vocab, history, n_history, p, counter, token, err);
}
