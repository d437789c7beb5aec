/* block.c - one decoder layer on its own, with the caller's weights: what calibration runs.
 *
 * Inside is a model of one layer without vocabulary and a session of one window over it, so the
 * arithmetic is the model's. */
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "error.h"
#include "planes.h"

enum { N_MATRICES = BC_N_MATRICES };

static const char *const NAMES[N_MATRICES] = { "q_proj",    "k_proj",  "v_proj",   "o_proj",
                                               "gate_proj", "up_proj", "down_proj" };

bc_weight *bc_block_weight(bc_block *b, int matrix) { return bc_layer_weight(&b->layer, matrix); }

/* ---- opening and closing ---- */

/* The sizes of matrix `matrix`, without data. */
static bc_weight empty_weight(const bc_config *c, int matrix)
{
    const int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const int64_t rows[N_MATRICES] = {
        q, kv, kv, c->hidden, c->intermediate, c->intermediate, c->hidden
    };
    const int64_t cols[N_MATRICES] = { c->hidden, c->hidden, c->hidden,      q,
                                       c->hidden, c->hidden, c->intermediate };
    return (bc_weight){ .rows = rows[matrix], .cols = cols[matrix] };
}

static int keep_layer(bc_config *c, int32_t layer, int32_t window, bc_error *err)
{
    if (layer < 0 || layer >= c->n_layers)
        return bc_fail(err, BC_ERR_INVALID, "layer is %d, this model has layers 0 to %d", layer,
                       c->n_layers - 1);
    if (window < 1 || window > c->max_positions)
        return bc_fail(err, BC_ERR_INVALID, "window is %d, this model has positions for 1 to %d",
                       window, c->max_positions);
    if (c->layer_slides) c->layer_slides[0] = c->layer_slides[layer];
    c->n_layers = 1;
    c->vocab = 1; /* no logits are computed */
    return BC_OK;
}

int bc_block_open(bc_block **out, bc_engine *engine, const char *config_json, size_t length,
                  int32_t layer, int32_t window, bc_error *err)
{
    if (!out) return bc_fail(err, BC_ERR_INVALID, "out is NULL");
    *out = NULL;
    if (!engine || !config_json)
        return bc_fail(err, BC_ERR_INVALID, "engine or config_json is NULL");
    bc_block *b = calloc(1, sizeof *b);
    if (!b) return bc_fail(err, BC_ERR_NOMEM, "no memory for a layer");
    int status = bc_config_parse(&b->model.config, config_json, length, err);
    if (status != BC_OK) {
        free(b);
        return status;
    }
    bc_config_describe(&b->model.config, &b->model.info);
    status = keep_layer(&b->model.config, layer, window, err);
    if (status == BC_OK) {
        b->model.engine = engine;
        b->model.layers = &b->layer;
        b->window = window;
        for (int i = 0; i < N_MATRICES; i++)
            *bc_block_weight(b, i) = empty_weight(&b->model.config, i);
    }
    if (status == BC_OK)
        *out = b;
    else
        bc_block_close(b);
    return status;
}

void bc_block_close(bc_block *b)
{
    if (!b) return;
    bc_session_close(b->session);
    for (int i = 0; i < N_MATRICES; i++) bc_rotation_free(&b->rotations[i]);
    bc_config_free(&b->model.config);
    free(b);
}

/* ---- weights ---- */

/* A bias must be there exactly where the family has one: nothing else could be stored. */
static int check_bias(const bc_block *b, int matrix, const float *bias, bc_error *err)
{
    const bc_model_info *info = &b->model.info;
    const int needed[N_MATRICES] = { info->qkv_bias, info->qkv_bias, info->qkv_bias, info->o_bias,
                                     info->mlp_bias, info->mlp_bias, info->mlp_bias };
    if (needed[matrix] && !bias)
        return bc_fail(err, BC_ERR_INVALID, "this %s model's %s needs a bias", info->family,
                       NAMES[matrix]);
    if (!needed[matrix] && bias)
        return bc_fail(err, BC_ERR_INVALID, "this %s model's %s has no bias", info->family,
                       NAMES[matrix]);
    return BC_OK;
}

static int check_matrix(const bc_block *b, int32_t matrix, const void *data, const float *bias,
                        bc_error *err)
{
    if (!b || !data) return bc_fail(err, BC_ERR_INVALID, "block or the matrix is NULL");
    if (matrix < 0 || matrix >= N_MATRICES)
        return bc_fail(err, BC_ERR_INVALID, "matrix is %d, must be 0 to %d", matrix,
                       N_MATRICES - 1);
    return check_bias(b, matrix, bias, err);
}

/* Vectors are only read; bc_weight has them writable because models own theirs. */
static float *borrowed(const float *vector) { return (float *)(uintptr_t)vector; }

int bc_block_set_dense(bc_block *b, int32_t matrix, const void *weights, int32_t dtype,
                       const float *bias, bc_error *err)
{
    const int status = check_matrix(b, matrix, weights, bias, err);
    if (status != BC_OK) return status;
    if (dtype < BC_F32 || dtype > BC_BF16)
        return bc_fail(err, BC_ERR_INVALID, "dtype is %d, must be 0 to 2", dtype);
    bc_weight w = empty_weight(&b->model.config, matrix);
    w.kind = BC_WEIGHT_DENSE;
    w.dtype = dtype;
    w.data = weights;
    w.bias = borrowed(bias);
    *bc_block_weight(b, matrix) = w;
    return BC_OK;
}

int bc_block_set_planes(bc_block *b, int32_t matrix, const uint8_t *planes, const float *scales,
                        int32_t n_planes, uint64_t seed, const float *bias, bc_error *err)
{
    int status = check_matrix(b, matrix, planes, bias, err);
    if (status != BC_OK) return status;
    if (!scales) return bc_fail(err, BC_ERR_INVALID, "scales is NULL");
    if (n_planes < 1 || n_planes > BC_MAX_PLANES)
        return bc_fail(err, BC_ERR_INVALID, "n_planes is %d, must be 1 to %d", n_planes,
                       BC_MAX_PLANES);
    bc_weight w = empty_weight(&b->model.config, matrix);
    bc_rotation *rotation = &b->rotations[matrix];
    if (!rotation->sign || b->seeds[matrix] != seed) {
        bc_rotation new;
        status = bc_rotation_init(&new, w.cols, seed, err);
        if (status != BC_OK) return status;
        bc_rotation_free(rotation);
        *rotation = new;
        b->seeds[matrix] = seed;
    }
    w.kind = BC_WEIGHT_PLANES;
    w.n_planes = n_planes;
    w.data = planes;
    w.plane_stride = (size_t)((w.rows + BC_GROUP_ROWS - 1) / BC_GROUP_ROWS) * (size_t)w.cols;
    w.scales = borrowed(scales);
    w.bias = borrowed(bias);
    w.rotation = rotation;
    *bc_block_weight(b, matrix) = w;
    return BC_OK;
}

int bc_block_set_norms(bc_block *b, const float *attn_norm, const float *mlp_norm,
                       const float *q_norm, const float *k_norm, bc_error *err)
{
    if (!b || !attn_norm || !mlp_norm)
        return bc_fail(err, BC_ERR_INVALID, "block, attn_norm or mlp_norm is NULL");
    const int needed = b->model.config.qk_norm;
    if ((q_norm != NULL) != needed || (k_norm != NULL) != needed)
        return bc_fail(err, BC_ERR_INVALID, "this %s model %s a q_norm and a k_norm",
                       b->model.info.family, needed ? "needs" : "does not have");
    b->layer.attn_norm = borrowed(attn_norm);
    b->layer.mlp_norm = borrowed(mlp_norm);
    b->layer.q_norm = borrowed(q_norm);
    b->layer.k_norm = borrowed(k_norm);
    return BC_OK;
}

/* ---- running ---- */

/* Matrices with one input share its rotated, rounded form. */
static int check_seeds(bc_block *b, int first, int last, bc_error *err)
{
    int planes = -1; /* one of them that is planes */
    for (int i = first; i <= last; i++) {
        if (bc_block_weight(b, i)->kind != BC_WEIGHT_PLANES) continue;
        if (planes >= 0 && b->seeds[planes] != b->seeds[i])
            return bc_fail(err, BC_ERR_INVALID,
                           "%s and %s have the same input, so their seeds must be equal",
                           NAMES[planes], NAMES[i]);
        planes = i;
    }
    return BC_OK;
}

int bc_block_check(bc_block *b, bc_error *err)
{
    for (int i = 0; i < N_MATRICES; i++)
        if (!bc_block_weight(b, i)->data)
            return bc_fail(err, BC_ERR_INVALID, "the layer has no %s yet", NAMES[i]);
    if (!b->layer.attn_norm) return bc_fail(err, BC_ERR_INVALID, "the layer has no norms yet");
    const int status = check_seeds(b, BC_MATRIX_Q, BC_MATRIX_V, err);
    return status != BC_OK ? status : check_seeds(b, BC_MATRIX_GATE, BC_MATRIX_UP, err);
}

static float *row_of(float *x, int64_t row, int64_t width) { return x ? x + row * width : NULL; }

static bc_capture rows_of(const bc_config *c, const bc_capture *to, int64_t t)
{
    const int64_t heads = (int64_t)c->n_heads * c->head_dim;
    return (bc_capture){ row_of(to->qkv_in, t, c->hidden),
                         row_of(to->o_in, t, heads),
                         row_of(to->mlp_in, t, c->hidden),
                         row_of(to->down_in, t, c->intermediate),
                         to->only,
                         to->part };
}

/* One sequence, its hidden states x f32 [window, hidden]; `out` of the same shape gets the layer's
 * output, and may be x; NULL: nowhere. */
static void run_window(bc_session *s, const float *x, float *out, int32_t window,
                       const bc_capture *to)
{
    const int64_t hidden = s->model->config.hidden;
    s->position = 0;
    while (s->position < window && !bc_cancelled(s->cancel)) {
        const int32_t t = s->position;
        const int n = window - t < s->n_batch ? window - t : s->n_batch;
        const size_t bytes = (size_t)n * (size_t)hidden * sizeof *x;
        s->capture = rows_of(&s->model->config, to, t);
        memcpy(s->x, x + t * hidden, bytes);
        bc_session_own_places(s, n);
        bc_rope_table(s, n);
        bc_session_layer(s, 0, n);
        if (out) memcpy(out + t * hidden, s->x, bytes);
        s->position += n;
    }
}

static int run_windows(bc_block *b, const float *x, float *out, int32_t windows,
                       const bc_capture *to, const bc_cancel *cancel, bc_error *err)
{
    if (windows < 0) return bc_fail(err, BC_ERR_INVALID, "windows is %d", windows);
    int status = bc_block_check(b, err);
    const bc_session_params params = { b->window, BC_DEFAULT_BATCH, BC_KV_F32 };
    if (status == BC_OK && !b->session)
        status = bc_session_open(&b->session, &b->model, &params, err);
    if (status != BC_OK) return status;
    bc_session *s = b->session;
    s->cancel = s->space.cancel = cancel;
    for (int64_t i = 0; i < windows && !bc_cancelled(cancel); i++) {
        const int64_t t = i * b->window;
        const int64_t at = t * b->model.config.hidden;
        const bc_capture here = rows_of(&b->model.config, to, t);
        run_window(s, x + at, out ? out + at : NULL, b->window, &here);
    }
    s->cancel = s->space.cancel = NULL;
    s->capture = (bc_capture){ NULL, NULL, NULL, NULL, 0, BC_WHOLE_LAYER };
    if (bc_cancelled(cancel))
        return bc_fail(err, BC_ERR_CANCELLED, "the layer's forward pass was cancelled");
    return BC_OK;
}

int bc_block_forward(bc_block *b, float *x, int32_t windows, float *qkv_in, float *o_in,
                     float *mlp_in, float *down_in, const bc_cancel *cancel, bc_error *err)
{
    if (!b || !x) return bc_fail(err, BC_ERR_INVALID, "block or x is NULL");
    const bc_capture to = { qkv_in, o_in, mlp_in, down_in, 0, BC_WHOLE_LAYER };
    return run_windows(b, x, x, windows, &to, cancel, err);
}

static int run_part(bc_block *b, float *x, int32_t windows, enum bc_layer_part part,
                    const bc_cancel *cancel, bc_error *err)
{
    if (!b || !x) return bc_fail(err, BC_ERR_INVALID, "block or x is NULL");
    const bc_capture to = { NULL, NULL, NULL, NULL, 0, part };
    return run_windows(b, x, x, windows, &to, cancel, err);
}

int bc_block_attention(bc_block *b, float *x, int32_t windows, const bc_cancel *cancel,
                       bc_error *err)
{
    return run_part(b, x, windows, BC_ATTENTION_PART, cancel, err);
}

int bc_block_mlp(bc_block *b, float *x, int32_t windows, const bc_cancel *cancel, bc_error *err)
{
    return run_part(b, x, windows, BC_MLP_PART, cancel, err);
}

int bc_block_input(bc_block *b, const float *x, int32_t windows, int32_t input, float *out,
                   const bc_cancel *cancel, bc_error *err)
{
    if (!b || !x || !out) return bc_fail(err, BC_ERR_INVALID, "block, x or out is NULL");
    if (input < BC_INPUT_QKV || input > BC_INPUT_DOWN)
        return bc_fail(err, BC_ERR_INVALID, "input is %d, must be 0 to 3", input);
    const bc_capture to = { input == BC_INPUT_QKV ? out : NULL,
                            input == BC_INPUT_O ? out : NULL,
                            input == BC_INPUT_MLP ? out : NULL,
                            input == BC_INPUT_DOWN ? out : NULL,
                            1 + input,
                            input < BC_INPUT_MLP ? BC_WHOLE_LAYER : BC_MLP_PART };
    return run_windows(b, x, NULL, windows, &to, cancel, err);
}
