/* reader_test.c - the reader of a model folder against good, broken and hostile files.
 *
 *   reader_test FOLDER    FOLDER is made, and the test's to write in */
#include "reader_test.h"

#include "test_folder.h"

int main(int argc, char **argv)
{
    test_use_folder(argc, argv);
    reader_config_tests();
    reader_weights_tests();
    reader_model_tests();
    reader_converted_tests();
    test_clear();
    return test_summary();
}
