"""Rounding a matrix by what its errors cost on calibration text: GPTQ, then coordinate descent.

For a row w (rotated) we look for integers q and a scale s with a small e' H e, e = w - s q:

1. s and q by columns of their own, weighted 1 / u_jj^2 (engine.quantize_planes): the start.
2. GPTQ (Frantar et al. 2022): column by column, the later columns make up for the error of the earlier ones. What they
   make up for makes them larger, so the start's s is not the best there: larger and smaller ones are tried.
3. Sweeps of coordinate descent over the integers, after each s = w'Hq / q'Hq. Few integers change in one, so a sweep
   costs little; GPTQ's products with H and U are what takes the time.
4. GPTQ once more, at the best s so far, and sweeps.

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

from bitconverter.engine import Cancel, Engine, descent, gptq_block
from bitconverter.model.curvature import Block, Curvature
from bitconverter.model.output_curvature import OutputCurvature

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
Rows = slice | npt.NDArray[np.intp]

TILE = 128  # rows
STEPS = 8  # in which the rows of a block are rounded where they make up for each other
SHARE = 32  # rows of a step, at most, on one thread
COLUMNS = 128  # worked on at a time inside a tile; the columns behind them wait for one product
SWEEPS = 10  # at most, from each GPTQ
# The scales that GPTQ is tried with: so far apart, so many on either side of the start's, until so many in turn are of
# no use.
SCALE_STEP, SCALE_STEPS, PATIENCE = 1.06, 6, 2
WIDE = 512  # columns whose costs with those behind them are one product


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

    if outputs is None:
        list(pool.map(partial(fit, w), _tiles(w, tile)))
        return best
    target = w.copy()
    for step in _steps_of_rows(outputs):
        rows = np.concatenate([np.arange(a, b) for _, a, b, _ in step])
        list(pool.map(partial(fit, target), np.array_split(rows, shares(len(rows)))))
        for u, a, b, end in step:
            _make_up(target, best, u, a, b, end)
    look(best, w, start, scales, curvature, pool=pool, cancel=cancel)
    return best


def look(
    best: Rounded,
    w: F32,
    start: I8,
    scales: F32,
    curvature: Curvature,
    *,
    pool: Executor,
    cancel: Cancel,
    tile: int = TILE,
) -> None:
    """Sets the costs of `best` to those against w itself. Raises Cancelled."""

    def costs(rows: slice) -> None:
        cancel.check()
        best.start_cost[rows] = _cost(curvature, w[rows] - scales[rows, None] * start[rows])
        best.cost[rows] = _cost(curvature, w[rows] - best.scales[rows, None] * best.q[rows])
        best.whole[rows] = _cost(curvature, w[rows])

    list(pool.map(costs, _tiles(w, tile)))


def _tiles(w: F32, rows: int) -> list[slice]:
    return [slice(first, first + rows) for first in range(0, len(w), rows)]


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
        self._curvature, self._blocks = curvature, curvature.blocks
        self._limit = limit
        self._storable = storable
        self._engine = engine
        self._cancel = cancel

    def run(self, q: I8, scales: F32) -> Rounded:
        wh = self._times_h(self._w)
        start = _cost(self._curvature, self._w - scales[:, None] * q)
        best = Rounded(q.copy(), scales.copy(), start.copy(), start, _dots(self._w, wh))
        self._descend(best, wh, *self._search(scales))
        again = best.scales.copy()
        self._descend(best, wh, again, *self._gptq(self._w, again))
        return best

    def _search(self, start: F32) -> tuple[F32, I8, F64]:
        """GPTQ at the start's scales and, row by row, at larger and at smaller ones, in each direction until PATIENCE
        in turn did not cost less than the best. Both directions go together: U is large."""
        scales, n = start.copy(), len(start)
        q, cost = self._gptq(self._w, scales)
        rows, factors = np.tile(np.arange(n), 2), np.repeat([SCALE_STEP, 1.0 / SCALE_STEP], n)
        tried, failed = np.tile(start, 2), np.zeros(2 * n, int)
        for _ in range(SCALE_STEPS):
            tried = self._storable(tried.astype(np.float64) * factors)
            found, costs = self._gptq(self._w[rows], tried)
            better = costs < cost[rows]
            # by falling cost: of a row that is there twice the last one stays
            new = np.flatnonzero(better)[np.argsort(-costs[better], kind="stable")]
            q[rows[new]], scales[rows[new]], cost[rows[new]] = found[new], tried[new], costs[new]
            failed = np.where(better, 0, failed + 1)
            on = failed < PATIENCE
            rows, factors, tried, failed = rows[on], factors[on], tried[on], failed[on]
            if not len(rows):
                break
        return scales, q, cost

    def _descend(self, best: Rounded, wh: F32, scales: F32, q: I8, cost: F64) -> None:
        """Sweeps from q, which costs so much, while a row's cost falls; `best` gets what is better. q is used up."""
        self._keep(best, q, scales, cost)
        qh = self._times_h(q.astype(np.float32))
        for _ in range(SWEEPS):
            self._cancel.check()
            sums = np.zeros((len(q), 3), np.float64)
            for block in self._blocks:
                at = slice(block.start, block.stop)
                descent(
                    self._engine, self._w[:, at], wh[:, at], qh[:, at], block.h, scales,
                    q_max=self._limit, q=q[:, at], sums=sums,
                )  # fmt: skip
            before = cost
            scales, cost = self._rescale(scales, sums)
            self._keep(best, q, scales, cost)
            if not (cost < before).any():
                return

    def _gptq(self, w: F32, scales: F32) -> tuple[I8, F64]:
        """q of some rows w, and their e' H e: the squares of what GPTQ calls errors, since e = errors U."""
        w, q, cost = w.copy(), np.empty(w.shape, np.int8), np.zeros(len(w), np.float64)
        for block in self._blocks:
            for a, b in _steps(block):
                self._cancel.check()
                u = block.u[a - block.start : b - block.start]
                inside = u[:, a - block.start : b - block.start]
                errors = gptq_block(self._engine, w[:, a:b], inside, scales, q_max=self._limit, q=q[:, a:b])
                cost += _dots(errors, errors)
                if b < block.stop:
                    w[:, b : block.stop] -= errors @ u[:, b - block.start :]
        return q, cost

    def _rescale(self, scales: F32, sums: F64) -> tuple[F32, F64]:
        """The best scale of each row, and what it costs then: scale + q'He / q'Hq; the old one where q is all zero or
        the new one could not be. sums f64 [rows, 3] at the old scales: e'He, q'He, q'Hq."""
        cost, slope, curve = sums.T
        new = scales + slope / np.where(curve > 0, curve, np.inf)
        stored = self._storable(np.where(new > 0, new, scales))
        stored = np.where(stored > 0, stored, scales).astype(np.float32)
        moved = stored.astype(np.float64) - scales
        return stored, cost - moved * (2.0 * slope - moved * curve)

    def _keep(self, best: Rounded, q: I8, scales: F32, cost: F64) -> None:
        better = cost < best.cost
        best.q[better], best.scales[better], best.cost[better] = q[better], scales[better], cost[better]

    def _times_h(self, x: F32) -> F32:
        out = np.empty_like(x)
        for block in self._blocks:
            out[:, block.start : block.stop] = x[:, block.start : block.stop] @ block.h
        return out


def _cost(curvature: Curvature, e: F32) -> F64:
    """e' H e of each row of e. H is symmetric: every pair of its columns is taken once."""
    total = np.zeros(len(e), np.float64)
    for block in curvature.blocks:
        part = e[:, block.start : block.stop]
        for a in range(0, part.shape[1], WIDE):
            b = a + WIDE
            total += _dots(part[:, a:b], part[:, a:b] @ block.h[a:b, a:b])
            if b < part.shape[1]:
                total += 2.0 * _dots(part[:, a:b], part[:, b:] @ block.h[b:, a:b])
    return total


def _steps(block: Block) -> list[tuple[int, int]]:
    return [(a, min(a + COLUMNS, block.stop)) for a in range(block.start, block.stop, COLUMNS)]


def _dots(a: npt.NDArray[Any], b: F32) -> F64:
    """f64 [rows]: the product of each row of a with that of b."""
    return np.einsum("rc,rc->r", a, b, dtype=np.float64)
