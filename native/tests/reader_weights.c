/* reader_weights.c - safetensors headers by themselves, then whole model folders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "reader_test.h"
#include "safetensors.h"
#include "test_folder.h"

/* ---- headers ---- */

static const struct header {
    const char *text;
    int n_data, delta; /* delta: the length field minus the text's length */
    const char *part;  /* of the error; NULL: it is good */
} headers[] = {
    { "{}", 0, 0, NULL },
    { "{\"__metadata__\": {\"format\": \"pt\"}}   ", 0, 0, NULL },
    { "{\"a\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4]}}", 4, 0, NULL },
    { "{\"a\": {\"dtype\": \"F4\", \"shape\": [4], \"data_offsets\": [0, 2]}}", 2, 0, NULL },
    { "{\"a\": {\"dtype\": \"I64\", \"shape\": [0, 5], \"data_offsets\": [0, 0]}}", 0, 0, NULL },
    { "{\"b\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [1, 2]}, "
      "\"a\": {\"dtype\": \"U8\", \"shape\": [1, 1, 1, 1], \"data_offsets\": [0, 1]}}",
      2, 0, NULL },
    { "{}", 0, 1000, "is cut short" },
    { "{}", 0, 100000001, "the format allows 100000000" },
    { "{}", 0, -2, "not valid JSON" },
    { "[]", 0, 0, "not a JSON object" },
    { "{}", 3, 0, "3 bytes after its last tensor" },
    { "{\"__metadata__\": {\"a\": 1}}", 0, 0, "no string" },
    { "{\"__metadata__\": 1}", 0, 0, "__metadata__" },
    { "{\"a\": 1}", 0, 0, "not an object" },
    { "{\"a\": {}}", 0, 0, "no dtype" },
    { "{\"a\": {\"dtype\": \"F99\"}}", 0, 0, "does not define" },
    { "{\"a\": {\"dtype\": \"U8\"}}", 0, 0, "no shape" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [-1]}}", 0, 0, "no list of sizes" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1.0]}}", 0, 0, "no list of sizes" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [4294967296, 4294967296]}}", 0, 0, "too large" },
    { "{\"a\": {\"dtype\": \"F4\", \"shape\": [1]}}", 0, 0, "inside a byte" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1]}}", 1, 0, "no data_offsets" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0]}}", 1, 0,
      "no data_offsets" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [-1, 0]}}", 1, 0,
      "0 <= begin" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [1, 0]}}", 1, 0,
      "0 <= begin" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [2], \"data_offsets\": [0, 2]}}", 1, 0,
      "ends behind" },
    { "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4, 0,
      "do not fit its dtype and shape" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}, "
      "\"b\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}}",
      1, 0, "an overlap or a hole" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}, "
      "\"b\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [2, 3]}}",
      3, 0, "an overlap or a hole" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [1, 2]}}", 2, 0,
      "an overlap or a hole" },
    { "{\"a\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}, \"a\": 1}", 1, 0,
      "\"a\" twice" },
};

/* From a buffer of the exact size, so that a sanitizer sees any byte read past it. */
static void check_header(const struct header *h)
{
    size_t n_text = strlen(h->text), size = 8 + n_text + (size_t)h->n_data;
    uint8_t *bytes = calloc(size, 1);
    bc_safetensors st;
    bc_error err = { 0, "" };
    if (!bytes) exit(2);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)((int64_t)n_text + h->delta) >> (8 * i));
    memcpy(bytes + 8, h->text, n_text);
    int status = bc_safetensors_parse(&st, bytes, size, "x.safetensors", &err);
    if (h->part) {
        test_check_error(h->text, status, &err, BC_ERR_FORMAT, h->part);
        CHECK(st.tensors == NULL && st.n_tensors == 0);
    } else {
        test_check(status == BC_OK, __FILE__, __LINE__, err.message);
    }
    bc_safetensors_free(&st);
    free(bytes);
}

void reader_weights_tests(void)
{
    const uint8_t few[7] = { 0 };
    bc_safetensors st;
    bc_error err = { 0, "" };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) check_header(&headers[i]);
    test_check_error("7 bytes", bc_safetensors_parse(&st, few, 7, "x", &err), &err, BC_ERR_FORMAT,
                     "cut short");
    test_check_error("empty", bc_safetensors_parse(&st, NULL, 0, "x", &err), &err, BC_ERR_FORMAT,
                     "0 bytes");
}

/* ---- folders ---- */

static bc_engine *engine;

static void write_config(const char *family, const char *changes)
{
    const char *text = test_config(family, changes);
    test_write("config.json", text, strlen(text));
}

/* Opens the test's folder: with `part`, it must fail so; else it must open. NULL if not open. */
static bc_model *open_folder(const char *name, int code, const char *part)
{
    bc_model *model = NULL;
    bc_error err = { 0, "" };
    int status = bc_model_open(&model, engine, test_folder, &err);
    if (part) {
        test_check_error(name, status, &err, code, part);
        CHECK(model == NULL);
    } else if (status != BC_OK) {
        test_check_error(name, status, &err, BC_OK, "");
    } else {
        test_check(1, __FILE__, __LINE__, name);
    }
    return model;
}

static void expect(const char *name, int code, const char *part)
{
    bc_model_close(open_folder(name, code, part));
}

/* A folder of one weight file. `extra` is one more tensor (name, dtype, rows, cols). */
struct extra {
    const char *name, *dtype;
    int rows, cols;
};

static void write_model(const char *family, const char *changes, const char *dtype,
                        const char *omit, const struct extra *extra, int cut)
{
    test_weights w = { .omit = omit };
    test_clear();
    write_config(family, changes);
    test_add_model(&w, family, dtype);
    w.omit = NULL;
    if (extra) test_add(&w, extra->name, extra->dtype, extra->rows, extra->cols);
    test_save(&w, "model.safetensors", cut);
}

static void check_families(void)
{
    static const char *const families[] = { "llama", "mistral", "qwen2", "qwen3" };
    static const char *const dtypes[] = { "F32", "F16", "BF16" };
    for (size_t i = 0; i < 12; i++) {
        bc_model_info info;
        write_model(families[i / 3], "", dtypes[i % 3], NULL, NULL, 0);
        bc_model *model = open_folder(families[i / 3], BC_OK, NULL);
        bc_model_get_info(model, &info);
        const int element = i % 3 ? 2 : 4, linear = 12 * 8 + 2 * 6 * 8 + 8 * 12 + 3 * 80;
        CHECK(strcmp(info.family, families[i / 3]) == 0 && info.head_dim == 6);
        CHECK(info.linear_weights == linear && info.linear_bytes == linear * element);
        CHECK(info.decode_bytes > info.linear_bytes && info.mapped_bytes > info.decode_bytes);
        CHECK(info.qk_norm == (i / 3 == 3) && info.qkv_bias == (i / 3 == 2) && !info.o_bias);
        bc_model_close(model);
    }
}

static void check_tensors(void)
{
    static const struct extra bias = { "model.layers.0.mlp.up_proj.bias", "F32", 10, 0 };
    static const struct extra q_norm = { "model.layers.0.self_attn.q_norm.weight", "F32", 6, 0 };
    static const struct extra other = { "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 3,
                                        0 };
    static const struct extra planes = { "model.layers.0.mlp.up_proj.planes", "U8", 2, 16 };
    static const struct extra wide = { "model.layers.0.mlp.up_proj.weight", "F32", 10, 7 };
    static const struct extra typed = { "model.layers.0.mlp.up_proj.weight", "U8", 10, 8 };
    static const struct extra norm = { "model.norm.weight", "F32", 9, 0 };
    write_model("llama", "", "F32", "lm_head", NULL, 0);
    expect("no head", BC_ERR_FORMAT, "no tensor lm_head.weight");
    write_model("llama", "tie_word_embeddings=true", "F32", "lm_head", NULL, 0);
    expect("tied", BC_OK, NULL);
    write_model("llama", "tie_word_embeddings=true", "F32", NULL, NULL, 0);
    expect("tied, with a head", BC_OK, NULL);
    write_model("llama", "", "F32", "o_proj", NULL, 0);
    expect("no o_proj", BC_ERR_FORMAT, "no tensor model.layers.0.self_attn.o_proj.weight");
    write_model("llama", "num_hidden_layers=2", "F32", NULL, NULL, 0);
    expect("a layer short", BC_ERR_FORMAT, "no tensor model.layers.1.");
    write_model("llama", "attention_bias=true", "F32", NULL, NULL, 0);
    expect("bias missing", BC_ERR_FORMAT, "self_attn.q_proj.bias");
    write_model("llama", "", "F32", NULL, &bias, 0);
    expect("bias unexpected", BC_ERR_UNSUPPORTED, "up_proj.bias");
    write_model("llama", "", "F32", NULL, &q_norm, 0);
    expect("q_norm unexpected", BC_ERR_UNSUPPORTED, "q_norm.weight");
    write_model("llama", "", "F32", NULL, &other, 0);
    expect("an unrelated tensor", BC_OK, NULL);
    write_model("llama", "", "F32", NULL, &planes, 0);
    expect("two forms", BC_ERR_FORMAT, "more than one form");
    write_model("llama", "", "F32", "up_proj", &planes, 0);
    expect("planes, config of a source", BC_ERR_FORMAT, "no quantization_config");
    write_model("llama", "", "F32", "up_proj", &wide, 0);
    expect("a matrix of another shape", BC_ERR_FORMAT, "is F32 [10, 7], but config.json needs");
    write_model("llama", "", "F32", "up_proj", &typed, 0);
    expect("a matrix of another type", BC_ERR_FORMAT, "is U8 [10, 8], but config.json needs");
    write_model("llama", "", "F32", "model.norm", &norm, 0);
    expect("a norm of another size", BC_ERR_FORMAT, "model.norm.weight is F32 [9]");
    write_model("llama", "", "F32", NULL, NULL, 1);
    expect("one byte short", BC_ERR_FORMAT, "ends behind the end of the file");
    write_model("llama", "", "F32", NULL, NULL, 3000);
    expect("header short", BC_ERR_FORMAT, "cut short");
    test_write("model.safetensors", "", 0);
    expect("empty", BC_ERR_FORMAT, "0 bytes");
}

static void check_folder(void)
{
    test_clear();
    expect("empty folder", BC_ERR_IO, "has no config.json");
    write_config("llama", "");
    expect("no weights", BC_ERR_IO, "holds neither model.safetensors nor");
    write_config("llama", "hidden_size=-");
    expect("config first", BC_ERR_FORMAT, "no \"hidden_size\"");
}

static void write_index(const char *text)
{
    test_write("model.safetensors.index.json", text, strlen(text));
}

/* Two shards: "a" holds what `omit_a` leaves of the model, "b" what `omit_b` leaves. */
static void check_shards(void)
{
    static const char all[] = "{\"weight_map\": {\"lm_head.weight\": \"b.safetensors\", "
                              "\"model.norm.weight\": \"a.safetensors\"}}";
    test_weights a = { .omit = "lm_head" }, b = { .omit = "model." };
    test_clear();
    write_config("llama", "");
    test_add_model(&a, "llama", "BF16");
    test_add_model(&b, "llama", "BF16");
    test_save(&a, "a.safetensors", 0);
    write_index(all);
    expect("shard missing", BC_ERR_IO, "b.safetensors");
    test_save(&b, "b.safetensors", 0);
    expect("both shards", BC_OK, NULL);
    write_index("\xef\xbb\xbf{\"weight_map\": {\"lm_head.weight\": \"b.safetensors\", "
                "\"model.norm.weight\": \"a.safetensors\"}}");
    expect("index with a byte order mark", BC_OK, NULL);
    write_index("{\"weight_map\": {\"lm_head.weight\": \"a.safetensors\", "
                "\"model.norm.weight\": \"b.safetensors\"}}");
    expect("index wrong", BC_ERR_FORMAT, "but it is not there");
    write_index("{\"weight_map\": {\"other.weight\": \"a.safetensors\"}}");
    expect("index names no tensor", BC_ERR_FORMAT, "other.weight");
    write_index("{\"weight_map\": {\"lm_head.weight\": \"../b.safetensors\"}}");
    expect("path traversal", BC_ERR_FORMAT, "no plain *.safetensors file name");
    write_index("{\"weight_map\": {\"lm_head.weight\": \"C:b.safetensors\"}}");
    expect("a drive", BC_ERR_FORMAT, "no plain *.safetensors file name");
    write_index("{\"weight_map\": {\"lm_head.weight\": \"config.json\"}}");
    expect("another file", BC_ERR_FORMAT, "no plain *.safetensors file name");
    write_index("{\"weight_map\": {\"lm_head.weight\": 1}}");
    expect("no name", BC_ERR_FORMAT, "no plain *.safetensors file name");
    write_index("{\"weight_map\": {}}");
    expect("no entries", BC_ERR_FORMAT, "no \"weight_map\"");
    b.omit = NULL;
    test_add(&b, "model.norm.weight", "BF16", 8, 0);
    test_save(&b, "b.safetensors", 0);
    write_index(all);
    expect("one tensor twice", BC_ERR_FORMAT, "\"model.norm.weight\" is in both");
}

void reader_model_tests(void)
{
    bc_engine_params params;
    bc_engine_params_init(&params);
    params.n_threads = 1;
    CHECK(bc_engine_open(&engine, &params, NULL) == BC_OK);
    check_families();
    check_tensors();
    check_folder();
    check_shards();
    bc_engine_close(engine);
}
