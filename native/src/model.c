/* model.c - a model folder becomes a bc_model: config.json is read, the weight files are mapped,
 * and every tensor the family needs is found under its Hugging Face name and checked against
 * the sizes of config.json. After this, the forward pass trusts every shape. */
#include "model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "error.h"
#include "files.h"
#include "platform.h"

#define MAX_CONFIG ((size_t)16 << 20)
#define MAX_INT8_COLS 131072 /* 128 * 127 * cols must fit the kernels' int32 sums */

typedef struct loader {
    bc_model *m;
    bc_error *err;
} loader;

static int no_memory(const loader *l)
{
    return bc_fail(l->err, BC_ERR_NOMEM, "not enough memory to open the model");
}

/* ---- single tensors ---- */

/* Name of a tensor: prefix + part; all of ours fit. */
typedef struct tensor_name {
    char text[128];
} tensor_name;

static const bc_tensor *find(const loader *l, const char *prefix, const char *part)
{
    tensor_name name;
    snprintf(name.text, sizeof name.text, "%s%s", prefix, part);
    return bc_files_find(l->m->files, name.text);
}

static int missing(const loader *l, const char *prefix, const char *part)
{
    return bc_fail(l->err, BC_ERR_FORMAT,
                   "the weight files have no tensor %s%s, which this %s model needs", prefix, part,
                   l->m->config.model_type);
}

static int wrong_shape(const loader *l, const bc_tensor *t, const char *expected)
{
    char shape[80];
    int n = snprintf(shape, sizeof shape, "[");
    for (int i = 0; i < t->n_dims && i < BC_TENSOR_DIMS; i++)
        n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, i ? ", " : "",
                      t->shape[i]);
    snprintf(shape + n, sizeof shape - (size_t)n, "%s]", t->n_dims > BC_TENSOR_DIMS ? ", ..." : "");
    return bc_fail(l->err, BC_ERR_FORMAT, "%s: tensor %s is %s %s, but config.json needs %s",
                   t->file, t->name, t->dtype_name, shape, expected);
}

static int is_float(const bc_tensor *t)
{
    return t->type == BC_TENSOR_F32 || t->type == BC_TENSOR_F16 || t->type == BC_TENSOR_BF16;
}

/* Copies a vector of n floats out of its file; every one must be finite. */
static int load_vector(const loader *l, const bc_tensor *t, int64_t n, float **out)
{
    char expected[64];
    if (!is_float(t) || t->n_dims != 1 || t->shape[0] != n) {
        snprintf(expected, sizeof expected, "F32, F16 or BF16 [%" PRId64 "]", n);
        return wrong_shape(l, t, expected);
    }
    *out = malloc((size_t)n * sizeof **out);
    if (!*out)
        return no_memory(l);
    l->m->engine->k.to_f32(*out, t->data, t->type, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return bc_fail(l->err, BC_ERR_FORMAT,
                           "%s: tensor %s holds a value that is not finite at %" PRId64, t->file,
                           t->name, i);
    l->m->info.decode_bytes += (int64_t)t->bytes;
    return BC_OK;
}

static int load_norm(const loader *l, const char *prefix, const char *part, int64_t n, float **out)
{
    const bc_tensor *t = find(l, prefix, part);
    return t ? load_vector(l, t, n, out) : missing(l, prefix, part);
}

/* A bias or norm that the family's class does not have would change the result if it were
 * used: only zeros may be left out. */
static int refuse_vector(const loader *l, const char *prefix, const char *part)
{
    const bc_tensor *t = find(l, prefix, part);
    int only_zeros = t != NULL;
    for (size_t i = 0; t && i < t->bytes; i++)
        only_zeros &= t->data[i] == 0;
    if (!t || only_zeros)
        return BC_OK;
    return bc_fail(l->err, BC_ERR_UNSUPPORTED,
                   "%s: there is a tensor %s, but a %s model with this config.json has none; the "
                   "folder is of another architecture, or its config.json is wrong",
                   t->file, t->name, l->m->config.model_type);
}

/* ---- matrices ---- */

static int set_dense(const loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    if (!is_float(t) || t->n_dims != 2 || t->shape[0] != w->rows || t->shape[1] != w->cols) {
        snprintf(expected, sizeof expected, "F32, F16 or BF16 [%" PRId64 ", %" PRId64 "]", w->rows,
                 w->cols);
        return wrong_shape(l, t, expected);
    }
    w->kind = BC_WEIGHT_DENSE;
    w->dtype = t->type;
    w->data = t->data;
    return BC_OK;
}

static int set_planes(const loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    int64_t groups = (w->rows + 4) / 5;
    if (t->type != BC_TENSOR_U8 || t->n_dims != 3 || t->shape[0] < 1 ||
        t->shape[0] > BC_MAX_PLANES || t->shape[1] != groups || t->shape[2] != w->cols) {
        snprintf(expected, sizeof expected, "U8 [1 to 4, %" PRId64 ", %" PRId64 "]", groups,
                 w->cols);
        return wrong_shape(l, t, expected);
    }
    w->kind = BC_WEIGHT_PLANES;
    w->n_planes = (int)t->shape[0];
    w->data = t->data;
    w->plane_stride = (size_t)(groups * w->cols);
    return BC_OK;
}

static int set_int8(const loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    if (t->type != BC_TENSOR_I8 || t->n_dims != 2 || t->shape[0] != w->rows ||
        t->shape[1] != w->cols) {
        snprintf(expected, sizeof expected, "I8 [%" PRId64 ", %" PRId64 "]", w->rows, w->cols);
        return wrong_shape(l, t, expected);
    }
    if (w->cols > MAX_INT8_COLS)
        return bc_fail(l->err, BC_ERR_UNSUPPORTED,
                       "%s: tensor %s has rows of %" PRId64 "; int8 rows may have up to 131072",
                       t->file, t->name, w->cols);
    w->kind = BC_WEIGHT_INT8;
    w->data = t->data;
    return BC_OK;
}

/* The rotation for inputs of `cols` values, made when it is first asked for. */
static int find_rotation(const loader *l, int64_t cols, const bc_rotation **out)
{
    bc_model *m = l->m;
    for (int i = 0; i < m->n_rotations; i++)
        if (m->rotations[i].cols == cols) {
            *out = &m->rotations[i];
            return BC_OK;
        }
    bc_rotation *r = &m->rotations[m->n_rotations];
    int status = bc_rotation_init(r, cols, m->config.rotation_seed, l->err);
    if (status)
        return status;
    m->n_rotations++;
    *out = r;
    return BC_OK;
}

static int load_scales(const loader *l, bc_weight *w, const char *prefix, int64_t *bytes)
{
    const bc_tensor *t = find(l, prefix, ".scales");
    if (!t)
        return missing(l, prefix, ".scales");
    if (t->type == BC_TENSOR_BF16)
        return wrong_shape(l, t, "F16 or F32 scales");
    *bytes += (int64_t)t->bytes;
    int status = load_vector(l, t, w->rows, &w->scales);
    return status ? status : find_rotation(l, w->cols, &w->rotation);
}

/* Fills w from whichever form of `prefix` is stored (docs/FORMAT.md 1.2), without its bias;
 * *bytes is the size of what was found. */
static int load_matrix(const loader *l, bc_weight *w, const char *prefix, int64_t rows,
                       int64_t cols, int64_t *bytes)
{
    const bc_tensor *dense = find(l, prefix, ".weight"), *planes = find(l, prefix, ".planes");
    const bc_tensor *int8 = find(l, prefix, ".int8");
    const bc_tensor *t = planes ? planes : int8 ? int8 : dense;
    w->rows = rows;
    w->cols = cols;
    if (!t)
        return missing(l, prefix, ".weight");
    if ((dense != NULL) + (planes != NULL) + (int8 != NULL) > 1)
        return bc_fail(l->err, BC_ERR_FORMAT,
                       "%s: the matrix %s is stored in more than one form", t->file, prefix);
    if (t != dense && !l->m->config.ternary)
        return bc_fail(l->err, BC_ERR_FORMAT,
                       "%s: tensor %s is of a converted model, but config.json has no "
                       "quantization_config",
                       t->file, t->name);
    int status = planes ? set_planes(l, w, t) : int8 ? set_int8(l, w, t) : set_dense(l, w, t);
    *bytes = (int64_t)t->bytes;
    l->m->info.decode_bytes += (int64_t)t->bytes;
    if (status || t == dense)
        return status;
    return load_scales(l, w, prefix, bytes);
}

/* A linear map of a layer: `part` is "self_attn.q_proj" and so on. */
static int load_linear(const loader *l, bc_weight *w, const char *layer, const char *part,
                       int64_t rows, int64_t cols, int with_bias)
{
    tensor_name prefix;
    int64_t bytes = 0;
    snprintf(prefix.text, sizeof prefix.text, "%s%s", layer, part);
    int status = load_matrix(l, w, prefix.text, rows, cols, &bytes);
    if (status)
        return status;
    l->m->info.linear_weights += rows * cols;
    l->m->info.linear_bytes += bytes;
    if (!with_bias)
        return refuse_vector(l, prefix.text, ".bias");
    return load_norm(l, prefix.text, ".bias", rows, &w->bias);
}

/* ---- the model ---- */

static int load_attention(const loader *l, bc_layer *layer, const char *prefix)
{
    const bc_config *c = &l->m->config;
    const int64_t q_size = (int64_t)c->n_heads * c->head_dim;
    const int64_t kv_size = (int64_t)c->n_kv_heads * c->head_dim;
    const int qkv_bias = c->attention_bias, o_bias = l->m->info.o_bias;
    int status;
    if ((status = load_norm(l, prefix, "input_layernorm.weight", c->hidden, &layer->attn_norm)) ||
        (status = load_linear(l, &layer->q, prefix, "self_attn.q_proj", q_size, c->hidden,
                              qkv_bias)) ||
        (status = load_linear(l, &layer->k, prefix, "self_attn.k_proj", kv_size, c->hidden,
                              qkv_bias)) ||
        (status = load_linear(l, &layer->v, prefix, "self_attn.v_proj", kv_size, c->hidden,
                              qkv_bias)) ||
        (status = load_linear(l, &layer->o, prefix, "self_attn.o_proj", c->hidden, q_size, o_bias)))
        return status;
    if (!c->qk_norm) {
        status = refuse_vector(l, prefix, "self_attn.q_norm.weight");
        return status ? status : refuse_vector(l, prefix, "self_attn.k_norm.weight");
    }
    status = load_norm(l, prefix, "self_attn.q_norm.weight", c->head_dim, &layer->q_norm);
    return status ? status
                  : load_norm(l, prefix, "self_attn.k_norm.weight", c->head_dim, &layer->k_norm);
}

static int load_mlp(const loader *l, bc_layer *layer, const char *prefix)
{
    const bc_config *c = &l->m->config;
    int status;
    if ((status = load_norm(l, prefix, "post_attention_layernorm.weight", c->hidden,
                            &layer->mlp_norm)) ||
        (status = load_linear(l, &layer->gate, prefix, "mlp.gate_proj", c->intermediate, c->hidden,
                              c->mlp_bias)) ||
        (status = load_linear(l, &layer->up, prefix, "mlp.up_proj", c->intermediate, c->hidden,
                              c->mlp_bias)))
        return status;
    return load_linear(l, &layer->down, prefix, "mlp.down_proj", c->hidden, c->intermediate,
                       c->mlp_bias);
}

static int load_layers(const loader *l)
{
    bc_model *m = l->m;
    m->layers = calloc((size_t)m->config.n_layers, sizeof *m->layers);
    if (!m->layers)
        return no_memory(l);
    for (int32_t i = 0; i < m->config.n_layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "model.layers.%d.", (int)i);
        int status = load_attention(l, &m->layers[i], prefix);
        if (!status)
            status = load_mlp(l, &m->layers[i], prefix);
        if (status)
            return status;
    }
    return BC_OK;
}

/* The embedding and the head. Decoding one token reads the whole head but one row of the
 * embedding. A tied model's own lm_head.weight, if any, is not used, as in transformers. */
static int load_vocabulary(const loader *l)
{
    bc_model *m = l->m;
    const bc_config *c = &m->config;
    int64_t bytes = 0, before = m->info.decode_bytes;
    int status = load_matrix(l, &m->embed, "model.embed_tokens", c->vocab, c->hidden, &bytes);
    if (status)
        return status;
    if (c->tied) {
        m->head = m->embed;
    } else {
        m->info.decode_bytes = before + bytes / c->vocab;
        status = load_matrix(l, &m->head, "lm_head", c->vocab, c->hidden, &bytes);
        if (status)
            return status;
    }
    return load_norm(l, "model.norm", ".weight", c->hidden, &m->final_norm);
}

static int read_config(const loader *l, const char *folder)
{
    char *text, *path = bc_path_join(folder, "config.json");
    size_t length;
    int status;
    if (!path)
        return no_memory(l);
    if (!bc_file_exists(path))
        status = bc_fail(l->err, BC_ERR_IO, "%.300s has no config.json: it is not a model folder",
                         folder);
    else
        status = bc_file_read(&text, &length, path, MAX_CONFIG, l->err);
    free(path);
    if (status)
        return status;
    status = bc_config_parse(&l->m->config, text, length, l->err);
    free(text);
    return status;
}

static int load(const loader *l, const char *folder)
{
    int status = read_config(l, folder);
    if (!status)
        status = bc_files_open(&l->m->files, folder, l->err);
    if (status)
        return status;
    bc_config_describe(&l->m->config, &l->m->info);
    l->m->info.mapped_bytes = l->m->files->bytes;
    status = load_vocabulary(l);
    return status ? status : load_layers(l);
}

int bc_model_open(bc_model **out, bc_engine *engine, const char *folder, bc_error *err)
{
    if (out)
        *out = NULL;
    if (!out || !engine || !folder || !*folder)
        return bc_fail(err, BC_ERR_INVALID, "bc_model_open needs an out, an engine and a folder");
    loader l = {calloc(1, sizeof(bc_model)), err};
    if (!l.m)
        return no_memory(&l);
    l.m->engine = engine;
    int status = load(&l, folder);
    if (status)
        bc_model_close(l.m);
    else
        *out = l.m;
    return status;
}

static void free_weight(bc_weight *w)
{
    free(w->scales);
    free(w->bias);
}

static void free_layer(bc_layer *layer)
{
    bc_weight *const weights[] = {&layer->q,    &layer->k,  &layer->v,   &layer->o,
                                  &layer->gate, &layer->up, &layer->down};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        free_weight(weights[i]);
    free(layer->attn_norm);
    free(layer->mlp_norm);
    free(layer->q_norm);
    free(layer->k_norm);
}

void bc_model_close(bc_model *model)
{
    if (!model)
        return;
    for (int32_t i = 0; model->layers && i < model->config.n_layers; i++)
        free_layer(&model->layers[i]);
    free(model->layers);
    if (model->head.scales != model->embed.scales)
        free_weight(&model->head);
    free_weight(&model->embed);
    free(model->final_norm);
    for (int i = 0; i < model->n_rotations; i++)
        bc_rotation_free(&model->rotations[i]);
    bc_files_close(model->files);
    bc_config_free(&model->config);
    free(model);
}

void bc_model_get_info(const bc_model *model, bc_model_info *info)
{
    if (info && model)
        *info = model->info;
    else if (info)
        memset(info, 0, sizeof *info);
}
