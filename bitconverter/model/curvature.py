"""What calibration knows of a matrix's input: H = sum of x x' over the calibration tokens, x rotated.

The error of a rounded row, e = w - scale q, costs e' H e on the calibration text. H is kept as blocks on the
diagonal: one for inputs of up to MAX_BLOCK entries, else one per WIDE_BLOCK of them, so that a wide matrix's H
fits into memory.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MAX_BLOCK = 4096
WIDE_BLOCK = 2048  # a multiple of the rotation's Hadamard blocks in such inputs, or a part of one
PIECE = 1024  # tokens that are summed in float32 before they are added in float64
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


def block_edges(cols: int) -> list[int]:
    """Where the diagonal blocks of an input of `cols` entries begin, and the end."""
    if cols <= MAX_BLOCK:
        return [0, cols]
    return [*range(0, cols, WIDE_BLOCK), cols]


class Moments:
    """Sums x x' over calibration tokens. The result does not depend on the number of threads."""

    def __init__(self, cols: int) -> None:
        self._edges = block_edges(cols)
        self._sums = [np.zeros((b - a, b - a)) for a, b in zip(self._edges, self._edges[1:], strict=False)]
        self.tokens = 0

    def add(self, x: F32, pool: Executor) -> None:
        """x f32 [tokens, cols], rotated. Pieces of tokens in parallel, added in their order."""
        for k, total in enumerate(self._sums):
            a, b = self._edges[k], self._edges[k + 1]
            pieces = [np.ascontiguousarray(x[t : t + PIECE, a:b]) for t in range(0, len(x), PIECE)]
            for partial in _in_waves(pool, _products, pieces):
                total += partial
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
        diagonals = [np.diagonal(total).copy() for total in self._sums]
        mean = float(np.concatenate(diagonals).mean()) or 1.0
        damping, k = DAMPING, 0
        blocks: list[Block] = []
        while k < len(self._sums):
            made = _factor(self._sums[k] / mean, damping, self._edges[k], self._edges[k + 1], check)
            if made is None:  # begin again: one damping for all blocks
                damping, blocks, k = damping * MORE_DAMPING, [], 0
                continue
            blocks.append(made)
            k += 1
        return Curvature(tuple(blocks), damping, mean / max(1, self.tokens))


def _products(piece: F32) -> F32:
    """What leaves the numbers here is seen in `finite`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(piece.T @ piece, np.float32)


def _factor(h: F64, damping: float, start: int, stop: int, check: Callable[[], None]) -> Block | None:
    """One block of an H whose mean diagonal is 1; None where it cannot be factored with so little damping."""
    n = len(h)
    diagonal = np.diagonal(h)
    dead = np.flatnonzero(diagonal <= 0)
    h[dead, dead] = 1.0  # such an input: no cost is known, so it is treated as an average one
    h[np.arange(n), np.arange(n)] += damping
    try:
        # J h J = m m' with J the reversal and m lower; then u = J m^-1 J is upper and u' u = h^-1.
        m = np.linalg.cholesky(h[::-1, ::-1])
        u = _inverse_of_lower(np.asarray(m, np.float64), check)[::-1, ::-1]
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(u).all():
        return None
    return Block(start, stop, h.astype(np.float32), np.ascontiguousarray(u, dtype=np.float32))


def _inverse_of_lower(m: F64, check: Callable[[], None]) -> F64:
    """The inverse of a lower triangular matrix, by halves: numpy has no triangular solver."""
    check()
    n = len(m)
    if n <= 64:
        return np.asarray(np.linalg.inv(m), np.float64)
    k = n // 2
    out = np.zeros_like(m)
    out[:k, :k] = _inverse_of_lower(m[:k, :k], check)
    out[k:, k:] = _inverse_of_lower(m[k:, k:], check)
    out[k:, :k] = -(out[k:, k:] @ m[k:, :k]) @ out[:k, :k]
    return out


def _in_waves(pool: Executor, function: Callable[[F32], F32], pieces: list[F32]) -> Iterable[F32]:
    """function of every piece, in order; a few at a time, because the results are large."""
    for start in range(0, len(pieces), 4):
        yield from pool.map(function, pieces[start : start + 4])
