"""The line on the shelf about unfinished conversions: how many, how large, and one button that clears them away."""

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout

from bitconverter.gui.messages import format_size, tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, Texts, label
from bitconverter.jobs.shelf import UNFINISHED, ShelfEntry


class Leftovers(QFrame):
    """Hidden where there are none. Emits `discard_all`."""

    discard_all = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.entries: list[ShelfEntry] = []
        self._texts = Texts()
        self.text, self.button = label("muted", wrap=True), Button("", "trash")
        self._texts.set(self.button.setText, "discard-all")
        self.button.clicked.connect(self.discard_all)
        line = QHBoxLayout(self)
        line.setContentsMargins(Space.LARGE, Space.SMALL, Space.SMALL, Space.SMALL)
        line.addWidget(self.text, 1)
        line.addWidget(self.button)
        self.hide()

    def show_entries(self, entries: list[ShelfEntry]) -> None:
        """Show what of `entries` was begun and not finished; those in the queue will be."""
        self.entries = [
            entry for entry in entries if entry.kind == UNFINISHED and entry.there and not entry.work
        ]
        size = format_size(sum(entry.bytes for entry in self.entries))
        self.text.setText(tr("leftovers", count=len(self.entries), size=size))
        self.setVisible(bool(self.entries))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_entries(self.entries)
