/* test_folder.h - counting checks, and writing small model folders for them. */
#ifndef BC_TEST_FOLDER_H
#define BC_TEST_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"

/* Counts one check; a failed one is printed with its place. */
#define CHECK(condition) test_check((condition) != 0, __FILE__, __LINE__, #condition)
void test_check(int ok, const char *file, int line, const char *what);
/* The call failed with this code, and its sentence holds `part`. */
void test_check_error(const char *name, int status, const bc_error *err, int code,
                      const char *part);
/* Prints "N passed, N failed"; the program's exit code. */
int test_summary(void);

/* The folder that all files below are written to; one folder is used again and again. */
extern const char *test_folder;
/* Makes the program's one argument that folder; ends the program if that cannot be. */
void test_use_folder(int argc, char **argv);
void test_write(const char *name, const void *bytes, size_t n);
void test_clear(void); /* removes every file that test_write made */

/* A config.json of the family with changes "key=json;key=json"; the value "-" leaves a key out.
 * The text stays valid until the next call. */
const char *test_config(const char *family, const char *changes);

/* Collects tensors of one weight file; every data byte is `fill`, or 60 if that is 0 (60 is a
 * small finite number in each dtype). A tensor whose name contains `omit` is left out. */
typedef struct test_weights {
    char header[16384];
    size_t n_header, n_data;
    const char *omit;
    int fill;
    size_t hole; /* so many of the first data bytes are not written: a sparse file */
} test_weights;
void test_add(test_weights *w, const char *name, const char *dtype, int rows, int cols);
void test_add_planes(test_weights *w, const char *name, int n, int groups, int cols);
void test_save(test_weights *w, const char *name, int cut); /* cut: bytes missing at the end */
/* Every tensor that the family's test_config needs, in one dense dtype; rows as in the config. */
void test_add_model(test_weights *w, const char *family, const char *dtype);

#endif
