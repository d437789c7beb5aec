"""The hidden states into the layers that learn, on disk: computed once, from the first window to the last.

`prefix.partial` grows from front to back; the lines of `prefix.journal` say up to which window it is whole, each with
the SHA-256 of the bytes since the line before. What is whole under its name, `prefix.f32`, keeps its journal. Broken
off at any moment, the work goes on behind the last line whose bytes are there as they were written.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bitconverter.format.atomic import naming, sync_folder
from bitconverter.format.journal import Journal
from bitconverter.format.safetensors_file import read_exactly

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

WHOLE, PARTIAL, JOURNAL = "prefix.f32", "prefix.partial", "prefix.journal"
HEAD = 4096  # bytes before the values: a line of JSON, filled up with spaces
PIECE = 1 << 22  # bytes that are hashed between two looks at the cancel flag


@dataclass(frozen=True)
class Found:
    """What look() found: `windows` are whole; `damaged`: there was more, and it is not what was written."""

    windows: int
    damaged: bool


class Prefix:
    """Hidden states f32 [tokens, hidden] of windows of `lengths` tokens, `together` of them computed at a time. `key`
    names what they are made from. They are read, not mapped: what is not needed takes no memory."""

    def __init__(
        self, folder: Path, key: str, lengths: npt.NDArray[np.int32], hidden: int, together: int
    ) -> None:
        self._folder = folder
        self._ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._hidden, self._together = hidden, together
        told = {"key": key, "tokens": int(self._ends[-1]), "hidden": hidden}
        self._head = json.dumps(told).encode().ljust(HEAD - 1) + b"\n"
        self._begun = {**told, "together": together}  # the journal's first line
        self.windows = 0  # that are whole, after look()

    @property
    def ready(self) -> bool:
        """Whether all windows are whole, after look()."""
        return self.windows == len(self._ends) - 1

    def look(self, check: Callable[[], None]) -> Found:
        """Compare what is there with its hashes, and throw away what does not hold; `check` is called now and then."""
        whole = self._folder / WHOLE
        path = whole if whole.exists() else self._folder / PARTIAL
        lines = _complete_lines(self._folder / JOURNAL)
        with contextlib.closing(Journal(self._folder / JOURNAL)) as journal:
            damaged = len(journal.records) < lines or (path.exists() and not journal.records)
            good = self._good_lines(path, journal.records, check)
            damaged |= good < len(journal.records)
            self.windows = journal.records[good - 1]["windows"] if good > 1 else 0
            journal.cut(good)
        if self.ready and path is not whole:
            self._publish()  # killed between the last line and the rename
        elif not self.ready and path is whole:
            damaged = True
            os.replace(whole, self._folder / PARTIAL)
        return Found(self.windows, damaged)

    @contextlib.contextmanager
    def making(self) -> Iterator["Making"]:
        """Add what is missing inside the block, after look(). All of it is there at its end, else what was added before
        an exception is kept."""
        path = self._folder / PARTIAL
        with contextlib.closing(Journal(self._folder / JOURNAL)) as journal:
            if not journal.records:
                journal.append(self._begun)
            with naming(path), open(path, "r+b" if path.exists() else "w+b") as file:
                if self.windows == 0:
                    file.write(self._head)
                file.truncate(self._place(self.windows))
                file.seek(self._place(self.windows))
                made = Making(file, journal, self.windows)
                try:
                    yield made
                except BaseException:
                    with contextlib.suppress(OSError):  # the first error is the one to tell
                        made.mark()
                    raise
                made.mark()
            self.windows = made.windows
        self._publish()

    def read(self, windows: I64) -> F32:
        """Those of some windows, one after the other."""
        counts = self._ends[windows + 1] - self._ends[windows]
        out, at = np.empty((int(counts.sum()), self._hidden), "<f4"), 0
        path = self._folder / WHOLE
        with open(path, "rb") as file:
            for window, count in zip(windows, counts, strict=True):
                file.seek(self._place(int(window)))
                read_exactly(file, out[at : at + count].data.cast("B"), path)
                at += count
        return out.astype(np.float32, copy=False)

    def _publish(self) -> None:
        os.replace(self._folder / PARTIAL, self._folder / WHOLE)
        sync_folder(self._folder)

    def _place(self, window: int) -> int:
        """Where it begins in the file."""
        return HEAD + 4 * int(self._ends[window]) * self._hidden

    def _good_lines(self, path: Path, records: list[dict[str, Any]], check: Callable[[], None]) -> int:
        """How many lines of the journal, from its first one on, speak of this run and of what is in the file."""
        if not records or records[0] != self._begun:
            return 0
        good, at = 1, 0
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if file.read(HEAD) != self._head:
                return good
            for record in records[1:]:
                end = self._end_of(record, at)
                if end is None:
                    break
                digest = _hash(file, self._place(end) - self._place(at), check)
                if digest != record.get("sha256"):
                    break
                good, at = good + 1, end
        return good

    def _end_of(self, record: dict[str, Any], at: int) -> int | None:
        """The window behind the part that a line speaks of, which begins with window `at`; None: it is no such line."""
        end, last = record.get("windows"), len(self._ends) - 1
        if type(end) is not int or not at < end <= last:
            return None
        return end if end == last or end % self._together == 0 else None


class Making:
    """What is added to the file. `windows`: so many are in it, of which mark() makes sure."""

    def __init__(self, file: BinaryIO, journal: Journal, windows: int) -> None:
        self._file, self._journal = file, journal
        self.windows = self._marked = windows
        self._sha = hashlib.sha256()

    def add(self, states: F32, windows: int) -> None:
        """f32 [tokens, hidden] of the next `windows` windows."""
        data = np.ascontiguousarray(states, "<f4").data.cast("B")
        self._file.write(data)
        self._sha.update(data)
        self.windows += windows

    def mark(self) -> None:
        """What was added survives a kill from now on: first its bytes, then the line that says they are there."""
        if self.windows == self._marked:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._journal.append({"windows": self.windows, "sha256": self._sha.hexdigest()})
        self._marked, self._sha = self.windows, hashlib.sha256()


def remove(folder: Path) -> None:
    """All of it."""
    for name in (WHOLE, PARTIAL, JOURNAL):
        (folder / name).unlink(missing_ok=True)


def _complete_lines(path: Path) -> int:
    """A line that a kill cut off has no end, and does not count."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _hash(file: BinaryIO, count: int, check: Callable[[], None]) -> str | None:
    """SHA-256 of the next `count` bytes; None: there are fewer."""
    sha = hashlib.sha256()
    while count > 0:
        check()
        data = file.read(min(count, PIECE))
        if not data:
            return None
        sha.update(data)
        count -= len(data)
    return sha.hexdigest()
