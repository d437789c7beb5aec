/* adapters.c - what training adds to an opened model, put on and taken off again. */
#include <math.h>
#include <stdlib.h>

#include "block.h"
#include "devices.h"
#include "error.h"
#include "planes.h"

static bc_weight *weight_of(bc_model *m, int32_t layer, int32_t matrix)
{
    return bc_layer_weight(&m->layers[layer], matrix);
}

static int check(const bc_model *m, int32_t layer, int32_t matrix, bc_error *err)
{
    if (!m) return bc_fail(err, BC_ERR_INVALID, "model is NULL");
    if (layer < 0 || layer >= m->config.n_layers)
        return bc_fail(err, BC_ERR_INVALID, "layer is %d, this model has layers 0 to %d", layer,
                       m->config.n_layers - 1);
    if (matrix < 0 || matrix >= BC_N_MATRICES)
        return bc_fail(err, BC_ERR_INVALID, "matrix is %d, must be 0 to %d", matrix,
                       BC_N_MATRICES - 1);
    return BC_OK;
}

int bc_model_set_gain(bc_model *m, int32_t layer, int32_t matrix, const float *gain, bc_error *err)
{
    const int status = check(m, layer, matrix, err);
    if (status != BC_OK) return status;
    bc_weight *w = weight_of(m, layer, matrix);
    if (w->kind != BC_WEIGHT_PLANES)
        return bc_fail(err, BC_ERR_INVALID, "matrix %d of layer %d is not planes and has no gains",
                       matrix, layer);
    float *stored = w->stored_scales ? w->stored_scales : w->scales, *scaled = NULL;
    if (gain) {
        scaled = malloc((size_t)w->rows * sizeof *scaled);
        if (!scaled)
            return bc_fail(err, BC_ERR_NOMEM, "no memory for %lld gains", (long long)w->rows);
        for (int64_t r = 0; r < w->rows; r++) {
            scaled[r] = stored[r] * gain[r];
            if (isfinite(gain[r]) && gain[r] > 0 && isfinite(scaled[r])) continue;
            free(scaled);
            return bc_fail(err, BC_ERR_INVALID, "gain %lld is %g, or too large for its scale %g",
                           (long long)r, (double)gain[r], (double)stored[r]);
        }
    }
    if (w->stored_scales) free(w->scales);
    w->scales = gain ? scaled : stored;
    w->stored_scales = gain ? stored : NULL;
    return layer < bc_cpu_layers(m)
               ? BC_OK
               : m->placed->backend->stack_scales(m->placed->stack, layer, matrix, err);
}

static int set_lora(bc_weight *w, const float *a, const float *b, int32_t rank, bc_error *err)
{
    if (rank < 0 || rank > BC_MAX_RANK)
        return bc_fail(err, BC_ERR_INVALID, "rank is %d, must be 0 to %d", rank, BC_MAX_RANK);
    if (rank && (!a || !b)) return bc_fail(err, BC_ERR_INVALID, "a or b is NULL");
    w->lora = (bc_lora){ .a = a, .b = b, .rank = rank };
    return BC_OK;
}

int bc_model_set_lora(bc_model *m, int32_t layer, int32_t matrix, const float *a, const float *b,
                      int32_t rank, bc_error *err)
{
    const int status = check(m, layer, matrix, err);
    if (status != BC_OK) return status;
    if (rank && layer >= bc_cpu_layers(m))
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "layer %d is on a graphics card, and low-rank additions (LoRA) run on the "
                       "processor: open the model without it",
                       layer);
    return set_lora(weight_of(m, layer, matrix), a, b, rank, err);
}

/* Takes what was there off, puts a new one of w's size on; its data come later. */
static bc_weight *new_delta(bc_weight *w, int wanted, bc_error *err)
{
    free((void *)(uintptr_t)w->delta); /* allocated here */
    w->delta = NULL;
    if (!wanted) return NULL;
    bc_weight *delta = calloc(1, sizeof *delta);
    if (!delta) {
        bc_fail(err, BC_ERR_NOMEM, "no memory for a matrix that is added");
        return NULL;
    }
    delta->rows = w->rows;
    delta->cols = w->cols;
    w->delta = delta;
    return delta;
}

int bc_model_set_delta(bc_model *m, int32_t layer, int32_t matrix, const uint8_t *planes,
                       const float *scales, int32_t n_planes, bc_error *err)
{
    const int status = check(m, layer, matrix, err);
    if (status != BC_OK) return status;
    if (n_planes < 0 || n_planes > BC_MAX_PLANES || (n_planes && (!planes || !scales)))
        return bc_fail(err, BC_ERR_INVALID,
                       "n_planes is %d, must be 0 to %d, with planes and scales", n_planes,
                       BC_MAX_PLANES);
    bc_weight *w = weight_of(m, layer, matrix);
    if (n_planes && layer >= bc_cpu_layers(m))
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "layer %d is on a graphics card, and matrices that are added run on the "
                       "processor: open the model without it",
                       layer);
    if (n_planes && (w->kind != BC_WEIGHT_PLANES || !w->rotation))
        return bc_fail(err, BC_ERR_INVALID,
                       "matrix %d of layer %d is not planes: none can be added", matrix, layer);
    bc_weight *delta = new_delta(w, n_planes, err);
    if (!delta) return n_planes ? BC_ERR_NOMEM : BC_OK;
    delta->kind = BC_WEIGHT_PLANES;
    delta->n_planes = n_planes;
    delta->data = planes;
    delta->plane_stride = (size_t)((w->rows + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS) * (size_t)w->cols;
    delta->scales = (float *)(uintptr_t)scales; /* only read */
    delta->rotation = w->rotation;
    return BC_OK;
}

int bc_block_set_delta(bc_block *b, int32_t matrix, const float *values, bc_error *err)
{
    if (!b) return bc_fail(err, BC_ERR_INVALID, "block is NULL");
    const int status = check(&b->model, 0, matrix, err);
    if (status != BC_OK) return status;
    bc_weight *delta = &b->deltas[matrix], *w = bc_block_weight(b, matrix);
    *delta =
        (bc_weight){ .kind = BC_WEIGHT_DENSE, .dtype = BC_F32, .rows = w->rows, .cols = w->cols };
    delta->data = values;
    w->delta = values ? delta : NULL;
    return BC_OK;
}

int bc_block_set_lora(bc_block *b, int32_t matrix, const float *a, const float *b_across,
                      int32_t rank, bc_error *err)
{
    if (!b) return bc_fail(err, BC_ERR_INVALID, "block is NULL");
    const int status = check(&b->model, 0, matrix, err);
    return status != BC_OK ? status : set_lora(bc_block_weight(b, matrix), a, b_across, rank, err);
}
