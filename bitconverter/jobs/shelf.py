"""What models lie in some folders: originals, conversions of them, unfinished ones, souls. Nothing is copied.

Reads headers and small JSON files only; everything in them may be damaged, or anybody's.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.jobs.job import Context, Progress

if TYPE_CHECKING:
    from bitconverter.format.safetensors_file import SafetensorsFile

DEPTH = 4  # folders below the given one: models--X--Y/snapshots/HASH of the download cache
MOST_MODELS = 2000
GGUF_START = 24  # bytes: the word GGUF, a version, two counts
ORIGINAL, GGUF, CONVERTED, UNFINISHED, SOUL = "original", "gguf", "converted", "unfinished", "soul"
FILES = {".gguf": GGUF, ".soul": SOUL}  # all others are folders


@dataclass(frozen=True)
class ShelfEntry:
    """One model, or a soul. `source`: the name of the original of a conversion, its path for an unfinished one, the
    name of the converted model of a soul. Numbers are 0
    where nothing says them, `perplexity` and `kl` None; `share` 0..1 of an unfinished conversion; `changed`: when,
    in seconds since 1970; `there` False: the drive or folder is missing now; `damaged`: why it cannot be used;
    `code` and `fields` of that, as of a UserError, where it is known;
    `work`: where an unfinished one stands that is not left alone: "running", "waiting" or "paused"."""

    path: str
    name: str
    kind: str
    bytes: int = 0
    family: str = ""
    parameters: int = 0
    bits: float = 0.0
    source: str = ""
    source_bytes: int = 0
    perplexity: float | None = None
    source_perplexity: float | None = None
    kl: float | None = None
    share: float = 0.0
    changed: float = 0.0
    there: bool = True
    damaged: str = ""
    code: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    work: str = ""


@dataclass(frozen=True)
class ScanJob:
    """`folders`: a model each, or folders that hold some. The result is a tuple of ShelfEntry, each path once.

    Emits Progress(unit="model").
    """

    folders: tuple[str, ...]

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> tuple[ShelfEntry, ...]:
        found: dict[str, ShelfEntry] = {}
        for folder in self.folders:
            for path in _models_in(Path(folder), DEPTH, ctx):
                key = os.path.realpath(path)
                if key not in found and len(found) < MOST_MODELS:
                    found[key] = entry_of(path)
                    ctx.emit(Progress(len(found), len(found) + 1, "model", path.name))
        return tuple(found.values())


def _models_in(folder: Path, depth: int, ctx: Context) -> Iterator[Path]:
    ctx.cancel.check()
    if _is_model(folder):
        yield folder
        return
    if depth == 0 or not folder.is_dir():
        return
    try:
        with os.scandir(folder) as entries:
            inside = sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return
    for path in inside:
        yield from _models_in(path, depth - 1, ctx)


def _is_model(path: Path) -> bool:
    try:
        if path.is_file():
            return path.suffix.lower() in FILES
        if path.name.endswith(".partial"):
            return (path / "job.json").is_file()
        return (path / "config.json").is_file() and any(path.glob("*.safetensors*"))
    except OSError:
        return False


def entry_of(path: Path) -> ShelfEntry:
    """What is to be told of the model `path`, whatever state it is in."""
    try:
        changed = path.stat().st_mtime
        if path.suffix.lower() == ".soul" and path.is_file():
            return _soul(path, changed)
        if path.is_file():
            return _gguf(path, changed)
        if path.name.endswith(".partial"):
            return _unfinished(path, changed)
        return _folder(path, changed)
    except (OSError, ValueError, RecursionError, UserError) as error:
        kind = FILES.get(path.suffix.lower(), UNFINISHED if path.name.endswith(".partial") else ORIGINAL)
        entry = ShelfEntry(str(path), path.name if kind == ORIGINAL else path.stem, kind)
        return _with_damage(entry, error)


def _folder(path: Path, changed: float) -> ShelfEntry:
    config = _object(path / "config.json")
    weights = [file for file in path.glob("*.safetensors") if file.is_file()]
    size = sum(file.stat().st_size for file in weights)
    name, family = _name(path), str(config.get("model_type", ""))
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict) or quantization.get("quant_method") != "ternary_planes":
        parameters = _parameters(weights)
        bits = 8 * size / parameters if parameters else 0.0
        return ShelfEntry(str(path), name, ORIGINAL, size, family, parameters, bits, changed=changed)
    manifest = _object(path / "manifest.json") if (path / "manifest.json").is_file() else {}
    totals, source = _part(manifest, "totals"), _part(manifest, "source")
    quality = _part(_part(manifest, "report"), "all")
    entry = ShelfEntry(
        str(path), name, CONVERTED, size, family, int(_number(totals.get("parameters")) or 0),
        _number(totals.get("bits_per_weight")) or 0.0, str(source.get("name", "")),
        int(_number(source.get("bytes")) or 0), _number(quality.get("perplexity")),
        _number(quality.get("source_perplexity")), _number(quality.get("kl")), changed=changed,
    )  # fmt: skip
    damage = _damage(weights)
    return entry if damage is None else _with_damage(entry, damage)


def _gguf(path: Path, changed: float) -> ShelfEntry:
    """By its first bytes: the rest of the header is long where it holds a tokenizer, and is read when it is used."""
    with open(path, "rb") as file:
        start = file.read(GGUF_START)
    if len(start) < GGUF_START or not start.startswith(b"GGUF"):
        raise UserError(
            "gguf-start",
            f"{path.name} does not begin as a GGUF file does. Download it again.",
            file=path.name,
        )
    return ShelfEntry(str(path), path.stem, GGUF, path.stat().st_size, changed=changed)


def _soul(path: Path, changed: float) -> ShelfEntry:
    """By its header; the gains themselves are read when it is used."""
    from bitconverter.format.soul_file import check_format

    metadata = _header(path).metadata
    check_format(path, metadata)
    source = metadata.get("base_name", "")
    return ShelfEntry(str(path), path.stem, SOUL, path.stat().st_size, source=source, changed=changed)


def _unfinished(path: Path, changed: float) -> ShelfEntry:
    job = _object(path / "job.json")
    size = _bytes_below(path)  # what was calibrated lies beside the model, too
    name = path.name.removesuffix(".partial")
    source = str(job.get("source", ""))
    return ShelfEntry(
        str(path), name, UNFINISHED, size, source=source, share=_share(path, Path(source)), changed=changed
    )


def _bytes_below(folder: Path) -> int:
    """A file that goes away meanwhile counts as none: its conversion may be at work."""
    size = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def _share(work: Path, source: Path) -> float:
    """As the conversion has told it; else how many of the source's matrices are committed, by the journal's lines."""
    from bitconverter.jobs.convert_work import SHARE  # imports the engine

    with contextlib.suppress(OSError, UserError):
        told = _number(_object(work / SHARE).get("share"))
        if told is not None and 0 <= told <= 1:
            return told
    try:
        lines = (work / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        weights = [source / name for name in os.listdir(source) if name.endswith(".safetensors")]
        total = sum(len(_header(file).tensors) for file in weights)
    except (OSError, ValueError, UserError):
        return 0.0
    return min(1.0, max(0, len(lines) - 1) / total) if total else 0.0


def _parameters(weights: Iterable[Path]) -> int:
    """Counted from the headers of the weight files."""
    return sum(math.prod(tensor.shape) for file in weights for tensor in _header(file).tensors.values())


def _with_damage(entry: ShelfEntry, error: Exception) -> ShelfEntry:
    if isinstance(error, UserError):
        return replace(entry, damaged=str(error), code=error.code, fields=error.fields)
    return replace(entry, damaged=str(error))


def _damage(weights: Iterable[Path]) -> UserError | None:
    """Why these cannot be used, by their headers: those know how long a file is to be."""
    try:
        for file in weights:
            _header(file)
    except UserError as error:
        return error
    return None


def _header(file: Path) -> "SafetensorsFile":
    """Imports numpy, which a window that is only shown has no need of."""
    from bitconverter.format.safetensors_file import SafetensorsFile

    return SafetensorsFile(file)


def _name(path: Path) -> str:
    """The folder's name; of the download cache, where that is a hash, the model's."""
    for part in (path.name, *(parent.name for parent in list(path.parents)[:2])):
        if part.startswith("models--"):
            return part.removeprefix("models--").partition("--")[2] or part
    return path.name


def at_work(path: str) -> bool:
    """Whether a conversion is at work in the folder `path`, of this program or of another."""
    try:
        FolderLock(Path(path)).release()
    except UserError:
        return True
    except OSError:
        return False
    return False


def _object(path: Path) -> dict[str, Any]:
    """Raises UserError("json-damaged"); OSError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError("json-damaged", f"{path.name} is damaged. Copy or download it again.", file=path.name)
    return value


def _part(value: dict[str, Any], key: str) -> dict[str, Any]:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
