"""The tensors a model of a given shape must have, by their Hugging Face names."""

from typing import Any

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
NORM = "model.norm.weight"

# The input that a matrix reads; matrices with the same one share its rotation and its calibration.
INPUTS = {
    "self_attn.q_proj": "attention", "self_attn.k_proj": "attention", "self_attn.v_proj": "attention",
    "self_attn.o_proj": "attention_output",
    "mlp.gate_proj": "mlp", "mlp.up_proj": "mlp",
    "mlp.down_proj": "mlp_hidden",
}  # fmt: skip


def layer_matrices(info: Any) -> dict[str, tuple[int, int]]:
    """{name inside the layer: (rows, cols)} of the linear maps of one decoder layer; `info` is an engine ModelInfo."""
    hidden, inner = info.hidden_size, info.intermediate_size
    queries, keys = info.n_heads * info.head_dim, info.n_kv_heads * info.head_dim
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def expected_tensors(info: Any) -> dict[str, tuple[int, ...]]:
    """{name: shape} of every tensor, in the order of a forward pass."""
    hidden = info.hidden_size
    tensors: dict[str, tuple[int, ...]] = {EMBEDDING: (info.vocab_size, hidden)}
    for k in range(info.n_layers):
        layer = f"model.layers.{k}."
        tensors[layer + "input_layernorm.weight"] = (hidden,)
        for name, shape in layer_matrices(info).items():
            if name == "mlp.gate_proj":
                tensors[layer + "post_attention_layernorm.weight"] = (hidden,)
            tensors[f"{layer}{name}.weight"] = shape
            if _has_bias(info, name):
                tensors[f"{layer}{name}.bias"] = shape[:1]
        if info.qk_norm:
            tensors[layer + "self_attn.q_norm.weight"] = (info.head_dim,)
            tensors[layer + "self_attn.k_norm.weight"] = (info.head_dim,)
    tensors[NORM] = (hidden,)
    if not info.tied:
        tensors[HEAD] = (info.vocab_size, hidden)
    return tensors


def is_harmless(name: str, tied: bool) -> bool:
    """Whether a tensor the model does not expect may be left out: computed tables, or the copy of a tied head."""
    return name.endswith((".rotary_emb.inv_freq", ".attn.masked_bias")) or (name == HEAD and tied)


def _has_bias(info: Any, name: str) -> bool:
    if name == "self_attn.o_proj":
        return bool(info.o_bias)
    return bool(info.qkv_bias if name.startswith("self_attn.") else info.mlp_bias)
