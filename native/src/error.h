/* error.h - how every fallible function of the engine reports. */
#ifndef BC_ERROR_H
#define BC_ERROR_H

#include <stddef.h>

#include "bitconverter.h"

#if defined(__GNUC__)
#define BC_PRINTF(f, a) __attribute__((format(gnu_printf, f, a)))
#else
#define BC_PRINTF(f, a)
#endif

/* Fills err (NULL allowed) with one sentence and returns code. A text of a file that is
 * quoted in it is cut by the caller with %.80s or so. */
int bc_fail(bc_error *err, int code, const char *format, ...) BC_PRINTF(3, 4);

/* The path as a sentence shows it: of a very long one the end, which names the file. */
const char *bc_path_shown(const char *path);

/* A short form of untrusted text that is safe inside an error sentence: cut at a character's
 * end, control characters replaced. Returns buffer. */
typedef struct bc_quote {
    char text[84];
} bc_quote;
const char *bc_quoted(bc_quote *buffer, const char *text, size_t length);

#endif
