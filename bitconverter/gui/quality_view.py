"""The quality report of a conversion: perplexity, KL, and the same six questions answered by both models."""

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QVBoxLayout, QWidget

from bitconverter.gui.answer_box import answer_box
from bitconverter.gui.messages import tr, why_text
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import label

KL_GOOD, KL_FAIR = 0.05, 0.3  # nats per token: hardly to be told from the original, and clearly worse


class QualityView(QWidget):
    """Hidden without a report. Its form is docs/FORMAT.md, section 1.4."""

    def __init__(self) -> None:
        super().__init__()
        self._report: Mapping[str, Any] | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Space.MEDIUM)
        self.title, self.verdict = label("heading"), label("muted", wrap=True)
        self._numbers, self._answers = QGridLayout(), QVBoxLayout()
        self._numbers.setHorizontalSpacing(Space.WIDE)
        self._numbers.setVerticalSpacing(1)
        self._answers.setSpacing(Space.SMALL)
        self._answers_title = label("heading")
        layout.addWidget(self.title)
        layout.addLayout(self._numbers)
        layout.addWidget(self.verdict)
        self.below_numbers = QVBoxLayout()
        layout.addLayout(self.below_numbers)
        layout.addWidget(self._answers_title)
        layout.addLayout(self._answers)
        self.answers: list[QFrame] = []
        self.hide()

    def show_report(self, report: Mapping[str, Any] | None) -> None:
        """A report as the manifest has it, None for none."""
        self._report = report
        self.setVisible(report is not None)
        self._clear()
        if report is None:
            return
        self.title.setText(tr("quality-title"))
        skipped, numbers = report.get("skipped"), report.get("all")
        if skipped or not isinstance(numbers, Mapping):
            self.verdict.setText(tr("quality-skipped", why=why_text(str(skipped or "-"))))
            self._answers_title.hide()
            return
        self._show_numbers(numbers)
        self._answers_title.setText(tr("quality-answers"))
        answers = report.get("answers") or ()
        self._answers_title.setVisible(bool(answers))
        for answer in answers:
            box = _answer_box(answer)
            self.answers.append(box)
            self._answers.addWidget(box)

    def _clear(self) -> None:
        for box in self.answers:
            box.hide()
            box.deleteLater()
        self.answers = []
        while (taken := self._numbers.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()

    def _show_numbers(self, numbers: Mapping[str, Any]) -> None:
        perplexity, before = numbers.get("perplexity"), numbers.get("source_perplexity")
        kl, top1 = numbers.get("kl"), numbers.get("top1")
        change = f"{perplexity / before - 1:+.1%}".replace("%", " %") if perplexity and before else "-"
        shown = (
            (_number(before), "quality-before"), (f"{_number(perplexity)}  ({change})", "quality-after"),
            (_number(kl, 4), "quality-kl"), ("-" if top1 is None else f"{top1:.1%}".replace("%", " %"), "quality-top1"),
        )  # fmt: skip
        for position, (text, key) in enumerate(shown):
            number, name = label("number", selectable=True), label("small", wrap=True)
            number.setText(text)
            name.setText(tr(key))
            self._numbers.addWidget(number, 0, position)
            self._numbers.addWidget(name, 1, position, Qt.AlignmentFlag.AlignTop)
            self._numbers.setColumnStretch(position, 1)
        self.verdict.setText(tr(f"quality-{quality_level(kl)}"))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.show_report(self._report)


def _answer_box(answer: Mapping[str, Any]) -> QFrame:
    sides = (("kind-of-original", "source"), ("kind-of-converted", "converted"))
    said = [(tr(key), str(answer.get(side, "")).strip()) for key, side in sides]
    return answer_box("card", str(answer.get("prompt", "")), said)


def _number(value: Any, digits: int = 2) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.{digits}f}" if value < 10_000 else f"{value:.2e}"  # a model that has learned nothing


def quality_level(kl: Any) -> str:
    """A word for a KL divergence in nats per token: "good", "fair", "poor", or "unknown" for None."""
    if not isinstance(kl, int | float):
        return "unknown"
    return "good" if kl <= KL_GOOD else "fair" if kl <= KL_FAIR else "poor"
