/* reader_config.c - bc_config_parse: what is refused and with which words, and what the keys of
 * each family come to. */
#include <math.h>
#include <string.h>

#include "model.h"
#include "reader_test.h"
#include "test_folder.h"

#define OURS                                                                                       \
    "quantization_config={\"quant_method\": \"ternary_planes\", \"format_version\": 1, "           \
    "\"rotation\": {\"kind\": \"permute_sign_hadamard\", \"seed\": "

static const struct refusal {
    const char *family, *changes;
    int code;
    const char *part;
} refusals[] = {
    { "gemma3", "", BC_ERR_UNSUPPORTED,
      "model_type \"gemma3\" is not supported; BitConverter runs" },
    { "llama", "architectures=5", BC_ERR_FORMAT, "must be a list of names" },
    { "llama", "architectures=[\"LlamaForSequenceClassification\"]", BC_ERR_UNSUPPORTED,
      "LlamaForSequenceClassification" },
    { "qwen2", "is_causal=false", BC_ERR_UNSUPPORTED, "is_causal" },
    { "llama", "hidden_act=\"gelu\"", BC_ERR_UNSUPPORTED, "hidden_act \"gelu\"" },
    { "llama", "hidden_act=-", BC_ERR_FORMAT, "hidden_act" },
    { "llama", "num_local_experts=8", BC_ERR_UNSUPPORTED, "mixture of experts" },
    { "llama", "hidden_size=-", BC_ERR_FORMAT, "no \"hidden_size\"" },
    { "llama", "vocab_size=-", BC_ERR_FORMAT, "no \"vocab_size\"" },
    { "llama", "hidden_size=0", BC_ERR_FORMAT, "\"hidden_size\" is 0" },
    { "llama", "hidden_size=65537", BC_ERR_FORMAT, "from 1 to 65536" },
    { "llama", "hidden_size=8.5", BC_ERR_FORMAT, "\"hidden_size\" is 8.5" },
    { "llama", "hidden_size=\"8\"", BC_ERR_FORMAT, "must be an integer" },
    { "llama", "num_hidden_layers=1025", BC_ERR_FORMAT, "from 1 to 1024" },
    { "llama", "vocab_size=9223372036854775808", BC_ERR_FORMAT, "\"vocab_size\"" },
    { "llama", "num_attention_heads=3;num_key_value_heads=2", BC_ERR_FORMAT, "not a multiple" },
    { "llama", "num_attention_heads=3;head_dim=-", BC_ERR_FORMAT, "there is no head_dim" },
    { "llama", "head_dim=7", BC_ERR_UNSUPPORTED, "even sizes" },
    { "llama", "head_dim=258", BC_ERR_FORMAT, "from 2 to 256" },
    { "llama", "hidden_size=1024;head_dim=-", BC_ERR_UNSUPPORTED, "heads of 512" },
    { "llama", "head_dim=256;num_attention_heads=1024", BC_ERR_UNSUPPORTED, "131072" },
    { "llama", "rms_norm_eps=0", BC_ERR_FORMAT, "rms_norm_eps" },
    { "llama", "rms_norm_eps=NaN", BC_ERR_FORMAT, "NaN and Infinity are not JSON" },
    { "llama", "rope_theta=Infinity", BC_ERR_FORMAT, "NaN and Infinity are not JSON" },
    { "llama", "rope_theta=1e999", BC_ERR_FORMAT, "too large" },
    { "llama", "rope_theta=-1", BC_ERR_FORMAT, "rope_theta" },
    { "llama", "tie_word_embeddings=1", BC_ERR_FORMAT, "must be true or false" },
    { "llama", "rope_scaling={\"type\": \"dynamic\", \"factor\": 2}", BC_ERR_UNSUPPORTED,
      "\"dynamic\" is not supported; BitConverter runs default, linear and llama3" },
    { "qwen2", "rope_scaling={\"rope_type\": \"yarn\", \"factor\": 4.0}", BC_ERR_UNSUPPORTED,
      "\"yarn\"" },
    { "llama", "rope_parameters={\"rope_type\": \"longrope\"}", BC_ERR_UNSUPPORTED, "longrope" },
    { "llama", "rope_scaling=7", BC_ERR_FORMAT, "not an object" },
    { "llama", "rope_scaling={\"type\": \"linear\"}", BC_ERR_FORMAT, "no \"factor\"" },
    { "llama", "rope_scaling={\"rope_type\": \"llama3\", \"factor\": 8}", BC_ERR_FORMAT,
      "no \"low_freq_factor\"" },
    { "llama",
      "rope_scaling={\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
      "\"high_freq_factor\": 4}",
      BC_ERR_FORMAT, "must be above low_freq_factor" },
    { "llama", "partial_rotary_factor=0.5", BC_ERR_UNSUPPORTED, "partial_rotary_factor 0.5" },
    { "llama", "rope_parameters={\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.25}",
      BC_ERR_UNSUPPORTED, "partial_rotary_factor 0.25" },
    { "qwen3", "rope_parameters={\"full_attention\": {\"rope_theta\": 1e4}}", BC_ERR_UNSUPPORTED,
      "per layer type" },
    { "mistral", "sliding_window=0", BC_ERR_FORMAT, "sliding_window" },
    { "mistral", "sliding_window=4;layer_types=[\"full_attention\"]", BC_ERR_UNSUPPORTED,
      "one window in all layers" },
    { "qwen3", "layer_types=[\"full_attention\", \"full_attention\"]", BC_ERR_FORMAT,
      "list the 1 layers" },
    { "qwen3", "layer_types=[\"chunked_attention\"]", BC_ERR_UNSUPPORTED, "chunked_attention" },
    { "qwen3", "layer_types=[\"sliding_attention\"]", BC_ERR_FORMAT, "no sliding window in use" },
    { "llama", "quantization_config={\"quant_method\": \"gptq\"}", BC_ERR_UNSUPPORTED,
      "quant_method \"gptq\"" },
    { "llama", "quantization_config=[]", BC_ERR_UNSUPPORTED, "not named" },
    { "llama", "quantization={\"bits\": 4}", BC_ERR_UNSUPPORTED, "already quantized" },
    { "llama", "quantization_config={\"quant_method\": \"ternary_planes\", \"format_version\": 2}",
      BC_ERR_UNSUPPORTED, "format_version 2" },
    { "llama",
      "quantization_config={\"quant_method\": \"ternary_planes\", \"format_version\": 1, "
      "\"rotation\": {\"kind\": \"none\", \"seed\": 1}}",
      BC_ERR_UNSUPPORTED, "\"none\"" },
    { "llama", OURS "-1}}", BC_ERR_FORMAT, "rotation.seed" },
    { "llama", OURS "9007199254740992}}", BC_ERR_FORMAT, "rotation.seed" },
    { "llama", "rope_theta=1, \"rope_theta\": 2", BC_ERR_FORMAT, "\"rope_theta\" twice" },
};

static const struct bad_json {
    const char *text, *part;
} bad_json[] = {
    { "", "the text ends" },
    { "{", "in quotes" },
    { "[1]", "not a JSON object" },
    { "{\"a\": 1,}", "in quotes" },
    { "{\"a\": [1 2]}", "expected ','" },
    { "{} {}", "more text" },
    { "{\"a\": 01}", "starts with 0" },
    { "{\"a\": 1.}", "after its point" },
    { "{\"a\": -}", "expected a value" },
    { "{\"a\": 1e}", "exponent" },
    { "{\"a\": \"\\ud800\"}", "surrogate" },
    { "{\"a\": \"\\u00\"}", "hexadecimal" },
    { "{\"a\": \"\\u0000\"}", "\\u0000" },
    { "{\"a\": \"\\x\"}", "unknown escape" },
    { "{\"a\": \"\xc0\xaf\"}", "not UTF-8" },
    { "{\"a\": \"\xed\xa0\x80\"}", "not UTF-8" },
    { "{\"a\": \"\t\"}", "control character" },
    { "{\"a\": \"open", "ends inside a string" },
    { "\xef\xbb\xbf\xef\xbb\xbf{}", "expected a value" }, /* one mark is passed over */
};

static void check_refusals(void)
{
    bc_config config;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        bc_error err = { 0, "" };
        const char *text = test_config(r->family, r->changes);
        test_check_error(text, bc_config_parse(&config, text, strlen(text), &err), &err, r->code,
                         r->part);
    }
    for (size_t i = 0; i < sizeof bad_json / sizeof bad_json[0]; i++) {
        bc_error err = { 0, "" };
        const char *text = bad_json[i].text;
        test_check_error(text, bc_config_parse(&config, text, strlen(text), &err), &err,
                         BC_ERR_FORMAT, bad_json[i].part);
    }
}

static void check_nesting(void)
{
    static char deep[200000];
    bc_config config;
    bc_error err = { 0, "" };
    memset(deep, '[', sizeof deep);
    test_check_error("nesting", bc_config_parse(&config, deep, sizeof deep, &err), &err,
                     BC_ERR_FORMAT, "nested more than 64");
}

static bc_config parse(const char *family, const char *changes)
{
    bc_config config;
    bc_error err = { 0, "" };
    const char *text = test_config(family, changes);
    test_check(bc_config_parse(&config, text, strlen(text), &err) == BC_OK, __FILE__, __LINE__,
               err.message);
    return config;
}

static void check_byte_order_mark(void)
{
    static char marked[16384];
    const char *text = test_config("llama", "");
    bc_config config;
    bc_error err = { 0, "" };
    const size_t length = strlen(text);
    test_check(length + 3 < sizeof marked, __FILE__, __LINE__, "the buffer is too small");
    memcpy(marked, "\xef\xbb\xbf", 3);
    memcpy(marked + 3, text, length);
    test_check(bc_config_parse(&config, marked, length + 3, &err) == BC_OK, __FILE__, __LINE__,
               err.message);
    bc_config_free(&config);
}

static int close_to(float a, double b) { return fabs((double)a - b) <= 1e-6 * fabs(b); }

static void check_llama(void)
{
    bc_config c = parse("llama", "num_key_value_heads=-;head_dim=-;rms_norm_eps=-;rope_theta=-;"
                                 "max_position_embeddings=-");
    CHECK(c.n_kv_heads == 2 && c.head_dim == 4 && c.max_positions == 2048 && !c.tied);
    CHECK(close_to(c.rms_eps, 1e-6) && close_to(c.rope_theta, 1e4) && c.rope_type == 0);
    CHECK(!c.attention_bias && !c.mlp_bias && !c.qk_norm && !c.ternary && c.sliding_window == 0);
    bc_config_free(&c);
    c = parse("llama",
              "rope_theta=500000;rope_scaling={\"rope_type\": \"llama3\", \"factor\": 8.0, "
              "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
              "\"original_max_position_embeddings\": 8192};tie_word_embeddings=true;"
              "attention_bias=true;mlp_bias=true;rms_norm_eps=9.999999747378752e-06");
    CHECK(c.rope_type == BC_ROPE_LLAMA3 && close_to(c.rope_theta, 5e5) && c.tied);
    CHECK(c.rope_factor == 8 && c.rope_low_freq == 1 && c.rope_high_freq == 4);
    CHECK(c.rope_original_positions == 8192 && c.attention_bias && c.mlp_bias);
    CHECK(c.rms_eps == 1e-5F);
    bc_config_free(&c);
    c = parse("llama", "rope_theta=-;rope_parameters={\"rope_theta\": 1e6, \"type\": \"linear\", "
                       "\"factor\": 2};" OURS "9007199254740991}}");
    CHECK(c.rope_type == BC_ROPE_LINEAR && close_to(c.rope_theta, 1e6) && c.rope_factor == 2);
    CHECK(c.ternary && c.rotation_seed == 9007199254740991U);
    bc_config_free(&c);
}

static void check_windows(void)
{
    bc_config c = parse("mistral", "num_key_value_heads=null;sliding_window=4096");
    CHECK(c.sliding_window == 4096 && c.layer_slides[0] && c.n_kv_heads == 2);
    bc_config_free(&c);
    c = parse("mistral", "sliding_window=null");
    CHECK(c.sliding_window == 0 && !c.layer_slides[0]);
    bc_config_free(&c);
    c = parse("qwen2", "sliding_window=32;use_sliding_window=false");
    CHECK(c.sliding_window == 0 && c.attention_bias && !c.layer_slides[0]);
    bc_config_free(&c);
    c = parse("qwen2", "num_hidden_layers=3;sliding_window=32;use_sliding_window=true;"
                       "max_window_layers=2");
    CHECK(c.sliding_window == 32 && !c.layer_slides[0] && !c.layer_slides[1] && c.layer_slides[2]);
    bc_config_free(&c);
    c = parse("qwen3", "num_hidden_layers=2;sliding_window=32;use_sliding_window=true;head_dim=-;"
                       "layer_types=[\"sliding_attention\", \"full_attention\"]");
    CHECK(c.layer_slides[0] && !c.layer_slides[1] && c.head_dim == 128 && c.qk_norm);
    bc_config_free(&c);
}

void reader_config_tests(void)
{
    check_refusals();
    check_nesting();
    check_byte_order_mark();
    check_llama();
    check_windows();
}
