/* block.h - the inside of bc_block: one decoder layer with the caller's weights. */
#ifndef BC_BLOCK_H
#define BC_BLOCK_H

#include "session.h"

enum { BC_BLOCK_TOKENS = 1024 }; /* of a group of windows, unless one window is longer */

struct bc_block {
    bc_model model;      /* owns its config, nothing else */
    bc_layer layer;      /* all borrowed */
    bc_session *session; /* of one window; NULL before the first forward pass */
    bc_rotation rotations[BC_N_MATRICES];
    bc_weight deltas[BC_N_MATRICES]; /* what is added to the matrices */
    uint64_t seeds[BC_N_MATRICES];   /* of the matrices that are planes */
    int32_t window;
};

bc_weight *bc_block_weight(bc_block *b, int matrix);

/* All weights are there and fit each other. */
int bc_block_check(bc_block *b, bc_error *err);

/* What bc_block_windows keeps for bc_block_backward, side by side for all tokens of a call: x, q, k and v, attention's
 * output, what lies between attention and MLP, gate and up. */
typedef struct bc_kept {
    float *x, *qkv, *attention, *middle, *gate_up;
} bc_kept;

/* The parts in `kept` for `tokens` tokens, from token `first` on. */
bc_kept bc_kept_parts(const bc_block *b, float *kept, int64_t tokens, int64_t first);

#endif
