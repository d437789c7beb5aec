"""The source's decoder layers one at a time, as the engine's Block takes them, and what lies around them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Block, Cancel, Engine, Head, ModelInfo, quantize_int8, rotate
from bitconverter.format.bfloat16 import as_f32
from bitconverter.format.errors import UserError
from bitconverter.jobs.convert_tensor import finite
from bitconverter.model import names
from bitconverter.model.source import Source

F32 = npt.NDArray[np.float32]

# of the block's matrices: the name inside the layer, and the input that it reads
MATRICES = {
    "q": ("self_attn.q_proj", "qkv"), "k": ("self_attn.k_proj", "qkv"), "v": ("self_attn.v_proj", "qkv"),
    "o": ("self_attn.o_proj", "o"),
    "gate": ("mlp.gate_proj", "mlp"), "up": ("mlp.up_proj", "mlp"),
    "down": ("mlp.down_proj", "down"),
}  # fmt: skip
NORMS = {
    "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm",
    "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
}  # fmt: skip
CHUNK_TOKENS = 2048  # whose inputs of a layer are held at a time
SLAB_BYTES = 64 * 1024 * 1024  # of float32 read at a time, so that a cancel is heard
RMS_EPS = 1e-6  # where config.json does not say (as native/src/config.c)


@dataclass(frozen=True)
class LayerWeights:
    """A matrix [rows, cols] as stored (uint16 holds bfloat16), the SHA-256 of its bytes, its bias f32 [rows]."""

    values: npt.NDArray[Any]
    sha256: str
    bias: F32 | None


class LayerReader:
    """Reads with all checks: a weight that is no finite number raises UserError("weight-not-finite")."""

    def __init__(self, source: Source, info: ModelInfo, engine: Engine, cancel: Cancel) -> None:
        self.info = info
        self._source, self._engine, self._cancel = source, engine, cancel
        self._expected = names.expected_tensors(info)
        self._config = json.dumps(source.config).encode("utf-8")

    def block(self, layer: int, window: int) -> tuple[Block, dict[str, LayerWeights]]:
        """Layer `layer` with the source's weights, and those by the block's matrix names."""
        prefix = f"model.layers.{layer}."
        block = self.empty_block(layer, window)
        norms = self.norms(layer)
        block.set_norms(norms["attn_norm"], norms["mlp_norm"], norms.get("q_norm"), norms.get("k_norm"))
        weights = {key: self._matrix(prefix + name) for key, (name, _) in MATRICES.items()}
        for key, weight in weights.items():
            block.set_dense(key, weight.values, weight.bias)
        return block, weights

    def empty_block(self, layer: int, window: int) -> Block:
        """Layer `layer` without weights."""
        return Block(self._engine, self._config, layer, window)

    def norms(self, layer: int) -> dict[str, F32]:
        """The layer's norm weights by the names of NORMS, those that the family has."""
        found = {key: self.vector(f"model.layers.{layer}.{name}.weight") for key, name in NORMS.items()}
        return {key: values for key, values in found.items() if values is not None}

    def vector(self, name: str) -> F32 | None:
        """A bias or a norm's weights; None where the family has none of that name."""
        if name not in self._expected:
            return None
        values = as_f32(self._source.read_rows(name, 0, self._source.tensors[name].shape[0]))
        _need_finite(values, name)
        return values

    def head(self) -> Head:
        """The source's last norm and head, the embedding where they are tied. Holds the whole matrix as stored."""
        name = names.EMBEDDING if self.info.tied else names.HEAD
        norm = self.vector(names.NORM)
        assert norm is not None  # every family has it
        return Head(norm, self._whole(name), self.rms_eps)

    @property
    def rms_eps(self) -> float:
        """Of all norms."""
        return float(self._source.config.get("rms_norm_eps", RMS_EPS))

    def embed(self, ids: npt.NDArray[np.int32], seed: int | None = None) -> F32:
        """The first layer's input f32 [*ids.shape, hidden]: the source's rows of the embedding or, with the seed of
        a conversion, as the converted model will have them (8 bit)."""
        wanted, places = np.unique(ids, return_inverse=True)
        rows = np.empty((len(wanted), self.info.hidden_size), np.float32)
        step = self._source.slab_rows(names.EMBEDDING, SLAB_BYTES)
        for start in range(0, self.info.vocab_size, step):
            self._cancel.check()
            stop = min(start + step, self.info.vocab_size)
            here = (wanted >= start) & (wanted < stop)
            if here.any():
                values = as_f32(self._source.read_rows(names.EMBEDDING, start, stop))
                rows[here] = values[wanted[here] - start]
        _need_finite(rows, names.EMBEDDING)
        if seed is not None:
            codes, scales, _ = quantize_int8(self._engine, rows, seed=seed, cancel=self._cancel)
            rows = rotate(self._engine, codes * scales[:, None], seed=seed, inverse=True)
        return rows[places.reshape(ids.shape)]

    def _matrix(self, stem: str) -> LayerWeights:
        sha = hashlib.sha256()
        values = self._whole(stem + ".weight", sha)
        return LayerWeights(values, sha.hexdigest(), self.vector(stem + ".bias"))

    def _whole(self, name: str, sha: Any = None) -> npt.NDArray[Any]:
        rows = self._source.tensors[name].shape[0]
        step = self._source.slab_rows(name, SLAB_BYTES)
        pieces = []
        for start in range(0, rows, step):
            self._cancel.check()
            pieces.append(self._source.read_rows(name, start, min(start + step, rows), sha))
            _need_finite(pieces[-1], name)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def window_chunks(states: F32, cancel: Cancel) -> Iterator[slice]:
    """Of states [windows, window, hidden]: as many windows at a time as hold CHUNK_TOKENS tokens, at least one. Raises
    Cancelled."""
    count, window = states.shape[:2]
    step = max(1, CHUNK_TOKENS // window)
    for start in range(0, count, step):
        cancel.check()
        yield slice(start, min(start + step, count))


def _need_finite(values: npt.NDArray[Any], name: str) -> None:
    if not finite(values):
        raise UserError(
            "weight-not-finite",
            f"Tensor {name} holds values that are not numbers (NaN or infinity), so the source is damaged. "
            "Download the model again.",
            tensor=name,
        )
