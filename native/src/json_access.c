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
