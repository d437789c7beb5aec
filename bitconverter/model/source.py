"""What a conversion reads from: tensors by name in rows, a configuration, and the files that belong to the model."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from bitconverter.model.chat_template import ChatTemplate


class Hasher(Protocol):
    """What hashlib gives."""

    def update(self, data: Any, /) -> None: ...


@dataclass(frozen=True)
class SourceTensor:
    """`shape` as in the model; `dtype` as stored ("BF16", "F16", "F32", or a GGUF type); `bytes` as stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class CheckItem:
    """One thing looked at before work starts. `level` is "ok", "warning" or "error"; `message` is English."""

    code: str
    level: str
    message: str
    fields: dict[str, Any]


class Source(Protocol):
    """An opened source. Opening reads tables of contents only; what is wrong with it is in `problems`."""

    kind: str  # "safetensors" | "gguf"
    path: Path
    name: str
    config: dict[str, Any]  # of config.json
    tensors: dict[str, SourceTensor]  # by the names of the Hugging Face model
    problems: list[CheckItem]
    total_bytes: int  # of the tensors, as stored
    declared_ternary: bool  # it says that its linear weights are ternary (model/bitnet.py)

    def read_rows(self, name: str, start: int, stop: int, hasher: Hasher | None = None) -> np.ndarray:
        """Rows start..stop: uint16 (the bits of BF16), float16 or float32 [stop - start, *shape[1:]].

        `hasher` is fed the stored bytes, once each and in order when the slabs follow each other.
        """
        ...

    def weight_files(self) -> list[Path]:
        """The files that the tensors are read from."""
        ...

    def slab_rows(self, name: str, max_bytes: int) -> int:
        """How many rows to read at a time to stay below about `max_bytes` of float32."""
        ...

    def side_files(self) -> dict[str, bytes | Path]:
        """The files a converted model carries along, by their name there: content, or the path to copy."""
        ...

    def fingerprint(self) -> str:
        """Changes when the source's files do: sizes, times, tables of contents. Not a hash of all bytes."""
        ...

    def licence(self) -> str | None:
        """What the source says its licence is, if it does."""
        ...

    def chat_template(self) -> "ChatTemplate | None":
        """The source's (default) chat template, if it has one. Raises UserError when it cannot be used."""
        ...


def fingerprint(config: dict[str, Any], tensors: Mapping[str, SourceTensor], files: Iterable[Path]) -> str:
    """SHA-256 over the configuration, the tensors' names, dtypes and shapes, and the files' sizes and times."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]
    table = [(t.name, t.dtype, t.shape, t.bytes) for _, t in sorted(tensors.items())]
    return hashlib.sha256(json.dumps([config, table, stats]).encode("utf-8")).hexdigest()


def slab_rows(shape: tuple[int, ...], max_bytes: int) -> int:
    """Rows of a tensor of this shape that fill about `max_bytes` as float32; at least one."""
    row = 4
    for n in shape[1:]:
        row *= n
    return max(1, max_bytes // max(row, 1))
