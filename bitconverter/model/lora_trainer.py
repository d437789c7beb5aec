"""Low-rank additions: a matrix of planes becomes W x + B (A x) (LoRA, Hu et al. 2021)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bitconverter.engine import MATRICES, BlockGradients, Cancel, Tower, TowerParams
from bitconverter.format.soul_file import Adapters
from bitconverter.model.block_trainer import F32, F64, I32, BlockTrainer, parts_of
from bitconverter.model.layer_stack import LayerStack


class LoraTrainer(BlockTrainer):
    """Of the matrices `targets` (of MATRICES) of every trained layer. The parameters are A [rank, cols] and B' [rank,
    rows], layer by layer, matrix by matrix. They begin with A drawn from N(0, 1 / cols) and B = 0, which is the model
    as it is."""

    def __init__(
        self,
        stack: LayerStack,
        layers: int,
        window: int,
        choices: Sequence[int] = (),
        rank: int = 8,
        targets: Sequence[str] = ("q", "v"),
    ) -> None:
        super().__init__(stack, layers, window, choices)
        self._targets = tuple(matrix for matrix in MATRICES if matrix in targets)
        self._blocks = [stack.block(layer, window) for layer in self.trained]
        self._pairs: dict[tuple[int, str], tuple[F32, F32]] = {}
        for layer, block in zip(self.trained, self._blocks, strict=True):
            for matrix in self._targets:
                rows, cols = block.shapes[matrix]
                pair = np.zeros((rank, cols), np.float32), np.zeros((rank, rows), np.float32)
                self._pairs[layer, matrix] = pair
                block.set_lora(matrix, *pair)
        self._gradients = [block.gradients(("lora",)) for block in self._blocks]
        self.size = sum(part.size for pair in self._pairs.values() for part in pair)

    def start(self, seed: int) -> F64:
        rng, parts = np.random.default_rng([seed, 1]), []
        for a, b in self._pairs.values():
            parts += [(rng.standard_normal(a.shape) / np.sqrt(a.shape[1])).ravel(), np.zeros(b.size)]
        return np.concatenate(parts)

    def set_parameters(self, parameters: F64) -> None:
        at = 0
        for pair in self._pairs.values():
            for part in pair:
                part[:] = parameters[at : at + part.size].reshape(part.shape)  # the blocks read these arrays
                at += part.size

    def adapters(self, parameters: F64) -> Adapters:
        self.set_parameters(parameters)
        return Adapters(
            lora={self.stack.prefix(*key): (a.copy(), b.T.copy()) for key, (a, b) in self._pairs.items()}
        )

    def put_on_card(self, params: TowerParams) -> Tower:
        return super().put_on_card(replace(params, replicas=1))  # they run one after the other there

    def _replicas_through(
        self, at: int, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        own, first = {}, self._first(at)
        for matrix in self._targets:
            a, b = self._pairs[self.trained[at], matrix]
            own[matrix] = parts_of(rows, first, a.shape), parts_of(rows, first + a.size, b.shape)
            first += a.size + b.size
        self._blocks[at].windows(x, lengths, cancel=cancel, lora=own)

    def _zero(self, sums: BlockGradients) -> None:
        for pair in sums.lora.values():
            for part in pair:
                part[:] = 0

    def _gradient(self, sums: BlockGradients) -> list[F64]:
        return [part.ravel() for matrix in self._targets for part in sums.lora[matrix]]
