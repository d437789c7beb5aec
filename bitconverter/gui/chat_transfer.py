"""Chats to and from files: the dialogs, and the work on the store's thread."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QStandardPaths, Signal
from PySide6.QtWidgets import QWidget

from bitconverter.gui.choose import choose_files, choose_target
from bitconverter.gui.messages import tr
from bitconverter.gui.store_queue import StoreQueue
from bitconverter.store.chat_export import to_html, to_jsonl, to_markdown
from bitconverter.store.chat_import import read_chats
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.files import write_export

SUFFIXES = {"markdown": ".md", "html": ".html", "jsonl": ".jsonl"}


class ChatTransfer(QObject):
    """Emits `said` with a sentence and what undoes it, `failed` with an error, and `imported` with the ids of
    new chats."""

    said = Signal(object, object)
    failed = Signal(object)
    imported = Signal(object)

    def __init__(self, store: StoreQueue, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent, self._store = parent, store

    def export(self, chat_id: int | None, kind: str) -> None:
        """Ask where to, and write a chat (None: all of them) there."""
        title: Callable[[ChatStore], str] = lambda store: _title(store, chat_id)  # noqa: E731
        self._store.ask(title, lambda name: self._ask_export(chat_id, kind, name))

    def _ask_export(self, chat_id: int | None, kind: str, name: str) -> None:
        folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
        start = str(Path(folder) / (safe_name(name or tr("chats")) + SUFFIXES[kind]))
        path = choose_target(
            self._parent, tr("export-title"), start, f"{tr(f'export-{kind}')} (*{SUFFIXES[kind]})"
        )
        if path:
            self.write(chat_id, kind, Path(path))

    def write(self, chat_id: int | None, kind: str, path: Path) -> None:
        """Write a chat, or all of them, to `path`; a file that is there is replaced when all is written."""
        names = (tr("you"), tr("model-says"))

        def work(store: ChatStore) -> int:
            ids = [chat.id for chat in store.chats()] if chat_id is None else [chat_id]
            chats = [(chat, store.tree(each)) for each in ids if (chat := store.chat(each)) is not None]
            if kind == "jsonl":
                text = to_jsonl(chats)
            else:
                chat, tree = chats[0]
                text = to_html(chat, tree, names) if kind == "html" else to_markdown(chat, tree, names)
            write_export(path, text)
            return len(chats)

        self._store.ask(
            work, lambda count: self.said.emit(partial(tr, "exported", count=count, file=path.name), None)
        )

    def ask_import(self) -> None:
        """Ask which files, and take the chats in them."""
        folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.DocumentsLocation)
        paths = choose_files(self._parent, tr("import-title"), folder, tr("import-filter"))
        if paths:
            self.read([Path(path) for path in paths])

    def read(self, paths: list[Path]) -> None:
        """Take the chats in these files: all of a file, or none and an error."""

        def work(store: ChatStore) -> list[int]:
            ids = []
            for path in paths:
                for chat, nodes in read_chats(path):
                    store.import_chat(chat, nodes)
                    ids.append(chat.id)
            return ids

        self._store.ask(work, self._imported)

    def _imported(self, ids: list[int]) -> None:
        self.imported.emit(ids)
        self.said.emit(partial(tr, "imported", count=len(ids)), lambda: self._take_back(ids))

    def _take_back(self, ids: list[int]) -> None:
        self._store.ask(lambda store: store.delete_chats(ids), lambda _: self.imported.emit([]))


def _title(store: ChatStore, chat_id: int | None) -> str:
    chat = store.chat(chat_id) if chat_id is not None else None
    return chat.title if chat is not None else ""


def safe_name(title: str) -> str:
    """A title as a file name that Windows takes too."""
    name = re.sub(r'[\x00-\x1f<>:"/\\|?*]+', " ", title).strip(" .")[:60].strip(" .")
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)", name):
        name += "_"
    return name or "chat"
