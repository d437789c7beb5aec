"""The polish at the end of a conversion: trained in the work folder, then the weight file is written with its result.

What the rounding committed stays in ROUNDED as it is; the polished file is a copy of it with other scales and norms,
made in one go once the training is over. The training's state is kept after every few steps, so a stopped and resumed
conversion gives the same bytes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Engine, Head
from bitconverter.format.atomic import write_json
from bitconverter.format.weight_file import Part, WeightFile, header_space
from bitconverter.jobs import calibration_state
from bitconverter.jobs.convert_tensor import F16_MAX, F16_MIN
from bitconverter.jobs.job import Context, Metric, Note
from bitconverter.jobs.layer_reader import MATRICES, LayerReader
from bitconverter.jobs.polish import (
    HELD_OUT,
    Polished,
    Polisher,
    Student,
    StudentMatrix,
    batch,
    learning_rate,
)
from bitconverter.model import names
from bitconverter.model.allocate import bits_of
from bitconverter.model.plan import DENSE, TensorPlan, stored_parts

F32 = npt.NDArray[np.float32]
SAVE_EVERY = 4  # steps
STATE, DIVERGENCES = "polish.state", "polish.json"
_TYPES = {"U8": np.uint8, "I8": np.int8, "F16": np.float16, "F32": np.float32, "BF16": np.uint16}
TEACH_SHARE, HELD_SHARE = 0.12, 0.03  # how the time goes, for the progress
COPY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class RoundedFile:
    """The weight file of the rounding, finished, with the journal's records of its tensors in plan order."""

    path: Path
    plan: tuple[TensorPlan, ...]
    records: list[dict[str, Any]]

    def parts(self, name: str) -> list[npt.NDArray[Any]]:
        """The stored arrays of a tensor (mapped, not read), as its plan orders them."""
        record = next(r for r in self.records if r["name"] == name)
        found = [Part.from_record(part) for part in record["parts"]]
        return [np.memmap(self.path, _TYPES[p.dtype], "r", p.offset, p.shape) for p in found]


def train(
    ctx: Context, work: Path, rounded: RoundedFile, reader: LayerReader, engine: Engine,
    ids: npt.NDArray[np.int32], *, identity: str, seed: int, steps: int, tell: Callable[[float], None],
) -> Polished | None:  # fmt: skip
    """Train on the windows ids i32 [windows, window]; HELD_OUT of them, spread over all, only tell whether it helped.

    None (and Note("polish-no-gain")) when it did not. Emits Metric("polish_kl", step, value) and, at the end,
    Note("polished", {"kl_before", "kl_after"}).
    """
    rate = learning_rate(bits_of(rounded.plan))
    polisher = Polisher(student(rounded, reader, seed), reader, engine, seed, rate, steps, ctx.cancel)
    first = _load(work, identity, polisher)
    known = _load_divergences(work, identity) if first == steps else None
    before, after = known or _train(ctx, work, polisher, ids, identity, seed, first, steps, tell)
    fields = {"kl_before": before, "kl_after": after}
    write_json(work / DIVERGENCES, {"identity": identity, **fields})
    tell(1.0)
    if not after < before:
        ctx.emit(Note("polish-no-gain", fields))
        return None
    ctx.emit(Note("polished", fields))
    return Polished(*polisher.result(), before, after)


def _train(
    ctx: Context, work: Path, polisher: Polisher, ids: npt.NDArray[np.int32], identity: str, seed: int,
    first: int, steps: int, tell: Callable[[float], None],
) -> tuple[float, float]:  # fmt: skip
    """The steps from `first` on; the mean KL of the held-out windows before all training and after it."""
    held = np.arange(HELD_OUT) * len(ids) // HELD_OUT + len(ids) // (2 * HELD_OUT)
    learned = np.setdiff1d(np.arange(len(ids)), held)
    taught = polisher.teach(ids, lambda part: tell(TEACH_SHARE * part))
    state = polisher.state.copy()
    polisher.state[:] = 0
    before = polisher.divergence(ids[held], taught[held])
    polisher.state[:] = state
    share = 1.0 - TEACH_SHARE - HELD_SHARE
    for number in range(first, steps):
        picked = learned[batch(number, len(learned), seed)]
        loss = polisher.step(number, ids[picked], taught[picked])
        ctx.emit(Metric("polish_kl", number, loss))
        if (number + 1) % SAVE_EVERY == 0 or number + 1 == steps:
            calibration_state.save(work, identity, number + 1, polisher.state, STATE)
        tell(TEACH_SHARE + share * (number + 1) / steps)
    return before, polisher.divergence(ids[held], taught[held])


def student(rounded: RoundedFile, reader: LayerReader, seed: int) -> Student:
    """The model as the rounding left it."""
    layers, norms = [], []
    for layer in range(reader.info.n_layers):
        matrices = {}
        for key, (name, _) in MATRICES.items():
            stem = f"model.layers.{layer}.{name}"
            planes, scales = rounded.parts(stem + ".weight")
            matrices[key] = StudentMatrix(
                planes, np.asarray(scales, np.float32), reader.vector(stem + ".bias")
            )
        layers.append(matrices)
        norms.append(reader.norms(layer))
    codes, scales = rounded.parts(names.EMBEDDING if reader.info.tied else names.HEAD)
    norm = reader.vector(names.NORM)
    assert norm is not None  # every family has it
    head = Head(norm, codes, reader.rms_eps, np.asarray(scales, np.float32), seed)
    return Student(layers, norms, head)


def write(ctx: Context, path: Path, rounded: RoundedFile, polished: Polished | None) -> list[dict[str, Any]]:
    """The weight file `path` with the polished values in their places (None: a copy), whole and synced; the records of
    its tensors."""
    space = header_space([part for tensor in rounded.plan for part in stored_parts(tensor)])
    path.unlink(missing_ok=True)
    file = WeightFile(path, space, [])
    records = []
    try:
        for tensor, record in zip(rounded.plan, rounded.records, strict=True):
            ctx.cancel.check()
            new = _new_values(tensor, record, polished)
            parts = [
                _copy(ctx, file, rounded.path, Part.from_record(part), new.get(part["name"]))
                for part in record["parts"]
            ]
            records.append({**record, "parts": [part.record() for part in parts]})
        file.finish()
    finally:
        file.close()
    return records


def _new_values(tensor: TensorPlan, record: dict[str, Any], polished: Polished | None) -> dict[str, F32]:
    """By stored name."""
    if polished is None:
        return {}
    if tensor.form == DENSE and tensor.name in polished.norms:
        return {tensor.name: polished.norms[tensor.name]}
    if tensor.name in polished.scales:
        return {record["parts"][1]["name"]: polished.scales[tensor.name]}
    return {}


def _copy(ctx: Context, file: WeightFile, source: Path, part: Part, values: F32 | None) -> Part:
    """Norms become F32; scales keep F16 where they had it (cut to what that holds)."""
    if values is not None:
        if part.dtype == "F16" and part.name.endswith(".scales"):
            return file.write(part.name, "F16", part.shape, _f16(values))
        return file.write(part.name, "F32", part.shape, values)
    flat = np.memmap(source, np.uint8, "r", part.offset, (part.bytes,))
    with file.part(part.name, part.dtype, part.shape) as writer:
        for start in range(0, part.bytes, COPY_BYTES):
            ctx.cancel.check()
            writer.append(flat[start : start + COPY_BYTES])
    return writer.written


def _f16(scales: F32) -> npt.NDArray[np.float16]:
    """A scale of zero belongs to a row of zeros and stays."""
    return np.where(scales > 0, np.clip(scales, F16_MIN, F16_MAX), 0.0).astype(np.float16)


def _load(work: Path, identity: str, polisher: Polisher) -> int:
    """The step to go on with."""
    found = calibration_state.load(work, identity, polisher.state.shape, STATE)
    if found is None:
        return 0
    polisher.state[:] = found[1]
    return found[0]


def _load_divergences(work: Path, identity: str) -> tuple[float, float] | None:
    """(before, after) of a training that was finished."""
    try:
        value = json.loads((work / DIVERGENCES).read_text(encoding="utf-8"))
        return (
            (float(value["kl_before"]), float(value["kl_after"])) if value["identity"] == identity else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
