"""A scrolled page of one readable width: a title, a sentence, and cards below each other."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.page import Page, Shell
from bitconverter.gui.tokens import PAGE_WIDTH, Space
from bitconverter.gui.widgets import Texts, column, frame, label, row


class ScrolledPage(Page):
    """`body` takes the parts of the page; `head` is the line of the title, for buttons at its right."""

    def __init__(self, shell: Shell, title: str, subtitle: str = "") -> None:
        super().__init__(shell)
        self.texts = Texts()
        self.title = label("title")
        self.texts.set(self.title.setText, title)
        self.head = row(Space.SMALL)
        self.head.addWidget(self.title, 1)
        middle = QWidget()
        middle.setMaximumWidth(PAGE_WIDTH)
        self.body = QVBoxLayout(middle)
        self.body.setContentsMargins(Space.PAGE, Space.WIDE, Space.PAGE, Space.WIDE)
        self.body.setSpacing(Space.LARGE)
        self.body.addLayout(self.head)
        if subtitle:
            words = label("muted", wrap=True)
            self.texts.set(words.setText, subtitle)
            self.body.addWidget(words)
        scrolled = QWidget()
        scrolled.setObjectName("scrolled")
        outer = QHBoxLayout(scrolled)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addStretch(1)
        outer.addWidget(middle, 100)
        outer.addStretch(1)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setWidget(scrolled)
        self.whole = QVBoxLayout(self)
        self.whole.setContentsMargins(0, 0, 0, 0)
        self.whole.setSpacing(0)
        self.whole.addWidget(self.area, 1)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.texts.refresh()


def card(title: str, texts: Texts) -> tuple[QFrame, QVBoxLayout]:
    """A card with a heading, and the layout for what is in it."""
    result = frame("card")
    inner = column(result, Space.LARGE, Space.MEDIUM)
    heading = label("heading")
    texts.set(heading.setText, title)
    inner.addWidget(heading)
    return result, inner
