/* model.c - a model folder becomes a bc_model: config.json is read, the weight files are mapped,
 * and every tensor the family needs is found under its Hugging Face name and checked against
 * the sizes of config.json. After this, the forward pass trusts every shape. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "platform.h"
#include "weights.h"

#define MAX_CONFIG ((size_t)16 << 20)

/* A linear map of a layer: `part` is "self_attn.q_proj" and so on. */
static int load_linear(const bc_loader *l, bc_weight *w, const char *layer, const char *part,
                       int64_t rows, int64_t cols, int with_bias)
{
    char prefix[96];
    int64_t bytes = 0;
    snprintf(prefix, sizeof prefix, "%s%s", layer, part);
    int status = bc_load_matrix(l, w, prefix, rows, cols, &bytes);
    if (status) return status;
    l->m->info.linear_weights += rows * cols;
    l->m->info.linear_bytes += bytes;
    if (!with_bias) return bc_refuse_vector(l, prefix, ".bias");
    return bc_load_vector(l, prefix, ".bias", rows, &w->bias);
}

/* ---- the model ---- */

static int load_attention(const bc_loader *l, bc_layer *layer, const char *prefix)
{
    const bc_config *c = &l->m->config;
    const int64_t q_size = (int64_t)c->n_heads * c->head_dim;
    const int64_t kv_size = (int64_t)c->n_kv_heads * c->head_dim;
    const int qkv_bias = c->attention_bias, o_bias = l->m->info.o_bias;
    int status;
    if ((status =
             bc_load_vector(l, prefix, "input_layernorm.weight", c->hidden, &layer->attn_norm)) ||
        (status =
             load_linear(l, &layer->q, prefix, "self_attn.q_proj", q_size, c->hidden, qkv_bias)) ||
        (status =
             load_linear(l, &layer->k, prefix, "self_attn.k_proj", kv_size, c->hidden, qkv_bias)) ||
        (status =
             load_linear(l, &layer->v, prefix, "self_attn.v_proj", kv_size, c->hidden, qkv_bias)) ||
        (status = load_linear(l, &layer->o, prefix, "self_attn.o_proj", c->hidden, q_size, o_bias)))
        return status;
    if (!c->qk_norm) {
        status = bc_refuse_vector(l, prefix, "self_attn.q_norm.weight");
        return status ? status : bc_refuse_vector(l, prefix, "self_attn.k_norm.weight");
    }
    status = bc_load_vector(l, prefix, "self_attn.q_norm.weight", c->head_dim, &layer->q_norm);
    return status
               ? status
               : bc_load_vector(l, prefix, "self_attn.k_norm.weight", c->head_dim, &layer->k_norm);
}

static int load_mlp(const bc_loader *l, bc_layer *layer, const char *prefix)
{
    const bc_config *c = &l->m->config;
    int status;
    if ((status = bc_load_vector(l, prefix, "post_attention_layernorm.weight", c->hidden,
                                 &layer->mlp_norm)) ||
        (status = load_linear(l, &layer->gate, prefix, "mlp.gate_proj", c->intermediate, c->hidden,
                              c->mlp_bias)) ||
        (status = load_linear(l, &layer->up, prefix, "mlp.up_proj", c->intermediate, c->hidden,
                              c->mlp_bias)))
        return status;
    return load_linear(l, &layer->down, prefix, "mlp.down_proj", c->hidden, c->intermediate,
                       c->mlp_bias);
}

static int load_layers(const bc_loader *l)
{
    bc_model *m = l->m;
    m->layers = calloc((size_t)m->config.n_layers, sizeof *m->layers);
    if (!m->layers) return bc_load_no_memory(l);
    for (int32_t i = 0; i < m->config.n_layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "model.layers.%d.", (int)i);
        int status = load_attention(l, &m->layers[i], prefix);
        if (!status) status = load_mlp(l, &m->layers[i], prefix);
        if (status) return status;
    }
    return BC_OK;
}

/* The embedding and the head. Decoding one token reads the whole head but one row of the
 * embedding. A tied model's own lm_head.weight, if any, is not used, as in transformers. */
static int load_vocabulary(const bc_loader *l)
{
    bc_model *m = l->m;
    const bc_config *c = &m->config;
    int64_t bytes = 0, before = m->info.decode_bytes;
    int status = bc_load_matrix(l, &m->embed, "model.embed_tokens", c->vocab, c->hidden, &bytes);
    if (status) return status;
    if (c->tied) {
        m->head = m->embed;
    } else {
        m->info.decode_bytes = before + bytes / c->vocab;
        status = bc_load_matrix(l, &m->head, "lm_head", c->vocab, c->hidden, &bytes);
        if (status) return status;
    }
    return bc_load_vector(l, "model.norm", ".weight", c->hidden, &m->final_norm);
}

static int read_config(const bc_loader *l, const char *folder)
{
    char *text, *path = bc_path_join(folder, "config.json");
    size_t length;
    int status;
    if (!path) return bc_load_no_memory(l);
    if (!bc_file_exists(path))
        status = bc_fail(l->err, BC_ERR_IO, "%s has no config.json: it is not a model folder",
                         bc_path_shown(folder));
    else
        status = bc_file_read(&text, &length, path, MAX_CONFIG, l->err);
    free(path);
    if (status) return status;
    status = bc_config_parse(&l->m->config, text, length, l->err);
    free(text);
    return status;
}

static int load(const bc_loader *l, const char *folder)
{
    int status = read_config(l, folder);
    if (!status) status = bc_files_open(&l->m->files, folder, l->err);
    if (status) return status;
    bc_config_describe(&l->m->config, &l->m->info);
    l->m->info.mapped_bytes = l->m->files->bytes;
    status = load_vocabulary(l);
    return status ? status : load_layers(l);
}

int bc_model_open(bc_model **out, bc_engine *engine, const char *folder, bc_error *err)
{
    if (out) *out = NULL;
    if (!out || !engine || !folder || !*folder)
        return bc_fail(err, BC_ERR_INVALID, "bc_model_open needs an out, an engine and a folder");
    bc_loader l = { calloc(1, sizeof(bc_model)), err };
    if (!l.m) return bc_load_no_memory(&l);
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
    free(w->stored_scales);
    free((void *)(uintptr_t)w->delta); /* bc_model_set_delta's */
    free(w->bias);
}

static void free_layer(bc_layer *layer)
{
    for (int i = 0; i < BC_N_MATRICES; i++) free_weight(bc_layer_weight(layer, i));
    free(layer->attn_norm);
    free(layer->mlp_norm);
    free(layer->q_norm);
    free(layer->k_norm);
}

void bc_model_close(bc_model *model)
{
    if (!model) return;
    bc_placed_close(model->placed);
    for (int32_t i = 0; model->layers && i < model->config.n_layers; i++)
        free_layer(&model->layers[i]);
    free(model->layers);
    if (model->head.scales != model->embed.scales) free_weight(&model->head);
    free_weight(&model->embed);
    free(model->final_norm);
    for (int i = 0; i < model->n_rotations; i++) bc_rotation_free(&model->rotations[i]);
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
