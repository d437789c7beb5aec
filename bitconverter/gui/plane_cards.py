"""How many ternary planes: four cards in words, each with its estimated size."""

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from bitconverter.gui.messages import format_size, tr
from bitconverter.gui.widgets import label

PLANES = (1, 2, 3, 4)


class PlaneCard(QPushButton):
    """One choice. The labels inside do not take the mouse: the whole card is the button."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self._estimate: tuple[int, float] | None = None
        self.setProperty("kind", "card")
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)  # all equally high
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._title, self._planes = label("heading"), label("small")
        self._size, self._bits = label("number"), label("small")
        self._text = label("small", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 13, 13, 13)
        layout.setSpacing(2)
        for part in (self._title, self._planes, self._size, self._bits, self._text):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            layout.addWidget(part)
        layout.insertSpacing(2, 6)
        layout.insertSpacing(5, 4)
        layout.addStretch()
        self._text.setAlignment(Qt.AlignmentFlag.AlignTop)

    def set_estimate(self, estimate: tuple[int, float] | None) -> None:
        """(bytes of the finished model, bits per weight), or None while unknown."""
        self._estimate = estimate
        self.retranslate()

    def retranslate(self) -> None:
        self._title.setText(tr(f"planes-title-{self.planes}"))
        self._planes.setText(tr("planes-count", planes=self.planes))
        if self._estimate is None:
            self._size.setText("–")
            self._bits.setText(" ")
        else:
            self._size.setText(format_size(self._estimate[0]))
            self._bits.setText(tr("bits-per-weight", bits=f"{self._estimate[1]:.2f}"))
        self._text.setText(tr(f"planes-text-{self.planes}"))
        parts = (self._title, self._planes, self._size, self._bits, self._text)
        self.setAccessibleName(", ".join(part.text() for part in parts))

    def sizeHint(self) -> QSize:
        layout = self.layout()
        assert layout is not None
        return QSize(170, layout.heightForWidth(max(self.width(), 150)) + 4)

    def minimumSizeHint(self) -> QSize:
        return QSize(130, self.sizeHint().height())


class PlaneCards(QWidget):
    """Four cards, one chosen."""

    changed = Signal(int)

    def __init__(self, planes: int) -> None:
        super().__init__()
        self._group = QButtonGroup(self)
        self._cards = {count: PlaneCard(count) for count in PLANES}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        for count, card in self._cards.items():
            self._group.addButton(card, count)
            layout.addWidget(card, 1)
        self._cards[planes].setChecked(True)
        self._group.idClicked.connect(self.changed)
        self.retranslate()

    @property
    def value(self) -> int:
        """The chosen number of planes."""
        return self._group.checkedId()

    def choose(self, planes: int) -> None:
        """Choose without telling `changed`."""
        self._cards[planes].setChecked(True)

    def set_estimate(self, planes: int, estimate: tuple[int, float] | None) -> None:
        """Size in bytes and bits per weight of one choice."""
        self._cards[planes].set_estimate(estimate)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for card in self._cards.values():
            card.retranslate()
