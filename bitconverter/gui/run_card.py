"""A conversion at work: progress with the time left, then what came out of it, or why nothing did."""

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QGridLayout, QProgressBar, QVBoxLayout, QWidget

from bitconverter.gui.messages import ErrorText, format_duration, format_size, tr
from bitconverter.gui.notice import Notice
from bitconverter.gui.widgets import Button, ElidedLabel, IconLabel, Texts, column, label, row
from bitconverter.jobs.convert import ConvertResult
from bitconverter.jobs.job import Progress


class RunCard(QFrame):
    """Shows exactly one of: progress, result, error, stopped."""

    chat = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._texts = Texts()
        self.result: ConvertResult | None = None
        inner = column(self, 20, 12)
        self.notice = Notice()
        self._progress, self._done = self._build_progress(), self._build_done()
        for part in (self._progress, self._done, self.notice):
            inner.addWidget(part)
            part.hide()
        self.hide()

    def _build_progress(self) -> QWidget:
        result = QWidget()
        layout = QVBoxLayout(result)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(9)
        self._title, self._percent = label("heading"), label("heading")
        self._item, self._eta = ElidedLabel("muted"), label("muted")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self._texts.set(self.bar.setAccessibleName, "progress")
        head, foot = row(), row()
        head.addWidget(self._title, 1)
        head.addWidget(self._percent)
        foot.addWidget(self._item, 1)
        foot.addWidget(self._eta)
        layout.addLayout(head)
        layout.addWidget(self.bar)
        layout.addLayout(foot)
        return result

    def _build_done(self) -> QWidget:
        result = QWidget()
        layout = QVBoxLayout(result)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(14)
        title = label("heading")
        self._texts.set(title.setText, "done-title")
        head = row(8)
        head.addWidget(IconLabel("check", "ok", 22))
        head.addWidget(title, 1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(24)
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
        self._texts.set(self.chat_button.setText, "chat-with-it")
        self._texts.set(self.folder_button.setText, "open-folder")
        self.chat_button.clicked.connect(self._chat)
        self.folder_button.clicked.connect(self._open_folder)
        buttons = row()
        buttons.addWidget(self.chat_button)
        buttons.addWidget(self.folder_button)
        buttons.addStretch()
        layout.addLayout(head)
        layout.addLayout(grid)
        layout.addWidget(self._where)
        layout.addLayout(buttons)
        return result

    def show_running(self) -> None:
        """A conversion has begun and has not said anything yet."""
        self._only(self._progress)
        self._texts.set(self._title.setText, "converting")
        self.bar.setValue(0)
        self._percent.setText("0 %")
        self._item.set_text("")
        self._eta.setText("")

    def show_progress(self, progress: Progress) -> None:
        """How far it is."""
        share = progress.done / progress.total if progress.total else 0.0
        self.bar.setValue(int(share * 1000))
        self._percent.setText(f"{share:.0%}".replace("%", " %"))
        self._item.set_text(progress.item)
        self._eta.setText("" if progress.eta is None else tr("time-left", time=format_duration(progress.eta)))

    def show_stopping(self) -> None:
        """Stop was pressed; what is being written is finished first."""
        self._texts.set(self._title.setText, "stopping")
        self._eta.setText("")

    def show_result(self, result: ConvertResult) -> None:
        """The finished model in numbers."""
        self._only(self._done)
        self.result = result
        self._fill(result)

    def show_error(self, error: ErrorText) -> None:
        """It failed."""
        self._only(self.notice)
        self.notice.show_error(error)

    def clear(self) -> None:
        """Nothing runs and nothing is to be told."""
        self.result = None
        self.hide()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        if self.result is not None:
            self._fill(self.result)

    def _fill(self, result: ConvertResult) -> None:
        texts = (
            format_size(result.source_bytes), format_size(result.file_bytes),
            f"{result.bits_per_weight:.2f}", format_duration(result.seconds),
        )  # fmt: skip
        time_key = "result-time-resumed" if result.resumed_tensors else "result-time"
        self._texts.set(self._time_name.setText, time_key)
        for number, text in zip(self._numbers, texts, strict=True):
            number.setText(text)
        self._where.set_text(result.out)

    def _only(self, part: QWidget) -> None:
        self.result = None
        for each in (self._progress, self._done, self.notice):
            each.setVisible(each is part)
        self.show()

    def _chat(self) -> None:
        if self.result is not None:
            self.chat.emit(self.result.out)

    def _open_folder(self) -> None:
        if self.result is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self.result.out))
