/* files.h - the weight files of a model folder: mapped, checked, and looked up by name. */
#ifndef BC_FILES_H
#define BC_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"
#include "platform.h"
#include "safetensors.h"

typedef struct bc_files {
    struct bc_file {
        char *name;
        bc_map map;
        bc_safetensors header;
    } *files;
    size_t n_files;
    const bc_tensor **by_name; /* every tensor of every file, sorted */
    size_t n_tensors;
    int64_t bytes; /* of all files */
} bc_files;

/* Opens model.safetensors, or else every shard named in model.safetensors.index.json. */
int bc_files_open(bc_files **out, const char *folder, bc_error *err);
void bc_files_close(bc_files *files); /* accepts NULL */

/* NULL when there is no such tensor. */
const bc_tensor *bc_files_find(const bc_files *files, const char *name);

/* malloc'ed "folder/name"; NULL: no memory. */
char *bc_path_join(const char *folder, const char *name);

#endif
