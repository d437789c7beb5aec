/* files.c - see files.h. */
#include "files.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "sort.h"

#define WEIGHTS "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define MAX_INDEX ((size_t)64 << 20)
#define MAX_FILES 4096

static int no_memory(bc_error *err)
{
    return bc_fail(err, BC_ERR_NOMEM, "not enough memory to open the model's weight files");
}

char *bc_path_join(const char *folder, const char *name)
{
    size_t a = strlen(folder), b = strlen(name);
    char *path = malloc(a + b + 2);
    if (!path) return NULL;
    memcpy(path, folder, a);
    path[a] = '/';
    memcpy(path + a + 1, name, b + 1);
    return path;
}

/* A shard's name must be a plain file name: an index may not lead out of its folder. */
static int is_plain_name(const bc_json_node *node)
{
    static const char suffix[] = ".safetensors";
    const size_t n_suffix = sizeof suffix - 1;
    size_t n = node->count;
    if (n <= n_suffix || n > 255 || node->string[0] == '.' ||
        strcmp(node->string + n - n_suffix, suffix) != 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)node->string[i] < 0x20 || strchr("/\\:*?\"<>|", node->string[i]))
            return 0;
    return 1;
}

/* ---- opening ---- */

static int open_file(bc_files *files, const char *folder, const char *name, bc_error *err)
{
    struct bc_file *f = &files->files[files->n_files];
    size_t n = strlen(name) + 1;
    char *path = bc_path_join(folder, name);
    f->name = malloc(n);
    if (!path || !f->name) {
        free(path);
        free(f->name);
        f->name = NULL;
        return no_memory(err);
    }
    memcpy(f->name, name, n);
    int status = bc_map_open(&f->map, path, err);
    free(path);
    if (status) {
        free(f->name);
        f->name = NULL;
        return status;
    }
    files->n_files++; /* from here bc_files_close frees it */
    files->bytes += (int64_t)f->map.size;
    return bc_safetensors_parse(&f->header, f->map.data, f->map.size, f->name, err);
}

/* Fillers of our own files; every shard may have its own (docs/FORMAT.md 1.2). */
static int is_padding(const char *name) { return strncmp(name, "__pad__.", 8) == 0; }

static int by_name(const void *context, uint32_t a, uint32_t b)
{
    const bc_tensor *const *all = context;
    return strcmp(all[a]->name, all[b]->name);
}

/* Fills by_name, and refuses a name that two files hold. */
static int sort_tensors(bc_files *files, bc_error *err)
{
    size_t n = 0;
    for (size_t f = 0; f < files->n_files; f++) n += files->files[f].header.n_tensors;
    const bc_tensor **all = calloc(n + 1, sizeof *all);
    uint32_t *order = malloc((n + 1) * 2 * sizeof *order);
    files->by_name = calloc(n + 1, sizeof *all);
    if (n > UINT32_MAX / 2 || !all || !order || !files->by_name) {
        free((void *)all);
        free(order);
        return no_memory(err);
    }
    for (size_t f = 0; f < files->n_files; f++)
        for (size_t i = 0; i < files->files[f].header.n_tensors; i++) {
            order[files->n_tensors] = (uint32_t)files->n_tensors;
            all[files->n_tensors++] = &files->files[f].header.tensors[i];
        }
    bc_sort_indices(order, order + n, n, by_name, (const void *)all);
    for (size_t i = 0; i < n; i++) files->by_name[i] = all[order[i]];
    free((void *)all);
    free(order);
    for (size_t i = 1; i < n; i++) {
        const bc_tensor *a = files->by_name[i - 1], *b = files->by_name[i];
        bc_quote name;
        if (strcmp(a->name, b->name) == 0 && !is_padding(a->name))
            return bc_fail(err, BC_ERR_FORMAT, "tensor \"%s\" is in both %s and %s",
                           bc_quoted(&name, a->name, strlen(a->name)), a->file, b->file);
    }
    return BC_OK;
}

/* ---- shards ---- */

static int by_string(const void *context, uint32_t a, uint32_t b)
{
    const bc_json_node *nodes = context;
    return strcmp(nodes[a].string, nodes[b].string);
}

/* Opens each file that weight_map names, once. `order`: 2 * weight_map->count numbers. */
static int open_shards(bc_files *files, const bc_json *doc, const bc_json_node *weight_map,
                       uint32_t *order, const char *folder, bc_error *err)
{
    bc_quote quote;
    uint32_t n = 0, n_names = 0;
    for (const bc_json_node *e = bc_json_first(doc, weight_map); e; e = bc_json_next(doc, e)) {
        if (e->type != BC_JSON_STRING || !is_plain_name(e))
            return bc_fail(err, BC_ERR_FORMAT,
                           INDEX " names the shard %s, which is no plain *.safetensors file name",
                           bc_json_show(&quote, e));
        order[n++] = (uint32_t)(e - doc->nodes);
    }
    bc_sort_indices(order, order + n, n, by_string, doc->nodes);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || by_string(doc->nodes, order[i - 1], order[i]) != 0)
            order[n_names++] = order[i];
    if (n_names > MAX_FILES)
        return bc_fail(err, BC_ERR_FORMAT, INDEX " names %u shards; 4096 is the most",
                       (unsigned)n_names);
    files->files = calloc(n_names, sizeof *files->files);
    if (!files->files) return no_memory(err);
    for (uint32_t i = 0; i < n_names; i++) {
        int status = open_file(files, folder, doc->nodes[order[i]].string, err);
        if (status) return status;
    }
    return BC_OK;
}

/* Every tensor of weight_map must be in the file it names. */
static int check_weight_map(const bc_files *files, const bc_json *doc,
                            const bc_json_node *weight_map, bc_error *err)
{
    bc_quote name, file;
    for (const bc_json_node *e = bc_json_first(doc, weight_map); e; e = bc_json_next(doc, e)) {
        const bc_tensor *t = bc_files_find(files, e->key);
        if (is_padding(e->key) && t) continue;
        if (!t || strcmp(t->file, e->string) != 0)
            return bc_fail(
                err, BC_ERR_FORMAT, INDEX " says that tensor \"%s\" is in %s, but it is not there",
                bc_quoted(&name, e->key, e->key_length), bc_quoted(&file, e->string, e->count));
    }
    return BC_OK;
}

static int open_index(bc_files *files, const char *folder, const char *text, size_t length,
                      bc_error *err)
{
    bc_json doc;
    int status = bc_json_parse_file(&doc, text, length, INDEX, err);
    if (status) return status;
    const bc_json_node *weight_map = bc_json_get(&doc, doc.nodes, "weight_map");
    uint32_t *order = NULL;
    if (!bc_json_is(weight_map, BC_JSON_OBJECT) || weight_map->count == 0)
        status = bc_fail(err, BC_ERR_FORMAT, INDEX " has no \"weight_map\" with tensors in it");
    else if (!(order = malloc((size_t)weight_map->count * 2 * sizeof *order)))
        status = no_memory(err);
    if (!status) status = open_shards(files, &doc, weight_map, order, folder, err);
    if (!status) status = sort_tensors(files, err);
    if (!status) status = check_weight_map(files, &doc, weight_map, err);
    free(order);
    bc_json_free(&doc);
    return status;
}

static int open_shards_of(bc_files *files, const char *folder, const char *index, bc_error *err)
{
    char *text;
    size_t length;
    if (!bc_file_exists(index))
        return bc_fail(err, BC_ERR_IO,
                       "%s holds neither " WEIGHTS " nor " INDEX
                       "; BitConverter reads models in the safetensors format",
                       bc_path_shown(folder));
    int status = bc_file_read(&text, &length, index, MAX_INDEX, err);
    if (status) return status;
    status = open_index(files, folder, text, length, err);
    free(text);
    return status;
}

static int open_single(bc_files *files, const char *folder, bc_error *err)
{
    files->files = calloc(1, sizeof *files->files);
    if (!files->files) return no_memory(err);
    int status = open_file(files, folder, WEIGHTS, err);
    return status ? status : sort_tensors(files, err);
}

int bc_files_open(bc_files **out, const char *folder, bc_error *err)
{
    bc_files *files = calloc(1, sizeof *files);
    char *weights = bc_path_join(folder, WEIGHTS), *index = bc_path_join(folder, INDEX);
    int status;
    *out = NULL;
    if (!files || !weights || !index)
        status = no_memory(err);
    else if (bc_file_exists(weights))
        status = open_single(files, folder, err);
    else
        status = open_shards_of(files, folder, index, err);
    free(weights);
    free(index);
    if (status)
        bc_files_close(files);
    else
        *out = files;
    return status;
}

void bc_files_close(bc_files *files)
{
    if (!files) return;
    for (size_t i = 0; i < files->n_files; i++) {
        bc_safetensors_free(&files->files[i].header);
        bc_map_close(&files->files[i].map);
        free(files->files[i].name);
    }
    free(files->files);
    free((void *)files->by_name);
    free(files);
}

const bc_tensor *bc_files_find(const bc_files *files, const char *name)
{
    size_t low = 0, high = files->n_tensors;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int c = strcmp(name, files->by_name[middle]->name);
        if (c == 0) return files->by_name[middle];
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
