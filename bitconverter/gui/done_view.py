"""A finished conversion in numbers, and what to do with it."""

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from bitconverter.gui.estimate import EstimateView, Figures
from bitconverter.gui.messages import format_duration, format_size
from bitconverter.gui.quality_view import QualityView
from bitconverter.gui.size_choice import MOST_BITS
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, IconLabel, Texts, label, row
from bitconverter.jobs.convert import ConvertJob, ConvertResult


class DoneView(QWidget):
    """`chat` has the folder, `larger` the source and the bits of now."""

    chat = Signal(str)
    larger = Signal(str, float)

    def __init__(self) -> None:
        super().__init__()
        self._texts = Texts()
        self.job: ConvertJob | None = None
        self.result: ConvertResult | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(14)
        title = label("heading")
        self._texts.set(title.setText, "done-title")
        head = row(Space.SMALL)
        head.addWidget(IconLabel("check", "ok", 22))
        head.addWidget(title, 1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(Space.WIDE)
        grid.setVerticalSpacing(1)
        self._numbers = []
        for position, key in enumerate(("result-before", "result-after", "result-bits", "result-time")):
            name, number = label("small"), label("number", selectable=True)
            self._texts.set(name.setText, key)
            grid.addWidget(number, 0, position)
            grid.addWidget(name, 1, position)
            grid.setColumnStretch(position, 1)
            self._numbers.append(number)
            self._time_name = name  # the last of them
        self._where = ElidedLabel("muted")
        self.chat_button, self.folder_button = Button("primary", "chat"), Button("", "folder")
        self.larger_button = Button("", "up")
        self._texts.set(self.chat_button.setText, "chat-with-it")
        self._texts.set(self.folder_button.setText, "open-folder")
        self._texts.set(self.larger_button.setText, "a-little-larger")
        self.chat_button.clicked.connect(self._chat)
        self.folder_button.clicked.connect(self._open_folder)
        self.larger_button.clicked.connect(self._larger)
        buttons = row(Space.SMALL)
        for button in (self.chat_button, self.folder_button, self.larger_button):
            buttons.addWidget(button)
        buttons.addStretch()
        layout.addLayout(head)
        layout.addLayout(grid)
        self.quality, self.estimate = QualityView(), EstimateView()
        layout.addWidget(self._where)
        layout.addLayout(buttons)
        self.quality.below_numbers.addWidget(self.estimate)
        layout.addWidget(self.quality)

    def show_result(
        self, job: ConvertJob, result: ConvertResult, before: Figures | None, after: Figures | None
    ) -> None:
        """The finished model in numbers; what was expected `before`, what was measured `after`."""
        self.job, self.result = job, result
        seconds = result.seconds if after is None else max(after.seconds, result.seconds)
        texts = (
            format_size(result.source_bytes), format_size(result.file_bytes),
            f"{result.bits_per_weight:.2f}", format_duration(seconds),
        )  # fmt: skip
        # what was done before the program was started is not in either
        whole = not result.resumed_tensors or seconds > result.seconds + 1
        time_key = "result-time" if whole else "result-time-resumed"
        self._texts.set(self._time_name.setText, time_key)
        for number, text in zip(self._numbers, texts, strict=True):
            number.setText(text)
        self._where.set_text(result.out)
        self.larger_button.setVisible(result.bits_per_weight + 0.5 < MOST_BITS)
        self.quality.show_report(result.report)
        self.estimate.show_figures(before, after)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        if self.job is not None and self.result is not None:
            self.show_result(self.job, self.result, self.estimate.before, self.estimate.after)
        self.estimate.retranslate()

    def _chat(self) -> None:
        if self.result is not None:
            self.chat.emit(self.result.out)

    def _larger(self) -> None:
        if self.job is not None and self.result is not None:
            self.larger.emit(self.job.source, self.result.bits_per_weight)

    def _open_folder(self) -> None:
        if self.result is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self.result.out))
