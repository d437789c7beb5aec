"""Our SQLite files: opened, brought up to date, and set aside when they are damaged. docs/FORMAT.md section 3.

Whatever goes wrong in one is a sqlite3.Error, also where SQLite's own words quote a damaged file.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError


@dataclass(frozen=True)
class FileKind:
    """`migrations`: one script per version; a file of version n has had the first n. Never change one that was
    released. `code` begins the codes of its errors, `what` the sentence that it cannot be kept; `functions` of one
    text are there for its scripts and queries; `opening` is a statement for each time that it is opened."""

    application_id: int
    migrations: tuple[str, ...]
    code: str
    what: str
    functions: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    opening: str = ""


class _Cursor(sqlite3.Cursor):
    """One whose errors are those of SQLite even if their words are no UTF-8."""

    def execute(self, *args: Any) -> "_Cursor":
        with _sqlite_words():
            super().execute(*args)
        return self

    def executemany(self, *args: Any) -> "_Cursor":
        with _sqlite_words():
            super().executemany(*args)
        return self

    def executescript(self, *args: Any) -> "_Cursor":
        with _sqlite_words():
            super().executescript(*args)
        return self

    def fetchone(self) -> Any:
        with _sqlite_words():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _sqlite_words():
            return super().fetchall()

    def __next__(self) -> Any:
        with _sqlite_words():
            return super().__next__()


class _Connection(sqlite3.Connection):
    """Its short cuts go by a _Cursor."""

    def execute(self, *args: Any) -> _Cursor:
        return self.cursor(_Cursor).execute(*args)

    def executemany(self, *args: Any) -> _Cursor:
        return self.cursor(_Cursor).executemany(*args)

    def executescript(self, *args: Any) -> _Cursor:
        return self.cursor(_Cursor).executescript(*args)


@contextlib.contextmanager
def _sqlite_words() -> Iterator[None]:
    """Python fails over an error text that quotes the bytes of a damaged file."""
    try:
        yield
    except UnicodeDecodeError as error:
        words = bytes(error.object).decode("utf-8", "replace")
        raise sqlite3.DatabaseError(words) from error


def open_file(path: Path, kind: FileKind) -> tuple[sqlite3.Connection, Path | None]:
    """The connection, and where a damaged file was moved to (None: it was sound, or there was none).

    Raises UserError(f"{kind.code}-newer") for a file of a later version, which is left alone, and
    UserError(f"{kind.code}-unavailable") when the folder or the disk does not allow to keep it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _open_sound(path, kind), None
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, read-only, full: nothing is wrong with what the file holds
            aside = _set_aside(path)
            return _open_sound(path, kind), aside
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"{kind.code}-unavailable",
            f"{kind.what} cannot be kept in {path} ({error}). Make room, or allow writing there, and start again.",
            path=str(path),
            reason=str(error),
        ) from error


def open_memory(kind: FileKind) -> sqlite3.Connection:
    """For this run only."""
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, factory=_Connection
    )
    return _prepare(connection, None, kind)


def _open_sound(path: Path, kind: FileKind) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10, factory=_Connection
    )
    try:
        return _prepare(connection, path, kind)
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: Path | None, kind: FileKind) -> sqlite3.Connection:
    connection.text_factory = lambda data: data.decode("utf-8", "replace")  # a file may hold anything
    for name, function in kind.functions.items():
        connection.create_function(name, 1, function, deterministic=True)
    version = _number(connection, "user_version")
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty and _number(connection, "application_id") != kind.application_id:
        raise sqlite3.DatabaseError("it is not such a file of this program")
    if version < 0:
        raise sqlite3.DatabaseError("it has no version that there is")
    if version > len(kind.migrations):
        raise UserError(
            f"{kind.code}-newer",
            f"{path} was written by a newer version of this program (format {version}, this one knows "
            f"{len(kind.migrations)}). It is left as it is; install the newer version to read it.",
            path=str(path),
            version=version,
        )
    if not empty:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(str(found))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # in WAL a crash of the system loses the last commits
    connection.execute("PRAGMA foreign_keys=ON")
    if path is not None and 0 < version < len(kind.migrations):
        _back_up(connection, path.with_name(f"{path.name}.v{version}.bak"))
    for number in range(version, len(kind.migrations)):
        connection.executescript(
            f"BEGIN; {kind.migrations[number]} PRAGMA application_id={kind.application_id}; "
            f"PRAGMA user_version={number + 1}; COMMIT;"
        )
    connection.execute(kind.opening)
    return connection


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)


def _set_aside(path: Path) -> Path:
    """Rename the file and what belongs to it; nothing is ever deleted. Returns the new name."""
    number = 1
    while True:
        bad = path.with_name(f"{path.name}.bad" if number == 1 else f"{path.name}.bad{number}")
        if not os.path.lexists(bad):
            break
        number += 1
    path.replace(bad)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.replace(bad.with_name(bad.name + suffix))
    return bad
