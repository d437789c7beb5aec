"""A job in a process of its own that is killed at a moment of the processor time that it has used.

Where processes can be forked, they are forked off this one, which has loaded the program: what is killed is the job,
not the loading.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable

import psutil

FOREVER = 1e6
Told = tuple[str, "int | str", float]  # a word, a step or a name, processor seconds of the process
WORK = ("step", "made")  # words of who has got somewhere
TICK = 0.01  # seconds in which systems count processor time


def parser(description: str | None) -> argparse.ArgumentParser:
    """What all who kill are told."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--kills", type=int, default=100)
    result.add_argument("--seed", type=int, default=0)
    return result


def verdict(problems: list[str]) -> bool:
    """The last line; whether everything held."""
    print("\n" + ("FAILED: " + "; ".join(problems) if problems else "PASSED"), flush=True)
    return not problems


def begin() -> None:
    """Once, before the first life."""
    forked = "fork" in multiprocessing.get_all_start_methods()
    multiprocessing.set_start_method("fork" if forked else "spawn")


def live(
    target: Callable[..., None], *args: object, patience: float = FOREVER, at_work: bool = False
) -> list[Told]:
    """A process that is killed after it has used `patience` seconds of the processor, counted from its first word of
    WORK if `at_work`: what it told."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=target, args=(*args, theirs))
    child.start()
    theirs.close()
    told: list[Told] = []
    begun: float | None = None if at_work else 0.0
    try:
        while begun is None or _used(child.pid) - begun < patience:
            if ours.poll(TICK):
                told.append(ours.recv())
                if begun is None and told[-1][0] in WORK:
                    begun = _used(child.pid)
        time.sleep(patience % TICK)  # the system counts in ticks; the moments shall not
        child.kill()
        while True:  # what it had told before the kill
            told.append(ours.recv())
    except (EOFError, OSError, psutil.NoSuchProcess):  # it has ended, perhaps in the middle of a message
        child.join()
    return told


def _used(pid: int | None) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def to_its_end(told: list[Told]) -> list[Told]:
    """`told`, unless it failed."""
    if not told or told[-1][0] != "end":
        sys.exit(f"FAILED: without a break it did not come to its end: {told[-1:]}")
    return told
