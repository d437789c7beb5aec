/* fuzz_model.c - any bytes as a model folder: opening it, and if it opens running it, must end
 * without a crash, a sanitizer's report or a leak.
 *
 * The input is a text that lists the folder's files, so that mutations stay meaningful:
 *
 *     @@ config.json
 *     {"model_type": "llama", ...}
 *     @@ model.safetensors DATA FILL DELTA
 *     {"model.norm.weight": {"dtype": "F32", ...}}
 *
 * A weight file becomes its 8-byte header length (the text's, plus DELTA), the text, and DATA
 * bytes of value FILL. DATA "r" writes the data_offsets anew from the shapes, so that a changed
 * shape still is a whole file. The functions of
 * platform.h that open files are replaced here by the linker (--wrap) and serve this folder
 * from exactly sized memory, where AddressSanitizer sees every byte read past an end. */
#include <stdio.h>
#include <stdlib.h>

#include "bitconverter.h"
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- one input ---- */

static void fail(const char *what, const bc_error *err)
{
    fprintf(stderr, "fuzz_model: %s (%d %s)\n", what, (int)err->code, err->message);
    abort();
}

/* BC_FUZZ_CPU: the mask of bc_cpu_flag bits, to fuzz the kernels of an older CPU. */
static bc_engine *engine(void)
{
    static bc_engine *the_engine;
    bc_engine_params params;
    bc_error err = { 0, "" };
    const char *mask = getenv("BC_FUZZ_CPU");
    if (the_engine) return the_engine;
    bc_engine_params_init(&params);
    params.n_threads = 1;
    if (mask) params.cpu_flags_mask = (uint32_t)strtoul(mask, NULL, 10);
    if (bc_engine_open(&the_engine, &params, &err) != BC_OK) fail("no engine", &err);
    return the_engine;
}

static void run_model(bc_model *model, size_t seed)
{
    bc_model_info info;
    bc_session_params params;
    bc_session *session = NULL;
    bc_error err = { 0, "" };
    bc_model_get_info(model, &info);
    bc_session_params_init(&params);
    params.n_ctx = 6;
    params.n_batch = 1 + (int32_t)(seed % 3);
    params.kv_type = (int32_t)(seed / 3 % 3);
    if (bc_session_open(&session, model, &params, &err) != BC_OK) {
        if (err.message[0] == 0) fail("bc_session_open failed without a sentence", &err);
        return;
    }
    const int32_t tokens[] = { 0, info.vocab_size - 1, info.vocab_size / 2 };
    float *logits = malloc((size_t)info.vocab_size * sizeof *logits * 3);
    bc_sampler_params sampling;
    int32_t token = -1;
    bc_sampler_params_init(&sampling);
    if (logits) {
        if (bc_session_forward(session, tokens, 3, logits, 1, NULL, &err) != BC_OK ||
            bc_session_rewind(session, 2, &err) != BC_OK ||
            bc_session_forward(session, tokens, 1, NULL, 0, NULL, &err) != BC_OK)
            fail("the forward pass of a model that opened failed", &err);
        if (bc_session_sample(session, &sampling, &token, &err) == BC_OK &&
            (token < 0 || token >= info.vocab_size))
            fail("a token outside the vocabulary was sampled", &err);
    }
    free(logits);
    bc_session_close(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bc_model *model = NULL;
    bc_error err = { 0, "" };
    bc_fuzz_open_folder(data, size);
    int status = bc_model_open(&model, engine(), BC_FUZZ_FOLDER, &err);
    if (status != BC_OK && (model || err.code != status || err.message[0] == 0))
        fail("a failed bc_model_open left a model or no sentence", &err);
    if (getenv("BC_FUZZ_SAY")) /* what became of the input */
        printf("%s\n", status == BC_OK ? "opened" : err.message);
    if (status == BC_OK) run_model(model, size);
    bc_model_close(model);
    bc_fuzz_close_folder();
    return 0;
}
