"""The settings: one page, made from the one typed list, searched by typing."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from bitconverter import paths
from bitconverter.gui.choose import choose_folder
from bitconverter.gui.device_field import DeviceField
from bitconverter.gui.flow import WrappedRow
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell
from bitconverter.gui.palette import matches
from bitconverter.gui.sections import ScrolledPage, card
from bitconverter.gui.tokens import Space
from bitconverter.gui.widgets import Button, ElidedLabel, Texts, label
from bitconverter.jobs.hardware import CardsJob
from bitconverter.jobs.job import Event, Finished
from bitconverter.settings import SETTINGS, Setting

GROUPS = ("look", "folders", "jobs", "engine")
MORE_PAGES = (("shortcuts", "keyboard"), ("diagnostics", "stethoscope"), ("about", "info"))


class SettingRow(QWidget):
    """One setting: its name, what it does, and the field for it. `store` gets the new value."""

    def __init__(self, setting: Setting, page: "SettingsPage") -> None:
        super().__init__()
        self.setting, self._page = setting, page
        self._texts = Texts()
        self._loading = False
        name, tip = label("strong", wrap=True), label("small", wrap=True)
        self._texts.set(name.setText, f"set-{setting.key}")
        self._texts.set(tip.setText, f"set-{setting.key}-tip")
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(name)
        words.addWidget(tip)
        self.field = self._build_field()
        self._texts.set(self.field.setAccessibleName, f"set-{setting.key}")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(Space.WIDE)
        line.addLayout(words, 3)
        line.addWidget(self.field, 2)

    def _build_field(self) -> QWidget:
        if self.setting.key == "device":
            return DeviceField(self._store)
        if self.setting.choices:
            box = QComboBox()
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(10)  # a long choice is cut; its list is as wide as it needs
            for value in self.setting.choices:
                box.addItem("", value)
            box.currentIndexChanged.connect(lambda _: self._store(box.currentData()))
            return box
        if self.setting.type is bool:
            check = QCheckBox()
            self._texts.set(check.setText, "set-on")
            check.toggled.connect(self._store)
            return check
        if self.setting.type is int:
            spin = QSpinBox()
            spin.setRange(0, os.cpu_count() or 1)
            spin.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            spin.valueChanged.connect(self._store)
            return spin
        return FolderField(self._store)

    def _store(self, value: Any) -> None:
        if not self._loading:
            self._page.store(self.setting.key, value)

    def show_value(self) -> None:
        """Show what is set now, in the language of now."""
        self._loading = True
        value = self._page.settings[self.setting.key]
        if isinstance(self.field, DeviceField):
            self.field.show_word(value)
        elif isinstance(self.field, QComboBox):
            for index, choice in enumerate(self.setting.choices):
                self.field.setItemText(index, choice_text(self.setting.key, choice))
            self.field.setCurrentIndex(self.field.findData(value))
        elif isinstance(self.field, QCheckBox):
            self.field.setChecked(value)
        elif isinstance(self.field, QSpinBox):
            self.field.setSpecialValueText(tr("threads-auto"))
            self.field.setValue(value)
        elif isinstance(self.field, FolderField):
            self.field.show_folder(value)
        self._loading = False

    def words(self) -> str:
        """What the search looks at."""
        parts = [tr(f"set-{self.setting.key}"), tr(f"set-{self.setting.key}-tip"), self.setting.key]
        if isinstance(self.field, DeviceField):
            parts += self.field.words()
        return " ".join([*parts, *(choice_text(self.setting.key, c) for c in self.setting.choices)])

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        self.show_value()


class FolderField(QWidget):
    """A folder that may be chosen, or none."""

    def __init__(self, store: Any) -> None:
        super().__init__()
        self._store = store
        self._folder = ""
        self._name, self._beside = (
            ElidedLabel("muted"),
            label("muted", wrap=True),
        )  # a path is cut, words are not
        self.button, self.clear_button = Button(), Button("quiet")
        self.button.clicked.connect(self._ask)
        self.clear_button.clicked.connect(lambda: self._choose(""))
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self._name, 1)
        line.addWidget(self._beside, 1)
        line.addWidget(self.clear_button)
        line.addWidget(self.button)

    def show_folder(self, folder: str) -> None:
        """The folder, "" for beside the source."""
        self._folder = folder
        self._name.set_text(folder)
        self._name.setVisible(bool(folder))
        self._beside.setText(tr("beside-source"))
        self._beside.setVisible(not folder)
        self.button.setText(tr("change"))
        self.clear_button.setText(tr("beside-source"))
        self.clear_button.setVisible(bool(folder))

    def _ask(self) -> None:
        folder = choose_folder(self, tr("set-output_folder"), self._folder)
        if folder:
            self._choose(folder)

    def _choose(self, folder: str) -> None:
        self._store(folder)
        self.show_folder(folder)


class SettingsPage(ScrolledPage):
    """Changes apply at once. Reset puts the file aside and can be undone."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, "settings")
        self._runner = JobRunner(self)  # asks the driver for the graphics cards
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(shell.idle)
        self._cards_known = False
        shell.setting_changed.connect(self._show_changed)
        self.search = QLineEdit()
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(120)
        self.search.setMaximumWidth(260)
        self.texts.set(self.search.setPlaceholderText, "search-settings")
        self.texts.set(self.search.setAccessibleName, "search-settings")
        self.search.textChanged.connect(self._filter)
        self.head.addWidget(self.search, 1)
        self.rows: dict[str, SettingRow] = {}
        self.cards: list[tuple[QFrame, list[SettingRow]]] = []
        for group in GROUPS:
            self._add_group(group)
        self.nothing = label("muted")
        self.texts.set(self.nothing.setText, "settings-nothing")
        self.nothing.hide()
        self.body.addWidget(self.nothing)
        self.body.addWidget(self._build_places())
        self.body.addStretch()
        self.retranslate()

    def _add_group(self, group: str) -> None:
        box, inner = card(f"set-group-{group}", self.texts)
        rows = [SettingRow(setting, self) for setting in SETTINGS if setting.group == group]
        for each in rows:
            self.rows[each.setting.key] = each
            inner.addWidget(each)
        self.cards.append((box, rows))
        self.body.addWidget(box)

    def _build_places(self) -> QWidget:
        box, inner = card("set-group-more", self.texts)
        self.place = ElidedLabel("small")
        open_button, self.reset_button = Button("", "folder"), Button("", "again")
        self.texts.set(open_button.setText, "open-settings-folder")
        self.texts.set(self.reset_button.setText, "reset-settings")
        open_button.clicked.connect(self._open_folder)
        self.reset_button.clicked.connect(self.reset)
        line = WrappedRow(Space.SMALL)
        for name, icon in MORE_PAGES:
            button = Button("", icon)
            self.texts.set(button.setText, f"page-{name}")
            button.clicked.connect(lambda _=False, name=name: self.shell.page_wanted.emit(name))
            line.add(button)
        second = WrappedRow(Space.SMALL)
        second.add(open_button)
        second.add(self.reset_button)
        inner.addWidget(line)
        inner.addWidget(second)
        inner.addWidget(self.place)
        return box

    def store(self, key: str, value: Any) -> None:
        """A field was changed."""
        self.settings[key] = value
        self.shell.setting_changed.emit(key)

    def _show_changed(self, key: str) -> None:
        """It may have been changed elsewhere: the text size by the keyboard."""
        if key in self.rows:
            self.rows[key].show_value()

    def reset(self) -> None:
        """The usual values; the file of before is kept beside the new one, and undo takes it back."""
        kept = self.settings.set_aside()
        self._apply_all()
        if kept is not None:
            self.shell.say(partial(tr, "settings-reset"), "undo", lambda: self._undo_reset(kept))

    def _undo_reset(self, kept: Path) -> None:
        self.settings.restore(kept)
        self._apply_all()

    def _apply_all(self) -> None:
        for key in self.rows:
            self.shell.setting_changed.emit(key)
        self.retranslate()

    def _filter(self, query: str) -> None:
        found = False
        for box, rows in self.cards:
            for each in rows:
                each.setVisible(matches(query, each.words()))
            shown = any(not each.isHidden() for each in rows)
            box.setVisible(shown)
            found = found or shown
        self.nothing.setVisible(not found)

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(paths.config_folder())))

    def entered(self) -> None:
        """What was changed elsewhere is seen; the graphics cards are asked for once."""
        for each in self.rows.values():
            each.show_value()
        self.search.setFocus()
        if not self._cards_known and not self._runner.busy:
            self._runner.start(CardsJob())

    def _on_event(self, event: Event) -> None:
        field = self.rows["device"].field
        if isinstance(event, Finished) and isinstance(field, DeviceField):
            self._cards_known = True
            field.show_cards(event.result)

    @property
    def busy(self) -> bool:
        """Whether the driver is being asked for its cards."""
        return self._runner.busy

    def shut_down(self) -> None:
        """It ends by itself, soon."""
        self._runner.cancel()

    def stop_and_wait(self) -> None:
        """Wait until the driver has answered."""
        self._runner.stop_and_wait()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self.place.set_text(tr("settings-place", path=str(self.settings.path)))
        for each in self.rows.values():
            each.retranslate()


def choice_text(key: str, value: Any) -> str:
    """A choice in words."""
    return f"{value} %" if key == "text_scale" else tr(f"set-{key}-{value}")
