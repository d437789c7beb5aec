"""A finished training: better or not, in a number and in words, and what to do with the soul."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QLineEdit, QVBoxLayout, QWidget

from bitconverter.gui.answer_box import answer_box
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.messages import ErrorText, format_duration, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, IconLabel, Texts, column, label, row
from bitconverter.jobs.compare_answers import Compared
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_state import ASIDE

if TYPE_CHECKING:
    from bitconverter.gui.loss_plot import LossPlot

LITTLE, MUCH = 0.03, 0.15  # share of the loss that went away


@dataclass(frozen=True)
class Taught:
    """What a training gave: losses on what was held back, its steps and the best one; `lesson`: its pack.
    `forgetting`: None if it was not looked at. `set_aside`: it has forgotten too much to be a soul like any other.
    `made`: files that the window made for this training alone. `jumped`: the loss did, and the rate was halved."""

    soul: str
    model: str
    before: float
    after: float
    best_step: int
    steps: int
    seconds: float
    lesson: str = ""
    forgetting: Forgetting | None = None
    set_aside: bool = False
    made: tuple[str, ...] = ()
    jumped: bool = False

    @property
    def name(self) -> str:
        """The soul's, as people know it."""
        return Path(self.soul.removesuffix(ASIDE)).stem


def verdict(taught: Taught) -> str:
    """ "forgot": too much of everything else. "none", "little", "some" or "much": how much better it predicts what it
    never saw."""
    if taught.set_aside:
        return "forgot"
    if taught.best_step == 0 or taught.after >= taught.before:
        return "none"
    share = 1 - taught.after / taught.before
    return "little" if share < LITTLE else "some" if share < MUCH else "much"


class TaughtView(QFrame):
    """Emits `use` (chat with it), `compare` (answers before and after), `undo` (away with it), `adopt` (keep what was
    set aside), `renamed` with a new name, `again` (teach something else)."""

    use = Signal()
    undo = Signal()
    renamed = Signal(str)
    again = Signal()
    compare = Signal()
    adopt = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.taught: Taught | None = None
        inner = column(self, spacing=Space.MEDIUM)
        self.title, self.words = label("heading", wrap=True), label("muted", wrap=True)
        self._icon = IconLabel("check", "ok", 22)
        head = row(Space.SMALL)
        head.addWidget(self._icon)
        head.addWidget(self.title, 1)
        found, self.numbers = WrappedRow(Space.WIDE), []
        for key in ("taught-before", "taught-after", "taught-best", "taught-time"):
            name, number, pair = label("small"), label("number", selectable=True), QWidget()
            self._texts.set(name.setText, key)
            lines = column(pair, 0, 1)
            lines.addWidget(number)
            lines.addWidget(name)
            found.add(pair)
            self.numbers.append(number)
        name_label = label("small")
        self._texts.set(name_label.setText, "taught-name")
        self.name = QLineEdit()
        self.name.setMaxLength(80)
        self.name.editingFinished.connect(self._rename)
        self._texts.set(self.name.setAccessibleName, "taught-name")
        self._where = ElidedLabel("small")
        naming = row(Space.SMALL)
        naming.addWidget(name_label)
        naming.addWidget(self.name, 1)
        self.use_button, self.undo_button = Button("primary", "chat"), Button("", "undo")
        self.adopt_button = Button("", "check")
        self.compare_button = Button("", "help")
        self.folder_button, self.again_button = Button("", "folder"), Button("quiet", "plus")
        buttons = WrappedRow(Space.SMALL)
        for button, key, action in (
            (self.use_button, "taught-use", self.use.emit),
            (self.compare_button, "taught-compare", self.compare.emit),
            (self.undo_button, "taught-undo", self.undo.emit),
            (self.adopt_button, "taught-adopt", self.adopt.emit),
            (self.folder_button, "open-folder", self._open_folder),
            (self.again_button, "taught-again", self.again.emit),
        ):
            self._texts.set(button.setText, key)
            button.clicked.connect(lambda _=False, action=action: action())
            buttons.add(button)
        self.notice, self.general = Notice(), label("small", wrap=True, selectable=True)
        self._curves = QVBoxLayout()
        self.plot: LossPlot | None = None
        inner.addLayout(head)
        inner.addWidget(found)
        inner.addWidget(self.words)
        inner.addWidget(self.general)
        inner.addLayout(self._curves)
        inner.addLayout(naming)
        inner.addWidget(self._where)
        inner.addWidget(self.notice)
        inner.addWidget(buttons)
        self._answer_boxes = QVBoxLayout()
        self._answer_boxes.setSpacing(Space.SMALL)
        self.compared: tuple[Compared, ...] = ()
        self.boxes: list[QFrame] = []
        inner.addLayout(self._answer_boxes)
        self.hide()

    def show_curves(self, losses: list[tuple[int, float]], checks: list[tuple[int, float]]) -> None:
        """The curves of the whole training: (step, nats per token)."""
        if self.plot is None:
            from bitconverter.gui.loss_plot import LossPlot  # takes half a second to load, and is by now

            self.plot = LossPlot()
            self._curves.addWidget(self.plot)
        self.plot.show_points(losses, checks)

    def show_taught(self, taught: Taught | None) -> None:
        """What came out; None hides it."""
        if taught is None or self.taught is None or taught.lesson != self.taught.lesson:
            self.compared = ()
        self.taught = taught
        self.notice.clear()
        self.setVisible(taught is not None)
        self.retranslate()

    def show_answers(self, compared: tuple[Compared, ...]) -> None:
        """The same questions, answered before and after."""
        self.compared = compared
        self._show_answers()

    def _show_answers(self) -> None:
        for box in self.boxes:
            box.hide()
            box.deleteLater()
        self.boxes = [_answer_box(answer) for answer in self.compared]
        for box in self.boxes:
            self._answer_boxes.addWidget(box)
        self.compare_button.setVisible(not self.compared)

    def show_busy(self, busy: str) -> None:
        """While something is being done with the soul: "compare" or "adopt"; "" when it is done."""
        for button in (
            self.use_button, self.compare_button, self.undo_button, self.adopt_button, self.again_button
        ):  # fmt: skip
            button.setEnabled(not busy)
        self.name.setEnabled(not busy and self.taught is not None and not self.taught.set_aside)
        self._texts.set(
            self.compare_button.setText, "taught-comparing" if busy == "compare" else "taught-compare"
        )

    def show_error(self, error: ErrorText) -> None:
        """What was asked for could not be done."""
        self.notice.show_error(error)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        if self.plot is not None:
            self.plot.retranslate()
        self._show_answers()
        taught = self.taught
        if taught is None:
            return
        found = verdict(taught)
        bad = found in ("none", "forgot")
        self._icon.show_icon(*(("warning", "warning") if bad else ("check", "ok")))
        self.use_button.setVisible(not taught.set_aside)
        self.adopt_button.setVisible(taught.set_aside)
        self.name.setEnabled(not taught.set_aside)
        self._show_forgetting(taught.forgetting)
        self.title.setText(tr(f"taught-{found}"))
        share = (
            f"{max(0.0, 1 - taught.after / taught.before):.0%}".replace("%", " %") if taught.before else "0 %"
        )
        words = "jumped" if found == "none" and taught.jumped else found
        self.words.setText(tr(f"taught-{words}-text", share=share))
        texts = (
            f"{taught.before:.3f}", f"{taught.after:.3f}", f"{taught.best_step} / {taught.steps}",
            format_duration(taught.seconds),
        )  # fmt: skip
        for number, text in zip(self.numbers, texts, strict=True):
            number.setText(text)
        if not self.name.hasFocus():
            self.name.setText(taught.name)
        self._where.set_text(taught.soul)

    def _show_forgetting(self, found: Forgetting | None) -> None:
        self.general.setVisible(found is not None)
        if found is not None:
            numbers = {"before": f"{found.before:.3f}", "after": f"{found.after:.3f}"}
            self.general.setText(tr("taught-general", **numbers, limit=f"{found.limit:g}"))

    def _rename(self) -> None:
        if self.taught is not None and self.name.text().strip() not in ("", self.taught.name):
            self.renamed.emit(self.name.text().strip())

    def _open_folder(self) -> None:
        if self.taught is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(self.taught.soul).parent)))


def _answer_box(answer: Compared) -> QFrame:
    """A question, what the lesson says, and both answers."""
    sides = (
        ("answer-before", answer.before),
        ("answer-after", answer.after),
        ("answer-wanted", answer.wanted),
    )
    return answer_box("missing", answer.prompt, [(tr(key), said or "–") for key, said in sides])
