"""Every page in its main states says everything in Japanese after the language is switched: no word of before stays."""

import re
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QLabel,
    QLineEdit,
    QListView,
    QPlainTextEdit,
    QTextEdit,
    QTreeView,
    QWidget,
)

from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.convert_page import ConvertPage, State
from bitconverter.gui.pages import PAGES
from bitconverter.gui.texts import MESSAGES
from bitconverter.jobs.convert import ConvertJob

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise
JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")
# the words of both languages are the same, or names
SAME = {key for key, forms in MESSAGES.items() if forms[0] == forms[-1]}


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", english)
    return re.compile(".+?".join(re.escape(part) for part in parts), re.DOTALL)


ENGLISH = [
    _pattern(form)
    for key, forms in MESSAGES.items()
    if key not in SAME
    for form in forms[:-1]
    if re.search("[A-Za-z]{3}", re.sub(r"\{[^}]*\}", "", form))
]


def _texts(widget: QWidget) -> set[str]:
    """All that `widget` shows or says."""
    found = {widget.toolTip(), widget.accessibleName(), widget.accessibleDescription()}
    if isinstance(widget, QLabel | QAbstractButton | QLineEdit):
        found.add(widget.text())
    if isinstance(widget, QLineEdit | QPlainTextEdit | QTextEdit):
        found.add(widget.placeholderText())
    if isinstance(widget, QComboBox):
        found |= {widget.itemText(number) for number in range(widget.count())}
    if isinstance(widget, QListView | QTreeView) and widget.model() is not None:
        model = widget.model()
        for number in range(model.rowCount()):
            for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
                found.add(str(model.index(number, 0).data(role) or ""))
    return {text for text in found if text.strip()}


def _left_in_english(window) -> set[str]:
    texts = set().union(*(_texts(widget) for widget in window.findChildren(QWidget) if widget.isVisible()))
    return {
        text
        for text in texts
        if not JAPANESE.search(text) and any(pattern.fullmatch(text) for pattern in ENGLISH)
    }


def _speak(window, settings, language: str) -> None:
    settings["language"] = language
    window.apply_setting("language")


def _stays(window, settings) -> set[str]:
    """What is English still after a switch to Japanese; the window is English again behind it."""
    _speak(window, settings, "ja")
    found = _left_in_english(window)
    _speak(window, settings, "en")
    return found


@pytest.fixture
def source(tmp_path, chat_model) -> Path:
    return Path(shutil.copytree(chat_model, tmp_path / "model-1"))


def test_the_check_sees_a_word_that_stays(window, settings):
    window.show_page("convert")
    _speak(window, settings, "ja")
    assert _left_in_english(window) == set()
    window.convert.convert_button.setVisible(True)
    window.convert.footer.show()
    window.convert.summary.set_text("1.2 GB becomes about 300 MB, in x")
    assert _left_in_english(window) == {"1.2 GB becomes about 300 MB, in x"}


@pytest.mark.parametrize("name", [spec.name for spec in PAGES])
def test_every_page_as_it_is_first_seen(window, settings, qtbot, name):
    window.show_page(name)
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert _stays(window, settings) == set()


def test_the_conversion_from_its_checks_to_its_end(window, settings, source, qtbot, monkeypatch):
    monkeypatch.setattr(ConvertPage, "PLANS", True)
    settings["method"], settings["report"] = "full", True
    page = window.convert
    window.show_page("convert")
    empty = source.parent / "empty"
    empty.mkdir()
    page.choose_source(str(empty))
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert _stays(window, settings) == set()
    (source / "chat_template.jinja").write_text("{% broken", encoding="utf-8")  # a warning
    page.choose_source(str(source))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert _stays(window, settings) == set()
    page.convert_button.click()
    page.queue.add(ConvertJob(source=str(source), out=str(source.parent / "second"), planes=2))
    assert _stays(window, settings) == set()
    page.run_card.pause_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert _stays(window, settings) == set()
    page.queue.remove(page.queue.items[1])
    page.queue.resume_current()
    qtbot.waitUntil(lambda: not page.busy and page.queue.last is not None, timeout=LONG)
    assert page.run_card.done.isVisible() and page.run_card.done.quality.answers
    assert _stays(window, settings) == set()
    for name in ("shelf", "activity"):
        window.show_page(name)
        qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
        if name == "shelf":
            window.by_name["shelf"].choose(str(source.parent / "model-1-ternary-4gb"))
        assert _stays(window, settings) == set()


def test_the_chat_with_an_answer_a_problem_and_the_list(window, settings, source, qtbot):
    window.open_model(str(source))
    page = window.chat
    qtbot.waitUntil(lambda: page.state is ChatState.READY, timeout=LONG)
    assert _stays(window, settings) == set()
    page.drawer.numbers["max_tokens"].field.setValue(16)
    page.composer.set_text("hello")
    with qtbot.waitSignal(page.counter.counted, timeout=LONG):
        page._count()
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert _stays(window, settings) == set()
    page.act("edit", page.log.turns[0])
    assert _stays(window, settings) == set()
    page.leave_editing()
    page.composer.set_text("z" * 5000)
    page.send()
    qtbot.waitUntil(page.notice.isVisible, timeout=LONG)
    assert _stays(window, settings) == set()


def test_the_self_test_of_the_diagnostics(window, settings, qtbot):
    window.show_page("diagnostics")
    page = window.by_name["diagnostics"]
    page.start_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    page.preview()
    assert _stays(window, settings) == set()


def test_the_palette(window, settings):
    _speak(window, settings, "ja")
    window.open_palette()
    found = _left_in_english(window.palette_dialog)
    window.palette_dialog.close()
    _speak(window, settings, "en")
    assert found == set()
