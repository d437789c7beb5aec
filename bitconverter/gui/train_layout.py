"""How the train page looks: its parts and where they are. What they do is train_page.py's."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from bitconverter.gui.choice_cards import ChoiceCards
from bitconverter.gui.console import Console
from bitconverter.gui.material_card import MaterialCard
from bitconverter.gui.messages import tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.run_list import RunList
from bitconverter.gui.samples_view import LONGEST, SamplesView
from bitconverter.gui.sections import above_footer, scrolled_column
from bitconverter.gui.taught_view import TaughtView
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import (
    Button,
    ElidedLabel,
    IconLabel,
    Texts,
    column,
    frame,
    label,
    row,
)
from bitconverter.jobs.train_settings import CLIPS, MOST_SAMPLES, RATES, TrainSettings
from bitconverter.settings import Settings

if TYPE_CHECKING:
    from bitconverter.gui.train_card import TrainCard

AIMS = {"style": "aim-style", "answers": "aim-answers", "sort": "aim-sort", "facts": "aim-facts"}
STRENGTHS = {"short": "strength-short", "night": "strength-night", "custom": "strength-custom"}
MOST_LAYERS = 1000  # before it is known how many the model has


class TrainLayout(QWidget):
    """The parts of the page: the form, and over it the training that runs or has ended."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # nothing is highlighted before Tab is pressed
        self._settings = settings
        self._texts = Texts()
        self._card: TrainCard | None = None
        self._build()

    @property
    def card(self) -> "TrainCard":
        """The training at work; made when there is one: the library of its curves takes half a second to load."""
        if self._card is None:
            from bitconverter.gui.train_card import TrainCard

            self._card = TrainCard()
            self._at_work.addWidget(self._card)
            self._connect_card(self._card)
        return self._card

    def _connect_card(self, card: "TrainCard") -> None:
        """The page listens to it."""

    def _build(self) -> None:
        title, subtitle = label("title", wrap=True), label("muted", wrap=True)
        self._texts.set(title.setText, "train-title")
        self._texts.set(subtitle.setText, "train-subtitle")
        self.taught, self.console, self.problem = TaughtView(), Console(), Notice()
        self._at_work, self.samples, self.run_list = QVBoxLayout(), SamplesView(), RunList()
        self.material = MaterialCard(self._settings)
        self.form = QWidget()
        form = column(self.form, 0, Space.LARGE)
        for part in (self._build_model(), self.material, self._build_aim(), self._build_strength()):
            form.addWidget(part)
        self.area, layout = scrolled_column(28)
        layout.addWidget(title)
        layout.addWidget(subtitle)
        layout.addWidget(self.problem)
        layout.addLayout(self._at_work)
        for part in (self.taught, self.samples, self.form, self.console, self.run_list):
            layout.addWidget(part)
        layout.addStretch()
        self.summary = ElidedLabel("muted")  # what is about to happen
        self.train_button = Button("primary", "train")
        self._texts.set(self.train_button.setText, "train-start")
        self.footer = above_footer(self, self.area, self.summary, self.train_button)

    def _build_model(self) -> QFrame:
        """Which model learns."""
        result = frame("card")
        inner = column(result, 18, Space.SMALL)
        name = label("heading", wrap=True)
        self._texts.set(name.setText, "train-model")
        self.models = QComboBox()
        self.models.setMinimumWidth(100)
        self.models.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._texts.set(self.models.setAccessibleName, "train-model")
        self.model_button = Button("", "folder")
        self._texts.set(self.model_button.setText, "train-other-model")
        self.no_model = label("muted", wrap=True)
        self._texts.set(self.no_model.setText, "train-no-model")
        self.convert_button = Button("primary", "convert")
        self._texts.set(self.convert_button.setText, "train-convert-first")
        head, line = row(Space.SMALL), row(Space.MEDIUM)
        head.addWidget(IconLabel("chip", "accent", 24))
        head.addWidget(name)
        head.addWidget(self.models, 1)
        head.addWidget(self.model_button)
        line.addWidget(self.no_model, 1)
        line.addWidget(self.convert_button)
        inner.addLayout(head)
        inner.addLayout(line)
        return result

    def _build_aim(self) -> QWidget:
        self.aim_part = QWidget()
        inner = column(self.aim_part, 0, Space.SMALL)
        title = label("heading")
        self._texts.set(title.setText, "aim-title")
        self.aims = ChoiceCards(AIMS)
        self.advice = label("muted", wrap=True)
        inner.addWidget(title)
        inner.addWidget(self.aims)
        inner.addWidget(self.advice)
        return self.aim_part

    def _build_strength(self) -> QWidget:
        self.strength_part = QWidget()
        inner = column(self.strength_part, 0, Space.SMALL)
        title = label("heading")
        self._texts.set(title.setText, "strength-title")
        self.strengths = ChoiceCards(STRENGTHS)
        self.honest, self.memory = label("muted", wrap=True), label("muted", wrap=True)
        inner.addWidget(title)
        inner.addWidget(self.strengths)
        inner.addWidget(self._build_custom())
        inner.addWidget(self._build_samples())
        inner.addWidget(self.honest)
        inner.addWidget(self.memory)
        return self.strength_part

    def _build_custom(self) -> QFrame:
        """The expert's numbers."""
        self.custom = frame("card")
        grid = QGridLayout(self.custom)
        grid.setContentsMargins(18, 12, 18, 14)
        grid.setHorizontalSpacing(Space.WIDE)
        grid.setVerticalSpacing(Space.TINY)
        self.steps, self.layers, self.rate = QSpinBox(), QSpinBox(), QDoubleSpinBox()
        self.steps.setRange(1, 1_000_000)
        self.steps.setValue(100)
        self.layers.setRange(1, MOST_LAYERS)
        self.layers.setValue(TrainSettings.layers)
        self.rate.setDecimals(5)
        self.rate.setRange(0.00001, 1.0)
        self.rate.setSingleStep(0.001)
        self.rate.setValue(RATES["exact", "gain"])
        for spin in (self.steps, self.layers, self.rate):
            spin.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.engine = QComboBox()
        self.engine.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for engine in CLIPS:
            self.engine.addItem("", engine)
        self.about_mezo = label("small", wrap=True)
        self._texts.set(self.about_mezo.setText, "custom-mezo")
        fields = (
            (self.steps, "custom-steps", 0, 0), (self.layers, "custom-layers", 0, 1),
            (self.rate, "custom-rate", 0, 2), (self.engine, "custom-engine", 2, 0),
        )  # fmt: skip
        for field, key, line, place in fields:
            name = label("small")
            self._texts.set(name.setText, key)
            self._texts.set(field.setToolTip, f"{key}-tip")
            self._texts.set(field.setAccessibleName, key)
            grid.addWidget(name, line, place)
            grid.addWidget(field, line + 1, place)
            grid.setColumnStretch(place, 1)
        grid.addWidget(self.about_mezo, 2, 1, 2, 2)
        self._name_engines()
        return self.custom

    def _name_engines(self) -> None:
        for place in range(self.engine.count()):
            self.engine.setItemText(place, tr(f"engine-{self.engine.itemData(place)}"))

    def _build_samples(self) -> QFrame:
        """Questions to be answered along the way."""
        result = frame("card")
        inner = column(result, 18, Space.SMALL)
        title, words = label("strong", wrap=True), label("small", wrap=True)
        self._texts.set(title.setText, "samples-title")
        self._texts.set(words.setText, "samples-text")
        inner.addWidget(title)
        inner.addWidget(words)
        self.questions = [QLineEdit() for _ in range(MOST_SAMPLES)]
        for number, field in enumerate(self.questions, 1):
            field.setMaxLength(LONGEST)
            self._texts.set(field.setAccessibleName, "samples-number", number=number)
            self._texts.set(field.setPlaceholderText, "samples-number", number=number)
            inner.addWidget(field)
        return result

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self._name_engines()
        for part in (self.material, self.aims, self.strengths, self.taught, self.samples, self.console):
            part.retranslate()
        self.run_list.retranslate()
        if self._card is not None:
            self._card.retranslate()
