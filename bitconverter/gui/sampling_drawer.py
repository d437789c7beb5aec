"""The settings of the chat beside it: the system prompt and how the next word is drawn."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QDoubleSpinBox,
    QFrame,
    QPlainTextEdit,
    QScrollArea,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from bitconverter.gui import theme
from bitconverter.gui.moods import MOODS, mood_of
from bitconverter.gui.prompt_presets import PresetButton
from bitconverter.gui.template_choice import TemplateChoice
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, Texts, column, frame, label, row
from bitconverter.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from bitconverter.jobs.chat import Sampling


@dataclass(frozen=True)
class _Range:
    """A number that can be dragged: `steps` of the slider per unit, `digits` shown."""

    key: str
    least: float
    most: float
    steps: int
    digits: int


_RANGES = (
    _Range("temperature", 0.0, 2.0, 20, 2),
    _Range("top_p", 0.05, 1.0, 100, 2),
    _Range("top_k", 0, 200, 1, 0),
    _Range("min_p", 0.0, 0.5, 100, 2),
    _Range("repeat_penalty", 0.5, 2.0, 100, 2),
    _Range("max_tokens", 16, 8192, 1, 0),
)
_DEFAULTS = {setting.key: setting.default for setting in SETTINGS}
LARGEST_SEED = 2**31 - 1
WIDTH = 300  # logical pixels at a text size of 100 %


class _Number(QWidget):
    """A name, a field and a slider that move together."""

    changed = Signal()

    def __init__(self, span: _Range, value: float) -> None:
        super().__init__()
        self.span = span
        self.name = label()
        self.field = QDoubleSpinBox()
        self.field.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.field.setDecimals(span.digits)
        self.field.setRange(span.least, span.most)
        self.field.setSingleStep(1 / span.steps)
        self.field.setKeyboardTracking(False)
        self.field.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(span.least * span.steps), round(span.most * span.steps))
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the field is what the keyboard uses
        self.field.valueChanged.connect(self._field_moved)
        self.slider.valueChanged.connect(self._slider_moved)
        head = row()
        head.addWidget(self.name, 1)
        head.addWidget(self.field)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addLayout(head)
        layout.addWidget(self.slider)
        self.field.setValue(value)
        self._field_moved(self.field.value())

    def fit(self) -> None:
        """The field is as wide as its numbers in the text size of now."""
        self.field.setFixedWidth(round(78 * theme.scale()))

    def value(self) -> float:
        return float(self.field.value())

    def _field_moved(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round(value * self.span.steps))
        self.slider.blockSignals(False)
        self.changed.emit()

    def _slider_moved(self, value: int) -> None:
        self.field.setValue(value / self.span.steps)


class SamplingDrawer(QFrame):
    """Keeps the settings up to date as they are changed; `to_save` when it is time to write them, `preview`
    to see what is sent, `drop_oldest` when that choice for a full context is made or taken back."""

    changed = Signal()
    to_save = Signal()
    preview = Signal()
    drop_oldest = Signal(bool)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("drawer")
        self._settings = settings
        self._texts = Texts()
        self._save = QTimer(self)
        self._save.setSingleShot(True)
        self._save.setInterval(800)
        self._save.timeout.connect(self.to_save)
        scrolled = QWidget()
        scrolled.setObjectName("scrolled")
        self._inner = inner = column(scrolled, spacing=9)
        self._add_prompt(inner)
        inner.addWidget(frame("line"))
        self._add_numbers(inner)
        self._add_seed(inner)
        self._add_full(inner)
        self.reset_button = Button("quiet", "again")
        self._texts.set(self.reset_button.setText, "reset-sampling")
        self.reset_button.clicked.connect(self.reset)
        inner.addWidget(self.reset_button, 0, Qt.AlignmentFlag.AlignLeft)
        inner.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(scrolled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.fit_to(round(WIDTH * theme.scale()))

    def _add_prompt(self, inner: QVBoxLayout) -> None:
        title = label("heading")
        self._texts.set(title.setText, "system-prompt")
        self.prompt = QPlainTextEdit(self._settings["system_prompt"])
        self.prompt.setTabChangesFocus(True)
        self._texts.set(self.prompt.setPlaceholderText, "system-prompt-hint")
        self._texts.set(self.prompt.setAccessibleName, "system-prompt")
        self.prompt.textChanged.connect(self._store)
        self.presets, self.preview_button = PresetButton(), Button("quiet")
        self._texts.set(self.presets.setText, "presets")
        self._texts.set(self.preview_button.setText, "preview-button")
        self._texts.set(self.preview_button.setToolTip, "preview-tip")
        self.presets.chosen.connect(self.prompt.setPlainText)
        self.presets.set_text(self.prompt.toPlainText())
        self.preview_button.clicked.connect(self.preview)
        self._prompt_head = head = row(0)
        head.addWidget(title, 1)
        head.addWidget(self.presets)
        inner.addLayout(head)
        inner.addWidget(self.prompt)
        self.template = TemplateChoice(self._settings)
        inner.addWidget(self.template)
        inner.addWidget(self.preview_button, 0, Qt.AlignmentFlag.AlignLeft)

    def _add_numbers(self, inner: QVBoxLayout) -> None:
        title = label("heading")
        self._texts.set(title.setText, "sampling")
        inner.addWidget(title)
        self.numbers: dict[str, _Number] = {}
        for span in _RANGES:
            number = _Number(span, float(self._settings[span.key]))
            self._texts.set(number.name.setText, f"sampling-{span.key}")
            self._texts.set(number.field.setAccessibleName, f"sampling-{span.key}")
            self._texts.set(number.slider.setAccessibleName, f"sampling-{span.key}")
            self._texts.set(number.setToolTip, f"sampling-{span.key}-tip")
            number.changed.connect(self._store)
            self.numbers[span.key] = number
            inner.addWidget(number)

    def _add_seed(self, inner: QVBoxLayout) -> None:
        name = label()
        self.seed, self.seed_random = QSpinBox(), QCheckBox()
        self._texts.set(name.setText, "sampling-seed")
        self._texts.set(self.seed.setAccessibleName, "sampling-seed")
        self._texts.set(self.seed_random.setText, "seed-random")
        self._texts.set(self.seed_random.setToolTip, "seed-random-tip")
        self.seed.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.seed.setRange(0, LARGEST_SEED)
        self.seed.setKeyboardTracking(False)
        self.seed.setValue(min(max(self._settings["seed"], 0), LARGEST_SEED))
        self.seed_random.setChecked(self._settings["seed_random"])
        self.seed.setDisabled(self.seed_random.isChecked())
        self.seed.valueChanged.connect(self._store)
        self.seed_random.toggled.connect(self.seed.setDisabled)
        self.seed_random.toggled.connect(self._store)
        head = row()
        head.addWidget(name, 1)
        head.addWidget(self.seed)
        inner.addLayout(head)
        inner.addWidget(self.seed_random)

    def _add_full(self, inner: QVBoxLayout) -> None:
        self.drop_box = QCheckBox()
        self._texts.set(self.drop_box.setText, "drop-oldest")
        self._texts.set(self.drop_box.setToolTip, "drop-oldest-tip")
        self.drop_box.clicked.connect(self.drop_oldest)
        inner.addWidget(self.drop_box)

    def fit_to(self, width: int) -> None:
        """Be so wide; with large letters, names stand above their fields and buttons."""
        self.setFixedWidth(width)
        margin = Space.MEDIUM if theme.letters_are_large() else Space.CARD
        self._inner.setContentsMargins(margin, Space.CARD, margin, Space.CARD)
        for number in self.numbers.values():
            number.fit()
        self.seed.setFixedWidth(round(110 * theme.scale()))
        self.prompt.setFixedHeight(round(92 * theme.scale()))
        across, down = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self._prompt_head.setDirection(down if theme.letters_are_large() else across)

    def sampling(self) -> "Sampling":
        """What is set; a random seed is one that can be typed into the field to get the answer again."""
        from bitconverter.jobs.chat import Sampling

        value = {key: number.value() for key, number in self.numbers.items()}
        return Sampling(
            temperature=value["temperature"], top_p=value["top_p"], top_k=int(value["top_k"]),
            min_p=value["min_p"], repeat_penalty=value["repeat_penalty"],
            seed=secrets.randbelow(LARGEST_SEED) if self.seed_random.isChecked() else self.seed.value(),
            max_tokens=int(value["max_tokens"]),
        )  # fmt: skip

    def system_prompt(self) -> str:
        """The instruction before every chat; "" for none."""
        return self.prompt.toPlainText()

    def set_prompt(self, text: str) -> None:
        """Show another system prompt: that of the chat that is open now."""
        if text != self.system_prompt():
            self.prompt.setPlainText(text)

    def set_mood(self, name: str) -> None:
        """The values that the mood `name` stands for."""
        for key, value in MOODS[name].items():
            self.numbers[key].field.setValue(value)

    def mood(self) -> str:
        """The mood that is set, "" for the user's own values."""
        return mood_of({key: self.numbers[key].value() for key in MOODS["balanced"]})

    def reset(self) -> None:
        """Back to the values of a fresh installation. The system prompt stays."""
        for key, number in self.numbers.items():
            number.field.setValue(float(_DEFAULTS[key]))
        self.seed_random.setChecked(True)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.template.retranslate()

    def _store(self) -> None:
        if not hasattr(self, "drop_box"):
            return  # still being built
        for key, number in self.numbers.items():
            kind = type(_DEFAULTS[key])
            self._settings[key] = kind(number.value())
        self._settings["seed"] = self.seed.value()
        self._settings["seed_random"] = self.seed_random.isChecked()
        self._settings["system_prompt"] = self.system_prompt()
        self.presets.set_text(self.system_prompt())
        self._save.start()
        self.changed.emit()
