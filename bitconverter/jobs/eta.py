"""How long it will still take: a smoothed rate."""

import math
import time

SMOOTHING = 15.0  # seconds: how far back the rate remembers
WARM_UP = 1.0  # seconds before a first guess


class Eta:
    """Feed it how much is done; it answers the seconds left, or None while it cannot know."""

    def __init__(self, done: int, total: int) -> None:
        self._total = total
        self._done = done
        self._start = self._last = time.monotonic()
        self._rate = 0.0

    def update(self, done: int) -> float | None:
        """`done` never falls; units are the caller's."""
        now = time.monotonic()
        step, self._last = now - self._last, now
        if step > 0:
            elapsed = now - self._start
            keep = math.exp(-step / min(SMOOTHING, max(elapsed, step)))
            self._rate = keep * self._rate + (1 - keep) * (done - self._done) / step
            self._done = done
        if now - self._start < WARM_UP or self._rate <= 0:
            return None
        return (self._total - done) / self._rate
