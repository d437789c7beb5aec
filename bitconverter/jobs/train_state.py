"""What a training run keeps in its work folder: checkpoints, the hidden states into the layers that learn
(jobs/train_prefix.py), the losses on the general text as far as they are known (jobs/general_looks.py), and what was
answered (jobs/sample_log.py)."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import is_temporary
from bitconverter.format.soul_file import ASIDE as ASIDE  # for the front ends
from bitconverter.jobs import general_looks, sample_log, train_prefix
from bitconverter.jobs.checkpoints import Checkpoints
from bitconverter.jobs.job import Curves
from bitconverter.store.ran_on import RanOn, ran_on_list

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

STATE = "state.npz"
CHECKPOINTS = "checkpoints"
REMOVED = "checkpoints.removed"  # on its way out
# what a damaged file raises
BROKEN = (OSError, KeyError, TypeError, EOFError, OverflowError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Checking:
    """A look at the windows held back that is not over: the sums over those before window `next`."""

    next: int
    loss: float = 0.0
    tokens: int = 0
    right: int = 0
    windows: int = 0


@dataclass
class State:
    """After `step` steps of the run that `key` names (model, lesson, program). losses: [step, loss] of every step;
    checks: [step, validation loss, accuracy]. `best`: the parameters of the lowest validation loss, at `best_step`.
    `slower`: how often the rate was halved. `devices`: on what it ran, one after the other. `checking`: the look at
    what is held back that is under way after this step. `seconds`: of the work until then, whatever was between."""

    key: str
    parameters: F64
    best: F64
    step: int = 0
    best_step: int = 0
    best_loss: float = np.inf
    slower: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    checks: list[tuple[int, float, float]] = field(default_factory=list)
    devices: list[RanOn] = field(default_factory=list)
    checking: Checking | None = None
    seconds: float = 0.0

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
            devices=np.array(json.dumps([asdict(device) for device in self.devices])),
            checking=np.array(astuple(self.checking) if self.checking else (), np.float64),
            seconds=np.array(self.seconds, np.float64),
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
        state.losses, state.checks = _losses(arrays), _checks(arrays)
        state.devices = ran_on_list(str(arrays.get("devices", "[]")))  # pinned states of before have none
        state.seconds = float(arrays.get("seconds", 0.0))
        if "checking" in arrays and arrays["checking"].size:
            at, loss, *counts = arrays["checking"]
            state.checking = Checking(int(at), float(loss), *map(int, counts))
    except BROKEN as error:
        raise ValueError(str(error)) from None
    learner = {
        name.removeprefix("learner."): array for name, array in arrays.items() if name.startswith("learner.")
    }
    return state, learner


def curves(path: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float, float]]] | None:
    """The losses and the checks in a state file; None if they cannot be read. The arrays that are large stay where they
    are."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return _losses(stored), _checks(stored)
    except (ValueError, *BROKEN):
        return None


def _losses(arrays: Mapping[str, Any]) -> list[tuple[int, float]]:
    return [(int(step), float(loss)) for step, loss in arrays["losses"]]


def _checks(arrays: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    return [(int(step), float(loss), float(right)) for step, loss, right in arrays["checks"]]


def told(
    work_dir: Path, losses: Iterable[tuple[int, float]], checks: Iterable[tuple[int, float, float]]
) -> Curves:
    """What is shown of a training that goes on: its curves, without accuracy, and what it has answered."""
    points = {"loss": list(losses), "validation": [(step, loss) for step, loss, _ in checks]}
    return Curves(points, sample_log.read(work_dir))


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


def _no_state_any_more(work_dir: Path) -> None:
    """Renamed first: what is removed in part shall not be taken for a state that was damaged."""
    gone = work_dir / REMOVED
    Checkpoints(gone).remove()  # of a process that was killed in here
    if not gone.exists():
        with contextlib.suppress(OSError):
            os.rename(work_dir / CHECKPOINTS, gone)
        Checkpoints(gone).remove()
    if gone.exists():  # somebody else's files in there
        with contextlib.suppress(OSError):
            os.rename(gone, work_dir / CHECKPOINTS)
    checkpoints(work_dir).remove()


def remove(work_dir: Path) -> None:
    for entry in [*work_dir.glob(".*"), *(work_dir / CHECKPOINTS).glob(".*")]:
        if is_temporary(entry):  # of a process that was killed while it wrote
            entry.unlink(missing_ok=True)
    _no_state_any_more(work_dir)
    train_prefix.remove(work_dir)
    general_looks.remove(work_dir)
    sample_log.remove(work_dir)
