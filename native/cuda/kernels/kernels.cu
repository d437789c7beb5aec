// kernels.cu - every kernel of the backend, one translation unit.
#ifdef BC_DEVICE_HEADER
#include BC_DEVICE_HEADER
#else
#include "device.cuh"
#endif
#include "params.h"

#include "reduce.cuh"

#include "prepare.cuh"

#include "gemv.cuh"

#include "trits.cuh"

#include "tiled.cuh"

#include "tiles.cuh"

#include "few.cuh"

#include "one.cuh"

#include "codes.cuh"

#include "gemm.cuh"

#include "dense.cuh"

#include "cache.cuh"

#include "attend.cuh"

#include "attend_fast.cuh"

#include "flash.cuh"

#include "back_planes.cuh"

#include "back_vector.cuh"

#include "back_attention.cuh"
