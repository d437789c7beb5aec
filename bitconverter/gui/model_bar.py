"""The strip above the chat: which model, on what it runs, new chat, the drawer."""

import os
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QMenu, QSizePolicy, QWidget

from bitconverter.gui import theme
from bitconverter.gui.flow import LETTERS_CHANGED
from bitconverter.gui.messages import tr
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, IconButton, Texts, label
from bitconverter.settings import Settings

LEAST_NAME = (
    180  # logical pixels at a text size of 100 %: a longer name may be cut to this, not the badges kept
)
LEAST_SOUL = 60  # likewise, of the words beside the switch


class ModelBar(QFrame):
    """Emits `picked` with a folder of the recent list, `browse` and `browse_file` when another is."""

    picked = Signal(str)
    browse = Signal()
    browse_file = Signal()
    new_chat = Signal()
    soul_switched = Signal(bool)
    drawer_toggled = Signal(bool)
    history_toggled = Signal(bool)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("top-bar")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._settings = settings
        self._texts = Texts()
        self._name = ""
        self.model_button = Button("model", "chevron-down")
        self.model_button.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the name
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        self.model_button.clicked.connect(self._open_menu)
        self._soul = ""
        self.soul_switch = QCheckBox()
        self.soul_switch.clicked.connect(self.soul_switched)
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
        line.setSpacing(Space.SMALL)
        # aligned: else the lowest of them, an icon, would be as high as the line may be
        line.addWidget(self.history_button, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self.model_button, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self.soul_switch, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self._kind, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self._device, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addStretch()
        line.addWidget(self.new_button, 0, Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self.drawer_button, 0, Qt.AlignmentFlag.AlignVCenter)
        self.show_soul("", False, False)
        self.show_model("", "", "", "")

    def show_model(self, name: str, kind: str, device: str, device_tip: str) -> None:
        """The loaded model; empty strings without one."""
        self._name = name
        self.model_button.setAccessibleName(tr("choose-model", name=name or tr("no-model")))
        self._kind.setText(kind)
        self._device.setText(device)
        self._device.setToolTip(device_tip)
        self.model_button.setAccessibleDescription("  ·  ".join(part for part in (kind, device) if part))
        self._elide()

    def show_soul(self, name: str, on: bool, enabled: bool) -> None:
        """The soul of the loaded model, "" for none, and whether answers are made with it."""
        self._soul = name
        self.soul_switch.setVisible(bool(name))
        self.soul_switch.setChecked(on)  # says nothing: `clicked` is the user's
        self.soul_switch.setEnabled(enabled)
        self.soul_switch.setAccessibleName(tr("with-soul-name", name=name))
        self.soul_switch.setToolTip(tr("with-soul-tip", name=name))
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
        """A long name gives way to what is beside it, and the badges to a name that would be cut to nothing, then the
        words of the switch: the window may be narrow, and the letters large."""
        self._name_soul()
        name = self._name or tr("no-model")
        letters = self.model_button.fontMetrics()
        least = min(letters.horizontalAdvance(name), round(LEAST_NAME * theme.scale()))
        room = self._room(badges=2)
        badges = 2
        while badges and room < least:
            badges -= 1
            room = self._room(badges)
        if self._soul and room < least:
            self._name_soul(least - room)
            room = self._room(badges)
        self._kind.setVisible(bool(self._kind.text()) and badges > 0)
        self._device.setVisible(bool(self._device.text()) and badges > 1)
        cut = letters.elidedText(name, Qt.TextElideMode.ElideMiddle, max(room, 60))
        self.model_button.setText(cut.replace("&", "&&"))
        self.model_button.setToolTip(name if cut != name else "")

    def _name_soul(self, less: int = 0) -> None:
        """So many pixels less than its name takes."""
        words, letters = tr("with-soul", name=self._soul), self.soul_switch.fontMetrics()
        width = max(letters.horizontalAdvance(words) - less, round(LEAST_SOUL * theme.scale()))
        cut = letters.elidedText(words, Qt.TextElideMode.ElideMiddle, width) if less else words
        self.soul_switch.setText(cut.replace("&", "&&"))

    def _room(self, badges: int) -> int:
        """For the name's letters, beside so many of the badges."""
        parts: list[QWidget] = [self.history_button, self.new_button, self.drawer_button]
        parts += [self.soul_switch] if self._soul else []
        parts += [badge for badge in (self._kind, self._device)[:badges] if badge.text()]
        taken = sum(part.sizeHint().width() + 8 for part in parts)
        return self.width() - taken - round(70 * theme.scale())  # its own edges and arrow

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in LETTERS_CHANGED:
            QTimer.singleShot(0, self, self._elide)  # when the button knows of it as well

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
