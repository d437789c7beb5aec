"""The append-only writer of a converted model's weight file (docs/FORMAT.md 1.2 and 2).

Space for the header is reserved first, tensors follow one after the other, each at a multiple of 64
bytes, and the header is written last: until then the file cannot be opened as safetensors.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import TensorEntry, as_bytes, header_bytes
from bitconverter.format.size_text import at_least, at_most

ALIGN = 64
SYNC_BYTES = 64 * 1024 * 1024  # between syncs, so that no single one takes long
METADATA = {"format": "pt"}
FULL_ERRORS = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class Part:
    """One stored tensor: its place in the file and the SHA-256 of its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int
    sha256: str

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    @staticmethod
    def from_record(record: dict[str, Any]) -> "Part":
        return Part(**{**record, "shape": tuple(record["shape"])})


class WeightFile:
    """Writes parts one after the other; `parts` are those written so far, in file order."""

    def __init__(self, path: Path, header_space: int, parts: list[Part]) -> None:
        """Open `path`, cutting off what lies behind the given committed parts."""
        assert header_space % ALIGN == 0
        self.path = path
        self.parts = list(parts)
        self._space = header_space
        self._unsynced = 0
        self._end = parts[-1].offset + parts[-1].bytes if parts else header_space
        mode = "r+b" if path.exists() else "x+b"
        self._file = open(path, mode, buffering=0)  # noqa: SIM115 - closed by close()
        self._guard(lambda: self._file.truncate(self._end))

    def write(self, name: str, dtype: str, shape: tuple[int, ...], values: np.ndarray) -> Part:
        """Append one tensor. Not durable before sync()."""
        with self.part(name, dtype, shape) as part:
            part.append(values)
        return part.written

    def part(self, name: str, dtype: str, shape: tuple[int, ...]) -> "PartWriter":
        """Append one tensor in pieces: a context manager with append(); `written` when it is left."""
        offset = -(-self._end // ALIGN) * ALIGN
        self.append(bytes(offset - self._end))
        return PartWriter(self, Part(name, dtype, tuple(shape), offset, 0, ""))

    def append(self, data: bytes | memoryview) -> None:
        """Bytes at the end of the file. Raises UserError("disk-full")."""
        self._guard(lambda: self._write(data, at=self._end))
        self._end += len(data)

    def sync(self) -> None:
        """Make all parts written so far durable."""
        self._guard(self._sync)

    def finish(self) -> None:
        """Write the header into its reserved space and sync: from now on the file is whole."""
        header = header_bytes(_with_padding(self.parts, self._space), self._space, METADATA)
        self._guard(lambda: self._write(header, at=0))
        self.sync()

    def close(self) -> None:
        self._file.close()

    def check_part(self, part: Part, between: Callable[[], None] = lambda: None) -> bool:
        """Whether the file still holds the bytes of this committed part; `between` is called now and then."""
        sha = hashlib.sha256()
        self._file.seek(part.offset)
        left = part.bytes
        while left:
            between()
            piece = self._file.read(min(left, 16 * 1024 * 1024))
            if not piece:
                return False
            sha.update(piece)
            left -= len(piece)
        return sha.hexdigest() == part.sha256

    def _write(self, data: bytes | memoryview, at: int) -> None:
        self._file.seek(at)
        view = memoryview(data)
        while len(view):
            count = self._file.write(view[:SYNC_BYTES])  # may be fewer: a full disk ends with a short write
            view = view[count:]
            self._unsynced += count
            if self._unsynced >= SYNC_BYTES:
                self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def _guard(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            if error.errno in FULL_ERRORS:
                raise disk_full(self.path.parent) from error
            raise


class PartWriter:
    """One tensor being appended to a WeightFile."""

    def __init__(self, file: WeightFile, part: Part) -> None:
        self.written = part
        self._file = file
        self._bytes = 0
        self._sha = hashlib.sha256()

    def __enter__(self) -> "PartWriter":
        return self

    def append(self, values: np.ndarray) -> None:
        """The next values, in C order."""
        data = as_bytes(values)
        self._sha.update(data)
        self._file.append(data)
        self._bytes += len(data)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.written = replace(self.written, bytes=self._bytes, sha256=self._sha.hexdigest())
            self._file.parts.append(self.written)


def disk_full(folder: Path, needed: int | None = None) -> UserError:
    """The error for a full disk: what is there stays, and the same conversion can go on later. `needed`: bytes that
    would have to be free, all together."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = 0
    told = f"{at_most(free)} are free"
    if needed is not None:
        told = f"{at_least(needed)} are needed, {told}"
    return UserError(
        "disk-full",
        f"The disk of {folder} is full: {told}. Make room and start the same conversion again: it goes on where it "
        "stopped.",
        folder=os.fspath(folder), free=free, needed=needed,
    )  # fmt: skip


def header_space(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    """Bytes that hold the header of a file with these (name, shape) tensors, whatever their dtypes and offsets."""
    far = 10**15
    entries: list[TensorEntry] = []
    for k, (name, shape) in enumerate(tensors):
        entries.append(TensorEntry(name, "BF16", shape, far, far))
        entries.append(TensorEntry(f"__pad__.{k}", "U8", (ALIGN,), far, far))
    table = 64 + sum(len(header_bytes([entry], 4096, METADATA).rstrip(b" ")) for entry in entries)
    return -(-(8 + table) // 4096) * 4096


def _with_padding(parts: list[Part], space: int) -> list[TensorEntry]:
    entries: list[TensorEntry] = []
    end = space
    for part in parts:
        if part.offset > end:
            gap = part.offset - end
            pads = sum(entry.name.startswith("__pad__.") for entry in entries)
            entries.append(TensorEntry(f"__pad__.{pads}", "U8", (gap,), end, gap))
        entries.append(TensorEntry(part.name, part.dtype, part.shape, part.offset, part.bytes))
        end = part.offset + part.bytes
    return entries
