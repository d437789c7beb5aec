"""The conversation: turns under each other, staying at the end while the end is what is looked at."""

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.chat_message import AssistantMessage, UserMessage
from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import label
from bitconverter.store.records import Node

WIDTH = 820
NEAR_END = 48  # pixels: closer than this counts as looking at the end
AT_ONCE = 3  # messages that are built before the window does anything else; a long one takes 10 ms
MOST_UNASKED = 60  # laying out a column of more takes a while each time; those before come when scrolled to
NEAR_BEGIN = 800  # pixels


class ChatView(QScrollArea):
    """Shows a ChatLog: the last messages at once, those before one by one while nothing else is to do."""

    acted = Signal(str, object)
    copy = Signal(str)
    code_copied = Signal()
    scrolled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._messages: list[UserMessage | AssistantMessage] = []
        self._pending: list[Node] = []  # before the messages, the oldest first
        self._log: ChatLog | None = None
        self._idle = False
        self.can_both: Callable[[Node], bool] = lambda _node: False  # of an answer, see AssistantMessage
        self._follow = True
        self._wanted: float | None = None  # where to be when all is built, 0..1
        self._wanted_node: int | None = None
        self._maximum = 0  # of the scroll bar, before messages were added above
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
        self._cut = label("small", wrap=True)
        self._cut.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._cut.setParent(middle)
        self._cut.hide()
        self._left_out = 0
        self._building = QTimer(self)
        self._building.timeout.connect(self._build_one)
        self._refreshing = QTimer(self)  # one message per turn of the event loop, the last one first
        self._refreshing.timeout.connect(self._refresh_one)
        bar = self.verticalScrollBar()
        bar.valueChanged.connect(self._moved)
        bar.rangeChanged.connect(self._grew)
        bar.actionTriggered.connect(self._chosen_by_hand)

    def show_log(self, log: ChatLog, idle: bool) -> None:
        """Make the widgets match the branch that is shown; those of turns that stayed are kept."""
        self._log, self._idle = log, idle
        turns = log.turns
        built = [message.turn for message in self._messages]
        shown = [*self._pending, *built]
        kept = 0
        while kept < min(len(turns), len(shown)) and shown[kept] is turns[kept]:
            kept += 1
        if kept <= len(self._pending):  # another chat, or a change above what is built
            self._remove(0)
            self._pending = turns[:-AT_ONCE]
            built_from = len(self._pending)
        else:
            self._remove(kept - len(self._pending))
            built_from = kept
        for turn in turns[built_from:]:
            self._messages.append(self._make(turn))
            self._column.insertWidget(self._column.count() - 1, self._messages[-1])
        if self._pending:
            self._building.start(0)
        self.set_idle(idle)

    def _remove(self, first: int) -> None:
        for message in self._messages[first:]:
            self._column.removeWidget(message)
            message.hide()
            message.deleteLater()
        del self._messages[first:]

    def set_idle(self, idle: bool) -> None:
        """Whether messages can be changed."""
        self._idle = idle
        last_user = max((i for i, m in enumerate(self._messages) if isinstance(m, UserMessage)), default=-1)
        for index, message in enumerate(self._messages):
            last = index == (last_user if isinstance(message, UserMessage) else len(self._messages) - 1)
            self._place(message, last)
        self._show_cut()

    def _place(self, message: UserMessage | AssistantMessage, last: bool) -> None:
        assert self._log is not None
        versions = self._log.tree.versions(message.turn) if message.turn.id in self._log.tree else [None]
        if isinstance(message, AssistantMessage):
            message.can_both = self.can_both(message.turn)
        number = next((i for i, version in enumerate(versions) if version is message.turn), 0)
        message.set_place(last, self._idle, number, len(versions))

    def show_left_out(self, count: int) -> None:
        """How many of the oldest messages the model does not see any more: a line is drawn under them."""
        self._left_out = count
        self._show_cut()

    def _show_cut(self) -> None:
        self._column.removeWidget(self._cut)
        place = self._left_out - len(self._pending)
        shown = self._left_out > 0 and 0 <= place < len(self._messages)
        if shown:
            self._cut.setText(tr("left-out-line", count=self._left_out))
            self._column.insertWidget(self._column.indexOf(self._messages[place]), self._cut)
        self._cut.setVisible(shown)

    def last_answer(self) -> AssistantMessage | None:
        """The widget of the last turn, if the model said it."""
        last = self._messages[-1] if self._messages else None
        return last if isinstance(last, AssistantMessage) else None

    def message_of(self, node_id: int) -> UserMessage | AssistantMessage | None:
        """The widget of a turn; None if it is not shown (yet)."""
        return next((message for message in self._messages if message.turn.id == node_id), None)

    # ---- where it is scrolled to

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._follow, self._wanted, self._wanted_node = True, None, None
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def position(self) -> float:
        """How far down it is scrolled, 0..1; 1 at the end, whatever comes."""
        if self._wanted is not None:
            return self._wanted
        bar = self.verticalScrollBar()
        return 1.0 if self._follow or bar.maximum() <= 0 else bar.value() / bar.maximum()

    def go_to(self, position: float) -> None:
        """Scroll to what position() said, now or when all messages are there."""
        if position >= 1.0:
            self.follow()
            return
        self._follow, self._wanted, self._wanted_node = False, position, None
        self._settle()

    def go_to_message(self, node_id: int) -> None:
        """Scroll to a message, now or when it is there."""
        self._follow, self._wanted, self._wanted_node = False, None, node_id
        self._settle()

    def _settle(self) -> None:
        if self._pending:
            return
        bar = self.verticalScrollBar()
        if self._wanted is not None:
            bar.setValue(round(self._wanted * bar.maximum()))
        elif self._wanted_node is not None:
            message = self.message_of(self._wanted_node)
            if message is not None:
                bar.setValue(max(message.y() - 12, 0))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        for message in self._messages:
            message.retranslate()
        self._show_cut()
        self._refreshing.start(0)

    def _make(self, turn: Node) -> UserMessage | AssistantMessage:
        message: UserMessage | AssistantMessage
        if turn.role == "user":
            message = UserMessage(turn)
        else:
            message = AssistantMessage(turn)
            message.code_copied.connect(self.code_copied)
        message.acted.connect(self.acted)
        message.copy.connect(self.copy)
        return message

    def _build_one(self) -> None:
        if not self._pending:
            self._building.stop()
            self._show_cut()
            QTimer.singleShot(0, self, self._settle)
            return
        if not self._wants_more():
            self._building.stop()
            self._show_cut()
            return
        message = self._make(self._pending.pop())
        self._messages.insert(0, message)
        self._column.insertWidget(0, message)
        self._place(message, False)

    def _wants_more(self) -> bool:
        waited_for = self._wanted is not None or self._wanted_node is not None
        near = not self._follow and self.verticalScrollBar().value() < NEAR_BEGIN
        return waited_for or near or len(self._messages) < MOST_UNASKED

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self._refreshing.start(0)

    def _refresh_one(self) -> None:
        for message in reversed(self._messages):
            if isinstance(message, AssistantMessage) and message.refresh():
                return
        self._refreshing.stop()

    def _moved(self, value: int) -> None:
        self._follow = value >= self.verticalScrollBar().maximum() - NEAR_END
        if self._pending and not self._building.isActive() and self._wants_more():
            self._building.start(0)
        self.scrolled.emit()

    def _chosen_by_hand(self) -> None:
        self._wanted = self._wanted_node = None

    def _grew(self, least: int, most: int) -> None:
        bar, before = self.verticalScrollBar(), self._maximum
        self._maximum = most
        if self._follow:
            bar.setValue(most)
        elif self._building.isActive() and self._wanted is None and self._wanted_node is None:
            bar.setValue(bar.value() + most - before)  # what is read stays where it is
        else:
            self._settle()
