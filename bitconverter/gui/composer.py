"""Where a message is typed: Enter sends, Shift+Enter breaks the line, and an input method is left alone."""

from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QProgressBar, QVBoxLayout

from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import ElidedLabel, IconButton, Texts, label, row, set_property


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


class Composer(QFrame):
    """The input, the context meter, and the button that sends or stops."""

    send = Signal()
    stop = Signal()
    draft_changed = Signal()
    COUNT_AFTER_MS = 300

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("composer")
        self._texts = Texts()
        self._context: tuple[int, int] | None = None
        self._answering = False
        self._can_send = False
        self.edit = MessageEdit()
        self.edit.send.connect(self._press)
        self.edit.textChanged.connect(self._typed)
        self.edit.focus_changed.connect(lambda on: set_property(self, "focused", "true" if on else "false"))
        self.meter = QProgressBar()
        self.meter.setTextVisible(False)
        self.meter.setFixedWidth(90)
        self._used = label("small")
        self._hint = ElidedLabel("small")
        self.button = IconButton("send", "send", 20)
        self.button.clicked.connect(self._press_button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self.COUNT_AFTER_MS)
        self._timer.timeout.connect(self.draft_changed)
        foot = row(10)
        foot.addWidget(self._hint, 1)
        foot.addWidget(self._used)
        foot.addWidget(self.meter)
        foot.addSpacing(4)
        foot.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 9, 9, 9)
        layout.setSpacing(4)
        layout.addWidget(self.edit)
        layout.addLayout(foot)
        self._texts.set(self.edit.set_hint, "message-placeholder")
        self._texts.set(self.edit.setAccessibleName, "message")
        self._texts.set(self._hint.set_text, "message-hint")
        self._texts.set(self.meter.setAccessibleName, "context")
        self.show_context(None)
        self._show_button()

    def text(self) -> str:
        """What is typed."""
        return self.edit.toPlainText()

    def set_text(self, text: str) -> None:
        """Put a text into the input, the cursor at its end."""
        self.edit.setPlainText(text)
        cursor = self.edit.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.edit.setTextCursor(cursor)

    def set_state(self, can_send: bool, answering: bool) -> None:
        """`can_send`: a model is ready; `answering`: the button stops instead."""
        self._can_send, self._answering = can_send, answering
        self._show_button()

    def show_context(self, context: tuple[int, int] | None) -> None:
        """(tokens used, tokens there are), or None without a model."""
        self._context = context
        self.meter.setVisible(context is not None)
        self._used.setVisible(context is not None)
        if context is not None:
            used, most = context
            self.meter.setRange(0, max(most, 1))
            self.meter.setValue(min(used, most))
            self._used.setText(f"{used:,} / {most:,}")
            self._used.setToolTip(tr("context-tip", used=f"{used:,}", most=f"{most:,}"))
            self.meter.setToolTip(self._used.toolTip())

    def count_later(self) -> None:
        """Emit `draft_changed` soon: something that counts as context has changed."""
        self._timer.start()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_context(self._context)
        self._show_button()

    def _typed(self) -> None:
        self._show_button()
        self._timer.start()

    def _show_button(self) -> None:
        self.button.set_icon("stop" if self._answering else "send")
        self.button.set_text(tr("stop" if self._answering else "send"))
        self.button.setEnabled(self._answering or (self._can_send and bool(self.text().strip())))

    def _press(self) -> None:
        if self._can_send and not self._answering and self.text().strip():
            self.send.emit()

    def _press_button(self) -> None:
        if self._answering:
            self.stop.emit()
        else:
            self._press()
