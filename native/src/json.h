/* json.h - a small strict JSON reader (RFC 8259) for files nobody vouches for.
 *
 * Refused, beyond bad syntax: invalid UTF-8, duplicate keys, nesting deeper than 64, more than
 * a million values, numbers outside a double's range, \u0000, and the NaN and Infinity that
 * Python's json module writes. Nothing depends on the locale. */
#ifndef BC_JSON_H
#define BC_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"
#include "error.h"

enum bc_json_type {
    BC_JSON_NULL,
    BC_JSON_BOOL,
    BC_JSON_NUMBER,
    BC_JSON_STRING,
    BC_JSON_ARRAY,
    BC_JSON_OBJECT
};

typedef struct bc_json_node {
    uint8_t type;       /* enum bc_json_type */
    uint8_t is_integer; /* a number written without '.' or exponent that fits int64 */
    uint32_t next;      /* next sibling's index; 0: none */
    uint32_t first;     /* first child's index; 0: none */
    uint32_t count;     /* children of an array or object, bytes of a string */
    uint32_t order;     /* objects: where their children sorted by key start in bc_json.order */
    uint32_t key_length;
    const char *key;    /* of an object's member, 0-terminated; NULL elsewhere */
    const char *string; /* 0-terminated UTF-8 without any 0 inside */
    int64_t integer;    /* of a number that is_integer; 0 or 1 of a bool */
    double number;
} bc_json_node;

typedef struct bc_json {
    bc_json_node *nodes; /* [n_nodes], nodes[0] is the root */
    size_t n_nodes, node_space;
    uint32_t *order;
    size_t n_order, order_space;
    char *strings; /* every decoded string; never longer than the text */
    size_t n_strings;
} bc_json;

/* `file` names the text in error sentences. On error the document is empty and needs no free. */
int bc_json_parse(bc_json *doc, const char *text, size_t length, const char *file, bc_error *err);
/* The same of a text file, which editors of Windows begin with a byte order mark. */
int bc_json_parse_file(bc_json *doc, const char *text, size_t length, const char *file,
                       bc_error *err);
void bc_json_free(bc_json *doc);

/* The member of an object; NULL if it is not there, or object is NULL or no object. */
const bc_json_node *bc_json_get(const bc_json *doc, const bc_json_node *object, const char *key);
/* Children in the order of the file; NULL at the end. */
const bc_json_node *bc_json_first(const bc_json *doc, const bc_json_node *parent);
const bc_json_node *bc_json_next(const bc_json *doc, const bc_json_node *child);

static inline int bc_json_is(const bc_json_node *node, int type)
{
    return node && node->type == type;
}

/* The value of a node, as short and safe as bc_quoted makes texts: a number, "string", true, an object ... */
const char *bc_json_show(bc_quote *buffer, const bc_json_node *node);

#endif
