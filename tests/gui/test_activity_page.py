"""What has ended stays in the list: after a restart, after a kill, until it is removed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PySide6.QtGui import QDesktopServices, QGuiApplication
from window_checks import in_session

from bitconverter import paths
from bitconverter.gui.activity import Activities, Activity, Work
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.messages import tr
from bitconverter.jobs.convert import ConvertJob
from bitconverter.store.job_store import MOST

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise


def convert(window: MainWindow, qtbot, source: Path, out: Path) -> None:
    window.convert.queue.add(
        ConvertJob(source=str(source), out=str(out), planes=2, method="fast", report=False)
    )
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)


def over(window: MainWindow) -> list[Activity]:
    """The list as the page shows it."""
    model = window.pages["activity"].over.model()
    return [model.index(line, 0).data(window.activities.ENTRY) for line in range(model.rowCount())]


def choose(window: MainWindow, line: int):
    page = window.pages["activity"]
    page.over.setCurrentIndex(page.over.model().index(line, 0))
    return page.card


@contextmanager
def restarted(settings, qtbot) -> Iterator[MainWindow]:
    """The window of the next start, with its list read."""
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    window.show_page("activity")
    assert window.shell.history._queue is not None
    # Not waitSignal on what the store's thread emits: its slot is gone after the first signal, and PySide 6.9 calls
    # the freed object for those that were already on their way.
    answers: list[object] = []
    window.shell.history._queue.ask(lambda _: "read", answers.append)
    qtbot.waitUntil(lambda: bool(answers), timeout=LONG)
    try:
        yield window
    finally:
        window.stop_and_wait()


def test_times_are_those_that_the_store_keeps():
    """The seconds that a job took, told with one decimal, were others after a restart once in two hundred times."""
    activities = Activities()
    for k in range(300):
        entry = activities.begin("convert", str(k), "convert")
        activities.turn(entry, Work.DONE)
        assert [round(1000 * at) / 1000 for at in (entry.started, entry.ended)] == [
            entry.started,
            entry.ended,
        ]


def test_what_was_done_stopped_and_failed_is_there_after_a_restart(
    window, settings, qtbot, chat_model, tmp_path
):
    done, stopped, missing = tmp_path / "出力 done", tmp_path / "stopped", tmp_path / "not there 無い"
    convert(window, qtbot, chat_model, done)
    convert(window, qtbot, missing, tmp_path / "failed")
    window.convert.queue.add(ConvertJob(source=str(chat_model), out=str(stopped), planes=2))
    window.convert.queue.stop()
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    before = {entry.name: entry for entry in window.activities.entries}
    said = {name: (entry.title(), entry.detail(), entry.when()) for name, entry in before.items()}
    assert [before[name].state for name in ("出力 done", "failed", "stopped")] == [
        Work.DONE, Work.FAILED, Work.STOPPED,
    ]  # fmt: skip
    window.close()
    window.stop_and_wait()
    with restarted(settings, qtbot) as later:
        qtbot.waitUntil(lambda: len(over(later)) == 3, timeout=LONG)
        assert [entry.name for entry in over(later)] == ["stopped", "failed", "出力 done"]
        assert {e.name: (e.title(), e.detail(), e.when()) for e in over(later)} == said
        assert not later.pages["activity"].now.isVisible()
        card = choose(later, 2)
        size = (done / "model.safetensors").stat().st_size
        assert over(later)[2].numbers["file_bytes"] == size and over(later)[2].numbers["bits"] > 3
        assert card.isVisible() and card.place.whole_text() == str(done)
        assert tr("fact-bits") in card.names.text() and tr("outcome-done") in card.values.text()
        assert not card.notice.isVisible() and card.folder_button.isEnabled()


def test_the_folder_opens_and_an_error_can_be_copied_after_a_restart(
    window, settings, qtbot, chat_model, tmp_path, monkeypatch
):
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    convert(window, qtbot, chat_model, tmp_path / "m")
    entry = window.activities.begin("convert", "odd", "convert")
    window.activities.happened(entry, _failed())
    problem = entry.problem
    window.stop_and_wait()
    with restarted(settings, qtbot) as later:
        qtbot.waitUntil(lambda: len(over(later)) == 2, timeout=LONG)
        card = choose(later, 0)
        assert card.notice.isVisible() and problem.text in card.notice.text()
        card.notice.copy_button.click()
        assert (
            QGuiApplication.clipboard().text() == problem.details and "ZeroDivisionError" in problem.details
        )
        assert not card.folder_button.isVisible()
        card = choose(later, 1)
        card.folder_button.click()
        assert opened == [str(tmp_path / "m")]
        card.page_button.click()
        assert later.page_name == "convert"


def _failed():
    from bitconverter.jobs.job import Failed

    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        return Failed(error)


def test_removing_and_clearing_can_be_undone_and_are_final_at_the_next_start(
    window, settings, qtbot, chat_model, tmp_path
):
    for name in ("a", "b", "c"):
        window.activities.turn(window.activities.begin("convert", name, "convert"), Work.STOPPED)
    running = window.activities.begin("convert", "at work", "convert")
    window.show_page("activity")
    page = window.pages["activity"]
    choose(window, 1).remove_button.click()
    assert [entry.name for entry in over(window)] == ["c", "a"] and window.toast.isVisible()
    assert not page.card.isVisible()
    window.toast._button.click()
    assert [entry.name for entry in over(window)] == ["c", "b", "a"]
    page.clear_button.click()
    assert over(window) == [] and window.activities.entries == [running]
    assert page.now.isVisible() and not page.over.isVisible() and not page.clear_button.isVisible()
    window.toast._button.click()
    assert len(over(window)) == 3
    choose(window, 0).remove_button.click()
    window.activities.turn(running, Work.STOPPED)
    window.stop_and_wait()
    with restarted(settings, qtbot) as later:
        qtbot.waitUntil(lambda: len(over(later)) == 3, timeout=LONG)
        assert [entry.name for entry in over(later)] == ["at work", "b", "a"]
        later.pages["activity"].clear_button.click()
    with restarted(settings, qtbot) as last:
        assert over(last) == []
        assert last.pages["activity"].empty.isVisible()


def test_jobs_that_end_together_keep_their_order(window, settings, qtbot, monkeypatch):
    now = time.time()
    monkeypatch.setattr("bitconverter.gui.activity.time.time", lambda: now)
    for name in "abcdef":
        window.activities.turn(window.activities.begin("convert", name, "convert"), Work.STOPPED)
    assert "".join(entry.name for entry in over(window)) == "fedcba"
    window.stop_and_wait()
    with restarted(settings, qtbot) as later:
        qtbot.waitUntil(lambda: len(over(later)) == 6, timeout=LONG)
        assert "".join(entry.name for entry in over(later)) == "fedcba"


def test_pause_all_pauses_the_conversion_and_it_goes_on(window, qtbot, larger_model, tmp_path):
    window.show_page("activity")
    page, queue = window.pages["activity"], window.convert.queue
    assert not page.pause_button.isEnabled()
    queue.add(
        ConvertJob(source=str(larger_model), out=str(tmp_path / "m"), planes=2, method="fast", report=False)
    )
    assert page.pause_button.isEnabled() and page.now.isVisible()
    page.pause_button.click()
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    assert queue.current is not None and queue.current.state is Work.PAUSED and over(window) == []
    assert not page.pause_button.isEnabled() and page.now.isVisible()
    queue.resume_current()
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    assert [entry.state for entry in over(window)] == [Work.DONE]


KILLED = """
import sys
from pathlib import Path
from PySide6.QtWidgets import QApplication
from bitconverter.gui.appearance import prepare
from bitconverter.gui.main_window import MainWindow
from bitconverter.jobs.convert import ConvertJob
from bitconverter.settings import Settings
home, source, out = map(Path, sys.argv[1:4])
def say(line):
    sys.stdout.write(line + "\\n")  # in one piece: two threads speak
    sys.stdout.flush()
app = QApplication([])
settings = Settings(home / "settings.json")
prepare(app, settings)
window = MainWindow(settings)
window.show()
def job(name):
    return ConvertJob(source=str(source), out=str(out / name), planes=2, method="fast", report=False)
window.convert.queue.add(job("first"))
while window.convert.busy:
    app.processEvents()
window.shell.history._queue.ask(lambda store: say(f"kept {len(store.jobs())}"))
window.convert.queue.add(job("second"))
say("second begun")
while True:
    app.processEvents()
"""


def test_a_kill_loses_nothing_that_has_ended(settings, qtbot, chat_model, tmp_path):
    home = settings.path.parent
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", KILLED, str(home), str(chat_model), str(tmp_path)]
    environment = {**os.environ, "BITCONVERTER_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with child:
        assert child.stdout is not None
        said = {child.stdout.readline(), child.stdout.readline()}
        child.kill()
    assert said == {"kept 1\n", "second begun\n"}
    assert in_session(child.pid) == []
    with restarted(settings, qtbot) as later:
        names = [entry.name for entry in over(later)]
        assert names[-1:] == ["first"], names  # the second one may just have ended
        assert over(later)[-1].state is Work.DONE and over(later)[-1].result == str(tmp_path / "first")
        if len(names) == 1:  # else it is under way: the queue offers to go on
            assert [item.name for item in later.convert.queue.items] == ["second"]


def test_the_list_is_read_when_it_is_looked_at_and_a_start_writes_no_file(settings, qtbot):
    window = MainWindow(settings)
    qtbot.addWidget(window)
    window.show()
    window.stop_and_wait()
    assert not paths.jobs_file().exists()


def test_where_it_cannot_be_kept_that_is_said_once_and_the_list_is_there_until_closing(window, qtbot):
    paths.jobs_file().mkdir(parents=True)
    for name in ("a", "b"):
        window.activities.turn(window.activities.begin("convert", name, "convert"), Work.STOPPED)
    qtbot.waitUntil(window.toast.isVisible, timeout=LONG)
    assert str(paths.jobs_file()) in window.toast._text.text()
    window.show_page("activity")
    assert [entry.name for entry in over(window)] == ["b", "a"]


def test_a_damaged_list_is_set_aside_and_that_is_said(window, qtbot):
    paths.jobs_file().parent.mkdir(parents=True, exist_ok=True)
    paths.jobs_file().write_bytes(b"no database, but long enough to be looked at" * 40)
    window.show_page("activity")
    qtbot.waitUntil(window.toast.isVisible, timeout=LONG)
    assert "jobs.sqlite3.bad" in window.toast._text.text()


def test_the_list_has_a_bound(window, settings, qtbot):
    for number in range(MOST + 3):
        window.activities.turn(window.activities.begin("convert", str(number), "convert"), Work.STOPPED)
    window.stop_and_wait()
    with restarted(settings, qtbot) as later:
        qtbot.waitUntil(lambda: len(over(later)) == MOST, timeout=LONG)
        assert {"2", "3"} & {entry.name for entry in over(later)} == {"3"}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_chosen_one_is_said_in_the_language_of_now(
    window, settings, chat_model, qtbot, tmp_path, language
):
    convert(window, qtbot, chat_model, tmp_path / "m")
    window.show_page("activity")
    card = choose(window, 0)
    settings["language"] = language
    window.apply_setting("language")
    assert tr("fact-file_bytes") in card.names.text() and card.title.whole_text() == tr(
        "work-convert", name="m"
    )


def test_what_runs_stands_above_what_waits_in_its_order(window):
    window.show_page("activity")
    first, second, third = (window.activities.begin("convert", name, "convert") for name in "abc")
    for entry in (second, third):
        window.activities.turn(entry, Work.WAITING)
    page = window.pages["activity"]

    def shown():
        return [
            page.now.model().index(row, 0).data(Activities.ENTRY).name
            for row in range(page.now.model().rowCount())
        ]

    assert shown() == ["a", "b", "c"]
    window.activities.turn(first, Work.DONE)
    window.activities.turn(third, Work.RUNNING)
    assert shown() == ["c", "b"]
