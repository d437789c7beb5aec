/* device.c - see device.h. What an open card does, except kernels (launch.c). */
#include "device.h"

#include "error.h"

static const char *const KERNEL_NAMES[BC_N_GPU_KERNELS] = {
#define BC_KERNEL_NAME(name, arguments) #name,
#include "kernels/list.h"
#undef BC_KERNEL_NAME
};

const char *bc_kernel_name(int kernel) { return KERNEL_NAMES[kernel]; }

int bc_device_enter(bc_device *d, bc_error *err)
{
    BC_CHECK(d, CtxSetCurrent(d->context), "entering the card's context");
    return BC_OK;
}

int bc_device_get_memory(bc_device *d, bc_device_memory *memory, bc_error *err)
{
    const int status = bc_device_enter(d, err);
    if (status != BC_OK) return status;
    size_t free_bytes = 0, total = 0;
    BC_CHECK(d, MemGetInfo(&free_bytes, &total), "asking for free memory");
    *memory = (bc_device_memory){ .used_bytes = d->used,
                                  .peak_bytes = d->peak,
                                  .total_bytes = (int64_t)total,
                                  .free_bytes = (int64_t)free_bytes };
    return BC_OK;
}

int bc_device_alloc(bc_device *d, bc_ptr *out, int64_t bytes, bc_error *err)
{
    *out = 0;
    if (bytes < 1) bytes = 1;
    const CUresult result = d->api.MemAlloc(out, (size_t)bytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        size_t free_bytes = 0, total = 0;
        d->api.MemGetInfo(&free_bytes, &total);
        return bc_fail(err, BC_ERR_NOMEM,
                       "the graphics card has %lld MB free and %lld MB are needed: close other "
                       "programs that use it, or use a smaller context",
                       (long long)(free_bytes >> 20), (long long)((bytes + (1 << 20) - 1) >> 20));
    }
    if (result != CUDA_SUCCESS) return bc_cuda_failed(&d->api, result, "asking for memory", err);
    d->used += bytes;
    if (d->used > d->peak) d->peak = d->used;
    return BC_OK;
}

void bc_device_release(bc_device *d, bc_ptr p, int64_t bytes)
{
    if (!p) return;
    d->api.MemFree(p);
    d->used -= bytes < 1 ? 1 : bytes;
}

int bc_device_upload(bc_device *d, bc_ptr to, const void *from, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    BC_CHECK(d, MemcpyHtoDAsync(to, from, (size_t)bytes, d->stream), "copying to the card");
    return BC_OK;
}

int bc_device_download(bc_device *d, void *to, bc_ptr from, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    BC_CHECK(d, MemcpyDtoHAsync(to, from, (size_t)bytes, d->stream), "copying from the card");
    return BC_OK;
}

int bc_device_copy(bc_device *d, bc_ptr to, bc_ptr from, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    BC_CHECK(d, MemcpyDtoDAsync(to, from, (size_t)bytes, d->stream), "copying on the card");
    return BC_OK;
}

int bc_device_clear(bc_device *d, bc_ptr to, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    BC_CHECK(d, MemsetD8Async(to, 0, (size_t)bytes, d->stream), "clearing memory of the card");
    return BC_OK;
}

int bc_device_wait(bc_device *d, bc_error *err)
{
    BC_CHECK(d, StreamSynchronize(d->stream), "the work");
    return BC_OK;
}
