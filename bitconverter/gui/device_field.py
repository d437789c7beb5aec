"""The choice of what chats run on: automatic, the processor, or a graphics card by its name."""

from collections.abc import Callable

from PySide6.QtWidgets import QComboBox

from bitconverter.gui.messages import format_size, tr
from bitconverter.jobs.device_word import AUTO, CPU, card_number
from bitconverter.jobs.hardware import Cards

LETTERS = 10  # a long choice is cut; its list is as wide as it needs


class DeviceField(QComboBox):
    """`store` gets the word (jobs/device_word.py) that was chosen."""

    def __init__(self, store: Callable[[str], None]) -> None:
        super().__init__()
        self._store, self._filling = store, False
        self._cards: Cards | None = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(LETTERS)
        self.currentIndexChanged.connect(self._chosen)

    def show_cards(self, cards: Cards) -> None:
        """The cards that there are: asked of the driver in a thread, so they come later than the field."""
        self._cards = cards
        self.show_word(str(self.currentData() or AUTO))

    def show_word(self, word: str) -> None:
        """Show what is set, in the language of now; a card that is not there now as such."""
        self._filling = True
        self.clear()
        for choice, text in self._choices(word):
            self.addItem(text, choice)
        number = card_number(word)
        self.setCurrentIndex(self.findData(word if number is None else f"cuda:{number}"))
        self._filling = False

    def words(self) -> list[str]:
        """Every choice as it is shown."""
        return [self.itemText(index) for index in range(self.count())]

    def _choices(self, word: str) -> list[tuple[str, str]]:
        found = [(AUTO, tr("set-device-auto")), (CPU, tr("set-device-cpu"))]
        cards = self._cards.cards if self._cards is not None else ()
        for number, card in enumerate(cards):
            text = tr("set-device-card", name=card.name, memory=format_size(card.total_bytes))
            found.append((f"cuda:{number}", text))
        asked = card_number(word)
        if asked is not None and asked >= len(cards):
            found.append((f"cuda:{asked}", tr("set-device-gone", number=asked)))
        return found

    def _chosen(self, index: int) -> None:
        if not self._filling and index >= 0:
            self._store(str(self.itemData(index)))
