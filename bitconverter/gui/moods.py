"""Three ways to answer, in words; each stands for a set of sampling values."""

from collections.abc import Mapping

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from bitconverter.gui.messages import tr
from bitconverter.settings import SETTINGS

_KEYS = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
MOODS: dict[str, dict[str, float]] = {
    "precise": {"temperature": 0.2, "top_p": 0.9, "top_k": 20, "min_p": 0.1, "repeat_penalty": 1.05},
    "balanced": {setting.key: setting.default for setting in SETTINGS if setting.key in _KEYS},
    "free": {"temperature": 1.1, "top_p": 0.98, "top_k": 100, "min_p": 0.03, "repeat_penalty": 1.05},
}


def mood_of(values: Mapping[str, float]) -> str:
    """The mood that these sampling values are, "" for none."""
    for name, mood in MOODS.items():
        if all(abs(values[key] - mood[key]) < 1e-9 for key in _KEYS):
            return name
    return ""


class MoodButtons(QWidget):
    """Emits `chosen` with the name of a mood."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(0)
        self.buttons: dict[str, QPushButton] = {}
        for name in MOODS:
            button = QPushButton()
            button.setProperty("kind", "mood")
            button.setCheckable(True)
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(lambda _=False, name=name: self.chosen.emit(name))
            self.buttons[name] = button
            line.addWidget(button)
        self.retranslate()

    def show_mood(self, name: str) -> None:
        """The one that is set; "" when the values are the user's own."""
        for each, button in self.buttons.items():
            button.setChecked(each == name)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for name, button in self.buttons.items():
            button.setText(tr(f"mood-{name}"))
            button.setToolTip(tr(f"mood-{name}-tip"))
            button.setAccessibleName(f"{tr('mood')}: {tr(f'mood-{name}')}")
