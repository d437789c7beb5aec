"""AdamW (Loshchilov, Hutter 2019) on one flat vector, with a clipped gradient, warm-up and a cosine."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """`rate` is reached after `warmup` steps and falls along a cosine to `floor` * rate at step `steps`."""

    rate: float
    steps: int
    warmup: int = 0
    floor: float = 0.1

    def at(self, step: int) -> float:
        """The rate of step 0, 1, ..."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        part = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * part)))


class AdamW:
    """Holds the moments of a parameter vector f64 [n]; decay pulls it to 0."""

    BETAS = (0.9, 0.99)
    EPSILON = 1e-8

    def __init__(self, n: int, decay: float = 0.0, clip: float = 1.0) -> None:
        """clip: the largest norm of a gradient, 0 for none."""
        self.first, self.second = np.zeros(n), np.zeros(n)
        self.step = 0
        self.decay, self.clip = decay, clip

    def update(self, parameters: F64, gradient: F64, rate: float) -> float:
        """Change `parameters` in place; returns the gradient's norm before clipping."""
        norm = float(np.sqrt((gradient * gradient).sum()))
        if 0 < self.clip < norm:
            gradient = gradient * (self.clip / norm)
        self.step += 1
        b1, b2 = self.BETAS
        self.first += (1 - b1) * (gradient - self.first)
        self.second += (1 - b2) * (gradient * gradient - self.second)
        first, second = self.first / (1 - b1**self.step), self.second / (1 - b2**self.step)
        parameters -= rate * (first / (np.sqrt(second) + self.EPSILON) + self.decay * parameters)
        return norm

    def forget(self) -> None:
        """Start again: no moments."""
        self.first[:], self.second[:], self.step = 0, 0, 0

    def state(self) -> dict[str, Any]:
        return {"first": self.first, "second": self.second, "adam_step": np.int64(self.step)}

    def restore(self, state: Any) -> None:
        """From a mapping that holds what state() gave."""
        self.first[:], self.second[:] = state["first"], state["second"]
        self.step = int(state["adam_step"])
