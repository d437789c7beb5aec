"""What can be done from the keyboard: one list for the shortcuts, their page and the command palette."""

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

from bitconverter.gui.messages import tr


@dataclass(frozen=True)
class Command:
    """`text`: the key of its message. `keys`: "" for a command without a shortcut."""

    text: str
    keys: str
    run: Callable[[], object]
    icon: str = "chevron-right"

    def title(self) -> str:
        """What it does, in the language of now."""
        return tr(self.text)


class Commands:
    """The commands of a window, in the order of its menus."""

    def __init__(self, window: QWidget) -> None:
        self._window = window
        self.all: list[Command] = []

    def add(self, text: str, keys: str, run: Callable[[], object], icon: str = "chevron-right") -> None:
        """Add one, and its shortcut. Raises ValueError for a shortcut that is taken."""
        if keys and any(command.keys == keys for command in self.all):
            raise ValueError(f"{keys} is taken")
        self.all.append(Command(text, keys, run, icon))
        if keys:
            QShortcut(QKeySequence(keys), self._window).activated.connect(run)
