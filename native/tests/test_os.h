/* test_os.h - what the tests ask of the operating system. Names are UTF-8 and may be of any length. */
#ifndef BC_TEST_OS_H
#define BC_TEST_OS_H

#include <stdint.h>
#include <stdio.h>

/* The program's arguments; on Windows those of main() have lost what the code page cannot say. */
char **test_arguments(int argc, char **argv);

/* Each NULL or not 0 when it fails. */
FILE *test_open_write(const char *path); /* a new file, with holes where nothing is written */
int test_seek(FILE *file, uint64_t offset);
int test_remove(const char *path);
int test_make_folders(const char *path); /* and those above it; one that is there is no failure */
int test_press_key(void);                /* one that does nothing; only on Windows */

void test_wait(int milliseconds);
/* This process's physical memory, or -1: not told here, or freed memory is kept for a sanitizer to watch. */
int64_t test_resident_bytes(void);
void test_no_display(void); /* from now on X11 and Wayland are not there */

#endif
