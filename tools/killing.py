"""A job in a process of its own that is killed at a moment of its work.

Moments are counted in what the process has done: results that it came to, files that it touched. So they are the same
at any pace of the machine. Behind that it is killed after a share of the time that the piece before took it: inside of
a step, or of a write. Where the next piece is over sooner, it waits for the kill there, so that it never gets past.

Where processes can be forked, they are forked off this one, which has loaded the program: what is killed is the job,
not the loading.
"""

import argparse
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from bitconverter.jobs.job import Event, Failed

Told = tuple[str, "int | str", float]  # a word, a step or a name, processor seconds of the process
WORK = ("step", "made")  # words of who has got somewhere
FILE = "file"  # the word of who touches one
NOW = "now"  # the word of who is to be killed, with the seconds of the piece before
TOUCHES = {"open", "os.fsync", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}  # events of sys.audit()


@dataclass(frozen=True)
class Moment:
    """Behind the first result that is at `place` or further (None: the start of the process), then behind `files`
    touched files or the next result, then after `share` of the time of the piece before."""

    place: int | None
    files: int
    share: float

    def __str__(self) -> str:
        files = f"file {self.files} after " if self.files else ""
        return f"{self.share:.2f} of a piece behind {files}its {'start' if self.place is None else 'place'}"


NEVER = Moment(sys.maxsize, 0, 0.0)


class Teller:
    """Tells live() of the process that it is made in, and holds that where it is to be killed."""

    def __init__(self, out: Connection, moment: Moment) -> None:
        self._out, self._moment = out, moment
        self._thread = (
            threading.get_ident()
        )  # two may not tell at a time: files of other threads do not count
        self._begun, self._before = time.process_time(), time.perf_counter()
        self._left = moment.files  # to be touched once it has reached its place
        self._reached = moment.place is None
        self._due = False
        _audit_fsync()
        sys.addaudithook(self._touched)
        if self._reached and moment.files == 0:
            self._kill(0.0)

    @property
    def among_files(self) -> bool:
        """Whether it has reached its place, and is to be killed among the files behind it."""
        return self._reached and self._moment.files > 0

    def say(self, word: str, what: int | str) -> None:
        """Tell something that is no result."""
        self._out.send((word, what, time.process_time() - self._begun))
        if word != FILE or self._moment.files:  # else a piece is what lies between two results
            self._before = time.perf_counter()

    def result(self, word: str, what: int | str, place: int) -> None:
        """`word`: of WORK. Places only grow within a life."""
        seconds = time.perf_counter() - self._before
        self.say(word, what)
        if self._due:
            _wait_for_the_kill()
        elif self._reached:  # with fewer files than it was to touch
            self._kill(seconds)
        elif self._moment.place is not None and place >= self._moment.place:
            self._reached = True
            if self._moment.files == 0:
                self._kill(seconds)

    def end(self, last: Event) -> None:
        """The last word of a job, by its last event."""
        if isinstance(last, Failed):
            self.say("failed", str(last.error))
        else:
            self.say("end", 0)

    def _touched(self, event: str, _: object) -> None:
        if event not in TOUCHES or threading.get_ident() != self._thread:
            return
        seconds = time.perf_counter() - self._before
        self.say(FILE, event)
        if not self.among_files:
            return
        if self._due:
            _wait_for_the_kill()
        self._left -= 1
        if self._left == 0:
            self._kill(seconds)

    def _kill(self, seconds: float) -> None:
        self._due = True
        self._out.send((NOW, 0, seconds))


def _wait_for_the_kill() -> None:
    """Or for the end of who kills."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _audit_fsync() -> None:
    """It raises no event of its own."""
    fsync = os.fsync

    def audited(descriptor: int) -> None:
        sys.audit("os.fsync", descriptor)
        fsync(descriptor)

    os.fsync = audited  # type: ignore[assignment]


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


def live(target: Callable[..., None], *args: object, moment: Moment = NEVER) -> list[Told]:
    """target(*args, teller) in a process that is killed at `moment`: what it told."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # a daemon: who ends by an error here does not wait for it
    child = multiprocessing.Process(target=_life, args=(target, args, theirs, moment), daemon=True)
    child.start()
    theirs.close()
    told: list[Told] = []
    try:
        while True:  # also what it has told before the kill
            one = ours.recv()
            if one[0] == NOW:
                time.sleep(moment.share * one[2])
                child.kill()
            else:
                told.append(one)
    except (EOFError, OSError):  # it has ended, perhaps in the middle of a message
        child.join()
    return told


def _life(target: Callable[..., None], args: tuple[object, ...], out: Connection, moment: Moment) -> None:
    target(*args, Teller(out, moment))


def files_of_start(told: list[Told]) -> int:
    """So many were touched before the first result."""
    words = [word for word, _, _ in told]
    return words[: next(n for n, word in enumerate(words) if word in WORK)].count(FILE)


def to_its_end(told: list[Told]) -> list[Told]:
    """`told`, unless it failed."""
    if not told or told[-1][0] != "end":
        sys.exit(f"FAILED: without a break it did not come to its end: {told[-1:]}")
    return told
