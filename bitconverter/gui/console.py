"""The log of what happens, with the time of each line; read-only, to be copied."""

from collections import deque
from collections.abc import Callable

from PySide6.QtCore import Qt, QTime
from PySide6.QtGui import QGuiApplication, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.widgets import Button, Texts, label, row


class Console(QWidget):
    """Each line is kept as what says it, so that a change of language says all of them again."""

    MOST = 5000  # lines

    def __init__(self) -> None:
        super().__init__()
        self._texts = Texts()
        self._lines: deque[tuple[str, Callable[[], str]]] = deque(maxlen=self.MOST)
        self.view = QPlainTextEdit()
        self.view.setObjectName("console")
        self.view.setReadOnly(True)
        theme.use_mono(self.view)
        self.view.setMaximumBlockCount(self.MOST)
        self.view.setMinimumHeight(150)
        self.view.setTabChangesFocus(True)
        self.view.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.view.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        title = label("heading")
        copy = Button("quiet", "copy")
        copy.clicked.connect(self._copy)
        self._texts.set(title.setText, "console")
        self._texts.set(copy.setText, "copy-all")
        self._texts.set(self.view.setAccessibleName, "console")
        head = row()
        head.addWidget(title, 1)
        head.addWidget(copy)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addWidget(self.view)

    def say(self, line: Callable[[], str]) -> None:
        """Add a line: what `line` returns now, and again after a change of language."""
        self._lines.append((QTime.currentTime().toString("HH:mm:ss"), line))
        self.view.appendPlainText(_shown(*self._lines[-1]))

    def text(self) -> str:
        """All lines."""
        return self.view.toPlainText()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.view.setPlainText("\n".join(_shown(*line) for line in self._lines))
        self.view.moveCursor(QTextCursor.MoveOperation.End)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())


def _shown(when: str, line: Callable[[], str]) -> str:
    return f"{when}  {line()}"
