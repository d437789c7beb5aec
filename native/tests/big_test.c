/* big_test.c - a model whose weights lie behind the first 4 GiB of their file gives the same
 * logits as the same weights in a small file, on every instruction set this processor has. The
 * big file is sparse: it takes a few kB of the disk.
 *
 *   big_test FOLDER    FOLDER is made, and the test's to write in */
#include <string.h>

#include "cpu.h"
#include "test_folder.h"

enum { VOCAB = 16, HOLE_ROWS = 65536, HOLE_COLS = 65600 }; /* their product is over 2^32 */

static void write_model(int big)
{
    test_weights w = { .fill = 58 };
    const char *config = test_config("llama", "");
    test_clear();
    test_write("config.json", config, strlen(config));
    if (big) {
        test_add(&w, "__pad__.hole", "U8", HOLE_ROWS, HOLE_COLS);
        w.hole = w.n_data;
    }
    test_add_model(&w, "llama", "F32");
    test_save(&w, "model.safetensors", 0);
}

static void compute(uint32_t cpu, float *logits)
{
    static const int32_t ids[] = { 1, 2, 3 };
    bc_engine *engine = NULL;
    bc_model *model = NULL;
    bc_session *session = NULL;
    bc_engine_params params;
    bc_session_params session_params;
    bc_error err = { 0, "" };
    bc_engine_params_init(&params);
    params.n_threads = 2;
    params.cpu_flags_mask = cpu;
    bc_session_params_init(&session_params);
    memset(logits, 0, VOCAB * sizeof *logits);
    int status = bc_engine_open(&engine, &params, &err);
    if (!status) status = bc_model_open(&model, engine, test_folder, &err);
    if (!status) status = bc_session_open(&session, model, &session_params, &err);
    if (!status) status = bc_session_forward(session, ids, 3, logits, 0, NULL, &err);
    test_check(status == BC_OK, __FILE__, __LINE__, err.message);
    bc_session_close(session);
    bc_model_close(model);
    bc_engine_close(engine);
}

int main(int argc, char **argv)
{
    static const uint32_t masks[] = { 0, BC_CPU_AVX2, BC_CPU_AVX2 | BC_CPU_AVX512, ~0u };
    enum { N_MASKS = sizeof masks / sizeof *masks };
    float small[N_MASKS][VOCAB], big[VOCAB];
    test_use_folder(argc, argv);
    write_model(0);
    for (int i = 0; i < N_MASKS; i++) compute(masks[i], small[i]);
    CHECK(small[0][0] != 0);
    write_model(1);
    for (int i = 0; i < N_MASKS; i++) {
        compute(masks[i], big);
        CHECK(memcmp(big, small[i], sizeof big) == 0);
    }
    test_clear();
    return test_summary();
}
