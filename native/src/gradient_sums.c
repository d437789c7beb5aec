/* gradient_sums.c - sums over tokens in f64, a strip of columns to an item: each sum sees its
 * tokens in order, whatever the number of threads. */
#include "gradient_sums.h"

#include <string.h>

enum { STRIP = 64 };

static void row_strip(void *arg, int64_t item, int thread)
{
    (void)thread;
    const bc_matrix_sums *m = arg;
    const int64_t r0 = item * STRIP, left = m->rows - r0;
    const int count = left < STRIP ? (int)left : STRIP;
    double *gain = m->to->gain ? m->to->gain + r0 : NULL;
    double *bias = m->to->bias ? m->to->bias + r0 : NULL;
    double *squares = m->to->row_squares ? m->to->row_squares + r0 : NULL;
    float zero[STRIP] = { 0 };
    const float *shift = m->bias ? m->bias + r0 : zero;
    for (int t = 0; t < m->n; t++) {
        const float *dy = m->dy + (size_t)t * m->dy_stride + r0;
        if (gain) {
            const float *y = m->y + (size_t)t * m->y_stride + r0;
            for (int r = 0; r < count; r++) gain[r] += (double)dy[r] * (double)(y[r] - shift[r]);
        }
        if (bias)
            for (int r = 0; r < count; r++) bias[r] += (double)dy[r];
        if (squares)
            for (int r = 0; r < count; r++) squares[r] += (double)dy[r] * (double)dy[r];
    }
}

static void one_token(void *arg, int64_t t, int thread)
{
    (void)thread;
    const bc_matrix_sums *m = arg;
    const float *dy = m->dy + (size_t)t * m->dy_stride;
    if (m->to->token_squares) {
        double sum = 0;
        for (int64_t r = 0; r < m->rows; r++) sum += (double)dy[r] * (double)dy[r];
        m->to->token_squares[m->token + t] += (float)sum;
    }
    if (m->to->dy) memcpy(m->to->dy + (m->token + t) * m->rows, dy, (size_t)m->rows * sizeof *dy);
}

void bc_matrix_sums_add(const bc_matrix_sums *m)
{
    bc_matrix_sums work = *m;
    const bc_matrix_grads *to = m->to;
    if (to->gain || to->bias || to->row_squares)
        bc_pool_run(m->engine->pool, row_strip, &work, (m->rows + STRIP - 1) / STRIP);
    if (to->token_squares || to->dy) bc_pool_run(m->engine->pool, one_token, &work, m->n);
}

struct norm_work {
    double *grad;
    const float *dy, *x, *r;
    int64_t width;
    int n;
};

static void norm_strip(void *arg, int64_t item, int thread)
{
    (void)thread;
    const struct norm_work *w = arg;
    const int64_t c0 = item * STRIP, end = w->width - c0 < STRIP ? w->width : c0 + STRIP;
    for (int t = 0; t < w->n; t++) {
        const float *dy = w->dy + t * w->width, *x = w->x + t * w->width;
        for (int64_t c = c0; c < end; c++) w->grad[c] += (double)dy[c] * (double)(x[c] * w->r[t]);
    }
}

void bc_norm_sums_add(bc_engine *engine, double *grad, const float *dy, const float *x,
                      const float *r, int64_t width, int n)
{
    struct norm_work w = { grad, dy, x, r, width, n };
    if (grad) bc_pool_run(engine->pool, norm_strip, &w, (width + STRIP - 1) / STRIP);
}
