/* test_folder.c - see test_folder.h. */
#include "test_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_os.h"

#define MAX_FILES 8

const char *test_folder = ".";
static int n_passed, n_failed;
static char written[MAX_FILES][64];
static int n_written;

/* ---- checks ---- */

void test_check(int ok, const char *file, int line, const char *what)
{
    n_passed += ok;
    n_failed += !ok;
    if (!ok) printf("%s:%d: not so: %s\n", file, line, what);
}

void test_check_error(const char *name, int status, const bc_error *err, int code, const char *part)
{
    int ok = status == code && err->code == code && strstr(err->message, part) != NULL;
    n_passed += ok;
    n_failed += !ok;
    if (!ok)
        printf("%s: expected %d with \"%s\", got %d (%s)\n", name, code, part, status,
               err->message);
}

int test_summary(void)
{
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed || !n_passed;
}

/* ---- files ---- */

void test_use_folder(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        exit(2);
    }
    test_folder = test_arguments(argc, argv)[1];
    if (test_make_folders(test_folder) == 0) return;
    fprintf(stderr, "cannot make the folder %s\n", test_folder);
    exit(2);
}

static void path_of(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", test_folder, name);
}

/* The first n_start bytes, `hole` bytes that are not written, the rest. */
static void write_file(const char *name, const uint8_t *bytes, size_t n, size_t n_start,
                       size_t hole)
{
    char path[2048];
    int known = 0;
    path_of(path, sizeof path, name);
    FILE *f = test_open_write(path);
    if (!f || fwrite(bytes, 1, n_start, f) != n_start || test_seek(f, n_start + hole) != 0 ||
        fwrite(bytes + n_start, 1, n - n_start, f) != n - n_start || fclose(f) != 0) {
        printf("cannot write %s\n", path);
        exit(2);
    }
    for (int i = 0; i < n_written; i++) known |= strcmp(written[i], name) == 0;
    if (!known && n_written < MAX_FILES)
        snprintf(written[n_written++], sizeof written[0], "%s", name);
}

void test_write(const char *name, const void *bytes, size_t n) { write_file(name, bytes, n, n, 0); }

void test_clear(void)
{
    char path[2048];
    while (n_written > 0) {
        path_of(path, sizeof path, written[--n_written]);
        test_remove(path);
    }
}

/* ---- config.json ---- */

static const char *const base[][2] = {
    { "hidden_act", "\"silu\"" },
    { "vocab_size", "16" },
    { "hidden_size", "8" },
    { "intermediate_size", "10" },
    { "num_hidden_layers", "1" },
    { "num_attention_heads", "2" },
    { "num_key_value_heads", "1" },
    { "head_dim", "6" },
    { "rms_norm_eps", "1e-5" },
    { "rope_theta", "10000.0" },
    { "max_position_embeddings", "64" },
};

/* The value that `changes` gives key, its length in *n; NULL: none. */
static const char *change_of(const char *changes, const char *key, size_t *n)
{
    size_t n_key = strlen(key);
    for (const char *c = changes; *c; c += *c == ';') {
        const char *value = c + n_key + 1;
        size_t length = strcspn(c, ";");
        if (length > n_key && strncmp(c, key, n_key) == 0 && c[n_key] == '=') {
            *n = length - n_key - 1;
            return value;
        }
        c += length;
    }
    return NULL;
}

static int is_base(const char *key, size_t n)
{
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
        if (strlen(base[i][0]) == n && strncmp(base[i][0], key, n) == 0) return 1;
    return 0;
}

const char *test_config(const char *family, const char *changes)
{
    static char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"model_type\": \"%s\"", family);
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++) {
        size_t n_value = strlen(base[i][1]);
        const char *value = change_of(changes, base[i][0], &n_value);
        if (value && *value == '-' && n_value == 1) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, ", \"%s\": %.*s", base[i][0], (int)n_value,
                              value ? value : base[i][1]);
    }
    for (const char *c = changes; *c; c += *c == ';') {
        size_t length = strcspn(c, ";"), n_key = strcspn(c, "=");
        if (!is_base(c, n_key))
            n += (size_t)snprintf(text + n, sizeof text - n, ", \"%.*s\": %.*s", (int)n_key, c,
                                  (int)(length - n_key - 1), c + n_key + 1);
        c += length;
    }
    snprintf(text + n, sizeof text - n, "}");
    return text;
}

/* ---- weights ---- */

static size_t element_bytes(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : strstr(dtype, "F16") ? 2 : 1;
}

static void add(test_weights *w, const char *name, const char *dtype, const char *shape,
                size_t bytes)
{
    if (w->omit && strstr(name, w->omit)) return;
    w->n_header += (size_t)snprintf(
        w->header + w->n_header, sizeof w->header - w->n_header,
        "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
        w->n_header ? ", " : "{", name, dtype, shape, w->n_data, w->n_data + bytes);
    w->n_data += bytes;
}

void test_add(test_weights *w, const char *name, const char *dtype, int rows, int cols)
{
    char shape[32];
    snprintf(shape, sizeof shape, cols ? "%d, %d" : "%d", rows, cols);
    add(w, name, dtype, shape, (size_t)rows * (size_t)(cols ? cols : 1) * element_bytes(dtype));
}

void test_add_planes(test_weights *w, const char *name, int n, int groups, int cols)
{
    char shape[48];
    snprintf(shape, sizeof shape, "%d, %d, %d", n, groups, cols);
    add(w, name, "U8", shape, (size_t)n * (size_t)groups * (size_t)cols);
}

void test_save(test_weights *w, const char *name, int cut)
{
    size_t n_header = w->n_header + 1, size = 8 + n_header + w->n_data - w->hole;
    uint8_t *bytes = malloc(size);
    if (!bytes) exit(2);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    memcpy(bytes + 8, w->header, w->n_header);
    bytes[8 + w->n_header] = '}';
    memset(bytes + 8 + n_header, w->fill ? w->fill : 60, w->n_data - w->hole);
    const size_t n = size - (size_t)cut;
    write_file(name, bytes, n, w->hole ? 8 + n_header : n, w->hole);
    free(bytes);
}

void test_add_model(test_weights *w, const char *family, const char *dtype)
{
    static const struct {
        const char *name;
        int rows, cols, qwen2_bias;
    } layer[] = {
        { "self_attn.q_proj", 12, 8, 1 }, { "self_attn.k_proj", 6, 8, 1 },
        { "self_attn.v_proj", 6, 8, 1 },  { "self_attn.o_proj", 8, 12, 0 },
        { "mlp.gate_proj", 10, 8, 0 },    { "mlp.up_proj", 10, 8, 0 },
        { "mlp.down_proj", 8, 10, 0 },
    };
    char name[128];
    test_add(w, "model.embed_tokens.weight", dtype, 16, 8);
    test_add(w, "lm_head.weight", dtype, 16, 8);
    test_add(w, "model.norm.weight", dtype, 8, 0);
    test_add(w, "model.layers.0.input_layernorm.weight", dtype, 8, 0);
    test_add(w, "model.layers.0.post_attention_layernorm.weight", dtype, 8, 0);
    for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", layer[i].name);
        test_add(w, name, dtype, layer[i].rows, layer[i].cols);
        snprintf(name, sizeof name, "model.layers.0.%s.bias", layer[i].name);
        if (layer[i].qwen2_bias && strcmp(family, "qwen2") == 0)
            test_add(w, name, dtype, layer[i].rows, 0);
    }
    if (strcmp(family, "qwen3") == 0) {
        test_add(w, "model.layers.0.self_attn.q_norm.weight", dtype, 6, 0);
        test_add(w, "model.layers.0.self_attn.k_norm.weight", dtype, 6, 0);
    }
}
