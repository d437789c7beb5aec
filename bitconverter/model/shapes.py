"""The config.json of well-known Llama models, for models of their shape with random weights."""

from typing import Any

# hidden, intermediate, layers, query heads, key heads, vocabulary, tied, positions: of SmolLM2-135M, TinyLlama-1.1B,
# Llama 3.2 3B, Llama 3.1 8B and Llama 3.1 70B, as their config.json files have them
_SIZES = {
    "135m": (576, 1536, 30, 9, 3, 49152, True, 8192),
    "1.1b": (2048, 5632, 22, 32, 4, 32000, False, 2048),
    "3b": (3072, 8192, 28, 24, 8, 128256, True, 8192),
    "8b": (4096, 14336, 32, 32, 8, 128256, False, 8192),
    "70b": (8192, 28672, 80, 64, 8, 128256, False, 8192),
}
SHAPES = tuple(_SIZES)


def config_of(shape: str, layers: int | None = None) -> dict[str, Any]:
    """config.json of one of SHAPES, with another number of layers if given; at most 8192 positions."""
    hidden, inner, own_layers, heads, kv_heads, vocab, tied, positions = _SIZES[shape]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": own_layers if layers is None else layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": tied,
        "vocab_size": vocab,
        "torch_dtype": "bfloat16",
    }
