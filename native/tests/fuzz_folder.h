/* fuzz_folder.h - see fuzz_folder.c. */
#ifndef BC_FUZZ_FOLDER_H
#define BC_FUZZ_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#define BC_FUZZ_FOLDER "folder" /* the only path that exists while it is open */

void bc_fuzz_open_folder(const uint8_t *data, size_t size); /* data is borrowed */
void bc_fuzz_close_folder(void);

#endif
