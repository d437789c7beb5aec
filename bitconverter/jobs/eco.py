"""A long job that leaves the PC to its user: the lowest priority that still gets on, and no work on battery."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

import psutil

from bitconverter.jobs.job import Context, Note

NICENESS = 10  # of 19: below every usual program, above what only waits for an idle machine
LOOK_SECONDS = 5.0  # between two looks at the power supply while it waits
POLL_SECONDS = 0.05  # between two looks at the cancel flag


@contextlib.contextmanager
def low_priority() -> Iterator[None]:
    """Inside the block this thread, and the threads that it starts, give way to every usual program.

    Linux counts priority by thread, and one that gave it up may not take it back: start a job's thread for it. Windows
    counts it by process here, which has its usual one again behind the block. Elsewhere nothing is done.
    """
    if sys.platform == "linux":
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(NICENESS, os.getpriority(os.PRIO_PROCESS, me)))
        yield
        return
    if sys.platform != "win32":
        yield
        return
    process = psutil.Process()
    usual = process.nice()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    try:
        yield
    finally:
        process.nice(usual)


def on_battery() -> bool:
    """Whether this PC runs on its battery now. False where there is none, or where nothing tells."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # not on this system, or a driver that lies
        return False
    return battery is not None and battery.power_plugged is False


def wait_for_power(ctx: Context) -> None:
    """Come back when the PC is on mains. Emits Note("on-battery") if it has to wait, then Note("on-mains"). Raises
    Cancelled."""
    if not on_battery():
        return
    ctx.emit(Note("on-battery"))
    while on_battery():
        until = time.monotonic() + LOOK_SECONDS
        ctx.cancel.check()
        while time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            ctx.cancel.check()
    ctx.emit(Note("on-mains"))
