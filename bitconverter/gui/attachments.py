"""The documents that go along with the message: a line of names above the input."""

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import IconButton, IconLabel, label
from bitconverter.store.records import Attachment

MOST_WIDTH = 200  # pixels of a name


class _Chip(QFrame):
    """One document, and the cross that takes it away."""

    removed = Signal()

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self.attachment = attachment
        self.setProperty("role", "chip")
        name, count = label(), label("small")
        name.setText(name.fontMetrics().elidedText(attachment.name, Qt.TextElideMode.ElideMiddle, MOST_WIDTH))
        name.setToolTip(attachment.name)
        count.setText(tr("letters", count=len(attachment.text)))
        self.cross = IconButton("remove", size=12)
        self.cross.set_text(tr("attachment-remove", name=attachment.name))
        self.cross.clicked.connect(self.removed)
        line = QHBoxLayout(self)
        line.setContentsMargins(9, 2, 3, 2)
        line.setSpacing(6)
        line.addWidget(IconLabel("clip", "muted", 14))
        line.addWidget(name)
        line.addWidget(count)
        line.addWidget(self.cross)


class AttachmentBar(QWidget):
    """Hidden while there is none. Emits `changed`, and `reading_changed` when a file begins or ends being read."""

    changed = Signal()
    reading_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._all: list[Attachment] = []
        self._reading: list[str] = []
        self._line = QHBoxLayout(self)
        self._line.setContentsMargins(0, 0, 0, 2)
        self._line.setSpacing(6)
        self.show_reading([])

    def all(self) -> tuple[Attachment, ...]:
        """The documents in order."""
        return tuple(self._all)

    def set_all(self, attachments: Sequence[Attachment]) -> None:
        """These and no others."""
        if list(attachments) != self._all:
            self._all = list(attachments)
            self._show()
            self.changed.emit()

    def add(self, attachment: Attachment) -> None:
        """One more; the same name takes the place of the one before."""
        self.set_all([*(a for a in self._all if a.name != attachment.name), attachment])

    def show_reading(self, names: Sequence[str]) -> None:
        """Names of files that are still being read."""
        self._reading = list(names)
        self._show()
        self.reading_changed.emit()

    @property
    def reading(self) -> bool:
        """Whether one is still being read: a message that was sent now would go without it."""
        return bool(self._reading)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._show()

    def _show(self) -> None:
        while (taken := self._line.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for attachment in self._all:
            chip = _Chip(attachment)
            chip.removed.connect(
                lambda gone=attachment: self.set_all([a for a in self._all if a is not gone])
            )
            self._line.addWidget(chip)
        for name in self._reading:
            waiting = label("small")
            waiting.setText(tr("attachment-reading", name=name))
            self._line.addWidget(waiting)
        self._line.addStretch()
        self.setVisible(bool(self._all or self._reading))
