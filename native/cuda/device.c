/* device.c - see device.h. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "images.h"
#include "trace.h"

/* Returns from the function that it is in when the driver refuses. */
#define CHECK(d, call, what)                                                                       \
    do {                                                                                           \
        const CUresult result_ = (d)->api.call;                                                    \
        if (result_ != CUDA_SUCCESS) return bc_cuda_failed(&(d)->api, result_, what, err);         \
    } while (0)

enum {
    OVERLAP_ARCH = 90,
    TILED_ARCH = 75,      /* Turing: the first with tensor cores for integers */
    FIRST_BITS_ARCH = 80, /* those whose tensor cores multiply single bits */
    NO_MORE_BITS_ARCH = 100,
    OLDEST_ARCH = 61,        /* the oldest image */
    GRAPH_OVERLAP = 12040,   /* drivers that keep such edges in a captured graph */
    PLAIN_SHARED = 48 << 10, /* what every card's blocks may have */
    STATIC_SHARED = 12 << 10 /* at most, in kernels that ask for more */
};

static const char *const KERNEL_NAMES[BC_N_GPU_KERNELS] = {
#define BC_KERNEL_NAME(name, arguments) #name,
#include "kernels/list.h"
#undef BC_KERNEL_NAME
};

const char *bc_kernel_name(int kernel) { return KERNEL_NAMES[kernel]; }

/* ---- what there is ---- */

int bc_device_count(int32_t *n, bc_error *err)
{
    bc_cuda_api api;
    const int status = bc_cuda_driver_open(&api, err);
    if (status != BC_OK) return status;
    int count = 0;
    const CUresult result = api.DeviceGetCount(&count);
    if (result != CUDA_SUCCESS) return bc_cuda_failed(&api, result, "counting the cards", err);
    if (count < 1)
        return bc_fail(err, BC_ERR_UNSUPPORTED, "the NVIDIA driver finds no graphics card");
    *n = count;
    return BC_OK;
}

static int attribute(bc_device *d, int which, int *value, bc_error *err)
{
    CHECK(d, DeviceGetAttribute(value, which, d->ordinal), "asking for the card's properties");
    return BC_OK;
}

/* The driver's functions and the card's properties, without a context. */
static int look(bc_device *d, int32_t index, bc_device_info *info, bc_error *err)
{
    int status = bc_cuda_driver_open(&d->api, err);
    if (status != BC_OK) return status;
    int count = 0;
    CHECK(d, DeviceGetCount(&count), "counting the cards");
    if (index < 0 || index >= count)
        return bc_fail(err, BC_ERR_INVALID, "there is no graphics card %d: the driver finds %d",
                       index, count);
    CHECK(d, DeviceGet(&d->ordinal, index), "finding the card");
    size_t total = 0;
    CHECK(d, DeviceGetName(info->name, sizeof info->name, d->ordinal),
          "asking for the card's name");
    CHECK(d, DeviceTotalMem(&total, d->ordinal), "asking for the card's memory");
    snprintf(info->backend, sizeof info->backend, "cuda");
    info->total_bytes = (int64_t)total;
    info->driver_version = d->api.version;
    if ((status = attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &info->compute_major,
                            err)) ||
        (status =
             attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &info->compute_minor, err)))
        return status;
    return attribute(d, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &info->n_processors, err);
}

/* The driver keeps a stack for every thread that the card could run: 276 MB of an H200, for nothing, since our kernels
 * need none, or some bytes on cards of a few kinds. A card that does not want to know keeps its default. The context is
 * the process's: other CUDA code in it, which a program of ours does not have, would see the limit too. */
static void small_stacks(bc_device *d) { d->api.CtxSetLimit(CU_LIMIT_STACK_SIZE, 0); }

int bc_device_describe(int32_t index, bc_device_info *info, bc_error *err)
{
    bc_device d = { .stream = NULL };
    *info = (bc_device_info){ .free_bytes = 0 };
    int status = look(&d, index, info, err);
    if (status != BC_OK) return status;
    /* what is free only a context tells */
    CHECK(&d, DevicePrimaryCtxRetain(&d.context, d.ordinal), "starting the card");
    size_t free_bytes = 0, total = 0;
    CUresult result = d.api.CtxSetCurrent(d.context);
    if (result == CUDA_SUCCESS) small_stacks(&d);
    if (result == CUDA_SUCCESS) result = d.api.MemGetInfo(&free_bytes, &total);
    d.api.CtxSetCurrent(NULL);
    d.api.DevicePrimaryCtxRelease(d.ordinal);
    if (result != CUDA_SUCCESS)
        return bc_cuda_failed(&d.api, result, "asking for free memory", err);
    info->free_bytes = (int64_t)free_bytes;
    return BC_OK;
}

/* ---- opening ---- */

/* Machine code for this card if there is any, else the newest text that the driver can compile for it. */
static const bc_cuda_image *choose_image(int arch, int skip)
{
    const bc_cuda_image *best = NULL;
    for (int i = 0; i < bc_cuda_image_count; i++) {
        const bc_cuda_image *image = &bc_cuda_images[i];
        if (image->arch > arch || (!image->ptx && image->arch / 10 != arch / 10)) continue;
        if (skip && !image->ptx) continue;
        if (!best || image->ptx < best->ptx ||
            (image->ptx == best->ptx && image->arch > best->arch))
            best = image;
    }
    return best;
}

/* Those whose launches may ask for more shared memory than every card has. */
static int wants_shared(int kernel)
{
    return (kernel >= BC_K_bc_prepare_x && kernel <= BC_K_bc_prepare_wide_swiglu) ||
           kernel == BC_K_bc_attend || kernel == BC_K_bc_back_unrotate ||
           (kernel >= BC_K_bc_one && kernel <= BC_K_bc_few_32_streamed);
}

/* Those of a step of few tokens, most of which are short. */
static int of_a_step(int kernel)
{
    return kernel <= BC_K_bc_prepare_wide_swiglu ||
           (kernel >= BC_K_bc_one && kernel <= BC_K_bc_few_32_streamed) ||
           (kernel >= BC_K_bc_attend && kernel <= BC_K_bc_attend_128_i8_8) ||
           kernel == BC_K_bc_gemv_int8 || kernel == BC_K_bc_dense || kernel == BC_K_bc_codes_8 ||
           kernel == BC_K_bc_codes_32;
}

static int load_kernels(bc_device *d, bc_error *err)
{
    const bc_cuda_image *image = choose_image(d->arch, 0);
    if (!image)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "this graphics card (compute capability %d.%d) is too old: 6.1 (GeForce GTX "
                       "10) is needed",
                       d->arch / 10, d->arch % 10);
    CUresult result = d->api.ModuleLoadData(&d->module, image->data);
    if (result != CUDA_SUCCESS && !image->ptx) { /* an older driver may still compile the text */
        image = choose_image(d->arch, 1);
        if (image) result = d->api.ModuleLoadData(&d->module, image->data);
    }
    d->tiled = image && image->arch >= TILED_ARCH;
    d->bits = d->tiled && d->arch >= FIRST_BITS_ARCH && d->arch < NO_MORE_BITS_ARCH;
    /* only kernels compiled for 9.0 or newer wait for the one before (device.cuh) */
    d->overlaps = image && image->arch >= OVERLAP_ARCH && d->api.LaunchKernelEx &&
                  d->api.version >= GRAPH_OVERLAP;
    if (result != CUDA_SUCCESS)
        return bc_cuda_failed(&d->api, result, "loading the kernels (is the driver up to date?)",
                              err);
    for (int i = 0; i < BC_N_GPU_KERNELS; i++) {
        CHECK(d, ModuleGetFunction(&d->kernels[i], d->module, KERNEL_NAMES[i]), "finding a kernel");
        if (d->shared_bytes > PLAIN_SHARED && wants_shared(i))
            CHECK(d,
                  FuncSetAttribute(d->kernels[i], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                   d->shared_bytes),
                  "asking for shared memory");
        /* kernels that divide a processor's memory alike can be there at the same time */
        if (d->overlaps && of_a_step(i))
            d->api.FuncSetAttribute(d->kernels[i],
                                    CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100);
    }
    return BC_OK;
}

static int start(bc_device *d, int32_t index, bc_error *err)
{
    bc_device_info info = { .free_bytes = 0 };
    int status = look(d, index, &info, err);
    if (status != BC_OK) return status;
    d->arch = 10 * info.compute_major + info.compute_minor;
    d->processors = info.n_processors;
    if (d->arch < OLDEST_ARCH) return load_kernels(d, err); /* which says so */
    status =
        attribute(d, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &d->shared_bytes, err);
    if (status != BC_OK) return status;
    /* the static shared memory of those kernels counts too */
    d->shared_bytes =
        (d->shared_bytes > PLAIN_SHARED ? d->shared_bytes : PLAIN_SHARED) - STATIC_SHARED;
    CHECK(d, DevicePrimaryCtxRetain(&d->context, d->ordinal), "starting the card");
    CHECK(d, CtxSetCurrent(d->context), "starting the card");
    small_stacks(d);
    CHECK(d, StreamCreate(&d->stream, CU_STREAM_NON_BLOCKING), "starting a stream");
    return load_kernels(d, err);
}

int bc_device_open(bc_device **out, int32_t index, bc_error *err)
{
    *out = NULL;
    bc_device *d = calloc(1, sizeof *d);
    if (!d) return bc_fail(err, BC_ERR_NOMEM, "no memory for a device");
    const int status = start(d, index, err);
    if (status == BC_OK)
        *out = d;
    else
        bc_device_close(d);
    return status;
}

void bc_device_close(bc_device *d)
{
    if (!d) return;
    if (d->context) {
        d->api.CtxSetCurrent(d->context);
        bc_trace_close(d);
        if (d->module) d->api.ModuleUnload(d->module);
        if (d->stream) d->api.StreamDestroy(d->stream);
        d->api.CtxSetCurrent(NULL);
        d->api.DevicePrimaryCtxRelease(d->ordinal);
    }
    free(d);
}

int bc_device_enter(bc_device *d, bc_error *err)
{
    CHECK(d, CtxSetCurrent(d->context), "entering the card's context");
    return BC_OK;
}

/* ---- memory ---- */

int bc_device_get_memory(bc_device *d, bc_device_memory *memory, bc_error *err)
{
    const int status = bc_device_enter(d, err);
    if (status != BC_OK) return status;
    size_t free_bytes = 0, total = 0;
    CHECK(d, MemGetInfo(&free_bytes, &total), "asking for free memory");
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
    CHECK(d, MemcpyHtoDAsync(to, from, (size_t)bytes, d->stream), "copying to the card");
    return BC_OK;
}

int bc_device_download(bc_device *d, void *to, bc_ptr from, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    CHECK(d, MemcpyDtoHAsync(to, from, (size_t)bytes, d->stream), "copying from the card");
    return BC_OK;
}

int bc_device_copy(bc_device *d, bc_ptr to, bc_ptr from, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    CHECK(d, MemcpyDtoDAsync(to, from, (size_t)bytes, d->stream), "copying on the card");
    return BC_OK;
}

int bc_device_clear(bc_device *d, bc_ptr to, int64_t bytes, bc_error *err)
{
    d->copied = 1;
    CHECK(d, MemsetD8Async(to, 0, (size_t)bytes, d->stream), "clearing memory of the card");
    return BC_OK;
}

/* ---- work ---- */

static int launch(bc_device *d, const bc_launch *l, bc_error *err)
{
    void *params[1] = { l->args };
    const int overlaps = d->overlaps && !d->copied;
    d->copied = 0;
    if (!overlaps) {
        CHECK(d,
              LaunchKernel(d->kernels[l->kernel], l->grid_x, l->grid_y, l->grid_z, l->threads, 1, 1,
                           l->shared, d->stream, params, NULL),
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
    CHECK(d, LaunchKernelEx(&config, d->kernels[l->kernel], params, NULL), "the work");
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

int bc_device_wait(bc_device *d, bc_error *err)
{
    CHECK(d, StreamSynchronize(d->stream), "the work");
    return BC_OK;
}
