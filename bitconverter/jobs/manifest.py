"""manifest.json of a converted model (docs/FORMAT.md), read with suspicion: it may be damaged, or anybody's."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bitconverter.format.errors import UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredTensor:
    """`error`: the relative squared error, where the conversion noted one."""

    sha256: str
    error: float | None


@dataclass(frozen=True)
class StoredFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a conversion noted: stored tensors and other files by name, the source's name, the program."""

    tensors: dict[str, StoredTensor]
    files: dict[str, StoredFile]
    source: str
    tool: str


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, None if there is none. Raises UserError("manifest-damaged")."""
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        root = _object(value, "it")
        source = _object(root.get("source", {}), '"source"')
        return Manifest(
            {name: _tensor(note, name) for name, note in _object(root.get("tensors"), '"tensors"').items()},
            {name: _file(note, name) for name, note in _object(root.get("files"), '"files"').items()},
            _text(source.get("name", ""), '"source.name"'),
            _text(root.get("tool", ""), '"tool"'),
        )
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            "manifest-damaged",
            f"{path} is damaged ({error}). Copy the folder again, or convert again.",
            path=str(path),
        ) from error


def _tensor(note: Any, name: str) -> StoredTensor:
    fields = _object(note, f"the entry of tensor {_short(name)}")
    error = fields.get("relative_squared_error")
    return StoredTensor(_sha256(fields, name), None if error is None else _number(error, name))


def _file(note: Any, name: str) -> StoredFile:
    fields = _object(note, f"the entry of file {_short(name)}")
    if not _is_inside(name):
        raise ValueError(f"{_short(name)} is no file of this folder")
    size = fields.get("bytes")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"the size of {_short(name)} is no number of bytes")
    return StoredFile(size, _sha256(fields, name))


def _is_inside(name: str) -> bool:
    """A relative path that leads nowhere else, on any system."""
    whole = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root
    return bool(name) and "\0" not in name and not whole and ".." not in re.split(r"[/\\]", name)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text")
    return value


def _sha256(fields: dict[str, Any], name: str) -> str:
    value = fields.get("sha256")
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"the SHA-256 of {_short(name)} is none")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise ValueError(f"the error of {_short(name)} is no number")


def _short(name: str) -> str:
    return ascii(name[:100])
