/* driver.h - the part of NVIDIA's driver API (libcuda.so.1, nvcuda.dll) that we call.
 *
 * The library is opened at run time, so neither a toolkit nor a driver is needed to build or to start. Names, numbers
 * and signatures are those of the CUDA driver API reference; only what is used is declared. */
#ifndef BC_CUDA_DRIVER_H
#define BC_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NO_DEVICE = 100,
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    CU_LIMIT_STACK_SIZE = 0,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT = 9, /* percent */
    CU_STREAM_NON_BLOCKING = 1,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    CU_EVENT_DEFAULT = 0,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6
};

typedef struct CUlaunchAttribute {
    int id;
    char pad[4];
    union {
        char room[64];
        int programmatic; /* programmaticStreamSerializationAllowed */
    } value;
} CUlaunchAttribute;

typedef struct CUlaunchConfig {
    unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ;
    unsigned sharedMemBytes;
    CUstream hStream;
    CUlaunchAttribute *attrs;
    unsigned numAttrs;
} CUlaunchConfig;

/* X(field, exported name, parameters) */
#define BC_CUDA_FUNCTIONS(X)                                                                       \
    X(Init, "cuInit", (unsigned flags))                                                            \
    X(DriverGetVersion, "cuDriverGetVersion", (int *version))                                      \
    X(GetErrorString, "cuGetErrorString", (CUresult error, const char **text))                     \
    X(DeviceGetCount, "cuDeviceGetCount", (int *n))                                                \
    X(DeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                  \
    X(DeviceGetName, "cuDeviceGetName", (char *name, int length, CUdevice device))                 \
    X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, CUdevice device))    \
    X(DeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *bytes, CUdevice device))                     \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))  \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (CUdevice device))                  \
    X(CtxSetCurrent, "cuCtxSetCurrent", (CUcontext context))                                       \
    X(CtxSetLimit, "cuCtxSetLimit", (int limit, size_t value))                                     \
    X(MemGetInfo, "cuMemGetInfo_v2", (size_t *free_bytes, size_t *total_bytes))                    \
    X(MemAlloc, "cuMemAlloc_v2", (CUdeviceptr * p, size_t bytes))                                  \
    X(MemFree, "cuMemFree_v2", (CUdeviceptr p))                                                    \
    X(MemAllocHost, "cuMemAllocHost_v2", (void **p, size_t bytes))                                 \
    X(MemFreeHost, "cuMemFreeHost", (void *p))                                                     \
    X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",                                                     \
      (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                           \
    X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                                     \
      (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                                 \
    X(MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                                     \
      (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                           \
    X(MemsetD8Async, "cuMemsetD8Async",                                                            \
      (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream))                        \
    X(StreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))                         \
    X(StreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                      \
    X(StreamSynchronize, "cuStreamSynchronize", (CUstream stream))                                 \
    X(StreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))                  \
    X(StreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph * graph))                  \
    X(GraphInstantiate, "cuGraphInstantiateWithFlags",                                             \
      (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                               \
    X(GraphLaunch, "cuGraphLaunch", (CUgraphExec exec, CUstream stream))                           \
    X(GraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec exec))                                  \
    X(GraphDestroy, "cuGraphDestroy", (CUgraph graph))                                             \
    X(ModuleLoadData, "cuModuleLoadData", (CUmodule * module, const void *image))                  \
    X(ModuleUnload, "cuModuleUnload", (CUmodule module))                                           \
    X(ModuleGetFunction, "cuModuleGetFunction",                                                    \
      (CUfunction * function, CUmodule module, const char *name))                                  \
    X(FuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))     \
    X(LaunchKernelEx, "cuLaunchKernelEx",                                                          \
      (const CUlaunchConfig *config, CUfunction function, void **params, void **extra))            \
    X(LaunchKernel, "cuLaunchKernel",                                                              \
      (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,       \
       unsigned bz, unsigned shared_bytes, CUstream stream, void **params, void **extra))          \
    X(EventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                             \
    X(EventDestroy, "cuEventDestroy_v2", (CUevent event))                                          \
    X(EventRecord, "cuEventRecord", (CUevent event, CUstream stream))                              \
    X(EventSynchronize, "cuEventSynchronize", (CUevent event))                                     \
    X(EventElapsedTime, "cuEventElapsedTime", (float *milliseconds, CUevent from, CUevent to))

typedef struct bc_cuda_api {
#define BC_CUDA_FIELD(field, name, parameters) CUresult(*field) parameters;
    BC_CUDA_FUNCTIONS(BC_CUDA_FIELD)
#undef BC_CUDA_FIELD
    int version; /* of the driver: 13000 */
} bc_cuda_api;

/* Opens the driver's library, which then stays, and initialises it: BC_ERR_UNSUPPORTED with the reason where there is
 * none, or it is too old, or it has no device. The environment's BC_CUDA_DRIVER names another library (tests). */
int bc_cuda_driver_open(bc_cuda_api *api, bc_error *err);

/* Fails with what the driver says about `result`, in the sentence "the graphics card: WHAT failed: ...". */
int bc_cuda_failed(const bc_cuda_api *api, CUresult result, const char *what, bc_error *err);

#endif
