"""The trainings of the user: settings, curves and outcome of each, in one SQLite file. docs/FORMAT.md section 3.1.

A store may be used from one thread at a time; several programs may have the file open.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.store.columns import loaded, storable
from bitconverter.store.ran_on import RanOn, ran_on_list
from bitconverter.store.records import now
from bitconverter.store.sqlite_file import FileKind, open_file

UNFINISHED, DONE, KEPT, ASIDE, FAILED = "unfinished", "done", "kept", "aside", "failed"
OUTCOMES = (UNFINISHED, DONE, KEPT, ASIDE, FAILED)
MOST_LISTED = 2**63 - 1  # that SQLite can count

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run(
        id INTEGER PRIMARY KEY AUTOINCREMENT, started INTEGER NOT NULL, ended INTEGER, outcome TEXT NOT NULL,
        soul TEXT NOT NULL, settings TEXT NOT NULL, numbers TEXT NOT NULL, losses TEXT NOT NULL,
        checks TEXT NOT NULL);
    CREATE INDEX run_of_soul ON run(soul);
    """,
    "ALTER TABLE run ADD COLUMN devices TEXT NOT NULL DEFAULT '[]';",
)
RUNS = FileKind(0x4243524E, MIGRATIONS, "runs", "The list of trainings")  # "BCRN"


@dataclass(frozen=True)
class Run:
    """One training. Times in milliseconds since 1970, `ended` None while it is not over. outcome: UNFINISHED, DONE,
    KEPT (ended before its last step), ASIDE (it has forgotten too much) or FAILED. `soul`: where it lies or was to
    lie. `settings` by the names of TrainSettings, `numbers` by those of TrainResult. The curves are empty in a list:
    losses (step, nats per token), checks (step, nats per token on what is held back). `pinned`: the steps of its
    pinned states, of which the file knows nothing. `devices`: on what it ran, one after the other."""

    id: int
    started: int
    ended: int | None
    outcome: str
    soul: str
    settings: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    losses: tuple[tuple[int, float], ...] = ()
    checks: tuple[tuple[int, float], ...] = ()
    pinned: tuple[int, ...] = ()
    devices: tuple[RanOn, ...] = ()


class RunStore:
    """`set_aside` is where a damaged file was moved to when this one was opened, else None."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises UserError, see open_file()."""
        self._connection, self.set_aside = open_file(path, RUNS)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def begin(self, soul: str, settings: Mapping[str, Any], resumed: bool) -> int:
        """The number of a run that begins; `resumed`: of the one that goes on, if it is known."""
        if resumed and (number := self.unfinished(soul)):
            return number
        cursor = self._connection.execute(
            "INSERT INTO run(started, outcome, soul, settings, numbers, losses, checks) "
            "VALUES (?, ?, ?, ?, '{}', '[]', '[]')",
            (now(), UNFINISHED, storable(soul), _json(settings)),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def unfinished(self, soul: str) -> int:
        """The number of the newest run of `soul` that is not over, 0 for none."""
        row = self._connection.execute(
            "SELECT id FROM run WHERE soul = ? AND outcome = ? ORDER BY id DESC LIMIT 1",
            (storable(soul), UNFINISHED),
        ).fetchone()
        return int(row[0]) if row else 0

    def runs_on(self, number: int, devices: Sequence[RanOn]) -> None:
        """On what run `number` has run until now, and runs."""
        told = _json([asdict(device) for device in devices])
        self._connection.execute("UPDATE run SET devices = ? WHERE id = ?", (told, number))

    def end(
        self, number: int, outcome: str, soul: str, numbers: Mapping[str, float],
        losses: Sequence[tuple[int, float]], checks: Sequence[tuple[int, float]],
    ) -> None:  # fmt: skip
        """How run `number` came out."""
        self._connection.execute(
            "UPDATE run SET ended = ?, outcome = ?, soul = ?, numbers = ?, losses = ?, checks = ? WHERE id = ?",
            (now(), outcome, storable(soul), _json(numbers), _json(losses), _json(checks), number),
        )

    def adopted(self, aside: str, soul: str) -> None:
        """The newest run whose soul was set aside as `aside` counts as done: somebody has called it `soul`."""
        self._connection.execute(
            "UPDATE run SET outcome = ?, soul = ? "
            "WHERE id = (SELECT max(id) FROM run WHERE soul = ? AND outcome = ?)",
            (DONE, storable(soul), storable(aside), ASIDE),
        )

    def renamed(self, old: str, new: str) -> None:
        """The soul of the newest run of `old` is called `new` now."""
        self._connection.execute(
            "UPDATE run SET soul = ? WHERE id = (SELECT max(id) FROM run WHERE soul = ?)",
            (storable(new), storable(old)),
        )

    def withdraw(self, number: int) -> None:
        """Run `number` is none."""
        self._connection.execute("DELETE FROM run WHERE id = ?", (number,))

    def runs(self, most: int = 200) -> list[Run]:
        """The newest `most` of them (0: all), the newest first, without their curves."""
        rows = self._connection.execute(
            "SELECT id, started, ended, outcome, soul, settings, numbers, '[]', '[]', devices FROM run "
            "ORDER BY id DESC LIMIT ?",
            (min(most, MOST_LISTED) or -1,),  # SQLite's word for all
        )
        return [_run(row) for row in rows]

    def run(self, number: int) -> Run:
        """One with its curves. Raises UserError("run-missing")."""
        row = None
        if 0 <= number < 2**63:
            row = self._connection.execute(
                "SELECT id, started, ended, outcome, soul, settings, numbers, losses, checks, devices FROM run "
                "WHERE id = ?",
                (number,),
            ).fetchone()
        if row is None:
            raise UserError(
                "run-missing",
                f"There is no training {number}. `bitconverter runs` lists them.",
                number=number,
            )
        return _run(row)


def open_runs(path: Path) -> "closing[RunStore]":
    """For a with statement. Raises UserError, see open_file()."""
    return closing(RunStore(path))


def _json(value: Any) -> str:
    """NaN and infinity are no JSON: null."""
    return storable(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _run(row: Sequence[Any]) -> Run:
    """A value of the wrong type reads as not there."""
    number, started, ended, outcome, soul, settings, numbers, losses, checks, devices = row
    found = loaded(numbers, dict)
    return Run(
        int(number), started if isinstance(started, int) else 0, ended if isinstance(ended, int) else None,
        outcome if outcome in OUTCOMES else UNFINISHED, soul if isinstance(soul, str) else "",
        loaded(settings, dict), {key: value for key, value in found.items() if type(value) in (int, float)},
        _points(losses), _points(checks), devices=tuple(ran_on_list(devices)),
    )  # fmt: skip


def _points(text: Any) -> tuple[tuple[int, float], ...]:
    return tuple(
        (point[0], float(point[1]))
        for point in loaded(text, list)
        if isinstance(point, list) and len(point) == 2
        and type(point[0]) is int and type(point[1]) in (int, float)
    )  # fmt: skip


StoreError = sqlite3.Error  # what a store raises beside UserError
