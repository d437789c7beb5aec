#include "error.h"

#include <stdarg.h>
#include <stdio.h>

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
