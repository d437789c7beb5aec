"""The chat file: opened, brought up to date, and set aside when it is damaged. docs/FORMAT.md section 3."""

import contextlib
import os
import sqlite3
import unicodedata
from pathlib import Path

from bitconverter.format.errors import UserError

APPLICATION_ID = 0x42434854  # "BCHT"

# One script per version; a file of version n has had the first n. Never change one that was released.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE folder(id INTEGER PRIMARY KEY, name TEXT NOT NULL, deleted INTEGER);
    CREATE TABLE chat(
        id INTEGER PRIMARY KEY, title TEXT NOT NULL, named INTEGER NOT NULL, folder INTEGER,
        pinned INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER,
        system_prompt TEXT NOT NULL, leaf INTEGER, draft TEXT NOT NULL, scroll REAL NOT NULL,
        drop_oldest INTEGER NOT NULL);
    CREATE TABLE message(
        id INTEGER PRIMARY KEY, chat INTEGER NOT NULL REFERENCES chat(id) ON DELETE CASCADE, parent INTEGER,
        role TEXT NOT NULL, text TEXT NOT NULL, created INTEGER NOT NULL, ending TEXT NOT NULL,
        numbers TEXT, attachments TEXT NOT NULL, deleted INTEGER, folded TEXT NOT NULL);
    CREATE INDEX message_of_chat ON message(chat);
    CREATE VIRTUAL TABLE message_index USING fts5(
        folded, content='message', content_rowid='id', tokenize='trigram');
    CREATE TRIGGER message_added AFTER INSERT ON message BEGIN
        INSERT INTO message_index(rowid, folded) VALUES (new.id, new.folded); END;
    CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
        INSERT INTO message_index(message_index, rowid, folded) VALUES ('delete', old.id, old.folded); END;
    CREATE TRIGGER message_changed AFTER UPDATE OF folded ON message BEGIN
        INSERT INTO message_index(message_index, rowid, folded) VALUES ('delete', old.id, old.folded);
        INSERT INTO message_index(rowid, folded) VALUES (new.id, new.folded); END;
    CREATE TABLE preset(id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, deleted INTEGER);
    CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
)


def fold(text: str) -> str:
    """The form in which texts are compared: half and full width, upper and lower case are the same."""
    return unicodedata.normalize("NFKC", text).lower()


def storable(text: str) -> str:
    """`text` without halves of characters, which UTF-8 and so SQLite cannot hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def open_file(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """The connection, and where a damaged file was moved to (None: it was sound, or there was none).

    Raises UserError("chats-newer") for a file of a later version, which is left alone, and
    UserError("chats-unavailable") when the folder or the disk does not allow to keep chats.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _open_sound(path), None
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, read-only, full: nothing is wrong with what the file holds
            aside = _set_aside(path)
            return _open_sound(path), aside
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            "chats-unavailable",
            f"Chats cannot be kept in {path} ({error}). Make room, or allow writing there, and start again.",
            path=str(path),
            reason=str(error),
        ) from error


def open_memory() -> sqlite3.Connection:
    """Chats of this run only."""
    return _prepare(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False), None)


def _open_sound(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        return _prepare(connection, path)
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: Path | None) -> sqlite3.Connection:
    connection.text_factory = lambda data: data.decode("utf-8", "replace")  # a file may hold anything
    connection.create_function("fold", 1, fold, deterministic=True)
    version = _number(connection, "user_version")
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not empty and _number(connection, "application_id") != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is not a chat file of this program")
    if version > len(MIGRATIONS):
        raise UserError(
            "chats-newer",
            f"{path} was written by a newer version of this program (format {version}, this one knows "
            f"{len(MIGRATIONS)}). It is left as it is; install the newer version to read it.",
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
    if path is not None and 0 < version < len(MIGRATIONS):
        _back_up(connection, path.with_name(f"{path.name}.v{version}.bak"))
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN; {MIGRATIONS[number]} PRAGMA application_id={APPLICATION_ID}; "
            f"PRAGMA user_version={number + 1}; COMMIT;"
        )
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
