"""The same question answered with a soul and without it, side by side."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.answer_text import AnswerText
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, dialog_column, label, row


class TwoAnswers(QDialog):
    """Both answers stay in the chat as versions; the window can be used while this is open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.resize(860, 520)
        self._soul, self._same = "", False
        self._title, self._text = label("heading", wrap=True), label("muted", wrap=True)
        self.close_button = Button("primary")
        self.close_button.clicked.connect(self.close)
        sides = QHBoxLayout()
        sides.setSpacing(Space.LARGE)
        self.names, self.texts = [], []
        for _ in range(2):
            name, text, area, side = label("strong", wrap=True), AnswerText(), QScrollArea(), QVBoxLayout()
            area.setWidget(_at_top(text))
            area.setWidgetResizable(True)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            side.addWidget(name)
            side.addWidget(area, 1)
            sides.addLayout(side, 1)
            self.names.append(name)
            self.texts.append(text)
        foot = row()
        foot.addStretch()
        foot.addWidget(self.close_button)
        layout = dialog_column(self)
        layout.addWidget(self._title)
        layout.addWidget(self._text)
        layout.addLayout(sides, 1)
        layout.addLayout(foot)

    def show_answers(self, soul: str, with_soul: str, without: str) -> None:
        """The two texts in Markdown; `soul` is the soul's name."""
        self._soul, self._same = soul, with_soul == without
        for text, said in zip(self.texts, (with_soul, without), strict=True):
            text.set_markdown(said)
        self.retranslate()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.setWindowTitle(tr("two-answers"))
        self._title.setText(tr("two-answers"))
        self._text.setText(tr("two-answers-same" if self._same else "two-answers-text"))
        words = tr("made-with-soul", name=self._soul), tr("made-without-soul", name=self._soul)
        for name, text, said in zip(self.names, self.texts, words, strict=True):
            name.setText(said)
            text.setAccessibleName(said)
        self.close_button.setText(tr("close"))


def _at_top(text: AnswerText) -> QWidget:
    """A short answer does not hang in the middle."""
    holder = QWidget()
    holder.setObjectName("scrolled")
    inner = QVBoxLayout(holder)
    inner.setContentsMargins(0, 0, Space.SMALL, 0)
    inner.addWidget(text)
    inner.addStretch()
    return holder
