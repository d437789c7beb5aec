"""Random models for graphics cards: heads as real models have them, and the rest tiny."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.converted import write_converted, write_safetensors

from bitconverter.engine import Engine, UnsupportedError, open_backend

EMULATED = bool(os.environ.get("BC_CUDA_DRIVER"))
VOCAB = 90


@cache
def an_engine(cpu: str = "auto") -> Engine:
    return Engine(threads=2, cpu=cpu)


def engine_with_card() -> Engine:
    """Skips with the backend's own sentence where there is no card that works."""
    made = an_engine()
    try:
        open_backend(made)
    except UnsupportedError as error:
        pytest.skip(str(error))
    return made


@dataclass(frozen=True)
class Shape:
    """`heads` of `kv_heads`; `kind` is the model_type, `more` stands in config.json; values of a token: `hidden`, and
    `inner` in the MLP."""

    head_dim: int
    heads: int
    kv_heads: int = 1
    layers: int = 1
    kind: str = "llama"
    more: dict[str, Any] = field(default_factory=dict)
    hidden: int = 64
    inner: int = 96

    def __str__(self) -> str:
        return f"{self.kind}-d{self.head_dim}-{self.heads}of{self.kv_heads}"


def write_model(folder: Path, shape: Shape, planes: int | Mapping[str, int] = 2) -> Path:
    """A converted model. Attention looks at few positions (scores have a standard deviation of about 2) and what each
    layer adds is as large as what it gets: an error anywhere is seen in every logit."""
    source = folder / "source"
    source.mkdir(parents=True)
    config = {
        "architectures": ["ForCausalLM"], "model_type": shape.kind, "hidden_act": "silu", "hidden_size": shape.hidden,
        "intermediate_size": shape.inner, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": VOCAB,
        "torch_dtype": "float32", **shape.more,
    }  # fmt: skip
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_safetensors(source / "model.safetensors", _tensors(shape))
    write_converted(source, folder / "converted", planes, seed=7)
    return folder / "converted"


def _tensors(shape: Shape) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(11)

    def normal(rows: int, cols: int, size: float = 1.0) -> np.ndarray:
        return (draw.standard_normal((rows, cols)) * size / np.sqrt(cols)).astype(np.float32)

    def near_one(count: int) -> np.ndarray:
        return draw.uniform(0.7, 1.3, count).astype(np.float32)

    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden, inner = shape.hidden, shape.inner
    tensors = {
        "model.embed_tokens.weight": draw.standard_normal((VOCAB, hidden)).astype(np.float32),
        "model.norm.weight": near_one(hidden),
        "lm_head.weight": normal(VOCAB, hidden, 3.0),
    }
    for layer in range(shape.layers):
        parts = {
            "self_attn.q_proj": normal(q, hidden, 1.5), "self_attn.k_proj": normal(kv, hidden, 1.5),
            "self_attn.v_proj": normal(kv, hidden), "self_attn.o_proj": normal(hidden, q, 2.0),
            "mlp.gate_proj": normal(inner, hidden, 2.0), "mlp.up_proj": normal(inner, hidden, 2.0),
            "mlp.down_proj": normal(hidden, inner), "input_layernorm": near_one(hidden),
            "post_attention_layernorm": near_one(hidden),
        }  # fmt: skip
        if shape.kind == "qwen3":
            parts |= {f"self_attn.{name}_norm": 1.4 * near_one(shape.head_dim) for name in "qk"}
        tensors |= {f"model.layers.{layer}.{name}.weight": tensor for name, tensor in parts.items()}
        if shape.kind == "qwen2":
            sizes = {"q": q, "k": kv, "v": kv}
            biases = {f"{name}_proj": draw.standard_normal(n) / 2 for name, n in sizes.items()}
            tensors |= {
                f"model.layers.{layer}.self_attn.{name}.bias": bias.astype(np.float32)
                for name, bias in biases.items()
            }
    return tensors
