"""Row gains: row r of a matrix of planes becomes exp(a_r) * s_r * (Q R x)_r.

a = 0 is the model as it is, scales stay positive, and the gradient of a is the engine's row gain gradient as it stands.
"""

from collections.abc import Sequence

import numpy as np

from bitconverter.engine import MATRICES, BlockGradients, Cancel
from bitconverter.format.soul_file import Adapters
from bitconverter.model.block_trainer import F32, F64, Batch, BlockTrainer, Score
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

    def replicas(self, batch: Batch, parameters: F64, cancel: Cancel | None = None) -> list[Score]:
        """The score with each row of parameters f64 [replicas, n] in place of what set_parameters() was given: one
        forward pass, in which the replicas share the planes."""
        n = len(parameters)
        x, lengths = np.tile(batch.hidden, (n, 1)), np.tile(batch.lengths, n)
        scales: dict[tuple[int, str], F32] = {}
        for i, row in enumerate(np.clip(parameters, -MAX_LOG_GAIN, MAX_LOG_GAIN)):
            for key, part in self._parts(row):
                rows = scales.setdefault(key, np.empty((n, len(part)), np.float32))
                rows[i] = self._base[key] * np.exp(part)
        own = [{matrix: scales[layer, matrix] for matrix in MATRICES} for layer in self.trained]
        for block, each in zip(self._here, own, strict=False):
            block.windows(x, lengths, each, cancel)
        if self.tower:
            self.tower.windows(x, lengths, own[len(self._here) :], cancel)
        return self._scores(x, batch, n, cancel)

    def _zero(self, sums: BlockGradients) -> None:
        for gain in sums.gain.values():
            gain[:] = 0

    def _gradient(self, sums: BlockGradients) -> list[F64]:
        return [sums.gain[matrix] for matrix in MATRICES]

    def _parts(self, parameters: F64) -> list[tuple[tuple[int, str], F64]]:
        stops = np.cumsum([len(base) for base in self._base.values()])[:-1]
        return list(zip(self._base, np.split(parameters, stops), strict=True))
