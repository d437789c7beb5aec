/* config_read.c - typed access to config.json, and the two parts with the most history:
 * RoPE (rope_theta and rope_scaling, since transformers 5 rope_parameters) and the sliding
 * window (use_sliding_window and max_window_layers, then layer_types). */
#include "config_read.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

int bc_config_missing(bc_config_reader *r, const char *key)
{
    return bc_fail(r->err, BC_ERR_FORMAT, "config.json has no \"%s\"", key);
}

int bc_config_is_null(bc_config_reader *r, const bc_json_node *object, const char *key)
{
    return bc_json_is(bc_json_get(&r->doc, object, key), BC_JSON_NULL);
}

int bc_config_has(bc_config_reader *r, const bc_json_node *object, const char *key)
{
    const bc_json_node *node = bc_json_get(&r->doc, object, key);
    return node && node->type != BC_JSON_NULL;
}

int bc_config_int(bc_config_reader *r, const bc_json_node *object, const char *key, int32_t min,
                  int32_t max, int32_t missing, int32_t *out)
{
    bc_quote quote;
    const bc_json_node *node = bc_json_get(&r->doc, object, key);
    int64_t value = missing;
    if (!bc_config_has(r, object, key)) {
        if (missing == BC_CONFIG_REQUIRED) return bc_config_missing(r, key);
    } else {
        if (node->type != BC_JSON_NUMBER || !node->is_integer || node->integer < min ||
            node->integer > max)
            return bc_fail(r->err, BC_ERR_FORMAT,
                           "config.json: \"%s\" is %s, it must be an integer from %d to %d", key,
                           bc_json_show(&quote, node), (int)min, (int)max);
        value = node->integer;
    }
    *out = (int32_t)value;
    return BC_OK;
}

int bc_config_float(bc_config_reader *r, const bc_json_node *object, const char *key, double min,
                    double max, double missing, float *out)
{
    bc_quote quote;
    const bc_json_node *node = bc_json_get(&r->doc, object, key);
    double value = missing;
    if (!bc_config_has(r, object, key)) {
        if (missing == BC_CONFIG_REQUIRED) return bc_config_missing(r, key);
    } else {
        if (node->type != BC_JSON_NUMBER || !(node->number >= min && node->number <= max))
            return bc_fail(r->err, BC_ERR_FORMAT,
                           "config.json: \"%s\" is %s, it must be a number from %g to %g", key,
                           bc_json_show(&quote, node), min, max);
        value = node->number;
    }
    *out = (float)value;
    return BC_OK;
}

int bc_config_bool(bc_config_reader *r, const char *key, int missing, int *out)
{
    bc_quote quote;
    const bc_json_node *node = bc_json_get(&r->doc, r->root, key);
    *out = missing;
    if (!bc_config_has(r, r->root, key)) return BC_OK;
    if (node->type != BC_JSON_BOOL)
        return bc_fail(r->err, BC_ERR_FORMAT, "config.json: \"%s\" is %s, it must be true or false",
                       key, bc_json_show(&quote, node));
    *out = (int)node->integer;
    return BC_OK;
}

/* ---- RoPE ---- */

/* rope_scaling wins over rope_parameters, an empty or null one counts as none. */
static int find_rope(bc_config_reader *r, const bc_json_node **rope)
{
    static const char *const keys[] = { "rope_scaling", "rope_parameters" };
    for (int i = 0; i < 2; i++) {
        *rope = bc_json_get(&r->doc, r->root, keys[i]);
        if (*rope && (*rope)->type != BC_JSON_NULL && (*rope)->type != BC_JSON_OBJECT)
            return bc_fail(r->err, BC_ERR_FORMAT, "config.json: \"%s\" is not an object", keys[i]);
        if (bc_json_is(*rope, BC_JSON_OBJECT) && (*rope)->count > 0) return BC_OK;
    }
    *rope = NULL;
    return BC_OK;
}

static int read_rope_type(bc_config_reader *r, bc_config *c, const bc_json_node *rope)
{
    static const char *const names[] = { "default", "linear", "llama3" };
    bc_quote quote;
    const bc_json_node *type = bc_json_get(&r->doc, rope, "rope_type");
    if (!type) type = bc_json_get(&r->doc, rope, "type");
    if (!type) {
        c->rope_type = BC_ROPE_DEFAULT;
        return BC_OK;
    }
    for (int i = BC_ROPE_DEFAULT; i <= BC_ROPE_LLAMA3; i++)
        if (bc_json_is(type, BC_JSON_STRING) && strcmp(type->string, names[i]) == 0) {
            c->rope_type = i;
            return BC_OK;
        }
    return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                   "the RoPE scaling %s is not supported; BitConverter runs default, linear and "
                   "llama3",
                   bc_json_show(&quote, type));
}

/* Options inside or beside the RoPE object that the engine does not have. */
static int refuse_rope_options(bc_config_reader *r, const bc_json_node *rope)
{
    bc_quote quote;
    const bc_json_node *partial = bc_json_get(&r->doc, rope, "partial_rotary_factor");
    if (bc_json_get(&r->doc, rope, "full_attention") ||
        bc_json_get(&r->doc, rope, "sliding_attention"))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json has RoPE parameters per layer type; BitConverter runs one set "
                       "for all layers");
    if (bc_json_get(&r->doc, rope, "mrope_section"))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json has a multimodal RoPE (mrope_section); BitConverter runs text "
                       "models");
    if (!partial) partial = bc_json_get(&r->doc, r->root, "partial_rotary_factor");
    if (partial && partial->type != BC_JSON_NULL &&
        !(partial->type == BC_JSON_NUMBER && partial->number == 1.0))
        return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                       "config.json has partial_rotary_factor %s; BitConverter runs 1 only",
                       bc_json_show(&quote, partial));
    return BC_OK;
}

static int read_llama3(bc_config_reader *r, bc_config *c, const bc_json_node *rope)
{
    int outside = bc_config_has(r, r->root, "original_max_position_embeddings"), status;
    if ((status = bc_config_float(r, rope, "low_freq_factor", 1e-6, 1e6, BC_CONFIG_REQUIRED,
                                  &c->rope_low_freq)) ||
        (status = bc_config_float(r, rope, "high_freq_factor", 1e-6, 1e6, BC_CONFIG_REQUIRED,
                                  &c->rope_high_freq)) ||
        (status = bc_config_int(r, outside ? r->root : rope, "original_max_position_embeddings", 1,
                                1 << 28, c->max_positions, &c->rope_original_positions)))
        return status;
    if (!(c->rope_high_freq > c->rope_low_freq)) /* their difference divides */
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: high_freq_factor %g must be above low_freq_factor %g",
                       (double)c->rope_high_freq, (double)c->rope_low_freq);
    return BC_OK;
}

int bc_config_rope(bc_config_reader *r, bc_config *c)
{
    const bc_json_node *rope;
    int status;
    c->rope_factor = 1.0F;
    if ((status = find_rope(r, &rope)) || (status = read_rope_type(r, c, rope)) ||
        (status = refuse_rope_options(r, rope)))
        return status;
    int inside = bc_config_has(r, rope, "rope_theta");
    status = bc_config_float(r, inside ? rope : r->root, "rope_theta", 1e-3, 1e15, 10000.0,
                             &c->rope_theta);
    if (status || c->rope_type == BC_ROPE_DEFAULT) return status;
    status = bc_config_float(r, rope, "factor", 1e-3, 1e6, BC_CONFIG_REQUIRED, &c->rope_factor);
    if (status || c->rope_type == BC_ROPE_LINEAR) return status;
    return read_llama3(r, c, rope);
}

/* ---- sliding window ---- */

/* The layers' kinds as the family's class computes them when layer_types is not given: Mistral
 * slides everywhere, the Qwens from max_window_layers on, Llama nowhere. */
static int default_windows(bc_config_reader *r, bc_config *c)
{
    int32_t first = 0;
    if (c->sliding_window && c->family != BC_MISTRAL) {
        int status = bc_config_int(r, r->root, "max_window_layers", 0, 1 << 20, 28, &first);
        if (status) return status;
    }
    for (int32_t i = 0; i < c->n_layers; i++) c->layer_slides[i] = c->sliding_window && i >= first;
    return BC_OK;
}

static int read_layer_types(bc_config_reader *r, bc_config *c, const bc_json_node *types)
{
    bc_quote quote;
    int32_t i = 0;
    if (types->type != BC_JSON_ARRAY || types->count != (uint32_t)c->n_layers)
        return bc_fail(r->err, BC_ERR_FORMAT,
                       "config.json: \"layer_types\" must list the %d layers", (int)c->n_layers);
    for (const bc_json_node *t = bc_json_first(&r->doc, types); t;
         t = bc_json_next(&r->doc, t), i++) {
        int slides = bc_json_is(t, BC_JSON_STRING) && strcmp(t->string, "sliding_attention") == 0;
        int full = bc_json_is(t, BC_JSON_STRING) && strcmp(t->string, "full_attention") == 0;
        if (!slides && !full)
            return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                           "the layer type %s is not supported; BitConverter runs full_attention "
                           "and sliding_attention",
                           bc_json_show(&quote, t));
        if (slides && !c->sliding_window)
            return bc_fail(r->err, BC_ERR_FORMAT,
                           "config.json: layer_types asks for sliding_attention, but there is no "
                           "sliding window in use");
        if (full && c->sliding_window && c->family == BC_MISTRAL)
            return bc_fail(r->err, BC_ERR_UNSUPPORTED,
                           "config.json asks for full_attention in layer %d; BitConverter runs "
                           "mistral models with one window in all layers, or none",
                           (int)i);
        c->layer_slides[i] = (uint8_t)slides;
    }
    return BC_OK;
}

int bc_config_windows(bc_config_reader *r, bc_config *c)
{
    int in_use = c->family == BC_MISTRAL, slides = 0, status = BC_OK;
    if (c->family == BC_QWEN2 || c->family == BC_QWEN3)
        status = bc_config_bool(r, "use_sliding_window", 0, &in_use);
    if (!status && in_use && !bc_config_is_null(r, r->root, "sliding_window"))
        status =
            bc_config_int(r, r->root, "sliding_window", 1, INT32_MAX, 4096, &c->sliding_window);
    if (status) return status;
    c->layer_slides = calloc((size_t)c->n_layers, 1);
    if (!c->layer_slides)
        return bc_fail(r->err, BC_ERR_NOMEM, "not enough memory to read config.json");
    const bc_json_node *types = bc_json_get(&r->doc, r->root, "layer_types");
    status = types && types->type != BC_JSON_NULL ? read_layer_types(r, c, types)
                                                  : default_windows(r, c);
    for (int32_t i = 0; i < c->n_layers; i++) slides |= c->layer_slides[i];
    if (!slides) c->sliding_window = 0;
    return status;
}
