"""A pack, NAME.u32: what a model is to learn, as token ids, in one file (docs/FORMAT.md section 6).

Also the raw kind that other programs write: token ids without a header, and a .mask beside it.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import replacing
from bitconverter.format.errors import FormatError
from bitconverter.format.safetensors_file import (
    SafetensorsFile,
    TensorEntry,
    as_bytes,
    header_bytes,
    read_exactly,
)

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

FORMAT = {"format": "bitconverter-pack", "format_version": "1"}
TEXT, EXAMPLE = 0, 1  # kinds of entries
SPACE = 4096  # the header is padded to a multiple of this
MOST_HEADER = 16 << 20
MOST_TOKEN = 2**31 - 1  # the engine's ids are i32
HASHED_AT_ONCE = 16 << 20
DTYPES: dict[str, tuple[str, str]] = {  # name: (safetensors' dtype, numpy's), in the order of the file
    "offsets": ("U64", "<u8"), "tokens": ("U32", "<u4"), "places": ("U32", "<u4"),
    "held": ("U8", "u1"), "kinds": ("U8", "u1"), "mask": ("U8", "u1"),
}  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pack:
    """`n` tokens in `e` entries: pieces of texts (which may be cut anywhere) and examples (which stay whole).

    tokens u32 [n]; offsets u64 [e + 1]: entry i is tokens[offsets[i] : offsets[i + 1]]; mask u8 [n]: 1 where a token
    is learned, never the first of an entry; kinds u8 [e]: TEXT or EXAMPLE; held u8 [e]: 1 for what is held back to
    check with; places u32 [e, 2]: number in `files` and line. `window`: the longest example has at most this many
    tokens and one more; `together`: examples may share a window. notes: free text by key.
    """

    tokens: U32
    offsets: U64
    mask: U8
    kinds: U8
    held: U8
    places: U32
    files: tuple[str, ...]
    name: str
    tokenizer_sha256: str
    window: int
    together: bool = False
    notes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.kinds)

    def entry(self, number: int) -> tuple[U32, U8]:
        """Tokens and mask of one entry."""
        part = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return self.tokens[part], self.mask[part]


def write_pack(path: Path, pack: Pack, new: bool = False) -> None:
    """Whole or not there; the bytes depend on the pack alone. `new`: raises FileExistsError rather than replace."""
    arrays = {name: np.ascontiguousarray(getattr(pack, name), numpy) for name, (_, numpy) in DTYPES.items()}
    metadata = {
        **FORMAT, "name": pack.name, "tokenizer_sha256": pack.tokenizer_sha256, "window": str(pack.window),
        "together": "yes" if pack.together else "no",
        "files": json.dumps(pack.files, ensure_ascii=True),
        "sha256": _hash([as_bytes(array) for array in arrays.values()]),
    }  # fmt: skip
    metadata |= {f"note.{key}": text for key, text in sorted(pack.notes.items())}

    def entries(offset: int) -> list[TensorEntry]:
        placed = []
        for name, array in arrays.items():
            placed.append(TensorEntry(name, DTYPES[name][0], array.shape, offset, array.nbytes))
            offset += array.nbytes
        return placed

    longest = header_bytes(entries(10**15), MOST_HEADER, metadata).rstrip(b" ")
    space = -(-len(longest) // SPACE) * SPACE
    with replacing(path, new) as file:
        file.write(header_bytes(entries(space), space, metadata))
        for array in arrays.values():
            file.write(as_bytes(array))


def read_pack(path: Path, between: Callable[[], None] = lambda: None) -> Pack:
    """Raises FormatError("pack-broken") saying what is wrong; OSError if it cannot be read at all."""
    try:
        file = SafetensorsFile(path)
    except FormatError as error:
        why = str(error.fields.get("why") or "it is no safetensors file")
        raise _broken(path, f"{why} (a raw .u32 of another program must go through prepare first)") from None
    metadata = file.metadata
    for key, value in FORMAT.items():
        if metadata.get(key) != value:
            raise _broken(path, f"its {key} is {str(metadata.get(key))[:60]!r}, must be {value!r}")
    if set(file.tensors) != set(DTYPES):
        raise _broken(path, f"its tensors are {sorted(file.tensors)[:12]}, must be {sorted(DTYPES)}")
    arrays = {name: _array(path, file.tensors[name], between) for name in file.tensors}
    in_order = sorted(file.tensors.values(), key=lambda entry: entry.offset)
    if metadata.get("sha256") != _hash([as_bytes(arrays[entry.name]) for entry in in_order], between):
        raise _broken(path, "its SHA-256 does not fit its content")
    pack = Pack(
        **arrays,
        files=_files(path, metadata),
        name=metadata.get("name", ""),
        tokenizer_sha256=metadata.get("tokenizer_sha256", ""),
        window=_window(path, metadata),
        together=_together(path, metadata),
        notes={key.removeprefix("note."): text for key, text in metadata.items() if key.startswith("note.")},
    )
    if not _SHA256.fullmatch(pack.tokenizer_sha256):
        raise _broken(path, "it does not say which tokenizer it was made with")
    _check(path, pack)
    return pack


def read_raw(path: Path) -> tuple[U32, U8 | None]:
    """Token ids of a file without a header, and the mask beside it (NAME.mask, a byte a token) if there is one.

    Raises FormatError("raw-empty", "raw-size", "raw-token", "raw-mask-size", "raw-mask-value"); OSError if a file
    cannot be read at all.
    """
    data = path.read_bytes()
    if not data:
        raise _raw(path, "raw-empty", "it is empty")
    if len(data) % 4:
        raise _raw(path, "raw-size", f"its size ({len(data)} bytes) is no multiple of 4", size=len(data))
    tokens = np.frombuffer(data, "<u4")
    if int(tokens.max()) > MOST_TOKEN:
        at = int(np.argmax(tokens > MOST_TOKEN))
        found = int(tokens[at])
        raise _raw(
            path, "raw-token", f"number {at} in it is {found}, which is no token id", place=at, token=found
        )
    beside = path.with_suffix(".mask")
    if not beside.is_file():
        return tokens, None
    mask = np.frombuffer(beside.read_bytes(), np.uint8)
    if len(mask) != len(tokens):
        why = f"it has {len(tokens)} tokens, and {beside.name} {len(mask)} bytes"
        raise _raw(path, "raw-mask-size", why, tokens=len(tokens), mask=beside.name, size=len(mask))
    if int(mask.max()) > 1:
        at = int(np.argmax(mask > 1))
        why = f"byte {at} of {beside.name} is neither 0 nor 1"
        raise _raw(path, "raw-mask-value", why, place=at, mask=beside.name)
    return tokens, mask


def looks_raw(path: Path) -> bool:
    """Whether a .u32 file has no header of ours: a safetensors file says {" at its ninth byte."""
    with open(path, "rb") as file:
        return file.read(10)[8:10] != b'{"'


def _array(path: Path, entry: TensorEntry, between: Callable[[], None]) -> np.ndarray:
    dtype, numpy = DTYPES[entry.name]
    if entry.dtype != dtype or len(entry.shape) != (2 if entry.name == "places" else 1):
        raise _broken(path, f"its tensor {entry.name} is {entry.dtype} {list(entry.shape)}, must be {dtype}")
    out = np.empty(entry.shape, numpy)
    view = out.data.cast("B") if out.size else memoryview(b"")
    with open(path, "rb") as file:
        file.seek(entry.offset)
        for start in range(0, len(view), HASHED_AT_ONCE):
            between()
            read_exactly(file, view[start : start + HASHED_AT_ONCE], path)
    return out


def _check(path: Path, pack: Pack) -> None:
    entries, count = len(pack.kinds), len(pack.tokens)
    shapes = {
        "offsets": (pack.offsets.shape, (entries + 1,)), "mask": (pack.mask.shape, (count,)),
        "held": (pack.held.shape, (entries,)), "places": (pack.places.shape, (entries, 2)),
    }  # fmt: skip
    for name, (shape, expected) in shapes.items():
        if shape != expected:
            raise _broken(path, f"its tensor {name} has the shape {list(shape)}, must have {list(expected)}")
    if not entries:
        raise _broken(path, "it holds nothing")
    offsets = pack.offsets
    if offsets[0] != 0 or offsets[-1] != count or (offsets[1:] <= offsets[:-1]).any():
        raise _broken(path, f"its offsets do not divide {count} tokens")
    if count and int(pack.tokens.max()) > MOST_TOKEN:
        raise _broken(path, f"{int(pack.tokens.max())} is no token id")
    for name, array in (("mask", pack.mask), ("kinds", pack.kinds), ("held", pack.held)):
        if int(array.max()) > 1:
            raise _broken(path, f"its tensor {name} holds other values than 0 and 1")
    if pack.mask[offsets[:-1]].any():
        raise _broken(path, "the first token of an entry is to be learned, which nothing comes before")
    if int(pack.places[:, 0].max()) >= len(pack.files):
        raise _broken(path, "an entry comes from a file that it does not name")
    lengths = (offsets[1:] - offsets[:-1])[pack.kinds == EXAMPLE]
    if len(lengths) and int(lengths.max()) > pack.window + 1:
        raise _broken(path, f"an example has {int(lengths.max())} tokens, with windows of {pack.window}")


def _files(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        files = json.loads(metadata.get("files", ""))
    except (ValueError, RecursionError):
        files = None
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise _broken(path, "it does not say which files it was made of")
    return tuple(files)


def _window(path: Path, metadata: dict[str, str]) -> int:
    text = metadata.get("window", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise _broken(path, f"its window is {text[:60]!r}, must be a number of tokens")
    return int(text)


def _together(path: Path, metadata: dict[str, str]) -> bool:
    word = metadata.get("together", "")
    if word not in ("yes", "no"):
        raise _broken(path, f"its together is {word[:60]!r}, must be yes or no")
    return word == "yes"


def _hash(parts: list[Any], between: Callable[[], None] = lambda: None) -> str:
    sha = hashlib.sha256()
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), HASHED_AT_ONCE):
            between()
            sha.update(view[start : start + HASHED_AT_ONCE])
    return sha.hexdigest()


def _broken(path: Path, reason: str) -> FormatError:
    return FormatError(
        "pack-broken",
        f"{path} is not a pack that can be used: {reason}. Prepare the material again.",
        path=str(path), reason=reason,
    )  # fmt: skip


def _raw(path: Path, code: str, reason: str, **fields: Any) -> FormatError:
    return FormatError(
        code,
        f"{path} cannot be read as raw token ids: {reason}. Write it again: 4 bytes a token, little-endian, and for "
        "its .mask one byte a token.",
        path=str(path), reason=reason, **fields,
    )  # fmt: skip
