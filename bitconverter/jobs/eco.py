"""A long job that leaves the PC to its user: low priority, chosen cores, and no work on battery, in the heat, or while
somebody is at the PC.

`Manners` decides when to wait; what the PC is like it asks of `Probes`, which tests replace.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from bitconverter.engine import user_idle_seconds
from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Context, Note

NICENESS = 10  # of 19: below every usual program, above what only waits for an idle machine
LOOK_SECONDS = 5.0  # between two looks while it waits
POLL_SECONDS = 0.05  # between two looks at the cancel flag
HOT = 90.0  # degrees Celsius; less where the processor's own sensor calls less high
COOLER = 10.0  # degrees below, where it goes on: less would be on and off every few seconds
# Names that Linux gives to sensors of processors; acpitz, the mainboard's, is taken where there is none of them.
PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "x86_pkg_temp", "soc_thermal")
MAINBOARD = "acpitz"
WAITS = ("on-battery", "too-hot", "user-active")  # codes of Reason and of the notes about it


# ---- priority and cores ----


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


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Inside the block this thread, and the threads that it starts, run on these cores alone; () for any.

    Linux binds threads, Windows the whole process; both have their usual cores again behind the block. Elsewhere
    nothing is done. Raises UserError("no-such-core").
    """
    if not cores or sys.platform not in ("linux", "win32"):
        yield
        return
    bound = _Thread() if sys.platform == "linux" else psutil.Process()
    usual = bound.cpu_affinity()
    missing = sorted(set(cores) - set(usual))
    if missing:
        raise UserError(
            "no-such-core",
            f"Core {missing[0]} cannot be used. This program may use: {', '.join(map(str, sorted(usual)))}.",
            core=missing[0], cores=", ".join(map(str, sorted(usual))),
        )  # fmt: skip
    bound.cpu_affinity(sorted(set(cores)))
    try:
        yield
    finally:
        bound.cpu_affinity(usual)


def some_cores(n: int) -> tuple[int, ...]:
    """The first n that this program may use; () for all: n is 0, or there are no more, or nothing tells."""
    if not n or sys.platform not in ("linux", "win32"):
        return ()
    usable = psutil.Process().cpu_affinity()
    return tuple(usable[:n]) if n < len(usable) else ()


class _Thread:
    """This thread of Linux, with psutil's way of asking a process."""

    def cpu_affinity(self, cores: Sequence[int] | None = None) -> list[int]:
        if sys.platform != "linux":
            return []
        if cores is not None:
            os.sched_setaffinity(0, cores)
        return sorted(os.sched_getaffinity(0))


# ---- what the PC is like ----


@dataclass(frozen=True)
class Heat:
    """Of the processor, in degrees Celsius; `limit`: from here on it is too hot."""

    degrees: float
    limit: float


def on_battery() -> bool:
    """Whether this PC runs on its battery now. False where there is none, or where nothing tells."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # not on this system, or a driver that lies
        return False
    return battery is not None and battery.power_plugged is False


def processor_heat() -> Heat | None:
    """Of its hottest sensor; None where nothing tells (psutil reads none on Windows)."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, RuntimeError):
        return None
    found = [entry for name in PROCESSORS for entry in sensors.get(name, [])] or sensors.get(MAINBOARD, [])
    heats = [
        Heat(entry.current, min(HOT, entry.high) if entry.high and entry.high > COOLER else HOT)
        for entry in found
        if entry.current is not None
    ]
    return max(heats, key=lambda heat: heat.degrees - heat.limit, default=None)


@dataclass(frozen=True)
class Probes:
    """`idle`: seconds since somebody last touched a key or the mouse, None where nothing tells."""

    battery: Callable[[], bool] = on_battery
    heat: Callable[[], Heat | None] = processor_heat
    idle: Callable[[], float | None] = user_idle_seconds


# ---- when to wait ----


@dataclass(frozen=True)
class Reason:
    """Why to wait: "on-battery", "too-hot" (degrees, limit, until), "user-active" (minutes)."""

    code: str
    fields: tuple[tuple[str, float], ...] = ()


class Manners:
    """`careful`: wait on battery and in the heat; `away`: wait until nobody has touched a key or the mouse for so many
    seconds, 0: that is not looked at."""

    def __init__(self, careful: bool, away: float, probes: Probes) -> None:
        self._careful, self._away, self._probes = careful, away, probes
        self._cooling = False

    def blind_to(self) -> list[str]:
        """What was asked for and cannot be seen here: of "heat" and "user"."""
        blind = []
        if self._careful and self._probes.heat() is None:
            blind.append("heat")
        if self._away and self._probes.idle() is None:
            blind.append("user")
        return blind

    def reason(self) -> Reason | None:
        """Why to wait now; None: to work."""
        if self._careful and self._probes.battery():
            return Reason("on-battery")
        return (self._too_hot() if self._careful else None) or (self._somebody() if self._away else None)

    def _too_hot(self) -> Reason | None:
        heat = self._probes.heat()
        if heat is None:
            return None
        until = heat.limit - COOLER
        self._cooling = heat.degrees >= (until if self._cooling else heat.limit)
        if not self._cooling:
            return None
        return Reason("too-hot", (("degrees", heat.degrees), ("limit", heat.limit), ("until", until)))

    def _somebody(self) -> Reason | None:
        idle = self._probes.idle()
        if idle is None or idle >= self._away:
            return None
        return Reason("user-active", (("minutes", self._away / 60),))


def tell_blindness(ctx: Context, manners: Manners) -> None:
    """Emits Note("cannot-see-heat") and Note("cannot-see-user") for what will not make it wait here."""
    for what in manners.blind_to():
        ctx.emit(Note(f"cannot-see-{what}"))


def wait_until_free(ctx: Context, manners: Manners, reason: Reason) -> None:
    """Come back when there is no reason to wait. Emits a Note with the code and the fields of `reason` and of each that
    follows it, and at the end Note("goes-on"). Raises Cancelled."""
    told, now = "", reason  # type: tuple[str, Reason | None]
    while now is not None:
        if now.code != told:
            ctx.emit(Note(now.code, dict(now.fields)))
            told = now.code
        until = time.monotonic() + LOOK_SECONDS
        ctx.cancel.check()
        while time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            ctx.cancel.check()
        now = manners.reason()
    ctx.emit(Note("goes-on"))
