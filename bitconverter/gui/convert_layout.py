"""How the convert page looks: its parts and where they are. What they do is convert_page.py's."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui.console import Console
from bitconverter.gui.dropping import dropped_model
from bitconverter.gui.notice import Notice
from bitconverter.gui.run_card import RunCard
from bitconverter.gui.source_card import SourceCard
from bitconverter.gui.target_card import TargetCard
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, keep_in_line, label
from bitconverter.settings import Settings

WIDTH = 900


class ConvertLayout(QWidget):
    """The parts of the page. Emits `dropped` with the path of what was dropped on it."""

    dropped = Signal(str)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # nothing is highlighted before Tab is pressed
        self._settings = settings
        self._texts = Texts()
        self._build()

    def _build(self) -> None:
        title, subtitle = label("title"), label("muted", wrap=True)
        self._texts.set(title.setText, "convert-title")
        self._texts.set(subtitle.setText, "convert-subtitle")
        self.source_card = SourceCard(self._settings)
        self.target_card = TargetCard(self._settings["planes"])
        self.unfinished, self.run_card, self.console = Notice(), RunCard(), Console()
        self.resume_button, self.discard_button = Button("primary", "play"), Button("", "trash")
        self.convert_button, self.stop_button = Button("primary", "convert"), Button("", "stop")
        for button, key in (
            (self.resume_button, "resume"), (self.discard_button, "discard"),
            (self.convert_button, "convert"), (self.stop_button, "stop"),
        ):  # fmt: skip
            self._texts.set(button.setText, key)
        self.unfinished.buttons.insertWidget(0, self.resume_button)
        self.unfinished.buttons.insertWidget(1, self.discard_button)
        scrolled = QWidget()
        scrolled.setObjectName("scrolled")
        middle = QWidget()
        middle.setMaximumWidth(WIDTH)
        layout = QVBoxLayout(middle)
        layout.setContentsMargins(32, 28, 32, 28)
        layout.setSpacing(16)
        layout.addWidget(title)
        layout.addWidget(subtitle)
        parts = (self.unfinished, self.run_card, self.source_card, self.target_card, self.console)
        for part in parts:
            layout.addWidget(part)
        layout.addStretch()
        outer = QHBoxLayout(scrolled)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addStretch(1)
        outer.addWidget(middle, 100)
        outer.addStretch(1)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setWidget(scrolled)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(self.area, 1)
        page.addWidget(self._build_footer())

    def _build_footer(self) -> QFrame:
        """What is about to happen, and the buttons for it; always in sight."""
        self.footer = QFrame()
        self.footer.setObjectName("footer")
        self.summary = ElidedLabel("muted")
        inner = QWidget()
        inner.setMaximumWidth(WIDTH)
        line = QHBoxLayout(inner)
        line.setContentsMargins(32, 12, 32, 12)
        line.addWidget(self.summary, 1)
        line.addWidget(self.stop_button)
        line.addWidget(self.convert_button)
        outer = QHBoxLayout(self.footer)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addStretch(1)
        outer.addWidget(inner, 100)
        outer.addStretch(1)
        keep_in_line(self.area, outer)
        return self.footer

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        for part in (self.source_card, self.target_card, self.run_card, self.console):
            part.retranslate()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_model(event.mimeData()):
            self.source_card.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.source_card.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self.source_card.set_hot(False)
        path = dropped_model(event.mimeData())
        if path:
            event.acceptProposedAction()
            self.dropped.emit(path)
