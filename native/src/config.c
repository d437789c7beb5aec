/* config.c - config.json: which of the families it is, its sizes, and nothing else.
 *
 * Names, defaults and meanings are those of transformers 5 (models/<family>/configuration_*.py,
 * modeling_rope_utils.py); older key names are read too. A default is used only for the keys
 * that published models leave out; every other missing key is an error. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config_read.h"
#include "error.h"
#include "model.h"

#define WORKS "BitConverter runs llama, mistral, qwen2 and qwen3 models"

static const struct family {
    const char *model_type;
    int family, default_kv_heads, default_head_dim, default_positions; /* 0: derived */
} families[] = {
    { "llama", BC_LLAMA, 0, 0, 2048 },
    { "mistral", BC_MISTRAL, 8, 0, 131072 },
    { "qwen2", BC_QWEN2, 32, 0, 32768 },
    { "qwen3", BC_QWEN3, 32, 128, 32768 },
};

/* ---- which model ---- */

static int read_family(bc_config_reader *r, bc_config *c, const struct family **family)
{
    bc_quote quote;
    const bc_json_node *type = bc_json_get(&r->doc, r->root, "model_type");
    if (!bc_json_is(type, BC_JSON_STRING))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED, "config.json has no model_type; " WORKS);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(type->string, families[i].model_type) == 0) {
            *family = &families[i];
            c->family = families[i].family;
            strcpy(c->model_type, families[i].model_type);
            return BC_OK;
        }
    return bc_fail(r->err, BC_ERR_UNSUPPORTED, "model_type %s is not supported; " WORKS,
                   bc_json_show(&quote, type));
}

/* A causal language model, not a classifier or an encoder on the same layers. */
static int check_architecture(bc_config_reader *r)
{
    static const char suffix[] = "ForCausalLM";
    bc_quote quote;
    const bc_json_node *list = bc_json_get(&r->doc, r->root, "architectures"), *a;
    const bc_json_node *causal = bc_json_get(&r->doc, r->root, "is_causal");
    if (bc_json_is(causal, BC_JSON_BOOL) && !causal->integer)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json says is_causal: false; BitConverter runs text generators only");
    if (!list || list->type == BC_JSON_NULL) return BC_OK;
    if (!bc_json_is(list, BC_JSON_ARRAY))
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json has architectures: %s, which must be a list of names",
                       bc_json_show(&quote, list));
    if (list->count == 0) return BC_OK;
    a = bc_json_first(&r->doc, list);
    if (bc_json_is(a, BC_JSON_STRING) && a->count >= sizeof suffix - 1 &&
        strcmp(a->string + a->count - (sizeof suffix - 1), suffix) == 0)
        return BC_OK;
    return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                   "the architecture %s is not a text generator; BitConverter runs the "
                   "...ForCausalLM models of llama, mistral, qwen2 and qwen3",
                   bc_json_show(&quote, a));
}

/* Options that change the arithmetic and that the engine does not have. */
static int refuse_options(bc_config_reader *r)
{
    static const char *const experts[] = { "num_experts", "num_local_experts", "n_routed_experts",
                                           "moe_intermediate_size", "num_experts_per_tok" };
    bc_quote quote;
    for (size_t i = 0; i < sizeof experts / sizeof experts[0]; i++) {
        const bc_json_node *n = bc_json_get(&r->doc, r->root, experts[i]);
        if (n && n->type != BC_JSON_NULL && !(n->is_integer && n->integer <= 0))
            return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                           "config.json has %s: %s, a mixture of experts; BitConverter runs dense "
                           "llama, mistral, qwen2 and qwen3 models",
                           experts[i], bc_json_show(&quote, n));
    }
    const bc_json_node *act = bc_json_get(&r->doc, r->root, "hidden_act");
    if (!act) return bc_config_missing(r, "hidden_act");
    if (!bc_json_is(act, BC_JSON_STRING) ||
        (strcmp(act->string, "silu") != 0 && strcmp(act->string, "swish") != 0))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json has hidden_act %s; BitConverter runs silu (swish) only",
                       bc_json_show(&quote, act));
    return BC_OK;
}

/* ---- sizes ---- */

static int read_head_dim(bc_config_reader *r, bc_config *c, const struct family *family)
{
    int derived = family->default_head_dim;
    if (!derived && c->hidden % c->n_heads == 0) derived = c->hidden / c->n_heads;
    if (!derived && !bc_config_has(r, r->root, "head_dim"))
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: hidden_size %d is not a multiple of num_attention_heads %d, "
                       "and there is no head_dim",
                       (int)c->hidden, (int)c->n_heads);
    if (derived > BC_MAX_HEAD_DIM && !bc_config_has(r, r->root, "head_dim"))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json: hidden_size / num_attention_heads gives heads of %d; "
                       "BitConverter runs even sizes up to 256",
                       derived);
    int status = bc_config_int(r, r->root, "head_dim", 2, BC_MAX_HEAD_DIM, derived, &c->head_dim);
    if (!status && c->head_dim % 2 != 0)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json: heads of %d; BitConverter runs even sizes up to 256",
                       (int)c->head_dim);
    return status;
}

static int read_sizes(bc_config_reader *r, bc_config *c, const struct family *family)
{
    const int required = BC_CONFIG_REQUIRED;
    int kv_default, status;
    if ((status = bc_config_int(r, r->root, "vocab_size", 1, 4 << 20, required, &c->vocab)) ||
        (status = bc_config_int(r, r->root, "hidden_size", 1, 65536, required, &c->hidden)) ||
        (status = bc_config_int(r, r->root, "intermediate_size", 1, 262144, required,
                                &c->intermediate)) ||
        (status =
             bc_config_int(r, r->root, "num_hidden_layers", 1, 1024, required, &c->n_layers)) ||
        (status = bc_config_int(r, r->root, "num_attention_heads", 1, 1024, required, &c->n_heads)))
        return status;
    /* null means one per attention head, in every family; left out, it is the family's default */
    kv_default = bc_config_is_null(r, r->root, "num_key_value_heads") || !family->default_kv_heads
                     ? c->n_heads
                     : family->default_kv_heads;
    if ((status = bc_config_int(r, r->root, "num_key_value_heads", 1, 1024, kv_default,
                                &c->n_kv_heads)) ||
        (status = bc_config_int(r, r->root, "max_position_embeddings", 1, 1 << 28,
                                family->default_positions, &c->max_positions)) ||
        (status = read_head_dim(r, c, family)))
        return status;
    if (c->n_heads % c->n_kv_heads != 0)
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: num_attention_heads %d is not a multiple of "
                       "num_key_value_heads %d",
                       (int)c->n_heads, (int)c->n_kv_heads);
    if ((int64_t)c->n_heads * c->head_dim > BC_MAX_ATTENTION)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json: %d heads of %d are more than BitConverter's limit of 131072 "
                       "values",
                       (int)c->n_heads, (int)c->head_dim);
    return bc_config_float(r, r->root, "rms_norm_eps", FLT_MIN, 1.0, 1e-6, &c->rms_eps);
}

/* Mistral and the Qwens never have some biases, whatever the file says: the class decides. */
static int read_switches(bc_config_reader *r, bc_config *c)
{
    int status = bc_config_bool(r, "tie_word_embeddings", 0, &c->tied);
    if (!status && (c->family == BC_LLAMA || c->family == BC_QWEN3))
        status = bc_config_bool(r, "attention_bias", 0, &c->attention_bias);
    if (!status && c->family == BC_LLAMA) status = bc_config_bool(r, "mlp_bias", 0, &c->mlp_bias);
    if (c->family == BC_QWEN2) c->attention_bias = 1;
    c->qk_norm = c->family == BC_QWEN3;
    return status;
}

/* ---- converted models (docs/FORMAT.md 1.1) ---- */

static int read_rotation(bc_config_reader *r, bc_config *c, const bc_json_node *q)
{
    bc_quote quote;
    const bc_json_node *rotation = bc_json_get(&r->doc, q, "rotation");
    const bc_json_node *kind = bc_json_get(&r->doc, rotation, "kind");
    const bc_json_node *seed = bc_json_get(&r->doc, rotation, "seed");
    if (!bc_json_is(kind, BC_JSON_STRING))
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: quantization_config has no rotation.kind");
    if (strcmp(kind->string, "permute_sign_hadamard") != 0)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json: the rotation %s is not supported; this BitConverter runs "
                       "permute_sign_hadamard",
                       bc_json_show(&quote, kind));
    if (!bc_json_is(seed, BC_JSON_NUMBER) || !seed->is_integer || seed->integer < 0 ||
        seed->integer >= (int64_t)1 << 53)
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: rotation.seed must be an integer from 0 to 2^53 - 1");
    c->ternary = 1;
    c->rotation_seed = (uint64_t)seed->integer;
    return BC_OK;
}

static int read_quantization(bc_config_reader *r, bc_config *c)
{
    bc_quote quote;
    const bc_json_node *q = bc_json_get(&r->doc, r->root, "quantization_config");
    const bc_json_node *other = bc_json_get(&r->doc, r->root, "quantization");
    if (!q || q->type == BC_JSON_NULL) q = NULL;
    const bc_json_node *method = bc_json_get(&r->doc, q, "quant_method");
    const bc_json_node *version = bc_json_get(&r->doc, q, "format_version");
    if (!q && other && other->type != BC_JSON_NULL)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "this model is already quantized (config.json has \"quantization\"); "
                       "BitConverter runs bf16, f16 and f32 models and its own");
    if (!q) return BC_OK;
    if (!bc_json_is(method, BC_JSON_STRING) || strcmp(method->string, "ternary_planes") != 0)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "this model is already quantized (quant_method %s); BitConverter runs "
                       "bf16, f16 and f32 models and its own",
                       method ? bc_json_show(&quote, method) : "not named");
    if (!bc_json_is(version, BC_JSON_NUMBER) || !version->is_integer || version->integer != 1)
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "this model has format_version %s; this BitConverter reads version 1, a "
                       "newer one may read it",
                       version ? bc_json_show(&quote, version) : "not given");
    return read_rotation(r, c, q);
}

/* ---- all of it ---- */

static int read_all(bc_config_reader *r, bc_config *c)
{
    const struct family *family = NULL;
    int status;
    if (r->root->type != BC_JSON_OBJECT)
        return bc_fail(r->err, BC_ERR_FORMAT, "config.json is not a JSON object");
    if ((status = read_family(r, c, &family)) || (status = check_architecture(r)) ||
        (status = refuse_options(r)) || (status = read_quantization(r, c)) ||
        (status = read_sizes(r, c, family)) || (status = read_switches(r, c)) ||
        (status = bc_config_rope(r, c)))
        return status;
    return bc_config_windows(r, c);
}

int bc_config_parse(bc_config *config, const char *text, size_t length, bc_error *err)
{
    bc_config_reader r = { .err = err };
    memset(config, 0, sizeof *config);
    int status = bc_json_parse_file(&r.doc, text, length, "config.json", err);
    if (status) return status;
    r.root = r.doc.nodes;
    status = read_all(&r, config);
    bc_json_free(&r.doc);
    if (status) bc_config_free(config);
    return status;
}

void bc_config_free(bc_config *config)
{
    free(config->layer_slides);
    config->layer_slides = NULL;
}

void bc_config_describe(const bc_config *config, bc_model_info *info)
{
    memset(info, 0, sizeof *info);
    memcpy(info->family, config->model_type, sizeof info->family);
    info->n_layers = config->n_layers;
    info->hidden_size = config->hidden;
    info->intermediate_size = config->intermediate;
    info->n_heads = config->n_heads;
    info->n_kv_heads = config->n_kv_heads;
    info->head_dim = config->head_dim;
    info->vocab_size = config->vocab;
    info->max_positions = config->max_positions;
    info->sliding_window = config->sliding_window;
    info->tied = config->tied;
    info->qkv_bias = config->attention_bias;
    info->o_bias = config->attention_bias && config->family != BC_QWEN2;
    info->mlp_bias = config->mlp_bias;
    info->qk_norm = config->qk_norm;
    info->ternary = config->ternary;
}

int bc_config_check(const char *config_json, size_t length, bc_model_info *info, bc_error *err)
{
    bc_config config;
    if (!config_json || !info)
        return bc_fail(err, BC_ERR_INVALID, "bc_config_check needs a text and an info");
    int status = bc_config_parse(&config, config_json, length, err);
    if (status) return status;
    bc_config_describe(&config, info);
    bc_config_free(&config);
    return BC_OK;
}
