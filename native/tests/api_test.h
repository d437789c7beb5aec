/* api_test.h - what the parts of api_test share. */
#ifndef BC_API_TEST_H
#define BC_API_TEST_H

#include <string.h>

#include "test_folder.h"

#define HUGE_SIZE ((int64_t)1 << 62)

extern bc_error err;

/* The call fails with this code and a sentence, and also when the caller wants no sentence. */
#define REFUSED(expected, call_with_err)                                                           \
    do {                                                                                           \
        memset(&err, 0, sizeof err);                                                               \
        int status_ = (call_with_err);                                                             \
        test_check(status_ == (expected) && err.code == (expected) && err.message[0] != 0,         \
                   __FILE__, __LINE__, #call_with_err);                                            \
    } while (0)

/* api_calibrate.c */
void check_block(bc_engine *e);
void check_calibrate(bc_engine *e);
/* api_gradient.c */
void check_gradients(bc_engine *e);
/* api_devices.c; library: NULL, or a backend that has a device */
void check_devices(const char *library);

#endif
