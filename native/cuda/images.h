/* images.h - the compiled kernels, made by build_kernels.py: machine code of several architectures, and PTX. */
#ifndef BC_CUDA_IMAGES_H
#define BC_CUDA_IMAGES_H

#include <stddef.h>
#include <stdint.h>

typedef struct bc_cuda_image {
    int arch; /* 10 * major + minor of the compute capability: 61, 75, ... */
    int ptx; /* 1: text that the driver compiles for this and any newer card; 0: machine code, which runs on cards of
               * the same major and at least this minor number */
    const uint8_t *data; /* PTX ends with a 0 byte */
    size_t size;
} bc_cuda_image;

extern const bc_cuda_image bc_cuda_images[];
extern const int bc_cuda_image_count;

#endif
