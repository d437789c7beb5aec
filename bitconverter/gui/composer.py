"""Where a message is typed: Enter sends, Shift+Enter breaks the line, and an input method is left alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QInputMethodEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
)

from bitconverter.gui.attachments import AttachmentBar
from bitconverter.gui.flow import LETTERS_CHANGED, FollowsRoom, below_width, beside_or_below
from bitconverter.gui.messages import tr
from bitconverter.gui.moods import MoodButtons
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import (
    Button,
    IconButton,
    IconLabel,
    Texts,
    label,
    row,
    set_property,
)
from bitconverter.store.records import Attachment

if TYPE_CHECKING:
    from bitconverter.jobs.chat import Prompt

METER = 70  # pixels


class MessageEdit(QPlainTextEdit):
    """Grows with its text up to eight lines. Emits `send` on Enter unless a word is being composed."""

    send = Signal()
    focus_changed = Signal(bool)
    MOST_LINES = 8

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("message")
        self.setTabChangesFocus(True)
        self._composing, self._hint = False, ""
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    @property
    def composing(self) -> bool:
        """An input method shows a word that is not decided yet (preedit)."""
        return self._composing

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        self._set_composing(bool(event.preeditString()))
        super().inputMethodEvent(event)

    def set_hint(self, text: str) -> None:
        """What is shown while nothing is typed. Qt would draw it under a word that is being composed."""
        self._hint = text
        self.setPlaceholderText("" if self._composing else text)

    def _set_composing(self, composing: bool) -> None:
        self._composing = composing
        self.set_hint(self._hint)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
        elif self._composing:
            event.accept()  # this Enter decides the word; some platforms deliver it to us as well
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.insertPlainText("\n")
            self.ensureCursorVisible()
        else:
            self.send.emit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in LETTERS_CHANGED:
            self._fit()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            if event.type() == QEvent.Type.FocusOut:
                self._set_composing(False)  # the platform ends the composition with the focus
            self.focus_changed.emit(event.type() == QEvent.Type.FocusIn)
        return super().event(event)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return not source.hasUrls() and super().canInsertFromMimeData(source)  # files go to the page

    def sizeHint(self) -> QSize:
        return QSize(200, self.height())

    def _fit(self) -> None:
        # a QPlainTextEdit counts the height of its document in lines
        lines = min(max(int(self.document().size().height()), 1), self.MOST_LINES)
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + 18)


class _Hint(QLabel):
    """One line that is there only while there is room for all of it."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = ""
        self.setProperty("role", "small")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def set_text(self, text: str) -> None:
        """The whole line."""
        self._whole = text
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(self._whole if self.fontMetrics().horizontalAdvance(self._whole) <= self.width() else "")


class Composer(FollowsRoom, QFrame):
    """The input with its documents, the moods, the context meter, and the button that sends or stops.

    Emits `draft_changed` soon after something that counts as context has changed, `typed` at once, `preview`
    when the meter is clicked, `edit_left` when a message is not to be edited after all, and `model_missing` when it is
    to be sent and there is no model.
    """

    send = Signal()
    stop = Signal()
    draft_changed = Signal()
    typed = Signal()
    preview = Signal()
    edit_left = Signal()
    model_missing = Signal()
    COUNT_AFTER_MS = 300

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("composer")
        self._texts = Texts()
        self._prompt: Prompt | None = None
        self._answering = False
        self._can_send = False
        self._model = False
        self._editing = ""
        self.edit = MessageEdit()
        self.edit.send.connect(self._press)
        self.edit.textChanged.connect(self._typed)
        self.edit.focus_changed.connect(lambda on: set_property(self, "focused", "true" if on else "false"))
        self.attachments = AttachmentBar()
        self.attachments.changed.connect(self._typed)
        self.attachments.reading_changed.connect(self._show_button)
        self.moods = MoodButtons()
        self.meter = QProgressBar()
        self.meter.setTextVisible(False)
        self.meter.setFixedWidth(METER)
        self._used = Button("meter")
        self._used.clicked.connect(self.preview)
        self._hint = _Hint()
        self.attach_button, self.button = IconButton("clip", size=18), IconButton("send", "send", 20)
        self.button.clicked.connect(self._press_button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self.COUNT_AFTER_MS)
        self._timer.timeout.connect(self.draft_changed)
        self._lay_out()
        self.show_model(False)
        self._texts.set(self.edit.setAccessibleName, "message")
        self._texts.set(self._hint.set_text, "message-hint")
        self._texts.set(self.meter.setAccessibleName, "context")
        self._texts.set(self._used.setAccessibleName, "context")
        self._texts.set(self.attach_button.set_text, "attach")
        self.show_prompt(None)
        self.show_editing("")
        self._show_button()

    def _lay_out(self) -> None:
        self._banner = QFrame()
        words = row(Space.SMALL)
        self._banner.setLayout(words)
        self._editing_text = label("accent")
        self.leave_button = Button("quiet")
        self._texts.set(self.leave_button.setText, "edit-leave")
        self.leave_button.clicked.connect(self.edit_left)
        words.addWidget(IconLabel("edit", "accent", 16))
        words.addWidget(self._editing_text)
        words.addStretch()
        words.addWidget(self.leave_button)
        self._foot, chosen, counted = row(Space.SMALL), row(Space.SMALL), row(Space.SMALL)
        chosen.addWidget(self.attach_button)
        chosen.addWidget(self.moods)
        chosen.addWidget(self._hint, 1)
        counted.addStretch()
        counted.addWidget(self._used)
        counted.addWidget(self.meter)
        counted.addSpacing(Space.TINY)
        counted.addWidget(self.button)
        self._foot.addLayout(chosen, 1)
        self._foot.addLayout(counted)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 9, 9, 9)
        layout.setSpacing(Space.TINY)
        layout.addWidget(self._banner)
        layout.addWidget(self.attachments)
        layout.addWidget(self.edit)
        layout.addLayout(self._foot)

    def minimumSizeHint(self) -> QSize:
        """As narrow as its rows with the meter below the moods, also while they are in a line."""
        size, layout = super().minimumSizeHint(), self.layout()
        assert layout is not None
        above = (layout.itemAt(k) for k in range(layout.count() - 1))
        widest = max(below_width(self._foot), *(part.minimumSize().width() for part in above if part))
        margins = layout.contentsMargins()
        return QSize(min(size.width(), widest + margins.left() + margins.right()), size.height())

    def _follow_room(self) -> None:
        """The meter and the button stand below the moods where there is no room for all of them in a line."""
        beside_or_below(
            self._foot, (self.attach_button, self.moods, self._used, self.button), self.width() - METER - 48
        )

    def text(self) -> str:
        """What is typed."""
        return self.edit.toPlainText()

    def set_text(self, text: str, attachments: Sequence[Attachment] = ()) -> None:
        """Put a text and its documents into the input, the cursor at its end."""
        self.attachments.set_all(attachments)
        self.edit.setPlainText(text)
        cursor = self.edit.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.edit.setTextCursor(cursor)

    def may_send(self) -> bool:
        """A model is ready, there is something to send, and all of it has been read."""
        return self._can_send and not self.empty() and not self.attachments.reading

    def empty(self) -> bool:
        """Nothing that could be sent."""
        return not self.text().strip() and not self.attachments.all()

    def set_state(self, can_send: bool, answering: bool) -> None:
        """`can_send`: a model is ready; `answering`: the button stops instead."""
        self._can_send, self._answering = can_send, answering
        self._show_button()

    def show_model(self, there: bool) -> None:
        """Whether a model is open or on its way; without one, where to find it is said in the place of words."""
        self._model = there
        self._texts.set(self.edit.set_hint, "message-placeholder" if there else "message-no-model")

    def show_editing(self, key: str) -> None:
        """The message that says what is being edited, "" for nothing."""
        self._editing = key
        self._banner.setVisible(bool(key))
        if key:
            self._editing_text.setText(tr(key))

    def show_prompt(self, prompt: "Prompt | None") -> None:
        """What would be sent, as counted; None without a model."""
        self._prompt = prompt
        self.meter.setVisible(prompt is not None)
        self._used.setVisible(prompt is not None)
        if prompt is None:
            return
        level = self._level(prompt)
        self.meter.setRange(0, max(prompt.n_ctx, 1))
        self.meter.setValue(min(prompt.tokens, prompt.n_ctx))
        set_property(self.meter, "level", level)
        set_property(self._used, "level", level)
        self._used.setText(f"{prompt.tokens:,} / {prompt.n_ctx:,}")
        self._follow_room()
        key = {"over": "context-over-tip", "near": "context-near-tip"}.get(level, "context-tip")
        text = tr(key, used=f"{prompt.tokens:,}", most=f"{prompt.n_ctx:,}", room=f"{prompt.room:,}")
        if prompt.left_out:
            text += "\n" + tr("left-out-line", count=prompt.left_out)
        self._used.setToolTip(text)
        self._used.setAccessibleName(f"{tr('context')}: {self._used.text()}. {tr('preview')}")
        self.meter.setToolTip(text)

    @staticmethod
    def _level(prompt: "Prompt") -> str:
        if prompt.tokens >= prompt.n_ctx:
            return "over"
        return "near" if prompt.tokens > prompt.n_ctx - prompt.room else ""

    def prompt(self) -> "Prompt | None":
        """What the meter shows."""
        return self._prompt

    def count_later(self) -> None:
        """Emit `draft_changed` soon: something that counts as context has changed."""
        self._timer.start()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.moods.retranslate()
        self.attachments.retranslate()
        self.show_prompt(self._prompt)
        self.show_editing(self._editing)
        self._show_button()

    def _typed(self) -> None:
        self._show_button()
        self.typed.emit()
        self._timer.start()

    def _show_button(self) -> None:
        self.button.set_icon("stop" if self._answering else "send")
        self.button.set_text(tr("stop" if self._answering else "send"))
        self.button.setEnabled(self._answering or self.may_send())

    def _press(self) -> None:
        if self.may_send() and not self._answering:
            self.send.emit()
        elif not self._model and not self.empty():
            self.model_missing.emit()

    def _press_button(self) -> None:
        if self._answering:
            self.stop.emit()
        else:
            self._press()
