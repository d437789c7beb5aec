"""What a training run keeps in its work folder: the state after some step, and the prefix activations.

state.npz is replaced as a whole. One that cannot be read or does not fit is set aside as state.npz.bad, and the run
begins anew.
"""

import contextlib
import io
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import replacing, write_bytes

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

STATE = "state.npz"
PREFIX = "prefix.npy"


@dataclass
class State:
    """After `step` steps of the run that `key` names (model, lesson, program). losses: [step, loss] of every step;
    checks: [step, validation loss]. `best`: the parameters of the lowest validation loss. `slower`: how often the rate
    was halved."""

    key: str
    parameters: F64
    best: F64
    step: int = 0
    best_loss: float = np.inf
    slower: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    checks: list[tuple[int, float]] = field(default_factory=list)

    def save(self, folder: Path, optimizer: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            key=np.array(self.key),
            parameters=self.parameters,
            best=self.best,
            numbers=np.array([self.step, self.best_loss, self.slower], np.float64),
            losses=np.array(self.losses, np.float64).reshape(-1, 2),
            checks=np.array(self.checks, np.float64).reshape(-1, 2),
            **optimizer,
        )
        write_bytes(folder / STATE, buffer.getvalue())


def load(folder: Path, size: int) -> tuple[State, dict[str, Any]] | None:
    """The saved state and the optimizer's arrays, None if there is no (good) one."""
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for name in ("parameters", "best", "first", "second"):
            if arrays[name].shape != (size,) or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} does not fit")
        step, best_loss, slower = arrays["numbers"]
        state = State(
            str(arrays["key"]), arrays["parameters"], arrays["best"], int(step), float(best_loss), int(slower)
        )
        state.losses = [(int(a), float(b)) for a, b in arrays["losses"]]
        state.checks = [(int(a), float(b)) for a, b in arrays["checks"]]
        int(arrays["adam_step"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        os.replace(path, path.with_name(STATE + ".bad"))
        return None
    return state, arrays


class Prefix:
    """Hidden states f32 [n, window, hidden] on disk, written once from front to back."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self._path = folder / PREFIX
        self._shape = shape
        self.array: F32 | None = None
        if self._path.exists():
            with contextlib.suppress(OSError, ValueError):
                found = np.load(self._path, mmap_mode="r", allow_pickle=False)
                if found.shape == shape and found.dtype == np.float32:
                    self.array = found

    def write(self, parts: Any) -> None:
        """From an iterable of f32 [k, window, hidden]; whole or not there."""
        with replacing(self._path) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part, "<f4").data)
        self.array = np.load(self._path, mmap_mode="r", allow_pickle=False)

    def close(self) -> None:
        """Windows does not remove a file that is mapped."""
        self.array = None


def present(folder: Path) -> bool:
    return (folder / STATE).exists()


def remove(folder: Path) -> None:
    for name in (STATE, STATE + ".bad", PREFIX):
        (folder / name).unlink(missing_ok=True)
