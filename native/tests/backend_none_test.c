/* backend_none_test.c - the backend library on a computer as it is: without a driver it says so in a sentence.
 *
 * backend_none_test LIBRARY */
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "platform.h"
#include "test_os.h"

static int failed(const char *what, const bc_error *err)
{
    fprintf(stderr, "backend_none_test: %s (%d: %s)\n", what, err->code, err->message);
    return 1;
}

int main(int argc, char **argv)
{
    bc_error err = { 0 };
    if (argc != 2) return failed("usage: backend_none_test LIBRARY", &err);
    void *library = bc_library_open(test_arguments(argc, argv)[1]);
    if (!library) return failed("the library cannot be loaded", &err);
    void *symbol = bc_library_symbol(library, BC_BACKEND_SYMBOL);
    if (!symbol) return failed("it has no " BC_BACKEND_SYMBOL, &err);
    bc_backend_table_fn table;
    memcpy(&table, &symbol, sizeof table);
    const bc_backend *backend = table();
    if (backend->abi != BC_BACKEND_ABI) return failed("its ABI is another", &err);
    if (strcmp(backend->name, "cuda") != 0) return failed("its name is another", &err);

    /* twice: what a first try leaves behind must not change the answer */
    for (int i = 0; i < 2; i++) {
        int32_t n = -1;
        const int status = backend->count(&n, &err);
        if (status == BC_OK) {
            if (n < 1) return failed("it answers BC_OK, and has no device", &err);
            printf("%d device%s\n", (int)n, n == 1 ? "" : "s");
        } else {
            if (status != BC_ERR_UNSUPPORTED || err.code != status)
                return failed("without a device it should answer BC_ERR_UNSUPPORTED", &err);
            if (!strstr(err.message, "NVIDIA driver"))
                return failed("the sentence should tell of the driver", &err);
            bc_device *device = NULL;
            bc_error again = { 0 };
            if (backend->open(&device, 0, &again) == BC_OK || device || !again.message[0])
                return failed("a device that is not there was opened", &again);
            printf("%s\n", err.message);
        }
    }
    bc_library_close(library);
    return 0;
}
