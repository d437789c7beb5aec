/* kernels_scalar_tiles.c - the kernels of calibrated quantizing as plain loops: their definition.
 *
 * In tiles rows lie in lanes, so the loop over lanes is innermost; descent goes by row. No FMA (see kernels.h). */
#include <math.h>

#include "kernels.h"

enum { LANES = BC_TILE_ROWS };

static void tile_in(float *tile, const float *x, size_t stride, int rows, int cols)
{
    for (int c = 0; c < cols; c++) {
        for (int i = 0; i < LANES; i++)
            tile[c * LANES + i] = i < rows ? x[(size_t)i * stride + (size_t)c] : 0.0f;
    }
}

static void tile_out(float *x, size_t stride, const float *tile, int rows, int cols)
{
    for (int i = 0; i < rows; i++) {
        for (int c = 0; c < cols; c++) x[(size_t)i * stride + (size_t)c] = tile[c * LANES + i];
    }
}

/* The nearest integer in -q_max..q_max, ties to even; a NaN becomes -q_max. */
static float rounded(float v, float q_max)
{
    v = v > -q_max ? v : -q_max;
    v = v < q_max ? v : q_max;
    return (v + 12582912.0f) - 12582912.0f;
}

/* What to divide by: a scale of 0 gives integers of 0, not NaN. */
static float divisor(float scale) { return scale > 0.0f ? scale : INFINITY; }

static void gptq_tile(float *w, float *errors, float *q, const float *u, const float *scales,
                      int cols, int q_max)
{
    for (int j = 0; j < cols; j++) {
        const float *row = u + (size_t)j * (size_t)cols;
        float *e = errors + j * LANES;
        for (int i = 0; i < LANES; i++) {
            const float v = w[j * LANES + i];
            const float integer = rounded(v / divisor(scales[i]), (float)q_max);
            q[j * LANES + i] = integer;
            e[i] = (v - scales[i] * integer) / row[j];
        }
        for (int k = j + 1; k < cols; k++) {
            for (int i = 0; i < LANES; i++) w[k * LANES + i] -= e[i] * row[k];
        }
    }
}

static void descend(float *qh, int8_t *q, const float *wh, const float *h, const float *diagonal,
                    float scale, int cols, int q_max)
{
    for (int j = 0; j < cols; j++) {
        const float *row = h + (size_t)j * (size_t)cols, old = q[j];
        const float r = wh[j] - scale * qh[j];
        const float integer = rounded(old + r / (divisor(scale) * diagonal[j]), (float)q_max);
        const float step = integer - old;
        if (step == 0.0f) continue;
        for (int k = 0; k < cols; k++) qh[k] += step * row[k];
        q[j] = (int8_t)integer;
    }
}

void bc_kernels_init_scalar_tiles(bc_kernels *k)
{
    k->tile_in = tile_in;
    k->tile_out = tile_out;
    k->gptq_tile = gptq_tile;
    k->descend = descend;
}
