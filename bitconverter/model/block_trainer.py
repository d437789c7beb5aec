"""The last layers of a converted model with something small that learns; its planes never change.

The layers before the trained ones never change either, so what comes out of them is made once (`batch`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    MATRICES,
    Block,
    BlockGradients,
    Cancel,
    HeadLoss,
    Tower,
    TowerParams,
    head_cross_entropy,
)
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Adapters
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.tower_check import check_block, check_head

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

GROUP_TOKENS = 1024  # that a layer takes at a time (native/src/block_windows.c): no more share planes
REPLICA_PARAMETERS = 1 << 23  # of all replicas of a forward pass, which take 12 bytes each
LEAST_HEAD = 64  # rows of a head that is worth a card; one of a few labels is not


@dataclass(frozen=True)
class Batch:
    """Windows without what follows their last learned token, one after the other: hidden f32 [tokens, hidden] into the
    first trained layer, lengths i32 [windows], targets i32 [tokens] (-1: nothing is learned there)."""

    hidden: F32
    lengths: I32
    targets: I32


@dataclass(frozen=True)
class Score:
    """loss: the sum of -log p over `tokens` targets, in nats; right: the windows of which every target is the most
    probable token, of the `windows` that have any."""

    loss: float
    tokens: int
    right: int
    windows: int


@dataclass(frozen=True)
class Step:
    """loss: the mean of -log p over `tokens` targets, in nats; gradient f64 [n], of that mean."""

    loss: float
    tokens: int
    gradient: F64


class BlockTrainer(ABC):
    """The last `layers` layers over windows of at most `window` tokens; `size` parameters, f64, count from
    set_parameters() on.

    `choices`: token ids; p is then a distribution over these alone, and every target is one of them.
    """

    # bytes at most for what a forward pass leaves to the way back, which otherwise computes it again
    keep = 0
    # replicas of one forward pass, at most
    together = 2
    # whether a graphics card computes what is added (engine/tower.py)
    on_cards = True

    def __init__(self, stack: LayerStack, layers: int, window: int, choices: Sequence[int] = ()) -> None:
        n = stack.info.n_layers
        if not 1 <= layers <= n:
            raise UserError(
                "train-layers",
                f"{layers} layers cannot be trained: this model has 1 to {n}.",
                layers=layers,
                most=n,
            )
        self.stack, self.window = stack, window
        self.trained = range(n - layers, n)
        self._head = replace(stack.head(np.array(choices, np.int32) if choices else None), coarse=True)
        self._places = np.arange(stack.info.vocab_size, dtype=np.int32)  # of a token in the head
        if choices:
            self._places[:] = -1
            self._places[list(choices)] = range(len(choices))
        for layer in self.trained:
            for matrix in MATRICES:
                if not stack.is_planes(layer, matrix):
                    raise UserError(
                        "train-dense",
                        f"{stack.folder.name} is not converted, and only converted models are trained. "
                        "Convert it first.",
                        model=stack.folder.name,
                    )
        self._blocks: list[Block] = []  # what the subclass makes
        self._gradients: list[BlockGradients] = []
        self._kept: dict[Block, F32] = {}
        self.tower: Tower | None = None  # of the last layers that learn, where they are on a graphics card
        self.before: Tower | None = None  # of the last of those before them
        self.size = 0

    @abstractmethod
    def start(self, seed: int) -> F64:
        """The parameters to begin with: those of the model as it is."""

    def reach(self) -> F64 | None:
        """How far a direction of MeZO should go along each parameter; None: equally far along all."""
        return None

    @abstractmethod
    def set_parameters(self, parameters: F64) -> None:
        """They count from now on."""

    @abstractmethod
    def adapters(self, parameters: F64) -> Adapters:
        """As a soul holds them."""

    @abstractmethod
    def _replicas_through(
        self, at: int, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        """Block number `at` over replicas of a batch, one after the other in x, each with its parameters of rows."""

    @abstractmethod
    def _zero(self, sums: BlockGradients) -> None:
        """Before sums of another batch."""

    @abstractmethod
    def _gradient(self, sums: BlockGradients) -> list[F64]:
        """A layer's part of the gradient, in the order of the parameters."""

    def batch(self, tokens: I32, targets: I32, cancel: Cancel | None = None) -> Batch:
        """tokens and targets i32 [windows, window], through the layers that do not learn."""
        lengths = learned_lengths(targets)
        kept = np.arange(self.window) < lengths[:, None]
        x = self.stack.embed(tokens[kept])
        for layer in range(self.trained.start - (len(self.before.blocks) if self.before else 0)):
            self.stack.block(layer, self.window).windows(x, lengths, cancel=cancel)
        if self.before:
            self.before.windows(x, lengths, cancel=cancel)
        return Batch(x, lengths, targets[kept])

    def put_on_card(self, params: TowerParams) -> Tower:
        """As many of the layers that learn, the last ones first, as fit on a graphics card compute there from now on,
        and the head if it is one of int8 and not of a few tokens; `params.tokens` at most in a batch. Raises what
        Tower() raises, and WrongDeviceError for a card that computes something else: nothing has changed then."""
        large = self._head.scales is not None and self._head.shape[0] >= LEAST_HEAD
        check_block(self._blocks[-1], self._gradients[-1], params)
        tower = Tower(self._blocks, replace(params, head=self._head if large else None))
        check_head(tower, params.back)
        self.tower = tower
        return tower

    def put_before_on_card(self, params: TowerParams) -> Tower:
        """The same for the layers before them, until `before` is None again. put_on_card() has tried the card."""
        self.before = Tower(
            [self.stack.block(layer, self.window) for layer in range(self.trained.start)], params
        )
        return self.before

    @property
    def _here(self) -> list[Block]:
        """The blocks that the processor computes: those before the tower's."""
        return self._blocks[: len(self._blocks) - len(self.tower.blocks)] if self.tower else self._blocks

    def score(self, batch: Batch, cancel: Cancel | None = None) -> Score:
        x = batch.hidden.copy()
        for block in self._here:
            block.windows(x, batch.lengths, cancel=cancel)
        if self.tower:
            self.tower.windows(x, batch.lengths, cancel=cancel)
        return self._scores(x, batch, 1, cancel)[0]

    def most_together(self, tokens: int) -> int:
        """How many replicas of a batch of so many tokens are worth one forward pass, and few enough that their
        parameters take little memory: at least both sides of a direction."""
        worth = GROUP_TOKENS // max(1, tokens)
        return max(2, min(worth, REPLICA_PARAMETERS // max(1, self.size)))

    def replicas(self, batch: Batch, parameters: Iterable[F64], cancel: Cancel | None = None) -> list[Score]:
        """The score with each of the parameters f64 [n]: of `together` at a time in one forward pass, in which they
        share the planes. The bits are those of each alone. What set_parameters() was given may be gone."""
        scores: list[Score] = []
        left = iter(parameters)
        while rows := list(islice(left, self.together)):
            x, lengths = np.tile(batch.hidden, (len(rows), 1)), np.tile(batch.lengths, len(rows))
            for at in range(len(self._here)):
                self._replicas_through(at, rows, x, lengths, cancel)
            if self.tower:
                self._replicas_on_card(self.tower, rows, x, batch.lengths, cancel)
            scores += self._scores(x, batch, len(rows), cancel)
            del rows  # before the next ones are made
        return scores

    def _replicas_on_card(
        self, tower: Tower, rows: Sequence[F64], x: F32, lengths: I32, cancel: Cancel | None
    ) -> None:
        """The tower's blocks over the replicas, each of windows of these lengths: one after the other."""
        for row, own in zip(rows, np.split(x, len(rows)), strict=True):
            self.set_parameters(row)
            tower.windows(own, lengths, cancel=cancel)

    def step(self, batch: Batch, cancel: Cancel | None = None) -> Step:
        """Loss and gradient on these windows."""
        wanted = self._wanted(batch.targets)
        count = int((wanted >= 0).sum())
        x = batch.hidden.copy()
        inputs = []
        room = self._room(len(x))
        here = self._here
        for block in here:
            kept = room.get(block)
            inputs.append(x.copy() if kept is None else block.kept_input(kept))
            block.windows(x, batch.lengths, cancel=cancel, kept=kept)
        if self.tower:
            self.tower.windows(x, batch.lengths, cancel=cancel, keep=True)
        weights = np.full(wanted.size, 1 / max(1, count), np.float32)
        run = self._losses(x, wanted, weights, cancel=cancel)
        assert run.dh is not None
        dy = run.dh
        for sums in self._gradients:
            self._zero(sums)
        if self.tower:
            self.tower.backward(dy, self._gradients[len(here) :], cancel, coarse=True)
        mine = self._gradients[: len(here)]
        for block, into, sums in zip(here[::-1], inputs[::-1], mine[::-1], strict=True):
            block.backward(into, dy, sums, cancel, batch.lengths, room.get(block), coarse=True)
        parts = [part for sums in self._gradients for part in self._gradient(sums)]
        return Step(float(run.loss.sum()) / max(1, count), count, np.concatenate(parts))

    def _first(self, at: int) -> int:
        """The place of block number `at`'s first parameter: all have as many."""
        return at * (self.size // len(self._blocks))

    def _room(self, tokens: int) -> dict[Block, F32]:
        """Of the last blocks, as many as `keep` allows: the same bytes in every step."""
        room, left = {}, self.keep
        for block in self._here[::-1]:
            size = tokens * block.kept_columns
            if (left := left - 4 * size) < 0:
                break
            if block not in self._kept or self._kept[block].size < size:
                self._kept[block] = np.empty(size, np.float32)
            room[block] = self._kept[block][:size].reshape(tokens, block.kept_columns)
        return room

    def _scores(self, x: F32, batch: Batch, replicas: int, cancel: Cancel | None) -> list[Score]:
        wanted = self._wanted(batch.targets)
        run = self._losses(x, np.tile(wanted, replicas), gradients=False, cancel=cancel)
        assert run.hits is not None
        starts = np.cumsum(batch.lengths) - batch.lengths
        learned = np.add.reduceat(wanted >= 0, starts, dtype=np.int64)
        scores = []
        for loss, hits in zip(run.loss.reshape(replicas, -1), run.hits.reshape(replicas, -1), strict=True):
            right = np.add.reduceat(hits, starts, dtype=np.int64) == learned
            scores.append(
                Score(
                    float(loss.sum()), int(learned.sum()),
                    int((right & (learned > 0)).sum()), int((learned > 0).sum()),
                )
            )  # fmt: skip
        return scores

    def _losses(
        self,
        x: F32,
        wanted: I32,
        weights: F32 | None = None,
        gradients: bool = True,
        cancel: Cancel | None = None,
    ) -> HeadLoss:
        if self.tower and self.tower.head:
            return self.tower.cross_entropy(x, wanted, weights, gradients=gradients, cancel=cancel)
        return head_cross_entropy(
            self.stack.engine, self._head, x, wanted, weights, gradients=gradients, cancel=cancel
        )

    def _wanted(self, targets: I32) -> I32:
        """Places in the head, -1: none."""
        return np.where(targets >= 0, self._places[targets], -1).astype(np.int32)


def parts_of(rows: Sequence[F64], first: int, shape: tuple[int, ...], out: F32 | None = None) -> F32:
    """f32 [rows, *shape]: of each the parameters from `first` on; in `out`, if given."""
    stop = first + math.prod(shape)
    parts = np.empty((len(rows), *shape), np.float32) if out is None else out[: len(rows)]
    for part, row in zip(parts, rows, strict=True):
        part[:] = row[first:stop].reshape(shape)
    return parts


def learned_lengths(targets: I32) -> I32:
    """How many tokens of each window count, at least 1, for targets i32 [windows, window]: up to the last one."""
    width = targets.shape[1]
    last = width - np.argmax(targets[:, ::-1] >= 0, axis=1)
    return np.where((targets >= 0).any(axis=1), last, 1).astype(np.int32)
