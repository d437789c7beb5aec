/* fuzz_folder.c - the fuzzer's input text as a folder, served in place of platform.h's files.
 * See fuzz_model.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitconverter.h"
#include "error.h"
#include "fuzz_folder.h"
#include "platform.h"

#define MAX_FILES 8
#define MAX_DATA 65536
#define FOLDER BC_FUZZ_FOLDER

typedef struct entry {
    char name[64];
    const uint8_t *text;
    size_t n_text;
    size_t n_data;
    int fill, delta, is_weights;
    uint8_t *repaired; /* owns text when its offsets were written anew */
} entry;

static entry files[MAX_FILES];
static int n_files;

static const uint8_t *find_mark(const uint8_t *at, const uint8_t *end)
{
    for (; end - at >= 4; at++)
        if (memcmp(at, "\n@@ ", 4) == 0) return at;
    return end;
}

/* ---- repairing: each data_offsets pair is written anew from its dtype and shape ---- */

static size_t type_size(const char *s)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = { { "F32\"", 4 }, { "F16\"", 2 }, { "BF16\"", 2 },
                  { "U8\"", 1 },  { "I8\"", 1 },  { "F64\"", 8 } };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strncmp(s, types[i].name, strlen(types[i].name)) == 0) return types[i].bytes;
    return 1;
}

/* Bytes of the tensor whose entry starts at s ("dtype":"X","shape":[1,2],...), 0 if too many. */
static size_t tensor_size(const char *s, const char *end)
{
    const char *dtype = strstr(s, "\"dtype\":\""), *shape = strstr(s, "\"shape\":[");
    if (!dtype || !shape || dtype > end || shape > end) return 0;
    size_t size = type_size(dtype + strlen("\"dtype\":\""));
    for (const char *p = shape + strlen("\"shape\":["); *p >= '0' && *p <= '9';) {
        char *after;
        size *= strtoul(p, &after, 10) % (2 * MAX_DATA);
        if (size > MAX_DATA) return 0;
        p = *after == ',' ? after + 1 : after;
    }
    return size;
}

static void repair(entry *f)
{
    static const char key[] = "\"data_offsets\":[";
    char *old = calloc(f->n_text + 1, 1), *text = calloc(f->n_text * 3 + 64, 1);
    size_t at = 0, n = 0;
    if (!old || !text) exit(2);
    memcpy(old, f->text, f->n_text);
    const char *from = old;
    for (const char *hit; (hit = strstr(from, key)) != NULL;) {
        size_t size = tensor_size(from, hit), n_copy = (size_t)(hit - from) + sizeof key - 1;
        memcpy(text + n, from, n_copy);
        n += n_copy;
        n += (size_t)sprintf(text + n, "%zu,%zu", at, at + size);
        at += size;
        from = hit + sizeof key - 1;
        from += strspn(from, "0123456789,");
    }
    memcpy(text + n, from, strlen(from));
    f->n_text = n + strlen(from);
    f->text = f->repaired = (uint8_t *)text;
    f->n_data = at;
    free(old);
}

static void add_file(const uint8_t *at, const uint8_t *end)
{
    entry *f = &files[n_files];
    const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
    char line[128], data[16] = "0";
    if (!line_end) line_end = end;
    size_t n = (size_t)(line_end - at) < sizeof line - 1 ? (size_t)(line_end - at) : 127;
    memset(f, 0, sizeof *f);
    memcpy(line, at, n);
    line[n] = 0;
    int fields = sscanf(line, "%63s %15s %d %d", f->name, data, &f->fill, &f->delta);
    if (fields < 1) return;
    f->text = line_end < end ? line_end + 1 : end;
    f->n_text = (size_t)(end - f->text);
    f->is_weights = fields > 1;
    f->n_data = strtoul(data, NULL, 10);
    if (data[0] == 'r') repair(f);
    if (f->n_data > MAX_DATA) f->n_data = MAX_DATA;
    n_files++;
}

void bc_fuzz_close_folder(void)
{
    while (n_files > 0) free(files[--n_files].repaired);
}

void bc_fuzz_open_folder(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    if (size >= 3 && memcmp(data, "@@ ", 3) == 0) at += 3;
    while (at < end && n_files < MAX_FILES) {
        const uint8_t *next = find_mark(at, end);
        add_file(at, next);
        at = next < end ? next + 4 : end;
    }
}

static const entry *find_file(const char *path)
{
    const size_t n = strlen(FOLDER "/");
    if (strncmp(path, FOLDER "/", n) != 0) return NULL;
    for (int i = 0; i < n_files; i++)
        if (strcmp(files[i].name, path + n) == 0) return &files[i];
    return NULL;
}

/* ---- platform.h, served from the folder ---- */

int __wrap_bc_file_exists(const char *path);
int __wrap_bc_file_read(char **text, size_t *length, const char *path, size_t limit, bc_error *err);
int __wrap_bc_map_open(bc_map *map, const char *path, bc_error *err);
void __wrap_bc_map_close(bc_map *map);

int __wrap_bc_file_exists(const char *path) { return find_file(path) != NULL; }

int __wrap_bc_file_read(char **text, size_t *length, const char *path, size_t limit, bc_error *err)
{
    const entry *f = find_file(path);
    if (!f || f->n_text > limit) return bc_fail(err, BC_ERR_IO, "%.300s: no such file", path);
    *text = malloc(f->n_text + 1);
    if (!*text) return bc_fail(err, BC_ERR_NOMEM, "no memory");
    memcpy(*text, f->text, f->n_text);
    (*text)[f->n_text] = 0;
    *length = f->n_text;
    return BC_OK;
}

int __wrap_bc_map_open(bc_map *map, const char *path, bc_error *err)
{
    const entry *f = find_file(path);
    memset(map, 0, sizeof *map);
    if (!f) return bc_fail(err, BC_ERR_IO, "%.300s: no such file", path);
    size_t head = f->is_weights ? 8 : 0;
    uint64_t length = (uint64_t)f->n_text + (uint64_t)(int64_t)f->delta;
    map->size = head + f->n_text + f->n_data;
    if (map->size == 0) return BC_OK;
    uint8_t *bytes = malloc(map->size);
    if (!bytes) return bc_fail(err, BC_ERR_NOMEM, "no memory");
    for (size_t i = 0; i < head; i++) bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(bytes + head, f->text, f->n_text);
    memset(bytes + head + f->n_text, f->fill, f->n_data);
    map->data = bytes;
    return BC_OK;
}

void __wrap_bc_map_close(bc_map *map)
{
    free((void *)(uintptr_t)map->data);
    memset(map, 0, sizeof *map);
}
