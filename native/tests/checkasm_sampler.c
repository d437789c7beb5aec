/* checkasm_sampler.c - peaks of logits, and the sampler that looks at them. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkasm.h"
#include "sampler.h"

/* ---- peaks: equal; and whether anything is not finite, wherever it is ---- */

static void one_peaks(checker *c, int n)
{
    static const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };
    const int blocks = (n + BC_PEAK - 1) / BC_PEAK, spoilt = check_range(c, 0, n - 1);
    float *x = check_floats(c, (size_t)n, 5), *most = check_alloc((size_t)blocks * sizeof *most);
    if (n > 2) x[check_range(c, 0, n - 1)] = check_range(c, 0, 1) ? 3e38f : -3e38f;
    if (!c->k->peaks(most, x, n)) check_fail(c, "n %d: not all finite, it says", n);
    for (int b = 0; b < blocks; b++) {
        float want = x[b * BC_PEAK];
        for (int i = b * BC_PEAK; i < n && i / BC_PEAK == b; i++) want = x[i] > want ? x[i] : want;
        if (most[b] != want)
            check_fail(c, "n %d: peak %d is %g, not %g", n, b, (double)most[b], (double)want);
    }
    x[spoilt] = bad[check_range(c, 0, 3)];
    if (c->k->peaks(most, x, n)) check_fail(c, "n %d: %g is finite", n, (double)x[spoilt]);
    free(x);
    free(most);
}

static void check_peaks(checker *c)
{
    for (int s = 0, n; (n = check_size(s)); s++) one_peaks(c, n);
    for (int n = 1; n < 3 * BC_PEAK; n++) one_peaks(c, n);
    one_peaks(c, 49153);
}

/* ---- the sampler: the token of the definition, one of the top-k, greedy the first of the largest. Where the mass of all
 *      logits counts, a draw that falls on the border of two tokens may give the other. ---- */

/* How many logits come before that of `token`. */
static int rank_of(const float *x, int n, int32_t token)
{
    int before = 0;
    for (int i = 0; i < n; i++) before += x[i] > x[token] || (x[i] == x[token] && i < token);
    return before;
}

static void one_sampler(checker *c, int n, int masked, const bc_sampler_params *p)
{
    float *x = check_floats(c, (size_t)n, 5);
    const int most = p->temperature == 0.0f ? 1 : p->top_k && p->top_k < n ? p->top_k : n;
    int others = 0;
    for (int i = 0; i < n; i += 1 + check_range(c, 0, 3)) x[i] = roundf(x[i]); /* ties */
    for (int i = n - masked; i < n; i++) x[i] = -FLT_MAX;
    for (uint64_t draw = 0; draw < 16; draw++) {
        const int32_t past[] = { check_range(c, 0, n - 1), check_range(c, 0, n - 1) };
        int32_t got = -1, want = -1;
        bc_error err;
        if (bc_sample_by(c->k, x, n, past, 2, p, draw, &got, &err) != BC_OK ||
            bc_sample_by(c->scalar, x, n, past, 2, p, draw, &want, &err) != BC_OK) {
            check_fail(c, "n %d: %s", n, err.message);
            continue;
        }
        others += got != want;
        if (p->repeat_penalty == 1.0f &&
            rank_of(x, n, got) >= (most < n - masked ? most : n - masked))
            check_fail(c, "n %d, temperature %g, top-k %d: token %d is number %d", n,
                       (double)p->temperature, p->top_k, got, rank_of(x, n, got));
    }
    if (others > (p->top_k == 0))
        check_fail(c, "n %d, temperature %g, top-k %d: %d tokens are others", n,
                   (double)p->temperature, p->top_k, others);
    free(x);
}

static void check_sampler(checker *c)
{
    static const int sizes[] = { 1, 63, 64, 65, 127, 1000, 4099, 49153 };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 8; kind++) {
            bc_sampler_params p;
            bc_sampler_params_init(&p);
            p.seed = check_random(c);
            if (kind % 2) p.repeat_penalty = 1.3f;
            if (kind / 2 == 1) p.temperature = 0.0f;
            if (kind / 2 == 2) p.top_k = 100;
            if (kind / 2 == 3) p.top_k = 0;
            one_sampler(c, sizes[s], 0, &p);
            one_sampler(c, sizes[s], sizes[s] / 2, &p);
        }
}

const check_entry check_sampler_entries[] = {
    { "peaks", check_peaks, { SLOT(peaks) } },
    { "sampler", check_sampler, { 0 } },
    { NULL, NULL, { 0 } },
};
