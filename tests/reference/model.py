"""The models in numpy, for reading: what the engine computes, without any of its speed.

Covers Llama, Mistral, Qwen2 and Qwen3 folders, dense or converted (docs/FORMAT.md): for a converted folder
this file is the executable specification (planes, rotation, int8 activations). Everything is float32 unless
said; in shapes T is tokens, D head_dim.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
MASK64 = (1 << 64) - 1


# ---- files ----


def read_tensors(folder: Path) -> dict[str, Array]:
    """Every tensor of a folder's safetensors files; BF16 and F16 widened to float32, integers as they are."""
    kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "I8": "i1"}
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(data[start + begin : start + end], kinds[entry["dtype"]])
            if entry["dtype"] == "BF16":
                raw = (raw.astype(np.uint32) << 16).view(np.float32)
            elif entry["dtype"] == "F16":
                raw = raw.astype(np.float32)
            tensors[name] = raw.reshape(entry["shape"])
    return tensors


def unpack_planes(planes: Array, rows: int) -> Array:
    """u8 [N, ceil(rows/5), cols] -> integers [rows, cols], |q| <= (3^N - 1) / 2."""
    _, groups, cols = planes.shape
    q = np.zeros((groups, 5, cols), np.int32)
    for plane in planes.astype(np.int32):
        x, digits = plane, []
        for _ in range(5):
            digits.append(3 * x // 256 - 1)
            x = 3 * x % 256
        q = 3 * q + np.stack(digits, axis=1)
    return q.reshape(groups * 5, cols)[:rows]


# ---- the rotation ----


def splitmix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK64
    return x ^ x >> 31


class Rotation:
    """R(seed, cols): `apply` rotates the last axis, `undo` takes it back."""

    def __init__(self, seed: int, cols: int) -> None:
        self.block = cols & -cols
        golden = 0x9E3779B97F4A7C15
        z = splitmix((seed * golden + cols) & MASK64)
        u = [splitmix((z + (j + 1) * golden) & MASK64) for j in range(2 * cols - 1)]
        self.sign = np.array([-1 if v >> 63 else 1 for v in u[:cols]], np.float32)
        self.perm = np.arange(cols)
        if self.block < cols:
            for draw, i in zip(u[cols:], range(cols - 1, 0, -1), strict=True):
                j = (draw >> 32) * (i + 1) >> 32
                self.perm[[i, j]] = self.perm[[j, i]]
        h = np.ones((1, 1), np.float32)
        while len(h) < self.block:
            h = np.block([[h, h], [h, -h]])
        self.hadamard = h / np.float32(np.sqrt(self.block))  # symmetric, its own inverse

    def _blocks(self, x: Array) -> Array:
        return (x.reshape(*x.shape[:-1], -1, self.block) @ self.hadamard).reshape(x.shape)

    def apply(self, x: Array) -> Array:
        return self._blocks(x[..., self.perm] * self.sign)

    def undo(self, y: Array) -> Array:
        x = np.empty_like(y)
        x[..., self.perm] = self._blocks(y) * self.sign
        return x


def quantize_activations(x: Array) -> tuple[Array, Array]:
    """int8 codes (here as int64) [T, cols] and one scale per token [T, 1], rounded to nearest even."""
    largest = np.abs(x).max(axis=-1, keepdims=True)
    safe = np.where(largest > 0, largest, np.float32(1))
    codes = np.rint(x * (np.float32(127) / safe))
    return codes.astype(np.int64), np.where(largest > 0, largest / np.float32(127), np.float32(0))


# ---- linear maps ----


class Linear:
    """y = W x + b, whatever form `prefix` has in the file."""

    def __init__(self, tensors: dict[str, Array], prefix: str, seed: int) -> None:
        self.bias = tensors.get(prefix + ".bias")
        self.dense = tensors.get(prefix + ".weight")
        if self.dense is not None:
            return
        self.scales = tensors[prefix + ".scales"]
        codes = tensors.get(prefix + ".int8")
        direct = tensors.get(prefix + ".direct_planes")
        if codes is None:
            planes = tensors[prefix + ".planes"] if direct is None else direct
            codes = unpack_planes(planes, len(self.scales))
        self.codes = codes.astype(np.int64)
        self.rotation = Rotation(seed, codes.shape[1]) if direct is None else None

    def __call__(self, x: Array) -> Array:
        """[T, cols] -> [T, rows]"""
        if self.dense is not None:
            y = x @ self.dense.T
        else:
            a, scale = quantize_activations(x if self.rotation is None else self.rotation.apply(x))
            y = (a @ self.codes.T).astype(np.float32) * scale * self.scales
        return y if self.bias is None else y + self.bias

    def rows(self, ids: Array) -> Array:
        """The rows themselves, in the original basis: embedding look-up. [T] -> [T, cols]"""
        if self.dense is not None:
            return self.dense[ids]
        assert self.rotation is not None  # the embedding is rotated
        return self.rotation.undo(self.codes[ids].astype(np.float32) * self.scales[ids, None])


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * weight


# ---- positions ----


def rope_frequencies(config: dict[str, Any], head_dim: int) -> Array:
    """[D/2] radians per position, with the `linear` and `llama3` scalings."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    frequency = 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        return (frequency / rope["factor"]).astype(np.float32)
    if kind == "default":
        return frequency.astype(np.float32)
    assert kind == "llama3", kind
    # turns made over the original context: few turns -> slowed by factor, many -> kept, a blend between
    turns = rope["original_max_position_embeddings"] * frequency / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - keep) * frequency / rope["factor"] + keep * frequency).astype(np.float32)


def rotate_half(x: Array, angles: Array) -> Array:
    """RoPE of x [T, heads, D] by angles [T, D/2]: pairs are (d, d + D/2)."""
    a, b = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def sliding_layers(config: dict[str, Any]) -> list[bool]:
    """Which layers see only the last `sliding_window` positions."""
    n = config["num_hidden_layers"]
    if config["model_type"] == "mistral":
        return [config.get("sliding_window") is not None] * n
    if not config.get("use_sliding_window") or config.get("sliding_window") is None:
        return [False] * n
    if config.get("layer_types"):
        return [kind == "sliding_attention" for kind in config["layer_types"]]
    return [layer >= config.get("max_window_layers", 28) for layer in range(n)]


# ---- the model ----


class ReferenceModel:
    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tensors = read_tensors(folder)
        self.seed = self.config.get("quantization_config", {}).get("rotation", {}).get("seed", 0)
        self.embed = self._linear("model.embed_tokens")
        self.head = self.embed if self.config.get("tie_word_embeddings") else self._linear("lm_head")

    def _linear(self, prefix: str) -> Linear:
        return Linear(self.tensors, prefix, self.seed)

    def _norm(self, x: Array, name: str) -> Array:
        return rms_norm(x, self.tensors[name + ".weight"], self.config["rms_norm_eps"])

    def forward(self, tokens: Array) -> Array:
        """i32 [T] -> logits f32 [T, vocab]"""
        x = self.embed.rows(tokens)
        for layer, slides in enumerate(sliding_layers(self.config)):
            prefix = f"model.layers.{layer}."
            h = self._norm(x, prefix + "input_layernorm")
            x = x + self._attention(h, prefix + "self_attn.", slides)
            h = self._norm(x, prefix + "post_attention_layernorm")
            x = x + self._mlp(h, prefix + "mlp.")
        return self.head(self._norm(x, "model.norm"))

    def _mlp(self, h: Array, prefix: str) -> Array:
        gate = self._linear(prefix + "gate_proj")(h)
        return self._linear(prefix + "down_proj")(
            gate / (1 + np.exp(-gate)) * self._linear(prefix + "up_proj")(h)
        )

    def _attention(self, h: Array, prefix: str, slides: bool) -> Array:
        c = self.config
        n_heads = c["num_attention_heads"]
        n_kv = c.get("num_key_value_heads") or n_heads
        head_dim = c.get("head_dim") or c["hidden_size"] // n_heads
        n = len(h)
        q = self._linear(prefix + "q_proj")(h).reshape(n, n_heads, head_dim)
        k = self._linear(prefix + "k_proj")(h).reshape(n, n_kv, head_dim)
        v = self._linear(prefix + "v_proj")(h).reshape(n, n_kv, head_dim)
        if prefix + "q_norm.weight" in self.tensors:
            q, k = self._norm(q, prefix + "q_norm"), self._norm(k, prefix + "k_norm")
        positions = np.arange(n, dtype=np.float32)
        angles = positions[:, None] * rope_frequencies(c, head_dim)
        q, k = rotate_half(q, angles), rotate_half(k, angles)
        k, v = (np.repeat(a, n_heads // n_kv, axis=1) for a in (k, v))  # head j reads KV head j // group

        scores = np.einsum("ihd,jhd->hij", q, k) / np.float32(np.sqrt(head_dim))
        distance = np.arange(n)[:, None] - np.arange(n)
        hidden = distance < 0
        if slides:
            hidden |= distance >= c["sliding_window"]
        scores = np.where(hidden, -np.inf, scores)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", weights, v).reshape(n, n_heads * head_dim)
        return self._linear(prefix + "o_proj")(mixed.astype(np.float32))
