"""The window: pages, shortcuts, languages, themes, errors, and closing with work in progress."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QDialogButtonBox,
    QPlainTextEdit,
    QProgressBar,
)

from bitconverter.gui import theme
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.crash_dialog import CrashHooks
from bitconverter.gui.main_window import LEAST_SIZE, MainWindow
from bitconverter.jobs.job import Progress, Token
from bitconverter.settings import Settings

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


def test_the_rail_and_the_keyboard_change_the_page(window, qtbot):
    window.activateWindow()
    qtbot.mouseClick(window.rail_buttons["convert"], Qt.MouseButton.LeftButton)
    assert window.pages.currentWidget() is window.convert
    qtbot.keyClick(window, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    assert window.pages.currentWidget() is window.chat and window.rail_buttons["chat"].isChecked()
    qtbot.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert window.pages.currentWidget() is window.convert
    qtbot.keyClick(window, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    assert window.pages.currentWidget() is window.chat


def test_every_control_has_a_name_for_screen_readers(window):
    window.open_settings()
    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QPlainTextEdit, QProgressBar)
    nameless = []
    for kind in kinds:
        for widget in window.findChildren(kind):
            text = widget.accessibleName() or (widget.text() if isinstance(widget, QAbstractButton) else "")
            hidden = widget in (
                window.chat.notice.copy_button,
                window.chat.new_chat_button,
                window.convert.run_card.notice.copy_button,
                window.convert.unfinished.copy_button,
                window.convert.source_card.notice.copy_button,
            )  # named when they are shown
            if not text and not hidden and not _inside_toast(widget):
                nameless.append(widget)
    assert nameless == []
    window.settings_dialog.close()


def _inside_toast(widget) -> bool:
    return widget.parent() is not None and widget.parent().objectName() == "toast"


def test_the_language_changes_at_once_and_back(window, settings):
    window.open_settings()
    box = window.settings_dialog.boxes["language"]
    box.setCurrentIndex(box.findData("ja"))
    assert window.rail_buttons["convert"].text() == "変換"
    assert window.convert.convert_button.text() == "変換する"
    assert window.chat.composer.edit.placeholderText() == "メッセージを書く…"
    assert window.settings_dialog.windowTitle() == "設定"
    assert Settings(settings.path)["language"] == "ja"
    box.setCurrentIndex(box.findData("en"))
    assert window.rail_buttons["convert"].text() == "Convert"
    window.settings_dialog.close()


def test_the_theme_changes_at_once(window, qapp):
    window.open_settings()
    box = window.settings_dialog.boxes["theme"]
    box.setCurrentIndex(box.findData("dark"))
    assert theme.current() is theme.DARK and qapp.palette().window().color() == QColor(theme.DARK.window)
    box.setCurrentIndex(box.findData("light"))
    assert theme.current() is theme.LIGHT
    window.settings_dialog.close()


def _contrast(first: str, second: str) -> float:
    def light(text: str) -> float:
        parts = [channel / 255 for channel in QColor(text).getRgb()[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_background(colors):
    for back in (colors.window, colors.surface, colors.raised, colors.rail, colors.accent_soft, colors.user):
        assert _contrast(colors.text, back) >= 7
    for back in (colors.window, colors.surface, colors.raised, colors.rail, colors.code):
        assert _contrast(colors.muted, back) >= 4.5
    for front, back in (
        (colors.accent, colors.window), (colors.accent, colors.surface), (colors.accent, colors.accent_soft),
        (colors.accent_text, colors.accent), (colors.error, colors.surface), (colors.ok, colors.surface),
        (colors.warning, colors.surface), (colors.text, colors.error_soft), (colors.text, colors.warning_soft),
    ):  # fmt: skip
        assert _contrast(front, back) >= 4.5, (front, back)


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


@pytest.mark.parametrize("stop", [True, False], ids=["stop", "keep converting"])
def test_closing_during_a_conversion_asks_first(settings, larger_model, qtbot, tmp_path, monkeypatch, stop):
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    source = Path(shutil.copytree(larger_model, tmp_path / "m"))
    window.convert.choose_source(str(source))
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    asked = []
    monkeypatch.setattr(window, "_may_stop", lambda: bool(asked.append(1)) or stop)

    def close(event):
        if isinstance(event, Progress) and not asked:
            window.close()

    window.convert._converter.happened.connect(close)
    window.convert.convert_button.click()
    qtbot.waitUntil(lambda: not window.convert.converting, timeout=LONG)
    out = tmp_path / "m-ternary-3planes"
    assert asked == [1]
    assert window.isVisible() is not stop and out.exists() is not stop
    assert Path(f"{out}.partial").exists() is stop


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
        '{"window_geometry": "窓", "temperature": NaN, "top_k": 1e400, "min_p": 0.9, "threads": 1024}',
        encoding="utf-8",
    )
    window = MainWindow(Settings(settings.path))
    qtbot.addWidget(window)
    window.show()
    assert "temperature, top_k" in window.toast._text.text()
    assert window.chat.drawer.numbers["temperature"].value() == 0.7
    window.open_settings()
    window.settings_dialog.close()


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
