"""The window: pages, shortcuts, languages, themes, errors, and closing with work in progress."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QEvent, QPoint, QRect, QSettings, Qt
from PySide6.QtGui import QColor, QImage, QKeySequence, QPainter
from PySide6.QtWidgets import (
    QApplication,
    QDialogButtonBox,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QStyle,
    QStyleOptionViewItem,
)
from window_checks import contrast, nameless

from bitconverter.gui import about_page, awake, theme
from bitconverter.gui.activity import Activity, Work
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.crash_dialog import CrashHooks
from bitconverter.gui.history_model import Row
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.messages import tr
from bitconverter.gui.pages import PAGES
from bitconverter.gui.style_sheet import style_sheet
from bitconverter.gui.welcome_page import verdict
from bitconverter.gui.widgets import Button, IconLabel
from bitconverter.gui.window_life import LEAST_SIZE, USUAL_SIZE
from bitconverter.jobs.job import Progress, Token
from bitconverter.settings import Settings

ROOT = Path(__file__).parents[2]
LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


def _keys_of(window, text: str) -> QKeySequence:
    return QKeySequence(next(c.keys for c in window.commands.all if c.text == text))


def _press(window, qtbot, text: str) -> None:
    combination = _keys_of(window, text)[0]
    qtbot.keyClick(window, combination.key(), combination.keyboardModifiers())


def test_the_rail_and_the_keyboard_change_the_page(window, qtbot):
    window.activateWindow()
    qtbot.mouseClick(window.rail.buttons["convert"], Qt.MouseButton.LeftButton)
    assert window.pages.currentWidget() is window.convert
    _press(window, qtbot, "go-chat")
    assert window.pages.currentWidget() is window.chat and window.rail.buttons["chat"].isChecked()
    _press(window, qtbot, "go-convert")
    assert window.pages.currentWidget() is window.convert
    assert not window.rail.buttons["chat"].isChecked()
    _press(window, qtbot, "new-chat")
    assert window.pages.currentWidget() is window.chat


@pytest.mark.parametrize("name", [spec.name for spec in PAGES])
def test_every_page_can_be_reached_and_speaks_both_languages(window, settings, name):
    window.show_page(name)
    assert window.page_name == name and settings["page"] == name
    for language in ("ja", "en"):
        settings["language"] = language
        window.apply_setting("language")


def test_a_page_of_another_version_is_the_welcome(settings, qtbot):
    settings["page"] = "sleep"
    window = MainWindow(settings)
    qtbot.addWidget(window)
    assert window.page_name == "welcome"
    window.stop_and_wait()


def test_shortcuts_are_all_different(window):
    keys = [c.keys for c in window.commands.all if c.keys]
    assert len(keys) == len(set(keys)) > 10
    with pytest.raises(ValueError, match="taken"):
        window.commands.add("quit", keys[0], window.close)


@pytest.mark.parametrize("name", [spec.name for spec in PAGES])
def test_every_control_has_a_name_for_screen_readers(window, name, qtbot):
    window.show_page(name)
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert nameless(window) == []


def test_the_language_changes_at_once_and_back(window, settings):
    window.show_page("settings")
    box = window.pages["settings"].rows["language"].field
    box.setCurrentIndex(box.findData("ja"))
    assert window.rail.buttons["convert"].text() == "変換"
    assert window.convert.convert_button.text() == "変換する"
    assert "「モデルなし」" in window.chat.composer.edit.placeholderText()
    assert window.pages["settings"].title.text() == "設定"
    assert Settings(settings.path)["language"] == "ja"
    box.setCurrentIndex(box.findData("en"))
    assert window.rail.buttons["convert"].text() == "Convert"


def test_the_theme_changes_at_once(window, qapp):
    window.show_page("settings")
    box = window.pages["settings"].rows["theme"].field
    for name, colors in (("dark", theme.DARK), ("contrast", theme.CONTRAST), ("light", theme.LIGHT)):
        box.setCurrentIndex(box.findData(name))
        assert theme.current() is colors and qapp.palette().window().color() == QColor(colors.window)


def test_a_contrast_theme_of_windows_is_followed_while_the_window_is_open(
    window, settings, monkeypatch, tmp_path
):
    flags = "0"

    class Registry(QSettings):
        def __init__(self, _place, _format):
            # a file for each: Qt does not read one again that has the size and the time (to 4 ms) of before
            file = tmp_path / f"{flags}.ini"
            file.write_text(f"[General]\nFlags={flags}\n", encoding="utf-8")
            super().__init__(str(file), QSettings.Format.IniFormat)

    monkeypatch.setattr(theme, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(theme, "QSettings", Registry)
    settings["theme"] = "auto"
    for flags, followed in (("126", False), ("127", True), ("x", False), ("1", True)):  # bit 0: it is on
        QApplication.sendEvent(window, QEvent(QEvent.Type.ThemeChange))
        assert (theme.current() is theme.CONTRAST) == followed, flags
    settings["theme"] = "light"
    QApplication.sendEvent(window, QEvent(QEvent.Type.ThemeChange))
    assert theme.current() is theme.CONTRAST  # the user's own choice is not touched by the system
    window.apply_setting("theme")
    assert theme.current() is theme.LIGHT


@pytest.mark.parametrize(
    ("system", "language"), [("ja_JP.UTF-8", "ja"), ("en_US.UTF-8", "en"), ("de_DE.UTF-8", "en")]
)
def test_the_first_start_speaks_the_language_of_the_system(tmp_path, system, language):
    code = (
        "from PySide6.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from bitconverter import paths\n"
        "from bitconverter.gui import messages\n"
        "from bitconverter.gui.appearance import prepare\n"
        "from bitconverter.settings import Settings\n"
        "prepare(app, Settings(paths.settings_file()))\n"
        "print(messages.language())"
    )
    environment = {
        **os.environ, "LANG": system, "LC_ALL": system, "LANGUAGE": "", "BITCONVERTER_HOME": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == language


def test_the_text_size_changes_with_the_keyboard_and_in_the_settings(window, settings, qapp, qtbot):
    window.activateWindow()
    usual = qapp.font().pointSizeF()
    _press(window, qtbot, "text-larger")
    assert qapp.font().pointSizeF() == pytest.approx(usual * 1.1) and settings["text_scale"] == 110
    _press(window, qtbot, "text-usual")
    assert qapp.font().pointSizeF() == pytest.approx(usual)
    window.show_page("settings")
    box = window.pages["settings"].rows["text_scale"].field
    assert box.currentData() == 100
    box.setCurrentIndex(box.findData(200))
    assert qapp.font().pointSizeF() == pytest.approx(usual * 2)
    mono = [window.convert.console.view, window.pages["diagnostics"].view, window.pages["about"].view]
    large = [view.font().pointSizeF() for view in mono]
    icons = [
        button.iconSize().height() for button in window.findChildren(Button) if not button.icon().isNull()
    ]
    assert set(icons) == {27}  # half as much larger as the letters
    assert {icon.width() for icon in window.pages["welcome"].findChildren(IconLabel)} == {27, 33, 45}
    _press(window, qtbot, "text-smaller")
    assert box.currentData() == settings["text_scale"] < 200
    _press(window, qtbot, "text-usual")
    assert box.currentData() == 100
    assert [2 * view.font().pointSizeF() for view in mono] == pytest.approx(large)


@pytest.mark.parametrize(
    "colors", [theme.LIGHT, theme.DARK, theme.CONTRAST], ids=["light", "dark", "contrast"]
)
def test_text_can_be_read_on_every_background(colors):
    for back in (
        colors.window,
        colors.surface,
        colors.raised,
        colors.rail,
        colors.accent_soft,
        colors.user,
        colors.track,
    ):
        assert contrast(colors.text, back) >= 7
    for back in (colors.window, colors.surface, colors.raised, colors.rail, colors.code):
        assert contrast(colors.muted, back) >= 4.5
    for front, back in (
        (colors.accent, colors.window), (colors.accent, colors.surface), (colors.accent, colors.accent_soft),
        (colors.accent_text, colors.accent), (colors.error, colors.surface), (colors.ok, colors.surface),
        (colors.warning, colors.surface), (colors.ok, colors.ok_soft), (colors.error, colors.error_soft),
        (colors.warning, colors.warning_soft), (colors.text, colors.error_soft), (colors.text, colors.warning_soft),
    ):  # fmt: skip
        assert contrast(front, back) >= 4.5, (front, back)


def test_a_control_that_goes_away_does_not_hand_the_keyboard_to_the_rail(window, qtbot):
    window.activateWindow()
    window.show_page("diagnostics")
    page = window.pages["diagnostics"]
    page.start_button.setFocus()
    qtbot.keyClick(page.start_button, Qt.Key.Key_Space)  # it is switched off until the end
    assert QApplication.focusWidget() is page
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    window.show_page("activity")
    page = window.pages["activity"]
    page.clear_button.setFocus()
    qtbot.keyClick(page.clear_button, Qt.Key.Key_Space)  # it goes away with the list
    assert QApplication.focusWidget() is page and not page.clear_button.isVisible()


def test_a_page_that_is_only_read_moves_with_the_keys(window, qtbot):
    window.resize(*LEAST_SIZE)
    window.show_page("shortcuts")
    window.activateWindow()
    bar = window.pages["shortcuts"].area.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    for who in (window.pages["shortcuts"], window.rail.buttons["chat"]):
        who.setFocus()
        for key, at in ((Qt.Key.Key_End, bar.maximum()), (Qt.Key.Key_Home, 0)):
            qtbot.keyClick(who, key)
            assert bar.value() == at
        qtbot.keyClick(who, Qt.Key.Key_PageDown)
        assert bar.value() > 0
        bar.setValue(0)


@pytest.mark.parametrize("look", ["light", "dark", "contrast"])
def test_what_is_under_the_mouse_or_filled_up_can_be_read(settings, window, look, qtbot):
    settings["theme"] = look
    window.apply_setting("theme")
    colors = theme.current()
    bar = QProgressBar()
    bar.setTextVisible(False)
    bar.setValue(50)
    bar.resize(200, 8)
    qtbot.addWidget(bar)
    image = bar.grab().toImage()
    done, left = (image.pixelColor(x, 4).name() for x in (40, 160))
    assert contrast(done, left) >= 3, (done, left)
    for empty in (QLineEdit(), QPlainTextEdit()):
        qtbot.addWidget(empty)
        empty.setPlaceholderText("█" * 20)  # its middle is the colour of the letters, without smooth edges
        empty.resize(200, 40)
        image = empty.grab().toImage()
        drawn = {image.pixelColor(x, y).name() for x in range(20, 120) for y in range(8, 30)}
        assert max(contrast(color, colors.surface) for color in drawn) >= 4.5, drawn
    for place, rule in re.findall(r"([^{}]+){([^{}]*)}", style_sheet(colors)):
        under = re.search(r"background: (#\w+)", rule)
        if under and "::" not in place and (":hover" in place or ":pressed" in place):
            front = colors.accent_text if under[1] == colors.accent_hover else colors.text
            assert contrast(front, under[1]) >= 4.5, place
    image = QImage(240, 34, QImage.Format.Format_RGB32)
    image.fill(QColor(colors.rail))
    option = QStyleOptionViewItem()
    option.rect = image.rect()
    option.state |= QStyle.StateFlag.State_MouseOver
    history = window.chat.history
    history.model.show([Row("chat", "A chat", 1)])
    with QPainter(image) as painter:
        history.list.itemDelegate().paint(painter, option, history.model.index(0))
    assert contrast(colors.text, image.pixelColor(200, 17).name()) >= 4.5


def test_the_window_comes_back_where_it_was(settings, qtbot):
    first = MainWindow(settings)
    qtbot.addWidget(first)
    first.resize(950, 640)
    first.show_page("convert")
    first.show()
    first.close()
    second = MainWindow(Settings(settings.path))
    qtbot.addWidget(second)
    assert second.height() == 640  # the screenless platform is 800 wide, so the width says nothing
    assert second.pages.currentWidget() is second.convert


def test_the_first_window_is_no_larger_than_the_screen(settings, qtbot):
    """780 pixels would put the strip at the bottom below many a laptop's screen."""
    window = MainWindow(settings)
    qtbot.addWidget(window)
    screen = window.screen().availableSize()
    assert screen.width() < USUAL_SIZE[0]  # else this says nothing
    assert window.width() < screen.width() and window.height() < screen.height()
    assert window.width() > LEAST_SIZE[0]
    window.stop_and_wait()


def test_closing_during_an_answer_stops_it_and_then_closes(settings, chat_model, qtbot):
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    window.open_model(str(chat_model))
    qtbot.waitUntil(lambda: window.chat.state is ChatState.READY, timeout=LONG)
    window.chat.drawer.numbers["max_tokens"].field.setValue(4000)

    def close(event):
        if isinstance(event, Token) and not window._closing:
            window.close()
            assert window.isVisible()  # it waits for the thread without blocking

    window.chat._runner.happened.connect(close)
    window.chat.composer.set_text("hello")
    window.chat.send()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=LONG)
    assert not window.chat.busy


@pytest.mark.parametrize("button", ["quit_button", "stay_button"])
def test_closing_during_a_conversion_asks_first(settings, larger_model, qtbot, tmp_path, button):
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    source = Path(shutil.copytree(larger_model, tmp_path / "m"))
    window.convert.choose_source(str(source))
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    stop = button == "quit_button"
    asked = []

    def close(_item, event):
        if isinstance(event, Progress) and not asked:
            window.close()
            asked.append(window.close_dialog)
            getattr(window.close_dialog, button).click()

    window.convert.queue.happened.connect(close)
    window.convert.convert_button.click()
    qtbot.waitUntil(lambda: not window.convert.converting, timeout=LONG)
    out = tmp_path / "m-ternary-4gb"
    assert asked and window.isVisible() is not stop and out.exists() is not stop
    assert Path(f"{out}.partial").exists() is stop
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=LONG)  # the next estimates may be under way


def test_going_on_in_the_tray_is_remembered(settings, larger_model, qtbot, tmp_path, monkeypatch, qapp):
    monkeypatch.setattr("bitconverter.gui.window_life.tray_there", lambda: True)
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    source = Path(shutil.copytree(larger_model, tmp_path / "m"))
    window.convert.choose_source(str(source))
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    hidden, said = [], []
    window.activities.progressed.connect(lambda entry: said.append(window.tray.icon.toolTip()))

    def close(_item, event):
        if isinstance(event, Progress) and not hidden:
            window.close()
            window.close_dialog.remember.setChecked(True)
            window.close_dialog.tray_button.click()
            hidden.append(window.isHidden() and not qapp.quitOnLastWindowClosed())
            said.append(window.tray.icon.toolTip())

    window.convert.queue.happened.connect(close)
    window.convert.convert_button.click()
    qtbot.waitUntil(lambda: not window.convert.converting, timeout=LONG)
    assert hidden == [True] and (tmp_path / "m-ternary-4gb").is_dir()
    assert "Convert" in said[-1] and " %" in said[-1], said  # how far it is
    assert Settings(settings.path)["close_action"] == "tray"
    window.take_files([])  # as a second start of the program does
    assert window.isVisible() and qapp.quitOnLastWindowClosed()
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=LONG)  # the next estimates may be under way


def test_the_pc_is_kept_awake_exactly_while_a_job_runs(window, settings):
    activities, awake = window.activities, window.awake
    told = []
    awake.changed.connect(told.append)
    entry = activities.begin("convert", "m", "convert")
    assert awake._entered and len(told) == 1
    settings["keep_awake"] = False
    window.shell.setting_changed.emit("keep_awake")
    assert not awake._entered
    settings["keep_awake"] = True
    window.shell.setting_changed.emit("keep_awake")
    assert awake._entered
    activities.turn(entry, Work.DONE)
    assert not awake._entered


@pytest.mark.parametrize("kind", ["convert", "train"])
def test_sleep_after_the_last_job_can_be_cancelled(window, settings, monkeypatch, kind):
    started = []
    monkeypatch.setattr(awake.QProcess, "startDetached", lambda program, _: started.append(program))
    settings["when_finished"] = "sleep"
    first, second = (
        window.activities.begin("convert", "a", "convert"),
        window.activities.begin(kind, "b", kind),
    )
    window.activities.turn(first, Work.DONE)
    assert not window.awake._afterwards.isActive()
    window.activities.turn(second, Work.DONE)
    assert window.awake._afterwards.isActive() and window.toast.isVisible()
    window.toast._button.click()
    assert not window.awake._afterwards.isActive()
    window.awake._follow_up()
    assert started == [awake.after_command("sleep")[0]]


def test_the_palette_finds_and_runs_a_command(window, qtbot, settings):
    settings.add_recent_model("/models/Kaguya 8B")
    window.open_palette()
    palette = window.palette_dialog
    everything = palette.model.rowCount()
    palette.field.setText("no such thing")
    assert palette.model.item(0).text() == "Nothing found."
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert palette.isVisible()
    palette.field.setText("open sett")
    assert 0 < palette.model.rowCount() < everything
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.page_name == "settings" and not palette.isVisible()
    window.open_palette()
    window.palette_dialog.field.setText("kaguya")
    assert window.palette_dialog.model.rowCount() == 1
    qtbot.keyClick(window.palette_dialog.field, Qt.Key.Key_Escape)


def test_the_settings_are_searched_in_the_language_of_now(window, settings):
    window.show_page("settings")
    page = window.pages["settings"]
    page.search.setText("theme")
    assert page.rows["theme"].isVisible() and not page.rows["threads"].isVisible()
    page.search.setText("zzz")
    assert page.nothing.isVisible()
    settings["language"] = "ja"
    window.apply_setting("language")
    page.search.setText("スレッド")
    assert page.rows["threads"].isVisible() and not page.rows["theme"].isVisible()
    page.search.setText("")


def test_reset_puts_the_settings_aside_and_undo_takes_them_back(window, settings):
    window.show_page("settings")
    page = window.pages["settings"]
    page.rows["threads"].field.setValue(1)
    assert settings["threads"] == 1
    page.reset_button.click()
    assert settings["threads"] == 0 and page.rows["threads"].field.value() == 0
    assert len(list(settings.path.parent.glob("settings.old*.json"))) == 1
    window.toast._button.click()
    assert settings["threads"] == 1 and page.rows["threads"].field.value() == 1
    assert not list(settings.path.parent.glob("settings.old*.json"))


def test_the_about_page_shows_the_licences_of_what_is_installed(window):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[<>=]", text)[0] for text in project["dependencies"]}
    assert set(about_page.ROOTS) == named
    window.show_page("about")
    page = window.pages["about"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").strip() == page.view.toPlainText().strip()
    page.parts.setCurrentText("numpy")
    assert "BSD" in page.view.toPlainText() and len(page.view.toPlainText()) > 1000


def test_the_welcome_says_what_this_pc_can_do(window, qtbot):
    window.show_page("welcome")
    page = window.pages["welcome"]
    qtbot.waitUntil(lambda: page.hardware is not None and not page.busy, timeout=LONG)
    assert "GB" in page._values[0].text() and all(words.text() for _, words in page.verdicts)
    gb = 10**9
    roles = [verdict(8e9, memory * gb)[0] for memory in (2, 4, 8, 16, 64)]
    assert roles == ["bad", "careful", "good", "good", "good"]
    page.languages.button(0).click()
    assert page.title.text() == "BitConverter へようこそ"
    page.languages.button(1).click()
    page.convert_card.click()
    assert window.page_name == "convert"


def test_damaged_settings_are_said(settings, qtbot):
    settings.path.parent.mkdir(parents=True, exist_ok=True)
    settings.path.write_text('{"threads": "x", "language": "en"}', encoding="utf-8")
    window = MainWindow(Settings(settings.path))
    qtbot.addWidget(window)
    window.show()
    assert window.toast.isVisible() and "threads" in window.toast._text.text()


def test_an_error_that_nobody_caught_becomes_a_report(settings, qtbot, monkeypatch, capsys):
    hooks = CrashHooks()
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    hooks.install()

    def fail():
        raise RuntimeError("from another thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: hooks.dialog is not None)
    qtbot.addWidget(hooks.dialog)
    assert "from another thread" in hooks.dialog.view.toPlainText()
    assert "BitConverter" in hooks.dialog.view.toPlainText()
    assert "RuntimeError" in capsys.readouterr().err
    hooks.dialog.accept()
    hooks.remove()
    assert threading.excepthook is not hooks._thread_hook


def test_the_program_opens_a_model_and_ends_cleanly(chat_model, tmp_path):
    """The real entry, in a process of its own: opens the model named at the start, closes, leaves nothing."""
    script = tmp_path / "start.py"
    script.write_text(
        "import sys\n"
        "from PySide6.QtCore import QTimer\n"
        "from bitconverter.gui import app\n"
        "class Window(app.MainWindow):\n"
        "    def showEvent(self, event):\n"
        "        super().showEvent(event)\n"
        "        self.timer = QTimer(self, interval=20)\n"
        "        self.timer.timeout.connect(self.look)\n"
        "        self.timer.start()\n"
        "    def look(self):\n"
        "        if self.chat.state.name == 'READY':\n"
        "            self.timer.stop()\n"
        "            print(self.chat.bar.model_button.text().encode('utf-8').hex())\n"
        "            self.close()\n"
        "app.MainWindow = Window\n"
        "sys.exit(app.main(['bitconverter'], sys.argv[1]))\n",
        encoding="utf-8",
    )
    environment = os.environ | {"BITCONVERTER_HOME": str(tmp_path / "家"), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, str(script), str(chat_model)],
        capture_output=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert bytes.fromhex(done.stdout.decode("ascii").strip()).decode("utf-8") == chat_model.name
    assert b"Traceback" not in done.stderr
    saved = (tmp_path / "家" / "settings.json").read_text(encoding="utf-8")
    assert chat_model.name in saved


@pytest.mark.skipif(sys.platform == "win32", reason="a console's Ctrl+C cannot be sent to one process there")
def test_ctrl_c_in_the_terminal_closes_the_window(tmp_path):
    environment = os.environ | {"BITCONVERTER_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    script = (
        "import sys\n"
        "from bitconverter.gui import app\n"
        "class Window(app.MainWindow):\n"
        "    def paintEvent(self, event):\n"
        "        super().paintEvent(event)\n"
        "        print('painted', flush=True)\n"
        "app.MainWindow = Window\n"
        "sys.exit(app.main(['bitconverter']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout.readline() == b"painted\n"  # its event loop runs
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and b"Traceback" not in errors
    assert (tmp_path / "settings.json").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there a session may have no screen")
def test_without_a_screen_the_program_says_so_and_ends():
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    script = "import sys; from bitconverter.gui.app import main; sys.exit(main(['bitconverter']))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 1 and b"no screen" in done.stderr and b"Traceback" not in done.stderr


def test_tab_goes_down_the_page(window, chat_model, qtbot):
    window.show_page("convert")
    window.convert.choose_source(str(chat_model))
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    found, widget = [], window.nextInFocusChain()
    while widget is not window:
        takes_tab = bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus) and widget.isEnabled()
        inside = window.convert.area.isAncestorOf(widget) and widget.isVisible()
        if takes_tab and inside:
            found.append(widget.mapTo(window.convert, QPoint(0, 0)).y())
        widget = widget.nextInFocusChain()
    assert len(found) >= 8 and found == sorted(found)


def test_settings_from_a_foreign_hand_do_not_keep_the_window_from_opening(settings, qtbot):
    settings.path.parent.mkdir(parents=True, exist_ok=True)
    settings.path.write_text(
        '{"window_geometry": "窓", "temperature": NaN, "top_k": 1e400, "min_p": 0.9, "threads": 256}',
        encoding="utf-8",
    )
    window = MainWindow(Settings(settings.path))
    qtbot.addWidget(window)
    window.show()
    assert "temperature, top_k" in window.toast._text.text()
    assert window.chat.drawer.numbers["temperature"].value() == 0.7
    window.show_page("settings")
    window.stop_and_wait()


def test_settings_that_cannot_be_saved_are_said_and_stop_nothing(window, settings, qtbot, tmp_path):
    blocker = tmp_path / "a file"
    blocker.write_bytes(b"")
    settings.path = blocker / "settings.json"
    window.convert.to_save.emit()
    assert "could not be saved" in window.toast._text.text()
    window.toast.dismiss()
    window.chat.drawer._save.setInterval(0)
    window.chat.drawer.numbers["temperature"].field.setValue(1.5)
    qtbot.waitUntil(lambda: not window.toast.isHidden())


def test_qt_speaks_the_language_of_the_window(window, settings):
    def yes() -> str:
        box = QDialogButtonBox(QDialogButtonBox.StandardButton.Yes)
        return box.buttons()[0].text()

    for language, word in (("ja", "はい"), ("en", "Yes"), ("ja", "はい"), ("en", "Yes")):
        settings["language"] = language
        window.apply_setting("language")
        assert word in yes()


def test_a_narrow_window_keeps_the_chat_readable(window, qtbot, settings):
    window.resize(1000, 700)
    window.chat.bar.drawer_button.click()
    assert window.chat.drawer.isVisible()
    window.resize(*LEAST_SIZE)
    qtbot.waitUntil(lambda: not window.chat.drawer.isVisible())
    assert not window.chat.bar.drawer_button.isChecked()
    window.chat.bar.drawer_button.click()
    assert window.chat.drawer.isVisible()
    window.chat.bar.show_model("model-" + "x" * 200, "ternary", "CPU", "")
    assert "…" in window.chat.bar.model_button.text()
    assert window.width() == LEAST_SIZE[0]
    window.resize(1000, 700)
    assert window.chat.drawer.isVisible() and settings["drawer_open"]


def test_a_line_at_the_bottom_covers_no_button_of_what_it_is_about(window, chat_model, tmp_path, qtbot):
    def covered(part):
        below = QRect(part.mapTo(window.toast.parentWidget(), QPoint(0, 0)), part.size())
        return window.toast.geometry().intersects(below)

    shelf = window.pages["shelf"]
    window.show_page("shelf")
    shelf.add_folder(str(chat_model))
    qtbot.waitUntil(lambda: not shelf.busy and len(shelf.entries) == 1, timeout=LONG)
    window.shell.say(partial(tr, "deleted", name="m"), "undo", lambda: None)
    shelf.choose(str(chat_model))
    QApplication.processEvents()
    assert shelf.details.isVisible() and not covered(shelf.details)
    window.open_model(str(tmp_path / "nothing"))
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    QApplication.processEvents()
    assert window.toast.isVisible() and window.chat.notice.isVisible() and not covered(window.chat.notice)
    window.chat.toast.show_text(partial(tr, "deleted", name="a message"), "undo")
    QApplication.processEvents()
    assert window.toast.isVisible() and not covered(window.chat.toast)
    for line in (window.toast, window.chat.toast):  # in the middle of what it stands above
        parts = (window.chat.foot, line)
        middles = [part.mapTo(window, part.rect().center()).x() for part in parts]
        assert abs(middles[0] - middles[1]) <= 1


def test_that_a_model_is_missing_is_not_said_any_more_when_one_is_opened(window, chat_model, qtbot):
    window.show_page("chat")
    window.chat.composer.set_text("hello")
    qtbot.keyClick(window.chat.composer.edit, Qt.Key.Key_Return)
    assert window.chat.toast.isVisible()
    window.open_model(str(chat_model))
    assert not window.chat.toast.isVisible()
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)


@pytest.mark.parametrize("page", ["shelf", "chat"])
def test_the_shortcut_takes_back_only_what_a_line_that_is_there_offers(window, qtbot, page):
    """Not what a line offered that has gone or was followed by another one; going on with something is no undo."""
    window.show_page(page)
    window.activateWindow()
    done = []
    window.shell.say(lambda: "deleted", "undo", lambda: done.append("undo"))
    window.toast.dismiss()  # its time was over
    _press(window, qtbot, "undo-last")
    window.shell.say(lambda: "deleted", "undo", lambda: done.append("undo"))
    _press(window, qtbot, "text-usual")
    _press(window, qtbot, "undo-last")
    window.chat.say(lambda: "deleted", lambda: done.append("chat"))
    window.chat.toast.dismiss()
    _press(window, qtbot, "undo-last")
    window.shell.say(lambda: "stopped", "resume", lambda: done.append("resume"))
    _press(window, qtbot, "undo-last")
    assert done == [] and window.toast.isVisible()
    window.toast._button.click()
    for action in ("undo", "cancel"):
        window.shell.say(lambda: "a line", action, lambda action=action: done.append(action))
        _press(window, qtbot, "undo-last")
    assert done == ["resume", "undo", "cancel"] and not window.toast.isVisible()


@pytest.mark.parametrize("width", [760, 1180])
def test_a_long_line_at_the_bottom_stays_inside_a_narrow_window(window, width):
    window.resize(width, 500)
    for text, action in (
        ("Saved.", ""),
        ("These words go on and on. " * 6, ""),
        ("長い文が続きます。" * 12, "undo"),
    ):
        window.toast.show_text(lambda text=text: text, action)
        inside = window.toast.parentWidget().rect()
        assert inside.contains(window.toast.geometry()), (text, window.toast.geometry())
        line = window.toast._text
        assert line.heightForWidth(line.width()) <= line.height() or not line.wordWrap()
        assert line.wordWrap() or line.sizeHint().width() <= line.width()
    window.toast.show_text(lambda: "Saved.")
    assert not window.toast._text.wordWrap() and window.toast.width() < 300
    window.resize(LEAST_SIZE[0], LEAST_SIZE[1])
    assert window.toast.parentWidget().rect().contains(window.toast.geometry())


def test_a_line_at_the_bottom_follows_the_language(window, settings):
    window.show_page("chat")
    window.chat.say(partial(tr, "message-deleted"), lambda: None)
    window.shell.say(partial(tr, "deleted", name="m"), "undo", lambda: None)
    for language, words in (("ja", ("ごみ箱", "元に戻す")), ("en", ("recycle bin", "Undo"))):
        settings["language"] = language
        window.apply_setting("language")
        assert words[0] in window.toast._text.text()
        for toast in (window.toast, window.chat.toast):
            assert toast._button.text() == words[1]
            assert toast._text.sizeHint().width() <= toast._text.width() or toast._text.wordWrap()


def test_a_line_about_the_chat_covers_nothing_of_what_is_typed(window):
    window.show_page("chat")
    page, composer = window.chat, window.chat.composer

    def covered():
        below = QRect(composer.mapTo(page, QPoint(0, 0)), composer.size())
        return page.toast.geometry().intersects(below)

    page.say(lambda: "Deleted.", lambda: None)
    assert page.toast.isVisible() and not covered()
    composer.set_text("line\n" * 12)
    QApplication.processEvents()
    assert not covered()
    window.resize(900, 500)
    QApplication.processEvents()
    assert not covered()


def test_the_tray_tells_of_an_end_unless_the_user_ended_the_program_there(window, monkeypatch):
    told, tray = [], window.tray
    icon = SimpleNamespace(
        isVisible=lambda: True, setToolTip=lambda text: None, hide=lambda: None,
        showMessage=lambda title, text: told.append(title),
    )  # fmt: skip
    monkeypatch.setattr(tray, "icon", icon)  # the screenless platform has none that is seen
    entry = Activity("convert", "m", "convert")
    for state in (Work.RUNNING, Work.PAUSED, Work.DONE):
        entry.state = state
        tray.show_state(entry)
    assert len(told) == 2
    tray._quit.trigger()
    entry.state = Work.PAUSED  # what its job becomes
    tray.show_state(entry)
    assert len(told) == 2
