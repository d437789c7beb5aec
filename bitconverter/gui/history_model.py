"""The list of chats as rows: pinned ones, folders, then by day; or what a search found; or the bin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from PySide6.QtCore import QAbstractListModel, QLocale, QModelIndex, QPersistentModelIndex, Qt, Signal

from bitconverter.gui.messages import language, tr
from bitconverter.store.records import Chat, Folder, Hit

AnyIndex = QModelIndex | QPersistentModelIndex
ROW = int(Qt.ItemDataRole.UserRole) + 1


@dataclass(frozen=True)
class Row:
    """One line of the list. kind: "header", "folder", "chat", "hit". `id` is the folder's or the chat's,
    `message` what a hit points at; `mark` is where in `detail` the words were found."""

    kind: str
    text: str
    id: int = 0
    message: int | None = None
    detail: str = ""
    mark: tuple[int, int] = (0, 0)
    pinned: bool = False
    indented: bool = False
    open: bool = True


class HistoryModel(QAbstractListModel):
    """Rows to show. Emits `renamed` with a row and its new name; whoever owns the chats does it."""

    renamed = Signal(object, str)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []

    def rows(self) -> list[Row]:
        """What is shown now."""
        return self._rows

    def show(self, rows: Sequence[Row]) -> None:
        """Show these; nothing happens when they are the same."""
        if list(rows) != self._rows:
            self.beginResetModel()
            self._rows = list(rows)
            self.endResetModel()

    def rowCount(self, parent: AnyIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self._rows[index.row()]
        if role == ROW:
            return row
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return row.text
        if role == Qt.ItemDataRole.ToolTipRole and row.kind in ("chat", "hit"):
            return row.text
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{row.text} {row.detail}".strip()
        return None

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        kind = self._rows[index.row()].kind
        if kind == "header":
            return Qt.ItemFlag.NoItemFlags
        result = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return result | Qt.ItemFlag.ItemIsEditable if kind in ("chat", "folder") else result

    def setData(self, index: AnyIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        name = " ".join(str(value).split())
        if role != Qt.ItemDataRole.EditRole or not name or name == self._rows[index.row()].text:
            return False
        self.renamed.emit(self._rows[index.row()], name)
        return True


def history_rows(
    chats: Sequence[Chat], folders: Sequence[Folder], closed: set[int], today: datetime
) -> list[Row]:
    """Pinned chats, the folders with theirs (`closed` ones without), and the others by the day of last use."""
    rows: list[Row] = []
    known = {folder.id for folder in folders}
    pinned = [chat for chat in chats if chat.pinned]
    if pinned:
        rows += [Row("header", tr("pinned")), *(_chat_row(chat) for chat in pinned)]
    if folders:
        rows.append(Row("header", tr("folders")))
    for folder in folders:
        inside = [chat for chat in chats if chat.folder == folder.id and not chat.pinned]
        is_open = folder.id not in closed
        rows.append(Row("folder", folder.name, folder.id, detail=str(len(inside)), open=is_open))
        rows += [_chat_row(chat, True) for chat in inside if is_open]
    header = ""
    for chat in chats:
        if chat.pinned or chat.folder in known:
            continue
        day = _day(chat.updated, today)
        if day != header:
            rows.append(Row("header", day))
            header = day
        rows.append(_chat_row(chat))
    return rows


def bin_rows(chats: Sequence[Chat]) -> list[Row]:
    """Deleted chats, the last one first."""
    newest_first = sorted(chats, key=lambda chat: -(chat.deleted or 0))
    return [_chat_row(chat) for chat in newest_first]


def hit_rows(hits: Sequence[Hit]) -> list[Row]:
    """What a search found."""
    return [
        Row("hit", _title(hit.title), hit.chat, hit.message, hit.snippet, (hit.start, hit.end))
        for hit in hits
    ]


def _chat_row(chat: Chat, indented: bool = False) -> Row:
    return Row("chat", _title(chat.title), chat.id, pinned=chat.pinned, indented=indented)


def _title(title: str) -> str:
    return title or tr("untitled")


def _day(milliseconds: int, today: datetime) -> str:
    """Today, yesterday, the last seven days, then by month."""
    try:
        time = datetime.fromtimestamp(milliseconds / 1000)
    except (OverflowError, OSError, ValueError):  # a file may hold any number
        return tr("long-ago")
    days = (today.date() - time.date()) / timedelta(days=1)
    if days <= 0:
        return tr("today")
    if days == 1:
        return tr("yesterday")
    if days < 7:
        return tr("last-week")
    if time.year == today.year:
        return QLocale(language()).standaloneMonthName(time.month)
    return tr("year", year=time.year)
