"""One decoder layer and its gradient in f64 numpy, derived by hand; finite differences check it in the tests."""

from pathlib import Path
from typing import Any

import numpy as np
from reference.model import (
    Array,
    ReferenceModel,
    Rotation,
    quantize_activations,
    rope_frequencies,
    rotate_half,
    sliding_layers,
    unpack_planes,
)

PLACES = dict.fromkeys("qkvo", "self_attn") | dict.fromkeys(("gate", "up", "down"), "mlp")
NORMS = {
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
}


class Matrix:
    """y = (1 + gain) * (W x) + bias. Of planes: x is rounded as the engine does, and the rounding counts as the
    identity on the way back. `rotated`, the rotated x in f32, may be given: where an f64 x would be rounded to
    another step, everything after it would differ."""

    def __init__(self, tensors: dict[str, Array], prefix: str, seed: int) -> None:
        self.rotation: Rotation | None = None
        self.rotated: Array | None = None
        if prefix + ".weight" in tensors:
            self.w = tensors[prefix + ".weight"].astype(np.float64)
        else:
            scales = tensors[prefix + ".scales"].astype(np.float64)
            q = unpack_planes(tensors[prefix + ".planes"], len(scales))
            self.rotation = Rotation(seed, q.shape[1])
            self.w = self.rotation.undo(q * scales[:, None])
        self.bias = np.zeros(len(self.w)) + tensors.get(prefix + ".bias", 0.0)
        self.gain = np.zeros(len(self.w))

    def forward(self, x: Array) -> Array:
        """[T, cols] -> [T, rows]"""
        self.x = x
        if self.rotation:
            rotated = self.rotation.apply(x).astype(np.float32) if self.rotated is None else self.rotated
            codes, scale = quantize_activations(rotated)
            x = self.rotation.undo(codes * scale.astype(np.float64))
        self.product = x @ self.w.T
        return (1 + self.gain) * self.product + self.bias

    def backward(self, dy: Array) -> Array:
        """dy [T, rows] -> dx [T, cols]"""
        self.dy = dy
        return (dy * (1 + self.gain)) @ self.w

    def sums(self) -> dict[str, Array]:
        """What the engine calls gain, bias, row_squares, token_squares, dy."""
        return {
            "gain": (self.dy * self.product).sum(0),
            "bias": self.dy.sum(0),
            "row_squares": (self.dy**2).sum(0),
            "token_squares": (self.dy**2).sum(1),
            "dy": self.dy,
        }


class Norm:
    """RMSNorm over the last axis."""

    def __init__(self, weight: Array, eps: float) -> None:
        self.weight, self.eps = weight.astype(np.float64), eps

    def forward(self, x: Array) -> Array:
        self.r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        self.x = x
        return x * self.r * self.weight

    def backward(self, dy: Array) -> Array:
        """Gradient of x; self.grad holds that of the weights."""
        self.grad = (dy * self.x * self.r).reshape(-1, dy.shape[-1]).sum(0)
        g = dy * self.weight
        return g * self.r - self.x * self.r**3 * (g * self.x).mean(-1, keepdims=True)


class Layer:
    """Layer `number` of the model in a folder; forward() and then backward() on one window."""

    def __init__(self, folder: Path, number: int, seed: int = 0) -> None:
        model = ReferenceModel(folder)
        self.config: dict[str, Any] = model.config
        at = f"model.layers.{number}."
        self.m = {
            name: Matrix(model.tensors, f"{at}{place}.{name}_proj", seed) for name, place in PLACES.items()
        }
        eps = model.config["rms_norm_eps"]
        self.norms = {
            name: Norm(model.tensors[f"{at}{where}.weight"], eps)
            for name, where in NORMS.items()
            if f"{at}{where}.weight" in model.tensors
        }
        self.slides = sliding_layers(model.config)[number]

    def forward(self, x: Array) -> Array:
        """[T, hidden] -> [T, hidden]"""
        c, m, n = self.config, self.m, len(x)
        heads = c["num_attention_heads"]
        kv_heads = c.get("num_key_value_heads") or heads
        self.d = c.get("head_dim") or c["hidden_size"] // heads
        h = self.norms["attn_norm"].forward(x)
        q = m["q"].forward(h).reshape(n, heads, self.d)
        k = m["k"].forward(h).reshape(n, kv_heads, self.d)
        v = m["v"].forward(h).reshape(n, kv_heads, self.d)
        if "q_norm" in self.norms:
            q, k = self.norms["q_norm"].forward(q), self.norms["k_norm"].forward(k)
        frequency = rope_frequencies(c, self.d)
        self.angles = (np.arange(n, dtype=np.float32)[:, None] * frequency).astype(np.float64)
        q, k = rotate_half(q, self.angles), rotate_half(k, self.angles)
        self.group = heads // kv_heads
        self.q, self.k, self.v = q, np.repeat(k, self.group, 1), np.repeat(v, self.group, 1)
        scores = np.einsum("ihd,jhd->hij", self.q, self.k) / np.sqrt(self.d)
        distance = np.arange(n)[:, None] - np.arange(n)
        hidden = distance < 0
        if self.slides:
            hidden |= distance >= c["sliding_window"]
        scores = np.where(hidden, -np.inf, scores)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        self.p = p / p.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", self.p, self.v).reshape(n, heads * self.d)
        middle = x + m["o"].forward(mixed)
        h = self.norms["mlp_norm"].forward(middle)
        self.gate, self.up = m["gate"].forward(h), m["up"].forward(h)
        self.sigmoid = 1 / (1 + np.exp(-self.gate))
        return middle + m["down"].forward(self.gate * self.sigmoid * self.up)

    def backward(self, dy: Array) -> Array:
        """dy [T, hidden], the gradient of the output, -> that of the input. Gradients of gains, biases and norms
        are in self.m and self.norms."""
        m, n = self.m, len(dy)
        d_product = m["down"].backward(dy)
        slope = self.sigmoid * (1 + self.gate * (1 - self.sigmoid))
        dh = m["gate"].backward(d_product * self.up * slope)
        dh += m["up"].backward(d_product * self.gate * self.sigmoid)
        dy = dy + self.norms["mlp_norm"].backward(dh)
        d_mixed = m["o"].backward(dy).reshape(self.q.shape)
        dv = np.einsum("hij,ihd->jhd", self.p, d_mixed)
        dp = np.einsum("ihd,jhd->hij", d_mixed, self.v)
        ds = self.p * (dp - (self.p * dp).sum(-1, keepdims=True)) / np.sqrt(self.d)
        dq = rotate_half(np.einsum("hij,jhd->ihd", ds, self.k), -self.angles)
        dk = np.einsum("hij,ihd->jhd", ds, self.q)
        dk, dv = (a.reshape(n, -1, self.group, self.d).sum(2) for a in (dk, dv))
        dk = rotate_half(dk, -self.angles)
        if "q_norm" in self.norms:
            dq, dk = self.norms["q_norm"].backward(dq), self.norms["k_norm"].backward(dk)
        dh = sum(m[name].backward(g.reshape(n, -1)) for name, g in (("q", dq), ("k", dk), ("v", dv)))
        return dy + self.norms["attn_norm"].backward(dh)
