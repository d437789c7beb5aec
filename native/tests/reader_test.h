/* reader_test.h - the parts of reader_test. */
#ifndef BC_READER_TEST_H
#define BC_READER_TEST_H

void reader_config_tests(void);
void reader_weights_tests(void);
void reader_model_tests(void);
void reader_converted_tests(void);

#endif
