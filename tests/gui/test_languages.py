"""Every page in its main states: after a switch to Japanese no word of before stays, and every control has a name."""

import shutil
from pathlib import Path

import pytest
from window_checks import JAPANESE, left_in_english, nameless

from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.closing import CloseDialog
from bitconverter.gui.convert_page import ConvertPage, State
from bitconverter.gui.messages import item_text
from bitconverter.gui.pages import PAGES
from bitconverter.jobs.convert import ConvertJob

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise


def _speak(window, settings, language: str) -> None:
    settings["language"] = language
    window.apply_setting("language")


def _faults(window, settings) -> set[str]:
    """What is English still after a switch to Japanese, and what has no name; the window is English again after it."""
    _speak(window, settings, "ja")
    found = left_in_english(window) | set(nameless(window))
    _speak(window, settings, "en")
    return found


@pytest.fixture
def source(tmp_path, chat_model) -> Path:
    return Path(shutil.copytree(chat_model, tmp_path / "model-1"))


def test_the_check_sees_a_word_that_faults(window, settings):
    window.show_page("convert")
    _speak(window, settings, "ja")
    assert left_in_english(window) == set()
    window.convert.convert_button.setVisible(True)
    window.convert.footer.show()
    window.convert.summary.set_text("1.2 GB becomes about 300 MB, in x")
    assert left_in_english(window) == {"1.2 GB becomes about 300 MB, in x"}


@pytest.mark.parametrize("name", [spec.name for spec in PAGES])
def test_every_page_as_it_is_first_seen(window, settings, qtbot, name):
    window.show_page(name)
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert _faults(window, settings) == set()


def test_the_conversion_from_its_checks_to_its_end(window, settings, source, qtbot, monkeypatch):
    monkeypatch.setattr(ConvertPage, "PLANS", True)
    settings["method"], settings["report"] = "full", True
    page = window.convert
    window.show_page("convert")
    empty = source.parent / "empty"
    empty.mkdir()
    page.choose_source(str(empty))
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert _faults(window, settings) == set()
    (source / "chat_template.jinja").write_text("{% broken", encoding="utf-8")  # a warning
    page.choose_source(str(source))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert _faults(window, settings) == set()
    items = set()
    page.queue.happened.connect(lambda _, event: items.add(getattr(event, "item", "")))
    page.convert_button.click()
    page.queue.add(ConvertJob(source=str(source), out=str(source.parent / "second"), planes=2))
    assert _faults(window, settings) == set()
    page.run_card.pause_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert _faults(window, settings) == set()
    page.queue.remove(page.queue.items[1])
    page.queue.resume_current()
    qtbot.waitUntil(lambda: not page.busy and page.queue.last is not None, timeout=LONG)
    assert page.run_card.done.isVisible() and page.run_card.done.quality.answers
    _speak(window, settings, "ja")
    assert {"sensitivity", "quality report: japanese"} < items
    assert [item for item in items if item and not JAPANESE.search(item_text(item))] == []
    log = page.console.text().splitlines()
    assert len(log) > 5 and [line for line in log if not JAPANESE.search(line)] == []
    assert _faults(window, settings) == set()
    for name in ("shelf", "activity"):
        window.show_page(name)
        qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
        if name == "shelf":
            window.pages["shelf"].choose(str(source.parent / "model-1-ternary-4gb"))
        assert _faults(window, settings) == set()


def test_the_chat_with_an_answer_a_problem_and_the_list(window, settings, source, qtbot):
    window.open_model(str(source))
    page = window.chat
    qtbot.waitUntil(lambda: page.state is ChatState.READY, timeout=LONG)
    assert _faults(window, settings) == set()
    page.drawer.numbers["max_tokens"].field.setValue(16)
    page.composer.set_text("hello")
    with qtbot.waitSignal(page.counter.counted, timeout=LONG):
        page._count()
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert _faults(window, settings) == set()
    page.act("edit", page.log.turns[0])
    assert _faults(window, settings) == set()
    page.leave_editing()
    page.composer.set_text("z" * 5000)
    page.send()
    qtbot.waitUntil(page.notice.isVisible, timeout=LONG)
    assert _faults(window, settings) == set()


def test_the_self_test_of_the_diagnostics(window, settings, qtbot):
    window.show_page("diagnostics")
    page = window.pages["diagnostics"]
    page.start_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    page.preview()
    assert _faults(window, settings) == set()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_dialogs(window, settings, qtbot, language):
    _speak(window, settings, language)
    window.open_palette()
    window.chat.open_preview()
    dialogs = [window.palette_dialog, window.chat.preview, CloseDialog(True, window)]
    dialogs[-1].show()
    for dialog in dialogs:
        assert dialog.isVisible() and nameless(dialog) == []
        assert language == "en" or left_in_english(dialog) == set()
        dialog.close()
    _speak(window, settings, "en")
