"""Row gains: row r of a matrix of planes becomes exp(a_r) * s_r * (Q R x)_r.

a = 0 is the model as it is, scales stay positive, and the gradient of a is the engine's row gain gradient as it stands.
"""

from collections.abc import Sequence

import numpy as np

from bitconverter.engine import MATRICES, BlockGradients, Cancel, Tower
from bitconverter.format.soul_file import Adapters
from bitconverter.model.block_trainer import F32, F64, I32, BlockTrainer
from bitconverter.model.layer_stack import LayerStack

# How far MeZO's directions go along a gain. What learns with gradients shows where they are large: in the last layer,
# and in the matrices that write into the residual stream (docs/MODEL.md, "Training"). Part of what a step log means.
REACH_BY_MATRIX = {"down": 1.0, "o": 0.3}
REACH_OF_OTHERS = 0.2
REACH_FROM_THE_END = (1.0, 0.4)  # the last layer, the one before; the others
REACH_BEFORE = 0.2
MAX_LOG_GAIN = 4.0  # rows grow or shrink at most 55 times: far beyond what training reaches


class GainTrainer(BlockTrainer):
    """The parameters are the logarithms a, layer by layer, matrix by matrix (MATRICES), row by row."""

    def __init__(self, stack: LayerStack, layers: int, window: int, choices: Sequence[int] = ()) -> None:
        super().__init__(stack, layers, window, choices)
        self._base = {
            (layer, matrix): stack.scales(layer, matrix) for layer in self.trained for matrix in MATRICES
        }
        self._scales = {key: base.copy() for key, base in self._base.items()}
        self._blocks = [
            stack.block(layer, window, {matrix: self._scales[layer, matrix] for matrix in MATRICES})
            for layer in self.trained
        ]
        self._gradients = [block.gradients(("gain",)) for block in self._blocks]
        self.size = sum(len(base) for base in self._base.values())

    def start(self, seed: int) -> F64:
        return np.zeros(self.size)

    def reach(self) -> F64:
        """Graded: see REACH_BY_MATRIX."""
        parts, last = [], self.trained[-1]
        for (layer, matrix), base in self._base.items():
            back = last - layer
            far = REACH_FROM_THE_END[back] if back < len(REACH_FROM_THE_END) else REACH_BEFORE
            parts.append(np.full(len(base), far * REACH_BY_MATRIX.get(matrix, REACH_OF_OTHERS)))
        return np.concatenate(parts)

    def set_parameters(self, parameters: F64) -> None:
        for key, part in self._parts(np.clip(parameters, -MAX_LOG_GAIN, MAX_LOG_GAIN)):
            self._scales[key][:] = self._base[key] * np.exp(part)  # the blocks read this array

    def adapters(self, parameters: F64) -> Adapters:
        kept = self._parts(np.clip(parameters, -MAX_LOG_GAIN, MAX_LOG_GAIN))
        return Adapters({self.stack.prefix(*key): np.exp(part).astype(np.float32) for key, part in kept})

    def _replicas_through(
        self, at: int, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        self._blocks[at].windows(x, lengths, self._scales_of(at, rows), cancel)

    def _replicas_on_card(
        self, tower: Tower, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        there = range(len(self._here), len(self._blocks))
        own = [self._scales_of(at, rows) for at in there]
        tower.windows(x, np.tile(lengths, len(rows)), own, cancel)

    def _scales_of(self, at: int, rows: Sequence[F64]) -> dict[str, F32]:
        """f32 [replicas, rows] by matrix of block number `at`."""
        own, first = {}, self._first(at)
        for matrix in MATRICES:
            base = self._base[self.trained[at], matrix]
            parts = np.stack([row[first : first + len(base)] for row in rows])
            own[matrix] = np.asarray(base * np.exp(np.clip(parts, -MAX_LOG_GAIN, MAX_LOG_GAIN)), np.float32)
            first += len(base)
        return own

    def _zero(self, sums: BlockGradients) -> None:
        for gain in sums.gain.values():
            gain[:] = 0

    def _gradient(self, sums: BlockGradients) -> list[F64]:
        return [sums.gain[matrix] for matrix in MATRICES]

    def _parts(self, parameters: F64) -> list[tuple[tuple[int, str], F64]]:
        stops = np.cumsum([len(base) for base in self._base.values()])[:-1]
        return list(zip(self._base, np.split(parameters, stops), strict=True))
