/* device_check.h - does a device calculate as the processor does? */
#ifndef BC_DEVICE_CHECK_H
#define BC_DEVICE_CHECK_H

#include "backend.h"

/* Runs layer `layer` of the model, and rows of its head if `with_head`, over random tokens on the device and on the
 * processor: batches of several sizes, which backends multiply in several ways, in sessions as `params` (nothing left to
 * default) asks for. Takes no more of the device's memory than the layer placed with those sessions, and 2 MB.
 * BC_ERR_DEVICE: the results differ, and how much. */
int bc_device_check(bc_model *model, const bc_backend *backend, bc_device *device, int layer,
                    int with_head, const bc_placement_params *params, bc_error *err);

#endif
