"""What a training run keeps in its work folder: checkpoints, and the hidden states into the layers that learn."""

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import replacing
from bitconverter.format.safetensors_file import read_exactly
from bitconverter.jobs.checkpoints import Checkpoints

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

STATE = "state.npz"
CHECKPOINTS = "checkpoints"
PREFIX = "prefix.f32"
ASIDE = ".aside"  # ending of a soul that was set aside
PREFIX_HEAD = 4096  # bytes before the values: a line of JSON, filled up with spaces


@dataclass
class State:
    """After `step` steps of the run that `key` names (model, lesson, program). losses: [step, loss] of every step;
    checks: [step, validation loss, accuracy]. `best`: the parameters of the lowest validation loss, at `best_step`.
    `slower`: how often the rate was halved."""

    key: str
    parameters: F64
    best: F64
    step: int = 0
    best_step: int = 0
    best_loss: float = np.inf
    slower: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    checks: list[tuple[int, float, float]] = field(default_factory=list)

    def file(self, learner: dict[str, Any]) -> bytes:
        """With the arrays that the learner keeps."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            key=np.array(self.key),
            parameters=self.parameters,
            best=self.best,
            numbers=np.array([self.step, self.best_step, self.best_loss, self.slower], np.float64),
            losses=np.array(self.losses, np.float64).reshape(-1, 2),
            checks=np.array(self.checks, np.float64).reshape(-1, 3),
            **{f"learner.{name}": array for name, array in learner.items()},
        )
        return buffer.getvalue()


def parse(data: bytes, size: int) -> tuple[State, dict[str, Any]]:
    """A state file, and the learner's arrays. Raises ValueError for what is none for `size` parameters."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for name in ("parameters", "best"):
            if arrays[name].shape != (size,) or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} does not fit")
        step, best_step, best_loss, slower = arrays["numbers"]
        state = State(
            str(arrays["key"]), arrays["parameters"], arrays["best"], int(step), int(best_step), float(best_loss),
            int(slower),
        )  # fmt: skip
        state.losses = [(int(a), float(b)) for a, b in arrays["losses"]]
        state.checks = [(int(a), float(b), float(c)) for a, b, c in arrays["checks"]]
    except (OSError, KeyError, TypeError, EOFError, OverflowError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    learner = {
        name.removeprefix("learner."): array for name, array in arrays.items() if name.startswith("learner.")
    }
    return state, learner


class Prefix:
    """Hidden states f32 [tokens, hidden] of windows of `lengths` tokens on disk, written once from front to back. `key`
    names what they are made from. They are read, not mapped: what is not needed takes no memory."""

    def __init__(self, folder: Path, key: str, lengths: npt.NDArray[np.int32], hidden: int) -> None:
        self._path = folder / PREFIX
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._hidden = hidden
        self._head = json.dumps({"key": key, "tokens": int(self._ends[-1]), "hidden": hidden}).encode()
        self._head = self._head.ljust(PREFIX_HEAD - 1) + b"\n"
        self.ready = False
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            size = PREFIX_HEAD + 4 * int(self._ends[-1]) * hidden
            self.ready = file.read(PREFIX_HEAD) == self._head and self._path.stat().st_size == size

    def write(self, parts: Iterable[F32]) -> None:
        """From f32 [tokens, hidden] of windows one after the other; whole or not there."""
        with replacing(self._path) as file:
            file.write(self._head)
            for part in parts:
                file.write(np.ascontiguousarray(part, "<f4").data)
        self.ready = True

    def read(self, windows: I64) -> F32:
        """Those of some windows, one after the other."""
        starts = np.concatenate([[0], self._ends])
        counts = starts[windows + 1] - starts[windows]
        out, at = np.empty((int(counts.sum()), self._hidden), "<f4"), 0
        with open(self._path, "rb") as file:
            for start, count in zip(starts[windows], counts, strict=True):
                file.seek(PREFIX_HEAD + 4 * int(start) * self._hidden)
                read_exactly(file, out[at : at + count].data.cast("B"), self._path)
                at += count
        return out.astype(np.float32, copy=False)


def run_key(*parts: Any) -> str:
    """SHA-256 over what a run is made from: arrays by their bytes, the rest by its text."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        sha.update(b"\0")
    return sha.hexdigest()


def checkpoints(work_dir: Path) -> Checkpoints:
    return Checkpoints(work_dir / CHECKPOINTS)


def present(work_dir: Path) -> bool:
    return bool(checkpoints(work_dir).steps())


def remove(work_dir: Path) -> None:
    checkpoints(work_dir).remove()
    (work_dir / PREFIX).unlink(missing_ok=True)
