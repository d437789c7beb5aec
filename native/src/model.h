/* model.h - what a model is, inside the engine: its configuration and its mapped weights. */
#ifndef BC_MODEL_H
#define BC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"
#include "rotation.h"

enum bc_family { BC_LLAMA, BC_MISTRAL, BC_QWEN2, BC_QWEN3 };
enum bc_rope_type { BC_ROPE_DEFAULT, BC_ROPE_LINEAR, BC_ROPE_LLAMA3 };

typedef struct bc_config {
    int family; /* enum bc_family */
    char model_type[16];
    int32_t n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim, vocab, max_positions;
    float rms_eps;
    int tied;           /* the head is the embedding */
    int attention_bias; /* q, k, v (and o, for llama) biases are required */
    int mlp_bias;
    int qk_norm;            /* Qwen3: RMSNorm of each q and k head */
    int32_t sliding_window; /* 0: none */
    uint8_t *layer_slides;  /* [n_layers]: 1 where the window applies; owned */
    int rope_type;
    float rope_theta;
    float rope_factor, rope_low_freq, rope_high_freq; /* llama3; factor alone for linear */
    int32_t rope_original_positions;
    /* converted models */
    int ternary;
    uint64_t rotation_seed;
} bc_config;

enum bc_weight_kind { BC_WEIGHT_DENSE, BC_WEIGHT_PLANES, BC_WEIGHT_INT8 };

/* y += B (A x): A f32 [rank, cols] and B' f32 [rank, rows], borrowed; rank 0: none. */
#define BC_MAX_RANK 256
typedef struct bc_lora {
    const float *a, *b;
    int rank;
} bc_lora;

/* A linear map y = W x + bias, W [rows, cols]. */
typedef struct bc_weight {
    int kind;
    int dtype;    /* enum bc_dtype, dense only */
    int n_planes; /* planes only */
    int64_t rows, cols;
    const void *data;     /* mapped: dense [rows, cols], int8 [rows, cols], or planes */
    size_t plane_stride;  /* bytes from plane to plane */
    float *scales;        /* f32 [rows], owned; NULL when dense */
    float *stored_scales; /* f32 [rows], owned: what scales were, while a gain is set; NULL */
    float *bias;          /* f32 [rows], owned; NULL: none */
    const bc_matrix_replicas *replicas; /* borrowed, see bc_linear_space; NULL: none */
    const bc_rotation *rotation;        /* of its input; NULL when dense */
    bc_lora lora;
    const struct bc_weight
        *delta; /* y += delta x: of the same size, without bias, borrowed; NULL: none */
} bc_weight;

typedef struct bc_layer {
    float *attn_norm, *mlp_norm; /* f32 [hidden], owned */
    float *q_norm, *k_norm;      /* f32 [head_dim], owned; NULL: none */
    bc_weight q, k, v, o, gate, up, down;
} bc_layer;

enum { BC_N_MATRICES = 7 }; /* of a layer, numbered by enum bc_matrix_id */

static inline bc_weight *bc_layer_weight(bc_layer *l, int matrix)
{
    bc_weight *const weights[BC_N_MATRICES] = { &l->q,    &l->k,  &l->v,   &l->o,
                                                &l->gate, &l->up, &l->down };
    return weights[matrix];
}

struct bc_model {
    bc_engine *engine;
    bc_config config;
    bc_weight embed, head; /* head shares embed's data and scales when tied */
    float *final_norm;     /* f32 [hidden], owned */
    bc_layer *layers;
    bc_rotation rotations[6]; /* for cols = hidden, n_heads*head_dim, intermediate, and none of them
                               * rotated (each once) */
    int n_rotations;
    struct bc_files *files; /* the mapped safetensors files */
    bc_model_info info;
    struct bc_placed *placed; /* its last layers are on a device; NULL: all run on the CPU */
    int n_sessions;           /* that are open */
};

/* config.json's text -> config; refuses every architecture or option the engine does not run,
 * saying which and what works. Frees nothing on error. */
int bc_config_parse(bc_config *config, const char *text, size_t length, bc_error *err);
void bc_config_free(bc_config *config);

/* Fills the fields of info that config.json alone decides; the rest become 0. */
void bc_config_describe(const bc_config *config, bc_model_info *info);

#endif
