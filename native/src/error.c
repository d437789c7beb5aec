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
