#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int bc_fail(bc_error *err, int code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        err->code = code;
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return code;
}

const char *bc_path_shown(const char *path)
{
    enum { MOST = 300 };
    const size_t n = strlen(path);
    if (n <= MOST) return path;
    path += n - MOST;
    while ((*path & 0xc0) == 0x80) path++; /* the inside of a UTF-8 character */
    return path;
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
