"""How long it will still take: what was done in the last while, beside the time that it took."""

import math
import time

LEAST_WHILE = 15.0  # seconds: how far back it looks at least
# Of the time since the beginning: work that goes in waves (a layer) shall not make the answer do so.
SHARE = 1 / 3
WARM_UP = 1.0  # seconds before a first guess


class Eta:
    """Feed it how much is done; it answers the seconds left, or None while it cannot know."""

    def __init__(self, done: int, total: int) -> None:
        self._total = total
        self._done = done
        self._start = self._last = time.monotonic()
        self._gained = self._spent = 0.0  # of late: what was longer ago counts e times less

    def update(self, done: int) -> float | None:
        """`done` never falls; units are the caller's."""
        now = time.monotonic()
        step, self._last = now - self._last, now
        keep = math.exp(-step / max(LEAST_WHILE, SHARE * (now - self._start)))
        self._gained = keep * self._gained + done - self._done
        self._spent = keep * self._spent + step
        self._done = done
        if self._spent < WARM_UP or self._gained <= 0:
            return None
        return (self._total - done) * self._spent / self._gained

    def skip(self, done: int) -> None:
        """So much is done, some of it at once, and what follows is work of another kind: of what was before counts a
        short while only."""
        self._done, self._last = done, time.monotonic()
        fade = LEAST_WHILE / max(LEAST_WHILE, self._spent)
        self._gained, self._spent = fade * self._gained, fade * self._spent
