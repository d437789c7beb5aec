"""Reading safetensors files by plain file reads; every header is treated as hostile.

The format (github.com/huggingface/safetensors): u64 length of the header, the header as a JSON object
{name: {"dtype", "shape", "data_offsets": [begin, end]}}, then the data, which the tensors cover
without a hole or an overlap.
"""

import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.format.errors import FormatError

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
WEIGHT_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
}
MAX_HEADER = 100 * 1024 * 1024  # bytes, the limit of the safetensors library
READ_PIECE = 16 * 1024 * 1024  # bytes per system call


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: where its bytes lie (`offset` counts from the file's start)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


class SafetensorsFile:
    """The checked table of contents of one file. Holds no open file and no mapping."""

    def __init__(self, path: Path) -> None:
        """Raises FormatError naming the file; OSError if it cannot be read at all."""
        self.path = path
        found = path.stat()
        size = found.st_size
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(
            found.st_mode
        ):  # opening a pipe waits for ever
            raise _broken(path, "it is no file but a pipe or a device")
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise _broken(path, f"it has only {size} bytes; the download may be incomplete")
            (length,) = struct.unpack("<Q", start)
            if length < 2 or length > MAX_HEADER:
                raise _broken(path, f"its header claims {length} bytes; this is not a safetensors file")
            if 8 + length > size:
                raise _short(path, size, 8 + length)
            text = file.read(length)
        self.metadata, self.tensors = _parse_header(path, text, 8 + length, size)

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop of a BF16 (as uint16 bits), F16 or F32 tensor: [stop - start, *shape[1:]].

        A tensor without dimensions has one row. Raises FormatError for other dtypes or a file cut short.
        """
        entry = self.tensors[name]
        if entry.dtype not in WEIGHT_DTYPES:
            raise FormatError(
                "tensor-dtype",
                f"{self.path.name}: tensor {name} is stored as {entry.dtype}; only BF16, F16 and F32 weights are read.",
                file=self.path.name, tensor=name, dtype=entry.dtype,
            )  # fmt: skip
        shape = entry.shape or (1,)
        out = np.empty((stop - start, *shape[1:]), WEIGHT_DTYPES[entry.dtype])
        row_bytes = entry.bytes // shape[0] if shape[0] else 0
        with open(self.path, "rb") as file:
            file.seek(entry.offset + start * row_bytes)
            read_exactly(file, out.data.cast("B") if out.size else memoryview(b""), self.path)
        return out


def read_exactly(file: Any, view: memoryview, path: Path) -> None:
    """Fill `view` from an open binary file. Raises FormatError when the file ends first."""
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + READ_PIECE])
        if not count:
            raise _broken(path, f"it ended {len(view) - done} bytes too early while it was being read")
        done += count


def header_bytes(tensors: list[TensorEntry], space: int, metadata: dict[str, str]) -> bytes:
    """The first `space` bytes of a file whose data starts there; padded with spaces, which the format allows.

    `offset` of the entries counts from the file's start. Raises ValueError when the space is too small.
    """
    table: dict[str, Any] = {"__metadata__": metadata}
    for entry in tensors:
        begin = entry.offset - space
        table[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [begin, begin + entry.bytes],
        }
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    if 8 + len(text) > space:
        raise ValueError(f"the header needs {8 + len(text)} bytes, {space} are reserved")
    return struct.pack("<Q", space - 8) + text.ljust(space - 8, b" ")


def as_bytes(array: np.ndarray) -> memoryview | bytes:
    """The array's bytes in C order, without a copy where it already lies so."""
    contiguous = np.ascontiguousarray(array)
    return contiguous.data.cast("B") if contiguous.size else b""


def _parse_header(
    path: Path, text: bytes, data_start: int, size: int
) -> tuple[dict[str, str], dict[str, TensorEntry]]:
    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"its header is not valid JSON ({error})") from None
    if not isinstance(table, dict):
        raise _broken(path, "its header is not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken(path, "its __metadata__ is not an object of strings")
    entries = [_entry(path, name, value, data_start) for name, value in table.items()]
    end = data_start
    for entry in sorted(entries, key=lambda e: (e.offset, e.bytes)):
        if entry.offset != end:
            what = "a hole" if entry.offset > end else "an overlap"
            raise _broken(path, f"its tensor table has {what} at tensor {entry.name}")
        end = entry.offset + entry.bytes
    if end > size:
        raise _short(path, size, end)
    if end < size:
        raise _broken(path, f"{size - end} bytes follow the last tensor")
    return metadata, {entry.name: entry for entry in entries}


def _entry(path: Path, name: str, value: Any, data_start: int) -> TensorEntry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"tensor {name} lacks dtype, shape or data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _broken(path, f"tensor {name} has the unknown dtype {dtype!r}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_natural(n) for n in shape):
        raise _broken(path, f"tensor {name} has the impossible shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_natural(n) for n in offsets):
        raise _broken(path, f"tensor {name} has impossible data_offsets")
    count = 1
    for n in shape:
        count *= n
    begin, end = offsets
    if end - begin != count * DTYPE_BYTES[dtype]:
        raise _broken(
            path, f"tensor {name} of shape {shape} and dtype {dtype} cannot have {end - begin} bytes"
        )
    return TensorEntry(name, dtype, tuple(shape), data_start + begin, end - begin)


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name appears twice")
    return out


def _broken(path: Path, why: str) -> FormatError:
    return FormatError(
        "safetensors-broken",
        f"{path.name} cannot be used: {why}. Download this file again.",
        file=path.name, path=os.fspath(path), why=why,
    )  # fmt: skip


def _short(path: Path, size: int, needed: int) -> FormatError:
    return FormatError(
        "safetensors-short",
        f"{path.name} is incomplete: it has {size} bytes, its header needs {needed}. Download this file again.",
        file=path.name, path=os.fspath(path), size=size, needed=needed,
    )  # fmt: skip
