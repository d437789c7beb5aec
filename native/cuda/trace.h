/* trace.h - how long each kernel takes: for measuring, not for working. */
#ifndef BC_CUDA_TRACE_H
#define BC_CUDA_TRACE_H

#include "device.h"

/* From now on every kernel that is started is timed, one behind the other: none begins before the last has ended, and
 * no step is kept as a graph. Takes half a gigabyte of the card, where it is free. BC_ERR_INVALID: one is begun already. */
int bc_trace_begin(bc_device *d, bc_error *err);
/* The kernels that ran since, those with most time first, and no longer; *n of at most BC_MOST_KERNEL_TIMES. */
int bc_trace_end(bc_device *d, bc_kernel_time *times, int32_t *n, bc_error *err);

/* Around a launch, while d->trace is there; and where a card is closed. */
void bc_trace_before(bc_device *d, int kernel);
void bc_trace_after(bc_device *d);
void bc_trace_close(bc_device *d);

#endif
