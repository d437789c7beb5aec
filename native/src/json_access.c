/* json_access.c - looking things up in a parsed document, and showing them in sentences. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

const bc_json_node *bc_json_get(const bc_json *doc, const bc_json_node *object, const char *key)
{
    if (!bc_json_is(object, BC_JSON_OBJECT) || object->count == 0) return NULL;
    const uint32_t *order = doc->order + object->order;
    size_t low = 0, high = object->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const bc_json_node *node = &doc->nodes[order[middle]];
        int c = strcmp(key, node->key);
        if (c == 0) return node;
        if (c < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const bc_json_node *bc_json_first(const bc_json *doc, const bc_json_node *parent)
{
    return parent->first ? &doc->nodes[parent->first] : NULL;
}

const bc_json_node *bc_json_next(const bc_json *doc, const bc_json_node *child)
{
    return child->next ? &doc->nodes[child->next] : NULL;
}

const char *bc_quoted(bc_quote *buffer, const char *text, size_t length)
{
    size_t n = length < sizeof buffer->text - 4 ? length : sizeof buffer->text - 4;
    if (n < length)
        while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
            n--; /* do not cut a character in two */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        buffer->text[i] = c < 0x20 || c == 0x7F ? '?' : text[i];
    }
    memcpy(buffer->text + n, "...", 4);
    if (n == length) buffer->text[n] = 0;
    return buffer->text;
}

const char *bc_json_show(bc_quote *buffer, const bc_json_node *node)
{
    bc_quote inner;
    char *out = buffer->text;
    size_t size = sizeof buffer->text;
    switch (node->type) {
    case BC_JSON_NULL:
        snprintf(out, size, "null");
        break;
    case BC_JSON_BOOL:
        snprintf(out, size, "%s", node->integer ? "true" : "false");
        break;
    case BC_JSON_NUMBER:
        if (node->is_integer)
            snprintf(out, size, "%" PRId64, node->integer);
        else
            snprintf(out, size, "%.9g", node->number);
        break;
    case BC_JSON_STRING:
        bc_quoted(&inner, node->string, node->count < 60 ? node->count : 60);
        snprintf(out, size, "\"%.70s%s\"", inner.text, node->count > 60 ? "..." : "");
        break;
    default:
        snprintf(out, size, "%s", node->type == BC_JSON_ARRAY ? "a list" : "an object");
    }
    return out;
}

void bc_sort_indices(uint32_t *items, uint32_t *scratch, size_t n,
                     int (*compare)(const void *context, uint32_t a, uint32_t b),
                     const void *context)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t middle = n - start < width ? n : start + width;
            size_t end = n - start < 2 * width ? n : start + 2 * width;
            size_t a = start, b = middle;
            for (size_t out = start; out < end; out++) {
                int left = a < middle && (b == end || compare(context, items[a], items[b]) <= 0);
                scratch[out] = left ? items[a++] : items[b++];
            }
        }
        memcpy(items, scratch, n * sizeof *items);
    }
}
