"""The conversation: turns under each other, staying at the end while the end is what is looked at."""

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.chat_log import ChatLog, Turn
from bitconverter.gui.chat_message import AssistantMessage, UserMessage

WIDTH = 820
NEAR_END = 48  # pixels: closer than this counts as looking at the end


class ChatView(QScrollArea):
    """Shows a ChatLog. It holds no state of its own beyond the widgets."""

    again = Signal()
    edit = Signal()
    copy = Signal(str)
    code_copied = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._messages: list[UserMessage | AssistantMessage] = []
        self._follow = True
        scrolled, middle = QWidget(), QWidget()
        scrolled.setObjectName("scrolled")
        middle.setMaximumWidth(WIDTH)
        self._column = QVBoxLayout(middle)
        self._column.setContentsMargins(28, 24, 28, 20)
        self._column.setSpacing(20)
        self._column.addStretch()
        line = QHBoxLayout(scrolled)
        line.setContentsMargins(0, 0, 0, 0)
        line.addStretch(1)
        line.addWidget(middle, 100)
        line.addStretch(1)
        self.setWidget(scrolled)
        self._refreshing = QTimer(self)  # one message per turn of the event loop, the last one first
        self._refreshing.timeout.connect(self._refresh_one)
        bar = self.verticalScrollBar()
        bar.valueChanged.connect(self._moved)
        bar.rangeChanged.connect(self._grew)

    def show_log(self, log: ChatLog, idle: bool) -> None:
        """Make the widgets match the log; those of turns that stayed are kept."""
        kept = 0
        while (
            kept < min(len(log.turns), len(self._messages)) and self._messages[kept].turn is log.turns[kept]
        ):
            kept += 1
        for message in self._messages[kept:]:
            self._column.removeWidget(message)
            message.hide()
            message.deleteLater()
        del self._messages[kept:]
        for turn in log.turns[kept:]:
            self._add(turn)
        self.set_idle(idle)

    def set_idle(self, idle: bool) -> None:
        """Whether the last turns can be changed."""
        last_user = max((i for i, m in enumerate(self._messages) if isinstance(m, UserMessage)), default=-1)
        for index, message in enumerate(self._messages):
            is_last = index == (last_user if isinstance(message, UserMessage) else len(self._messages) - 1)
            message.set_last(is_last, idle)

    def last_answer(self) -> AssistantMessage | None:
        """The widget of the last turn, if the model said it."""
        last = self._messages[-1] if self._messages else None
        return last if isinstance(last, AssistantMessage) else None

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._follow = True
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for message in self._messages:
            message.retranslate()
        self._refreshing.start(0)

    def _add(self, turn: Turn) -> None:
        message: UserMessage | AssistantMessage
        if turn.role == "user":
            message = UserMessage(turn)
            message.edit.connect(self.edit)
        else:
            message = AssistantMessage(turn)
            message.again.connect(self.again)
            message.code_copied.connect(self.code_copied)
        message.copy.connect(self.copy)
        self._messages.append(message)
        self._column.insertWidget(self._column.count() - 1, message)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._refreshing.start(0)

    def _refresh_one(self) -> None:
        for message in reversed(self._messages):
            if isinstance(message, AssistantMessage) and message.refresh():
                return
        self._refreshing.stop()

    def _moved(self, value: int) -> None:
        self._follow = value >= self.verticalScrollBar().maximum() - NEAR_END

    def _grew(self, least: int, most: int) -> None:
        if self._follow:
            self.verticalScrollBar().setValue(most)
