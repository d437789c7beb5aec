/* safetensors.c - see safetensors.h. */
#include "safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "sort.h"

#define MAX_HEADER 100000000

/* What a header's reading needs at hand. */
typedef struct header {
    bc_json doc;
    const char *file;
    const uint8_t *data; /* after the header */
    size_t data_size;
    bc_error *err;
} header;

static const struct {
    const char *name;
    int bits, type;
} dtypes[] = {
    { "F32", 32, BC_TENSOR_F32 },      { "F16", 16, BC_TENSOR_F16 },
    { "BF16", 16, BC_TENSOR_BF16 },    { "U8", 8, BC_TENSOR_U8 },
    { "I8", 8, BC_TENSOR_I8 },         { "BOOL", 8, BC_TENSOR_OTHER },
    { "F4", 4, BC_TENSOR_OTHER },      { "F6_E2M3", 6, BC_TENSOR_OTHER },
    { "F6_E3M2", 6, BC_TENSOR_OTHER }, { "F8_E5M2", 8, BC_TENSOR_OTHER },
    { "F8_E4M3", 8, BC_TENSOR_OTHER }, { "F8_E8M0", 8, BC_TENSOR_OTHER },
    { "I16", 16, BC_TENSOR_OTHER },    { "U16", 16, BC_TENSOR_OTHER },
    { "I32", 32, BC_TENSOR_OTHER },    { "U32", 32, BC_TENSOR_OTHER },
    { "I64", 64, BC_TENSOR_OTHER },    { "U64", 64, BC_TENSOR_OTHER },
    { "F64", 64, BC_TENSOR_OTHER },    { "C64", 64, BC_TENSOR_OTHER },
};

static int bad_tensor(const header *h, const bc_json_node *entry, const char *why)
{
    bc_quote name;
    return bc_fail(h->err, BC_ERR_FORMAT, "%s: the header entry of tensor \"%s\" %s", h->file,
                   bc_quoted(&name, entry->key, entry->key_length), why);
}

/* A non-negative integer, or -1. */
static int64_t natural(const bc_json_node *node)
{
    return bc_json_is(node, BC_JSON_NUMBER) && node->is_integer && node->integer >= 0
               ? node->integer
               : -1;
}

static int read_dtype(const header *h, const bc_json_node *entry, bc_tensor *t, int *bits)
{
    const bc_json_node *dtype = bc_json_get(&h->doc, entry, "dtype");
    if (!bc_json_is(dtype, BC_JSON_STRING)) return bad_tensor(h, entry, "has no dtype");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtype->string, dtypes[i].name) == 0) {
            t->type = dtypes[i].type;
            t->dtype_name = dtypes[i].name;
            *bits = dtypes[i].bits;
            return BC_OK;
        }
    return bad_tensor(h, entry, "has a dtype that the safetensors format does not define");
}

/* Fills n_dims and shape; *bytes is what the shape takes at `bits` per element. */
static int read_shape(const header *h, const bc_json_node *entry, bc_tensor *t, int bits,
                      uint64_t *bytes)
{
    const bc_json_node *shape = bc_json_get(&h->doc, entry, "shape"), *dim;
    uint64_t elements = 1;
    if (!bc_json_is(shape, BC_JSON_ARRAY)) return bad_tensor(h, entry, "has no shape");
    t->n_dims = (int)shape->count;
    int i = 0;
    for (dim = bc_json_first(&h->doc, shape); dim; dim = bc_json_next(&h->doc, dim), i++) {
        int64_t n = natural(dim);
        if (n < 0) return bad_tensor(h, entry, "has a shape that is no list of sizes");
        if (i < BC_TENSOR_DIMS) t->shape[i] = n;
        if (n != 0 && elements > (UINT64_MAX >> 7) / (uint64_t)n)
            return bad_tensor(h, entry, "has a shape too large to be true");
        elements *= (uint64_t)n;
    }
    if (elements * (uint64_t)bits % 8 != 0) return bad_tensor(h, entry, "ends inside a byte");
    *bytes = elements * (uint64_t)bits / 8;
    return BC_OK;
}

static int read_offsets(const header *h, const bc_json_node *entry, bc_tensor *t, uint64_t bytes)
{
    const bc_json_node *offsets = bc_json_get(&h->doc, entry, "data_offsets");
    if (!bc_json_is(offsets, BC_JSON_ARRAY) || offsets->count != 2)
        return bad_tensor(h, entry, "has no data_offsets of two numbers");
    const bc_json_node *first = bc_json_first(&h->doc, offsets);
    int64_t begin = natural(first), end = natural(bc_json_next(&h->doc, first));
    if (begin < 0 || end < begin)
        return bad_tensor(h, entry, "has data_offsets that are not 0 <= begin <= end");
    if ((uint64_t)end > h->data_size)
        return bad_tensor(h, entry,
                          "ends behind the end of the file: the file is cut short, or its "
                          "header is wrong; fetch or make it again");
    if ((uint64_t)(end - begin) != bytes)
        return bad_tensor(h, entry, "has data_offsets that do not fit its dtype and shape");
    t->data = h->data + begin;
    t->bytes = (size_t)bytes;
    return BC_OK;
}

static int read_tensor(const header *h, const bc_json_node *entry, bc_tensor *t)
{
    int bits = 0;
    uint64_t bytes = 0;
    if (!bc_json_is(entry, BC_JSON_OBJECT)) return bad_tensor(h, entry, "is not an object");
    int status = read_dtype(h, entry, t, &bits);
    if (!status) status = read_shape(h, entry, t, bits, &bytes);
    if (!status) status = read_offsets(h, entry, t, bytes);
    return status;
}

static int check_metadata(const header *h, const bc_json_node *metadata)
{
    if (!bc_json_is(metadata, BC_JSON_OBJECT))
        return bc_fail(h->err, BC_ERR_FORMAT, "%s: __metadata__ is not an object", h->file);
    for (const bc_json_node *m = bc_json_first(&h->doc, metadata); m; m = bc_json_next(&h->doc, m))
        if (m->type != BC_JSON_STRING)
            return bc_fail(h->err, BC_ERR_FORMAT,
                           "%s: __metadata__ holds something that is no "
                           "string",
                           h->file);
    return BC_OK;
}

static int by_place(const void *context, uint32_t a, uint32_t b)
{
    const bc_tensor *t = context;
    if (t[a].data != t[b].data) return t[a].data < t[b].data ? -1 : 1;
    return t[a].bytes < t[b].bytes ? -1 : t[a].bytes > t[b].bytes;
}

/* The tensors must tile the data: each begins where the one before it ends. */
static int check_tiling(const header *h, const bc_safetensors *st)
{
    size_t n = st->n_tensors;
    uint32_t *order = malloc((n ? n : 1) * 2 * sizeof *order);
    const uint8_t *end = h->data;
    const char *wrong = NULL;
    bc_quote name;
    if (!order) return bc_fail(h->err, BC_ERR_NOMEM, "not enough memory to read %s", h->file);
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    bc_sort_indices(order, order + n, n, by_place, st->tensors);
    for (size_t i = 0; i < n && !wrong; i++) {
        const bc_tensor *t = &st->tensors[order[i]];
        if (t->data != end)
            wrong = bc_quoted(&name, t->name, strlen(t->name));
        else
            end += t->bytes;
    }
    free(order);
    if (wrong)
        return bc_fail(h->err, BC_ERR_FORMAT, "%s: tensor \"%s\" %s", h->file, wrong,
                       "does not begin where the one before it ends (an overlap or a hole)");
    if (end != h->data + h->data_size)
        return bc_fail(h->err, BC_ERR_FORMAT, "%s has %zu bytes after its last tensor", h->file,
                       h->data_size - (size_t)(end - h->data));
    return BC_OK;
}

static int read_tensors(const header *h, bc_safetensors *st)
{
    const bc_json_node *root = h->doc.nodes;
    size_t name_bytes = 0;
    if (root->type != BC_JSON_OBJECT)
        return bc_fail(h->err, BC_ERR_FORMAT, "%s: the header is not a JSON object", h->file);
    for (const bc_json_node *e = bc_json_first(&h->doc, root); e; e = bc_json_next(&h->doc, e))
        name_bytes += e->key_length + (size_t)1;
    st->tensors = calloc(root->count + (size_t)1, sizeof *st->tensors);
    st->names = malloc(name_bytes + 1);
    if (!st->tensors || !st->names)
        return bc_fail(h->err, BC_ERR_NOMEM, "not enough memory to read %s", h->file);
    char *name = st->names;
    for (const bc_json_node *e = bc_json_first(&h->doc, root); e; e = bc_json_next(&h->doc, e)) {
        int is_metadata = strcmp(e->key, "__metadata__") == 0;
        bc_tensor *t = &st->tensors[st->n_tensors];
        int status = is_metadata ? check_metadata(h, e) : read_tensor(h, e, t);
        if (status) return status;
        if (is_metadata) continue;
        t->name = memcpy(name, e->key, e->key_length + (size_t)1);
        t->file = h->file;
        name += e->key_length + (size_t)1;
        st->n_tensors++;
    }
    return check_tiling(h, st);
}

static uint64_t little_endian_64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

int bc_safetensors_parse(bc_safetensors *st, const uint8_t *data, size_t size, const char *file,
                         bc_error *err)
{
    memset(st, 0, sizeof *st);
    if (size < 8)
        return bc_fail(err, BC_ERR_FORMAT,
                       "%s is cut short or no safetensors file: it has %zu bytes", file, size);
    uint64_t length = little_endian_64(data);
    if (length > MAX_HEADER)
        return bc_fail(err, BC_ERR_FORMAT,
                       "%s is no safetensors file: its header would have %" PRIu64
                       " bytes, the format allows 100000000",
                       file, length);
    if (length > size - 8)
        return bc_fail(err, BC_ERR_FORMAT,
                       "%s is cut short: its header has %" PRIu64
                       " bytes, the file %zu; fetch or make it again",
                       file, length, size);
    header h = { .file = file, .err = err };
    h.data = data + 8 + length;
    h.data_size = size - 8 - (size_t)length;
    int status = bc_json_parse(&h.doc, (const char *)data + 8, (size_t)length, file, err);
    if (status) return status;
    status = read_tensors(&h, st);
    bc_json_free(&h.doc);
    if (status) bc_safetensors_free(st);
    return status;
}

void bc_safetensors_free(bc_safetensors *st)
{
    free(st->tensors);
    free(st->names);
    memset(st, 0, sizeof *st);
}
