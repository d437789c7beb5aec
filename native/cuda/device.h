/* device.h - an open graphics card: its context, stream and kernels, and the memory counted. */
#ifndef BC_CUDA_DEVICE_H
#define BC_CUDA_DEVICE_H

#include "backend.h"
#include "driver.h"

typedef uint64_t bc_ptr; /* an address in the card's memory */

enum bc_kernel_id {
#define BC_KERNEL_NAME(name, arguments) BC_K_##name,
#include "kernels/list.h"
#undef BC_KERNEL_NAME
    BC_N_GPU_KERNELS
};

typedef struct bc_trace bc_trace;

struct bc_device {
    bc_cuda_api api;
    CUdevice ordinal;
    CUcontext context;
    CUstream stream;
    CUmodule module;
    CUfunction kernels[BC_N_GPU_KERNELS];
    int arch; /* 90 */
    int processors;
    int shared_bytes; /* that one block may ask for */
    int tiled;        /* 1: planes lie as kernels/tiled.cuh says */
    int bits;         /* 1: its tensor cores multiply single bits (bc_mma_bits of device.cuh) */
    int overlaps;     /* 1: a kernel may begin before the last one has ended (device.cuh) */
    int copied;       /* 1: what was queued last is a copy, and a kernel waits for all of it */
    int64_t used, peak;
    bc_trace *trace; /* trace.h; NULL: kernels are not timed */
};

typedef struct bc_launch {
    int kernel; /* enum bc_kernel_id */
    unsigned grid_x, grid_y, grid_z, threads, shared;
    void *args; /* the kernel's argument struct */
} bc_launch;

/* Returns from the function that it is in, whose `err` it fills, when the driver refuses. */
#define BC_CHECK(d, call, what)                                                                    \
    do {                                                                                           \
        const CUresult result_ = (d)->api.call;                                                    \
        if (result_ != CUDA_SUCCESS) return bc_cuda_failed(&(d)->api, result_, what, err);         \
    } while (0)

int bc_device_count(int32_t *n, bc_error *err);
int bc_device_describe(int32_t index, bc_device_info *info, bc_error *err);
int bc_device_open(bc_device **out, int32_t index, bc_error *err);
void bc_device_close(bc_device *d);
int bc_device_get_memory(bc_device *d, bc_device_memory *memory, bc_error *err);

/* Before other calls of this section: the context belongs to this thread from now on. */
int bc_device_enter(bc_device *d, bc_error *err);
/* BC_ERR_NOMEM says how much was asked for and how much is free. */
int bc_device_alloc(bc_device *d, bc_ptr *out, int64_t bytes, bc_error *err);
void bc_device_release(bc_device *d, bc_ptr p, int64_t bytes);
/* Queued in the stream; host memory that is not page-locked may be changed when they return. */
int bc_device_upload(bc_device *d, bc_ptr to, const void *from, int64_t bytes, bc_error *err);
int bc_device_download(bc_device *d, void *to, bc_ptr from, int64_t bytes, bc_error *err);
int bc_device_copy(bc_device *d, bc_ptr to, bc_ptr from, int64_t bytes, bc_error *err);
int bc_device_clear(bc_device *d, bc_ptr to, int64_t bytes, bc_error *err);
int bc_device_start(bc_device *d, const bc_launch *launch, bc_error *err);
int bc_device_wait(bc_device *d, bc_error *err);
const char *bc_kernel_name(int kernel); /* of enum bc_kernel_id */

#endif
