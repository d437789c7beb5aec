/* json.c - see json.h. A recursive descent parser; nodes are addressed by index while they
 * grow, strings are decoded into one buffer that never moves. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "json_scan.h"
#include "sort.h"

#define MAX_DEPTH 64
#define MAX_NODES 1000000
#define MAX_TEXT ((size_t)1 << 30)

static int no_memory(const bc_json_parser *p)
{
    return bc_fail(p->err, BC_ERR_NOMEM, "not enough memory to read %s", p->file);
}

static void skip_space(bc_json_parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static int new_node(bc_json_parser *p, uint32_t *index)
{
    bc_json *doc = p->doc;
    if (doc->n_nodes == MAX_NODES) return bc_json_syntax(p, "it holds more than 1000000 values");
    if (doc->n_nodes == doc->node_space) {
        size_t space = doc->node_space ? doc->node_space * 2 : 64;
        bc_json_node *grown = realloc(doc->nodes, space * sizeof *grown);
        if (!grown) return no_memory(p);
        doc->nodes = grown;
        doc->node_space = space;
    }
    *index = (uint32_t)doc->n_nodes++;
    memset(&doc->nodes[*index], 0, sizeof doc->nodes[0]);
    return BC_OK;
}

static int parse_value(bc_json_parser *p, uint32_t index, int depth);

static int compare_keys(const void *context, uint32_t a, uint32_t b)
{
    const bc_json_node *nodes = context;
    return strcmp(nodes[a].key, nodes[b].key);
}

/* Lists an object's children sorted by key, for look-up and to find duplicates. */
static int index_object(bc_json_parser *p, uint32_t object)
{
    bc_json *doc = p->doc;
    size_t n = doc->nodes[object].count, needed = doc->n_order + 2 * n; /* and scratch */
    if (needed > doc->order_space) {
        size_t space = needed > doc->order_space * 2 ? needed : doc->order_space * 2;
        uint32_t *grown = realloc(doc->order, space * sizeof *grown);
        if (!grown) return no_memory(p);
        doc->order = grown;
        doc->order_space = space;
    }
    if (n == 0) return BC_OK;
    uint32_t *order = doc->order + doc->n_order, i = 0;
    for (uint32_t c = doc->nodes[object].first; c; c = doc->nodes[c].next) order[i++] = c;
    bc_sort_indices(order, order + n, n, compare_keys, doc->nodes);
    for (i = 1; i < n; i++)
        if (compare_keys(doc->nodes, order[i - 1], order[i]) == 0) {
            bc_quote quote;
            const bc_json_node *twice = &doc->nodes[order[i]];
            return bc_fail(p->err, BC_ERR_FORMAT, "%s holds the key \"%s\" twice in one object",
                           p->file, bc_quoted(&quote, twice->key, twice->key_length));
        }
    doc->nodes[object].order = (uint32_t)doc->n_order;
    doc->n_order += n;
    return BC_OK;
}

static int parse_key(bc_json_parser *p, uint32_t child)
{
    const char *key;
    uint32_t length;
    if (!bc_json_next_is(p, '"')) return bc_json_syntax(p, "expected a key in quotes");
    int status = bc_json_scan_string(p, &key, &length);
    if (status) return status;
    skip_space(p);
    if (!bc_json_next_is(p, ':')) return bc_json_syntax(p, "expected ':' after a key");
    p->at++;
    skip_space(p);
    p->doc->nodes[child].key = key;
    p->doc->nodes[child].key_length = length;
    return BC_OK;
}

static int parse_children(bc_json_parser *p, uint32_t parent, int depth)
{
    int is_object = *p->at == '{';
    char close = is_object ? '}' : ']';
    uint32_t last = 0, child;
    if (depth == MAX_DEPTH) return bc_json_syntax(p, "it is nested more than 64 levels deep");
    p->doc->nodes[parent].type = is_object ? BC_JSON_OBJECT : BC_JSON_ARRAY;
    p->at++;
    skip_space(p);
    while (!bc_json_next_is(p, close) || last) {
        int status = new_node(p, &child);
        if (!status && is_object) status = parse_key(p, child);
        if (!status) status = parse_value(p, child, depth + 1);
        if (status) return status;
        if (last)
            p->doc->nodes[last].next = child;
        else
            p->doc->nodes[parent].first = child;
        last = child;
        p->doc->nodes[parent].count++;
        skip_space(p);
        if (bc_json_next_is(p, close)) break;
        if (!bc_json_next_is(p, ','))
            return bc_json_syntax(p, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
        p->at++;
        skip_space(p);
    }
    p->at++;
    return is_object ? index_object(p, parent) : BC_OK;
}

/* Fills the node at `index` with the value at the cursor, which stands on no white space. */
static int parse_value(bc_json_parser *p, uint32_t index, int depth)
{
    bc_json_node *node = &p->doc->nodes[index];
    if (p->at == p->end) return bc_json_syntax(p, "the text ends where a value should be");
    if (*p->at == '{' || *p->at == '[') return parse_children(p, index, depth);
    if (*p->at == '"') {
        node->type = BC_JSON_STRING;
        return bc_json_scan_string(p, &node->string, &node->count);
    }
    if (bc_json_take_word(p, "null")) return BC_OK;
    if (bc_json_take_word(p, "true") || bc_json_take_word(p, "false")) {
        node->type = BC_JSON_BOOL;
        node->integer = p->at[-2] == 'u'; /* tr-u-e, fal-s-e */
        return BC_OK;
    }
    if (bc_json_take_word(p, "NaN") || bc_json_take_word(p, "Infinity") ||
        bc_json_take_word(p, "-Infinity"))
        return bc_json_syntax(p,
                              "NaN and Infinity are not JSON (Python's json module writes them)");
    return bc_json_scan_number(p, node);
}

int bc_json_parse(bc_json *doc, const char *text, size_t length, const char *file, bc_error *err)
{
    bc_json_parser p = { doc, text, text, text + length, file, err };
    uint32_t root;
    memset(doc, 0, sizeof *doc);
    if (length > MAX_TEXT)
        return bc_fail(err, BC_ERR_FORMAT, "%s is too large (%zu bytes)", file, length);
    doc->strings = malloc(length + 1);
    int status = doc->strings ? new_node(&p, &root) : no_memory(&p);
    if (!status) {
        skip_space(&p);
        status = parse_value(&p, root, 0);
    }
    if (!status) {
        skip_space(&p);
        if (p.at != p.end) status = bc_json_syntax(&p, "more text after the end");
    }
    if (status) bc_json_free(doc);
    return status;
}

int bc_json_parse_file(bc_json *doc, const char *text, size_t length, const char *file,
                       bc_error *err)
{
    const size_t mark = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return bc_json_parse(doc, text + mark, length - mark, file, err);
}

void bc_json_free(bc_json *doc)
{
    free(doc->nodes);
    free(doc->order);
    free(doc->strings);
    memset(doc, 0, sizeof *doc);
}
