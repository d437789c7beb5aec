"""The method diag: one forward pass of the source tells how large every input is; no more of H than its diagonal.

The rows are fitted with their columns weighted by the mean square of the input that they meet (rotated), plus a
damping. Between `fast` (no text) and `full` (jobs/calibrate.py) in quality and in time. Resident: the hidden states,
one layer.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Engine, ModelInfo, planes_unpack, rotate
from bitconverter.format.bfloat16 import as_f32
from bitconverter.jobs.calibrate import overflow, rotated
from bitconverter.jobs.convert_tensor import Fitted
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.layer_reader import MATRICES, LayerReader, LayerWeights, window_chunks
from bitconverter.jobs.rounding import kept_exactly, squares, weighted_start
from bitconverter.model.curvature import DAMPING, PIECE
from bitconverter.model.plan import DIRECT, TensorPlan
from bitconverter.model.source import Source

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FORWARD_SHARE = 0.5  # how a layer's time goes, for the progress


class Diagonal:
    """Rounds the layers in order; `x` f32 [windows, window, hidden] is the next layer's input, of the source."""

    def __init__(self, ctx: Context, source: Source, info: ModelInfo, seed: int, engine: Engine) -> None:
        self._ctx, self._cancel = ctx, ctx.cancel
        self._seed, self._engine = seed, engine
        self._reader = LayerReader(source, info, engine, ctx.cancel)
        self.x: F32 = np.empty((0, 0, 0), np.float32)

    def embed(self, ids: npt.NDArray[np.int32]) -> None:
        """The first layer's input."""
        self.x = self._reader.embed(ids)

    def layer(
        self, number: int, plans: dict[str, TensorPlan], tell: Callable[[float], None]
    ) -> dict[str, Fitted]:
        """Round layer `number` (all its matrices, by name) and advance `x`. `tell` hears how much is done, 0 to 1."""
        prefix = f"model.layers.{number}."
        block, weights = self._reader.block(number, self.x.shape[1])
        sums = {name: np.zeros(width) for name, width in block.widths.items()}
        alive = {name: np.zeros(width, bool) for name, width in block.widths.items()}  # before the rotation
        tokens = self.x.shape[0] * self.x.shape[1]
        for windows in window_chunks(self.x, self._cancel):
            part = self.x[windows]
            for name, inputs in block.forward(part, cancel=self._cancel).items():
                alive[name] |= inputs.any(axis=0)
                turned = rotated(self._engine, inputs, self._seed, number)
                for start in range(0, len(turned), PIECE):  # in f32, then in f64
                    piece = turned[start : start + PIECE]
                    with np.errstate(over="ignore"):  # seen below
                        sums[name] += np.einsum("tc,tc->c", piece, piece)
            self.x[windows] = part
            tell(FORWARD_SHARE * windows.stop / len(self.x))
        if not np.isfinite(self.x).all() or not all(np.isfinite(total).all() for total in sums.values()):
            raise overflow(number)
        fitted = {}
        for k, (key, (name, of)) in enumerate(MATRICES.items()):
            plan = plans[prefix + name + ".weight"]
            if plan.form == DIRECT:
                fitted[plan.name] = kept_exactly(self._engine, plan, weights[key])
            else:
                self._note_dead(plan, int((~alive[of]).sum()))
                fitted[plan.name] = self._fit(plan, weights[key], importance(sums[of] / tokens))
            tell(FORWARD_SHARE + (1 - FORWARD_SHARE) * (k + 1) / len(MATRICES))
        return fitted

    def _note_dead(self, plan: TensorPlan, dead: int) -> None:
        if dead:
            self._ctx.emit(Note("dead-inputs", {"matrix": plan.name.removesuffix(".weight"), "inputs": dead}))

    def _fit(self, plan: TensorPlan, weight: LayerWeights, importance: F32) -> Fitted:
        planes, scales, exact = weighted_start(
            self._engine, weight.values, plan.n_planes, importance, self._seed, self._cancel
        )
        w = rotate(self._engine, as_f32(weight.values), seed=self._seed)
        q = planes_unpack(self._engine, planes, len(w))
        error, square = squares(w, q, scales)
        cost, whole = squares(w, q, scales, importance)
        relative = cost / (whole or 1.0)
        dtype = "F32" if exact else "F16"
        return Fitted(planes, scales, dtype, error, square, relative, relative, weight.sha256)


def importance(mean_squares: F64) -> F32:
    """f32 [columns]: what an error in each column costs, from the mean squares of the rotated input."""
    mean = float(mean_squares.mean()) or 1.0
    return (mean_squares / mean + DAMPING).astype(np.float32)
