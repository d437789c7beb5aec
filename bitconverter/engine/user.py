"""The user of this computer, as far as the system tells."""

from bitconverter.engine._native import lib


def user_idle_seconds() -> float | None:
    """Seconds since somebody last touched a key or the mouse; None where nothing tells (Wayland, no display)."""
    milliseconds = int(lib.bc_user_idle_ms())
    return None if milliseconds < 0 else milliseconds / 1000
