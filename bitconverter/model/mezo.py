"""Descent without a gradient: two forward passes a direction (MeZO, Malladi et al. 2023, after SPSA, Spall 1992).

A direction is a vector u of signs times `reach`, drawn anew from (seed, step, direction, parameter) whenever it is
needed and never kept. With c = (f(a + eps u) - f(a - eps u)) / 2 eps, bounded by `clip`, the parameters move by
-rate / D sum_j c_j u_j. f is any number that a forward pass gives. Signs in place of the paper's Gaussians: E u u' = 1
holds for both, and signs are the same bits on every machine.

One-sided it is c = (f(a + eps u) - f(a)) / eps with one f(a) for all directions of a step: D + 1 passes for 2 D, and a
slope that the curvature bends. `by_spread` divides by the standard deviation of the D losses in place of eps, so steps
are as long where the loss is flat as where it is steep: both together are FZOO (Dang et al. 2025; its eps is part of
the rate here).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
U64 = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def signs(seed: int, step: int, direction: int, n: int) -> F64:
    """u f64 [n] of -1 and 1. Bit i % 64 of the i / 64-th number of a splitmix64 stream (Steele, Lea, Flood 2014) that
    begins where (seed, step, direction) hash to."""
    start = 0
    for word in (seed, step, direction):
        start = _mixed(start + _GOLDEN * (word + 1) & _MASK)
    counters = np.arange(1, -(-n // 64) + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(start)
    bits = np.unpackbits(_mix(counters).astype("<u8").view(np.uint8), bitorder="little", count=n)
    return np.asarray(bits * 2.0 - 1.0, np.float64)


def _mixed(word: int) -> int:
    return int(_mix(np.array([word], np.uint64))[0])


def _mix(x: U64) -> U64:
    """splitmix64's finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Mezo:
    """`epsilon`: the step to both sides; `directions` of one step; `clip`: the largest |c|; `reach` f64 [n]: how far a
    direction goes along each parameter, None: equally far along all."""

    seed: int
    epsilon: float
    directions: int
    clip: float
    reach: F64 | None = None
    one_sided: bool = False
    by_spread: bool = False  # one-sided, with at least two directions

    @property
    def looks(self) -> int:
        """Forward passes of one step."""
        return self.directions + 1 if self.one_sided else 2 * self.directions

    def places(self, parameters: F64, step: int) -> Iterator[F64]:
        """Where to look, `looks` times f64 [n]: a + eps u_1, a - eps u_1, a + eps u_2, ...; one-sided a, a + eps u_1,
        a + eps u_2, ... Made one after the other: with many directions they are much memory."""
        if self.one_sided:
            yield parameters
        for j in range(self.directions):
            u = self._direction(step, j, len(parameters))
            u *= self.epsilon
            yield parameters + u
            if not self.one_sided:
                yield np.subtract(parameters, u, out=u)
            del u  # before the next one is made

    def slopes(self, values: Sequence[float]) -> F32:
        """c f32 [directions] of f at places(); NaN where f is no number."""
        found = np.array(values, np.float64)
        if self.one_sided:
            size = float(np.std(found[1:])) if self.by_spread else self.epsilon
            flat = size == 0.0  # all the same: nothing to go by
            c = np.zeros(self.directions) if flat else (found[1:] - found[0]) / size
        else:
            c = (found[::2] - found[1::2]) / (2 * self.epsilon)
        return np.clip(c, -self.clip, self.clip).astype(np.float32)

    def move(self, parameters: F64, step: int, slopes: F32, rate: float) -> None:
        """Change parameters in place; the same on every machine."""
        for j, c in enumerate(slopes):
            parameters -= (rate / self.directions * float(c)) * self._direction(step, j, len(parameters))

    def _direction(self, step: int, j: int, n: int) -> F64:
        u = signs(self.seed, step, j, n)
        return u if self.reach is None else u * self.reach
