/* device_open.c - which cards there are, and opening and closing one: its context and stream, and the kernels for it. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "images.h"
#include "trace.h"

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
    BC_CHECK(d, DeviceGetAttribute(value, which, d->ordinal), "asking for the card's properties");
    return BC_OK;
}

/* The driver's functions and the card's properties, without a context. */
static int look(bc_device *d, int32_t index, bc_device_info *info, bc_error *err)
{
    int status = bc_cuda_driver_open(&d->api, err);
    if (status != BC_OK) return status;
    int count = 0;
    BC_CHECK(d, DeviceGetCount(&count), "counting the cards");
    if (index < 0 || index >= count)
        return bc_fail(err, BC_ERR_INVALID, "there is no graphics card %d: the driver finds %d",
                       index, count);
    BC_CHECK(d, DeviceGet(&d->ordinal, index), "finding the card");
    size_t total = 0;
    BC_CHECK(d, DeviceGetName(info->name, sizeof info->name, d->ordinal),
             "asking for the card's name");
    BC_CHECK(d, DeviceTotalMem(&total, d->ordinal), "asking for the card's memory");
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
    BC_CHECK(&d, DevicePrimaryCtxRetain(&d.context, d.ordinal), "starting the card");
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
        BC_CHECK(d, ModuleGetFunction(&d->kernels[i], d->module, bc_kernel_name(i)),
                 "finding a kernel");
        if (d->shared_bytes > PLAIN_SHARED && wants_shared(i))
            BC_CHECK(d,
                     FuncSetAttribute(d->kernels[i],
                                      CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
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
    BC_CHECK(d, DevicePrimaryCtxRetain(&d->context, d->ordinal), "starting the card");
    BC_CHECK(d, CtxSetCurrent(d->context), "starting the card");
    small_stacks(d);
    BC_CHECK(d, StreamCreate(&d->stream, CU_STREAM_NON_BLOCKING), "starting a stream");
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
