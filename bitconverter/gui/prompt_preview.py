"""What is really sent: the conversation as the chat template writes it, with every special token."""

from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from bitconverter.gui import theme
from bitconverter.gui.messages import tr
from bitconverter.gui.template_choice import template_name
from bitconverter.gui.widgets import Button, dialog_column, label, row
from bitconverter.jobs.template_words import OWN_TEMPLATE

if TYPE_CHECKING:
    from bitconverter.jobs.chat import Prompt


class PromptPreview(QDialog):
    """Follows the prompt while it is open; the window can be used meanwhile."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.resize(720, 520)
        self._title, self._text = label("heading"), label("muted", wrap=True)
        self.view = QPlainTextEdit()
        self.view.setObjectName("console")
        self.view.setReadOnly(True)
        theme.use_mono(self.view)
        self.copy_button, self.close_button = Button("", "copy"), Button("primary")
        self.copy_button.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.view.toPlainText()))
        self.close_button.clicked.connect(self.close)
        foot = row()
        foot.addWidget(self.copy_button)
        foot.addStretch()
        foot.addWidget(self.close_button)
        layout = dialog_column(self)
        layout.addWidget(self._title)
        layout.addWidget(self._text)
        layout.addWidget(self.view, 1)
        layout.addLayout(foot)
        self._prompt: Prompt | None = None
        self.retranslate()

    def show_prompt(self, prompt: "Prompt | None") -> None:
        """The prompt of now."""
        self._prompt = prompt
        self.retranslate()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.setWindowTitle(tr("preview"))
        self._title.setText(tr("preview"))
        self.copy_button.setText(tr("copy-all"))
        self.close_button.setText(tr("close"))
        self.view.setAccessibleName(tr("preview"))
        prompt = self._prompt
        if prompt is None:
            self._text.setText(tr("preview-none"))
            self.view.clear()
            return
        text = tr("preview-text", tokens=f"{prompt.tokens:,}", most=f"{prompt.n_ctx:,}")
        if prompt.template != OWN_TEMPLATE:
            text += " " + tr("preview-template", name=template_name(prompt.template))
        if prompt.left_out:
            text += " " + tr("left-out-line", count=prompt.left_out)
        self._text.setText(text)
        if self.view.toPlainText() != prompt.text:
            self.view.setPlainText(prompt.text)
