"""System prompts under a name: a few of ours, and those that the user keeps."""

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QInputDialog, QLineEdit, QMenu

from bitconverter.gui.messages import tr
from bitconverter.gui.store_queue import StoreQueue
from bitconverter.gui.widgets import Button
from bitconverter.store.records import Preset

OURS = ("brief", "translator", "programmer", "editor", "tutor")


class PresetButton(Button):
    """Emits `chosen` with a text; `said` with a sentence and what undoes it."""

    chosen = Signal(str)
    said = Signal(object, object)

    def __init__(self) -> None:
        super().__init__("quiet", "chevron-down")
        self.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the word
        self._store: StoreQueue | None = None
        self._presets: list[Preset] = []
        self._text = ""
        self.clicked.connect(self._open)

    def use(self, store: StoreQueue) -> None:
        """Where the user's own are kept."""
        self._store = store
        self.reload()

    def reload(self) -> None:
        """Ask the store for them."""
        if self._store is not None:
            self._store.ask(lambda store: store.presets(), self._take)

    def _take(self, presets: list[Preset]) -> None:
        self._presets = presets

    def set_text(self, text: str) -> None:
        """The prompt that is set now: what "Save" would save."""
        self._text = text

    def presets(self) -> list[Preset]:
        """The user's own."""
        return self._presets

    def menu_now(self) -> QMenu:
        """Ours, the user's, and what can be done with them."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(tr("preset-none")).triggered.connect(lambda: self.chosen.emit(""))
        for name in OURS:
            action = menu.addAction(tr(f"preset-{name}"))
            action.triggered.connect(lambda _=False, name=name: self.chosen.emit(tr(f"preset-{name}-text")))
        if self._presets:
            menu.addSeparator()
        for preset in self._presets:
            action = menu.addAction(preset.name.replace("&", "&&"))
            action.triggered.connect(lambda _=False, text=preset.text: self.chosen.emit(text))
        menu.addSeparator()
        save = menu.addAction(tr("preset-save"))
        save.setEnabled(bool(self._text.strip()))
        save.triggered.connect(self._ask_name)
        if self._presets:
            gone = menu.addMenu(tr("preset-delete"))
            for preset in self._presets:
                action = gone.addAction(preset.name.replace("&", "&&"))
                action.triggered.connect(lambda _=False, preset=preset: self.delete(preset))
        return menu

    def _open(self) -> None:
        self.menu_now().popup(self.mapToGlobal(self.rect().bottomLeft()))

    def _ask_name(self) -> None:
        dialog = QInputDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(tr("preset-save-title"))
        dialog.setLabelText(tr("preset-name"))
        dialog.setTextEchoMode(QLineEdit.EchoMode.Normal)
        dialog.textValueSelected.connect(self.save)
        dialog.open()

    def save(self, name: str) -> None:
        """Keep the prompt of now under `name`; one of the same name is replaced."""
        name = " ".join(name.split())
        if not name or self._store is None:
            return
        same = next((preset for preset in self._presets if preset.name == name), None)
        preset = Preset(name, self._text) if same is None else Preset(name, self._text, same.id)
        self._store.ask(lambda store: store.save_preset(preset))
        self.reload()
        self.said.emit(partial(tr, "preset-saved", name=name), None)

    def delete(self, preset: Preset) -> None:
        """Into the bin, with a way back."""
        if self._store is None:
            return
        self._store.ask(lambda store: store.delete_preset(preset.id))
        self.reload()
        self.said.emit(partial(tr, "preset-deleted", name=preset.name), lambda: self._restore(preset))

    def _restore(self, preset: Preset) -> None:
        assert self._store is not None
        self._store.ask(lambda store: store.restore_preset(preset.id))
        self.reload()
