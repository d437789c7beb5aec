"""A model folder as a stack of single layers: what runs when layers are trained or looked at one by one.

Weights are mapped, not read: a layer's pages come from the file when it runs.
"""

import json
import mmap
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import MATRICES, Block, Engine, Head, Model, rotate
from bitconverter.format.bfloat16 import as_f32
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.model.hf_source import SINGLE, read_weight_map

F32 = npt.NDArray[np.float32]

_DTYPES = {
    name: np.dtype(kind)
    for name, kind in (("U8", "u1"), ("I8", "i1"), ("F16", "<f2"), ("BF16", "<u2"), ("F32", "<f4"))
}
_PLACES = dict.fromkeys("qkvo", "self_attn") | dict.fromkeys(("gate", "up", "down"), "mlp")


class LayerStack:
    """Opens a folder, converted or not, and checks it by opening it as the engine's Model. Raises
    UserError("layers-direct") for one with direct planes, and what the engine raises."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.info = Model(
            engine, folder
        ).info  # raises with the reason for every folder that does not hold together
        self._config_json = (folder / "config.json").read_bytes().removeprefix(BOM_UTF8)
        self._config: dict[str, Any] = json.loads(self._config_json)
        self._tensors: dict[str, np.ndarray] = {}
        self._maps: list[Any] = []
        for path in _weight_files(folder):
            file = SafetensorsFile(path)
            whole = np.memmap(path, np.uint8, mode="r")
            self._maps.append(whole.base)
            for name, entry in file.tensors.items():
                if entry.dtype in _DTYPES:
                    part = whole[entry.offset : entry.offset + entry.bytes]
                    self._tensors[name] = part.view(_DTYPES[entry.dtype]).reshape(entry.shape)
        if any(name.endswith(".direct_planes") for name in self._tensors):
            raise UserError(
                "layers-direct",
                f"{folder.name} has matrices that were ternary before it was converted (direct planes). "
                "Such models cannot be trained yet; choose another one.",
                model=folder.name,
            )
        quantization = self._config.get("quantization_config", {})
        self.seed = int(quantization.get("rotation", {}).get("seed", 0))

    def let_go(self) -> None:
        """The pages of the weights are not needed for now: they come from the file again when they are. Where the
        system has no such call (Windows) it takes them back itself."""
        advice = getattr(mmap, "MADV_DONTNEED", None)
        for mapped in self._maps:
            if advice is not None and isinstance(mapped, mmap.mmap):
                mapped.madvise(advice)

    def prefix(self, layer: int, matrix: str) -> str:
        """The name of matrix `matrix` (of MATRICES) of a layer, without an ending."""
        return f"model.layers.{layer}.{_PLACES[matrix]}.{matrix}_proj"

    def is_planes(self, layer: int, matrix: str) -> bool:
        return self.prefix(layer, matrix) + ".planes" in self._tensors

    def scales(self, layer: int, matrix: str) -> F32:
        """A fresh f32 copy of a matrix's row scales; it must be planes."""
        return self._tensors[self.prefix(layer, matrix) + ".scales"].astype(np.float32)

    def block(
        self, layer: int, window: int, scales: dict[str, F32] | None = None, engine: Engine | None = None
    ) -> Block:
        """Layer `layer` with its weights, for windows of `window` tokens. `scales` by matrix name replace those of
        the file, and are kept, not copied: what changes in them shows in the block's next call."""
        block = Block(engine or self.engine, self._config_json, layer, window)
        for matrix in MATRICES:
            prefix = self.prefix(layer, matrix)
            bias = self._vector(prefix + ".bias")
            if prefix + ".planes" in self._tensors:
                own = (scales or {}).get(matrix)
                rows = self.scales(layer, matrix) if own is None else own
                block.set_planes(matrix, self._tensors[prefix + ".planes"], rows, seed=self.seed, bias=bias)
            else:
                block.set_dense(matrix, self._tensors[prefix + ".weight"], bias)
        at = f"model.layers.{layer}."
        first, second = (self._vector(at + f"{n}_layernorm.weight") for n in ("input", "post_attention"))
        q, k = (self._vector(at + f"self_attn.{n}_norm.weight") for n in "qk")
        assert first is not None and second is not None  # the engine opened this model
        block.set_norms(first, second, q, k)
        return block

    def head(self, tokens: npt.NDArray[np.int32] | None = None) -> Head:
        """The last norm and the head (the embedding where they are tied); of `tokens` i32 [n] alone, if given."""
        prefix = "model.embed_tokens" if self.info.tied else "lm_head"
        norm = self._vector("model.norm.weight")
        assert norm is not None
        eps = float(self._config.get("rms_norm_eps", 1e-6))
        rows: Any = slice(None) if tokens is None else tokens
        if prefix + ".int8" in self._tensors:
            scales = as_f32(self._tensors[prefix + ".scales"]).copy()
            return Head(norm, self._tensors[prefix + ".int8"][rows], eps, scales[rows], self.seed)
        return Head(norm, self._tensors[prefix + ".weight"][rows], eps)

    def embed(self, tokens: npt.NDArray[np.int32]) -> F32:
        """The embeddings of tokens, f32 [*tokens.shape, hidden]."""
        prefix, ids = "model.embed_tokens", tokens.reshape(-1)
        if prefix + ".int8" in self._tensors:
            scales = self._tensors[prefix + ".scales"][ids].astype(np.float32)
            rows = self._tensors[prefix + ".int8"][ids].astype(np.float32) * scales[:, None]
            rows = rotate(self.engine, rows, seed=self.seed, inverse=True)
        else:
            rows = as_f32(self._tensors[prefix + ".weight"][ids])
        return rows.reshape(*tokens.shape, self.info.hidden_size)

    def _vector(self, name: str) -> F32 | None:
        return as_f32(self._tensors[name]).copy() if name in self._tensors else None


def _weight_files(folder: Path) -> list[Path]:
    """As the engine picks them: the single file if it is there, else the index's shards."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    return sorted({folder / name for name in read_weight_map(folder).values()})
