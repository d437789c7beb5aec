/* launch.c - starting a kernel, and having it timed where that is wanted. */
#include "device.h"
#include "trace.h"

static int launch(bc_device *d, const bc_launch *l, bc_error *err)
{
    void *params[1] = { l->args };
    const int overlaps = d->overlaps && !d->copied;
    d->copied = 0;
    if (!overlaps) {
        BC_CHECK(d,
                 LaunchKernel(d->kernels[l->kernel], l->grid_x, l->grid_y, l->grid_z, l->threads, 1,
                              1, l->shared, d->stream, params, NULL),
                 "the work");
        return BC_OK;
    }
    CUlaunchAttribute overlap = { .id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                  .value.programmatic = 1 };
    const CUlaunchConfig config = { .gridDimX = l->grid_x,
                                    .gridDimY = l->grid_y,
                                    .gridDimZ = l->grid_z,
                                    .blockDimX = l->threads,
                                    .blockDimY = 1,
                                    .blockDimZ = 1,
                                    .sharedMemBytes = l->shared,
                                    .hStream = d->stream,
                                    .attrs = &overlap,
                                    .numAttrs = 1 };
    BC_CHECK(d, LaunchKernelEx(&config, d->kernels[l->kernel], params, NULL), "the work");
    return BC_OK;
}

int bc_device_start(bc_device *d, const bc_launch *l, bc_error *err)
{
    if (!d->trace) return launch(d, l, err);
    bc_trace_before(d, l->kernel);
    d->copied = 1; /* what is queued last is no kernel */
    const int status = launch(d, l, err);
    bc_trace_after(d);
    return status;
}
