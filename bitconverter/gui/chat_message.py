"""One turn of the chat as a widget."""

import time

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.chat_log import Turn
from bitconverter.gui.messages import answer_details, answer_line, tr
from bitconverter.gui.text_block import TextBlock
from bitconverter.gui.widgets import IconButton, IconLabel, label, row

SHOWN_LETTERS = 8_000


class UserMessage(QWidget):
    """What the user said, in a bubble at the right; `edit` asks to take it back into the input."""

    edit = Signal()
    copy = Signal(str)

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn
        self.text = TextBlock()
        self._show_text()
        self._bubble = QFrame()
        self._bubble.setObjectName("bubble")
        inner = QVBoxLayout(self._bubble)
        inner.setContentsMargins(16, 11, 16, 11)
        inner.addWidget(self.text)
        self.copy_button, self.edit_button = IconButton("copy", size=15), IconButton("edit", size=15)
        self.copy_button.clicked.connect(lambda: self.copy.emit(turn.text))
        self.edit_button.clicked.connect(self.edit)
        tools = row(2)
        tools.addStretch()
        tools.addWidget(self.copy_button)
        tools.addWidget(self.edit_button)
        line = QHBoxLayout()
        line.addStretch()
        line.addWidget(self._bubble)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(line)
        layout.addLayout(tools)
        self.set_last(False, False)
        self.retranslate()

    def set_last(self, last: bool, idle: bool) -> None:
        """Only the last question can be edited, and only while no answer is being written."""
        self.edit_button.setVisible(last and idle)

    def retranslate(self) -> None:
        self.copy_button.set_text(tr("copy"))
        self.edit_button.set_text(tr("edit-question"))
        self.text.setAccessibleName(tr("you"))
        self._show_text()

    def _show_text(self) -> None:
        """A pasted book is shown by its beginning: laying it all out would hold the window up for seconds.
        The model gets, and `copy` copies, all of it."""
        text, key = self.turn.text, tr("shortened", count=f"{len(self.turn.text):,}")
        shown = text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…\n\n{key}"
        if shown != self.text.toPlainText():
            self.text.set_plain(shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._bubble.setFixedWidth(self.text.ideal_width(int(self.width() * 0.82) - 32) + 32)


class AssistantMessage(QWidget):
    """What the model says. While it streams, Markdown is rendered at most every 80 ms, and more seldom the
    longer rendering and painting take, so that showing the text hardly slows its making."""

    again = Signal()
    copy = Signal(str)
    code_copied = Signal()
    LEAST_MS, MOST_MS, SHARE = 80, 1000, 12  # wait at least 12 times as long as showing it took

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn
        self.text = TextBlock()
        self.text.copied.connect(self.code_copied)
        self._waiting = label("muted")
        self._numbers, self._end = label("small", selectable=True), label("small", wrap=True)
        self.copy_button, self.again_button = IconButton("copy", size=15), IconButton("again", size=15)
        self.copy_button.clicked.connect(lambda: self.copy.emit(turn.text))
        self.again_button.clicked.connect(self.again)
        self._started = 0.0
        self._shown_in: theme.Colors | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self.LEAST_MS)
        self._timer.timeout.connect(self._render)
        tools = row(2)
        tools.addWidget(self.copy_button)
        tools.addWidget(self.again_button)
        tools.addSpacing(6)
        tools.addWidget(self._numbers)
        tools.addStretch()
        words = QVBoxLayout()
        words.setSpacing(3)
        words.addWidget(self._waiting)
        words.addWidget(self.text)
        words.addWidget(self._end)
        words.addLayout(tools)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(14)
        layout.addWidget(IconLabel("mark", "accent", 24), 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        self.set_last(False, False)
        self.retranslate()
        self._render()

    def append(self, text: str) -> None:
        """More of the answer arrived."""
        self.turn.text += text
        if not self._timer.isActive():
            self._timer.start()

    def show_reading(self, share: float) -> None:
        """How much of a long prompt has been read, before the first word."""
        self._waiting.setText(tr("reading", share=f"{share:.0%}"))

    def finish(self) -> None:
        """The answer is complete: show all of it, and its numbers."""
        self._timer.stop()
        self._say()
        self._render()

    def set_last(self, last: bool, idle: bool) -> None:
        """Only the last answer can be made again."""
        self.copy_button.setVisible(idle or bool(self.turn.end))
        self.again_button.setVisible(last and idle)

    def retranslate(self) -> None:
        self._say()
        if self.text.has_code():  # its copy link is a word of ours
            self._shown_in = None

    def _say(self) -> None:
        self._waiting.setText(tr("empty-answer") if self.turn.end else tr("thinking"))
        self.copy_button.set_text(tr("copy"))
        self.again_button.set_text(tr("again"))
        self.text.setAccessibleName(tr("model-says"))
        answer = self.turn.answer
        self._numbers.setText(answer_line(answer) if answer is not None else "")
        self._numbers.setToolTip(answer_details(answer) if answer is not None else "")
        self._end.setText(tr(f"end-{self.turn.end}") if self.turn.end not in ("", "stop") else "")
        self._end.setVisible(bool(self._end.text()))

    def refresh(self) -> bool:
        """Follow a change of theme or language, which are part of the HTML. False: nothing had to be done."""
        if theme.current() is self._shown_in:
            return False
        self._render()
        return True

    def _render(self) -> None:
        self._shown_in = theme.current()
        self._waiting.setVisible(not self.turn.text)
        self.text.setVisible(bool(self.turn.text))
        self._started = time.monotonic()
        self.text.set_markdown(self.turn.text)
        QTimer.singleShot(0, self, self._shown)  # comes after the layout and the painting

    def _shown(self) -> None:
        took = (time.monotonic() - self._started) * 1000
        self._timer.setInterval(int(min(max(self.LEAST_MS, took * self.SHARE), self.MOST_MS)))
