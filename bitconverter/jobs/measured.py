"""What a conversion by the method full knows of its source before it rounds: what each matrix costs, and what the
errors of its rows cost together. Measured once; in the work folder for what goes on after a stop."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Engine, single_threaded_blas
from bitconverter.format.sealed import load_sealed, save_sealed
from bitconverter.jobs import sensitivity_state
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.jobs.sensitivity import Sensitivity, add_gradients, output_curvatures, windows_for
from bitconverter.jobs.sensitivity_state import MeasuringState
from bitconverter.model.output_curvature import HEADS, WIDE, OutputCurvature, output_moments

F32 = npt.NDArray[np.float32]

NAME = "sensitivity.json"


class Measured:
    """On some of the windows ids i32 [windows, window] of the calibration text, of the source with this `fingerprint`;
    numbers and states are kept in `folder`. `costs`: of every linear matrix by name its share of the loss, in nats per
    token, for a relative squared error of 1."""

    def __init__(
        self, ctx: Context, folder: Path, fingerprint: str, reader: LayerReader, engine: Engine,
        ids: npt.NDArray[np.int32], seed: int, tell: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._ctx, self._folder, self._reader, self._engine, self._seed = ctx, folder, reader, engine, seed
        self._ids = windows_for(reader.info.n_layers, reader.info.hidden_size, ids)
        text = hashlib.sha256(self._ids.tobytes()).hexdigest()
        self._identity = hashlib.sha256(f"{fingerprint} {text}".encode()).hexdigest()
        self.costs = self._load() or self._measure(tell)
        tell(1.0)

    def outputs(self, layer: int, pool: Executor) -> dict[str, OutputCurvature]:
        """What the errors of rows cost together, of the matrices of a layer that have something to gain by it."""
        state = self._state()
        x, dy = state.input(layer), state.gradient(layer + 1)
        if x is None or dy is None:  # damaged, or removed
            state.forget_gradients(layer + 1)
            self._measure(lambda _part: None)
            return self.outputs(layer, pool)
        block, _ = self._reader.block(layer, x.shape[1])
        head_dim = self._reader.info.head_dim
        moments = {key: output_moments(key, block.shapes[key][0], head_dim) for key in (*HEADS, *WIDE)}
        for k in range(len(x)):  # one by one: the gradients of all outputs are held
            self._ctx.cancel.check()
            gradients = block.gradients(("dy",), x.shape[1], dy_of=tuple(moments))
            block.backward(x[k : k + 1], dy[k : k + 1], gradients, self._ctx.cancel)
            add_gradients(moments, gradients.dy, x.shape[1], pool)
        return output_curvatures(moments, layer, self._ctx.cancel)

    def _state(self) -> MeasuringState:
        return MeasuringState(self._folder, self._identity, (*self._ids.shape, self._reader.info.hidden_size))

    def _measure(self, tell: Callable[[float], None]) -> dict[str, float]:
        if not single_threaded_blas():
            self._ctx.emit(Note("blas-threads"))
        with ThreadPoolExecutor(self._engine.threads, thread_name_prefix="measure") as pool:
            found = Sensitivity(
                self._reader, self._engine, self._seed, self._ctx.cancel, pool, self._state()
            ).measure(self._ids, tell)
        save_sealed(self._folder / NAME, {"identity": self._identity, "matrices": found})
        return found

    def _load(self) -> dict[str, float] | None:
        try:
            value = load_sealed(self._folder / NAME)
            if value["identity"] != self._identity:
                return None
            return {str(name): float(number) for name, number in value["matrices"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def states_gone(work: Path) -> bool:
    """Whether the measuring is over, and the rounding that needs its states too."""
    return os.path.isfile(work / NAME) and not os.path.lexists(work / sensitivity_state.FOLDER)
