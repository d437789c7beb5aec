"""Rounding a matrix by what its errors cost on calibration text: GPTQ, then coordinate descent.

For a row w (rotated) we look for integers q and a scale s with a small e' H e, e = w - s q:

1. s and q by columns of their own, weighted 1 / u_jj^2 (engine.quantize_planes): the start.
2. GPTQ (Frantar et al. 2022): column by column, the later columns make up for the error of the earlier ones.
3. Sweeps of coordinate descent over the integers, after each s = w'Hq / q'Hq.

Of all these every row keeps its best, so no row is worse than the start. Rows are worked on in tiles of TILE rows, each
on one thread with an engine of its own; the tiles do not depend on how many there are.

So far rows are independent. Where it is known what the errors of several rows cost together
(model/output_curvature.py), the rows of a block are rounded in STEPS steps, each aimed at what makes up for the errors
of those before it; all blocks side by side.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel, Engine, descent_block, gptq_block
from bitconverter.model.curvature import Block, Curvature
from bitconverter.model.output_curvature import OutputCurvature

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
Rows = slice | npt.NDArray[np.intp]

TILE = 256  # rows
STEPS = 8  # in which the rows of a block are rounded where they make up for each other
SHARE = 32  # rows of a step, at most, on one thread
COLUMNS = 128  # worked on at a time inside a tile; the columns behind them wait for one product
SWEEPS = 6


@dataclass
class Rounded:
    """q i8 [rows, cols], scales f32 [rows]; cost f64 [rows] = e' H e, and start_cost that of step 1."""

    q: I8
    scales: F32
    cost: F64
    start_cost: F64
    whole: F64  # w' H w

    def into(self, other: "Rounded", rows: Rows) -> None:
        """Makes these rows those of `other`."""
        other.q[rows], other.scales[rows] = self.q, self.scales
        other.cost[rows], other.start_cost[rows], other.whole[rows] = self.cost, self.start_cost, self.whole


Round = Callable[[F64], F32]  # scales to those that can be stored


def improve(
    w: F32,
    start: I8,
    scales: F32,
    curvature: Curvature,
    n_planes: int,
    *,
    storable: Round,
    engines: Callable[[], Engine],
    pool: Executor,
    cancel: Cancel,
    outputs: OutputCurvature | None = None,
    tile: int = TILE,
) -> Rounded:
    """w f32 [rows, cols] rotated, with the start's q i8 [rows, cols] and scales f32 [rows].

    `engines` gives the calling thread's own engine. With `outputs` rows make up for each other's errors: then a row
    may cost more than the start by itself; else `tile` rows are worked on at a time. Raises Cancelled.
    """
    limit = (3**n_planes - 1) // 2
    best = Rounded(start.copy(), scales.copy(), *(np.empty(len(w), np.float64) for _ in range(3)))

    def fit(target: F32, rows: Rows) -> None:
        cancel.check()
        work = _Tile(target[rows], curvature, limit, storable, engines(), cancel)
        work.run(np.ascontiguousarray(start[rows]), scales[rows].copy()).into(best, rows)

    def look(rows: Rows) -> None:
        cancel.check()
        work = _Tile(w[rows], curvature, limit, storable, engines(), cancel)
        best.start_cost[rows], best.whole[rows] = work.look(start[rows], scales[rows])[1], work.whole
        best.cost[rows] = work.look(best.q[rows], best.scales[rows])[1]

    tiles = [slice(first, first + tile) for first in range(0, len(w), tile)]
    if outputs is None:
        list(pool.map(partial(fit, w), tiles))
        return best
    target = w.copy()
    for step in _steps_of_rows(outputs):
        rows = np.concatenate([np.arange(a, b) for _, a, b, _ in step])
        list(pool.map(partial(fit, target), np.array_split(rows, shares(len(rows)))))
        for u, a, b, end in step:
            _make_up(target, best, u, a, b, end)
    list(pool.map(look, tiles))
    return best


def shares(rows: int) -> int:
    """In how many parts so many rows of a step are worked on: more threads have nothing to do."""
    return -(-rows // SHARE)


def step_rows(edges: Sequence[int]) -> int:
    """Of all blocks together, where they begin and end at `edges`: the rows of a step (the last may have less)."""
    return sum(-(-(b - a) // STEPS) for a, b in itertools.pairwise(edges))


def _steps_of_rows(outputs: OutputCurvature) -> list[list[tuple[F32, int, int, int]]]:
    """For each step, of every block that has rows left: u of these rows and those behind them, their first, the first
    behind them, and the block's end."""
    steps: list[list[tuple[F32, int, int, int]]] = []
    for u, (first, end) in zip(outputs.u, itertools.pairwise(outputs.edges), strict=True):
        width = -(-len(u) // STEPS)
        for k, a in enumerate(range(first, end, width)):
            if k == len(steps):
                steps.append([])
            steps[k].append((u[a - first : a - first + width, a - first :], a, min(a + width, end), end))
    return steps


def _make_up(target: F32, best: Rounded, u: F32, a: int, b: int, end: int) -> None:
    """Moves the targets of rows b..end by what rows a..b, which are rounded now, miss theirs by."""
    if b < end:
        error = target[a:b] - best.scales[a:b, None] * best.q[a:b]
        back = np.linalg.solve(u[:, : b - a].astype(np.float64), u[:, b - a :].astype(np.float64))
        target[b:end] -= back.T.astype(np.float32) @ error


class _Tile:
    """Some rows of a matrix; all arrays f32 [rows, cols] unless said otherwise."""

    def __init__(
        self, w: F32, curvature: Curvature, limit: int, storable: Round, engine: Engine, cancel: Cancel
    ) -> None:
        self._w = np.ascontiguousarray(w)
        self._blocks = curvature.blocks
        self._limit = limit
        self._storable = storable
        self._engine = engine
        self._cancel = cancel
        self._wh = self._times_h(self._w)
        self.whole = _dots(self._w, self._wh)  # [rows]

    def run(self, q: I8, scales: F32) -> Rounded:
        qh, cost = self.look(q, scales)
        best = Rounded(q.copy(), scales.copy(), cost.copy(), cost, self.whole)
        q = self._gptq(scales)
        qh, cost = self.look(q, scales)
        self._keep(best, q, scales, cost)
        for _ in range(SWEEPS):
            self._cancel.check()
            q = self._descend(q, scales, qh)
            qh = self._times_h(q.astype(np.float32))
            scales = self._rescale(q, qh, scales)
            self._keep(best, q, scales, self._cost(q, qh, scales))
        return best

    def _gptq(self, scales: F32) -> I8:
        w, q = self._w.copy(), np.empty(self._w.shape, np.int8)
        for block in self._blocks:
            for a, b in _steps(block):
                self._cancel.check()
                u = block.u[a - block.start : b - block.start]
                inside = u[:, a - block.start : b - block.start]
                errors = gptq_block(self._engine, w[:, a:b], inside, scales, q_max=self._limit, q=q[:, a:b])
                if b < block.stop:
                    w[:, b : block.stop] -= errors @ u[:, b - block.start :]
        return q

    def _descend(self, q: I8, scales: F32, qh: F32) -> I8:
        """One sweep; qh = q H as it is before it."""
        q, r = q.copy(), self._wh - scales[:, None] * qh
        for block in self._blocks:
            for a, b in _steps(block):
                self._cancel.check()
                h = block.h[a - block.start : b - block.start]
                inside = h[:, a - block.start : b - block.start]
                delta = descent_block(self._engine, r[:, a:b], inside, scales, q_max=self._limit, q=q[:, a:b])
                if b < block.stop:
                    r[:, b : block.stop] += delta @ h[:, b - block.start :]
        return q

    def _rescale(self, q: I8, qh: F32, scales: F32) -> F32:
        """The best scale of each row for its q; the old one where q is all zero or the new one could not be."""
        top, bottom = _dots(self._w, qh), _dots(q, qh)
        good = (bottom > 0) & (top > 0)
        new = self._storable(np.where(good, top / np.where(good, bottom, 1.0), scales))
        return np.where(new > 0, new, scales).astype(np.float32)

    def look(self, q: I8, scales: F32) -> tuple[F32, F64]:
        qh = self._times_h(q.astype(np.float32))
        return qh, self._cost(q, qh, scales)

    def _cost(self, q: I8, qh: F32, scales: F32) -> F64:
        """e' (H e), not the expanded square: that would lose the digits of a small error in those of w' H w."""
        return _dots(self._w - scales[:, None] * q, self._wh - scales[:, None] * qh)

    def _keep(self, best: Rounded, q: I8, scales: F32, cost: F64) -> None:
        better = cost < best.cost
        best.q[better], best.scales[better], best.cost[better] = q[better], scales[better], cost[better]

    def _times_h(self, x: F32) -> F32:
        out = np.empty_like(x)
        for block in self._blocks:
            out[:, block.start : block.stop] = x[:, block.start : block.stop] @ block.h
        return out


def _steps(block: Block) -> list[tuple[int, int]]:
    return [(a, min(a + COLUMNS, block.stop)) for a in range(block.start, block.stop, COLUMNS)]


def _dots(a: npt.NDArray[Any], b: F32) -> F64:
    """f64 [rows]: the product of each row of a with that of b."""
    return np.einsum("rc,rc->r", a, b, dtype=np.float64)
