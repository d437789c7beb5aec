"""Whole matrices that are added: a matrix of planes becomes W x + D x, for the MLP of the trained layers.

They hold what gains and low-rank additions cannot, facts for one, and cost as much as the matrices themselves: a vector
of all their numbers. A soul keeps them as ternary planes of their own beside the model's.
"""

from collections.abc import Sequence

import numpy as np

from bitconverter.engine import BlockGradients, Cancel, quantize_planes
from bitconverter.format.soul_file import Adapters
from bitconverter.model.block_trainer import F32, F64, I32, BlockTrainer, parts_of
from bitconverter.model.layer_stack import LayerStack

DELTA_MATRICES = ("gate", "up", "down")
DELTA_PLANES = 2  # of a soul: a relative squared error of about 0.03 (docs/MODEL.md, "Gradients")


class DeltaTrainer(BlockTrainer):
    """The parameters are D [rows, cols], layer by layer, matrix by matrix of DELTA_MATRICES. They begin with 0, which
    is the model as it is."""

    on_cards = False

    def __init__(self, stack: LayerStack, layers: int, window: int, choices: Sequence[int] = ()) -> None:
        super().__init__(stack, layers, window, choices)
        self._blocks = [stack.block(layer, window) for layer in self.trained]
        self._deltas: dict[tuple[int, str], F32] = {}
        for layer, block in zip(self.trained, self._blocks, strict=True):
            for matrix in DELTA_MATRICES:
                self._deltas[layer, matrix] = delta = np.zeros(block.shapes[matrix], np.float32)
                block.set_delta(matrix, delta)
        self._rooms: dict[str, F32] = {}  # a layer's matrices of replicas: fresh memory is slow
        self._gradients = [block.gradients(("delta",), matrices=DELTA_MATRICES) for block in self._blocks]
        self.size = sum(delta.size for delta in self._deltas.values())

    def start(self, seed: int) -> F64:
        return np.zeros(self.size)

    def set_parameters(self, parameters: F64) -> None:
        at = 0
        for delta in self._deltas.values():
            delta[:] = parameters[at : at + delta.size].reshape(delta.shape)  # the blocks read these arrays
            at += delta.size

    def adapters(self, parameters: F64) -> Adapters:
        self.set_parameters(parameters)
        made = {}
        for key, delta in self._deltas.items():
            planes, scales, _ = quantize_planes(
                self.stack.engine, delta, seed=self.stack.seed, n_planes=DELTA_PLANES, exact_scales=True
            )
            made[self.stack.prefix(*key)] = planes, scales
        return Adapters(delta=made)

    def most_together(self, tokens: int) -> int:
        return 2  # each has whole matrices of its own

    def _replicas_through(
        self, at: int, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        own, first = {}, self._first(at)
        for matrix in DELTA_MATRICES:
            delta = self._deltas[self.trained[at], matrix]
            room = self._rooms.get(matrix)
            if room is None or len(room) < len(rows):
                room = self._rooms[matrix] = np.empty((len(rows), *delta.shape), np.float32)
            own[matrix] = parts_of(rows, first, delta.shape, room)
            first += delta.size
        self._blocks[at].windows(x, lengths, cancel=cancel, delta=own)

    def _zero(self, sums: BlockGradients) -> None:
        for delta in sums.delta.values():
            delta[:] = 0

    def _gradient(self, sums: BlockGradients) -> list[F64]:
        return [sums.delta[matrix].ravel().astype(np.float64) for matrix in DELTA_MATRICES]
