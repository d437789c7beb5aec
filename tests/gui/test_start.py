"""How a start begins: the first window waits for nothing that it does not show, and the rest comes by itself."""

import subprocess
import sys
import time

import pytest
from PySide6.QtCore import QEvent, QMimeData, QObject, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QWidget

from bitconverter.gui.activity import Work
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.pages import PAGES
from bitconverter.gui.self_test import NOT_AT_START
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.queue_file import save_queue
from bitconverter.settings import Settings

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise
NAMES = [spec.name for spec in PAGES]
# What these pages are about; they show numbers of the engine before anything is chosen.
NEEDED = {"convert": {"numpy", "tokenizers", "jinja2"}, "train": {"numpy", "tokenizers", "jinja2"}}

AT_FIRST_PAINT = """
import sys
from bitconverter.gui import app
class Window(app.MainWindow):
    def __init__(self, settings):
        super().__init__(settings)
        self.appeared.connect(self.tell)
    def tell(self):
        print(self.page_name, *sys.modules, flush=True)
        self.stop_and_close()
app.MainWindow = Window
sys.exit(app.main(["bitconverter"]))
"""


@pytest.mark.parametrize("name", NAMES)
def test_the_first_window_waits_for_no_module_that_it_does_not_need(settings, name):
    """Whichever page was open last. The self-test looks for the same in the installed program."""
    settings["page"] = name
    settings.save()
    done = subprocess.run(
        [sys.executable, "-c", AT_FIRST_PAINT], capture_output=True, text=True, encoding="utf-8",
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown, *loaded = done.stdout.split()
    assert shown == name and "PySide6.QtWidgets" in loaded
    assert set(loaded) & set(NOT_AT_START) - NEEDED.get(name, set()) == set()
    pages = {
        module for module in loaded if module.startswith("bitconverter.gui.") and module.endswith("_page")
    }
    own = f"bitconverter.gui.{name}_page"
    assert own in pages and pages - {own} <= {
        "bitconverter.gui.settings_page"
    }  # the activity takes a word from it


def test_the_other_pages_come_when_the_first_is_seen(settings, qtbot):
    settings["page"] = "about"
    window = MainWindow(settings)
    qtbot.addWidget(window)
    assert window.pages.missing == [name for name in NAMES if name != "about"]
    window.show()
    qtbot.waitUntil(lambda: window.pages.missing == [], timeout=LONG)
    assert window.page_name == "about"
    qtbot.waitUntil(lambda: not window._rest.isActive(), timeout=LONG)  # and then it rests
    assert window.awake._mode is not None and not window.awake._entered  # no job waits for the library
    window.stop_and_wait()


def test_a_window_that_is_closed_at_once_builds_no_more(settings, qtbot):
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.appeared, timeout=LONG):
        pass
    window.close()
    left = window.pages.missing
    assert left and not window.isVisible()
    qtbot.wait(50)
    assert window.pages.missing == left


def test_a_queue_of_before_is_told_though_its_page_was_not_shown(settings, qtbot, tmp_path):
    save_queue(
        settings.path.with_name("queue.json"), [(ConvertJob("/a/model", str(tmp_path / "out 出")), "running")]
    )
    settings["page"] = "about"
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitUntil(lambda: len(window.activities.entries) == 1, timeout=LONG)
    assert window.activities.entries[0].state is Work.PAUSED and window.page_name == "about"
    window.stop_and_wait()


def test_pages_that_come_later_speak_the_language_of_then(settings, qtbot):
    settings["page"] = "about"
    window = MainWindow(settings)
    qtbot.addWidget(window)
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "settings" in window.pages.missing
    assert window.pages["settings"].title.text() == "設定"
    window.stop_and_wait()


@pytest.mark.parametrize("way", ["command", "another start"])
def test_a_model_is_opened_before_the_chat_was_seen(settings, qtbot, chat_model, way):
    settings["page"] = "about"
    settings.add_recent_model(str(chat_model))
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    assert "chat" in window.pages.missing
    if way == "command":
        window.open_palette()
        assert window.palette_dialog is not None
        window.palette_dialog.field.setText(chat_model.name)
        window.palette_dialog.choose()
    else:
        window.take_files([str(chat_model)])
    qtbot.waitUntil(lambda: window.chat.state is ChatState.READY, timeout=LONG)
    assert window.page_name == "chat"
    window.stop_and_wait()


def test_a_document_is_dropped_before_the_chat_was_seen(settings, qtbot, tmp_path):
    settings["page"] = "about"
    document = tmp_path / "文書.txt"
    document.write_text("一行", encoding="utf-8")
    window = MainWindow(settings)
    qtbot.addWidget(window)
    assert "chat" in window.pages.missing
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(document))])
    event = QDropEvent(
        QPointF(200, 200), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    window.dropEvent(event)
    qtbot.waitUntil(
        lambda: [each.name for each in window.chat.composer.attachments.all()] == [document.name],
        timeout=LONG,
    )
    assert window.page_name == "chat"
    window.stop_and_wait()


def test_a_page_that_is_built_does_not_flash_up(window, qapp):
    """A widget that is shown before it has a place is a window of its own for a moment, and takes the keyboard."""
    shown = []

    class Watch(QObject):
        def eventFilter(self, watched, event):
            if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
                shown.append(type(watched).__name__)
            return False

    watch = Watch()
    assert len(window.pages.missing) == len(NAMES) - 1
    qapp.installEventFilter(watch)
    for name in window.pages.missing:
        window.pages.build(name)
    qapp.removeEventFilter(watch)
    assert shown == []


def test_the_first_page_begins_when_it_is_seen(settings, qtbot):
    """What it looks for by itself (here: this PC) takes nothing from the time until it is there."""
    settings["page"] = "welcome"
    window = MainWindow(Settings(settings.path))
    qtbot.addWidget(window)
    assert window.page_name == "welcome" and not window.pages["welcome"].busy
    window.show()
    qtbot.waitUntil(lambda: window.pages["welcome"].hardware is not None, timeout=LONG)
    window.stop_and_wait()


def test_the_age_of_a_process_is_that_of_the_clock():
    """Within a tick of 10 ms; a boot time in whole seconds would be up to one second off."""
    code = "import time; from bitconverter.gui.process_age import process_age as age\n"
    code += "print(time.time(), age(), time.time())"
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        after = time.time()  # it was made between these two
        told, _ = process.communicate(timeout=120)
    earlier, age, later = map(float, told.split())
    assert earlier - age <= after + 0.02 and later - age >= before - 0.02
