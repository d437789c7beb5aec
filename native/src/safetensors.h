/* safetensors.h - one weight file: its header checked, its tensors listed.
 *
 * The format: 8 bytes header length (little-endian, at most 100,000,000), a JSON object of
 * {name: {"dtype", "shape", "data_offsets": [begin, end]}} and "__metadata__" (strings), then
 * the tensors' bytes, without holes or overlaps, to the end of the file. */
#ifndef BC_SAFETENSORS_H
#define BC_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "bitconverter.h"

#define BC_TENSOR_DIMS 3 /* no tensor of a model has more; `n_dims` may say so of others */

enum bc_tensor_type { /* the dtypes that weights come in; the rest of the format is OTHER */
                      BC_TENSOR_F32 = BC_F32,
                      BC_TENSOR_F16 = BC_F16,
                      BC_TENSOR_BF16 = BC_BF16,
                      BC_TENSOR_U8,
                      BC_TENSOR_I8,
                      BC_TENSOR_OTHER
};

typedef struct bc_tensor {
    const char *name; /* 0-terminated */
    const char *file; /* the weight file's name, for sentences */
    const char *dtype_name;
    int type; /* enum bc_tensor_type */
    int n_dims;
    int64_t shape[BC_TENSOR_DIMS];
    const uint8_t *data; /* inside the file; no alignment is promised */
    size_t bytes;        /* exactly what dtype and shape need */
} bc_tensor;

typedef struct bc_safetensors {
    bc_tensor *tensors; /* [n_tensors] in the order of the header, __metadata__ left out */
    size_t n_tensors;
    char *names; /* owned: every name, one after the other */
} bc_safetensors;

/* Reads the header of a whole file at data; `file` names it in sentences and must outlive st, as
 * data must. On error st is empty. */
int bc_safetensors_parse(bc_safetensors *st, const uint8_t *data, size_t size, const char *file,
                         bc_error *err);
void bc_safetensors_free(bc_safetensors *st);

#endif
