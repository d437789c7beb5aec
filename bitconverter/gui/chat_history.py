"""The chats of before, beside the open one: search, folders, pins, the bin."""

from datetime import datetime
from functools import partial

from PySide6.QtCore import QEvent, QModelIndex, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFrame, QLineEdit, QMenu, QToolButton, QVBoxLayout

from bitconverter.gui import artwork, theme
from bitconverter.gui.history_list import HistoryList
from bitconverter.gui.history_model import ROW, HistoryModel, Row, bin_rows, history_rows, hit_rows
from bitconverter.gui.messages import tr
from bitconverter.gui.store_queue import StoreQueue
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconButton, Texts, label, row
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.records import Chat, Folder, Hit

WIDTH = 250
FORMATS = ("markdown", "html", "jsonl")


class ChatHistory(QFrame):
    """Emits `opened` with a chat's id and the message to show (or None), `said` with a sentence and what
    undoes it, `export` with a chat's id and a format, `import_files`, and `gone` with the ids of chats that
    were deleted."""

    opened = Signal(object, object)
    said = Signal(object, object)
    export = Signal(object, str)
    import_files = Signal()
    gone = Signal(object)
    renamed = Signal(object, str)

    def __init__(self, store: StoreQueue) -> None:
        super().__init__()
        self.setObjectName("history")
        self._store = store
        self._texts = Texts()
        self._chats: list[Chat] = []
        self._binned: list[Chat] = []
        self._folders: list[Folder] = []
        self._hits: list[Hit] | None = None
        self._closed: set[int] = set()
        self._current: int | None = None
        self.in_bin = False
        self.model = HistoryModel()
        self.list = HistoryList(self.model)
        self._build()
        self._connect()
        self._show()

    def _build(self) -> None:
        self.search = QLineEdit()
        self.search.setClearButtonEnabled(True)
        self._search_icon = QAction(self)
        self.search.addAction(self._search_icon, QLineEdit.ActionPosition.LeadingPosition)
        self.more = IconButton("dots", size=18)
        self._empty = label("small", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.bin_button = Button("row", "trash")
        self._texts.set(self.search.setPlaceholderText, "search-chats")
        self._texts.set(self.search.setAccessibleName, "search-chats")
        for inside in self.search.findChildren(QToolButton):  # Qt's own, one of which clears
            self._texts.set(inside.setAccessibleName, "search-clear")
        self._texts.set(self.more.set_text, "history-more")
        self._texts.set(self.list.setAccessibleName, "chats")
        top = row(Space.TINY)
        top.addWidget(self.search, 1)
        top.addWidget(self.more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 10, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(top)
        layout.addWidget(self._empty)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.bin_button)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(150)
        self._tint()

    def _connect(self) -> None:
        self.search.textChanged.connect(lambda _text: self._typing.start())
        self._typing.timeout.connect(self.search_now)
        self.more.clicked.connect(self._open_more)
        self.list.chosen.connect(self.choose)
        self.list.insisted.connect(self._bring_back)
        self.list.delete.connect(self.delete)
        self.list.customContextMenuRequested.connect(self._open_menu)
        self.model.renamed.connect(self._rename)
        self.bin_button.clicked.connect(lambda: self.show_bin(not self.in_bin))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._tint()

    def _tint(self) -> None:
        self._search_icon.setIcon(artwork.icon("find", theme.current().muted, size=16))

    def sizeHint(self) -> QSize:
        return QSize(WIDTH, 400)

    # ---- what is shown

    def reload(self) -> None:
        """Ask the store what there is."""

        def read(store: ChatStore) -> tuple[list[Chat], list[Chat], list[Folder]]:
            return store.chats(), store.chats(deleted=True), store.folders()

        self._store.ask(read, self._take)
        if self._hits is not None:
            self.search_now()

    def _take(self, found: tuple[list[Chat], list[Chat], list[Folder]]) -> None:
        self._chats, self._binned, self._folders = found
        self._show()

    def show_current(self, chat_id: int | None) -> None:
        """Mark the chat that is open."""
        self._current = chat_id
        self._select()

    def show_bin(self, shown: bool) -> None:
        """The bin instead of the chats, or back."""
        self.in_bin = shown
        self.search.clear()
        self._hits = None
        self._show()

    def search_now(self) -> None:
        """Look for what is typed."""
        query = self.search.text()
        if not query.strip():
            self._hits = None
            self._show()
            return

        def show(hits: list[Hit]) -> None:
            if query == self.search.text():
                self._hits, self.in_bin = hits, False
                self._show()

        self._store.ask(lambda store: store.search(query), show)

    def _show(self) -> None:
        if self._hits is not None:
            rows = hit_rows(self._hits)
        elif self.in_bin:
            rows = bin_rows(self._binned)
        else:
            rows = history_rows(self._chats, self._folders, self._closed, datetime.now())
        self.model.show(rows)
        key = "nothing-found" if self._hits is not None else "bin-empty" if self.in_bin else "no-chats"
        self._empty.setText(tr("bin-note") if self.in_bin and rows else tr(key))
        self._empty.setVisible(self.in_bin or not rows)
        self.bin_button.setText(
            tr("back-to-chats") if self.in_bin else tr("bin-count", count=len(self._binned))
        )
        self._select()

    def _select(self) -> None:
        if self._hits is not None:
            return
        for number, each in enumerate(self.model.rows()):
            if each.kind == "chat" and each.id == self._current:
                self.list.setCurrentIndex(self.model.index(number))
                return
        self.list.clearSelection()
        self.list.setCurrentIndex(QModelIndex())

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self._show()

    # ---- what is done

    def choose(self, chosen: Row) -> None:
        """Open a chat, or open and close a folder; in the bin nothing is opened."""
        if chosen.kind == "folder":
            self._closed ^= {chosen.id}
            self._show()
        elif chosen.kind in ("chat", "hit") and not self.in_bin:
            self.opened.emit(chosen.id, chosen.message)

    def delete(self, chosen: Row) -> None:
        """Into the bin, with a way back; a chat in the bin stays there until its time is over."""
        number = chosen.id
        if chosen.kind == "folder":
            self._store.ask(lambda store: store.delete_folder(number))
            self.said.emit(
                partial(tr, "folder-deleted", name=chosen.text),
                lambda: self._do(lambda store: store.restore_folder(number)),
            )
        elif chosen.kind == "chat" and not self.in_bin:
            self._store.ask(lambda store: store.delete_chats([number]))
            self.gone.emit([number])
            self.said.emit(partial(tr, "chat-deleted", name=chosen.text), lambda: self.restore(number))
        else:
            return
        self.reload()

    def _bring_back(self, chosen: Row) -> None:
        """Out of the bin, where it is looked at, with a way back into it."""
        if self.in_bin and chosen.kind == "chat":
            number = chosen.id
            self.restore(number)
            self.said.emit(
                partial(tr, "chat-restored", name=chosen.text),
                lambda: self._do(lambda store: store.delete_chats([number])),
            )

    def restore(self, chat_id: int) -> None:
        """Bring a chat back out of the bin."""
        self._do(lambda store: store.restore_chats([chat_id]))

    def _do(self, work: object) -> None:
        self._store.ask(work)  # type: ignore[arg-type]
        self.reload()

    def _rename(self, chosen: Row, name: str) -> None:
        number = chosen.id
        if chosen.kind == "folder":
            self._do(lambda store: store.save_folder(Folder(name, number)))
        else:
            self._do(lambda store: store.update_chat(number, title=name, named=True))
            self.renamed.emit(number, name)

    def move_chat(self, chat_id: int, folder: int | None) -> None:
        """Put a chat into a folder, or out of all."""
        self._do(lambda store: store.update_chat(chat_id, folder=folder))

    def pin(self, chat_id: int, pinned: bool) -> None:
        """Keep a chat at the top, or no longer."""
        self._do(lambda store: store.update_chat(chat_id, pinned=pinned))

    def new_folder(self, chat_id: int | None = None) -> Folder:
        """A new folder, with a chat in it if one is given; its name can be typed at once."""
        folder = Folder(tr("new-folder-name"))
        self._store.ask(lambda store: store.save_folder(folder))
        if chat_id is not None:
            self._store.ask(lambda store: store.update_chat(chat_id, folder=folder.id))
        self._store.ask(lambda store: None, lambda _: self._edit_folder(folder.id))
        self.reload()
        return folder

    def _edit_folder(self, folder_id: int) -> None:
        # the list arrives after this: ask behind it
        self._store.ask(lambda store: None, lambda _: self._edit(folder_id))

    def _edit(self, row_id: int) -> None:
        for number, each in enumerate(self.model.rows()):
            if each.id == row_id and self.isVisible():
                self.list.setCurrentIndex(self.model.index(number))
                self.list.edit(self.model.index(number))
                return

    # ---- menus

    def _open_more(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(tr("new-folder")).triggered.connect(lambda _=False: self.new_folder())
        menu.addAction(tr("import-chats")).triggered.connect(self.import_files)
        menu.addAction(tr("export-all")).triggered.connect(lambda: self.export.emit(None, "jsonl"))
        menu.popup(self.more.mapToGlobal(self.more.rect().bottomLeft()))

    def _open_menu(self, place: QPoint) -> None:
        index = self.list.indexAt(place)
        if index.isValid() and index.data(ROW).kind != "header":
            self.menu_for(index.data(ROW), index).popup(self.list.viewport().mapToGlobal(place))

    def menu_for(self, chosen: Row, index: QModelIndex) -> QMenu:
        """What can be done with a row."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if self.in_bin:
            menu.addAction(tr("restore")).triggered.connect(lambda: self._bring_back(chosen))
            return menu
        if chosen.kind in ("chat", "folder"):
            menu.addAction(tr("rename")).triggered.connect(lambda: self.list.edit(index))
        if chosen.kind == "chat":
            key = "unpin" if chosen.pinned else "pin"
            menu.addAction(tr(key)).triggered.connect(lambda: self.pin(chosen.id, not chosen.pinned))
            folders = menu.addMenu(tr("move-to"))
            folders.addAction(tr("no-folder")).triggered.connect(lambda: self.move_chat(chosen.id, None))
            for folder in self._folders:
                action = folders.addAction(folder.name.replace("&", "&&"))
                action.triggered.connect(lambda _=False, number=folder.id: self.move_chat(chosen.id, number))
            folders.addSeparator()
            folders.addAction(tr("new-folder")).triggered.connect(lambda: self.new_folder(chosen.id))
        if chosen.kind in ("chat", "hit"):
            kinds = menu.addMenu(tr("export"))
            for kind in FORMATS:
                action = kinds.addAction(tr(f"export-{kind}"))
                action.triggered.connect(lambda _=False, kind=kind: self.export.emit(chosen.id, kind))
        if chosen.kind in ("chat", "folder"):
            menu.addSeparator()
            menu.addAction(tr("delete")).triggered.connect(lambda: self.delete(chosen))
        return menu
