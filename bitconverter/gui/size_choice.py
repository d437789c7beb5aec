"""How small: four cards in words, and a slider for any average in between."""

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from bitconverter.gui import theme
from bitconverter.gui.flow import FollowsContents, below_width, beside_or_below, wrapped_height
from bitconverter.gui.messages import format_duration, format_size, tr
from bitconverter.gui.quality_view import quality_level
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label, row, set_property
from bitconverter.jobs.hardware import fit
from bitconverter.jobs.plan import PlanChoice, PlanResult
from bitconverter.jobs.preflight import PreflightReport

PRESETS = ("tiny", "4gb", "8gb", "best")  # model/budget.py says what each means
CUSTOM = "custom"
LEAST_BITS, MOST_BITS = 2.0, 6.4  # of the slider: about one and a half planes, and four
LEAST_CARD = 140  # pixels at a text size of 100 %: with less, the words of a card are a column
STEPS = 20  # of the slider, to a bit
FIT_ROLES = {"good": "good", "tight": "careful", "no": "bad"}


@dataclass(frozen=True)
class Choice:
    """A preset, or CUSTOM with `bits` per weight."""

    preset: str
    bits: float = 0.0

    def fields(self) -> dict[str, Any]:
        """What a ConvertJob and a PreflightJob get."""
        return {"bits": self.bits} if self.preset == CUSTOM else {"preset": self.preset}

    def word(self) -> str:
        """The end of the new folder's name."""
        return f"{self.bits:.2f}bit" if self.preset == CUSTOM else self.preset


class SizeCard(QPushButton):
    """One preset. The labels inside do not take the mouse: the whole card is the button."""

    def __init__(self, preset: str) -> None:
        super().__init__()
        self.preset = preset
        self._report: PreflightReport | None = None
        self._plan: PlanChoice | None = None
        self._method = "full"
        self.setProperty("kind", "card")
        self.setCheckable(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.title, self.size_label, self.bits = label("heading"), label("number"), label("small")
        self.words, self.badge = label("small", wrap=True), label("good")
        self.expected = label("small", wrap=True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(15, 13, 13, 13)
        layout.setSpacing(3)
        for part in (self.title, self.size_label, self.bits, self.words, self.expected):
            part.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            layout.addWidget(part)
        layout.addStretch()
        self.badge.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        layout.addWidget(self.badge, 0, Qt.AlignmentFlag.AlignLeft)

    def show_report(self, report: PreflightReport | None) -> None:
        """What this size would give, None while unknown."""
        self._report = report
        self.retranslate()

    def show_plan(self, plan: PlanChoice | None, method: str) -> None:
        """What is expected of this size (jobs/plan.py), None while unknown."""
        self._plan, self._method = plan, method
        self.retranslate()

    def _expected_text(self) -> str:
        plan = self._plan
        if plan is None or plan.problem:
            return ""
        cost = plan.cost(self._method)
        return "\n".join(
            (
                quality_text(plan, self._method),
                speed_text(plan),
                tr("expected-time", time=format_duration(cost.seconds)),
            )
        )

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        report = self._report
        self.expected.setText(self._expected_text())
        self.expected.setVisible(bool(self.expected.text()))
        self.title.setText(tr(f"size-{self.preset}"))
        self.words.setText(tr(f"size-{self.preset}-text"))
        known = report is not None and report.out_bytes > 0
        self.badge.setVisible(known)
        if report is None or not known:
            self.size_label.setText("–")
            self.bits.setText(" ")
        else:
            self.size_label.setText(format_size(report.out_bytes))
            self.bits.setText(tr("bits-per-weight", bits=f"{report.bits_per_weight:.2f}"))
            found = fit(report.out_bytes)
            set_property(
                self.badge, "role", FIT_ROLES[found.level]
            )  # before the text: it changes the padding
            self.badge.setText(tr(f"fit-{found.level}"))
        parts = (self.title, self.size_label, self.bits, self.words, self.expected, self.badge)
        self.setAccessibleName(", ".join(part.text() for part in parts if part.text().strip()))
        self.updateGeometry()  # the texts may wrap into more lines than before

    def sizeHint(self) -> QSize:
        return QSize(170, wrapped_height(self, 150))

    def minimumSizeHint(self) -> QSize:
        """Its words can be wrapped, but not its numbers."""
        layout = self.layout()
        assert layout is not None
        least = max(layout.minimumSize().width(), round(LEAST_CARD * theme.scale()))
        return QSize(least, self.sizeHint().height())


def quality_text(plan: PlanChoice, method: str) -> str:
    """How close to the original it is expected to be."""
    kl = plan.cost(method).kl
    return tr(f"expected-{quality_level(kl)}", kl=f"{kl:.2f}")


def speed_text(plan: PlanChoice) -> str:
    """How fast answers are expected to come on this PC."""
    speed = plan.tokens_per_second
    return tr("expected-speed", speed=f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}")


class SizeChoice(FollowsContents, QWidget):
    """Emits `changed` when the user chooses; choose() does not."""

    changed = Signal()

    def __init__(self, preset: str) -> None:
        super().__init__()
        self.cards = {name: SizeCard(name) for name in PRESETS}
        self._grid = cards = QGridLayout()
        cards.setSpacing(Space.MEDIUM)
        self._columns = 0
        for name, card in self.cards.items():
            card.clicked.connect(lambda _=False, name=name: self._picked(Choice(name)))
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(LEAST_BITS * STEPS), round(MOST_BITS * STEPS))
        self.slider.setPageStep(STEPS // 2)
        self.slider.valueChanged.connect(lambda value: self._picked(Choice(CUSTOM, value / STEPS)))
        self._slider_name, self.slider_value = label("muted"), label("strong")
        self._shown: PreflightReport | None = None  # whose bits and size stand beside the slider
        self._line = line = row(Space.MEDIUM)
        line.addWidget(self._slider_name)
        line.addWidget(self.slider, 1)
        line.addWidget(self.slider_value)
        self._follow_room()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.MEDIUM)
        layout.addLayout(cards)
        layout.addLayout(line)
        self.choice = Choice(preset)
        self.choose(self.choice)

    def _follow_room(self) -> None:
        """All in a row, or two below two, or all below each other: none is narrower than its numbers. The words of the
        slider stand beside it where they leave it room."""
        beside_or_below(self._line, (self._slider_name, self.slider_value), self.width() - LEAST_CARD)
        columns = next((n for n in (len(PRESETS), 2) if self.width() >= self._width_of(n)), 1)
        if columns == self._columns:
            return
        self._columns = columns
        for number, card in enumerate(self.cards.values()):
            self._grid.addWidget(card, number // columns, number % columns)
        for column in range(len(PRESETS)):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)

    def _width_of(self, columns: int) -> int:
        widest = max(card.minimumSizeHint().width() for card in self.cards.values())
        return columns * widest + (columns - 1) * Space.MEDIUM

    def minimumSizeHint(self) -> QSize:
        """As narrow as one card, also while they are in a row."""
        least = max(self._width_of(1), below_width(self._line))
        return QSize(least, super().minimumSizeHint().height())

    def choose(self, choice: Choice, bits: float = 0.0) -> None:
        """Show `choice` without telling; `bits`: where the slider stands for a preset."""
        self.choice = choice
        for name, card in self.cards.items():
            card.setChecked(name == choice.preset)
        shown = choice.bits if choice.preset == CUSTOM else bits
        if shown:
            self.slider.blockSignals(True)
            self.slider.setValue(round(shown * STEPS))
            self.slider.blockSignals(False)
        self.retranslate()

    def _picked(self, choice: Choice) -> None:
        self.choose(choice)
        self.changed.emit()

    def show_report(self, choice: Choice, report: PreflightReport | None) -> None:
        """What `choice` would give."""
        if choice.preset in self.cards:
            self.cards[choice.preset].show_report(report)
        if choice == self.choice and report is not None and report.out_bytes:
            self._shown = report
            self.choose(choice, report.bits_per_weight)

    def show_plan(self, plan: PlanResult, method: str) -> None:
        """What is expected of each preset."""
        for choice in plan.choices:
            if choice.preset in self.cards:
                self.cards[choice.preset].show_plan(choice, method)

    def forget(self) -> None:
        """Nothing is known of the sizes: another model was chosen."""
        for card in self.cards.values():
            card.show_report(None)
            card.show_plan(None, "full")
        self._shown = None
        self.retranslate()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for card in self.cards.values():
            card.retranslate()
        self._slider_name.setText(tr("average-bits"))
        self.slider_value.setText(self._value_text())
        self.slider.setAccessibleName(tr("average-bits"))
        self.slider.setAccessibleDescription(self.slider_value.text())

    def _value_text(self) -> str:
        report = self._shown
        if report is None:
            return ""
        size = format_size(report.out_bytes)
        return tr("bits-and-size", bits=f"{report.bits_per_weight:.2f}", size=size)
