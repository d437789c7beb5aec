"""What the chat page shows while there is nothing to read: choose a model, loading, or say something."""

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QProgressBar,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from bitconverter.gui import theme
from bitconverter.gui.flow import FollowsRoom, beside_or_below
from bitconverter.gui.messages import tr
from bitconverter.gui.model_bar import existing_models
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import (
    Button,
    ElidedButton,
    IconLabel,
    Texts,
    column,
    frame,
    label,
    row,
    set_property,
)
from bitconverter.settings import Settings

WIDTHS = (520, 360, 560)  # of the faces, logical pixels at a text size of 100 %
DROP_MARGIN = 34
SUGGESTIONS = ("suggestion-1", "suggestion-2", "suggestion-3")


class ChatStart(FollowsRoom, QStackedWidget):
    """Three faces: no model, loading, ready."""

    picked = Signal(str)
    browse = Signal()
    convert = Signal()
    suggested = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = Texts()
        self._name = ""
        self._pages = [self._build_no_model(), self._build_loading(), self._build_ready()]
        for page in self._pages:
            self.addWidget(_centred(page))
        self.show_no_model()

    def _build_no_model(self) -> QWidget:
        result = QWidget()
        outer = column(result, 0, 14)
        self._drop = frame("drop")
        inner = column(self._drop, DROP_MARGIN, 10)
        title, text = label("heading"), label("muted", wrap=True)
        self._texts.set(title.setText, "chat-empty-title")
        self._texts.set(text.setText, "chat-empty-text")
        text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.open_button, self.convert_button = Button("primary", "folder"), Button("", "convert")
        self._texts.set(self.open_button.setText, "open-model")
        self._texts.set(self.convert_button.setText, "convert-a-model")
        self.open_button.clicked.connect(self.browse)
        self.convert_button.clicked.connect(self.convert)
        self._buttons = buttons = row()
        buttons.addStretch()
        buttons.addWidget(self.open_button)
        buttons.addWidget(self.convert_button)
        buttons.addStretch()
        inner.addWidget(IconLabel("chat", "accent", 40), 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(title, 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(text)
        inner.addSpacing(Space.SMALL)
        inner.addLayout(buttons)
        self._recent = QFrame()
        self._recent_lines = column(self._recent, 0, 2)
        outer.addWidget(self._drop)
        outer.addWidget(self._recent)
        return result

    def _build_loading(self) -> QWidget:
        result = QWidget()
        inner = column(result, 0, 14)
        self._loading = label("heading", wrap=True)
        self._loading.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        bar = QProgressBar()
        bar.setRange(0, 0)
        bar.setTextVisible(False)
        self._texts.set(bar.setAccessibleName, "loading-short")
        inner.addWidget(self._loading)
        inner.addWidget(bar)
        return result

    def _build_ready(self) -> QWidget:
        result = QWidget()
        inner = column(result, 0, Space.SMALL)
        title = label("title", wrap=True)
        title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._texts.set(title.setText, "ready-title")
        self._ready = label("muted", wrap=True)
        self._ready.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(IconLabel("mark", "accent", 44), 0, Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(title)
        inner.addWidget(self._ready)
        inner.addSpacing(14)
        for key in SUGGESTIONS:
            button = ElidedButton("", "chat")
            self._texts.set(button.set_text, key)
            button.clicked.connect(lambda _=False, key=key: self.suggested.emit(tr(key)))
            inner.addWidget(button)
        return result

    def _follow_room(self) -> None:
        """Side by side where there is room for both, else under each other; all as wide as the letters want."""
        for face, width in zip(self._pages, WIDTHS, strict=True):
            face.setMaximumWidth(round(width * theme.scale()))
        room = min(self.width(), self._pages[0].maximumWidth()) - 2 * DROP_MARGIN
        beside_or_below(self._buttons, (self.open_button, self.convert_button), room)

    def show_no_model(self) -> None:
        """Invite to choose one; recent ones are a click away."""
        while (taken := self._recent_lines.takeAt(0)) is not None:
            widget = taken.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        recent = existing_models(self._settings)[:4]
        if recent:
            title = label("small")
            title.setText(tr("recent-models"))
            self._recent_lines.addWidget(title)
        for folder in recent:
            button = ElidedButton("row", "folder")
            button.set_text(Path(folder).name)
            button.setAccessibleDescription(folder)
            button.clicked.connect(lambda _=False, folder=folder: self.picked.emit(folder))
            self._recent_lines.addWidget(button)
        self._recent.setVisible(bool(recent))
        self.setCurrentIndex(0)

    def show_loading(self, name: str) -> None:
        """A model is being opened."""
        self._name = name
        self._loading.setText(tr("loading", name=name))
        self.setCurrentIndex(1)

    def show_ready(self, name: str) -> None:
        """A model is ready and nothing has been said."""
        self._name = name
        self._ready.setText(tr("ready-text", name=name))
        self.setCurrentIndex(2)

    def set_hot(self, hot: bool) -> None:
        """Something that can be dropped is over the page."""
        set_property(self._drop, "hot", "true" if hot else "false")

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self._follow_room()
        index = self.currentIndex()
        if index == 0:
            self.show_no_model()
        elif index == 1:
            self.show_loading(self._name)
        else:
            self.show_ready(self._name)


def _centred(widget: QWidget) -> QScrollArea:
    """In the middle where there is room for it, else scrolled."""
    inside = QWidget()
    inside.setObjectName("scrolled")
    line = row(0)
    line.addStretch(1)
    line.addWidget(widget, 100)  # no alignment: that would lose the height that wrapped lines need
    line.addStretch(1)
    outer = QVBoxLayout(inside)
    outer.addStretch(2)
    outer.addLayout(line)
    outer.addStretch(3)
    result = QScrollArea()
    result.setWidgetResizable(True)
    result.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    result.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    result.setWidget(inside)
    return result
