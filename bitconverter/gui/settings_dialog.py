"""The settings that are not beside what they change: language, appearance, the processor."""

import os

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QDialog, QGridLayout, QSpinBox, QVBoxLayout, QWidget

from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import Button, Texts, label, row
from bitconverter.settings import Settings

_CHOICES = {
    "language": (("auto", "language-auto"), ("en", "language-en"), ("ja", "language-ja")),
    "theme": (("auto", "theme-auto"), ("light", "theme-light"), ("dark", "theme-dark")),
    "kv_cache": (("f16", "kv-f16"), ("int8", "kv-int8"), ("int4", "kv-int4"), ("f32", "kv-f32")),
}
_NAMES = {"language": "language", "theme": "theme", "kv_cache": "kv-cache"}


class SettingsDialog(QDialog):
    """Changes apply at once: `changed` names the setting."""

    changed = Signal(str)

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._texts = Texts()
        self._texts.set(self.setWindowTitle, "settings")
        self.setMinimumWidth(480)
        grid = QGridLayout()
        grid.setHorizontalSpacing(24)
        grid.setVerticalSpacing(14)
        grid.setColumnStretch(1, 1)
        self.boxes: dict[str, QComboBox] = {}
        for key in ("language", "theme"):
            self._add_choice(grid, key)
        self._add_threads(grid)
        self._add_choice(grid, "kv_cache")
        later, place = label("small", wrap=True), label("small", wrap=True, selectable=True)
        self._texts.set(later.setText, "settings-later")
        self._texts.set(place.setText, "settings-place", path=str(settings.path))
        close = Button("primary")
        close.setDefault(True)
        self._texts.set(close.setText, "close")
        close.clicked.connect(self.accept)
        foot = row()
        foot.addStretch()
        foot.addWidget(close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(26, 24, 26, 20)
        layout.setSpacing(16)
        layout.addLayout(grid)
        layout.addWidget(later)
        layout.addWidget(place)
        layout.addStretch()
        layout.addLayout(foot)

    def _add_choice(self, grid: QGridLayout, key: str) -> None:
        name, box = label(), QComboBox()
        self._texts.set(name.setText, _NAMES[key])
        self._texts.set(box.setAccessibleName, _NAMES[key])
        for value, text in _CHOICES[key]:
            box.addItem(tr(text), value)
        box.setCurrentIndex(box.findData(self._settings[key]))
        box.currentIndexChanged.connect(lambda _index: self._store(key, box.currentData()))
        self.boxes[key] = box
        self._add_row(grid, name, box)

    def _add_threads(self, grid: QGridLayout) -> None:
        name = label()
        self.threads = QSpinBox()
        self.threads.setRange(0, os.cpu_count() or 1)
        self._texts.set(name.setText, "threads")
        self._texts.set(self.threads.setAccessibleName, "threads")
        self._texts.set(self.threads.setSpecialValueText, "threads-auto")
        self.threads.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.threads.setValue(self._settings["threads"])
        self.threads.valueChanged.connect(lambda value: self._store("threads", value))
        self._add_row(grid, name, self.threads)

    def _add_row(self, grid: QGridLayout, name: QWidget, field: QWidget) -> None:
        position = grid.rowCount()
        grid.addWidget(name, position, 0)
        grid.addWidget(field, position, 1)

    def _store(self, key: str, value: object) -> None:
        self._settings[key] = value
        self.changed.emit(key)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        for key, box in self.boxes.items():
            for index, (_value, text) in enumerate(_CHOICES[key]):
                box.setItemText(index, tr(text))
