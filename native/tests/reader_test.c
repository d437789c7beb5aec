/* reader_test.c - the reader of a model folder against good, broken and hostile files.
 *
 *   reader_test FOLDER    FOLDER exists and is the test's to write in */
#include "reader_test.h"

#include <stdio.h>

#include "test_folder.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: reader_test FOLDER\n");
        return 2;
    }
    test_folder = argv[1];
    reader_config_tests();
    reader_weights_tests();
    reader_model_tests();
    reader_converted_tests();
    test_clear();
    return test_summary();
}
