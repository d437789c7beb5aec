/* operations.h - single operations with everything in host memory, for tests and measurements. */
#ifndef BC_CUDA_OPERATIONS_H
#define BC_CUDA_OPERATIONS_H

#include "device.h"

int bc_op_copy_speed(bc_device *d, int64_t bytes, double *bytes_per_second, bc_error *err);
int bc_op_prepare(bc_device *d, const bc_weight *like, const float *x, const float *norm, float eps,
                  int32_t n, int8_t *a, float *scale, int32_t *sum, bc_error *err);
int bc_op_linear(bc_device *d, const bc_weight *weight, const float *x, int32_t n, float *y,
                 bc_error *err);

#endif
