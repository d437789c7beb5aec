"""Cancel: the one cancel token of a job."""

from bitconverter.engine._native import ffi
from bitconverter.engine.errors import Cancelled


class Cancel:
    """Any thread may request it; Python checks it between engine calls, the engine inside long ones."""

    def __init__(self) -> None:
        self.flag = ffi.new("bc_cancel *")

    def request(self) -> None:
        """Ask whatever runs with this token to stop."""
        self.flag.requested = 1

    @property
    def requested(self) -> bool:
        return bool(self.flag.requested)

    def check(self) -> None:
        """Raise Cancelled if it was requested."""
        if self.requested:
            raise Cancelled("cancelled", -4)


def flag_of(cancel: Cancel | None) -> object:
    """What the engine takes: the flag, or NULL."""
    return ffi.NULL if cancel is None else cancel.flag
