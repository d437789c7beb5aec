"""How far the measuring of sensitivities has come, kept in a folder of its own in the work folder.

input-K.state holds the input of layer K, gradient-K.state the gradient with respect to it (both as
jobs/calibration_state.py keeps them), measured.json the numbers. Each is written after what it speaks of, so a process
that is killed at any moment does one layer again at most. What is damaged counts as not there. The rounding reads the
states again (jobs/measured.py), so they stay until it is done.
"""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.format.sealed import load_sealed, save_sealed
from bitconverter.jobs import calibration_state

F32 = npt.NDArray[np.float32]

FOLDER = "sensitivity"
NUMBERS = "measured.json"


class MeasuringState:
    """`spread`: of every layer that the way forward has passed, a number for each of its inputs; `found`: the
    sensitivities known so far, by matrix. `shape` [windows, window, hidden] is that of states and gradients."""

    def __init__(self, work: Path, identity: str, shape: tuple[int, ...]) -> None:
        self._folder, self._identity, self._shape = work / FOLDER, identity, shape
        self.spread: list[dict[str, float]] = []
        self.found: dict[str, float] = {}
        if not self._folder.is_dir():
            remove(work)  # a file of that name is damage too
            self._folder.mkdir()
        if not self._read_numbers():
            self.clear()  # nothing of it can be gone on with

    def clear(self) -> None:
        """Forget everything."""
        self.spread, self.found = [], {}
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def save_numbers(self) -> None:
        save_sealed(
            self._folder / NUMBERS, {"identity": self._identity, "spread": self.spread, "found": self.found}
        )

    def save_input(self, layer: int, x: F32) -> None:
        """x f32 [windows, window, hidden], what layer `layer` reads; `layer` may be one behind the last."""
        calibration_state.save(self._folder, self._identity, layer, x, f"input-{layer}.state")

    def input(self, layer: int) -> F32 | None:
        found = calibration_state.load(self._folder, self._identity, self._shape, f"input-{layer}.state")
        return found[1] if found is not None and found[0] == layer else None

    def save_gradient(self, layer: int, dy: F32) -> None:
        """dy f32 [windows, window, hidden], the gradient with respect to the input of layer `layer`."""
        calibration_state.save(self._folder, self._identity, layer, dy, f"gradient-{layer}.state")

    def gradient(self, layer: int) -> F32 | None:
        found = calibration_state.load(self._folder, self._identity, self._shape, f"gradient-{layer}.state")
        return found[1] if found is not None and found[0] == layer else None

    def forget_gradients(self, layer: int) -> None:
        """Those of layer `layer` and below, so that the way back passes them again."""
        for below in range(layer + 1):
            (self._folder / f"gradient-{below}.state").unlink(missing_ok=True)

    def last_gradient(self, layers: int) -> tuple[int, F32] | None:
        """Where the way back stands: the lowest layer whose gradient is known, and that."""
        for layer in range(layers + 1):
            found = self.gradient(layer)
            if found is not None:
                return layer, found
        return None

    def _read_numbers(self) -> bool:
        try:
            value = load_sealed(self._folder / NUMBERS)
            if value["identity"] != self._identity:
                return False
            spread = [{str(k): float(v) for k, v in layer.items()} for layer in value["spread"]]
            found = {str(name): float(number) for name, number in value["found"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        self.spread, self.found = spread, found
        return True


def remove(work: Path) -> None:
    """What a measuring left in the work folder."""
    folder = work / FOLDER
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)
