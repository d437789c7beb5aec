"""What the errors of several rows of a matrix cost together, from gradients with respect to its outputs.

Rounding W with errors E (rows e_r) changes the loss by about 1/2 tr(G E H E'), with H = mean of x x' over its inputs
and G = mean of dY dY' over its outputs, as if the two were independent (K-FAC, Martens and Grosse 2015). Where G is
not diagonal, a row that is rounded later can make up for the error of one before it, as a later column does in GPTQ;
Tseng, Sun and De Sa 2025 ("Model-Preserving Adaptive Rounding") round from both sides in that way. With G^-1 = u'u, u
upper triangular, row k is rounded as w_k - sum over r < k of u_rk / u_rr e_r, e_r the errors against such targets, of
which each costs 1 / u_rr^2.

G is taken in blocks: of a head for q and k, whose gradients lie in few directions (what the keys and queries that they
meet look like), which few tokens tell; as wide as it may be for other matrices, with much more damping. What n tokens
say of n rows is half noise: rows / tokens is added to the damping. Measured in docs/MODEL.md, "Rows that make up for
each other".
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from bitconverter.model.curvature import factor

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MAX_BLOCK = 2048  # rows
HEAD_DAMPING, DAMPING = 0.1, 1.0  # of the mean diagonal, with many tokens
NOTHING = 1e-30  # a mean diagonal that is as good as none


@dataclass(frozen=True)
class OutputCurvature:
    """Of a matrix's rows: block b are rows edges[b]..edges[b + 1]; u[b] f32 [n, n] upper triangular, u'u = G^-1 of the
    damped G of the block, scaled to a mean diagonal of 1 over all; `mean` is what it was scaled by (0: there is none,
    and rows are rounded as if they were independent)."""

    edges: tuple[int, ...]
    u: tuple[F32, ...]
    mean: float

    @property
    def costs(self) -> F64:
        """f64 [rows]: what an error of each row costs when the rows behind it in its block make up for it."""
        pivots = [np.square(np.diagonal(u), dtype=np.float64) for u in self.u]
        return self.mean / np.concatenate(pivots)


class OutputMoments:
    """Sums dY dY' over tokens, in blocks."""

    def __init__(self, edges: Sequence[int], damping: float) -> None:
        self._edges, self._damping = tuple(edges), damping
        self._sums = [np.zeros((b - a, b - a), np.float32) for a, b in itertools.pairwise(self._edges)]
        self._tokens = 0

    def add(self, dy: F32, pool: Executor) -> None:
        """dy f32 [tokens, rows]. Blocks in parallel; each adds the pieces of tokens in their order."""
        list(pool.map(partial(self._add_block, dy), range(len(self._sums))))
        self._tokens += len(dy)

    @property
    def finite(self) -> bool:
        return all(bool(np.isfinite(total).all()) for total in self._sums)

    def curvature(self, check: Callable[[], None] = lambda: None) -> OutputCurvature:
        """`check` is called now and then. The sums are used up. Raises ArithmeticError where they are not finite, or a
        block has no factor."""
        if not self.finite:
            raise ArithmeticError("the sums of the gradients' products are not finite")
        diagonals = np.concatenate([np.diagonal(total) for total in self._sums])
        mean = float(diagonals.mean(dtype=np.float64))
        if mean < NOTHING:
            mean = 0.0
        factors = []
        while self._sums:
            g = self._sums.pop(0)
            g = g / np.float32(mean) if mean else np.zeros_like(g)
            damping = self._damping + len(g) / max(1, self._tokens)
            np.fill_diagonal(g, np.diagonal(g) + np.float32(damping))
            u = factor(g, check)
            if u is None:
                raise ArithmeticError("the gradients' products have no factor")
            factors.append(u)
        return OutputCurvature(self._edges, tuple(factors), mean / max(1, self._tokens))

    def _add_block(self, dy: F32, block: int) -> None:
        part = dy[:, self._edges[block] : self._edges[block + 1]]
        with np.errstate(over="ignore", invalid="ignore"):  # seen in `finite`
            self._sums[block] += part.T @ part


HEADS = ("q", "k")  # in blocks of a head
WIDE = ("o", "up", "down")  # in blocks as wide as MAX_BLOCK allows; v and gate have next to nothing to gain


def output_edges(key: str, rows: int, head_dim: int) -> list[int]:
    """Where the blocks of matrix `key` (of HEADS or WIDE) begin, and the end."""
    if key in HEADS:
        return [*range(0, rows, head_dim), rows]
    width = -(-rows // -(-rows // MAX_BLOCK))
    return [*range(0, rows, width), rows]


def output_moments(key: str, rows: int, head_dim: int) -> OutputMoments:
    """Of matrix `key`, nothing summed up yet."""
    return OutputMoments(output_edges(key, rows, head_dim), HEAD_DAMPING if key in HEADS else DAMPING)
