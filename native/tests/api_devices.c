/* api_devices.c - api_test's part for graphics cards: without a backend, and on the device of the one that is given. */
#include <stdio.h>
#include <string.h>

#include "api_test.h"

enum { LAYERS = 2, N_CTX = 8 };

static bc_kernel_time kernel_times[BC_MOST_KERNEL_TIMES];

/* What is no device must be said, whatever is asked about it. */
static void check_no_device(bc_engine *e, bc_model *model, int32_t device)
{
    bc_device_info info;
    bc_device_memory memory;
    bc_placement placement;
    bc_placement_params params;
    double speed;
    int32_t n = -7;
    bc_placement_params_init(&params);
    params.device = device;
    REFUSED(BC_ERR_INVALID, bc_engine_get_device(e, device, &info, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_get_memory(e, device, &memory, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_copy_speed(e, device, 1000, &speed, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_begin(e, device, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_end(e, device, kernel_times, &n, &err));
    CHECK(n == 0);
    REFUSED(BC_ERR_INVALID, bc_model_place(model, &params, &placement, &err));
    CHECK(bc_model_place(model, &params, &placement, NULL) == BC_ERR_INVALID);
}

static void check_null(bc_engine *e, bc_model *model)
{
    bc_device_info info;
    bc_device_memory memory;
    bc_placement placement;
    bc_placement_params params;
    double speed;
    int32_t n;
    bc_placement_params_init(NULL);
    bc_placement_params_init(&params);
    CHECK(params.n_layers == -1 && params.n_sessions == 1 && params.kv_type == BC_KV_F16);
    CHECK(params.device == 0 && params.n_ctx == 0 && params.memory_limit == 0);
    REFUSED(BC_ERR_INVALID, bc_engine_get_device(NULL, 0, &info, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_get_device(e, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_get_memory(NULL, 0, &memory, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_get_memory(e, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_copy_speed(NULL, 0, 1000, &speed, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_copy_speed(e, 0, 1000, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_copy_speed(e, 0, 0, &speed, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_copy_speed(e, 0, -1, &speed, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_begin(NULL, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_end(NULL, 0, kernel_times, &n, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_end(e, 0, NULL, &n, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_trace_end(e, 0, kernel_times, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_model_place(NULL, &params, &placement, &err));
    REFUSED(BC_ERR_INVALID, bc_model_place(model, NULL, &placement, &err));
    REFUSED(BC_ERR_INVALID, bc_model_place(model, &params, NULL, &err));
}

/* What is no backend library does not stay open, and another can be opened afterwards. */
static void check_open(bc_engine *e)
{
    static const char *const paths[] = { "", ".", "no such library モデル.so", "config.json" };
    int32_t n = -7;
    test_write("config.json", "{}", 2);
    REFUSED(BC_ERR_INVALID, bc_engine_open_backend(NULL, "x", &n, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_open_backend(e, NULL, &n, &err));
    REFUSED(BC_ERR_INVALID, bc_engine_open_backend(e, "x", NULL, &err));
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        n = -7;
        REFUSED(BC_ERR_UNSUPPORTED, bc_engine_open_backend(e, paths[i], &n, &err));
        CHECK(n == 0);
        CHECK(bc_engine_open_backend(e, paths[i], &n, NULL) == BC_ERR_UNSUPPORTED);
    }
}

/* Heads of `d` dimensions; the matrices are 8 x 8 or 4 x 8 and the like. */
static bc_model *open_model(bc_engine *e, int d)
{
    static const char *const names[][2] = {
        { "self_attn.q_proj", "q" },
        { "self_attn.k_proj", "k" },
        { "self_attn.v_proj", "k" },
        { "self_attn.o_proj", "o" },
        { "mlp.gate_proj", "m" },
        { "mlp.up_proj", "m" },
        { "mlp.down_proj", "o" },
        { "input_layernorm", "n" },
        { "post_attention_layernorm", "n" },
    };
    char changes[128], name[128];
    bc_model *model = NULL;
    test_weights w = { .omit = NULL };
    snprintf(changes, sizeof changes, "head_dim=%d;num_hidden_layers=%d;intermediate_size=%d", d,
             LAYERS, 2 * d);
    const char *text = test_config("llama", changes);
    test_write("config.json", text, strlen(text));
    test_add(&w, "model.embed_tokens.weight", "F32", 16, 8);
    test_add(&w, "lm_head.weight", "F32", 16, 8);
    test_add(&w, "model.norm.weight", "F32", 8, 0);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            const char kind = names[i][1][0];
            const int rows = kind == 'k' ? d : (kind == 'q' || kind == 'm' ? 2 * d : 8);
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, names[i][0]);
            test_add(&w, name, "F32", rows, kind == 'n' ? 0 : (kind == 'o' ? 2 * d : 8));
        }
    test_save(&w, "model.safetensors", 0);
    const int status = bc_model_open(&model, e, test_folder, &err);
    test_check(status == BC_OK, __FILE__, __LINE__, err.message);
    return model;
}

/* ---- with a backend ---- */

static void check_placement_params(bc_model *model)
{
    static const struct {
        int code;
        bc_placement_params params;
    } wrong[] = {
        { BC_ERR_INVALID, { .n_ctx = -1 } },
        { BC_ERR_INVALID, { .n_ctx = 65 } },
        { BC_ERR_INVALID, { .n_ctx = INT32_MAX } },
        { BC_ERR_INVALID, { .n_batch = -1 } },
        { BC_ERR_INVALID, { .n_batch = INT32_MAX } },
        { BC_ERR_INVALID, { .n_sessions = -1 } },
        { BC_ERR_INVALID, { .n_layers = -2 } },
        { BC_ERR_INVALID, { .n_layers = 0 } },
        { BC_ERR_INVALID, { .n_layers = -1, .n_sessions = INT32_MAX } },
        { BC_ERR_INVALID, { .memory_limit = -1 } },
        { BC_ERR_UNSUPPORTED, { .kv_type = BC_KV_I4 } },
        { BC_ERR_UNSUPPORTED, { .kv_type = -1 } },
        { BC_ERR_UNSUPPORTED, { .kv_type = INT32_MAX } },
        { BC_ERR_NOMEM, { .n_layers = -1, .memory_limit = 1 } },
    };
    bc_placement placement;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        REFUSED(wrong[i].code, bc_model_place(model, &wrong[i].params, &placement, &err));
        CHECK(placement.n_layers == 0 && placement.weight_bytes == 0);
    }
    CHECK(placement.all_bytes > placement.room_bytes); /* of the last: it was measured */
}

/* 1 of 2 layers, and the head, are there. */
static void check_placed(bc_model *model)
{
    static const float numbers[8 * 8];
    const int32_t tokens[] = { 1, 2, 3 };
    const bc_placement_params params = { .n_layers = 1, .n_ctx = N_CTX, .n_sessions = 2 };
    bc_placement placement;
    bc_session *s[2] = { NULL, NULL };
    bc_session_params sp = { .n_ctx = N_CTX, .kv_type = BC_KV_I4 };
    float logits[2 * 16];
    CHECK(bc_model_place(model, &params, &placement, &err) == BC_OK);
    CHECK(placement.n_layers == 1 && placement.head == 1);
    REFUSED(BC_ERR_INVALID, bc_model_place(model, &params, &placement, &err)); /* once */
    REFUSED(BC_ERR_INVALID, bc_model_set_gain(model, 1, 0, numbers, &err));    /* no planes */
    REFUSED(BC_ERR_UNSUPPORTED, bc_model_set_lora(model, 1, 0, numbers, numbers, 1, &err));
    CHECK(bc_model_set_lora(model, 0, 0, numbers, numbers, 1, &err) == BC_OK);
    CHECK(bc_model_set_lora(model, 0, 0, NULL, NULL, 0, &err) == BC_OK);
    REFUSED(BC_ERR_UNSUPPORTED, bc_session_open(&s[0], model, &sp, &err));
    CHECK(s[0] == NULL);
    for (int i = 0; i < 2; i++) {
        sp.kv_type = i ? BC_KV_I8 : BC_KV_F16;
        CHECK(bc_session_open(&s[i], model, &sp, &err) == BC_OK);
    }
    REFUSED(BC_ERR_UNSUPPORTED, bc_sessions_forward(s, tokens, 2, logits, NULL, &err));
    CHECK(bc_session_position(s[0]) == 0 && bc_session_position(s[1]) == 0);
    bc_cancel cancel = { .requested = 1 };
    REFUSED(BC_ERR_CANCELLED, bc_session_forward(s[0], tokens, 3, logits, 0, &cancel, &err));
    CHECK(bc_session_position(s[0]) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(bc_session_forward(s[i], tokens, 3, logits, 0, NULL, &err) == BC_OK);
        CHECK(bc_session_position(s[i]) == 3);
        bc_session_close(s[i]);
    }
}

static void check_backend(bc_engine *e, const char *library)
{
    bc_model *odd = open_model(e, 6), *model = open_model(e, 4);
    bc_placement_params params;
    bc_placement placement;
    bc_session *session = NULL;
    bc_session_params sp = { .n_ctx = N_CTX };
    bc_device_info info;
    bc_device_memory memory;
    double speed = -1;
    int32_t n = 0, again = 0;
    CHECK(bc_engine_open_backend(e, library, &n, &err) == BC_OK && n > 0);
    CHECK(bc_engine_open_backend(e, "another path", &again, &err) == BC_OK && again == n);
    check_no_device(e, model, n);
    check_no_device(e, model, -1);
    check_no_device(e, model, INT32_MAX);
    check_null(e, model);
    CHECK(bc_engine_get_device(e, 0, &info, &err) == BC_OK && info.name[0] && info.backend[0]);
    REFUSED(BC_ERR_NOMEM, bc_engine_copy_speed(e, 0, HUGE_SIZE, &speed, &err));
    CHECK(bc_engine_copy_speed(e, 0, 1000, &speed, &err) == BC_OK && speed >= 0);
    check_placement_params(model);
    bc_placement_params_init(&params);
    REFUSED(BC_ERR_UNSUPPORTED, bc_model_place(odd, &params, &placement, &err));
    CHECK(bc_session_open(&session, model, &sp, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_model_place(model, &params, &placement, &err));
    bc_session_close(session);
    check_placed(model);
    bc_model_close(model);
    bc_model_close(odd);
    REFUSED(BC_ERR_INVALID, bc_engine_trace_end(e, 0, kernel_times, &n, &err)); /* none is begun */
    CHECK(bc_engine_trace_begin(e, 0, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_engine_trace_begin(e, 0, &err));
    CHECK(bc_engine_trace_end(e, 0, kernel_times, &n, &err) == BC_OK && n == 0);
    CHECK(bc_engine_get_memory(e, 0, &memory, &err) == BC_OK && memory.used_bytes == 0);
    CHECK(memory.peak_bytes > 0 && memory.total_bytes >= memory.free_bytes);
    CHECK(bc_engine_trace_begin(e, 0, &err) == BC_OK); /* and it is left on: closing ends it */
}

void check_devices(const char *library)
{
    bc_engine *e = NULL; /* of its own: a backend stays open */
    bc_engine_params params;
    bc_engine_params_init(&params);
    params.n_threads = 1;
    CHECK(bc_engine_open(&e, &params, &err) == BC_OK);
    check_open(e);
    bc_model *model = open_model(e, 4);
    if (model) {
        check_null(e, model);
        check_no_device(e, model, 0);
        bc_model_close(model);
    }
    if (library) check_backend(e, library);
    bc_engine_close(e);
}
