/* platform.h - the operating system. platform.c is the only file that tells Windows from POSIX. */
#ifndef BC_PLATFORM_H
#define BC_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"

/* -- files: paths are UTF-8 (wide calls on Windows) -- */

typedef struct bc_map {
    const uint8_t *data; /* NULL when empty */
    size_t size;
    void *handle; /* private */
} bc_map;

/* Maps a regular file read-only. The file may be replaced afterwards but not cut short. */
int bc_map_open(bc_map *map, const char *path, bc_error *err);
void bc_map_close(bc_map *map);

/* Reads a small file whole into malloc'ed memory with a 0 byte after it; refuses more than
 * `limit` bytes. BC_ERR_IO if it is not there. */
int bc_file_read(char **text, size_t *length, const char *path, size_t limit, bc_error *err);
int bc_file_exists(const char *path);

/* -- threads -- */
typedef struct bc_thread bc_thread;
typedef struct bc_mutex bc_mutex;
typedef struct bc_cond bc_cond;

int bc_thread_start(bc_thread **out, void (*run)(void *), void *arg); /* 0, or -1 */
void bc_thread_join(bc_thread *thread);                               /* and frees it */
bc_mutex *bc_mutex_new(void);
void bc_mutex_free(bc_mutex *m);
void bc_mutex_lock(bc_mutex *m);
void bc_mutex_unlock(bc_mutex *m);
bc_cond *bc_cond_new(void);
void bc_cond_free(bc_cond *c);
void bc_cond_wait(bc_cond *c, bc_mutex *m);
void bc_cond_broadcast(bc_cond *c);
void bc_thread_yield(void);
void bc_thread_sleep(int milliseconds);

int bc_physical_cores(void); /* cores this process may use, hyper-threads counted once; >= 1 */

/* -- libraries opened at run time: NULL when there is none. A name without a folder is looked for
 * where the system keeps its libraries; the path is UTF-8. -- */
void *bc_library_open(const char *path);
void *bc_library_symbol(void *library, const char *name);
void bc_library_close(void *library);

/* -- memory: 64-byte aligned, NULL when there is none -- */
void *bc_aligned_alloc(size_t bytes);
void bc_aligned_free(void *p);
/* The same for what lives long: a large block goes back to the system when it is freed, where an allocator would keep it
 * in the heap of a thread. Each page is then a fault again, so not for work spaces of a single call. */
void *bc_pages_alloc(size_t bytes);
void bc_pages_free(void *p);
void bc_memory_trim(
    void); /* what the allocator keeps of freed memory goes back to the system, where it can */
/* Moves what lies there into pages of 2 MB, where the system can: whole pages are then in memory. */
void bc_large_pages(void *at, size_t bytes);

#endif
