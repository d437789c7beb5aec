"""A soul: what training adds to a converted model, in one small file (docs/FORMAT.md section 4)."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.errors import FormatError
from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry, as_bytes, header_bytes

F32 = npt.NDArray[np.float32]

FORMAT = {"format": "bitconverter-soul", "format_version": "1", "adapter": "gain"}
ENDING = ".gain"
PIECE = 1 << 20  # bytes read between two looks at the cancel flag
SPACE = 4096  # the header is padded to a multiple of this
MOST_HEADER = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Soul:
    """gains: {matrix name without .weight: f32 [rows]}, factors of the rows' scales, positive and finite;
    base_sha256: weights_hash() of the model that they belong to; notes: free text by key."""

    gains: dict[str, F32]
    base_name: str
    base_sha256: str
    notes: dict[str, str]


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
    arrays = {name + ENDING: np.ascontiguousarray(gain, "<f4") for name, gain in sorted(soul.gains.items())}
    metadata = {**FORMAT, "base_name": soul.base_name, "base_sha256": soul.base_sha256}
    metadata |= {f"note.{key}": text for key, text in sorted(soul.notes.items())}

    def entries(offset: int) -> list[TensorEntry]:
        placed = []
        for name, array in arrays.items():
            placed.append(TensorEntry(name, "F32", array.shape, offset, array.nbytes))
            offset += array.nbytes
        return placed

    longest = header_bytes(entries(10**12), MOST_HEADER, metadata).rstrip(b" ")
    space = -(-len(longest) // SPACE) * SPACE
    return header_bytes(entries(space), space, metadata) + b"".join(as_bytes(a) for a in arrays.values())


def read_soul(path: Path) -> Soul:
    """Raises FormatError saying what is wrong with the file; OSError if it cannot be read at all."""
    file = SafetensorsFile(path)
    metadata = file.metadata
    for key, value in FORMAT.items():
        if metadata.get(key) != value:
            raise _broken(path, f"its {key} is {str(metadata.get(key))[:60]!r}, must be {value!r}")
    base = metadata.get("base_sha256", "")
    if not _SHA256.fullmatch(base):
        raise _broken(path, "it does not say which model it belongs to")
    gains = {}
    for name, entry in file.tensors.items():
        if not name.endswith(ENDING) or entry.dtype != "F32" or len(entry.shape) != 1:
            raise _broken(path, f"its tensor {name[:80]!r} is not a row of gains")
        gain = file.read_rows(name, 0, entry.shape[0]).astype(np.float32)
        if not (np.isfinite(gain).all() and (gain > 0).all()):
            raise _broken(path, f"the gains of {name[:80]!r} are not all positive numbers")
        gains[name.removesuffix(ENDING)] = gain
    notes = {key.removeprefix("note."): text for key, text in metadata.items() if key.startswith("note.")}
    return Soul(gains, metadata.get("base_name", ""), base, notes)


def _broken(path: Path, reason: str, **fields: Any) -> FormatError:
    return FormatError(
        "soul-broken",
        f"{path} is not a soul that can be used: {reason}. Copy it again.",
        path=str(path),
        **fields,
    )
