"""A .gguf file as a source: dequantized by rows, with its tensors, configuration and tokenizer as in Hugging Face."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bitconverter.format.atomic import write_bytes, write_json
from bitconverter.format.errors import UserError
from bitconverter.format.gguf_file import GgufFile, can_dequantize
from bitconverter.format.weight_file import WeightFile, header_space
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.gguf_config import ROPE_FREQS, build_config, hugging_face_name
from bitconverter.model.gguf_tokenizer import tokenizer_files
from bitconverter.model.names import is_harmless
from bitconverter.model.source import CheckItem, Hasher, SourceTensor, fingerprint, slab_rows

EXPAND_SLAB = 64 * 1024 * 1024  # bytes of float32


class GgufSource:
    """Reads the header at once; the tokenizer is rebuilt when it is asked for."""

    kind = "gguf"
    declared_ternary = False

    def __init__(self, path: Path) -> None:
        """Raises UserError when the file is damaged or part of a split model."""
        self.path = path
        self.name = path.stem
        self._file = GgufFile(path)
        self._refuse_split()
        self.problems: list[CheckItem] = []
        self.config = self._build_config()
        self._stored = self._by_our_names()
        self.tensors = {name: self._tensor(name, stored) for name, stored in self._stored.items()}
        self._check_types()
        self.total_bytes = sum(tensor.bytes for tensor in self.tensors.values())
        self._side_files: dict[str, bytes | Path] | None = None

    def read_rows(self, name: str, start: int, stop: int, hasher: Hasher | None = None) -> np.ndarray:
        heads = self._permuted_heads(name)
        if not heads:
            return self._file.read_rows(self._stored[name], start, stop, hasher)
        size = self.tensors[name].shape[0] // heads
        first = start // size * size
        last = -(-stop // size) * size
        rows = self._file.read_rows(self._stored[name], first, last, hasher)
        return unpermute(rows, size)[start - first : stop - first]

    def weight_files(self) -> list[Path]:
        return [self.path]

    def slab_rows(self, name: str, max_bytes: int) -> int:
        shape = self.tensors[name].shape
        heads = self._permuted_heads(name)
        rows = slab_rows(shape, max_bytes)
        return rows if not heads else max(1, rows // (shape[0] // heads)) * (shape[0] // heads)

    def side_files(self) -> dict[str, bytes | Path]:
        if self._side_files is None:
            files: dict[str, bytes | Path] = {**tokenizer_files(self._file.metadata, self.path.name)}
            self._side_files = files
        return dict(self._side_files)

    def fingerprint(self) -> str:
        return fingerprint(self.config, self.tensors, [self.path])

    def licence(self) -> str | None:
        for key in ("general.license.name", "general.license"):
            value = self._file.metadata.get(key)
            if isinstance(value, str) and value:
                link = self._file.metadata.get("general.license.link")
                return f"{value} ({link})" if isinstance(link, str) and link else value
        return None

    def chat_template(self) -> ChatTemplate | None:
        template = self._file.metadata.get("tokenizer.chat_template")
        return ChatTemplate(template) if isinstance(template, str) and template else None

    def _refuse_split(self) -> None:
        count = self._file.metadata.get("split.count", 1)
        if type(count) is int and count > 1:
            raise UserError(
                "gguf-split",
                f"{self.path.name} is one of {count} parts of a split GGUF model, which are not read. Join the parts "
                "with llama.cpp's llama-gguf-split --merge, or choose the original model.",
                file=self.path.name, parts=count,
            )  # fmt: skip

    def _by_our_names(self) -> dict[str, str]:
        stored: dict[str, str] = {}
        for name in self._file.tensors:
            ours = hugging_face_name(name)
            if name != ROPE_FREQS and stored.setdefault(ours, name) != name:
                why = f"its tensors {stored[ours]} and {name} are both {ours}"
                raise UserError(
                    "gguf-broken",
                    f"{self.path.name} cannot be used: {why}. Download it again, or choose another file.",
                    file=self.path.name, path=str(self.path), why=why,
                )  # fmt: skip
        return stored

    def _build_config(self) -> dict[str, Any]:
        try:
            return build_config(self._file)
        except UserError as error:
            self.problems.append(CheckItem(error.code, "error", str(error), error.fields))
            return {"model_type": str(self._file.metadata.get("general.architecture", ""))}

    def _tensor(self, name: str, stored: str) -> SourceTensor:
        tensor = self._file.tensors[stored]
        return SourceTensor(name, tensor.type, tensor.shape, tensor.bytes)

    def _check_types(self) -> None:
        bad = {tensor.dtype for tensor in self.tensors.values()}
        for kind in sorted(kind for kind in bad if not can_dequantize(kind)):
            text = f"GGUF weights of type {kind} cannot be read. Choose a file with another quantization."
            self.problems.append(CheckItem("tensors", "error", text, {"type": kind}))

    def _permuted_heads(self, name: str) -> int:
        """In how many heads the rows of q and k are shuffled; 0 if they are not.

        llama.cpp's converter shuffles them for its architecture "llama" (Mistral included), because it
        rotates neighbouring values where transformers rotates the two halves of a head.
        """
        if self._file.metadata.get("general.architecture") != "llama":
            return 0
        if name.endswith(("self_attn.q_proj.weight", "self_attn.q_proj.bias")):
            return int(self.config["num_attention_heads"])
        if name.endswith(("self_attn.k_proj.weight", "self_attn.k_proj.bias")):
            return int(self.config["num_key_value_heads"])
        return 0


def unpermute(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of whole heads [heads * head_dim, ...]: pairs (2j, 2j+1) of each head back to (j, j + head_dim/2)."""
    pairs = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


class _HasCancel(Protocol):
    cancel: Any


def expand(gguf_path: str | Path, folder: str | Path, ctx: _HasCancel) -> None:
    """Write the model of a .gguf file as a plain Hugging Face folder (new, or empty).

    bf16, f16 and f32 tensors keep their type, quantized ones become f32, which loses nothing. Raises UserError, and
    Cancelled when `ctx.cancel` is set; the folder is then unfinished and the caller's to remove.
    """
    source, folder = GgufSource(Path(gguf_path)), Path(folder)
    for problem in source.problems:
        raise UserError(problem.code, problem.message, **problem.fields)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in source.side_files().items():
        assert isinstance(content, bytes)
        write_bytes(folder / name, content)
    write_json(folder / "config.json", source.config)
    wanted = [t for t in source.tensors.values() if not _left_out(t.name, source.config)]
    weights = WeightFile(folder / "model.safetensors", header_space([(t.name, t.shape) for t in wanted]), [])
    try:
        for tensor in wanted:
            _expand_tensor(source, tensor, weights, ctx)
        weights.finish()
    finally:
        weights.close()


def expanded_bytes(tensors: Iterable[SourceTensor], config: dict[str, Any]) -> int:
    """Of disk that expand() takes: two bytes a weight for f16 and bf16, four for all else."""
    return sum(
        math.prod(tensor.shape) * (2 if tensor.dtype in ("F16", "BF16") else 4)
        for tensor in tensors
        if not _left_out(tensor.name, config)
    )


def _expand_tensor(source: GgufSource, tensor: SourceTensor, weights: WeightFile, ctx: _HasCancel) -> None:
    step = source.slab_rows(tensor.name, EXPAND_SLAB)
    dtype = tensor.dtype if tensor.dtype in ("F16", "BF16") else "F32"
    with weights.part(tensor.name, dtype, tensor.shape) as part:
        for start in range(0, tensor.shape[0], step):
            ctx.cancel.check()
            rows = source.read_rows(tensor.name, start, min(start + step, tensor.shape[0]))
            part.append(rows)


def _left_out(name: str, config: dict[str, Any]) -> bool:
    return is_harmless(name, bool(config.get("tie_word_embeddings")))
