"""The buttons of a conversion in each of its states, and where each leads (docs/ACCEPTANCE.md, 21).

A running conversion is held behind its first tensor, so that every state stays until it is left by a button.
"""

import shutil
import threading
from pathlib import Path

import pytest

from bitconverter.gui.activity import Work
from bitconverter.gui.convert_page import State
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_work import WorkFolder

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture
def page(window):
    window.show_page("convert")
    return window.convert


@pytest.fixture
def source(tmp_path, chat_model) -> Path:
    return Path(shutil.copytree(chat_model, tmp_path / "モデル"))


def can_be_pressed(page) -> set[str]:
    card = page.run_card
    buttons = {
        "convert": page.convert_button, "pause": card.pause_button, "stop": card.stop_button,
        "resume": card.resume_button, "chat": card.done.chat_button, "discard": page.discard_button,
        "go on": page.resume_button,
    }  # fmt: skip
    return {name for name, button in buttons.items() if button.isVisible() and button.isEnabled()}


def choose(page, qtbot, source):
    page.choose_source(str(source))
    qtbot.waitUntil(lambda: page.state is not State.CHECKING and not page.busy, timeout=LONG)


@pytest.fixture
def running(page, qtbot, source, monkeypatch):
    """Starts a conversion, which pauses itself when its first tensor is finished."""
    commit, reached = WorkFolder.commit, threading.Event()

    def commit_and_wait(work, weights, record):
        commit(work, weights, record)
        if not reached.is_set():
            page.queue._runner._worker._cancel.pause()
            reached.set()

    monkeypatch.setattr(WorkFolder, "commit", commit_and_wait)

    def start():
        choose(page, qtbot, source)
        page.convert_button.click()
        qtbot.waitUntil(reached.is_set, timeout=LONG)

    return start


@pytest.fixture
def paused(page, qtbot, running):
    """A conversion that was paused behind its first tensor."""

    def start():
        running()
        page.run_card.pause_button.click()
        over(page, qtbot)

    return start


def over(page, qtbot):
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def test_empty_offers_no_job(page):
    assert page.state is State.EMPTY and can_be_pressed(page) == set()


def test_checking_and_blocked_cannot_start(page, qtbot, source):
    page.choose_source(str(source))
    assert page.state is State.CHECKING and can_be_pressed(page) == set()
    (source / "model.safetensors").unlink()
    choose(page, qtbot, source)
    assert page.state is State.BLOCKED and can_be_pressed(page) == set()


def test_ready_starts(page, qtbot, source):
    choose(page, qtbot, source)
    assert page.state is State.READY and can_be_pressed(page) == {"convert"}
    page.convert_button.click()
    assert page.queue.current.state is Work.RUNNING
    assert can_be_pressed(page) == {"pause", "stop"}


@pytest.mark.parametrize("button", ["pause", "stop"])
def test_running_says_in_the_same_moment_that_it_stops_and_then_has_stopped(page, qtbot, running, button):
    running()
    item, title = page.queue.current, page.run_card.title.text()
    {"pause": page.run_card.pause_button, "stop": page.run_card.stop_button}[button].click()
    assert item.state is Work.RUNNING and item.ending == button
    assert page.run_card.title.text() != title and can_be_pressed(page) == set()
    over(page, qtbot)
    if button == "pause":
        assert item.state is Work.PAUSED and page.queue.items == [item]
        assert can_be_pressed(page) == {"resume", "stop"}
    else:
        assert item.state is Work.STOPPED and page.queue.items == []
        assert can_be_pressed(page) == {"convert", "discard", "go on"}
    assert Path(item.job.out + ".partial").is_dir()


def test_paused_goes_on_to_its_end(page, qtbot, paused):
    paused()
    item = page.queue.current
    page.run_card.resume_button.click()
    assert item.state is Work.RUNNING and can_be_pressed(page) == {"pause", "stop"}
    over(page, qtbot)
    assert item.state is Work.DONE and can_be_pressed(page) == {"convert", "chat"}


def test_paused_can_be_stopped_and_its_work_is_offered(page, qtbot, paused):
    paused()
    item = page.queue.current
    page.run_card.stop_button.click()
    assert item.state is Work.STOPPED and page.queue.items == []
    assert can_be_pressed(page) == {"convert", "discard", "go on"}
    page.resume_button.click()
    assert page.queue.current.state is Work.RUNNING
    over(page, qtbot)
    assert page.queue.last.state is Work.DONE


def test_stopped_work_can_be_discarded_and_the_form_is_as_before(page, qtbot, paused):
    paused()
    out = page.queue.current.job.out
    page.run_card.stop_button.click()
    page.discard_button.click()
    over(page, qtbot)  # what lies at the target is looked at again
    assert not Path(out + ".partial").exists() and can_be_pressed(page) == {"convert"}


def test_waiting_starts_when_the_one_before_is_paused_never_and_stopped_at_once(page, qtbot, source, running):
    running()
    first = page.queue.current
    second = page.queue.add(ConvertJob(source=str(source), out=str(source.parent / "second")))
    assert second.state is Work.WAITING
    page.run_card.pause_button.click()
    qtbot.waitUntil(lambda: first.state is Work.PAUSED, timeout=LONG)
    assert second.state is Work.WAITING and not page.converting
    page.run_card.stop_button.click()
    assert first.state is Work.STOPPED and second.state is Work.RUNNING
    over(page, qtbot)
    assert second.state is Work.DONE


def test_after_a_failure_it_can_be_started_again(page, qtbot, source):
    choose(page, qtbot, source)
    content = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(content[:1000])
    page.convert_button.click()
    over(page, qtbot)
    assert page.queue.last.state is Work.FAILED and "convert" in can_be_pressed(page)
    (source / "model.safetensors").write_bytes(content)
    page.convert_button.click()
    assert page.queue.current.state is Work.RUNNING
    over(page, qtbot)
    assert page.queue.last.state is Work.DONE


def test_done_leads_to_the_chat(window, page, qtbot, source):
    choose(page, qtbot, source)
    page.convert_button.click()
    over(page, qtbot)
    page.run_card.done.chat_button.click()
    assert window.page_name == "chat"
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)


def test_a_held_job_goes_on_where_it_was_let_go(page, qtbot, running):
    """What holds the others still is the pause of the job itself, not a job that has ended."""
    running()
    page.queue._runner._worker._cancel.resume()
    over(page, qtbot)
    assert page.queue.last.state is Work.DONE
