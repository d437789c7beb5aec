/* config_read.h - typed access to config.json's keys; between config*.c only. */
#ifndef BC_CONFIG_READ_H
#define BC_CONFIG_READ_H

#include "bitconverter.h"
#include "json.h"
#include "model.h"

#define BC_MAX_ATTENTION 131072 /* n_heads * head_dim */

enum { BC_CONFIG_REQUIRED = -1 };

typedef struct bc_config_reader {
    bc_json doc;
    const bc_json_node *root;
    bc_error *err;
} bc_config_reader;

int bc_config_missing(bc_config_reader *r, const char *key); /* fails, naming the key */

/* null counts as missing, as it does in transformers. */
int bc_config_has(bc_config_reader *r, const bc_json_node *object, const char *key);
int bc_config_is_null(bc_config_reader *r, const bc_json_node *object, const char *key);

/* min <= *out <= max. `missing` is the value of a missing key, or BC_CONFIG_REQUIRED. */
int bc_config_int(bc_config_reader *r, const bc_json_node *object, const char *key, int32_t min,
                  int32_t max, int32_t missing, int32_t *out);
int bc_config_float(bc_config_reader *r, const bc_json_node *object, const char *key, double min,
                    double max, double missing, float *out);
int bc_config_bool(bc_config_reader *r, const char *key, int missing, int *out); /* of the root */

/* The rope_* and the sliding-window fields of config; the sizes are read already. */
int bc_config_rope(bc_config_reader *r, bc_config *config);
int bc_config_windows(bc_config_reader *r, bc_config *config);

#endif
