"""The log of what happens, with the time of each line; read-only, to be copied."""

from PySide6.QtCore import Qt, QTime
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.widgets import Button, Texts, label, row


class Console(QWidget):
    """Lines are kept as they were said; a change of language touches only later ones."""

    def __init__(self) -> None:
        super().__init__()
        self._texts = Texts()
        self.view = QPlainTextEdit()
        self.view.setObjectName("console")
        self.view.setReadOnly(True)
        self.view.setFont(theme.mono_font())
        self.view.setMaximumBlockCount(5000)
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

    def say(self, text: str) -> None:
        """Add a line."""
        self.view.appendPlainText(f"{QTime.currentTime().toString('HH:mm:ss')}  {text}")

    def text(self) -> str:
        """All lines."""
        return self.view.toPlainText()

    def retranslate(self) -> None:
        """Say title and buttons again in the language of now."""
        self._texts.refresh()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
