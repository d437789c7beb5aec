"""What a model folder (or .gguf) holds: tensors, forms, planes, bits per weight, sizes, hashes."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitconverter.engine import EngineError, ModelInfo, check_config
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.manifest import Manifest, StoredTensor, read_manifest
from bitconverter.model import names
from bitconverter.model.hf_source import SINGLE
from bitconverter.model.open_source import open_source

READ_PIECE = 4 << 20  # bytes; a cancel is seen between two pieces


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the model, with the bytes of all its stored parts.

    form: planes, int8, dense, or a GGUF type; n_planes is 0 unless planes. error: the relative squared
    error, sha256: of the planes, codes or values, as the conversion noted them; None and "" where it did not.
    """

    name: str
    form: str
    n_planes: int
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    error: float | None
    sha256: str


@dataclass(frozen=True)
class InspectResult:
    """file_bytes: of the weight files. bits_per_weight: 8 * bytes of the decoder layers' matrices (planes
    and scales, or as stored) / their number of weights. files: SHA-256 of the other files, by name.
    verified: files and tensors whose SHA-256 is that of manifest.json, None when not asked for.
    unsupported: why this model cannot run here, "" if it can.
    """

    name: str
    kind: str  # "converted" | "safetensors" | "gguf"
    family: str
    parameters: int
    bits_per_weight: float
    file_bytes: int
    total_bytes: int
    tensors: tuple[TensorInfo, ...]
    files: dict[str, str]
    source: str
    tool: str
    verified: int | None
    unsupported: str = ""


@dataclass(frozen=True)
class InspectJob:
    """`verify` reads every byte and compares with manifest.json; emits Progress(unit="byte") then."""

    model: str
    verify: bool = False

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> InspectResult:
        path = Path(self.model)
        if not path.exists():
            raise UserError(
                "model-missing", f"There is no {path}. Check the path of the model.", path=str(path)
            )
        config = _read_json(path / "config.json") if (path / "config.json").is_file() else {}
        quantization = config.get("quantization_config")
        if isinstance(quantization, dict) and quantization.get("quant_method") == "ternary_planes":
            return _inspect_converted(path, config, self.verify, ctx)
        if self.verify:
            raise UserError(
                "verify", f"{path} has no manifest.json to verify against: only converted models have one."
            )
        return _inspect_source(path)


def _inspect_converted(folder: Path, config: dict[str, Any], verify: bool, ctx: Context) -> InspectResult:
    info = check_config(json.dumps(config).encode())
    manifest = read_manifest(folder)
    single = folder / SINGLE  # as in the engine, it wins over other files
    files = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            "no-weights", f"{folder} holds no .safetensors file. Copy the folder again.", folder=str(folder)
        )
    entries: dict[str, TensorEntry] = {}
    for file in files:
        entries.update(SafetensorsFile(file).tensors)
    tensors = tuple(_converted_tensors(info, entries, manifest.tensors if manifest else {}))
    verified = _verify(folder, files, manifest, ctx) if verify else None
    return InspectResult(
        name=folder.resolve().name,
        kind="converted",
        family=info.family,
        parameters=sum(_count(tensor.shape) for tensor in tensors),
        bits_per_weight=_bits_per_weight(tensors),
        file_bytes=sum(file.stat().st_size for file in files),
        total_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        tensors=tensors,
        files={name: note.sha256 for name, note in manifest.files.items()} if manifest else {},
        source=manifest.source if manifest else "",
        tool=manifest.tool if manifest else "",
        verified=verified,
    )


def _converted_tensors(
    info: ModelInfo, entries: dict[str, TensorEntry], notes: dict[str, StoredTensor]
) -> Iterator[TensorInfo]:
    for name, shape in names.expected_tensors(info).items():
        stem = name.removesuffix(".weight")
        scales = entries.get(f"{stem}.scales")
        if scales is not None and (planes := entries.get(f"{stem}.planes")):
            yield _matrix(name, "planes", shape, planes, scales, notes)
        elif scales is not None and (direct := entries.get(f"{stem}.direct_planes")):
            yield _matrix(name, "planes", shape, direct, scales, notes)
        elif scales is not None and (codes := entries.get(f"{stem}.int8")):
            yield _matrix(name, "int8", shape, codes, scales, notes)
        elif dense := entries.get(name):
            sha256 = notes[name].sha256 if name in notes else ""
            yield TensorInfo(name, "dense", 0, dense.dtype, dense.shape, dense.bytes, None, sha256)
        else:
            raise UserError(
                "tensor-missing", f"The model lacks the tensor {name}. Convert it again.", tensor=name
            )


def _matrix(
    name: str,
    form: str,
    shape: tuple[int, ...],
    codes: TensorEntry,
    scales: TensorEntry,
    notes: dict[str, StoredTensor],
) -> TensorInfo:
    note = notes.get(codes.name)
    return TensorInfo(
        name,
        form,
        codes.shape[0] if form == "planes" else 0,
        codes.dtype,
        shape,
        codes.bytes + scales.bytes,
        note.error if note else None,
        note.sha256 if note else "",
    )


def _inspect_source(path: Path) -> InspectResult:
    source = open_source(path)
    if errors := [problem for problem in source.problems if problem.level == "error"]:
        raise UserError(errors[0].code, errors[0].message, **errors[0].fields)
    unsupported = ""
    try:
        family = check_config(json.dumps(source.config).encode()).family
    except EngineError as error:  # a model we cannot run can still be looked at
        family, unsupported = str(source.config.get("model_type", "")), str(error)
    tensors = tuple(
        TensorInfo(
            t.name,
            "dense" if source.kind == "safetensors" else t.dtype,
            0,
            t.dtype,
            t.shape,
            t.bytes,
            None,
            "",
        )
        for t in source.tensors.values()
    )
    weights = source.weight_files()
    others = weights if source.path.is_file() else [f for f in source.path.rglob("*") if f.is_file()]
    return InspectResult(
        name=source.name,
        kind=source.kind,
        family=family,
        parameters=sum(_count(tensor.shape) for tensor in tensors),
        bits_per_weight=_bits_per_weight(tensors),
        file_bytes=sum(file.stat().st_size for file in weights),
        total_bytes=sum(file.stat().st_size for file in others),
        tensors=tensors,
        files={},
        source="",
        tool="",
        verified=None,
        unsupported=unsupported,
    )


def _bits_per_weight(tensors: tuple[TensorInfo, ...]) -> float:
    linear = [t for t in tensors if len(t.shape) == 2 and t.name.startswith("model.layers.")]
    weights = sum(_count(t.shape) for t in linear)
    return 8 * sum(t.bytes for t in linear) / weights if weights else 0.0


def _verify(folder: Path, weights: list[Path], manifest: Manifest | None, ctx: Context) -> int:
    """Compare every SHA-256 of the manifest; the number compared. Raises UserError naming what differs."""
    if manifest is None:
        raise UserError("manifest-missing", f"{folder} has no manifest.json, so nothing can be verified.")
    stored = {
        entry.name: (file, entry) for file in weights for entry in SafetensorsFile(file).tensors.values()
    }
    jobs: list[tuple[str, Path, int, int, str]] = []  # what, file, offset, bytes, SHA-256
    for name, tensor in manifest.tensors.items():
        if name not in stored:
            raise _differs(folder, name)
        file, entry = stored[name]
        jobs.append((name, file, entry.offset, entry.bytes, tensor.sha256))
    for name, note in manifest.files.items():
        if _size_of(folder / name) != note.bytes:
            raise _differs(folder, name)
        jobs.append((name, folder / name, 0, note.bytes, note.sha256))
    total, done = sum(job[3] for job in jobs), 0
    for what, file, offset, size, sha256 in jobs:
        digest = hashlib.sha256()
        for piece in _pieces(file, offset, size):
            ctx.cancel.check()
            digest.update(piece)
            done += len(piece)
            ctx.emit(Progress(done, total, "byte", item=what))
        if digest.hexdigest() != sha256:
            raise _differs(folder, what)
    return len(jobs)


def _size_of(path: Path) -> int | None:
    """None when it is no file, or no file can be called that."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(offset)
        while size > 0:
            piece = file.read(min(READ_PIECE, size))
            if not piece:
                return
            size -= len(piece)
            yield piece


def _differs(folder: Path, what: str) -> UserError:
    return UserError(
        "verify-failed",
        f"{what} in {folder} is not what the conversion wrote (its SHA-256 or size differs from manifest.json). "
        "Copy the folder again, or convert again.",
        item=what,
    )


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("json-broken", f"{path} cannot be read: {error}.", path=str(path)) from error
    if not isinstance(value, dict):
        raise UserError("json-broken", f"{path} does not hold a JSON object.", path=str(path))
    return value
