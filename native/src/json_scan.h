/* json_scan.h - the cursor of the JSON parser, and its strings and numbers; between json*.c only. */
#ifndef BC_JSON_SCAN_H
#define BC_JSON_SCAN_H

#include <string.h>

#include "json.h"

typedef struct bc_json_parser {
    bc_json *doc;
    const char *start, *at, *end;
    const char *file;
    bc_error *err;
} bc_json_parser;

static inline int bc_json_next_is(const bc_json_parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

static inline int bc_json_take_word(bc_json_parser *p, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0) return 0;
    p->at += n;
    return 1;
}

/* Fails with the place of the cursor. */
int bc_json_syntax(const bc_json_parser *p, const char *what);

/* Decodes the string at the cursor, which stands on its quote, into doc->strings. */
int bc_json_scan_string(bc_json_parser *p, const char **string, uint32_t *length);
/* Reads the number at the cursor into node. */
int bc_json_scan_number(bc_json_parser *p, bc_json_node *node);

#endif
