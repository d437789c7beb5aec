"""One turn of the chat as a widget."""

import time

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu, QVBoxLayout, QWidget

from bitconverter.gui import theme
from bitconverter.gui.answer_text import AnswerText
from bitconverter.gui.messages import answer_details, answer_line, tr
from bitconverter.gui.text_block import TextBlock
from bitconverter.gui.widgets import ElidedLabel, IconButton, IconLabel, label, row
from bitconverter.store.records import Node

SHOWN_LETTERS = 8_000
CAN_GO_ON = ("length", "stopped", "interrupted")


class _Versions(QWidget):
    """Which of several versions is shown, and the way to the others."""

    moved = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.back, self.forth = IconButton("chevron-left", size=13), IconButton("chevron-right", size=13)
        self._count = label("small")
        self.back.clicked.connect(lambda: self.moved.emit(-1))
        self.forth.clicked.connect(lambda: self.moved.emit(1))
        line = row(0)
        line.addWidget(self.back)
        line.addWidget(self._count)
        line.addWidget(self.forth)
        self.setLayout(line)
        self.show_versions(0, 1, True)

    def show_versions(self, number: int, count: int, idle: bool) -> None:
        """Version `number` (from 0) of `count`; nothing is shown of a single one."""
        self.setVisible(count > 1)
        self._count.setText(f"{number + 1}/{count}")
        self._count.setAccessibleName(tr("version", number=number + 1, of=count))
        self.back.setEnabled(idle and number > 0)
        self.forth.setEnabled(idle and number < count - 1)

    def text(self) -> str:
        """As shown: 2/3."""
        return self._count.text()

    def retranslate(self) -> None:
        self.back.set_text(tr("version-before"))
        self.forth.set_text(tr("version-after"))


class _Message(QWidget):
    """What both kinds have. Emits `acted` with what is asked for and the node: "edit", "again", "continue",
    "repeat", "both", "delete", "previous", "next"; and `copy` with a text."""

    acted = Signal(str, object)
    copy = Signal(str)

    def __init__(self, turn: Node) -> None:
        super().__init__()
        self.turn = turn
        self.idle = False
        self.versions = _Versions()
        self.versions.moved.connect(lambda step: self.act("next" if step > 0 else "previous"))
        self.copy_button, self.more_button = IconButton("copy", size=15), IconButton("dots", size=15)
        self.copy_button.clicked.connect(lambda: self.copy.emit(turn.text))
        self.more_button.clicked.connect(self._open_menu)

    def act(self, name: str) -> None:
        """Ask for something to be done with this message."""
        self.acted.emit(name, self.turn)

    def offers(self) -> list[str]:
        """What the menu offers; see texts "do-..."."""
        raise NotImplementedError

    def set_place(self, last: bool, idle: bool, number: int, count: int) -> None:
        """Whether it is the last of its kind, whether no answer is being written, and which version it is."""
        self.idle = idle
        self.versions.show_versions(number, count, idle)
        self.more_button.setVisible(idle)

    def _open_menu(self) -> None:
        self.menu().popup(self.more_button.mapToGlobal(self.more_button.rect().bottomLeft()))

    def menu(self) -> QMenu:
        """The menu behind the dots."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        seed = self.turn.numbers.seed if self.turn.numbers is not None else ""
        for name in self.offers():
            action = menu.addAction(tr(f"do-{name}", seed=seed))
            action.triggered.connect(lambda _=False, name=name: self.act(name))
        return menu

    def retranslate(self) -> None:
        self.copy_button.set_text(tr("copy"))
        self.more_button.set_text(tr("message-more"))
        self.versions.retranslate()


class UserMessage(_Message):
    """What the user said, in a bubble at the right, under the documents that went along."""

    def __init__(self, turn: Node) -> None:
        super().__init__(turn)
        self.text = TextBlock()
        self._bubble = QFrame()
        self._bubble.setObjectName("bubble")
        inner = QVBoxLayout(self._bubble)
        inner.setContentsMargins(16, 11, 16, 11)
        inner.addWidget(self.text)
        self.edit_button = IconButton("edit", size=15)
        self.edit_button.clicked.connect(lambda: self.act("edit"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for attachment in turn.attachments:
            document = row(5)
            name = label("small")
            name.setText(f"{attachment.name} · {len(attachment.text):,}")
            document.addStretch()
            document.addWidget(IconLabel("clip", "muted", 14))
            document.addWidget(name)
            layout.addLayout(document)
        line = QHBoxLayout()
        line.addStretch()
        line.addWidget(self._bubble)
        tools = row(2)
        tools.addStretch()
        for tool in (self.versions, self.copy_button, self.edit_button, self.more_button):
            tools.addWidget(tool)
        layout.addLayout(line)
        layout.addLayout(tools)
        self.set_place(False, False, 0, 1)
        self.retranslate()

    def offers(self) -> list[str]:
        return ["edit", "delete"]

    def set_place(self, last: bool, idle: bool, number: int, count: int) -> None:
        super().set_place(last, idle, number, count)
        self.edit_button.setVisible(idle)

    def retranslate(self) -> None:
        super().retranslate()
        self.edit_button.set_text(tr("edit-question"))
        self.text.setAccessibleName(tr("you"))
        self._show_text()

    def _show_text(self) -> None:
        """A pasted book is shown by its beginning: laying it all out would hold the window up for seconds.
        The model gets, and `copy` copies, all of it."""
        text, key = self.turn.text, tr("shortened", count=f"{len(self.turn.text):,}")
        shown = text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…\n\n{key}"
        self._bubble.setVisible(bool(text))
        if shown != self.text.toPlainText():
            self.text.set_plain(shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._bubble.setFixedWidth(self.text.ideal_width(int(self.width() * 0.82) - 32) + 32)


class AssistantMessage(_Message):
    """What the model says. While it streams, Markdown is rendered at most every 80 ms, and more seldom the
    longer rendering and painting take, so that showing the text hardly slows its making."""

    code_copied = Signal()
    LEAST_MS, MOST_MS, SHARE = 80, 1000, 12  # wait at least 12 times as long as showing it took

    def __init__(self, turn: Node) -> None:
        super().__init__(turn)
        self.text = AnswerText()
        self.text.copied.connect(self.code_copied)
        self._waiting = label("muted")
        self._numbers, self._end = ElidedLabel("small"), label("small", wrap=True)
        self.again_button, self.go_on_button = IconButton("again", size=15), IconButton("go-on", size=15)
        self.again_button.clicked.connect(lambda: self.act("again"))
        self.go_on_button.clicked.connect(lambda: self.act("continue"))
        self.can_both = False  # whether it could be made the other way: with the soul of now, or without it
        self._started = 0.0
        self._shown_in: tuple[theme.Colors, float] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self.LEAST_MS)
        self._timer.timeout.connect(self._render)
        tools = row(2)
        for tool in (
            self.versions, self.copy_button, self.again_button, self.go_on_button, self.more_button,
        ):  # fmt: skip
            tools.addWidget(tool)
        tools.addSpacing(6)
        tools.addWidget(self._numbers, 1)
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
        self.set_place(False, False, 0, 1)
        self.retranslate()
        self._render()

    def offers(self) -> list[str]:
        repeat = ["repeat"] if self.turn.numbers is not None else []
        both = ["both"] if self.can_both else []
        return ["again", *repeat, *both, "edit-answer", "delete"]

    def grew(self) -> None:
        """The turn has more text: show it soon."""
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

    def set_place(self, last: bool, idle: bool, number: int, count: int) -> None:
        super().set_place(last, idle, number, count)
        self.copy_button.setVisible(idle or bool(self.turn.ending))
        self.again_button.setVisible(last and idle)
        self.go_on_button.setVisible(last and idle and self.turn.ending in CAN_GO_ON)

    def retranslate(self) -> None:
        super().retranslate()
        self._say()
        if self.text.has_code():  # its copy link is a word of ours
            self._shown_in = None

    def _say(self) -> None:
        self._waiting.setText(tr("empty-answer") if self.turn.ending else tr("thinking"))
        self.again_button.set_text(tr("again"))
        self.go_on_button.set_text(tr("go-on"))
        self.text.setAccessibleName(tr("model-says"))
        numbers, ending = self.turn.numbers, self.turn.ending
        self._numbers.set_text(answer_line(numbers) if numbers is not None and numbers.tokens else "")
        if numbers is not None:
            self._numbers.setToolTip(f"{self._numbers.whole_text()}\n{answer_details(numbers)}")
        self._end.setText(tr(f"end-{ending}") if ending not in ("", "stop") else "")
        self._end.setVisible(bool(self._end.text()))

    def refresh(self) -> bool:
        """Follow a change of theme or text size, which are part of the HTML. False: nothing had to be done."""
        if self._shown_in == (theme.current(), theme.scale()):
            return False
        self.text.refresh()
        self._render()
        return True

    def _render(self) -> None:
        self._shown_in = (theme.current(), theme.scale())
        self._waiting.setVisible(not self.turn.text)
        self.text.setVisible(bool(self.turn.text))
        self._started = time.monotonic()
        self.text.set_markdown(self.turn.text)
        QTimer.singleShot(0, self, self._shown)  # comes after the layout and the painting

    def _shown(self) -> None:
        took = (time.monotonic() - self._started) * 1000
        self._timer.setInterval(int(min(max(self.LEAST_MS, took * self.SHARE), self.MOST_MS)))
