/* planes.h - the packing of balanced-ternary integers, five rows to a byte (docs/FORMAT.md 1.2). */
#ifndef BC_PLANES_H
#define BC_PLANES_H

#include <stdint.h>

#include "kernels.h"

enum { BC_GROUP_ROWS = 5 };

/* Largest integer of 0..4 planes. */
extern const int BC_Q_MAX[BC_MAX_PLANES + 1];

/* Five rows of integers [cols], |q| <= BC_Q_MAX[n_planes], -> group `group` of every plane of
 * planes u8 [n_planes, n_groups, cols]. */
void bc_pack_group(uint8_t *planes, int n_planes, int64_t n_groups, int64_t group, int64_t cols,
                   const int8_t *const rows[BC_GROUP_ROWS]);

#endif
