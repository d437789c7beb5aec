/* api_test.c - every public function of bitconverter.h with wrong arguments: a code and a
 * sentence, never a crash; and what cancelling and failing leave behind.
 *
 *   api_test FOLDER [LIBRARY]    FOLDER is made, and the test's to write in; LIBRARY is libbitconverter_cuda, and there
 *                                is a card, or an emulated one */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api_test.h"

bc_error err;

static bc_engine *open_engine(void)
{
    bc_engine *engine = NULL;
    bc_engine_params params;
    bc_engine_params_init(&params);
    params.n_threads = 2;
    CHECK(bc_engine_open(&engine, &params, &err) == BC_OK);
    return engine;
}

static void check_engine(void)
{
    bc_engine *engine = (bc_engine *)&err; /* anything but NULL */
    bc_engine_params params;
    bc_engine_info info;
    CHECK(bc_abi_version() == BC_ABI_VERSION);
    bc_engine_params_init(NULL);
    bc_engine_params_init(&params);
    REFUSED(BC_ERR_INVALID, bc_engine_open(NULL, &params, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_open(&engine, NULL, &err));
    CHECK(engine == NULL);
    params.n_threads = -1;
    REFUSED(BC_ERR_INVALID, bc_engine_open(&engine, &params, &err));
    params.n_threads = 1 << 30;
    REFUSED(BC_ERR_INVALID, bc_engine_open(&engine, &params, &err));
    CHECK(bc_engine_open(&engine, &params, NULL) == BC_ERR_INVALID && engine == NULL);
    params.n_threads = 1;
    params.cpu_flags_mask = 0;
    CHECK(bc_engine_open(&engine, &params, NULL) == BC_OK);
    bc_engine_get_info(engine, &info);
    CHECK(info.n_threads == 1 && info.cpu_flags == 0 && strcmp(info.isa, "scalar") == 0);
    bc_engine_get_info(NULL, &info);
    bc_engine_get_info(engine, NULL);
    bc_engine_close(engine);
    bc_engine_close(NULL);
}

static void check_config(void)
{
    bc_model_info info;
    const char *text = test_config("llama", "");
    CHECK(bc_config_check(text, strlen(text), &info, NULL) == BC_OK && info.vocab_size == 16);
    REFUSED(BC_ERR_INVALID, bc_config_check(NULL, 0, &info, &err));
    REFUSED(BC_ERR_INVALID, bc_config_check(text, strlen(text), NULL, &err));
    REFUSED(BC_ERR_FORMAT, bc_config_check(text, strlen(text) - 1, &info, &err));
    REFUSED(BC_ERR_FORMAT, bc_config_check(text, 0, &info, &err));
    text = test_config("gemma3", "");
    REFUSED(BC_ERR_UNSUPPORTED, bc_config_check(text, strlen(text), &info, &err));
}

static bc_model *open_model(bc_engine *engine)
{
    bc_model *model = NULL;
    test_weights w = { .omit = NULL };
    const char *text = test_config("llama", "");
    test_write("config.json", text, strlen(text));
    test_add_model(&w, "llama", "F32");
    test_save(&w, "model.safetensors", 0);
    int status = bc_model_open(&model, engine, test_folder, &err);
    test_check(status == BC_OK, __FILE__, __LINE__, err.message);
    return model;
}

static void check_model(bc_engine *engine)
{
    bc_model *model = (bc_model *)&err;
    bc_model_info info;
    REFUSED(BC_ERR_INVALID, bc_model_open(NULL, engine, test_folder, &err));
    REFUSED(BC_ERR_INVALID, bc_model_open(&model, NULL, test_folder, &err));
    CHECK(model == NULL);
    model = (bc_model *)&err;
    REFUSED(BC_ERR_INVALID, bc_model_open(&model, engine, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_model_open(&model, engine, "", &err));
    CHECK(model == NULL);
    model = (bc_model *)&err;
    REFUSED(BC_ERR_IO, bc_model_open(&model, engine, "no such folder モデル", &err));
    CHECK(model == NULL);
    bc_model_close(NULL);
    bc_model_get_info(NULL, &info);
    CHECK(info.vocab_size == 0);
    bc_model_get_info(NULL, NULL);
}

/* The model is dense: it has no gains; low-rank additions it takes. */
static void check_adapters(bc_model *model)
{
    static const float numbers[12 * 8];
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(NULL, 0, 0, numbers, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(model, -1, 0, numbers, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(model, 99, 0, numbers, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(model, 0, 7, numbers, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(model, 0, 0, numbers, &err)); /* no planes */
    REFUSED(BC_ERR_INVALID, bc_model_set_lora(NULL, 0, 0, numbers, numbers, 1, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_lora(model, 0, -1, numbers, numbers, 1, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_lora(model, 0, 0, numbers, NULL, 1, &err));
    CHECK(bc_model_set_lora(model, 0, 0, numbers, numbers, 1, &err) == BC_OK);
    CHECK(bc_model_set_lora(model, 0, 0, NULL, NULL, 0, &err) == BC_OK);
}

static void check_session_params(bc_model *model)
{
    static const struct {
        int32_t n_ctx, n_batch, kv_type;
    } wrong[] = { { -1, 0, 0 },        { 65, 0, 0 }, { 0, -1, 0 },
                  { 0, INT32_MAX, 0 }, { 0, 0, -1 }, { 0, 0, 4 } };
    bc_session *session = (bc_session *)&err;
    bc_session_params params;
    bc_session_params_init(NULL);
    bc_session_params_init(&params);
    REFUSED(BC_ERR_INVALID, bc_session_open(NULL, model, &params, &err));
    REFUSED(BC_ERR_INVALID, bc_session_open(&session, NULL, &params, &err));
    REFUSED(BC_ERR_INVALID, bc_session_open(&session, model, NULL, &err));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        session = (bc_session *)&err;
        params.n_ctx = wrong[i].n_ctx;
        params.n_batch = wrong[i].n_batch;
        params.kv_type = wrong[i].kv_type;
        REFUSED(BC_ERR_INVALID, bc_session_open(&session, model, &params, &err));
        CHECK(session == NULL);
    }
    params = (bc_session_params){ 0, 0, BC_KV_I4 }; /* heads of 6 */
    REFUSED(BC_ERR_UNSUPPORTED, bc_session_open(&session, model, &params, &err));
    CHECK(session == NULL);
    bc_session_close(NULL);
    CHECK(bc_session_n_ctx(NULL) == 0 && bc_session_position(NULL) == 0);
    CHECK(bc_session_bytes(NULL) == 0);
}

static void check_forward(bc_session *s)
{
    const int32_t good[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, bad[] = { 1, 16 }, negative[] = { -1 };
    bc_cancel cancel = { .requested = 1 };
    bc_sampler_params sampling;
    float logits[16];
    int32_t token = -7;
    bc_sampler_params_init(&sampling);
    REFUSED(BC_ERR_INVALID, bc_session_sample(s, &sampling, &token, &err)); /* nothing ran yet */
    REFUSED(BC_ERR_INVALID, bc_session_forward(NULL, good, 1, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_session_forward(s, NULL, 1, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_session_forward(s, good, 0, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_session_forward(s, good, -1, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_session_forward(s, bad, 2, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_session_forward(s, negative, 1, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_CONTEXT, bc_session_forward(s, good, 9, NULL, 0, NULL, &err));
    REFUSED(BC_ERR_CANCELLED, bc_session_forward(s, good, 3, logits, 0, &cancel, &err));
    CHECK(bc_session_position(s) == 0);
    cancel.requested = 0;
    CHECK(bc_session_forward(s, good, 3, logits, 0, &cancel, &err) == BC_OK);
    CHECK(bc_session_position(s) == 3 && isfinite(logits[15]));
    REFUSED(BC_ERR_INVALID, bc_session_rewind(NULL, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_session_rewind(s, -1, &err));
    REFUSED(BC_ERR_INVALID, bc_session_rewind(s, 4, &err));
    REFUSED(BC_ERR_INVALID, bc_session_sample(NULL, &sampling, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_session_sample(s, NULL, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_session_sample(s, &sampling, NULL, &err));
    CHECK(bc_session_sample(s, &sampling, &token, &err) == BC_OK && token >= 0 && token < 16);
    CHECK(bc_session_rewind(s, 0, &err) == BC_OK && bc_session_position(s) == 0);
    REFUSED(BC_ERR_INVALID, bc_session_sample(s, &sampling, &token, &err));
    CHECK(bc_session_forward(s, good, 8, NULL, 0, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_CONTEXT, bc_session_forward(s, good, 1, NULL, 0, NULL, &err));
    CHECK(bc_session_position(s) == 8);
}

static void check_session(bc_engine *engine)
{
    bc_model *model = open_model(engine);
    bc_session *session = NULL;
    bc_session_params params;
    if (!model) return;
    check_adapters(model);
    check_session_params(model);
    for (int kv = 0; kv < 3; kv++) {
        bc_session_params_init(&params);
        params.n_ctx = 8;
        params.n_batch = 2;
        params.kv_type = kv;
        CHECK(bc_session_open(&session, model, &params, &err) == BC_OK);
        CHECK(bc_session_n_ctx(session) == 8 && bc_session_bytes(session) > 0);
        check_forward(session);
        bc_session_close(session);
    }
    bc_model_close(model);
}

static void check_sampler(void)
{
    static const bc_sampler_params wrong[] = {
        { -1, 1, 0, 1, 0, 0, 0 },   { NAN, 1, 0, 1, 0, 0, 0 },      { 1, 0, 0, 1, 0, 0, 0 },
        { 1, 1.5F, 0, 1, 0, 0, 0 }, { 1, 1, -0.1F, 1, 0, 0, 0 },    { 1, 1, 2, 1, 0, 0, 0 },
        { 1, 1, 0, 0, 0, 0, 0 },    { 1, 1, 0, INFINITY, 0, 0, 0 }, { 1, 1, 0, 1, -1, 0, 0 },
        { 1, 1, 0, 1, 0, -1, 0 },
    };
    float logits[4] = { 0, 1, 2, 3 };
    const int32_t outside[] = { -5, 4, INT32_MAX, INT32_MIN, 3 };
    bc_sampler_params p;
    int32_t token = -1;
    bc_sampler_params_init(NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, NULL, 0, &wrong[i], 0, &token, &err));
    bc_sampler_params_init(&p);
    p.repeat_penalty = 1.5F;
    REFUSED(BC_ERR_INVALID, bc_sample(NULL, 4, NULL, 0, &p, 0, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 0, NULL, 0, &p, 0, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, NULL, 1, &p, 0, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, outside, -1, &p, 0, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, NULL, 0, NULL, 0, &token, &err));
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, NULL, 0, &p, 0, NULL, &err));
    CHECK(bc_sample(logits, 4, outside, 5, &p, 0, &token, &err) == BC_OK); /* ignored */
    CHECK(token >= 0 && token < 4);
    logits[2] = NAN;
    REFUSED(BC_ERR_INVALID, bc_sample(logits, 4, NULL, 0, &p, 0, &token, &err));
}

static void check_logits(bc_engine *e)
{
    const float logits[8] = { 0, 1, 2, 3, 3, 2, 1, 0 };
    const int32_t targets[2] = { 0, 3 }, outside[2] = { 0, 4 }, negative[2] = { -1, 0 };
    double nll[2], kl[2];
    int32_t argmax[2];
    CHECK(bc_logits_score(e, logits, 2, 4, targets, nll, argmax, &err) == BC_OK);
    CHECK(argmax[0] == 3 && argmax[1] == 0 && nll[0] > 3 && isfinite(nll[1]));
    REFUSED(BC_ERR_INVALID, bc_logits_score(NULL, logits, 2, 4, targets, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, NULL, 2, 4, targets, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 4, NULL, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 4, targets, NULL, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 4, targets, nll, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, -1, 4, targets, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 0, targets, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 4, outside, nll, argmax, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_score(e, logits, 2, 4, negative, nll, argmax, &err));
    CHECK(bc_logits_divergence(e, logits, logits, 2, 4, kl, &err) == BC_OK && fabs(kl[0]) < 1e-12);
    REFUSED(BC_ERR_INVALID, bc_logits_divergence(NULL, logits, logits, 2, 4, kl, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_divergence(e, NULL, logits, 2, 4, kl, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_divergence(e, logits, NULL, 2, 4, kl, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_divergence(e, logits, logits, 2, 4, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_logits_divergence(e, logits, logits, 2, 0, kl, &err));
}

static void check_rotate(bc_engine *e)
{
    float x[12] = { 1, 2, 3 };
    CHECK(bc_rotate(e, x, 1, 12, 5, 0, &err) == BC_OK &&
          bc_rotate(e, x, 1, 12, 5, 1, &err) == BC_OK);
    CHECK(fabsf(x[1] - 2) < 1e-5F && fabsf(x[11]) < 1e-5F);
    REFUSED(BC_ERR_INVALID, bc_rotate(NULL, x, 1, 12, 5, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_rotate(e, NULL, 1, 12, 5, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_rotate(e, x, -1, 12, 5, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_rotate(e, x, 1, 0, 5, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_rotate(e, x, 1, HUGE_SIZE, 5, 0, &err));
}

static void check_quantize(bc_engine *e)
{
    float w[24] = { 1, -2, 3 }, scales[2], y[2];
    uint8_t planes[4 * 12];
    int8_t codes[24];
    double sums[2];
    bc_cancel cancel = { .requested = 1 };
#define PLANES(engine, weights, dtype, rows, cols, n, out, scale_out, sum_out, stop)               \
    bc_quantize_planes(engine, weights, dtype, rows, cols, 1, n, NULL, 0, out, scale_out, sum_out, \
                       stop, &err)
    CHECK(PLANES(e, w, BC_F32, 2, 12, 2, planes, scales, sums, NULL) == BC_OK && sums[1] > 0);
    REFUSED(BC_ERR_INVALID, PLANES(NULL, w, BC_F32, 2, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, NULL, BC_F32, 2, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, 3, 2, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, -1, 2, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 0, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, -12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, HUGE_SIZE, 12, 2, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, 12, 0, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, 12, 5, planes, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, 12, 2, NULL, scales, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, 12, 2, planes, NULL, sums, NULL));
    REFUSED(BC_ERR_INVALID, PLANES(e, w, BC_F32, 2, 12, 2, planes, scales, NULL, NULL));
    REFUSED(BC_ERR_CANCELLED, PLANES(e, w, BC_F32, 2, 12, 2, planes, scales, sums, &cancel));
#undef PLANES
    CHECK(bc_quantize_int8(e, w, BC_F32, 2, 12, 1, codes, scales, sums, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID,
            bc_quantize_int8(NULL, w, 0, 2, 12, 1, codes, scales, sums, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_quantize_int8(e, w, 0, 2, 12, 1, NULL, scales, sums, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_quantize_int8(e, w, 9, 2, 12, 1, codes, scales, sums, NULL, &err));
    REFUSED(BC_ERR_CANCELLED,
            bc_quantize_int8(e, w, 0, 2, 12, 1, codes, scales, sums, &cancel, &err));
    CHECK(bc_planes_unpack(e, planes, 2, 2, 12, codes, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_planes_unpack(NULL, planes, 2, 2, 12, codes, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_unpack(e, NULL, 2, 2, 12, codes, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_unpack(e, planes, 2, 2, 12, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_unpack(e, planes, 5, 2, 12, codes, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_unpack(e, planes, 2, -2, 12, codes, &err));
    CHECK(bc_planes_matmul(e, planes, scales, 2, 2, 12, 1, w, 1, y, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(NULL, planes, scales, 2, 2, 12, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, NULL, scales, 2, 2, 12, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, NULL, 2, 2, 12, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 0, 2, 12, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 2, 0, 12, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 2, 2, 0, 1, w, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 2, 2, 12, 1, NULL, 1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 2, 2, 12, 1, w, -1, y, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_matmul(e, planes, scales, 2, 2, 12, 1, w, 1, NULL, &err));
}

int main(int argc, char **argv)
{
    const char *library = argc == 3 ? argv[2] : NULL;
    test_use_folder(library ? 2 : argc, argv);
    check_engine();
    check_config();
    bc_engine *engine = open_engine();
    check_model(engine);
    check_session(engine);
    check_sampler();
    check_logits(engine);
    check_rotate(engine);
    check_quantize(engine);
    check_block(engine);
    check_calibrate(engine);
    check_gradients(engine);
    check_devices(library);
    bc_engine_close(engine);
    test_clear();
    return test_summary();
}
