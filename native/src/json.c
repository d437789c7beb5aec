/* json.c - see json.h. A recursive descent parser; nodes are addressed by index while they
 * grow, strings are decoded into one buffer that never moves. */
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define MAX_DEPTH 64
#define MAX_NODES 1000000
#define MAX_TEXT ((size_t)1 << 30)

typedef struct parser {
    bc_json *doc;
    const char *start, *at, *end;
    const char *file;
    bc_error *err;
} parser;

static int syntax(const parser *p, const char *what)
{
    return bc_fail(p->err, BC_ERR_FORMAT, "%s is not valid JSON at byte %zu: %s", p->file,
                   (size_t)(p->at - p->start), what);
}

static int no_memory(const parser *p)
{
    return bc_fail(p->err, BC_ERR_NOMEM, "not enough memory to read %s", p->file);
}

static void skip_space(parser *p)
{
    while (p->at < p->end &&
           (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static int next_is(const parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

static int take_word(parser *p, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0)
        return 0;
    p->at += n;
    return 1;
}

static int new_node(parser *p, uint32_t *index)
{
    bc_json *doc = p->doc;
    if (doc->n_nodes == MAX_NODES)
        return syntax(p, "it holds more than 1000000 values");
    if (doc->n_nodes == doc->node_space) {
        size_t space = doc->node_space ? doc->node_space * 2 : 64;
        bc_json_node *grown = realloc(doc->nodes, space * sizeof *grown);
        if (!grown)
            return no_memory(p);
        doc->nodes = grown;
        doc->node_space = space;
    }
    *index = (uint32_t)doc->n_nodes++;
    memset(&doc->nodes[*index], 0, sizeof doc->nodes[0]);
    return BC_OK;
}

/* ---- strings ---- */

/* Bytes of the UTF-8 sequence at s (at most n long); 0 if it is not valid. */
static size_t utf8_length(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t length = u[0] < 0x80 ? 1 : u[0] < 0xC2 ? 0 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
    if (length == 0 || length > n || u[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((u[i] & 0xC0) != 0x80)
            return 0;
    if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ||
        (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F))
        return 0; /* overlong, surrogate, past U+10FFFF */
    return length;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | (c >> 6));
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | (c >> 12));
        *out++ = (char)(0x80 | ((c >> 6) & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xF0 | (c >> 18));
        *out++ = (char)(0x80 | ((c >> 12) & 63));
        *out++ = (char)(0x80 | ((c >> 6) & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

static int hex4(parser *p, uint32_t *value)
{
    if (p->end - p->at < 4)
        return syntax(p, "the text ends inside a \\u escape");
    *value = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        char c = *p->at;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return syntax(p, "a \\u escape needs four hexadecimal digits");
        *value = *value * 16 + (uint32_t)digit;
    }
    return BC_OK;
}

/* The code point of a \u escape, after its "\u"; joins a surrogate pair. */
static int unicode_escape(parser *p, uint32_t *c)
{
    uint32_t low;
    int status = hex4(p, c);
    if (status)
        return status;
    if (*c == 0)
        return syntax(p, "a string holds \\u0000, which is not accepted here");
    if (*c < 0xD800 || *c > 0xDFFF)
        return BC_OK;
    if (*c > 0xDBFF || !take_word(p, "\\u"))
        return syntax(p, "half of a surrogate pair");
    status = hex4(p, &low);
    if (status)
        return status;
    if (low < 0xDC00 || low > 0xDFFF)
        return syntax(p, "half of a surrogate pair");
    *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    return BC_OK;
}

static int escape(parser *p, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    p->at++; /* the backslash */
    if (p->at == p->end)
        return syntax(p, "the text ends inside a string");
    if (*p->at == 'u') {
        uint32_t c;
        p->at++;
        int status = unicode_escape(p, &c);
        if (status)
            return status;
        *out = put_utf8(*out, c);
        return BC_OK;
    }
    const char *found = *p->at ? strchr(from, *p->at) : NULL;
    if (!found)
        return syntax(p, "an unknown escape in a string");
    p->at++;
    *(*out)++ = to[found - from];
    return BC_OK;
}

/* Decodes the string at the cursor. It is never longer than its source with both quotes, so
 * the buffer of the text's size holds all of them and their final zeros. */
static int parse_string(parser *p, const char **string, uint32_t *length)
{
    char *first = p->doc->strings + p->doc->n_strings, *out = first;
    p->at++; /* the quote */
    while (!next_is(p, '"')) {
        if (p->at == p->end)
            return syntax(p, "the text ends inside a string");
        if ((unsigned char)*p->at < 0x20)
            return syntax(p, "a control character inside a string");
        if (*p->at == '\\') {
            int status = escape(p, &out);
            if (status)
                return status;
            continue;
        }
        size_t n = utf8_length(p->at, (size_t)(p->end - p->at));
        if (n == 0)
            return syntax(p, "the text is not UTF-8");
        memcpy(out, p->at, n);
        out += n;
        p->at += n;
    }
    p->at++;
    *out = 0;
    *string = first;
    *length = (uint32_t)(out - first);
    p->doc->n_strings += (size_t)(out - first) + 1;
    return BC_OK;
}

/* ---- numbers ---- */

static int is_digit(const parser *p)
{
    return p->at < p->end && *p->at >= '0' && *p->at <= '9';
}

/* mantissa * 10^exponent. Exact (correctly rounded) for mantissas up to 2^53 and exponents up to
 * +-22, which is what people write; within 2 units in the last place else, which is far below the
 * float precision the engine keeps. */
static double scale_by_ten(uint64_t mantissa, int64_t exponent)
{
    static const double small[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double value = (double)mantissa;
    if (mantissa == 0 || exponent < -400)
        return 0.0;
    for (; exponent > 22; exponent -= 22) {
        value *= small[22];
        if (isinf(value))
            return value;
    }
    for (; exponent < -22; exponent += 22)
        value /= small[22];
    return exponent >= 0 ? value * small[exponent] : value / small[-exponent];
}

typedef struct digits {
    uint64_t mantissa; /* the first 19 significant digits */
    int n_mantissa;
    int64_t exponent; /* of ten, for digits dropped or after the point */
    int dropped;      /* a nonzero digit did not fit */
} digits;

static void take_digits(parser *p, digits *d, int after_point)
{
    for (; is_digit(p); p->at++) {
        int digit = *p->at - '0';
        if (d->n_mantissa < 19) {
            d->mantissa = d->mantissa * 10 + (uint64_t)digit;
            d->n_mantissa += d->mantissa != 0;
            d->exponent -= after_point;
        } else {
            d->dropped |= digit != 0;
            d->exponent += !after_point;
        }
    }
}

static int take_exponent(parser *p, int64_t *exponent)
{
    int negative = 0;
    int64_t value = 0;
    p->at++; /* e or E */
    if (next_is(p, '+') || next_is(p, '-'))
        negative = *p->at++ == '-';
    if (!is_digit(p))
        return syntax(p, "a number's exponent has no digits");
    for (; is_digit(p); p->at++)
        if (value < ((int64_t)1 << 40))
            value = value * 10 + (*p->at - '0');
    *exponent += negative ? -value : value;
    return BC_OK;
}

static int parse_number(parser *p, bc_json_node *node)
{
    int negative = next_is(p, '-'), whole = 1;
    digits d = {0, 0, 0, 0};
    p->at += negative;
    if (!is_digit(p))
        return syntax(p, "expected a value");
    if (*p->at == '0' && p->end - p->at > 1 && p->at[1] >= '0' && p->at[1] <= '9')
        return syntax(p, "a number starts with 0");
    take_digits(p, &d, 0);
    if (next_is(p, '.')) {
        whole = 0;
        p->at++;
        if (!is_digit(p))
            return syntax(p, "a number has no digits after its point");
        take_digits(p, &d, 1);
    }
    if (next_is(p, 'e') || next_is(p, 'E')) {
        whole = 0;
        int status = take_exponent(p, &d.exponent);
        if (status)
            return status;
    }
    double value = scale_by_ten(d.mantissa, d.exponent);
    if (isinf(value))
        return syntax(p, "a number is too large");
    node->type = BC_JSON_NUMBER;
    node->number = negative ? -value : value;
    node->is_integer = whole && d.exponent == 0 && d.mantissa <= (uint64_t)INT64_MAX;
    if (node->is_integer)
        node->integer = negative ? -(int64_t)d.mantissa : (int64_t)d.mantissa;
    return BC_OK;
}

/* ---- values ---- */

static int parse_value(parser *p, uint32_t index, int depth);

static int compare_keys(const void *context, uint32_t a, uint32_t b)
{
    const bc_json_node *nodes = context;
    return strcmp(nodes[a].key, nodes[b].key);
}

/* Lists an object's children sorted by key, for look-up and to find duplicates. */
static int index_object(parser *p, uint32_t object)
{
    bc_json *doc = p->doc;
    size_t n = doc->nodes[object].count, needed = doc->n_order + 2 * n; /* and scratch */
    if (needed > doc->order_space) {
        size_t space = needed > doc->order_space * 2 ? needed : doc->order_space * 2;
        uint32_t *grown = realloc(doc->order, space * sizeof *grown);
        if (!grown)
            return no_memory(p);
        doc->order = grown;
        doc->order_space = space;
    }
    if (n == 0)
        return BC_OK;
    uint32_t *order = doc->order + doc->n_order, i = 0;
    for (uint32_t c = doc->nodes[object].first; c; c = doc->nodes[c].next)
        order[i++] = c;
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

static int parse_key(parser *p, uint32_t child)
{
    const char *key;
    uint32_t length;
    if (!next_is(p, '"'))
        return syntax(p, "expected a key in quotes");
    int status = parse_string(p, &key, &length);
    if (status)
        return status;
    skip_space(p);
    if (!next_is(p, ':'))
        return syntax(p, "expected ':' after a key");
    p->at++;
    skip_space(p);
    p->doc->nodes[child].key = key;
    p->doc->nodes[child].key_length = length;
    return BC_OK;
}

static int parse_children(parser *p, uint32_t parent, int depth)
{
    int is_object = *p->at == '{';
    char close = is_object ? '}' : ']';
    uint32_t last = 0, child;
    if (depth == MAX_DEPTH)
        return syntax(p, "it is nested more than 64 levels deep");
    p->doc->nodes[parent].type = is_object ? BC_JSON_OBJECT : BC_JSON_ARRAY;
    p->at++;
    skip_space(p);
    while (!next_is(p, close) || last) {
        int status = new_node(p, &child);
        if (!status && is_object)
            status = parse_key(p, child);
        if (!status)
            status = parse_value(p, child, depth + 1);
        if (status)
            return status;
        if (last)
            p->doc->nodes[last].next = child;
        else
            p->doc->nodes[parent].first = child;
        last = child;
        p->doc->nodes[parent].count++;
        skip_space(p);
        if (next_is(p, close))
            break;
        if (!next_is(p, ','))
            return syntax(p, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
        p->at++;
        skip_space(p);
    }
    p->at++;
    return is_object ? index_object(p, parent) : BC_OK;
}

/* Fills the node at `index` with the value at the cursor, which stands on no white space. */
static int parse_value(parser *p, uint32_t index, int depth)
{
    bc_json_node *node = &p->doc->nodes[index];
    if (p->at == p->end)
        return syntax(p, "the text ends where a value should be");
    if (*p->at == '{' || *p->at == '[')
        return parse_children(p, index, depth);
    if (*p->at == '"') {
        node->type = BC_JSON_STRING;
        return parse_string(p, &node->string, &node->count);
    }
    if (take_word(p, "null"))
        return BC_OK;
    if (take_word(p, "true") || take_word(p, "false")) {
        node->type = BC_JSON_BOOL;
        node->integer = p->at[-2] == 'u'; /* tr-u-e, fal-s-e */
        return BC_OK;
    }
    if (take_word(p, "NaN") || take_word(p, "Infinity") || take_word(p, "-Infinity"))
        return syntax(p, "NaN and Infinity are not JSON (Python's json module writes them)");
    return parse_number(p, node);
}

int bc_json_parse(bc_json *doc, const char *text, size_t length, const char *file, bc_error *err)
{
    parser p = {doc, text, text, text + length, file, err};
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
        if (p.at != p.end)
            status = syntax(&p, "more text after the end");
    }
    if (status)
        bc_json_free(doc);
    return status;
}

void bc_json_free(bc_json *doc)
{
    free(doc->nodes);
    free(doc->order);
    free(doc->strings);
    memset(doc, 0, sizeof *doc);
}
