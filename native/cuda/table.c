/* table.c - the one symbol of this library: what the engine calls (backend.h). */
#include "backend.h"
#include "operations.h"
#include "stack.h"
#include "trace.h"
#include "trained.h"

static const bc_backend TABLE = {
    .abi = BC_BACKEND_ABI,
    .model_bytes = sizeof(bc_model),
    .layer_bytes = sizeof(bc_layer),
    .name = "cuda",
    .count = bc_device_count,
    .describe = bc_device_describe,
    .open = bc_device_open,
    .close = bc_device_close,
    .memory = bc_device_get_memory,
    .weight_bytes = bc_stack_weight_bytes,
    .cache_bytes = bc_stack_cache_bytes,
    .stack_open = bc_stack_open,
    .stack_close = bc_stack_close,
    .stack_scales = bc_stack_set_scales,
    .cache_open = bc_cache_open,
    .cache_close = bc_cache_close,
    .stack_forward = bc_stack_forward,
    .trained_bytes = bc_trained_bytes,
    .trained_open = bc_trained_open,
    .trained_close = bc_trained_close,
    .trained_forward = bc_trained_forward,
    .trained_backward = bc_trained_backward,
    .trained_loss = bc_trained_loss,
    .copy_speed = bc_op_copy_speed,
    .trace_begin = bc_trace_begin,
    .trace_end = bc_trace_end,
    .op_prepare = bc_op_prepare,
    .op_linear = bc_op_linear,
};

BC_API const bc_backend *bc_backend_table(void);

const bc_backend *bc_backend_table(void) { return &TABLE; }
