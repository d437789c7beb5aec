"""What calibration knows of a matrix's input: H = sum of x x' over the calibration tokens, x rotated.

The error of a rounded row, e = w - scale q, costs e' H e on the calibration text. H is kept as blocks on the
diagonal: one for inputs of up to MAX_BLOCK entries, else equal ones of at most WIDE_BLOCK, so that the H of a large
model's wide matrix fits into memory. No block is wider than TOKENS_PER_COLUMN allows, nor than BLOCK_STEP where that
is more: of few tokens a wide H knows too well what one column says of another, and tells what rounding costs too small.
All of it is f32: what that loses is far below the damping.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

MAX_BLOCK = 9216
WIDE_BLOCK = 4864
BLOCK_STEP = 128  # blocks but the last are a multiple of it
TOKENS_PER_COLUMN = 4  # of a block at least
PIECE = 1024  # tokens that are summed at a time
TILE = 256  # rows of H that a thread sums at a time
DAMPING = 0.03  # of the mean diagonal
MORE_DAMPING = 10.0  # the factor, while H + damping is not positive definite


@dataclass(frozen=True)
class Block:
    """Columns start..stop. h f32 [n, n]: H with damping; u f32 [n, n]: upper triangular, u' u = h^-1."""

    start: int
    stop: int
    h: F32
    u: F32


@dataclass(frozen=True)
class Curvature:
    """All blocks of one input, in order; `damping` is what was added, in mean diagonals (normally DAMPING)."""

    blocks: tuple[Block, ...]
    damping: float
    mean: float  # of x^2 over inputs and tokens: what the blocks' H is scaled by

    @property
    def importance(self) -> F32:
        """f32 [cols]: what an error in each column costs when the later columns make up for it, 1 / u_jj^2."""
        return np.concatenate([1.0 / np.square(np.diagonal(b.u)) for b in self.blocks]).astype(np.float32)


def block_edges(cols: int, tokens: int) -> list[int]:
    """Where the diagonal blocks of an input of `cols` entries begin, and the end; `tokens` are summed in all."""
    known = BLOCK_STEP * max(tokens // (TOKENS_PER_COLUMN * BLOCK_STEP), 1)
    if cols <= min(MAX_BLOCK, known):
        return [0, cols]
    parts = -(-cols // min(MAX_BLOCK if cols <= MAX_BLOCK else WIDE_BLOCK, known))
    width = -(-cols // (parts * BLOCK_STEP)) * BLOCK_STEP
    return [*range(0, cols, width), cols]


class Moments:
    """Sums x x' over `tokens` calibration tokens. The result does not depend on the number of threads."""

    def __init__(self, cols: int, tokens: int) -> None:
        self._edges = block_edges(cols, tokens)
        # from the diagonal on, by tiles of rows; what lies before it is zero
        self._sums = [np.zeros((b - a, b - a), np.float32) for a, b in itertools.pairwise(self._edges)]
        self.tokens = 0

    def add(self, x: F32, pool: Executor) -> None:
        """x f32 [tokens, cols], rotated. Tiles of H in parallel; each adds the pieces of tokens in their order."""
        for k, total in enumerate(self._sums):
            part = np.ascontiguousarray(x[:, self._edges[k] : self._edges[k + 1]])
            list(pool.map(partial(_add_tile, total, part), range(0, len(total), TILE)))
        self.tokens += len(x)

    @property
    def finite(self) -> bool:
        """Whether no sum has left the numbers; without that there is no curvature."""
        return all(bool(np.isfinite(total).all()) for total in self._sums)

    def curvature(self, check: Callable[[], None] = lambda: None) -> Curvature:
        """The damped H, scaled to a mean diagonal of 1, and its factor. `check` is called now and then. Raises
        ArithmeticError where the sums are not finite."""
        if not self.finite:
            raise ArithmeticError("the sums of the inputs' products are not finite")
        diagonals = np.concatenate([np.diagonal(total) for total in self._sums])
        mean = float(diagonals.mean(dtype=np.float64)) or 1.0
        damping, k = DAMPING, 0
        blocks: list[Block] = []
        while k < len(self._sums):
            made = self._factored(k, mean, damping, check)
            if made is None:  # begin again: one damping for all blocks
                damping, blocks, k = damping * MORE_DAMPING, [], 0
                continue
            blocks.append(made)
            k += 1
        return Curvature(tuple(blocks), damping, mean / max(1, self.tokens))

    def _factored(self, k: int, mean: float, damping: float, check: Callable[[], None]) -> Block | None:
        """Block k; None where it cannot be factored with so little damping."""
        total = self._sums[k]
        h = total / np.float32(mean)
        _mirror(h)
        diagonal = np.diagonal(h)
        # a dead input has no cost that is known: an average one
        np.fill_diagonal(h, np.where(diagonal > 0, diagonal, 1) + np.float32(damping))
        u = factor(h, check)
        return None if u is None else Block(self._edges[k], self._edges[k + 1], h, u)


def _add_tile(total: F32, x: F32, first: int) -> None:
    """TILE rows of the sums from `first` on, from the tile's first column on. What leaves the numbers here is seen in
    `finite`."""
    rows = slice(first, first + TILE)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(x), PIECE):
            piece = x[start : start + PIECE]
            total[rows, first:] += piece[:, rows].T @ piece[:, first:]


def _mirror(h: F32) -> None:
    """Below the diagonal what is above it; by tiles, in which both are there already."""
    for first in range(0, len(h), TILE):
        h[first + TILE :, first : first + TILE] = h[first : first + TILE, first + TILE :].T


def factor(h: F32, check: Callable[[], None]) -> F32 | None:
    """u f32 upper triangular with u' u = h^-1; None where h is not positive definite enough."""
    # J h J = m m' with J the reversal and m lower; then u = J m^-1 J is upper and u' u = h^-1.
    inverse = np.zeros_like(h)
    try:
        _invert_factor(h[::-1, ::-1].copy(), inverse, check)
    except np.linalg.LinAlgError:
        return None
    u = np.ascontiguousarray(inverse[::-1, ::-1])
    return u if np.isfinite(u).all() else None


def _invert_factor(a: F32, out: F32, check: Callable[[], None]) -> None:
    """out [n, n] = m^-1, lower triangular, where m m' = a, the Cholesky factor; a is destroyed. By halves, so that
    nearly all of it is matrix products: m = [[m1, 0], [b, m2]] with b = a21 m1^-T and m2 m2' = a22 - b b'."""
    check()
    n = len(a)
    if n <= 64:
        out[:] = np.linalg.inv(np.linalg.cholesky(a))
        return
    k = n // 2
    _invert_factor(a[:k, :k], out[:k, :k], check)
    below = a[k:, :k] @ out[:k, :k].T
    a[k:, k:] -= below @ below.T
    _invert_factor(a[k:, k:], out[k:, k:], check)
    np.negative((out[k:, k:] @ below) @ out[:k, :k], out=out[k:, :k])
