/* json_scan.c - strings and numbers of JSON. */
#include "json_scan.h"

#include <math.h>

#include "error.h"

int bc_json_syntax(const bc_json_parser *p, const char *what)
{
    return bc_fail(p->err, BC_ERR_FORMAT, "%s is not valid JSON at byte %zu: %s", p->file,
                   (size_t)(p->at - p->start), what);
}

/* ---- strings ---- */

/* Bytes of the UTF-8 sequence at s (at most n long); 0 if it is not valid. */
static size_t utf8_length(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t length = u[0] < 0x80 ? 1 : u[0] < 0xC2 ? 0 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
    if (length == 0 || length > n || u[0] > 0xF4) return 0;
    for (size_t i = 1; i < length; i++)
        if ((u[i] & 0xC0) != 0x80) return 0;
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

static int hex4(bc_json_parser *p, uint32_t *value)
{
    if (p->end - p->at < 4) return bc_json_syntax(p, "the text ends inside a \\u escape");
    *value = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        char c = *p->at;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return bc_json_syntax(p, "a \\u escape needs four hexadecimal digits");
        *value = *value * 16 + (uint32_t)digit;
    }
    return BC_OK;
}

/* The code point of a \u escape, after its "\u"; joins a surrogate pair. */
static int unicode_escape(bc_json_parser *p, uint32_t *c)
{
    uint32_t low;
    int status = hex4(p, c);
    if (status) return status;
    if (*c == 0) return bc_json_syntax(p, "a string holds \\u0000, which is not accepted here");
    if (*c < 0xD800 || *c > 0xDFFF) return BC_OK;
    if (*c > 0xDBFF || !bc_json_take_word(p, "\\u"))
        return bc_json_syntax(p, "half of a surrogate pair");
    status = hex4(p, &low);
    if (status) return status;
    if (low < 0xDC00 || low > 0xDFFF) return bc_json_syntax(p, "half of a surrogate pair");
    *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    return BC_OK;
}

static int escape(bc_json_parser *p, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    p->at++; /* the backslash */
    if (p->at == p->end) return bc_json_syntax(p, "the text ends inside a string");
    if (*p->at == 'u') {
        uint32_t c;
        p->at++;
        int status = unicode_escape(p, &c);
        if (status) return status;
        *out = put_utf8(*out, c);
        return BC_OK;
    }
    const char *found = *p->at ? strchr(from, *p->at) : NULL;
    if (!found) return bc_json_syntax(p, "an unknown escape in a string");
    p->at++;
    *(*out)++ = to[found - from];
    return BC_OK;
}

/* Decodes the string at the cursor. It is never longer than its source with both quotes, so
 * the buffer of the text's size holds all of them and their final zeros. */
int bc_json_scan_string(bc_json_parser *p, const char **string, uint32_t *length)
{
    char *first = p->doc->strings + p->doc->n_strings, *out = first;
    p->at++; /* the quote */
    while (!bc_json_next_is(p, '"')) {
        if (p->at == p->end) return bc_json_syntax(p, "the text ends inside a string");
        if ((unsigned char)*p->at < 0x20)
            return bc_json_syntax(p, "a control character inside a string");
        if (*p->at == '\\') {
            int status = escape(p, &out);
            if (status) return status;
            continue;
        }
        size_t n = utf8_length(p->at, (size_t)(p->end - p->at));
        if (n == 0) return bc_json_syntax(p, "the text is not UTF-8");
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

static int is_digit(const bc_json_parser *p)
{
    return p->at < p->end && *p->at >= '0' && *p->at <= '9';
}

/* mantissa * 10^exponent. Exact (correctly rounded) for mantissas up to 2^53 and exponents up to
 * +-22, which is what people write; within 2 units in the last place else, which is far below the
 * float precision the engine keeps. */
static double scale_by_ten(uint64_t mantissa, int64_t exponent)
{
    static const double small[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    double value = (double)mantissa;
    if (mantissa == 0 || exponent < -400) return 0.0;
    for (; exponent > 22; exponent -= 22) {
        value *= small[22];
        if (isinf(value)) return value;
    }
    for (; exponent < -22; exponent += 22) value /= small[22];
    return exponent >= 0 ? value * small[exponent] : value / small[-exponent];
}

typedef struct digits {
    uint64_t mantissa; /* the first 19 significant digits */
    int n_mantissa;
    int64_t exponent; /* of ten, for digits dropped or after the point */
    int dropped;      /* a nonzero digit did not fit */
} digits;

static void take_digits(bc_json_parser *p, digits *d, int after_point)
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

static int take_exponent(bc_json_parser *p, int64_t *exponent)
{
    int negative = 0;
    int64_t value = 0;
    p->at++; /* e or E */
    if (bc_json_next_is(p, '+') || bc_json_next_is(p, '-')) negative = *p->at++ == '-';
    if (!is_digit(p)) return bc_json_syntax(p, "a number's exponent has no digits");
    for (; is_digit(p); p->at++)
        if (value < ((int64_t)1 << 40)) value = value * 10 + (*p->at - '0');
    *exponent += negative ? -value : value;
    return BC_OK;
}

int bc_json_scan_number(bc_json_parser *p, bc_json_node *node)
{
    int negative = bc_json_next_is(p, '-'), whole = 1;
    digits d = { 0, 0, 0, 0 };
    p->at += negative;
    if (!is_digit(p)) return bc_json_syntax(p, "expected a value");
    if (*p->at == '0' && p->end - p->at > 1 && p->at[1] >= '0' && p->at[1] <= '9')
        return bc_json_syntax(p, "a number starts with 0");
    take_digits(p, &d, 0);
    if (bc_json_next_is(p, '.')) {
        whole = 0;
        p->at++;
        if (!is_digit(p)) return bc_json_syntax(p, "a number has no digits after its point");
        take_digits(p, &d, 1);
    }
    if (bc_json_next_is(p, 'e') || bc_json_next_is(p, 'E')) {
        whole = 0;
        int status = take_exponent(p, &d.exponent);
        if (status) return status;
    }
    double value = scale_by_ten(d.mantissa, d.exponent);
    if (isinf(value)) return bc_json_syntax(p, "a number is too large");
    node->type = BC_JSON_NUMBER;
    node->number = negative ? -value : value;
    node->is_integer = whole && d.exponent == 0 && d.mantissa <= (uint64_t)INT64_MAX;
    if (node->is_integer) node->integer = negative ? -(int64_t)d.mantissa : (int64_t)d.mantissa;
    return BC_OK;
}
