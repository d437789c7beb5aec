/* platform.c - files, threads and memory of the operating system. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include "platform.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static int io_fail(bc_error *err, const char *path, const char *what)
{
    return bc_fail(err, BC_ERR_IO, "%s: %s", bc_path_shown(path), what);
}

#if defined(_WIN32)
#include <malloc.h>
#include <windows.h>

/* ---- files ---- */

/* UTF-8 -> UTF-16 in malloc'ed memory; NULL on bad UTF-8 or no memory. */
static wchar_t *utf16(const char *path)
{
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    if (n <= 0) return NULL;
    wchar_t *w = malloc((size_t)n * sizeof *w);
    if (w) MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, w, n);
    return w;
}

/* The form of a path that Windows takes, malloc'ed. A long one is made absolute and gets \\?\ before
 * it: without that, 260 characters are the most that Windows opens unless the user's registry and
 * the program's manifest both say otherwise. */
static wchar_t *wide(const char *path)
{
    static const wchar_t PLAIN[] = L"\\\\?\\", SHARE[] = L"\\\\?\\UNC\\";
    enum { ALWAYS_OPENS = 240 };
    wchar_t *w = utf16(path);
    if (!w || wcslen(w) < ALWAYS_OPENS || wcsncmp(w, PLAIN, 4) == 0) return w;
    const DWORD n = GetFullPathNameW(w, 0, NULL, NULL);
    wchar_t *full = malloc((n + 8) * sizeof *full); /* room for the longer prefix */
    if (full && n && GetFullPathNameW(w, n, full + 8, NULL) < n) {
        const int share = full[8] == L'\\' && full[9] == L'\\'; /* \\server\share */
        const wchar_t *prefix = share ? SHARE : PLAIN, *rest = full + 8 + 2 * share;
        const size_t n_prefix = wcslen(prefix), n_rest = wcslen(rest);
        memmove(full + n_prefix, rest, (n_rest + 1) * sizeof *full);
        memcpy(full, prefix, n_prefix * sizeof *full);
    } else {
        free(full);
        full = NULL;
    }
    free(w);
    return full;
}

static HANDLE open_read(const char *path)
{
    wchar_t *w = wide(path);
    if (!w) return INVALID_HANDLE_VALUE;
    HANDLE file = CreateFileW(w, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    free(w);
    return file;
}

int bc_map_open(bc_map *map, const char *path, bc_error *err)
{
    memset(map, 0, sizeof *map);
    HANDLE file = open_read(path);
    if (file == INVALID_HANDLE_VALUE) return io_fail(err, path, "the file cannot be opened");
    LARGE_INTEGER size;
    if (!GetFileSizeEx(file, &size)) {
        CloseHandle(file);
        return io_fail(err, path, "the file's size cannot be read");
    }
    if (size.QuadPart == 0) {
        CloseHandle(file);
        return BC_OK;
    }
    HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    CloseHandle(file); /* the mapping keeps the file */
    if (!mapping) return io_fail(err, path, "the file cannot be mapped");
    map->data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    CloseHandle(mapping); /* the view keeps the mapping */
    if (!map->data) return io_fail(err, path, "the file cannot be mapped (no address space)");
    map->size = (size_t)size.QuadPart;
    return BC_OK;
}

void bc_map_close(bc_map *map)
{
    if (map->data) UnmapViewOfFile(map->data);
    memset(map, 0, sizeof *map);
}

int bc_file_read(char **text, size_t *length, const char *path, size_t limit, bc_error *err)
{
    *text = NULL;
    *length = 0;
    HANDLE file = open_read(path);
    if (file == INVALID_HANDLE_VALUE) return io_fail(err, path, "the file cannot be opened");
    LARGE_INTEGER size;
    int status = BC_OK;
    if (!GetFileSizeEx(file, &size)) {
        status = io_fail(err, path, "the file's size cannot be read");
    } else if ((uint64_t)size.QuadPart > limit) {
        status = bc_fail(err, BC_ERR_FORMAT, "%s: %lld bytes, at most %llu are allowed",
                         bc_path_shown(path), (long long)size.QuadPart, (unsigned long long)limit);
    } else {
        const size_t n = (size_t)size.QuadPart;
        char *buffer = malloc(n + 1);
        DWORD got = 0;
        if (!buffer) {
            status = bc_fail(err, BC_ERR_NOMEM, "no memory to read %s", bc_path_shown(path));
        } else if (!ReadFile(file, buffer, (DWORD)n, &got, NULL) || got != n) {
            free(buffer);
            status = io_fail(err, path, "the file cannot be read");
        } else {
            buffer[n] = 0;
            *text = buffer;
            *length = n;
        }
    }
    CloseHandle(file);
    return status;
}

int bc_file_exists(const char *path)
{
    wchar_t *w = wide(path);
    if (!w) return 0;
    const DWORD attributes = GetFileAttributesW(w);
    free(w);
    return attributes != INVALID_FILE_ATTRIBUTES;
}

/* ---- threads ---- */

struct bc_thread {
    HANDLE handle;
    void (*run)(void *);
    void *arg;
};
struct bc_mutex {
    SRWLOCK lock;
};
struct bc_cond {
    CONDITION_VARIABLE variable;
};

static DWORD WINAPI thread_main(void *p)
{
    bc_thread *t = p;
    t->run(t->arg);
    return 0;
}

static int start(bc_thread *t)
{
    t->handle = CreateThread(NULL, 0, thread_main, t, 0, NULL);
    return t->handle ? 0 : -1;
}

static void join(bc_thread *t)
{
    WaitForSingleObject(t->handle, INFINITE);
    CloseHandle(t->handle);
}

static void mutex_init(bc_mutex *m) { InitializeSRWLock(&m->lock); }
static void mutex_destroy(bc_mutex *m) { (void)m; }
void bc_mutex_lock(bc_mutex *m) { AcquireSRWLockExclusive(&m->lock); }
void bc_mutex_unlock(bc_mutex *m) { ReleaseSRWLockExclusive(&m->lock); }
static void cond_init(bc_cond *c) { InitializeConditionVariable(&c->variable); }
static void cond_destroy(bc_cond *c) { (void)c; }
void bc_cond_wait(bc_cond *c, bc_mutex *m)
{
    SleepConditionVariableSRW(&c->variable, &m->lock, INFINITE, 0);
}
void bc_cond_broadcast(bc_cond *c) { WakeAllConditionVariable(&c->variable); }
void bc_thread_yield(void) { SwitchToThread(); }
void bc_thread_sleep(int milliseconds) { Sleep((DWORD)milliseconds); }

int bc_physical_cores(void)
{
    DWORD bytes = 0;
    GetLogicalProcessorInformation(NULL, &bytes);
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION *info = malloc(bytes ? bytes : 1);
    int cores = 0;
    if (info && GetLogicalProcessorInformation(info, &bytes)) {
        for (DWORD i = 0; i < bytes / sizeof *info; i++)
            cores += info[i].Relationship == RelationProcessorCore;
    }
    free(info);
    return cores > 0 ? cores : 1;
}

/* ---- libraries ---- */

void *bc_library_open(const char *path)
{
    wchar_t *w = wide(path);
    if (!w) return NULL;
    int has_folder = 0;
    for (wchar_t *c = w; *c; c++) {
        if (*c == L'/') *c = L'\\'; /* all that LoadLibrary understands */
        has_folder |= *c == L'\\';
    }
    /* never the current folder or PATH, where anybody may have put a library of that name */
    const DWORD where = has_folder ? LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32
                                   : LOAD_LIBRARY_SEARCH_SYSTEM32;
    HMODULE library = LoadLibraryExW(w, NULL, where);
    free(w);
    return library;
}

void *bc_library_symbol(void *library, const char *name)
{
    return (void *)(uintptr_t)GetProcAddress(library, name);
}

void bc_library_close(void *library)
{
    if (library) FreeLibrary(library);
}

/* Threads may still wait in this library's code when whoever loaded it lets go of it, as Python does
 * at its end: it stays until the process ends. */
static void stay_loaded(void)
{
    HMODULE self;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                       (LPCWSTR)(uintptr_t)&stay_loaded, &self);
}

/* ---- memory ---- */

void *bc_aligned_alloc(size_t bytes) { return _aligned_malloc(bytes ? bytes : 1, 64); }
void bc_aligned_free(void *p) { _aligned_free(p); }

/* The heap of Windows gives large blocks back by itself. Not every C library looks whether a size overflows. */
void *bc_pages_alloc(size_t bytes) { return bytes > PTRDIFF_MAX ? NULL : bc_aligned_alloc(bytes); }
void bc_pages_free(void *p) { bc_aligned_free(p); }

void bc_memory_trim(void) { _heapmin(); }

void bc_large_pages(void *at, size_t bytes) { (void)at, (void)bytes; }

#else /* POSIX */
#include <dlfcn.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- files ---- */

/* A descriptor of a regular file and its size, or -1. */
static int open_read(const char *path, size_t *size, bc_error *err)
{
    /* without O_NONBLOCK a FIFO of that name would wait for a writer for ever */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        io_fail(err, path, strerror(errno));
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        io_fail(err, path, "not a regular file");
        return -1;
    }
    *size = (size_t)st.st_size;
    return fd;
}

/* A wish, for what is not in memory yet: pages of 2 MB, where system and file system have them. A
 * decoded token reads the whole file, and with pages of 4 kB looks up each of them. */
static void prefer_huge_pages(void *data, size_t size)
{
#if defined(MADV_HUGEPAGE)
    (void)madvise(data, size, MADV_HUGEPAGE);
#else
    (void)data, (void)size;
#endif
}

int bc_map_open(bc_map *map, const char *path, bc_error *err)
{
    memset(map, 0, sizeof *map);
    size_t size = 0;
    const int fd = open_read(path, &size, err);
    if (fd < 0) return BC_ERR_IO;
    if (size == 0) {
        close(fd);
        return BC_OK;
    }
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd); /* the mapping stays valid */
    if (data == MAP_FAILED) return io_fail(err, path, "the file cannot be mapped");
    prefer_huge_pages(data, size);
    map->data = data;
    map->size = size;
    return BC_OK;
}

void bc_map_close(bc_map *map)
{
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    memset(map, 0, sizeof *map);
}

static int read_all(int fd, char *buffer, size_t n)
{
    size_t done = 0;
    while (done < n) {
        const ssize_t got = read(fd, buffer + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        done += (size_t)got;
    }
    return 0;
}

int bc_file_read(char **text, size_t *length, const char *path, size_t limit, bc_error *err)
{
    *text = NULL;
    *length = 0;
    size_t n = 0;
    const int fd = open_read(path, &n, err);
    if (fd < 0) return BC_ERR_IO;
    int status = BC_OK;
    char *buffer = NULL;
    if (n > limit) {
        status = bc_fail(err, BC_ERR_FORMAT, "%s: %zu bytes, at most %zu are allowed",
                         bc_path_shown(path), n, limit);
    } else if (!(buffer = malloc(n + 1))) {
        status = bc_fail(err, BC_ERR_NOMEM, "no memory to read %s", bc_path_shown(path));
    } else if (read_all(fd, buffer, n) != 0) {
        free(buffer);
        status = io_fail(err, path, "the file cannot be read");
    } else {
        buffer[n] = 0;
        *text = buffer;
        *length = n;
    }
    close(fd);
    return status;
}

int bc_file_exists(const char *path) { return access(path, F_OK) == 0; }

/* ---- threads ---- */

struct bc_thread {
    pthread_t handle;
    void (*run)(void *);
    void *arg;
};
struct bc_mutex {
    pthread_mutex_t lock;
};
struct bc_cond {
    pthread_cond_t variable;
};

static void *thread_main(void *p)
{
    bc_thread *t = p;
    t->run(t->arg);
    return NULL;
}

static int start(bc_thread *t)
{
    return pthread_create(&t->handle, NULL, thread_main, t) == 0 ? 0 : -1;
}

static void join(bc_thread *t) { pthread_join(t->handle, NULL); }
static void mutex_init(bc_mutex *m) { pthread_mutex_init(&m->lock, NULL); }
static void mutex_destroy(bc_mutex *m) { pthread_mutex_destroy(&m->lock); }
void bc_mutex_lock(bc_mutex *m) { pthread_mutex_lock(&m->lock); }
void bc_mutex_unlock(bc_mutex *m) { pthread_mutex_unlock(&m->lock); }
static void cond_init(bc_cond *c) { pthread_cond_init(&c->variable, NULL); }
static void cond_destroy(bc_cond *c) { pthread_cond_destroy(&c->variable); }
void bc_cond_wait(bc_cond *c, bc_mutex *m) { pthread_cond_wait(&c->variable, &m->lock); }
void bc_cond_broadcast(bc_cond *c) { pthread_cond_broadcast(&c->variable); }
void bc_thread_yield(void) { sched_yield(); }
void bc_thread_sleep(int milliseconds)
{
    const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
    nanosleep(&time, NULL);
}

/* Of each group of hyper-threads only the first counts, if this process may run on it. */
int bc_physical_cores(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    const int logical = CPU_COUNT(&allowed);
    cpu_set_t seen;
    CPU_ZERO(&seen);
    int cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        int first = cpu;
        FILE *file = fopen(path, "r"); /* "0-1" or "0,64": the first number is the group's name */
        if (file) {
            if (fscanf(file, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE) first = cpu;
            fclose(file);
        }
        if (!CPU_ISSET(first, &seen)) cores++;
        CPU_SET(first, &seen);
    }
    if (cores < 1) cores = logical;
    return cores > 0 ? cores : 1;
}

/* ---- libraries ---- */

void *bc_library_open(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
void *bc_library_symbol(void *library, const char *name) { return dlsym(library, name); }

void bc_library_close(void *library)
{
    if (library) dlclose(library);
}

/* Threads may still wait in this library's code when whoever loaded it lets go of it, as Python does
 * at its end: it stays until the process ends. */
static void stay_loaded(void)
{
    Dl_info self;
    if (dladdr((void *)(uintptr_t)&stay_loaded, &self) && self.dli_fname)
        dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

/* ---- memory ---- */

void *bc_aligned_alloc(size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, 64, bytes ? bytes : 1) == 0 ? p : NULL;
}

void bc_aligned_free(void *p) { free(p); }

#if defined(__SANITIZE_ADDRESS__) /* which sees both ends of a block of the allocator */

void *bc_pages_alloc(size_t bytes) { return bytes > PTRDIFF_MAX ? NULL : bc_aligned_alloc(bytes); }
void bc_pages_free(void *p) { bc_aligned_free(p); }

#else

/* Before a block lies how many bytes are mapped for it; 0: it is the allocator's. The header takes as much as blocks
 * are aligned to. */
enum { HEADER = 64, LEAST_MAPPED = 128 << 10 };

void *bc_pages_alloc(size_t bytes)
{
    if (bytes > PTRDIFF_MAX - HEADER) return NULL;
    const size_t all = HEADER + bytes, mapped = all < LEAST_MAPPED ? 0 : all;
    void *p;
    if (mapped)
        p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else
        p = bc_aligned_alloc(all);
    if (!p || p == MAP_FAILED) return NULL;
    *(size_t *)p = mapped;
    return (char *)p + HEADER;
}

void bc_pages_free(void *p)
{
    if (!p) return;
    void *header = (char *)p - HEADER;
    const size_t mapped = *(size_t *)header;
    if (mapped)
        munmap(header, mapped);
    else
        bc_aligned_free(header);
}

#endif

void bc_memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void bc_large_pages(void *at, size_t bytes)
{
#if defined(__linux__)
    enum { PAGE = 2 << 20, COLLAPSE = 25 /* MADV_COLLAPSE, since Linux 6.1 */ };
    const size_t before = (size_t)(-(uintptr_t)at & (PAGE - 1));
    if (bytes < before + PAGE) return;
    (void)madvise((char *)at + before, (bytes - before) / PAGE * PAGE, COLLAPSE);
#else
    (void)at, (void)bytes;
#endif
}
#endif

/* ---- the same on both ---- */

int bc_thread_start(bc_thread **out, void (*run)(void *), void *arg)
{
    *out = NULL;
    bc_thread *t = calloc(1, sizeof *t);
    if (!t) return -1;
    t->run = run;
    t->arg = arg;
    stay_loaded();
    if (start(t) != 0) {
        free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void bc_thread_join(bc_thread *thread)
{
    if (!thread) return;
    join(thread);
    free(thread);
}

bc_mutex *bc_mutex_new(void)
{
    bc_mutex *m = calloc(1, sizeof *m);
    if (m) mutex_init(m);
    return m;
}

void bc_mutex_free(bc_mutex *m)
{
    if (!m) return;
    mutex_destroy(m);
    free(m);
}

bc_cond *bc_cond_new(void)
{
    bc_cond *c = calloc(1, sizeof *c);
    if (c) cond_init(c);
    return c;
}

void bc_cond_free(bc_cond *c)
{
    if (!c) return;
    cond_destroy(c);
    free(c);
}
