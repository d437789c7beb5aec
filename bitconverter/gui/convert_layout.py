"""How the convert page looks: its parts and where they are. What they do is convert_page.py's."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from bitconverter.gui.console import Console
from bitconverter.gui.convert_queue import ConvertQueue
from bitconverter.gui.notice import Notice
from bitconverter.gui.queue_list import QueueList
from bitconverter.gui.run_card import RunCard
from bitconverter.gui.sections import above_footer, scrolled_column
from bitconverter.gui.source_card import SourceCard
from bitconverter.gui.target_card import TargetCard
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, label
from bitconverter.settings import Settings


class ConvertLayout(QWidget):
    """The parts of the page."""

    def __init__(self, settings: Settings, queue: ConvertQueue) -> None:
        super().__init__()
        self.queue = queue
        self.setObjectName("page")
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # nothing is highlighted before Tab is pressed
        self._settings = settings
        self._texts = Texts()
        self._build()

    def _build(self) -> None:
        title, subtitle = label("title", wrap=True), label("muted", wrap=True)
        self._texts.set(title.setText, "convert-title")
        self._texts.set(subtitle.setText, "convert-subtitle")
        self.source_card = SourceCard(self._settings)
        self.target_card = TargetCard(self._settings["preset"])
        self.queue_list = QueueList(self.queue)
        self.unfinished, self.run_card, self.console = Notice(), RunCard(), Console()
        self.resume_button, self.discard_button = Button("primary", "play"), Button("", "trash")
        self.convert_button = Button("primary", "convert")
        for button, key in (
            (self.resume_button, "resume"), (self.discard_button, "discard"),
            (self.convert_button, "convert"),
        ):  # fmt: skip
            self._texts.set(button.setText, key)
        self.unfinished.buttons.insertWidget(0, self.resume_button)
        self.unfinished.buttons.insertWidget(1, self.discard_button)
        self.area, layout = scrolled_column(28)
        layout.addWidget(title)
        layout.addWidget(subtitle)
        parts = (
            self.unfinished, self.run_card, self.queue_list, self.source_card, self.target_card, self.console,
        )  # fmt: skip
        for part in parts:
            layout.addWidget(part)
        layout.addStretch()
        self.summary = ElidedLabel("muted")  # what is about to happen
        self.footer = above_footer(self, self.area, self.summary, self.convert_button)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        for part in (self.source_card, self.target_card, self.run_card, self.queue_list, self.console):
            part.retranslate()
