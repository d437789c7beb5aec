"""The window: the rail at the left, the pages, and what concerns all of them."""

from PySide6.QtCore import QByteArray, QEvent, QSize, Qt
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from bitconverter.gui import artwork, messages, theme
from bitconverter.gui.chat_page import ChatPage
from bitconverter.gui.convert_page import ConvertPage
from bitconverter.gui.messages import tr
from bitconverter.gui.qt_words import translate_qt
from bitconverter.gui.settings_dialog import SettingsDialog
from bitconverter.gui.widgets import IconLabel, Texts, Toast
from bitconverter.settings import Settings

PAGES = ("chat", "convert")
LEAST_SIZE = (760, 480)  # a screen of 1366 x 768 at 150 % has 911 x 512, less the task bar


class RailButton(QToolButton):
    """An icon over a word."""

    def __init__(self, icon: str) -> None:
        super().__init__()
        self._icon = icon
        self.setProperty("kind", "rail")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        self.setIconSize(QSize(24, 24))
        self.setFixedSize(74, 62)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.toggled.connect(self._tint)
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._tint()

    def _tint(self) -> None:
        colors = theme.current()
        self.setIcon(artwork.icon(self._icon, colors.accent if self.isChecked() else colors.muted, size=24))


class MainWindow(QMainWindow):
    """Holds the pages; a page is a widget that knows its jobs, the window knows neither jobs nor models."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._texts = Texts()
        self._closing = False
        self.settings_dialog: SettingsDialog | None = None
        self.setWindowTitle(tr("app-name"))
        self.setMinimumSize(*LEAST_SIZE)
        self.chat, self.convert = ChatPage(settings), ConvertPage(settings)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.chat)
        self.pages.addWidget(self.convert)
        middle = QWidget()
        line = QHBoxLayout(middle)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(0)
        line.addWidget(self._build_rail())
        line.addWidget(self.pages, 1)
        self.setCentralWidget(middle)
        self.toast = Toast(middle)
        self._connect()
        self._shortcuts()
        self._restore()
        self.show_page(settings["page"])

    def _build_rail(self) -> QFrame:
        rail = QFrame()
        rail.setObjectName("rail")
        rail.setFixedWidth(92)
        layout = QVBoxLayout(rail)
        layout.setContentsMargins(9, 16, 8, 14)
        layout.setSpacing(6)
        layout.addWidget(IconLabel("mark", "accent", 32), 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addSpacing(14)
        self._group = QButtonGroup(self)
        self.rail_buttons: dict[str, RailButton] = {}
        for position, name in enumerate(PAGES):
            button = RailButton(name)
            button.setCheckable(True)
            self._texts.set(button.setText, f"page-{name}")
            self._texts.set(button.setAccessibleName, f"page-{name}")
            button.setToolTip(f"Ctrl+{position + 1}")
            self._group.addButton(button, position)
            self.rail_buttons[name] = button
            layout.addWidget(button)
        layout.addStretch()
        self.settings_button = RailButton("settings")
        self._texts.set(self.settings_button.setText, "settings")
        self._texts.set(self.settings_button.setAccessibleName, "settings")
        self.settings_button.setToolTip("Ctrl+,")
        self.settings_button.clicked.connect(self.open_settings)
        layout.addWidget(self.settings_button)
        self._texts.set(rail.setAccessibleName, "pages")
        return rail

    def _connect(self) -> None:
        self._group.idClicked.connect(lambda position: self.show_page(PAGES[position]))
        self.chat.convert_requested.connect(lambda: self.show_page("convert"))
        self.convert.chat_requested.connect(self.open_model)
        self.convert.converted.connect(self.chat.offer_model)
        self.chat.idle.connect(self._close_when_idle)
        self.convert.idle.connect(self._close_when_idle)
        self.chat.drawer.to_save.connect(self._save_settings)
        self.convert.to_save.connect(self._save_settings)
        QApplication.styleHints().colorSchemeChanged.connect(self._system_theme_changed)

    def _shortcuts(self) -> None:
        for position, name in enumerate(PAGES):
            shortcut = QShortcut(QKeySequence(f"Ctrl+{position + 1}"), self)
            shortcut.activated.connect(lambda name=name: self.show_page(name))
        for keys, action in (
            ("Ctrl+N", self._new_chat),
            ("Ctrl+,", self.open_settings),
            ("Esc", self._escape),
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(action)

    # ---- pages

    def show_page(self, name: str) -> None:
        """Show the page `name`."""
        position = PAGES.index(name)
        self._settings["page"] = name
        self.pages.setCurrentIndex(position)
        self.rail_buttons[name].setChecked(True)
        if name == "chat":
            self.chat.composer.edit.setFocus()
        else:
            self.convert.setFocus()

    def open_model(self, path: str) -> None:
        """Show the chat and open the model `path` there."""
        self.show_page("chat")
        self.chat.open_model(path)

    def _new_chat(self) -> None:
        self.show_page("chat")
        self.chat.new_chat()

    def _escape(self) -> None:
        if self.pages.currentWidget() is self.chat:
            self.chat.stop()
        else:
            self.convert.stop()

    # ---- settings

    def open_settings(self) -> None:
        """Show the settings over the window."""
        dialog = SettingsDialog(self._settings, self)
        dialog.changed.connect(self.apply_setting)
        dialog.finished.connect(dialog.deleteLater)
        dialog.finished.connect(self._settings_closed)
        self.settings_dialog = dialog
        dialog.open()

    def _settings_closed(self) -> None:
        self.settings_dialog = None

    def apply_setting(self, key: str) -> None:
        """Make the window follow the setting `key`, and keep it."""
        if key == "language":
            messages.set_language(self._settings["language"])
            translate_qt()
            self.retranslate()
        elif key == "theme":
            self._apply_theme()
        self._save_settings()

    def _system_theme_changed(self) -> None:
        if self._settings["theme"] == "auto":
            self._apply_theme()

    def _apply_theme(self) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, self._settings["theme"])

    def _save_settings(self) -> bool:
        try:
            self._settings.save()
        except OSError as error:
            self.toast.show_text(tr("settings-not-saved", reason=error.strerror or str(error)))
            return False
        return True

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self._texts.refresh()
        if self.settings_dialog is not None:
            self.settings_dialog.retranslate()
        self.chat.retranslate()
        self.convert.retranslate()

    # ---- opening and closing

    def _restore(self) -> None:
        geometry = QByteArray.fromBase64(self._settings["window_geometry"].encode())
        if geometry.isEmpty() or not self.restoreGeometry(geometry):
            self.resize(1180, 780)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        problems, self._settings.problems = self._settings.problems, []
        if problems:
            self.toast.show_text(tr("settings-damaged", names=", ".join(problems)))

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.chat.busy and not self.convert.busy:
            self._finish()
            event.accept()
            return
        event.ignore()
        if self._closing or (self.convert.converting and not self._may_stop()):
            return
        if not self.chat.busy and not self.convert.busy:  # ended while the question was open
            self.close()
            return
        self._closing = True
        self.setWindowTitle(f"{tr('app-name')} - {tr('closing')}")
        self.toast.show_text(tr("closing"))
        self.chat.shut_down()
        self.convert.shut_down()

    def _may_stop(self) -> bool:
        box = QMessageBox(QMessageBox.Icon.Question, tr("close-title"), tr("close-text"), parent=self)
        stop = box.addButton(tr("close-yes"), QMessageBox.ButtonRole.AcceptRole)
        stay = box.addButton(tr("close-no"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(stay)  # Enter, pressed for something else, must not stop hours of work
        box.exec()
        return box.clickedButton() is stop

    def _close_when_idle(self) -> None:
        if self._closing and not self.chat.busy and not self.convert.busy:
            self.close()

    def _finish(self) -> None:
        self.chat.stop_and_wait()
        self.convert.stop_and_wait()
        self._settings["window_geometry"] = bytes(self.saveGeometry().toBase64().data()).decode("ascii")
        self._save_settings()
