"""The conversions that wait: their order, and out with one."""

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from bitconverter.gui.convert_queue import ConvertQueue, QueueItem
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import ElidedLabel, IconButton, IconLabel, column, label


class QueueList(QFrame):
    """Hidden while nothing waits."""

    removed = Signal(object)

    def __init__(self, queue: ConvertQueue) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._queue = queue
        inner = column(self, Space.LARGE, Space.SMALL)
        self._title = label("heading")
        self._lines = QVBoxLayout()
        self._lines.setSpacing(Space.TINY)
        inner.addWidget(self._title)
        inner.addLayout(self._lines)
        self.rows: list[QWidget] = []
        queue.changed.connect(self.show_queue)
        self.show_queue()

    def show_queue(self) -> None:
        """What waits behind the first."""
        waiting = self._queue.items[1:]
        self.setVisible(bool(waiting))
        self._title.setText(tr("queue-title", count=len(waiting)))
        for line in self.rows:
            line.hide()
            line.deleteLater()
        self.rows = [self._line(item) for item in waiting]
        for line in self.rows:
            self._lines.addWidget(line)

    def _line(self, item: QueueItem) -> QWidget:
        result = QWidget()
        line = QHBoxLayout(result)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(Space.SMALL)
        name = ElidedLabel()
        name.set_text(f"{Path(item.job.source).name}  →  {item.name}")
        line.addWidget(IconLabel("clock", "muted", 16))
        line.addWidget(name, 1)
        for icon, key, step in (("up", "queue-earlier", -1), ("chevron-down", "queue-later", 1)):
            button = IconButton(icon)
            button.set_text(tr(key, name=item.name))
            button.clicked.connect(lambda _=False, step=step: self._queue.move(item, step))
            line.addWidget(button)
        out = IconButton("close")
        out.set_text(tr("queue-remove", name=item.name))
        out.clicked.connect(lambda: self.removed.emit(item))
        line.addWidget(out)
        return result

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.show_queue()
