"""The command palette: type a few letters of what you want, press Enter."""

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QKeyEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QDialog, QFrame, QLineEdit, QListView, QVBoxLayout, QWidget

from bitconverter.gui import artwork, theme
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import column

WIDTH, HEIGHT = 560, 420
RUN = int(Qt.ItemDataRole.UserRole)


@dataclass(frozen=True)
class Entry:
    """One line: what it says, the keys that do the same, what it does."""

    title: str
    keys: str
    icon: str
    run: Callable[[], object]


def matches(query: str, title: str) -> bool:
    """Whether every word of `query` is somewhere in `title`, whatever the case."""
    folded = title.casefold()
    return all(word in folded for word in query.casefold().split())


class CommandPalette(QDialog):
    """Runs at most one entry, after it has closed."""

    def __init__(self, entries: list[Entry], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.setWindowTitle(tr("palette"))
        self._entries = entries
        self.field = QLineEdit()
        self.field.setPlaceholderText(tr("palette-hint"))
        self.field.setAccessibleName(tr("palette"))
        self.field.textChanged.connect(self._show)
        self.field.installEventFilter(self)
        self.model = QStandardItemModel(self)
        self.list = QListView()
        self.list.setProperty("role", "bare")
        self.list.setAccessibleName(tr("palette"))
        self.list.setModel(self.model)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.list.setIconSize(QSize(18, 18))
        self.list.activated.connect(self.choose)
        self.list.clicked.connect(self.choose)
        box = QFrame()
        box.setObjectName("palette")
        inner = column(box, Space.MEDIUM, Space.SMALL)
        inner.addWidget(self.field)
        inner.addWidget(self.list)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(box)
        self.setSizeGripEnabled(False)
        grown = QSize(round(WIDTH * theme.scale()), round(HEIGHT * theme.scale()))
        self.resize(grown.boundedTo(parent.size() - QSize(2 * Space.PAGE, 4 * Space.PAGE)))
        self.move(parent.mapToGlobal(parent.rect().topLeft()))
        self.move(self.x() + (parent.width() - self.width()) // 2, self.y() + Space.PAGE * 2)
        self._show("")
        self.field.setFocus()

    def _show(self, query: str) -> None:
        self.model.clear()
        colors = theme.current()
        for entry in self._entries:
            if matches(query, entry.title):
                text = f"{entry.title}    {entry.keys}" if entry.keys else entry.title
                item = QStandardItem(artwork.icon(entry.icon, colors.muted, size=18), text)
                item.setData(entry, RUN)
                self.model.appendRow(item)
        if not self.model.rowCount():
            nothing = QStandardItem(tr("nothing-found"))
            nothing.setEnabled(False)
            self.model.appendRow(nothing)
        self.list.setCurrentIndex(self.model.index(0, 0))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Arrows and Enter in the field act on the list."""
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None:
                row = min(max(self.list.currentIndex().row() + step, 0), self.model.rowCount() - 1)
                self.list.setCurrentIndex(self.model.index(row, 0))
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.choose()
                return True
        return super().eventFilter(watched, event)

    def choose(self, *_: object) -> None:
        """Do what the marked line says."""
        index = self.list.currentIndex()
        entry: Entry | None = index.data(RUN)
        if entry is None:  # nothing was found
            return
        self.accept()
        entry.run()
