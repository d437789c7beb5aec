"""A box that says what happened, why, and what to do, with the details to copy."""

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout

from bitconverter.gui.flow import FollowsContents, below_width, beside_or_below
from bitconverter.gui.messages import ErrorText, tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconLabel, label, set_property


class Notice(FollowsContents, QFrame):
    """Hidden while there is nothing to say."""

    def __init__(self) -> None:
        super().__init__()
        self._details = ""
        self._error: ErrorText | None = None
        self._icon = IconLabel("error", "error", 20)
        self._title, self._text = label("heading", wrap=True), label(wrap=True, selectable=True)
        self.code = label("small", wrap=True, selectable=True)
        self.copy_button = Button("quiet", "copy")
        self.copy_button.clicked.connect(self._copy)
        words = QVBoxLayout()
        words.setSpacing(3)
        words.addWidget(self._title)
        words.addWidget(self._text)
        words.addWidget(self.code)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(Space.SMALL)
        self.buttons.addWidget(self.copy_button)
        self.buttons.addStretch()
        words.addSpacing(Space.TINY)
        words.addLayout(self.buttons)
        line = QHBoxLayout(self)
        line.setContentsMargins(16, 13, 16, 11)
        line.setSpacing(Space.MEDIUM)
        line.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        line.addLayout(words, 1)
        self._line = line
        self.hide()

    def minimumSizeHint(self) -> QSize:
        """As narrow as the widest button: in a line they need more, but they may stand below each other."""
        size = super().minimumSizeHint()
        return QSize(min(size.width(), self._beside() + below_width(self.buttons)), size.height())

    def _beside(self) -> int:
        """Pixels beside the words."""
        margins = self._line.contentsMargins()
        return margins.left() + margins.right() + self._icon.minimumWidth() + self._line.spacing()

    def _follow_room(self) -> None:
        found = (self.buttons.itemAt(k).widget() for k in range(self.buttons.count()))
        shown = [widget for widget in found if widget is not None and not widget.isHidden()]
        beside_or_below(self.buttons, shown, self.width() - self._beside())

    def show_error(self, error: ErrorText) -> None:
        """An error: its title, the sentence, and details behind a button."""
        self._show("error", error.title, error.text)
        self._error = error
        self._details = error.details
        self.copy_button.setText(tr("copy-details"))
        self.copy_button.setVisible(bool(error.details))
        self.code.setText(error.code)
        self.code.setVisible(bool(error.code))

    def changeEvent(self, event: QEvent) -> None:
        """An error is said again in the language of now; whoever shows a warning says it again."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.LanguageChange and self._error is not None and not self.isHidden():
            self.show_error(self._error.now())

    def show_warning(self, title: str, text: str) -> None:
        """Something to know or to decide."""
        self._show("warning", title, text)
        self.copy_button.hide()
        self.code.hide()

    def show_working(self, title: str, text: str) -> None:
        """Something that is being done, and what has come of it so far."""
        self._show("info", title, text)
        self.copy_button.hide()
        self.code.hide()

    def shows(self, error: ErrorText) -> bool:
        """Whether it says this error."""
        return self._error is not None and self._error == error and not self.isHidden()

    def clear(self) -> None:
        """Nothing to say any more."""
        self._title.clear()
        self._text.clear()
        self.hide()

    def text(self) -> str:
        """Title and sentence as shown."""
        return f"{self._title.text()}\n{self._text.text()}".strip()

    def _show(self, level: str, title: str, text: str) -> None:
        self._error = None
        set_property(self, "role", f"{level}-box")
        self._icon.show_icon(level, "accent" if level == "info" else level)
        self._title.setText(title)
        self._text.setText(text)
        self._text.setVisible(bool(text))
        self.setAccessibleName(f"{title} {text}")
        self.show()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._details)


class NoticeArea(QScrollArea):
    """A notice that is as high as its words, and is scrolled where there is less room than that. There while the notice
    is."""

    LEAST = 60  # pixels

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self._notice, self._room = notice, self.LEAST
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        hidden = notice.isHidden()
        self.setWidget(notice)  # which shows it
        self.viewport().setAutoFillBackground(False)
        notice.setHidden(hidden)
        self.setHidden(hidden)

    def give_room(self, height: int) -> None:
        """So many pixels it may be high."""
        self._room = max(height, self.LEAST)
        self._fit()

    def minimumSizeHint(self) -> QSize:
        """As narrow as the notice and what scrolls it."""
        width = self._notice.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The notice wants another size, comes or goes."""
        done = super().eventFilter(watched, event)
        if watched is self._notice:
            if event.type() == QEvent.Type.ShowToParent:
                self.verticalScrollBar().setValue(0)
                self.show()
                self._fit()
            elif event.type() == QEvent.Type.HideToParent:
                self.hide()
            elif event.type() == QEvent.Type.LayoutRequest:
                self._fit()
        return done

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        height = max(self._notice.heightForWidth(self.width()), 1)
        # by itself it wants room for wrapped lines also where they are not
        self._notice.setMinimumHeight(height)
        self.setFixedHeight(min(height, self._room))
        self.updateGeometry()
