"""llama.cpp's quantizers, applied to the matrices of a model: what other programs make of the same weights.

The quantizers are those of ggml (libggml-base, through ctypes); the values that come back are those of the gguf
package, which the same project writes. compare_quality.py uses this.
"""

import ctypes
import math
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from bitconverter.engine import Block, Cancel, Engine, ModelInfo
from bitconverter.format.bfloat16 import as_f32
from bitconverter.jobs.layer_reader import MATRICES
from bitconverter.model import names
from bitconverter.model.calibration_text import CalibrationText
from bitconverter.model.source import Source

F32 = npt.NDArray[np.float32]
BLOCK = 256  # values that the K and IQ types quantize together
SLAB = 64 * 1024 * 1024  # bytes of float32 read at a time


class Ggml:
    """ggml's quantizers in a shared library; `names` of types are those of gguf: "Q4_K", "IQ3_S"."""

    def __init__(self, library: Path) -> None:
        self._lib = ctypes.CDLL(str(library))
        self._lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        pointer, whole = ctypes.c_void_p, ctypes.c_int64
        self._lib.ggml_quantize_chunk.argtypes = [
            ctypes.c_int, pointer, pointer, whole, whole, whole, pointer,
        ]  # fmt: skip

    def round_trip(self, w: F32, kind: str, importance: F32) -> F32:
        """w [rows, cols] quantized as `kind` with weights of the columns [cols], and back.

        Rows that are no whole number of blocks are joined (576 columns: four by four), as quality studies of small
        models do it; llama.cpp itself would take another type for such a matrix.
        """
        joined = BLOCK // math.gcd(BLOCK, w.shape[1])
        if w.shape[0] % joined:
            raise SystemExit(f"{w.shape[0]} rows of {w.shape[1]} values do not fill blocks of {BLOCK}")
        rows, width = w.shape[0] // joined, w.shape[1] * joined
        x = np.ascontiguousarray(w, np.float32)
        weights = np.ascontiguousarray(np.tile(importance, joined), np.float32)
        type_ = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[type_]
        out = np.empty((rows, width // block * size), np.uint8)
        made = self._lib.ggml_quantize_chunk(
            int(type_), x.ctypes.data, out.ctypes.data, 0, rows, width, weights.ctypes.data
        )
        if made != out.nbytes:
            raise SystemExit(f"ggml wrote {made} bytes for {kind}, not {out.nbytes}")
        return np.asarray(gguf.quants.dequantize(out, type_), np.float32).reshape(w.shape)


def bits(kind: str) -> float:
    """Bits per weight of a ggml type."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return 8 * size / block


def read(source: Source, name: str) -> F32:
    """A whole tensor as f32."""
    rows = source.tensors[name].shape[0]
    step = source.slab_rows(name, SLAB)
    pieces = [as_f32(source.read_rows(name, a, min(a + step, rows))) for a in range(0, rows, step)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def importances(
    source: Source, info: ModelInfo, text: CalibrationText, config: bytes, engine: Engine
) -> dict[str, F32]:
    """Per decoder matrix the mean square of each of its inputs, f32 [cols], on the calibration text (what llama.cpp
    calls an importance matrix), by one forward pass of the source in f32."""
    table = read(source, names.EMBEDDING)
    x = np.ascontiguousarray(table[text.ids])
    del table
    expected = names.expected_tensors(info)
    found: dict[str, F32] = {}
    for layer in range(info.n_layers):
        prefix = f"model.layers.{layer}."
        block = Block(engine, config, layer, x.shape[1])
        vectors = (
            prefix + part
            for part in ("input_layernorm.weight", "post_attention_layernorm.weight",
                         "self_attn.q_norm.weight", "self_attn.k_norm.weight")
        )  # fmt: skip
        first, second, q, k = (read(source, n) if n in expected else None for n in vectors)
        assert first is not None and second is not None
        block.set_norms(first, second, q, k)
        for key, (inside, _) in MATRICES.items():
            bias = prefix + inside + ".bias"
            block.set_dense(
                key,
                read(source, f"{prefix}{inside}.weight"),
                read(source, bias) if bias in expected else None,
            )
        sums = {name: np.zeros(width) for name, width in block.widths.items()}
        for start in range(0, len(x), 4):
            for name, inputs in block.forward(x[start : start + 4], cancel=Cancel()).items():
                sums[name] += np.square(inputs).sum(axis=0, dtype=np.float64)
        for inside, captured in MATRICES.values():
            found[f"{prefix}{inside}.weight"] = (sums[captured] / text.ids.size).astype(np.float32)
    return found
