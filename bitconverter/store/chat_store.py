"""The chats of the user: one SQLite file, every change its own transaction.

A store may be used from one thread at a time. Deleted is marked, not removed: for BIN_DAYS everything can be
brought back.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from bitconverter.store import chat_search
from bitconverter.store.chat_tree import ChatTree
from bitconverter.store.columns import storable
from bitconverter.store.records import (
    ENDINGS,
    ROLES,
    Attachment,
    Chat,
    Folder,
    Hit,
    Node,
    Numbers,
    Preset,
    new_id,
    now,
)
from bitconverter.store.schema import CHATS
from bitconverter.store.sqlite_file import open_file, open_memory

BIN_DAYS = 30
DAY = 24 * 60 * 60 * 1000  # milliseconds

_CHAT_COLUMNS = ", ".join(spec.name for spec in fields(Chat))


class ChatStore:
    """`set_aside` is where a damaged file was moved to when this one was opened, else None."""

    def __init__(self, path: Path | None) -> None:
        """Open or make the file; None keeps chats in memory only. Raises UserError, see open_file()."""
        self.set_aside: Path | None = None
        if path is None:
            self._connection = open_memory(CHATS)
        else:
            self._connection, self.set_aside = open_file(path, CHATS)

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # ---- chats

    def chats(self, deleted: bool = False) -> list[Chat]:
        """The chats, or those in the bin, the one used last first."""
        rows = self._connection.execute(
            f"SELECT {_CHAT_COLUMNS} FROM chat WHERE deleted IS {'NOT NULL' if deleted else 'NULL'} "
            "ORDER BY updated DESC, id"
        )
        return [_chat(row) for row in rows]

    def chat(self, chat_id: int) -> Chat | None:
        """One chat, deleted or not; None when there is none."""
        row = self._connection.execute(
            f"SELECT {_CHAT_COLUMNS} FROM chat WHERE id = ?", (chat_id,)
        ).fetchone()
        return None if row is None else _chat(row)

    def add_chat(self, chat: Chat) -> None:
        """A new chat."""
        with self._change() as db:
            _insert_chat(db, chat)

    def update_chat(self, chat_id: int, **values: Any) -> None:
        """Change fields of a chat, by their names in Chat."""
        known = {spec.name for spec in fields(Chat)} - {"id"}
        if not values or not set(values) <= known:
            raise ValueError(f"no such fields: {sorted(set(values) - known)}")
        names = ", ".join(f"{name} = ?" for name in values)
        cells = [storable(v) if isinstance(v, str) else v for v in values.values()]
        with self._change() as db:
            db.execute(f"UPDATE chat SET {names} WHERE id = ?", (*cells, chat_id))

    def delete_chats(self, chat_ids: Sequence[int]) -> None:
        """Into the bin."""
        self._mark("chat", chat_ids, now())

    def restore_chats(self, chat_ids: Sequence[int]) -> None:
        """Out of the bin."""
        self._mark("chat", chat_ids, None)

    def empty_bin(self, older_than: int | None = None) -> None:
        """Remove for good what was deleted before `older_than` (milliseconds; default: BIN_DAYS ago)."""
        limit = now() - BIN_DAYS * DAY if older_than is None else older_than
        with self._change() as db:
            for table in ("chat", "message", "folder", "preset"):
                db.execute(f"DELETE FROM {table} WHERE deleted < ?", (limit,))

    def _mark(self, table: str, ids: Sequence[int], deleted: int | None) -> None:
        with self._change() as db:
            db.executemany(f"UPDATE {table} SET deleted = ? WHERE id = ?", [(deleted, each) for each in ids])

    # ---- messages

    def tree(self, chat_id: int) -> ChatTree:
        """The messages of a chat, and the branch that was shown last."""
        rows = self._connection.execute(
            "SELECT id, parent, role, text, created, ending, numbers, attachments FROM message "
            "WHERE chat = ? AND deleted IS NULL",
            (chat_id,),
        )
        chat = self.chat(chat_id)
        return ChatTree([_node(*row) for row in rows], None if chat is None else chat.leaf)

    def add_messages(self, chat_id: int, nodes: Iterable[Node]) -> None:
        """New messages of a chat; it counts as used now, and its last message is what is shown."""
        with self._change() as db:
            for node in nodes:
                _insert_message(db, chat_id, node)
                db.execute("UPDATE chat SET leaf = ?, updated = ? WHERE id = ?", (node.id, now(), chat_id))

    def save_text(self, message_id: int, text: str) -> None:
        """The text so far of a message that is being written. It is found by search once it has ended."""
        with self._change() as db:
            db.execute("UPDATE message SET text = ? WHERE id = ?", (storable(text), message_id))

    def save_message(self, node: Node) -> None:
        """Text, ending and numbers of a message."""
        text = storable(node.text)
        with self._change() as db:
            db.execute(
                "UPDATE message SET text = ?, ending = ?, numbers = ?, folded = fold(?) WHERE id = ?",
                (text, node.ending, _numbers_json(node.numbers), text if node.ending else "", node.id),
            )

    def delete_messages(self, ids: Sequence[int]) -> None:
        """Into the bin."""
        self._mark("message", ids, now())

    def restore_messages(self, ids: Sequence[int]) -> None:
        """Out of the bin."""
        self._mark("message", ids, None)

    def import_chat(self, chat: Chat, nodes: Sequence[Node]) -> None:
        """A chat with all its messages, whole or not at all."""
        with self._change() as db:
            _insert_chat(db, chat)
            for node in nodes:
                _insert_message(db, chat.id, node)

    def search(self, query: str) -> list[Hit]:
        """See chat_search.search."""
        return chat_search.search(self._connection, storable(query))

    # ---- folders, presets, and where the user was

    def folders(self) -> list[Folder]:
        """The folders by name."""
        rows = self._connection.execute("SELECT name, id FROM folder WHERE deleted IS NULL ORDER BY name, id")
        return [Folder(name, number) for name, number in rows]

    def save_folder(self, folder: Folder) -> None:
        """A new folder, or a new name."""
        with self._change() as db:
            db.execute(
                "INSERT INTO folder(id, name) VALUES (?, ?) ON CONFLICT(id) DO UPDATE SET name = excluded.name",
                (folder.id, storable(folder.name)),
            )

    def delete_folder(self, folder_id: int) -> None:
        """The chats in it stay; they are shown without a folder until it comes back."""
        self._mark("folder", [folder_id], now())

    def restore_folder(self, folder_id: int) -> None:
        """With the chats that were in it."""
        self._mark("folder", [folder_id], None)

    def presets(self) -> list[Preset]:
        """The user's system prompts by name."""
        rows = self._connection.execute(
            "SELECT name, text, id FROM preset WHERE deleted IS NULL ORDER BY name, id"
        )
        return [Preset(name, text, number) for name, text, number in rows]

    def save_preset(self, preset: Preset) -> None:
        """A new one, or another name or text."""
        with self._change() as db:
            db.execute(
                "INSERT INTO preset(id, name, text) VALUES (?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET name = excluded.name, text = excluded.text",
                (preset.id, storable(preset.name), storable(preset.text)),
            )

    def delete_preset(self, preset_id: int) -> None:
        """Into the bin."""
        self._mark("preset", [preset_id], now())

    def restore_preset(self, preset_id: int) -> None:
        """Out of the bin."""
        self._mark("preset", [preset_id], None)

    def state(self, key: str) -> str:
        """A small thing remembered under `key`; "" when there is none."""
        row = self._connection.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return "" if row is None else str(row[0])

    def set_state(self, key: str, value: str) -> None:
        """Remember `value` under `key`."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO state(key, value) VALUES (?, ?)", (key, storable(value)))


# ---- rows and records


def _insert_chat(db: sqlite3.Connection, chat: Chat) -> None:
    cells = [getattr(chat, spec.name) for spec in fields(Chat)]
    marks = ", ".join("?" * len(cells))
    db.execute(
        f"INSERT INTO chat({_CHAT_COLUMNS}) VALUES ({marks})",
        [storable(cell) if isinstance(cell, str) else cell for cell in cells],
    )


def _insert_message(db: sqlite3.Connection, chat_id: int, node: Node) -> None:
    if node.role not in ROLES or node.ending not in ENDINGS:
        raise ValueError(f"no such message: {node.role}, {node.ending}")
    text = storable(node.text)
    attachments = [{"name": storable(a.name), "text": storable(a.text)} for a in node.attachments]
    db.execute(
        "INSERT INTO message(id, chat, parent, role, text, created, ending, numbers, attachments, folded) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, fold(?))",
        (
            node.id, chat_id, node.parent, node.role, text, node.created, node.ending,
            _numbers_json(node.numbers), json.dumps(attachments, ensure_ascii=False),
            text if node.ending else "",
        ),
    )  # fmt: skip


def _numbers_json(numbers: Numbers | None) -> str | None:
    return None if numbers is None else storable(json.dumps(numbers.as_dict(), ensure_ascii=False))


def _chat(row: Sequence[Any]) -> Chat:
    """A row as a record: SQLite keeps any type in any column, so a file may hold anything."""
    values = dict(zip((spec.name for spec in fields(Chat)), row, strict=True))
    for name in ("title", "system_prompt", "draft"):
        values[name] = values[name] if isinstance(values[name], str) else ""
    for name in ("named", "pinned", "drop_oldest"):
        values[name] = bool(values[name])
    for name in ("created", "updated"):
        values[name] = values[name] if isinstance(values[name], int) else 0
    for name in ("folder", "leaf", "deleted"):
        values[name] = values[name] if isinstance(values[name], int) else None
    scroll = values["scroll"]
    values["scroll"] = scroll if isinstance(scroll, float) and 0 <= scroll <= 1 else 1.0
    return Chat(**values)


def _node(
    number: int, parent: Any, role: Any, text: Any, created: Any, ending: Any, numbers: Any, attachments: Any
) -> Node:
    return Node(
        role=role if role in ROLES else "user",
        text=text if isinstance(text, str) else "",
        parent=parent if isinstance(parent, int) else None,
        id=number,
        created=created if isinstance(created, int) else 0,
        ending=ending if ending in ENDINGS else "stop",
        numbers=Numbers.from_dict(_json(numbers)),
        attachments=attachments_from(_json(attachments)),
    )


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def attachments_from(value: Any) -> tuple[Attachment, ...]:
    """Those of a list of {"name", "text"} that are what they should be."""
    entries = value if isinstance(value, list) else []
    return tuple(
        Attachment(entry["name"], entry["text"])
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("text"), str)
    )


__all__ = ["BIN_DAYS", "ChatStore", "ChatTree", "new_id"]
