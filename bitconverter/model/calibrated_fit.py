"""Rounding a matrix by what its errors cost on calibration text: GPTQ, then coordinate descent.

For a row w (rotated) we look for integers q and a scale s with a small e' H e, e = w - s q:

1. s and q by columns of their own, weighted 1 / u_jj^2 (engine.quantize_planes): the start.
2. GPTQ (Frantar et al. 2022): column by column, the later columns make up for the error of the earlier ones.
3. Sweeps of coordinate descent over the integers, after each s = w'Hq / q'Hq.

Of all these every row keeps its best, so no row is worse than the start. Rows are independent: they are worked on
in tiles of TILE rows, each on one thread with an engine of its own; the tiles do not depend on how many there are.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel, Engine, descent_block, gptq_block
from bitconverter.model.curvature import Block, Curvature

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]

TILE = 256  # rows
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
) -> Rounded:
    """w f32 [rows, cols] rotated, with the start's q i8 [rows, cols] and scales f32 [rows].

    `engines` gives the calling thread's own engine. Raises Cancelled.
    """
    limit = (3**n_planes - 1) // 2

    def tile(first: int) -> Rounded:
        cancel.check()
        rows = slice(first, first + TILE)
        work = _Tile(w[rows], curvature, limit, storable, engines(), cancel)
        return work.run(np.ascontiguousarray(start[rows]), scales[rows].copy())

    tiles = list(pool.map(tile, range(0, len(w), TILE)))
    return Rounded(*(np.concatenate([getattr(t, name) for t in tiles]) for name in Rounded.__annotations__))


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
        self._whole = _dots(self._w, self._wh)  # [rows]

    def run(self, q: I8, scales: F32) -> Rounded:
        qh, cost = self._look(q, scales)
        best = Rounded(q.copy(), scales.copy(), cost.copy(), cost, self._whole)
        q = self._gptq(scales)
        qh, cost = self._look(q, scales)
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

    def _look(self, q: I8, scales: F32) -> tuple[F32, F64]:
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
