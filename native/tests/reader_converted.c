/* reader_converted.c - folders in the converted form of docs/FORMAT.md: what opens, and each way
 * in which the stored tensors can break the format. */
#include <string.h>

#include "model.h"
#include "reader_test.h"
#include "test_folder.h"

#define OURS                                                                                       \
    "quantization_config={\"quant_method\": \"ternary_planes\", \"format_version\": 1, "           \
    "\"rotation\": {\"kind\": \"permute_sign_hadamard\", \"seed\": 3}}"
#define UP "model.layers.0.mlp.up_proj"

static bc_engine *engine;

/* One matrix in int8 or planes form; the rest is dense. */
static const struct converted {
    const char *name;
    int n_planes, groups, cols; /* n_planes 0: an I8 matrix of groups x cols */
    const char *scales;         /* dtype; NULL: none stored */
    int n_scales, fill;
    const char *part; /* of the error; NULL: it opens */
} cases[] = {
    { "one plane", 1, 2, 8, "F16", 10, 0, NULL },
    { "four planes, F32 scales", 4, 2, 8, "F32", 10, 0, NULL },
    { "int8", 0, 10, 8, "F16", 10, 0, NULL },
    { "five planes", 5, 2, 8, "F16", 10, 0, "is U8 [5, 2, 8], but config.json needs U8 [1 to 4" },
    { "a group too few", 2, 1, 8, "F16", 10, 0, "is U8 [2, 1, 8]" },
    { "a group too many", 2, 3, 8, "F16", 10, 0, "is U8 [2, 3, 8]" },
    { "a column too few", 2, 2, 7, "F16", 10, 0, "is U8 [2, 2, 7]" },
    { "int8 of another shape", 0, 8, 10, "F16", 10, 0, "is I8 [8, 10]" },
    { "no scales", 2, 2, 8, NULL, 0, 0, "no tensor " UP ".scales" },
    { "BF16 scales", 2, 2, 8, "BF16", 10, 0, "needs F16 or F32" },
    { "U8 scales", 2, 2, 8, "U8", 10, 0, "is U8 [10]" },
    { "a scale too few", 2, 2, 8, "F16", 9, 0, "is F16 [9]" },
    { "scales that are NaN", 2, 2, 8, "F16", 10, 255, "not finite" },
    { "F32 scales that are NaN", 0, 10, 8, "F32", 10, 255, "not finite" },
};

static int open_case(const struct converted *c, bc_model **model, bc_error *err)
{
    test_weights w = { .omit = "up_proj" }, up = { .fill = c->fill };
    const char *config = test_config("llama", OURS);
    static const char index[] = "{\"weight_map\": {\"model.norm.weight\": \"a.safetensors\", "
                                "\"tag\": \"b.safetensors\"}}";
    test_clear();
    test_write("config.json", config, strlen(config));
    test_write("model.safetensors.index.json", index, sizeof index - 1);
    test_add_model(&w, "llama", "F32");
    test_save(&w, "a.safetensors", 0);
    test_add(&up, "tag", "U8", 1, 0); /* an odd start: what follows is not aligned */
    if (c->n_planes)
        test_add_planes(&up, UP ".planes", c->n_planes, c->groups, c->cols);
    else
        test_add(&up, UP ".int8", "I8", c->groups, c->cols);
    if (c->scales) test_add(&up, UP ".scales", c->scales, c->n_scales, 0);
    test_save(&up, "b.safetensors", 0);
    return bc_model_open(model, engine, test_folder, err);
}

static void check_case(const struct converted *c)
{
    bc_model *model = NULL;
    bc_error err = { 0, "" };
    int status = open_case(c, &model, &err);
    if (c->part) {
        test_check_error(c->name, status, &err, BC_ERR_FORMAT, c->part);
        bc_model_close(model);
        return;
    }
    test_check(status == BC_OK, __FILE__, __LINE__, err.message);
    if (!model) return;
    const bc_weight *up = &model->layers[0].up;
    CHECK(up->kind == (c->n_planes ? BC_WEIGHT_PLANES : BC_WEIGHT_INT8));
    CHECK(up->rows == 10 && up->cols == 8 && up->scales && up->rotation->cols == 8);
    CHECK(!c->n_planes || (up->n_planes == c->n_planes && up->plane_stride == 16));
    CHECK(model->n_rotations == 1 && model->info.ternary);
    bc_model_close(model);
}

void reader_converted_tests(void)
{
    bc_engine_params params;
    bc_engine_params_init(&params);
    params.n_threads = 1;
    CHECK(bc_engine_open(&engine, &params, NULL) == BC_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_case(&cases[i]);
    bc_engine_close(engine);
}
