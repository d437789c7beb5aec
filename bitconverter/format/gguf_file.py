"""Reading .gguf files: the header, checked as hostile input, and tensors by rows with plain file reads.

Tensor types and their dequantization are the gguf library's. Its reader is not used on files of unknown
origin: it follows impossible lengths for ever, maps the whole file, and takes seconds for a vocabulary.
The format: github.com/ggml-org/ggml, docs/gguf.md.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import numpy as np

from bitconverter.format.errors import FormatError
from bitconverter.format.safetensors_file import as_bytes, read_exactly

_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
_PLAIN: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
PIECE_BYTES = 16 * 1024 * 1024  # of float32, dequantized at a time
MAX_DIMS = 4


@dataclass(frozen=True)
class GgufTensor:
    """`shape` outermost first (the file's order reversed); `type` is a name such as "Q4_K" or "F16"."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


class GgufFile:
    """Metadata and the table of tensors of one file. Holds no open file."""

    def __init__(self, path: Path) -> None:
        """Raises FormatError naming the file."""
        self.path = path
        self._size = path.stat().st_size
        self.metadata: dict[str, Any] = {}
        with open(path, "rb", buffering=1 << 20) as file:
            try:
                infos = self._read_header(file)
            except (struct.error, UnicodeDecodeError, _EndOfFileError, RecursionError) as error:
                raise self._broken(f"its header is damaged or cut off ({error})") from None
            start = -(-file.tell() // self._alignment()) * self._alignment()
        self.tensors = {name: self._tensor(name, *info, start) for name, info in infos.items()}
        self._check_apart()

    def read_rows(self, name: str, start: int, stop: int, hasher: Any = None) -> np.ndarray:
        """Rows start..stop: uint16 for BF16, float16 for F16, float32 for all others: [stop - start, *shape[1:]].

        `hasher` is fed the stored bytes. Raises FormatError when the library cannot dequantize the type.
        """
        tensor = self.tensors[name]
        if len(tensor.shape) == 1 and tensor.type not in _PLAIN:
            return self._read_vector(tensor, hasher)[start:stop]
        shape = tensor.shape
        row_bytes = tensor.bytes // shape[0]
        plain = _PLAIN.get(tensor.type)
        out = np.empty((stop - start, *shape[1:]), plain or _PLAIN["F32"])
        row_values = out[:1].size
        step = stop - start if plain else max(1, PIECE_BYTES // (4 * row_values))
        with open(self.path, "rb") as file:
            file.seek(tensor.offset + start * row_bytes)
            for begin in range(0, stop - start, max(step, 1)):
                rows = out[begin : begin + step]
                raw = rows if plain else np.empty((len(rows), row_bytes), np.uint8)
                read_exactly(file, raw.data.cast("B"), self.path)
                if hasher is not None:
                    hasher.update(as_bytes(raw))
                if not plain:
                    rows[...] = dequantize(raw, tensor.type).reshape(rows.shape)
        return out

    def _read_vector(self, tensor: GgufTensor, hasher: Any) -> np.ndarray:
        """A quantized vector: its blocks hold several of its values, so it is read as one row."""
        raw = np.empty((1, tensor.bytes), np.uint8)
        with open(self.path, "rb") as file:
            file.seek(tensor.offset)
            read_exactly(file, raw.data.cast("B"), self.path)
        if hasher is not None:
            hasher.update(as_bytes(raw))
        return dequantize(raw, tensor.type).reshape(-1)

    def _read_header(self, file: BinaryIO) -> dict[str, tuple[tuple[int, ...], int, int]]:
        magic, version, tensors, pairs = struct.unpack("<4sIQQ", self._take(file, 24))
        if magic != b"GGUF":
            raise self._broken("it does not begin as a GGUF file does")
        if version not in (2, 3):
            raise self._broken(f"its version is {version}; versions 2 and 3 in little-endian order are read")
        for _ in range(pairs):
            key = self._string(file)
            (kind,) = struct.unpack("<I", self._take(file, 4))
            self.metadata[key] = self._value(file, kind, depth=0)
        infos: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(tensors):
            name = self._string(file)
            (dims,) = struct.unpack("<I", self._take(file, 4))
            if not 1 <= dims <= MAX_DIMS:
                raise self._broken(f"tensor {name} has {dims} dimensions")
            shape = struct.unpack(f"<{dims}Q", self._take(file, 8 * dims))
            if name in infos:
                raise self._broken(f"tensor {name} appears twice")
            infos[name] = (tuple(reversed(shape)), *struct.unpack("<IQ", self._take(file, 12)))
        return infos

    def _value(self, file: BinaryIO, kind: int, depth: int) -> Any:
        if kind == _STRING:
            return self._string(file)
        if kind != _ARRAY:
            return self._scalars(file, kind, 1)[0]
        if depth > 2:
            raise self._broken("its metadata holds arrays inside arrays inside arrays")
        inner, count = struct.unpack("<IQ", self._take(file, 12))
        if inner in (_STRING, _ARRAY):
            self._check_left(file, 8 * count)
            return [self._value(file, inner, depth + 1) for _ in range(count)]
        return self._scalars(file, inner, count)

    def _scalars(self, file: BinaryIO, kind: int, count: int) -> list[Any]:
        if kind not in _SCALARS:
            raise self._broken(f"its metadata uses the unknown value type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        data = np.frombuffer(self._take(file, dtype.itemsize * count), dtype)
        if dtype == np.dtype("<f4"):  # the shortest decimal that is this float32: 1e-05, not 9.99999974e-06
            return [float(str(value)) for value in data]
        return data.tolist()

    def _string(self, file: BinaryIO) -> str:
        (length,) = struct.unpack("<Q", self._take(file, 8))
        return self._take(file, length).decode("utf-8")

    def _take(self, file: BinaryIO, count: int) -> bytes:
        self._check_left(file, count)
        return file.read(count)

    def _check_left(self, file: BinaryIO, count: int) -> None:
        if count > self._size - file.tell():
            raise _EndOfFileError(f"{count} bytes are announced where {self._size - file.tell()} are left")

    def _alignment(self) -> int:
        value = self.metadata.get("general.alignment", 32)
        if type(value) is not int or value < 8 or value > 1 << 20 or value & (value - 1):
            raise self._broken(f"its alignment is {value!r}")
        return value

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, offset: int, start: int) -> GgufTensor:
        try:
            quantization = gguf.GGMLQuantizationType(kind)
        except ValueError:
            raise self._broken(
                f"tensor {name} has the unknown type {kind}; a newer program may read it"
            ) from None
        block, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
        count = 1
        for n in shape:
            count *= n
        if count == 0 or count >= 2**53 or shape[-1] % block:
            raise self._broken(
                f"tensor {name} of type {quantization.name} has the impossible shape {list(shape)}"
            )
        if offset % self._alignment():
            raise self._broken(f"tensor {name} begins at byte {offset}, no multiple of {self._alignment()}")
        size = count // block * block_bytes
        if start + offset + size > self._size:
            raise FormatError(
                "gguf-short",
                f"{self.path.name} is incomplete: tensor {name} should end at byte {start + offset + size}, "
                f"the file has {self._size}. Download it again.",
                file=self.path.name, tensor=name, size=self._size, needed=start + offset + size,
            )  # fmt: skip
        return GgufTensor(name, quantization.name, shape, start + offset, size)

    def _check_apart(self) -> None:
        """A damaged offset makes one tensor of another's bytes."""
        before: GgufTensor | None = None
        for tensor in sorted(self.tensors.values(), key=lambda tensor: tensor.offset):
            if before is not None and tensor.offset < before.offset + before.bytes:
                raise self._broken(f"tensors {before.name} and {tensor.name} overlap")
            before = tensor

    def _broken(self, why: str) -> FormatError:
        return FormatError(
            "gguf-broken",
            f"{self.path.name} cannot be used: {why}. Download it again, or choose another file.",
            file=self.path.name, path=os.fspath(self.path), why=why,
        )  # fmt: skip


class _EndOfFileError(Exception):
    pass


def dequantize(raw: np.ndarray, kind: str) -> np.ndarray:
    """Rows of stored bytes u8 [rows, row bytes] -> float32 [rows, cols], by the gguf library."""
    quantization = gguf.GGMLQuantizationType[kind]
    try:
        with np.errstate(all="ignore"):  # hostile scales may overflow; the result is checked by its user
            return np.asarray(gguf.quants.dequantize(raw, quantization), np.float32)
    except NotImplementedError:
        raise FormatError(
            "gguf-type", f"GGUF weights of type {kind} cannot be read. Choose a file with another quantization.",
            type=kind,
        ) from None  # fmt: skip


def can_dequantize(kind: str) -> bool:
    """Whether tensors of this type can be read."""
    if kind in _PLAIN:
        return True
    _, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    try:
        dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except FormatError:
        return False
    return kind not in ("I8", "I16", "I32", "I64", "F64")
