"""A row of cards of which one is chosen: a title and a few words each."""

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from bitconverter.gui.flow import wrapped_height
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label


class ChoiceCard(QPushButton):
    """The labels inside do not take the mouse: the whole card is the button. Its messages are KEY and KEY-text."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self.setProperty("kind", "card")
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.title, self.words, self.fact = (
            label("heading", wrap=True),
            label("small", wrap=True),
            label("strong"),
        )
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.fact.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 13, 13, 13)
        layout.setSpacing(Space.TINY)
        for part in (self.title, self.words, self.fact):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        layout.addWidget(self.title)
        layout.addWidget(self.words, 1)
        layout.addWidget(self.fact)
        self.fact.hide()
        self.retranslate()

    def show_fact(self, text: str) -> None:
        """A number or a word about this choice, "" for none."""
        self.fact.setText(text)
        self.fact.setVisible(bool(text))
        self.retranslate()

    def retranslate(self) -> None:
        """Say title and words again in the language of now."""
        self.title.setText(tr(self._key))
        self.words.setText(tr(f"{self._key}-text"))
        parts = (self.title, self.words, self.fact)
        self.setAccessibleName(", ".join(part.text() for part in parts if part.text()))
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        return QSize(180, wrapped_height(self, 150))

    def minimumSizeHint(self) -> QSize:
        return QSize(130, self.sizeHint().height())


class ChoiceCards(QWidget):
    """`keys`: name of each card and its message. Emits `changed` when the user chooses; choose() does not."""

    changed = Signal(str)

    def __init__(self, keys: Mapping[str, str]) -> None:
        super().__init__()
        self.cards = {name: ChoiceCard(key) for name, key in keys.items()}
        self._group = QButtonGroup(self)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(Space.MEDIUM)
        for name, card in self.cards.items():
            self._group.addButton(card)
            line.addWidget(card, 1)
            card.clicked.connect(lambda _=False, name=name: self.changed.emit(name))
        self.choose(next(iter(keys)))

    @property
    def choice(self) -> str:
        """The name of the chosen card."""
        return next(name for name, card in self.cards.items() if card.isChecked())

    def choose(self, name: str) -> None:
        """Choose a card without telling."""
        self.cards[name].setChecked(True)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for card in self.cards.values():
            card.retranslate()
