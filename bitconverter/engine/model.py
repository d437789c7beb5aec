"""Model: a folder's weights, mapped and immutable."""

import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine._handles import owned
from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")  # by enum bc_matrix_id


@dataclass(frozen=True)
class ModelInfo:
    """The shape of a model; the fields of bc_model_info in bitconverter.h."""

    family: str
    n_layers: int
    hidden_size: int
    intermediate_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    sliding_window: int
    tied: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    ternary: bool
    mapped_bytes: int
    decode_bytes: int
    linear_weights: int
    linear_bytes: int


def _info(native: Any) -> ModelInfo:
    values: dict[str, Any] = {}
    for field in fields(ModelInfo):
        value = getattr(native, field.name)
        if field.type is str:
            value = ffi.string(value).decode("utf-8", errors="replace")
        elif field.type is bool:
            value = bool(value)
        values[field.name] = value
    return ModelInfo(**values)


def check_config(config_json: bytes) -> ModelInfo:
    """The shape that the text of a config.json describes.

    Raises UnsupportedError or FormatError with the reason when this engine does not run it.
    """
    native = ffi.new("bc_model_info *")
    call(lib.bc_config_check, ffi.from_buffer(config_json), len(config_json), native)
    return _info(native)


def matrix_shapes(info: ModelInfo) -> dict[str, tuple[int, int]]:
    """[rows, cols] of the matrices of any layer, by name (MATRICES)."""
    hidden, mlp = info.hidden_size, info.intermediate_size
    q, kv = info.n_heads * info.head_dim, info.n_kv_heads * info.head_dim
    rows = (q, kv, kv, hidden, mlp, mlp, hidden)
    cols = (hidden, hidden, hidden, q, hidden, hidden, mlp)
    return dict(zip(MATRICES, zip(rows, cols, strict=True), strict=True))


def lora_pair(
    a: npt.NDArray[np.float32] | None, b: npt.NDArray[np.float32] | None, rows: int, cols: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
    """Both as the engine takes them. Raises InvalidError for shapes that do not fit."""
    if a is None and b is None:
        return None
    if a is None or b is None or a.ndim != 2 or a.shape[1] != cols or b.shape != (len(a), rows) or not len(a):
        shapes = [None if part is None else part.shape for part in (a, b)]
        raise InvalidError(
            f"a low-rank addition of {shapes[0]} and {shapes[1]} to a matrix of {(rows, cols)}"
        )
    return np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)


class Model:
    """A Hugging Face folder as it is (bf16, f16, f32), or a converted one. Holds its engine."""

    def __init__(self, engine: Engine, folder: str | os.PathLike[str]) -> None:
        self.engine = engine
        out = ffi.new("bc_model **")
        call(lib.bc_model_open, out, engine.handle, os.fspath(folder).encode("utf-8", "surrogateescape"))
        self.handle = owned(out[0], lib.bc_model_close, engine.handle)
        native = ffi.new("bc_model_info *")
        lib.bc_model_get_info(self.handle, native)
        self.info = _info(native)
        self._borrowed: dict[tuple[int, str], object] = {}
        self._deltas: dict[tuple[int, str], object] = {}

    def read(self) -> int:
        """Read the info.mapped_bytes of all weight files where they are mapped, as Engine.read does."""
        total = ffi.new("uint64_t *")
        call(lib.bc_model_read, self.handle, total)
        return int(total[0])

    def rows(self, matrix: str) -> int:
        """Of matrix `matrix` (of MATRICES) of any layer."""
        return matrix_shapes(self.info)[matrix][0]

    def set_gain(self, layer: int, matrix: str, gain: npt.NDArray[np.float32] | None) -> None:
        """Multiply the rows of a matrix (planes) by gain f32 [rows], positive and finite; None: as it was opened. What
        sessions have computed before stays in their caches, so rewind them."""
        if matrix not in MATRICES:
            raise InvalidError(f"matrix {matrix!r} is not one of {', '.join(MATRICES)}")
        if gain is not None and gain.shape != (self.rows(matrix),):
            raise InvalidError(f"gains of shape {gain.shape} for {matrix} of {self.rows(matrix)} rows")
        factors = None if gain is None else np.ascontiguousarray(gain, np.float32)
        call(
            lib.bc_model_set_gain,
            self.handle,
            layer,
            MATRICES.index(matrix),
            ffi.NULL if factors is None else pointer("float", factors),
        )

    def set_lora(
        self, layer: int, matrix: str, a: npt.NDArray[np.float32] | None, b: npt.NDArray[np.float32] | None
    ) -> None:
        """Add B (A x) to a matrix: a f32 [rank, cols] and b f32 [rank, rows], which is B transposed; None: take it off.
        What sessions have computed before stays in their caches, so rewind them."""
        if matrix not in MATRICES:
            raise InvalidError(f"matrix {matrix!r} is not one of {', '.join(MATRICES)}")
        pair = lora_pair(a, b, *matrix_shapes(self.info)[matrix])
        rank = 0 if pair is None else len(pair[0])
        pointers = (ffi.NULL, ffi.NULL) if pair is None else tuple(pointer("float", part) for part in pair)
        call(lib.bc_model_set_lora, self.handle, layer, MATRICES.index(matrix), *pointers, rank)
        self._borrowed[layer, matrix] = pair

    def set_delta(
        self,
        layer: int,
        matrix: str,
        planes: npt.NDArray[np.uint8] | None,
        scales: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Add D x to a matrix of planes: D as planes u8 [n_planes, ceil(rows/5), cols] of the model's own rotation and
        scales f32 [rows]; None: take it off. What sessions have computed before stays in their caches, so rewind
        them."""
        if matrix not in MATRICES:
            raise InvalidError(f"matrix {matrix!r} is not one of {', '.join(MATRICES)}")
        rows, cols = matrix_shapes(self.info)[matrix]
        if planes is None or scales is None:
            call(lib.bc_model_set_delta, self.handle, layer, MATRICES.index(matrix), ffi.NULL, ffi.NULL, 0)
            self._deltas.pop((layer, matrix), None)
            return
        if planes.ndim != 3 or planes.shape[1:] != (-(-rows // 5), cols) or scales.shape != (rows,):
            raise InvalidError(
                f"planes of {planes.shape} with scales of {scales.shape} cannot be added to a matrix of {(rows, cols)}"
            )
        kept = np.ascontiguousarray(planes, np.uint8), np.ascontiguousarray(scales, np.float32)
        call(
            lib.bc_model_set_delta,
            self.handle,
            layer,
            MATRICES.index(matrix),
            pointer("uint8_t", kept[0]),
            pointer("float", kept[1]),
            len(planes),
        )
        self._deltas[layer, matrix] = kept
