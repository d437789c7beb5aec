"""Write a converted model with a soul's gains in its scales: a converted model like any other.

A merge is seconds of copying; one that was broken off begins anew.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.engine import Engine, Model
from bitconverter.format.atomic import sync_folder, write_json
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.format.safetensors_file import SafetensorsFile, TensorEntry
from bitconverter.format.size_text import at_most
from bitconverter.format.soul_file import Soul
from bitconverter.format.weight_file import FULL_ERRORS, WeightFile, header_space
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.manifest import read_manifest
from bitconverter.jobs.scratch import scratch_folder
from bitconverter.jobs.souls import soul_for

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
PIECE = 16 * 1024 * 1024  # bytes copied between two looks at the cancel flag
F16_RANGE = (2.0**-14, 65504.0)  # of scales that are kept as f16 (docs/FORMAT.md 1.2)


@dataclass(frozen=True)
class MergeResult:
    """`matrices`: how many got other scales; `file_bytes`: of the weight file."""

    out: str
    matrices: int
    file_bytes: int


@dataclass(frozen=True)
class MergeJob:
    """`model`: the converted folder that `soul` was trained on; `out`: the new folder. Emits Progress(unit="byte")."""

    model: str
    soul: str
    out: str

    @property
    def work_dir(self) -> Path:
        return Path(self.out + ".partial")

    def run(self, ctx: Context) -> MergeResult:
        """Raises UserError: "soul-missing", "soul-broken", "soul-base" (it belongs to another model), "merge-lora",
        "merge-delta", "merge-shards", "merge-inside", "manifest-damaged", "output-exists", "work-folder-busy",
        "merge-full"; EngineError; Cancelled."""
        source, out = Path(self.model), Path(self.out)
        with _work_folder(self.work_dir) as work:
            if os.path.lexists(out):
                raise UserError(
                    "output-exists",
                    f"{out} is there already. Choose another name or remove it.",
                    path=str(out),
                )
            soul = _checked_soul(Path(self.soul), source, ctx)
            if source.resolve() in out.resolve().parents:
                raise UserError(
                    "merge-inside",
                    f"{out} lies inside the model. Choose another output folder.",
                    path=str(out),
                )
            read_manifest(source)  # raises where there is a damaged one
            model = work / "model"
            model.mkdir()
            with _telling_of_a_full_disk(model, self.out):
                changed = _copy_weights(source / WEIGHTS, model / WEIGHTS, soul, ctx)
                _copy_others(source, model)
                _write_manifest(source, model, soul, changed)
            Model(Engine(1), model)  # it opens
            size = (model / WEIGHTS).stat().st_size
            for folder in [model, *(entry for entry in model.rglob("*") if entry.is_dir())]:
                sync_folder(folder)
            os.rename(model, out)
            sync_folder(out.resolve().parent)
            return MergeResult(self.out, len(soul.gains), size)


@contextmanager
def _telling_of_a_full_disk(folder: Path, out: str) -> Iterator[None]:
    """Unlike a conversion, a merge keeps nothing of what it has done."""
    try:
        yield
    except (UserError, OSError) as error:
        full = error.code == "disk-full" if isinstance(error, UserError) else error.errno in FULL_ERRORS
        if not full:
            raise
        free = shutil.disk_usage(folder).free
        raise UserError(
            "merge-full",
            f"The disk of {out} is full ({at_most(free)} free). Make room and merge again.",
            folder=out, free=free, free_size=at_most(free),
        ) from error  # fmt: skip


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Locked inside the block, gone behind it."""
    path.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(path)
    try:
        with scratch_folder(beside=path) as place:  # what a killed merge left in its own is swept
            yield place
    finally:
        (path / "job.json").unlink(missing_ok=True)
        lock.release()
        if not any(path.iterdir()):  # else somebody else's files are in there
            path.rmdir()


def _checked_soul(path: Path, source: Path, ctx: Context) -> Soul:
    if not (source / WEIGHTS).is_file():
        raise UserError(
            "merge-shards",
            f"{source} has no {WEIGHTS}. Only models in one file are merged.",
            model=str(source),
        )
    soul = soul_for(path, source, ctx)
    if soul.lora:
        raise UserError(
            "merge-lora",
            f"{path.name} holds low-rank additions, which cannot be written into ternary planes without rounding them "
            "away. Use it as it is (bitconverter chat MODEL --soul FILE), or train row gains.",
            soul=path.name,
        )
    if soul.delta:
        raise UserError(
            "merge-delta",
            f"{path.name} holds whole matrices that are added, as planes of their own. Written into the model's planes "
            "they would have to be rounded again, and most of them would be lost. Use it as it is (bitconverter chat "
            "MODEL --soul FILE), or train row gains.",
            soul=path.name,
        )
    return soul


def _copy_weights(source: Path, target: Path, soul: Soul, ctx: Context) -> dict[str, Any]:
    """Every tensor in the order of the file, scales times gains; what the manifest says of the changed ones."""
    file = SafetensorsFile(source)
    entries = sorted(file.tensors.values(), key=lambda entry: entry.offset)
    entries = [entry for entry in entries if not entry.name.startswith("__pad__.")]
    scales = {prefix + ".scales": gain for prefix, gain in soul.gains.items()}
    for name, gain in scales.items():
        if name not in file.tensors or file.tensors[name].shape != gain.shape:
            raise UserError(
                "soul-broken",
                f"The soul has gains for {name[:-7]}, which the model does not have.",
                path=name[:-7],
            )
    weights = WeightFile(target, header_space((entry.name, entry.shape) for entry in entries), [])
    changed, done, total = {}, 0, sum(entry.bytes for entry in entries)
    try:
        for entry in entries:
            if entry.name in scales:
                old = file.read_rows(entry.name, 0, entry.shape[0]).astype(np.float32)
                new = _storable(old * scales[entry.name], entry.dtype)
                kind = "F16" if new.dtype == np.float16 else "F32"
                part = weights.write(entry.name, kind, entry.shape, new)
                changed[entry.name] = {
                    key: part.record()[key] for key in ("dtype", "shape", "bytes", "sha256")
                }
            else:
                _copy_tensor(source, entry, weights, ctx)
            done += entry.bytes
            ctx.emit(Progress(done, total, "byte", entry.name))
        weights.finish()
    finally:
        weights.close()
    return changed


def _storable(scales: np.ndarray, dtype: str) -> np.ndarray:
    """f16 where they were and still fit, else f32."""
    sizes = np.abs(scales[scales != 0])
    fits = not sizes.size or (sizes.min() >= F16_RANGE[0] and sizes.max() <= F16_RANGE[1])
    return scales.astype("<f2" if dtype == "F16" and fits else "<f4")


def _copy_tensor(source: Path, entry: TensorEntry, weights: WeightFile, ctx: Context) -> None:
    with open(source, "rb") as file, weights.part(entry.name, entry.dtype, entry.shape) as part:
        file.seek(entry.offset)
        left = entry.bytes
        while left:
            ctx.cancel.check()
            piece = file.read(min(left, PIECE))
            if not piece:
                raise OSError(f"{source} ended while it was being read")
            part.append(np.frombuffer(piece, np.uint8))
            left -= len(piece)


def _copy_others(source: Path, target: Path) -> None:
    for entry in sorted(source.rglob("*")):
        place = target / entry.relative_to(source)
        if entry.is_dir():
            place.mkdir(exist_ok=True)
        elif entry.name not in (WEIGHTS, MANIFEST) or entry.parent != source:
            shutil.copyfile(entry, place)


def _write_manifest(source: Path, target: Path, soul: Soul, changed: dict[str, Any]) -> None:
    """The source's, with the new scales' hashes and a word about the soul. One that is missing stays so."""
    if not (source / MANIFEST).is_file():
        return
    manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    manifest["tensors"] |= changed
    totals = manifest.get("totals")
    size = (target / WEIGHTS).stat().st_size
    manifest["totals"] = {**(totals if isinstance(totals, dict) else {}), "file_bytes": size}
    gains = hashlib.sha256(b"".join(soul.gains[name].tobytes() for name in sorted(soul.gains)))
    manifest["soul"] = {
        "base_name": soul.base_name, "base_sha256": soul.base_sha256, "gains_sha256": gains.hexdigest(),
        "notes": soul.notes,
    }  # fmt: skip
    write_json(target / MANIFEST, manifest)
