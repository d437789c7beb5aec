/* driver.c - see driver.h. */
#include "driver.h"

#include <stdlib.h>

#include "error.h"
#include "platform.h"

enum {
    OLDEST_DRIVER = 11040
}; /* cuGraphInstantiateWithFlags; cuLaunchKernelEx is used where it exists */

/* On Linux, and on Windows. */
static const char *const LIBRARIES[] = { "libcuda.so.1", "nvcuda.dll" };

static int find_functions(bc_cuda_api *api, void *library)
{
    int missing = 0;
    void *found;
#define FIND(field, name, parameters)                                                              \
    found = bc_library_symbol(library, name);                                                      \
    missing += !found;                                                                             \
    *(void **)(void *)&api->field = found;
    BC_CUDA_FUNCTIONS(FIND)
#undef FIND
    return missing - !api->LaunchKernelEx; /* since 11.8: optional */
}

int bc_cuda_driver_open(bc_cuda_api *api, bc_error *err)
{
    *api = (bc_cuda_api){ 0 };
    const char *other = getenv("BC_CUDA_DRIVER");
    void *library = other && *other ? bc_library_open(other) : NULL;
    for (int i = 0; i < 2 && !library && !(other && *other); i++)
        library = bc_library_open(LIBRARIES[i]);
    if (!library)
        return bc_fail(err, BC_ERR_UNSUPPORTED, "there is no NVIDIA driver on this computer");
    if (find_functions(api, library))
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the NVIDIA driver is too old: install the newest one for this card");
    CUresult result = api->Init(0);
    if (result == CUDA_SUCCESS) result = api->DriverGetVersion(&api->version);
    if (result == CUDA_ERROR_NO_DEVICE)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the NVIDIA driver finds no graphics card that it can use");
    if (result != CUDA_SUCCESS) {
        bc_cuda_failed(api, result, "starting the NVIDIA driver", err);
        if (err) err->code = BC_ERR_UNSUPPORTED;
        return BC_ERR_UNSUPPORTED;
    }
    if (api->version < OLDEST_DRIVER)
        return bc_fail(err, BC_ERR_UNSUPPORTED,
                       "the NVIDIA driver runs CUDA %d.%d and 11.4 is needed: install the newest "
                       "one for this card",
                       api->version / 1000, api->version % 1000 / 10);
    return BC_OK;
}

int bc_cuda_failed(const bc_cuda_api *api, CUresult result, const char *what, bc_error *err)
{
    const char *text = NULL;
    if (api->GetErrorString(result, &text) != CUDA_SUCCESS || !text) text = "unknown error";
    return bc_fail(err, result == CUDA_ERROR_OUT_OF_MEMORY ? BC_ERR_NOMEM : BC_ERR_IO,
                   "the graphics card: %s failed: %s (%d)", what, text, result);
}
