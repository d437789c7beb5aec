"""The jobs of the window that are over, in one SQLite file. docs/FORMAT.md section 3.2.

A store may be used from one thread at a time. Removed is marked, until the file is opened the next time.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitconverter.store.columns import loaded, storable
from bitconverter.store.sqlite_file import FileKind, open_file, open_memory

DONE, STOPPED, FAILED = "done", "stopped", "failed"
OUTCOMES = (DONE, STOPPED, FAILED)
MOST = 200  # the newest are kept

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE job(
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, page TEXT NOT NULL, outcome TEXT NOT NULL,
        started INTEGER NOT NULL, ended INTEGER NOT NULL, result TEXT NOT NULL, numbers TEXT NOT NULL,
        title TEXT NOT NULL, text TEXT NOT NULL, details TEXT NOT NULL, removed INTEGER NOT NULL DEFAULT 0);
    """,
)
JOBS = FileKind(0x42434A42, MIGRATIONS, "jobs", "The list of jobs")  # "BCJB"
_COLUMNS = "id, kind, name, page, outcome, started, ended, result, numbers, title, text, details"


@dataclass(frozen=True)
class PastJob:
    """One job. Times in milliseconds since 1970. `result`: the file or folder that it made, "" if none. `numbers`: what
    it told at its end. `title`, `text`, `details`: of what went wrong, as it was said then."""

    id: int
    kind: str
    name: str
    page: str
    outcome: str
    started: int
    ended: int
    result: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    title: str = ""
    text: str = ""
    details: str = ""


class JobStore:
    """`set_aside` is where a damaged file was moved to when this one was opened, else None."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the file; None keeps the list in memory only. Raises UserError, see open_file()."""
        self.set_aside: Path | None = None
        if path is None:
            self._connection = open_memory(JOBS)
        else:
            self._connection, self.set_aside = open_file(path, JOBS)

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        self._connection.close()

    def empty_bin(self) -> None:
        """What was removed is gone."""
        self._connection.execute("DELETE FROM job WHERE removed")

    def add(self, job: PastJob) -> None:
        """Keep `job`, and of all only the newest."""
        words = (job.kind, job.name, job.page, job.outcome)
        told = (job.result, _json(job.numbers), job.title, job.text, job.details)
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute(
                f"INSERT OR REPLACE INTO job({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (job.id, *map(storable, words), job.started, job.ended, *map(storable, told)),
            )
            self._connection.execute(
                "DELETE FROM job WHERE id NOT IN (SELECT id FROM job ORDER BY ended DESC, id LIMIT ?)",
                (MOST,),
            )

    def jobs(self) -> list[PastJob]:
        """The one that ended last first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM job WHERE NOT removed ORDER BY ended DESC, id"
        )
        return [_job(row) for row in rows]

    def remove(self, numbers: Iterable[int], removed: bool = True) -> None:
        """Take these out of the list; with `removed` False they are in it again."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "UPDATE job SET removed = ? WHERE id = ?", [(removed, number) for number in numbers]
            )


def _json(numbers: Mapping[str, float]) -> str:
    """NaN and infinity are no JSON: left out."""
    return json.dumps({key: value for key, value in numbers.items() if abs(value) < float("inf")})


def _job(row: Sequence[Any]) -> PastJob:
    """A value of the wrong type reads as not there."""
    number, kind, name, page, outcome, started, ended, result, numbers, title, text, details = row
    return PastJob(
        int(number), _text(kind), _text(name), _text(page), outcome if outcome in OUTCOMES else STOPPED,
        _time(started), _time(ended), _text(result), _numbers(numbers), _text(title), _text(text), _text(details),
    )  # fmt: skip


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _time(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**47 else 0


def _numbers(text: Any) -> dict[str, float]:
    return {
        key: value for key, value in loaded(text, dict).items()
        if type(value) in (int, float) and abs(value) < float("inf")
    }  # fmt: skip
