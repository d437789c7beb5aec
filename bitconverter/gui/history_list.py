"""The list of chats as a widget: what keys and clicks do."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QListView

from bitconverter.gui.history_delegate import HistoryDelegate
from bitconverter.gui.history_model import ROW, HistoryModel, Row


class HistoryList(QListView):
    """A list that opens on a click or Enter, renames with F2 and deletes with Del.
    `insisted`: a double click or Enter."""

    chosen = Signal(object)
    insisted = Signal(object)
    delete = Signal(object)
    undo = Signal()

    def __init__(self, model: HistoryModel) -> None:
        super().__init__()
        self.setModel(model)
        self.setItemDelegate(HistoryDelegate(self))
        self.setProperty("role", "bare")
        self.setUniformItemSizes(False)
        self.setMouseTracking(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.clicked.connect(lambda index: self.chosen.emit(index.data(ROW)))
        self.doubleClicked.connect(lambda index: self.insisted.emit(index.data(ROW)))

    def current_row(self) -> Row | None:
        """The row that the keyboard is on."""
        index = self.currentIndex()
        return index.data(ROW) if index.isValid() else None

    def keyPressEvent(self, event: QKeyEvent) -> None:
        row = self.current_row()
        editing = self.state() == QAbstractItemView.State.EditingState
        if editing or row is None:
            super().keyPressEvent(event)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.chosen.emit(row)
            self.insisted.emit(row)
        elif event.key() == Qt.Key.Key_Delete:
            self.delete.emit(row)
        elif event.matches(QKeySequence.StandardKey.Undo):
            self.undo.emit()
        else:
            super().keyPressEvent(event)
