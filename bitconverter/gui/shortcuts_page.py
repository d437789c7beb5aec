"""The keys that do something, as the commands list them."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QGridLayout, QMainWindow

from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell
from bitconverter.gui.sections import ScrolledPage, card
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label

# of text fields, which handle them themselves
IN_THE_CHAT = (("keys-send", "Return"), ("keys-newline", "Shift+Return"))


class ShortcutsPage(ScrolledPage):
    """Filled when it is first shown: the window knows its commands only then."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "page-shortcuts", "shortcuts-text")
        box, inner = card("shortcuts-window", self.texts)
        self.grid = QGridLayout()
        self.grid.setHorizontalSpacing(Space.WIDE)
        self.grid.setVerticalSpacing(Space.SMALL)
        self.grid.setColumnStretch(1, 1)
        inner.addLayout(self.grid)
        self.body.addWidget(box)
        self.body.addStretch()

    def entered(self) -> None:
        """Show the list in the language of now."""
        while (taken := self.grid.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        window = self.window()
        assert isinstance(window, QMainWindow)
        commands = [(c.title(), c.keys) for c in window.commands.all if c.keys]
        commands += [(tr(text), keys) for text, keys in IN_THE_CHAT]
        for position, (title, keys) in enumerate(commands):
            shown = QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText)
            key, words = label("key"), label(wrap=True)
            key.setText(shown)
            words.setText(title)
            self.grid.addWidget(key, position, 0, Qt.AlignmentFlag.AlignLeft)
            self.grid.addWidget(words, position, 1)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        if self.isVisible():
            self.entered()
