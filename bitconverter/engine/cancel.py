"""Cancel: how a job is stopped, paused and told to go on."""

import time

from bitconverter.engine._native import ffi
from bitconverter.engine.errors import Cancelled

POLL_SECONDS = 0.02  # while paused


class Cancel:
    """Any thread may request it, or pause; Python looks between engine calls, the engine inside long ones."""

    def __init__(self) -> None:
        self.flag = ffi.new("bc_cancel *")

    def request(self) -> None:
        """Ask whatever runs with this token to stop, paused or not."""
        self.flag.requested = 1

    @property
    def requested(self) -> bool:
        return bool(self.flag.requested)

    def pause(self) -> None:
        """Whatever runs with this token waits, where it looks next, until resume() or request()."""
        self.flag.paused = 1

    def resume(self) -> None:
        self.flag.paused = 0

    @property
    def paused(self) -> bool:
        return bool(self.flag.paused)

    def check(self) -> None:
        """Wait while paused; raise Cancelled if it was requested."""
        while self.flag.paused and not self.flag.requested:
            time.sleep(POLL_SECONDS)
        if self.requested:
            raise Cancelled("cancelled", -4)


def flag_of(cancel: Cancel | None) -> object:
    """What the engine takes: the flag, or NULL."""
    return ffi.NULL if cancel is None else cancel.flag
