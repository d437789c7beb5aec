/* driver.cpp - the functions of the driver API that cuda/driver.h names, over an emulated card.
 *
 * Nothing of a stream is done before somebody waits for it: who reads a result too early, or changes what a queued copy
 * still needs, gets wrong numbers here too. What the driver would answer with an error gets that error; what it would
 * let pass and is a mistake all the same ends the process.
 *
 * The environment: BC_EMULATED_MEMORY, the card's bytes (4 GiB); BC_EMULATED_CAPABILITY (80); BC_EMULATED_PROCESSORS
 * (6); BC_EMULATED_SHARED, the shared memory of a block (as such cards have it); BC_EMULATED_DEVICES (1);
 * BC_EMULATED_BROKEN, the name of a kernel that does nothing (none). */
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "checker.hpp"
#include "emulator.hpp"

extern "C" {
#include "../../cuda/driver.h"
}

/* Each function is exported by its name of the driver, and has the type that driver.h says. */
#define BC_EXPORT(field, name, parameters)                                                         \
    extern "C" __attribute__((visibility("default"))) CUresult field parameters __asm__(name);
BC_CUDA_FUNCTIONS(BC_EXPORT)

/* All of them are there, or the linker complains. */
#define BC_ADDRESS(field, name, parameters) &field,
extern const bc_cuda_api bc_emulated_all;
const bc_cuda_api bc_emulated_all = { BC_CUDA_FUNCTIONS(BC_ADDRESS) 0 };

using Operation = std::function<void()>;
using Operations = std::shared_ptr<std::vector<Operation>>;

struct CUctx_st {
    int users;
};
struct CUmod_st {};
struct CUfunc_st {
    const bc_emulated_kernel *kernel;
    size_t max_shared;
};
struct CUstream_st {
    std::vector<Operation> queue;
    Operations capture; /* not null while a graph is made */
    std::thread::id capturer;
};
struct CUevent_st {
    CUstream stream; /* null: never recorded */
    bool happened;
    std::chrono::steady_clock::time_point time;
};
struct CUgraph_st {
    Operations operations;
};
struct CUgraphExec_st {
    Operations operations;
};

namespace
{
constexpr CUresult SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3,
                   NO_DEVICE = 100;
constexpr CUresult INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NO_BINARY = 209, INVALID_PTX = 218;
constexpr CUresult INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
                   CAPTURE_UNSUPPORTED = 900;
constexpr size_t SHARED = 48 * 1024;

std::recursive_mutex mutex;
bool initialised;
CUctx_st context;
std::map<std::thread::id, bool> has_context;
std::set<const void *> alive; /* streams, events, graphs, modules */
std::set<CUstream> streams;
std::map<const bc_emulated_kernel *, CUfunc_st> functions;

long long setting(const char *name, long long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoll(text) : otherwise;
}
bool broken(const char *kernel)
{
    const char *name = getenv("BC_EMULATED_BROKEN");
    return name && strcmp(name, kernel) == 0;
}
size_t memory() { return (size_t)setting("BC_EMULATED_MEMORY", 4LL << 30); }
int capability() { return (int)setting("BC_EMULATED_CAPABILITY", 80); }
/* Shared memory that one block may ask for, as such cards have it. */
size_t shared_optin()
{
    const int of = capability();
    const long long kib = of < 70 ? 48 : of < 80 ? 64 : of == 80 ? 163 : of == 90 ? 227 : 99;
    return (size_t)setting("BC_EMULATED_SHARED", kib << 10);
}

template <class T> T *made(T *object)
{
    alive.insert(object);
    return object;
}
template <class T> CUresult destroy(T *object)
{
    if (!alive.erase(object)) return INVALID_HANDLE;
    delete object;
    return SUCCESS;
}

CUresult ready()
{
    if (!initialised) return NOT_INITIALIZED;
    return context.users && has_context[std::this_thread::get_id()] ? SUCCESS : INVALID_CONTEXT;
}
/* What would wait, or touch memory that a graph may use, is forbidden to a thread that makes one. */
CUresult ready_and_free()
{
    for (CUstream stream : streams)
        if (stream->capture && stream->capturer == std::this_thread::get_id())
            return CAPTURE_UNSUPPORTED;
    return ready();
}

void finish(CUstream stream)
{
    std::vector<Operation> queue;
    queue.swap(stream->queue);
    for (const Operation &operation : queue) operation();
    bc_check_drained();
    bc_emulated_check_memory("synchronize");
}
void finish_all()
{
    for (CUstream stream : streams) finish(stream);
}

CUresult enqueue(CUstream stream, Operation operation)
{
    if (const CUresult r = ready()) return r;
    if (!streams.count(stream)) return INVALID_HANDLE; /* the default stream is not emulated */
    (stream->capture ? *stream->capture : stream->queue).push_back(std::move(operation));
    return SUCCESS;
}

void fill(void *to, const void *from, size_t bytes)
{
    bc_check_filled(to, bytes);
    memcpy(to, from, bytes);
}

void need_device(CUdeviceptr p, size_t bytes, const char *what)
{
    if (!bc_emulated_holds(reinterpret_cast<void *>(p), bytes, true))
        bc_emulated_fail("%s: the %zu bytes at %#llx are not the device's memory", what, bytes,
                         (unsigned long long)p);
}

CUresult launch(CUfunction function, bc_emulated_dim grid, bc_emulated_dim block,
                size_t shared_bytes, CUstream stream, void **params, void **extra, bool overlaps)
{
    if (!function || extra || !params) return INVALID_VALUE;
    const size_t threads = (size_t)block.x * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
        return INVALID_VALUE;
    if (!threads || threads > MAX_THREADS || block.z > 64 || shared_bytes > function->max_shared)
        return INVALID_VALUE;
    const auto work = std::make_shared<bc_emulated_launch>();
    *work = { function->kernel->name, grid, block, shared_bytes, function->kernel->bind(params) };
    return enqueue(stream, [=] {
        bc_check_launch(work->name, overlaps);
        if (!broken(work->name)) bc_emulated_run(*work);
        bc_emulated_check_memory(work->name);
    });
}

/* May a card of this capability load the image? */
CUresult loads(const char *image)
{
    const int card = capability();
    if (memcmp(image, "\177ELF", 4) == 0) {
        uint32_t flags;
        memcpy(&flags, image + 48, sizeof flags);
        const int arch =
            (int)(image[8] >= 8 ? flags >> 8 : flags) & 255; /* by the version of NVIDIA's ABI */
        return arch / 10 == card / 10 && arch <= card ? SUCCESS : NO_BINARY;
    }
    const char *target = strstr(image, ".target sm_");
    return target && atoi(target + 11) <= card ? SUCCESS : INVALID_PTX;
}
} // namespace

int bc_emulated_capability() { return capability(); }

#define BC_LOCK const std::lock_guard<std::recursive_mutex> lock(mutex)
#define BC_NEED(expression)                                                                        \
    BC_LOCK;                                                                                       \
    if (const CUresult not_ready = (expression)) return not_ready

/* -- the device -- */

CUresult Init(unsigned flags)
{
    BC_LOCK;
    if (flags) return INVALID_VALUE;
    if (setting("BC_EMULATED_DEVICES", 1) < 1) return NO_DEVICE;
    initialised = true;
    return SUCCESS;
}
CUresult DriverGetVersion(int *version)
{
    *version = 12090;
    return SUCCESS;
}
CUresult GetErrorString(CUresult error, const char **text)
{
    static const std::map<int, const char *> texts = {
        { SUCCESS, "no error" },
        { INVALID_VALUE, "invalid argument" },
        { OUT_OF_MEMORY, "out of memory" },
        { NOT_INITIALIZED, "initialization error" },
        { NO_DEVICE, "no CUDA-capable device is detected" },
        { INVALID_DEVICE, "invalid device ordinal" },
        { INVALID_CONTEXT, "invalid device context" },
        { NO_BINARY, "no kernel image is available for execution on the device" },
        { INVALID_PTX, "a PTX JIT compilation failed" },
        { INVALID_HANDLE, "invalid resource handle" },
        { NOT_FOUND, "named symbol not found" },
        { NOT_READY, "device not ready" },
        { CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing" }
    };
    const auto found = texts.find(error);
    *text = found == texts.end() ? nullptr : found->second;
    return *text ? SUCCESS : INVALID_VALUE;
}
CUresult DeviceGetCount(int *n)
{
    *n = (int)setting("BC_EMULATED_DEVICES", 1);
    return initialised ? SUCCESS : NOT_INITIALIZED;
}
CUresult DeviceGet(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return !initialised                                                  ? NOT_INITIALIZED
           : ordinal < 0 || ordinal >= setting("BC_EMULATED_DEVICES", 1) ? INVALID_DEVICE
                                                                         : SUCCESS;
}
CUresult DeviceGetName(char *name, int length, CUdevice)
{
    snprintf(name, (size_t)length, "Emulated graphics card");
    return SUCCESS;
}
CUresult DeviceGetAttribute(int *value, int attribute, CUdevice)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = (int)setting("BC_EMULATED_PROCESSORS", 6);
        return SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = capability() / 10;
        return SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = capability() % 10;
        return SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = (int)shared_optin();
        return SUCCESS;
    default:
        return INVALID_VALUE;
    }
}
CUresult DeviceTotalMem(size_t *bytes, CUdevice)
{
    *bytes = memory();
    return SUCCESS;
}
CUresult DevicePrimaryCtxRetain(CUcontext *out, CUdevice)
{
    BC_LOCK;
    if (!initialised) return NOT_INITIALIZED;
    context.users++;
    *out = &context;
    return SUCCESS;
}
CUresult DevicePrimaryCtxRelease(CUdevice)
{
    BC_LOCK;
    if (!context.users) return INVALID_CONTEXT;
    if (--context.users) return SUCCESS;
    finish_all();
    if (bc_emulated_used() || !alive.empty())
        bc_emulated_fail("the device is left with %zu bytes of its memory and %zu streams, events, "
                         "graphs and modules in use",
                         bc_emulated_used(), alive.size());
    has_context.clear();
    return SUCCESS;
}
CUresult CtxSetCurrent(CUcontext wanted)
{
    BC_LOCK;
    if (wanted && (wanted != &context || !context.users)) return INVALID_CONTEXT;
    has_context[std::this_thread::get_id()] = wanted != nullptr;
    return SUCCESS;
}

CUresult CtxSetLimit(int, size_t) { return SUCCESS; }

/* -- memory -- */

CUresult MemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    BC_NEED(ready());
    *total_bytes = memory();
    *free_bytes = memory() - bc_emulated_used();
    return SUCCESS;
}
CUresult MemAlloc(CUdeviceptr *p, size_t bytes)
{
    BC_NEED(ready_and_free());
    if (!bytes) return INVALID_VALUE;
    if (bytes > memory() || bc_emulated_used() > memory() - bytes) return OUT_OF_MEMORY;
    uint8_t *got = bc_emulated_alloc(bytes, true);
    *p = reinterpret_cast<CUdeviceptr>(got);
    return got ? SUCCESS : OUT_OF_MEMORY;
}
CUresult MemFree(CUdeviceptr p)
{
    BC_NEED(ready_and_free());
    finish_all();
    return !p || bc_emulated_free(reinterpret_cast<uint8_t *>(p), true) ? SUCCESS : INVALID_VALUE;
}
CUresult MemAllocHost(void **p, size_t bytes)
{
    BC_NEED(ready_and_free());
    if (!bytes) return INVALID_VALUE;
    *p = bc_emulated_alloc(bytes, false);
    return *p ? SUCCESS : OUT_OF_MEMORY;
}
CUresult MemFreeHost(void *p)
{
    BC_NEED(ready_and_free());
    finish_all();
    return bc_emulated_free(static_cast<uint8_t *>(p), false) ? SUCCESS : INVALID_VALUE;
}
CUresult MemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    BC_LOCK;
    need_device(to, bytes, "cuMemcpyHtoDAsync");
    void *target = reinterpret_cast<void *>(to);
    /* ordinary memory is read before the call returns; pinned memory, and a graph's source, when it is the copy's turn */
    if (bc_emulated_holds(from, bytes, false) || (streams.count(stream) && stream->capture))
        return enqueue(stream, [=] { fill(target, from, bytes); });
    const uint8_t *bytes_from = static_cast<const uint8_t *>(from);
    const auto copy = std::make_shared<std::vector<uint8_t>>(bytes_from, bytes_from + bytes);
    return enqueue(stream, [=] { fill(target, copy->data(), bytes); });
}
CUresult MemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    BC_LOCK;
    need_device(from, bytes, "cuMemcpyDtoHAsync");
    return enqueue(stream, [=] {
        bc_check_drained();
        memcpy(to, reinterpret_cast<void *>(from), bytes);
    });
}
CUresult MemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    BC_LOCK;
    need_device(to, bytes, "cuMemcpyDtoDAsync");
    need_device(from, bytes, "cuMemcpyDtoDAsync");
    return enqueue(stream, [=] {
        bc_check_copied(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
        memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
    });
}
CUresult MemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream)
{
    BC_LOCK;
    need_device(to, bytes, "cuMemsetD8Async");
    return enqueue(stream, [=] {
        bc_check_filled(reinterpret_cast<void *>(to), bytes);
        memset(reinterpret_cast<void *>(to), value, bytes);
    });
}

/* -- streams, graphs, events -- */

CUresult StreamCreate(CUstream *stream, unsigned flags)
{
    BC_NEED(ready());
    if (flags & ~1u) return INVALID_VALUE;
    *stream = made(new CUstream_st());
    streams.insert(*stream);
    return SUCCESS;
}
CUresult StreamDestroy(CUstream stream)
{
    BC_NEED(ready());
    if (!streams.count(stream)) return INVALID_HANDLE;
    finish(stream);
    streams.erase(stream);
    return destroy(stream);
}
CUresult StreamSynchronize(CUstream stream)
{
    BC_NEED(ready_and_free());
    if (!streams.count(stream)) return INVALID_HANDLE;
    finish(stream);
    return SUCCESS;
}
CUresult StreamBeginCapture(CUstream stream, int mode)
{
    BC_NEED(ready());
    if (!streams.count(stream) || stream->capture || mode < 0 || mode > 2) return INVALID_VALUE;
    stream->capture = std::make_shared<std::vector<Operation>>();
    stream->capturer = std::this_thread::get_id();
    return SUCCESS;
}
CUresult StreamEndCapture(CUstream stream, CUgraph *graph)
{
    BC_NEED(ready());
    if (!streams.count(stream) || !stream->capture) return INVALID_VALUE;
    *graph = made(new CUgraph_st{ stream->capture });
    stream->capture = nullptr;
    return SUCCESS;
}
CUresult GraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long)
{
    BC_NEED(ready());
    if (!alive.count(graph)) return INVALID_HANDLE;
    *exec = made(new CUgraphExec_st{ graph->operations });
    return SUCCESS;
}
CUresult GraphLaunch(CUgraphExec exec, CUstream stream)
{
    BC_LOCK;
    if (!alive.count(exec)) return INVALID_HANDLE;
    if (streams.count(stream) && stream->capture) return CAPTURE_UNSUPPORTED;
    const Operations operations = exec->operations;
    return enqueue(stream, [operations] {
        bc_check_drained(); /* no kernel of a graph begins before what was before the graph has ended */
        for (const Operation &operation : *operations) operation();
    });
}
CUresult GraphExecDestroy(CUgraphExec exec)
{
    BC_LOCK;
    return destroy(exec);
}
CUresult GraphDestroy(CUgraph graph)
{
    BC_LOCK;
    return destroy(graph);
}
CUresult EventCreate(CUevent *event, unsigned)
{
    BC_NEED(ready());
    *event = made(new CUevent_st());
    return SUCCESS;
}
CUresult EventDestroy(CUevent event)
{
    BC_LOCK;
    finish_all();
    return destroy(event);
}
CUresult EventRecord(CUevent event, CUstream stream)
{
    BC_LOCK;
    if (!alive.count(event) || !streams.count(stream)) return INVALID_HANDLE;
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    event->stream = stream;
    event->happened = false;
    return enqueue(stream, [event] {
        event->happened = true;
        event->time = std::chrono::steady_clock::now();
    });
}
CUresult EventSynchronize(CUevent event)
{
    BC_NEED(ready_and_free());
    if (!alive.count(event)) return INVALID_HANDLE;
    if (event->stream && streams.count(event->stream)) finish(event->stream);
    return SUCCESS;
}
CUresult EventElapsedTime(float *milliseconds, CUevent from, CUevent to)
{
    BC_NEED(ready());
    if (!alive.count(from) || !alive.count(to) || !from->stream || !to->stream)
        return INVALID_HANDLE;
    if (!from->happened || !to->happened) return NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return SUCCESS;
}

/* -- kernels -- */

CUresult ModuleLoadData(CUmodule *module, const void *image)
{
    BC_NEED(ready());
    if (!image) return INVALID_VALUE;
    if (const CUresult r = loads(static_cast<const char *>(image))) return r;
    *module = made(new CUmod_st());
    return SUCCESS;
}
CUresult ModuleUnload(CUmodule module)
{
    BC_NEED(ready());
    finish_all();
    return destroy(module);
}
CUresult ModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    BC_NEED(ready());
    const bc_emulated_kernel *kernel = bc_emulated_find(name);
    if (!alive.count(module)) return INVALID_HANDLE;
    if (!kernel) return NOT_FOUND;
    *function = &functions.try_emplace(kernel, CUfunc_st{ kernel, SHARED }).first->second;
    return SUCCESS;
}
CUresult FuncSetAttribute(CUfunction function, int attribute, int value)
{
    BC_NEED(ready());
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        (size_t)value > shared_optin())
        return INVALID_VALUE;
    function->max_shared = (size_t)value;
    return SUCCESS;
}
CUresult LaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                      unsigned by, unsigned bz, unsigned shared_bytes, CUstream stream,
                      void **params, void **extra)
{
    BC_NEED(ready());
    return launch(function, { gx, gy, gz }, { bx, by, bz }, shared_bytes, stream, params, extra,
                  false);
}
CUresult LaunchKernelEx(const CUlaunchConfig *c, CUfunction function, void **params, void **extra)
{
    BC_NEED(ready());
    if (c->numAttrs && !c->attrs) return INVALID_VALUE;
    bool overlaps = false;
    for (unsigned i = 0; i < c->numAttrs; i++) {
        if (c->attrs[i].id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
            return INVALID_VALUE;
        overlaps |= c->attrs[i].value.programmatic != 0;
    }
    return launch(function, { c->gridDimX, c->gridDimY, c->gridDimZ },
                  { c->blockDimX, c->blockDimY, c->blockDimZ }, c->sharedMemBytes, c->hStream,
                  params, extra, overlaps);
}
