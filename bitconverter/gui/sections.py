"""A scrolled page of one readable width: a title, a sentence, and cards below each other."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.page import Page, Shell
from bitconverter.gui.tokens import PAGE_WIDTH, Space
from bitconverter.gui.widgets import Texts, column, frame, keep_in_line, label, row


class ScrolledPage(Page):
    """`body` takes the parts of the page; `head` is the line of the title, for buttons at its right."""

    def __init__(self, shell: Shell, title: str, subtitle: str = "") -> None:
        super().__init__(shell)
        self.texts = Texts()
        self.title = label("title", wrap=True)
        self.texts.set(self.title.setText, title)
        self.head = row(Space.SMALL)
        self.head.addWidget(self.title, 1)
        self.area, self.body = scrolled_column()
        self.body.addLayout(self.head)
        if subtitle:
            words = label("muted", wrap=True)
            self.texts.set(words.setText, subtitle)
            self.body.addWidget(words)
        self.whole = QVBoxLayout(self)
        self.whole.setContentsMargins(0, 0, 0, 0)
        self.whole.setSpacing(0)
        self.whole.addWidget(self.area, 1)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.texts.refresh()


def centred(place: QWidget, inner: QWidget) -> QHBoxLayout:
    """Lay `inner` into `place`, of a readable width and in the middle."""
    inner.setMaximumWidth(PAGE_WIDTH)
    outer = QHBoxLayout(place)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addStretch(1)
    outer.addWidget(inner, 100)
    outer.addStretch(1)
    return outer


def scrolled_column(above: int = Space.WIDE) -> tuple[QScrollArea, QVBoxLayout]:
    """What scrolls, and the layout for the parts of a page below each other in it, with this much room above and below
    them."""
    middle, scrolled = QWidget(), QWidget()
    scrolled.setObjectName("scrolled")
    body = QVBoxLayout(middle)
    body.setContentsMargins(Space.PAGE, above, Space.PAGE, above)
    body.setSpacing(Space.LARGE)
    centred(scrolled, middle)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidget(scrolled)
    return area, body


def above_footer(page: QWidget, area: QScrollArea, *shown: QWidget) -> QFrame:
    """Lay `area` into `page`, and below it a line that is always in sight, of what is `shown`: the first takes the
    room. The line."""
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.setSpacing(0)
    outer.addWidget(area, 1)
    footer, inner = QFrame(), QWidget()
    footer.setObjectName("footer")
    line = QHBoxLayout(inner)
    line.setContentsMargins(Space.PAGE, Space.MEDIUM, Space.PAGE, Space.MEDIUM)
    for position, widget in enumerate(shown):
        line.addWidget(widget, 0 if position else 1)
    keep_in_line(area, centred(footer, inner))
    outer.addWidget(footer)
    return footer


def card(title: str, texts: Texts) -> tuple[QFrame, QVBoxLayout]:
    """A card with a heading, and the layout for what is in it."""
    result = frame("card")
    inner = column(result, Space.LARGE, Space.MEDIUM)
    heading = label("heading")
    texts.set(heading.setText, title)
    inner.addWidget(heading)
    return result, inner
