"""A soul: what training adds to a converted model, in one small file (docs/FORMAT.md section 4)."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.errors import FormatError
from bitconverter.format.safetensors_file import (
    SafetensorsFile,
    TensorEntry,
    as_bytes,
    header_bytes,
    read_exactly,
)

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

VERSION = 1
FORMAT = {"format": "bitconverter-soul", "format_version": str(VERSION)}
ASIDE = ".aside"  # behind the name of a soul that was set aside
GAIN, LORA_A, LORA_B = ".gain", ".lora_a", ".lora_b"
DELTA, DELTA_SCALES = ".delta_planes", ".delta_scales"
PIECE = 1 << 20  # bytes read between two looks at the cancel flag
SPACE = 4096  # the header is padded to a multiple of this
MOST_HEADER = 1 << 20
MOST_RANK = 256
MOST_PLANES = 4
CONTENT = "content_sha256"  # a soul written before there was one has none
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Adapters:
    """What was trained, one of the three, by matrix name without .weight: gains, f32 [rows], factors of the rows'
    scales, positive and finite; lora, A f32 [rank, cols] and B f32 [rows, rank] of y = W x + B (A x), finite; delta, D
    of y = W x + D x as planes u8 [n_planes, ceil(rows/5), cols] in the basis of the model's and scales f32 [rows]."""

    gains: dict[str, F32] = field(default_factory=dict)
    lora: dict[str, tuple[F32, F32]] = field(default_factory=dict)
    delta: dict[str, tuple[U8, F32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Soul:
    """gains, lora and delta as in Adapters;
    base_sha256: weights_hash() of the model that they belong to; notes: free text by key."""

    gains: dict[str, F32]
    base_name: str
    base_sha256: str
    notes: dict[str, str]
    lora: dict[str, tuple[F32, F32]] = field(default_factory=dict)
    delta: dict[str, tuple[U8, F32]] = field(default_factory=dict)

    @property
    def on_processor(self) -> bool:
        """It holds something that runs on the processor only."""
        return bool(self.lora or self.delta)


def weights_hash(files: Iterable[Path], between: Callable[[], None] = lambda: None) -> str:
    """SHA-256 over the bytes of a model's weight files, one after the other in the order of their names."""
    sha = hashlib.sha256()
    for path in sorted(files):
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                between()
                sha.update(piece)
    return sha.hexdigest()


def soul_bytes(soul: Soul) -> bytes:
    """The file's content; it depends on the soul alone."""
    parts: dict[str, npt.NDArray[Any]] = {name + GAIN: gain for name, gain in soul.gains.items()}
    for name, (a, b) in soul.lora.items():
        parts |= {name + LORA_A: a, name + LORA_B: b}
    for name, (planes, scales) in soul.delta.items():
        parts |= {name + DELTA: planes, name + DELTA_SCALES: scales}
    arrays = {
        name: np.ascontiguousarray(part, "u1" if part.dtype == np.uint8 else "<f4")
        for name, part in sorted(parts.items())
    }
    metadata = {
        **FORMAT,
        "adapter": "delta" if soul.delta else "lora" if soul.lora else "gain",
        "base_name": soul.base_name,
        "base_sha256": soul.base_sha256,
    }
    metadata |= {f"note.{key}": text for key, text in sorted(soul.notes.items())}

    def entries(offset: int) -> list[TensorEntry]:
        placed = []
        for name, array in arrays.items():
            kind = "U8" if array.dtype == np.uint8 else "F32"
            placed.append(TensorEntry(name, kind, array.shape, offset, array.nbytes))
            offset += array.nbytes
        return placed

    metadata[CONTENT] = _content_sha256(metadata, entries(0), map(as_bytes, arrays.values()))
    longest = header_bytes(entries(10**12), MOST_HEADER, metadata).rstrip(b" ")
    space = -(-len(longest) // SPACE) * SPACE
    return header_bytes(entries(space), space, metadata) + b"".join(as_bytes(a) for a in arrays.values())


def read_soul(path: Path) -> Soul:
    """Raises FormatError saying what is wrong with the file; OSError if it cannot be read at all."""
    file = SafetensorsFile(path)
    metadata = file.metadata
    check_format(path, metadata)
    kind = metadata.get("adapter", "")
    if kind not in _READERS:
        raise _broken(path, f"its adapter is {kind[:60]!r}, must be {' or '.join(map(repr, _READERS))}")
    base = metadata.get("base_sha256", "")
    if not _SHA256.fullmatch(base):
        raise _broken(path, "it does not say which model it belongs to")
    entries = sorted(file.tensors.values(), key=lambda entry: entry.name)
    content = metadata.pop(CONTENT, None)
    if content is not None and content != _content_sha256(metadata, entries, _pieces(path, entries)):
        raise _broken(path, "its content is not what was written")
    adapters = _READERS[kind](path, file)
    notes = {key.removeprefix("note."): text for key, text in metadata.items() if key.startswith("note.")}
    return Soul(adapters.gains, metadata.get("base_name", ""), base, notes, adapters.lora, adapters.delta)


def check_format(path: Path, metadata: dict[str, str]) -> None:
    """Raises FormatError for a file that is no soul, or one of a newer version of this program."""
    version = metadata.get("format_version", "")
    if metadata.get("format") == FORMAT["format"] and version.isdecimal() and int(version[:9]) > VERSION:
        raise FormatError(
            "soul-newer",
            f"{path} was made by a newer version of this program (format {version[:9]}, this one knows {VERSION}). "
            "Update this program to use it.",
            path=str(path), version=version[:9], known=VERSION,
        )  # fmt: skip
    for key, value in FORMAT.items():
        if metadata.get(key) != value:
            raise _broken(path, f"its {key} is {str(metadata.get(key))[:60]!r}, must be {value!r}")


def _content_sha256(
    metadata: dict[str, str], entries: list[TensorEntry], pieces: Iterable[bytes | memoryview]
) -> str:
    """Over a line of JSON with all other metadata and what the tensors are, and the tensors' bytes, in the order of
    their names."""
    tensors = [[entry.name, entry.dtype, list(entry.shape)] for entry in entries]
    told = {"metadata": metadata, "tensors": tensors}
    line = json.dumps(told, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    sha = hashlib.sha256(line.encode() + b"\n")
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def _pieces(path: Path, entries: Iterable[TensorEntry]) -> Iterator[bytes | memoryview]:
    """The tensors' bytes, one after the other."""
    with open(path, "rb") as file:
        for entry in entries:
            file.seek(entry.offset)
            for at in range(0, entry.bytes, PIECE):
                yield file.read(min(PIECE, entry.bytes - at))


def _read_gains(path: Path, file: SafetensorsFile) -> Adapters:
    gains = {}
    for name, entry in file.tensors.items():
        if not name.endswith(GAIN) or entry.dtype != "F32" or len(entry.shape) != 1:
            raise _broken(path, f"its tensor {name[:80]!r} is not a row of gains")
        gain = file.read_rows(name, 0, entry.shape[0]).astype(np.float32)
        if not (np.isfinite(gain).all() and (gain > 0).all()):
            raise _broken(path, f"the gains of {name[:80]!r} are not all positive numbers")
        gains[name.removesuffix(GAIN)] = gain
    return Adapters(gains)


def _read_lora(path: Path, file: SafetensorsFile) -> Adapters:
    lora = {}
    for name, entry in file.tensors.items():
        if not name.endswith((LORA_A, LORA_B)) or entry.dtype != "F32" or len(entry.shape) != 2:
            raise _broken(path, f"its tensor {name[:80]!r} is not a part of a low-rank addition")
    for name in [name.removesuffix(LORA_A) for name in file.tensors if name.endswith(LORA_A)]:
        if name + LORA_B not in file.tensors:
            raise _broken(path, f"{name[:80]!r} has only one part of its addition")
        a, b = (
            file.read_rows(part, 0, file.tensors[part].shape[0]).astype(np.float32)
            for part in (name + LORA_A, name + LORA_B)
        )
        if a.shape[0] != b.shape[1] or not 1 <= a.shape[0] <= MOST_RANK:
            raise _broken(path, f"the ranks of {name[:80]!r} are {a.shape[0]} and {b.shape[1]}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise _broken(path, f"the addition to {name[:80]!r} is not all numbers")
        lora[name] = a, b
    if 2 * len(lora) != len(file.tensors):
        raise _broken(path, "it has a part of an addition alone")
    return Adapters(lora=lora)


def _bytes(path: Path, entry: TensorEntry) -> U8:
    out = np.empty(entry.shape, np.uint8)
    with open(path, "rb") as file:
        file.seek(entry.offset)
        read_exactly(file, out.data.cast("B"), path)
    return out


def _read_delta(path: Path, file: SafetensorsFile) -> Adapters:
    delta = {}
    for name in [name.removesuffix(DELTA) for name in file.tensors if name.endswith(DELTA)]:
        planes, scales = (file.tensors.get(name + ending) for ending in (DELTA, DELTA_SCALES))
        if planes is None or planes.dtype != "U8" or len(planes.shape) != 3 or 0 in planes.shape:
            raise _broken(path, f"what is added to {name[:80]!r} is not planes")
        if scales is None or scales.dtype != "F32" or len(scales.shape) != 1:
            raise _broken(path, f"the planes of {name[:80]!r} have no scales")
        if planes.shape[0] > MOST_PLANES or planes.shape[1] != -(-scales.shape[0] // 5):
            raise _broken(path, f"the planes of {name[:80]!r} are {planes.shape} for {scales.shape[0]} rows")
        rows = file.read_rows(name + DELTA_SCALES, 0, scales.shape[0]).astype(np.float32)
        if not np.isfinite(rows).all():
            raise _broken(path, f"the scales of {name[:80]!r} are not all numbers")
        delta[name] = _bytes(path, planes), rows
    if 2 * len(delta) != len(file.tensors):
        raise _broken(path, "it has something beside the matrices that are added")
    return Adapters(delta=delta)


_READERS = {"gain": _read_gains, "lora": _read_lora, "delta": _read_delta}


def _broken(path: Path, reason: str, **fields: Any) -> FormatError:
    return FormatError(
        "soul-broken",
        f"{path} is not a soul that can be used: {reason}. Copy it again.",
        path=str(path),
        **fields,
    )
