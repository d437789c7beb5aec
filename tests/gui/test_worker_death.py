"""Whatever ends a job: a sentence with the kind of its cause, the last step and what to do, and the page works on."""

import errno
import re
from pathlib import Path

import pytest

from bitconverter.engine import OutOfMemoryError, Session
from bitconverter.gui.activity import Work
from bitconverter.gui.chat_page import State as ChatState
from bitconverter.gui.convert_page import State
from bitconverter.gui.messages import tr
from bitconverter.jobs import chat_memory
from bitconverter.jobs.convert_work import WorkFolder

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise
JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")

# what ends the job: the error; the title that names the kind of its cause; what to do, in both languages
DEATHS = {
    "memory": (
        MemoryError("Unable to allocate 9.31 GiB for an array"),
        "error-memory-title",
        "Close",
        "閉じ",
    ),
    "memory of the engine": (OutOfMemoryError("out of memory", -2), "error-memory-title", "Close", "閉じ"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "error-disk-title", "Make room", "空きを作"),
    "drive gone": (OSError(errno.EIO, "Input/output error"), "error-title", "try again", "もう一度"),
    "fault": (ZeroDivisionError("division by zero"), "error-unexpected-title", "again", "もう一度"),
}


def speak(window, settings, language):
    settings["language"] = language
    window.apply_setting("language")


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("death", sorted(DEATHS))
def test_the_death_of_a_conversion_is_told_and_the_next_one_starts(
    window, settings, qtbot, tmp_path, chat_model, monkeypatch, death, language
):
    error, title, advice_en, advice_ja = DEATHS[death]
    speak(window, settings, language)
    page = window.convert
    window.show_page("convert")
    page.choose_source(str(chat_model))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    page.target_card.out_changed.emit(str(tmp_path / "out"))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    commit, commits = WorkFolder.commit, []

    def dies(work, weights, record):
        commits.append(record)
        if len(commits) == 4:  # of the first layer
            raise error
        commit(work, weights, record)

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "commit", dies)
        page.convert_button.click()
        qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    last = page.queue.last or page.queue.current
    said = page.run_card.notice.text()
    told, _, advice = said.partition("\n")
    if last.why != "disk-full":  # which pauses, and is told as that
        assert last.state is Work.FAILED and told == tr(title)
        assert tr("error-at", step=last.activity.item and tr("layer-number", layer=0)) in advice, said
    assert (advice_en if language == "en" else advice_ja) in said
    ours = [line for line in said.splitlines() if str(error) not in line]
    assert language == "en" or all(JAPANESE.search(line) for line in ours)
    assert not (tmp_path / "out").exists()  # no model is listed
    if last.state is Work.FAILED:
        assert page.convert_button.isEnabled()
        page.convert_button.click()
    else:
        page.run_card.resume_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.queue.last.state is Work.DONE and (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_death_of_an_answer_is_told_and_the_next_one_is_made(
    window, settings, qtbot, chat_model, monkeypatch, language
):
    speak(window, settings, language)
    page = window.chat
    window.open_model(str(chat_model))
    qtbot.waitUntil(lambda: page.state is ChatState.READY, timeout=LONG)
    sample = Session.sample
    with monkeypatch.context() as patch:
        patch.setattr(Session, "sample", lambda *_: (_ for _ in ()).throw(MemoryError()))
        page.composer.set_text("hello")
        page.send()
        qtbot.waitUntil(lambda: page.state is ChatState.READY and not page.busy, timeout=LONG)
    assert tr("error-memory-title") in page.notice.text()
    assert ("Close" if language == "en" else "閉じ") in page.notice.text()
    assert Session.sample is sample and page.composer.text() == "hello"
    page.drawer.numbers["max_tokens"].field.setValue(4)
    page.send()
    qtbot.waitUntil(lambda: page.state is ChatState.READY and not page.busy, timeout=LONG)
    assert not page.notice.isVisible() and len(page.log.turns) == 2


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_model_too_large_for_the_memory_of_now_opens_with_a_smaller_context(
    window, settings, qtbot, chat_model, monkeypatch, language
):
    speak(window, settings, language)
    page = window.chat
    free = 3_000_000
    monkeypatch.setattr(chat_memory, "free_memory", lambda: free)
    window.open_model(str(chat_model))
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.state is ChatState.NO_MODEL and page.smaller_button.isVisible()
    assert tr("error-memory-title") in page.notice.text() and "3.00 MB" in page.notice.text()
    assert language == "en" or JAPANESE.search(page.smaller_button.text())
    fits = page._problem.fields["fits"]
    assert f"{fits:,}" in page.smaller_button.text() and 0 < fits < 4096
    page.smaller_button.click()
    qtbot.waitUntil(lambda: page.state is ChatState.READY, timeout=LONG)
    assert page._session.n_ctx == fits and not page.notice.isVisible()
    assert not page.smaller_button.isVisible()


def test_where_no_context_fits_there_is_no_button(window, qtbot, chat_model, monkeypatch):
    monkeypatch.setattr(chat_memory, "free_memory", lambda: 1000)
    window.open_model(str(chat_model))
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert window.chat.notice.isVisible() and not window.chat.smaller_button.isVisible()
    assert Path(chat_model).name not in str(window._settings["recent_models"])
