"""The window: the rail, the pages, the strip at the bottom, and what concerns all of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractSlider, QApplication, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from bitconverter.gui import messages, theme
from bitconverter.gui.awake import Awake
from bitconverter.gui.commands import Commands
from bitconverter.gui.drop_overlay import DropOverlay, drop_text
from bitconverter.gui.dropping import dropped_paths, offer
from bitconverter.gui.messages import tr, why_text
from bitconverter.gui.pages import PAGES
from bitconverter.gui.palette import CommandPalette, Entry
from bitconverter.gui.qt_words import translate_qt
from bitconverter.gui.rail import Rail
from bitconverter.gui.status_strip import StatusStrip
from bitconverter.gui.tokens import TEXT_SCALES
from bitconverter.gui.widgets import Toast
from bitconverter.gui.window_life import WindowLife
from bitconverter.settings import Settings

if TYPE_CHECKING:
    from bitconverter.gui.chat_page import ChatPage
    from bitconverter.gui.convert_page import ConvertPage
    from bitconverter.gui.train_page import TrainPage

MOVES = {
    Qt.Key.Key_Up: QAbstractSlider.SliderAction.SliderSingleStepSub,
    Qt.Key.Key_Down: QAbstractSlider.SliderAction.SliderSingleStepAdd,
    Qt.Key.Key_PageUp: QAbstractSlider.SliderAction.SliderPageStepSub,
    Qt.Key.Key_PageDown: QAbstractSlider.SliderAction.SliderPageStepAdd,
    Qt.Key.Key_Home: QAbstractSlider.SliderAction.SliderToMinimum,
    Qt.Key.Key_End: QAbstractSlider.SliderAction.SliderToMaximum,
}
TAKES_BACK = ("undo", "cancel")  # what a line at the bottom offers when it is to take something back


class MainWindow(WindowLife):
    """Holds the pages; a page knows its jobs, the window knows neither jobs nor models."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._then: Callable[[], None] | None = None
        self._offered = ""  # the word of the button that does it
        self.palette_dialog: CommandPalette | None = None
        self.setAcceptDrops(True)
        self.activities = self.shell.activities
        self.awake = Awake(self.shell)
        self._rest = QTimer(self, interval=0)
        self._rest.timeout.connect(self._build_next_page)
        self._entered = self._over = False
        self.rail = Rail(PAGES)
        self.status = StatusStrip(self.activities)
        self._lay_out()
        self.commands = Commands(self)
        self._connect()
        self._add_commands()
        self._restore()
        self._choose_page(settings["page"])

    def _lay_out(self) -> None:
        middle = QWidget()
        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self.pages, 1)
        right.addWidget(self.status)
        line = QHBoxLayout(middle)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(0)
        line.addWidget(self.rail)
        line.addLayout(right, 1)
        self.setCentralWidget(middle)
        self.toast = Toast(middle)
        self.overlay = DropOverlay(middle)

    def _connect(self) -> None:
        self.rail.chosen.connect(self.show_page)
        self.status.wanted.connect(self.show_page)
        self.toast.action.connect(self._act_on_toast)
        shell = self.shell
        shell.page_wanted.connect(self.show_page)
        shell.model_wanted.connect(self.open_model)
        shell.model_made.connect(self._offer_model)
        shell.soul_wanted.connect(self.open_soul)
        shell.source_wanted.connect(self.convert_source)
        shell.resume_wanted.connect(self.resume)
        shell.files_wanted.connect(self.take_files)
        shell.setting_changed.connect(self.apply_setting)
        shell.to_save.connect(self._save_settings)
        shell.said.connect(self._say)
        self.activities.turned.connect(lambda _entry: self.rail.show_running(len(self.activities.running)))
        self.activities.turned.connect(self.tray.show_state)
        self.activities.progressed.connect(self.tray.show_progress)
        QApplication.styleHints().colorSchemeChanged.connect(self._system_theme_changed)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._keep_keyboard)
        self.appeared.connect(self._begin, Qt.ConnectionType.QueuedConnection)

    def _add_commands(self) -> None:
        add = self.commands.add
        on_rail = [spec for place in ("top", "bottom") for spec in PAGES if spec.place == place]
        for number, spec in enumerate(on_rail, 1):
            keys = "Ctrl+," if spec.name == "settings" else f"Ctrl+{number}"
            add(f"go-{spec.name}", keys, partial(self.show_page, spec.name), spec.icon)
        for spec in PAGES:
            if spec.place == "none":
                keys = "F1" if spec.name == "shortcuts" else ""
                add(f"go-{spec.name}", keys, partial(self.show_page, spec.name), spec.icon)
        add("palette", "Ctrl+K", self.open_palette, "search")
        add("new-chat", "Ctrl+N", self._new_chat, "plus")
        add("find-chats", "Ctrl+F", self._find_chats, "find")
        add("stop-or-leave", "Esc", self._escape, "stop")
        add("text-larger", "Ctrl++", lambda: self._zoom(1), "plus")
        add("text-smaller", "Ctrl+-", lambda: self._zoom(-1), "search")
        add("text-usual", "Ctrl+0", lambda: self._zoom(0), "search")
        add("full-screen", "F11", self._toggle_full_screen, "external")
        add("undo-last", "Ctrl+Shift+Z", self._undo_last, "undo")
        add("pause-all", "", self.shell.pause_all, "pause")
        add("quit", "Ctrl+Q", self.close, "close")

    # ---- pages

    @property
    def chat(self) -> "ChatPage":
        """The page of the chat."""
        return cast("ChatPage", self.pages["chat"])

    @property
    def convert(self) -> "ConvertPage":
        """The page of the conversion."""
        return cast("ConvertPage", self.pages["convert"])

    @property
    def train(self) -> "TrainPage":
        """The page of the training."""
        return cast("TrainPage", self.pages["train"])

    @property
    def page_name(self) -> str:
        """The page that is shown."""
        return self.pages.name

    def show_page(self, name: str) -> None:
        """Show the page `name`; one that is not known (of another version) is the welcome."""
        self._choose_page(name)
        self._entered = True
        self.pages.current.entered()

    def _choose_page(self, name: str) -> None:
        name = name if name in self.pages else "welcome"
        self._settings["page"] = name
        self.pages.setCurrentWidget(self.pages[name])
        self.rail.show_chosen(name)
        # its part with buttons, and a line of its own, which the line at the bottom may not cover
        parts = (getattr(self.pages[name], part, None) for part in ("foot", "toast"))
        self.toast.stand_above(*(part for part in parts if part is not None))

    def _begin(self) -> None:
        """What the first page begins by itself, and the other pages, so that nobody waits for them later."""
        if self._over:  # closed before it was told
            return
        if not self._entered:
            self.show_page(self.page_name)
        self._rest.start()

    def _build_next_page(self) -> None:
        """One in each turn of the loop: the user may be typing already. Then what the first job needs."""
        missing = self.pages.missing
        if missing and not self._closing:
            self.pages.build(missing[0])
            return
        self._rest.stop()
        if not self._closing:
            self.awake.prepare()

    def stop_and_wait(self) -> None:
        """Also what is none of the pages': building the rest of them, and keeping the PC awake."""
        self._over = True
        self._rest.stop()
        super().stop_and_wait()
        self.awake.let_go()

    def open_model(self, path: str) -> None:
        """Show the chat and open the model `path` there."""
        self.show_page("chat")
        self.chat.open_model(path)

    def _offer_model(self, path: str) -> None:
        self.chat.offer_model(path)

    def open_soul(self, path: str, model: str = "") -> None:
        """Show the chat and open the soul `path` there, on its `model` ("": wherever that lies)."""
        self.show_page("chat")
        self.chat.open_soul(path, model)

    def convert_source(self, path: str) -> None:
        """Show the conversion of the model `path`."""
        self.show_page("convert")
        self.convert.choose_source(path)

    def resume(self, out: str) -> None:
        """Go on with the unfinished conversion into `out`."""
        self.show_page("convert")
        self.convert.resume_into(out)

    def take_files(self, paths: list[str]) -> None:
        """Named when the program was started, or started again: models are opened in the chat, and the rest is
        done what is usual for its kind."""
        self.bring_to_front()
        for path in paths:
            self._take(path, "chat")

    def _take(self, path: str, page: str) -> None:
        drop = offer(path, page)
        if drop.action == "chat" and drop.kind == "soul":
            self.open_soul(drop.path)
        elif drop.action == "chat":
            self.open_model(drop.path)
        elif drop.kind == "partial":
            self.resume(drop.path.removesuffix(".partial"))
        elif drop.action == "convert":
            self.convert_source(drop.path)
        elif drop.action == "shelf":
            self.show_page("shelf")
            self.pages["shelf"].add_folder(drop.path)  # type: ignore[attr-defined]
        elif drop.action == "attach":
            self.show_page("chat")
            self.chat.attach_files([drop.path])
        elif drop.action == "train":
            self.show_page("train")
            self.train.add_material([drop.path])
        else:
            self._say(lambda: f"{Path(drop.path).name}: {drop_text(drop)}")

    def _new_chat(self) -> None:
        self.show_page("chat")
        self.chat.new_chat()

    def _find_chats(self) -> None:
        self.show_page("chat")
        self.chat.find_in_chats()

    def _escape(self) -> None:
        self.pages.current.escape()

    def open_palette(self) -> None:
        """Offer every command and the recent models."""
        entries = [
            Entry(command.title(), command.keys, command.icon, command.run)
            for command in self.commands.all
            if command.text != "palette"
        ]
        for folder in self._settings["recent_models"]:
            title = tr("chat-with", name=Path(folder).name)
            entries.append(Entry(title, "", "chat", partial(self.open_model, folder)))
        self.palette_dialog = CommandPalette(entries, self)
        self.palette_dialog.open()

    def _toggle_full_screen(self) -> None:
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    # ---- what is said at the bottom

    def _say(self, text: Callable[[], str], action: str = "", then: Callable[[], None] | None = None) -> None:
        self._then, self._offered = then, action
        self.toast.show_text(text, action)

    def say_it_was_cut_off(self, faulted: bool) -> None:
        """The program ended last time without being closed; `faulted`: by a fault of native code."""
        text = partial(tr, "ended-by-fault" if faulted else "ended-from-outside")
        self.shell.say(text, "page-diagnostics", partial(self.show_page, "diagnostics"))

    def _act_on_toast(self) -> None:
        then, self._then = self._then, None
        self.toast.dismiss()
        if then is not None:
            then()

    def _undo_last(self) -> None:
        """Only what a line that is still there takes back: with the line, the offer has gone. The chat has a line of
        its own; the window's comes first."""
        if self.toast.isVisible() and self._then is not None and self._offered in TAKES_BACK:
            self._act_on_toast()
        elif self.page_name == "chat" and self.chat.can_undo:
            self.chat.undo()

    # ---- settings

    def apply_setting(self, key: str) -> None:
        """Make the window follow the setting `key`, and keep it."""
        if key == "language":
            messages.set_language(self._settings["language"])
            translate_qt()
            self.retranslate()
        elif key == "theme":
            self._apply_theme()
        elif key == "text_scale":
            self._apply_scale()
        self._save_settings()

    def _system_theme_changed(self) -> None:
        if self._settings["theme"] == "auto":
            self._apply_theme()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ThemeChange:  # a contrast theme is no other colour scheme
            self._system_theme_changed()
        return super().event(event)

    def _apply_theme(self) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, self._settings["theme"])

    def _apply_scale(self) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.set_scale(self._settings["text_scale"])
        theme.use_fonts(app)
        self._apply_theme()

    def _zoom(self, step: int) -> None:
        at = TEXT_SCALES.index(self._settings["text_scale"])
        at = TEXT_SCALES.index(100) if step == 0 else min(max(at + step, 0), len(TEXT_SCALES) - 1)
        self._settings["text_scale"] = TEXT_SCALES[at]
        self.shell.setting_changed.emit("text_scale")
        self._say(partial(tr, "text-size", percent=TEXT_SCALES[at]))

    def _save_settings(self) -> None:
        try:
            self._settings.save()
        except OSError as error:
            words = error.strerror or str(error)
            self._say(lambda: tr("settings-not-saved", reason=why_text(words)))

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        self.rail.retranslate()
        self.activities.retranslate()
        self.status.retranslate()
        self.tray.retranslate()
        self.toast.retranslate()
        for page in self.pages:
            page.retranslate()
        self.rail.show_running(len(self.activities.running))

    # ---- dragging onto any page

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        paths = dropped_paths(event.mimeData())
        if paths:
            name = Path(paths[0]).name + (f"  +{len(paths) - 1}" if len(paths) > 1 else "")
            self.overlay.show_drop(offer(paths[0], self.page_name), name)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.overlay.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        self.overlay.hide()
        page = self.page_name
        for path in dropped_paths(event.mimeData()):
            self._take(path, page)
        event.acceptProposedAction()

    # ---- the keyboard

    def _keep_keyboard(self, before: QWidget | None, now: QWidget | None) -> None:
        """Qt gives the keyboard to the next control when the one that has it goes away or is switched off, and after
        the last to the rail: there the next Space does something else, or leaves the page. The page takes it."""
        page = self.pages.currentWidget()
        if before is None or now is None or now.window() is not self or not page.isAncestorOf(before):
            return
        if not (before.isVisible() and before.isEnabled()):
            home: QWidget = getattr(page, "keyboard_home", page)
            home.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """A page that is longer than the window moves with the keys for that also where nothing inside of it has the
        keyboard: some pages are only read."""
        area, move = getattr(self.pages.currentWidget(), "area", None), MOVES.get(Qt.Key(event.key()))
        if isinstance(area, QScrollArea) and move is not None:
            area.verticalScrollBar().triggerAction(move)
        else:
            super().keyPressEvent(event)
