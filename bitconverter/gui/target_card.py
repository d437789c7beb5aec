"""Size, output folder, disk and time: everything to decide before a conversion starts."""

import os
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from bitconverter.gui.choose import choose_folder
from bitconverter.gui.messages import format_duration, format_size, tr
from bitconverter.gui.size_choice import SizeChoice, quality_text, speed_text
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, IconLabel, Texts, column, frame, label, row
from bitconverter.jobs.plan import PlanChoice
from bitconverter.jobs.preflight import PreflightReport


class TargetCard(QWidget):
    """Emits `choice_changed` and `out_changed` when the user decides something."""

    choice_changed = Signal()
    out_changed = Signal(str)

    def __init__(self, preset: str) -> None:
        super().__init__()
        self._texts = Texts()
        self._report: PreflightReport | None = None
        self.sizes = SizeChoice(preset)
        self.sizes.changed.connect(self.choice_changed)
        title, out_title = label("heading"), label("heading")
        self._texts.set(title.setText, "size-title")
        self._texts.set(out_title.setText, "out-title")
        self.out = ElidedLabel()
        self._disk, self._plan_line = label("small", wrap=True), label("small", wrap=True)
        self._plan: tuple[PlanChoice, str] | None = None
        self.out_button = Button("")
        self._texts.set(self.out_button.setText, "change")
        self._texts.set(self.out_button.setAccessibleName, "change-out")
        self.out_button.clicked.connect(self.ask_out)
        box = frame("card")
        inner = column(box, 18, 4)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.out)
        words.addWidget(self._disk)
        words.addWidget(self._plan_line)
        line = row(14)
        line.addWidget(IconLabel("disk", "accent", 24))
        line.addLayout(words, 1)
        line.addWidget(self.out_button)
        inner.addLayout(line)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(title)
        layout.addWidget(self.sizes)
        layout.addSpacing(Space.SMALL)
        layout.addWidget(out_title)
        layout.addWidget(box)

    def show_out(self, out: str) -> None:
        """The folder that will be made."""
        self.out.set_text(out)

    def show_report(self, report: PreflightReport | None) -> None:
        """What the disk says; None while unknown."""
        self._report = report
        if report is None:
            self._disk.setText(" ")
        elif report.free_bytes is None:
            self._disk.setText(tr("disk-needed", needed=format_size(report.needed_bytes)))
        else:
            needed, free = format_size(report.needed_bytes), format_size(report.free_bytes)
            self._disk.setText(tr("disk-line", needed=needed, free=free))

    def show_plan(self, plan: tuple[PlanChoice, str] | None) -> None:
        """What is expected of the chosen size with a method: quality and speed of the result, time and memory of the
        conversion, memory of a chat."""
        self._plan = plan
        if plan is None or plan[0].problem:
            self._plan_line.hide()
            return
        choice, method = plan
        cost = choice.cost(method)
        took = tr(
            "plan-line",
            time=format_duration(cost.seconds),
            work=format_size(cost.peak_bytes),
            memory=format_size(choice.chat_bytes),
        )
        lines = [took]
        if not choice.preset:  # the cards say it of the others
            lines.insert(0, f"{quality_text(choice, method)}  ·  {speed_text(choice)}")
        self._plan_line.setText("\n".join(lines))
        self._plan_line.show()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.sizes.retranslate()
        self.show_report(self._report)
        self.show_plan(self._plan)

    def ask_out(self) -> None:
        """Pick the folder that shall hold the new one."""
        out = Path(self.out.whole_text())
        parent = choose_folder(self, tr("choose-out-title"), str(out.parent))
        if parent:
            self.out_changed.emit(str(Path(parent) / out.name))


def default_out(source: str, word: str, folder: str = "") -> str:
    """NAME-ternary-WORD in `folder` ("": beside the source), numbered if that is taken."""
    path = Path(source)
    name = path.stem if path.suffix.lower() == ".gguf" else path.name
    return free_out(str((Path(folder) if folder else path.parent) / f"{name}-ternary-{word}"))


def free_out(out: str) -> str:
    """`out`, or with a number behind it when that is taken; an unfinished conversion does not take it."""
    result, number = out, 2
    while os.path.exists(result):
        result, number = f"{out}-{number}", number + 1
    return result
