"""The strip above the chat: which model, on what it runs, new chat, the drawer."""

import os
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu

from bitconverter.gui.messages import tr
from bitconverter.gui.widgets import Button, IconButton, Texts, label
from bitconverter.settings import Settings


class ModelBar(QFrame):
    """Emits `picked` with a folder of the recent list, `browse` and `browse_file` when another is."""

    picked = Signal(str)
    browse = Signal()
    browse_file = Signal()
    new_chat = Signal()
    drawer_toggled = Signal(bool)
    history_toggled = Signal(bool)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("top-bar")
        self._settings = settings
        self._texts = Texts()
        self._name = ""
        self.model_button = Button("model", "chevron-down")
        self.model_button.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the name
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        self.model_button.clicked.connect(self._open_menu)
        self._device, self._kind = label("badge"), label("badge")
        self.new_button, self.drawer_button = Button("quiet", "plus"), IconButton("panel", size=20)
        self.history_button = IconButton("history", size=20)
        self.history_button.setCheckable(True)
        self.history_button.setChecked(settings["history_open"])
        self.history_button.toggled.connect(self.history_toggled)
        self._texts.set(self.history_button.set_text, "toggle-history")
        self.drawer_button.setCheckable(True)
        self.drawer_button.setChecked(settings["drawer_open"])
        self.new_button.clicked.connect(self.new_chat)
        self.drawer_button.toggled.connect(self.drawer_toggled)
        self._texts.set(self.new_button.setText, "new-chat")
        self._texts.set(self.drawer_button.set_text, "toggle-drawer")
        line = QHBoxLayout(self)
        line.setContentsMargins(14, 8, 14, 8)
        line.setSpacing(8)
        line.addWidget(self.history_button)
        line.addWidget(self.model_button)
        line.addWidget(self._kind)
        line.addWidget(self._device)
        line.addStretch()
        line.addWidget(self.new_button)
        line.addWidget(self.drawer_button)
        self.show_model("", "", "", "")

    def show_model(self, name: str, kind: str, device: str, device_tip: str) -> None:
        """The loaded model; empty strings without one."""
        self._name = name
        self.model_button.setAccessibleName(tr("choose-model", name=name or tr("no-model")))
        self._kind.setText(kind)
        self._kind.setVisible(bool(kind))
        self._device.setText(device)
        self._device.setToolTip(device_tip)
        self._device.setVisible(bool(device))
        self._elide()

    def show_buttons(self, history: bool, drawer: bool) -> None:
        """Show whether the history and the drawer are there, without asking for them."""
        for button, on in ((self.history_button, history), (self.drawer_button, drawer)):
            button.blockSignals(True)
            button.setChecked(on)
            button.blockSignals(False)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        """A long name gives way to what is beside it: the window may be narrow."""
        others = (self.history_button, self._kind, self._device, self.new_button, self.drawer_button)
        taken = sum(part.sizeHint().width() + 8 for part in others if not part.isHidden())
        room = max(self.width() - taken - 90, 90)
        name = self._name or tr("no-model")
        cut = self.model_button.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, room)
        self.model_button.setText(cut.replace("&", "&&"))
        self.model_button.setToolTip(name if cut != name else "")

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()

    def _open_menu(self) -> None:
        self._menu.popup(self.model_button.mapToGlobal(self.model_button.rect().bottomLeft()))

    def _fill_menu(self) -> None:
        self._menu.clear()
        for folder in existing_models(self._settings):
            action = self._menu.addAction(Path(folder).name.replace("&", "&&"))
            action.setToolTip(folder)
            action.triggered.connect(lambda _=False, folder=folder: self.picked.emit(folder))
        if not self._menu.isEmpty():
            self._menu.addSeparator()
        self._menu.addAction(tr("open-model")).triggered.connect(self.browse)
        self._menu.addAction(tr("choose-gguf")).triggered.connect(self.browse_file)
        self._menu.setToolTipsVisible(True)


def existing_models(settings: Settings) -> list[str]:
    """The recent models that are there now."""
    return [folder for folder in settings["recent_models"] if os.path.exists(folder)]
