"""config.json from a GGUF file's metadata, and the Hugging Face names of its tensors.

The keys are those that llama.cpp's converter writes (github.com/ggml-org/ggml, docs/gguf.md).
"""

import math
import re
from typing import Any

import numpy as np

from bitconverter.format.errors import UserError
from bitconverter.format.gguf_file import GgufFile

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
ROPE_FREQS = "rope_freqs.weight"
_GLOBAL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_rot_embd": "self_attn.rotary_emb",
}  # fmt: skip


def hugging_face_name(name: str) -> str:
    """model.layers.3.self_attn.q_proj.weight for blk.3.attn_q.weight; names unknown here stay as they are."""
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if found and found[2] == "attn_rot_embd":
        return f"model.layers.{found[1]}.self_attn.rotary_emb.inv_freq"
    if found and found[2] in _IN_LAYER:
        return f"model.layers.{found[1]}.{_IN_LAYER[found[2]]}.{found[3]}"
    return _GLOBAL.get(name, name)


class Metadata:
    """Typed access to the keys; every error names the key."""

    def __init__(self, file: GgufFile) -> None:
        self._values = file.metadata
        self._file = file.path.name
        self.architecture = str(self._values.get("general.architecture", ""))

    def number(self, key: str, default: float | None = None) -> Any:
        """An int or a float; an array of equal numbers (one per layer) counts as one. "{arch}" is filled in."""
        key = key.replace("{arch}", self.architecture)
        value = self._values.get(key, default)
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            what = "differs from layer to layer" if isinstance(value, list) else "is missing or not a number"
            raise UserError(
                "gguf-metadata",
                f"{self._file}: {key} {what}, so this model cannot be rebuilt. Choose the original model instead.",
                file=self._file, key=key,
            )  # fmt: skip
        return value

    def optional(self, key: str) -> Any:
        """A number, or None when the key is absent."""
        return self.number(key) if key.replace("{arch}", self.architecture) in self._values else None

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key.replace("{arch}", self.architecture), default)


def build_config(file: GgufFile) -> dict[str, Any]:
    """The config.json of the model in `file`.

    For an architecture or an option that the engine does not run it names that, for the engine to refuse.
    Raises UserError for missing metadata and for rotary factors that follow no known rule.
    """
    meta = Metadata(file)
    arch = meta.architecture
    if arch not in ("llama", "qwen2", "qwen3"):
        return {"model_type": arch}
    window = meta.optional("{arch}.attention.sliding_window") if arch == "llama" else None
    model_type = "mistral" if window else arch
    heads = meta.number("{arch}.attention.head_count")
    hidden = meta.number("{arch}.embedding_length")
    head_dim = meta.number("{arch}.attention.key_length", hidden // heads if heads else 0)
    config: dict[str, Any] = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": meta.number("{arch}.feed_forward_length"),
        "num_hidden_layers": meta.number("{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": meta.number("{arch}.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": meta.number("{arch}.context_length"),
        "rms_norm_eps": meta.number("{arch}.attention.layer_norm_rms_epsilon"),
        "rope_theta": meta.number("{arch}.rope.freq_base", 10000.0),
        "rope_scaling": None,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": _vocab_size(file),
        "torch_dtype": "float16",
    }
    if model_type in ("llama", "qwen3"):
        config["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    if model_type == "llama":
        config["mlp_bias"] = "blk.0.ffn_up.bias" in file.tensors
    if model_type == "mistral":
        config["sliding_window"] = window
    if meta.get("{arch}.expert_count"):
        config["num_local_experts"] = meta.number("{arch}.expert_count")
    for name in ("bos", "eos", "pad"):
        token = meta.get(f"tokenizer.ggml.{'padding' if name == 'pad' else name}_token_id")
        if token is not None:
            config[f"{name}_token_id"] = token
    _check_sizes(meta, head_dim)
    config["rope_scaling"] = _rope_scaling(file, meta, config)
    return config


def _check_sizes(meta: Metadata, head_dim: int) -> None:
    for key in ("{arch}.attention.value_length", "{arch}.rope.dimension_count"):
        if meta.number(key, head_dim) != head_dim:
            raise UserError(
                "gguf-metadata",
                f"{key.replace('{arch}', meta.architecture)} is {meta.number(key)} where heads have {head_dim} values; "
                "such a model is not supported.",
                file=meta._file, key=key,
            )  # fmt: skip


def _vocab_size(file: GgufFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    return embedding.shape[0] if embedding is not None else 0


def _rope_scaling(file: GgufFile, meta: Metadata, config: dict[str, Any]) -> dict[str, Any] | None:
    kind = meta.get("{arch}.rope.scaling.type", "none")
    if ROPE_FREQS in file.tensors:
        factors = (
            file.read_rows(ROPE_FREQS, 0, file.tensors[ROPE_FREQS].shape[0]).astype(np.float64).reshape(-1)
        )
        return llama3_scaling(
            factors, config["rope_theta"], config["head_dim"], _original_length(meta, config)
        )
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": float(meta.number("{arch}.rope.scaling.factor", 1.0))}
    if kind == "linear":
        return scaling
    return scaling | {"original_max_position_embeddings": _original_length(meta, config)}


def _original_length(meta: Metadata, config: dict[str, Any]) -> int:
    return int(meta.number("{arch}.rope.scaling.original_context_length", config["max_position_embeddings"]))


def llama3_scaling(factors: np.ndarray, theta: float, head_dim: int, original: int) -> dict[str, Any] | None:
    """The llama3 rope_scaling whose divisors of the rotary frequencies are `factors` [head_dim / 2].

    llama.cpp stores the divisors, not the four numbers they came from. The rule (transformers,
    modeling_rope_utils.py, llama3): 1 below the wave length original/high, `factor` above original/low,
    between them 1 / ((1 - s) / factor + s) with s linear in 1/wave length. Multiplying original, low and high
    by one number changes nothing, so low = 1 is chosen. Raises UserError when no such rule fits.
    """
    if (
        theta <= 0
        or factors.shape != (head_dim // 2,)
        or not np.isfinite(factors).all()
        or (factors < 1 - 1e-4).any()
    ):
        raise _unknown_factors()
    if np.allclose(factors, 1):
        return None
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    factor = float(f"{factors.max():.6g}")
    candidates = [(8192, 1.0, 4.0), (original, 1.0, 4.0), *_fitted(factors, wavelengths, factor)]
    for positions, low, high in candidates:
        if np.allclose(_llama3_factors(wavelengths, factor, low, high, positions), factors, rtol=1e-3):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": positions,
            }
    raise _unknown_factors()


def _fitted(factors: np.ndarray, wavelengths: np.ndarray, factor: float) -> list[tuple[int, float, float]]:
    """(original, low = 1, high) from the frequencies that lie between the two limits."""
    between = (factors > 1 + 1e-3) & (factors < factor * (1 - 1e-3))
    if between.sum() < 2:
        return []
    s = (1 / factors[between] - 1 / factor) / (1 - 1 / factor)
    slope, offset = np.polyfit(1 / wavelengths[between], s, 1)  # original/(high - low), -low/(high - low)
    if slope <= 0 or offset >= 0:
        return []
    return [(round(-slope / offset), 1.0, float(f"{1 - 1 / offset:.4g}"))]


def _llama3_factors(
    wavelengths: np.ndarray, factor: float, low: float, high: float, original: int
) -> np.ndarray:
    s = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - s) / factor + s))


def _unknown_factors() -> UserError:
    return UserError(
        "gguf-rope",
        "The rotary factors in this GGUF file follow no rule that BitConverter knows (it knows llama3). "
        "Choose the original model instead.",
    )
