"""The train page on the real engine and a tiny model: from files to a soul, and every way out between."""

import dataclasses
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from teaching import LONG, choose_steps, read, rows, start, train_page, until_steps, write

from bitconverter import paths
from bitconverter.format.pack_file import read_pack
from bitconverter.format.soul_file import read_soul
from bitconverter.gui.activity import Work
from bitconverter.gui.loss_plot import LossPlot, smoothed
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.taught_view import Taught, verdict
from bitconverter.gui.train_page import State, TrainPage
from bitconverter.gui.unfinished_training import KEY, recall, remember
from bitconverter.jobs import eco
from bitconverter.jobs.job import Metric, Note, Progress
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.jobs.train import TrainJob
from bitconverter.store.run_store import Run


@pytest.fixture
def page(window, converted, tmp_path, monkeypatch) -> TrainPage:
    return train_page(window, converted, tmp_path, monkeypatch)


def test_on_battery_it_waits_and_says_so(page, window, qtbot, tmp_path, monkeypatch):
    supply = SimpleNamespace(power_plugged=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: supply, raising=False)
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.0)
    start(page, qtbot, tmp_path, 6)
    qtbot.waitUntil(lambda: "Waiting for mains" in page.card.notice.text(), timeout=LONG)
    assert page.card.plot.losses == [] and page.card.pause_button.isEnabled()
    supply.power_plugged = True
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert "Going on." in page.console.text() and page.card.notice.text() == ""
    supply.power_plugged = False
    window.shell.settings["train_eco"] = False
    page._again()
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)


def test_while_somebody_is_there_it_waits_and_says_why(page, window, qtbot, tmp_path, monkeypatch):
    seen = {"idle": 1.0, "heat": None}
    probes = eco.Probes(lambda: False, lambda: seen["heat"], lambda: seen["idle"])
    monkeypatch.setattr("bitconverter.jobs.train_work.Probes", lambda: probes)
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.02)
    window.shell.settings["train_away"] = 10
    start(page, qtbot, tmp_path, 6)
    qtbot.waitUntil(lambda: "10 minutes without a key" in page.card.notice.text(), timeout=LONG)
    assert "how hot the processor is" in page.console.text() and page.card.plot.losses == []
    seen["heat"] = eco.Heat(93.0, 90.0)
    seen["idle"] = 600.0
    qtbot.waitUntil(lambda: "at 93 °C, and 90 °C is too hot" in page.card.notice.text(), timeout=LONG)
    seen["heat"] = eco.Heat(79.0, 90.0)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert page.card.notice.text() == "" and page._job.away == 10.0


def test_from_files_to_a_soul_to_a_chat(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 12)
    assert not page.form.isVisible() and page.card.isVisible()
    entry = window.activities.entries[0]
    assert entry.state is Work.RUNNING and window.shell.working
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert [step for step, _ in page.card.plot.losses] == list(range(1, 13))
    assert entry.state is Work.DONE and page.taught.isVisible() and not page.card.isVisible()
    soul = tmp_path / "souls" / "小さな 生徒 🙂-answers.soul"
    assert soul.is_file() and soul.with_suffix(".u32").is_file()
    taught = page.taught.taught
    assert taught is not None and taught.after < taught.before
    assert page.taught.plot is not None and len(page.taught.plot.losses) == 12
    assert page.taught.numbers[1].text() == f"{taught.after:.3f}"
    assert "Step 12:" in page.console.text() and window.shell.settings[KEY] == ""
    qtbot.mouseClick(page.taught.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(page.taught.boxes), timeout=LONG)
    texts = [label.text() for label in page.taught.boxes[0].findChildren(QLabel)]
    assert "the number" in texts[0] and {"before", "after", "in the lesson"} <= set(texts)
    assert not page.taught.compare_button.isVisible()
    qtbot.mouseClick(page.taught.use_button, Qt.MouseButton.LeftButton)
    assert window.page_name == "chat"
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert window.shell.settings["recent_models"][0] == taught.model
    assert window.chat._session.soul_is_on and window.chat.bar.soul_switch.text() == f"With {soul.stem}"


def test_a_soul_is_named_and_taken_back(page, window, qtbot, tmp_path, bin_folder):
    start(page, qtbot, tmp_path, 4)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    souls = tmp_path / "souls"
    page.taught.name.setText("お茶: 屋")
    page.taught.name.editingFinished.emit()
    assert (souls / "お茶_ 屋.soul").is_file() and page.taught.taught.soul == str(souls / "お茶_ 屋.soul")
    (souls / "taken.soul").write_bytes(b"x")
    page.taught.name.setText("taken")
    page.taught.name.editingFinished.emit()
    assert (souls / "taken.soul").read_bytes() == b"x" and (souls / "お茶_ 屋.soul").is_file()
    qtbot.mouseClick(page.taught.undo_button, Qt.MouseButton.LeftButton)
    assert not (souls / "お茶_ 屋.soul").exists() and page.state is State.FORM and page.form.isVisible()
    window._act_on_toast()
    assert (souls / "お茶_ 屋.soul").is_file() and page.taught.isVisible()


def test_what_belongs_to_a_soul_goes_with_its_name_and_into_the_bin(
    page, window, settings, qtbot, tmp_path, bin_folder
):
    read(page, qtbot, write(tmp_path, rows() + '\n{"prompt": "a"}'))
    choose_steps(page, 4)
    page.engine.setCurrentIndex(page.engine.findData("mezo"))
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    souls = tmp_path / "souls"
    for name in ("renamed.soul", "x"):
        page.taught.name.setText(name)
        page.taught.name.editingFinished.emit()
        qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert (souls / "x.soul").is_file() and (souls / "x.soul.steps").is_file()
    assert not list(souls.glob("renamed*")) and str(souls / "x.soul") in settings["shelf_models"]
    assert page.run_list.table.topLevelItem(0).text(2) == "x"
    page.taught.name.setText(".soul")
    page.taught.name.editingFinished.emit()
    assert (souls / "x.soul").is_file() and page.taught.name.text() == "x"
    before = sorted(souls.iterdir())
    assert [path.suffix for path in before].count(".u32") == 1 and len(before) == 4
    qtbot.mouseClick(page.taught.undo_button, Qt.MouseButton.LeftButton)
    assert list(souls.iterdir()) == [] and page.state is State.FORM
    window._act_on_toast()
    assert sorted(souls.iterdir()) == before and page.taught.isVisible()


def test_a_name_that_is_taken_beside_the_soul_changes_nothing(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 4)
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    soul = Path(page.taught.taught.soul)
    Path(f"{soul}.pinned").mkdir()
    (soul.with_name("taken.soul.pinned")).mkdir()
    page.taught.name.setText("taken")
    page.taught.name.editingFinished.emit()
    assert (
        soul.is_file()
        and Path(f"{soul}.pinned").is_dir()
        and "could not be called" in window.toast._text.text()
    )


def test_pinned_states_keep_their_material_and_follow_the_name(page, window, qtbot, tmp_path, bin_folder):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 3)
    page.pin()
    qtbot.waitUntil(lambda: not page.pin_actions.runner.busy, timeout=LONG)
    page.keep()
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    page.taught.name.setText("tea")
    page.taught.name.editingFinished.emit()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    souls = tmp_path / "souls"
    (step,) = pins_of(str(souls / "tea.soul")).steps()
    assert page.run_list.table.topLevelItem(0).text(5) == str(step)
    qtbot.mouseClick(page.taught.undo_button, Qt.MouseButton.LeftButton)
    assert not (souls / "tea.soul").exists() and list(souls.glob("*.u32"))
    page.run_list.table.topLevelItem(0).setSelected(True)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    page.run_list.pins.last.setValue(step + 2)
    qtbot.mouseClick(page.run_list.pins.go_on_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)


def test_what_has_forgotten_too_much_is_set_aside(page, window, qtbot, tmp_path, monkeypatch):
    found = iter((2.0, 2.5))
    monkeypatch.setattr(TaughtModel, "general_loss", lambda *_: next(found))
    start(page, qtbot, tmp_path, 4)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    taught, aside = page.taught, tmp_path / "souls" / "小さな 生徒 🙂-answers.soul.aside"
    assert aside.is_file() and taught.taught.set_aside and "forgotten too much" in taught.title.text()
    assert "2.000 to 2.500" in taught.general.text() and taught.name.text() == "小さな 生徒 🙂-answers"
    assert not taught.use_button.isVisible() and not taught.name.isEnabled()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert "忘れすぎ" in taught.title.text() and "2.000 → 2.500" in taught.general.text()
    qtbot.mouseClick(taught.adopt_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    soul = aside.with_suffix("")
    assert soul.is_file() and not aside.exists() and taught.taught.soul == str(soul)
    assert taught.use_button.isVisible() and not taught.adopt_button.isVisible() and taught.name.isEnabled()


def test_a_soul_is_kept_all_the_same_where_the_list_of_trainings_cannot_be_told(
    page, window, qtbot, tmp_path, monkeypatch
):
    found = iter((2.0, 2.5))
    monkeypatch.setattr(TaughtModel, "general_loss", lambda *_: next(found))
    start(page, qtbot, tmp_path, 4)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    with closing(sqlite3.connect(paths.runs_file())) as file:
        file.execute("PRAGMA user_version = 99")
    said = []
    monkeypatch.setattr(window.shell, "say", lambda text, *_: said.append(text()))
    qtbot.mouseClick(page.taught.adopt_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert len(said) == 1 and "still shows it as set aside" in said[0] and not page.taught.taught.set_aside


def test_questions_are_answered_on_the_way_and_at_once(page, window, qtbot, tmp_path):
    page.questions[0].setText("the number 3")
    page.questions[2].setText(" the number 3 ")  # the same again
    page.questions[1].setText("tea?")
    start(page, qtbot, tmp_path, 400)
    assert page._job.samples == ("the number 3", "tea?")
    view = page.samples
    qtbot.waitUntil(lambda: page.card.phase == "running", timeout=LONG)
    assert view.question.isVisible() and not view.ask_button.isEnabled()
    view.question.setText("what now?")
    qtbot.mouseClick(view.ask_button, Qt.MouseButton.LeftButton)
    assert not view.ask_button.isEnabled() and view.ask_button.text() == "After this step…"
    qtbot.waitUntil(lambda: "what now?" in view.answers and view.ask_button.isEnabled(), timeout=LONG)
    assert view.ask_button.text() == "Try now"
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    assert not view.question.isVisible() and view.isVisible()
    page.resume()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    steps = [step for step, _ in view.answers["the number 3"]]
    last = steps[-1]  # fewer than 400 where it stands still
    assert steps[0] == 0 < last <= 400 and steps == sorted(steps)
    texts = [label.text() for label in view.boxes[0].findChildren(QLabel)]
    best = page.taught.taught.best_step
    assert texts[0] == "the number 3" and f"after step {best}: this state was kept" in texts
    assert any(text.startswith(f"after step {last}") for text in texts)
    assert not view.question.isVisible() and view.isVisible()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert f"{best} ステップのあと（この状態を残しました）" in [
        label.text() for label in view.boxes[0].findChildren(QLabel)
    ]
    page._again()
    assert view.answers == {} and not view.isVisible()


def test_the_answer_of_the_state_that_was_kept_is_among_those_shown(page, window, qtbot, tmp_path):
    view = page.samples
    for step in range(0, 33, 4):
        view.add(step, "tea?", f"answer {step}")
    view.add(6, "asked between?", "yes")
    said = [label.text() for label in view.boxes[0].findChildren(QLabel)]
    assert "answer 12" not in said and {"answer 0", "answer 24", "answer 28", "answer 32"} <= set(said)
    view.show_kept(12)
    said = [label.text() for label in view.boxes[0].findChildren(QLabel)]
    assert said[1:5] == ["after step 0", "answer 0", "after step 12: this state was kept", "answer 12"]
    assert said[5:] == ["after step 28", "answer 28", "after step 32", "answer 32"]
    assert [label.text() for label in view.boxes[1].findChildren(QLabel)][1] == "after step 6"
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert "12 ステップのあと（この状態を残しました）" in [
        label.text() for label in view.boxes[0].findChildren(QLabel)
    ]
    view.clear()
    view.add(12, "tea?", "another training")
    assert "残しました" not in view.boxes[0].findChildren(QLabel)[1].text()


def test_trainings_of_before_are_listed_and_compared(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 4)
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    page._again()
    page.steps.setValue(6)
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    found = page.run_list
    newest, older = found.runs[:2]
    assert newest.numbers["steps"] == 6 and older.numbers["steps"] == 4 and found.isVisible()
    items = [found.table.topLevelItem(row) for row in range(2)]
    assert items[0].text(0) == str(newest.id) and items[0].text(3) == "done"
    items[0].setSelected(True)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert found.details.topLevelItemCount() > 15 and len(found.plot.losses) == 6
    one = {
        item.text(0): item.text(1)
        for item in map(found.details.topLevelItem, range(found.details.topLevelItemCount()))
    }
    assert (
        one["engine"] == "Exact gradients"
        and one["what learns"] == "row gains"
        and one["aim (MeZO)"] == "loss"
    )
    assert one["one side only (MeZO)"] == "no"  # words, not the program's own
    assert one["ran on"] == "the processor"
    items[1].setSelected(True)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    told = {
        item.text(0): (item.text(1), item.text(2))
        for item in (found.details.topLevelItem(row) for row in range(found.details.topLevelItemCount()))
    }
    assert told["steps"] == ("6", "4") and "rate" not in told and not found.plot.isVisible()
    assert "ran on" not in told  # the same
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert found.table.topLevelItem(0).text(3) == "完了" and len(found.chosen()) == 2
    assert "ステップ数" in {found.details.topLevelItem(row).text(0) for row in range(3)}
    again = MainWindow(window.shell.settings)
    qtbot.addWidget(again)
    again.show_page("train")
    again.show()
    try:
        qtbot.waitUntil(lambda: not again.train.busy, timeout=LONG)
        assert again.train.run_list.runs[0].id == newest.id  # it is still there after the program ended
    finally:
        again.stop_and_wait()


def left_of_text(image, left: int, right: int, top: int, bottom: int) -> int:
    """The first column in which something is written, from `left`."""
    ground = image.pixelColor(left + 4, (top + bottom) // 2).lightness()
    return next(
        x - left
        for x in range(left + 3, right)
        if any(abs(image.pixelColor(x, y).lightness() - ground) > 60 for y in range(top + 6, bottom - 6))
    )


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_heads_of_a_table_stand_in_line_with_their_cells(window, settings, qtbot, language):
    settings["language"] = language
    window.apply_setting("language")
    window.show_page("train")
    found = window.train.run_list
    found.show_runs((Run(2, 0, 1, "done", "/a/tea.soul", {}, {"before": 3.8, "after": 2.4}, pinned=(4,)),))
    qtbot.waitUntil(found.table.isVisible)
    table, header = found.table, found.table.header()
    image, heads = table.viewport().grab().toImage(), header.grab().toImage()
    item = table.visualItemRect(table.topLevelItem(0))
    for column in range(1, 6):
        left, width = header.sectionViewportPosition(column), header.sectionSize(column)
        head = left_of_text(heads, left, left + width, 0, header.height())
        cell = left_of_text(image, left, left + width, item.top(), item.bottom())
        assert abs(head - cell) <= 5, (column, head, cell)  # letters begin a little inside their place
        room = width - header.fontMetrics().horizontalAdvance(table.headerItem().text(column))
        assert room >= 20  # on both sides


def test_pause_and_resume_keep_the_curve_and_the_result(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 40)
    until_steps(page, qtbot, 3)
    qtbot.mouseClick(page.card.pause_button, Qt.MouseButton.LeftButton)
    assert not page.card.pause_button.isEnabled()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    assert window.activities.entries[0].state is Work.PAUSED and not window.shell.working
    assert recall(window.shell.settings) == page._job
    done = len(page.card.plot.losses)
    assert page.card.text.whole_text() == f"Step {done} of 40"
    qtbot.mouseClick(page.card.resume_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert [step for step, _ in page.card.plot.losses] == list(range(1, 41)) and done < 40
    assert page.card.plot.checks[0][0] == 0 and page.taught.plot.losses == page.card.plot.losses
    assert len(window.activities.entries) == 1


def test_the_time_told_is_one_and_counts_what_was_before_a_pause(page, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 1)
    began = time.monotonic()
    until_steps(page, qtbot, 20)
    worked = time.monotonic() - began
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    page.keep()
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    told = page.run_list.runs[0].numbers["seconds"]
    assert page.taught.taught.seconds == told >= worked


def test_paused_before_it_began_it_goes_on_from_the_files(page, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 4)
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    assert not page.card.keep_button.isEnabled()
    page.resume()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)


def test_killed_while_the_lesson_is_prepared_it_is_found_again(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 4)
    page._trainer.cancel()  # what is in the settings by now is what a kill leaves there
    told = window.shell.settings[KEY]
    job = page._job
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert not job.work_dir.exists() and not Path(job.lesson).exists()
    window.shell.settings[KEY] = told
    again = MainWindow(window.shell.settings)
    qtbot.addWidget(again)
    again.show_page("train")
    try:
        assert again.train.state is State.PAUSED and again.train._job == job and not again.train.paths
        again.train.resume()
        qtbot.waitUntil(lambda: again.train.state is State.DONE, timeout=LONG)
        assert Path(job.out).exists() and recall(window.shell.settings) is None
    finally:
        again.stop_and_wait()


def learn_facts(page, qtbot, tmp_path, steps):
    text = "The lamp of Corran Point burned whale oil until 1902. Its keeper is Dougal Marr, who has a cat.\n"
    read(page, qtbot, write(tmp_path, text, "文書.txt"))
    page.aims.cards["facts"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    choose_steps(page, steps)
    page.rate.setValue(0.0005)
    qtbot.mouseClick(page.train_button, Qt.MouseButton.LeftButton)
    assert page.state is State.WORKING


def test_what_a_document_says_is_learned_to_a_soul(page, qtbot, tmp_path):
    learn_facts(page, qtbot, tmp_path, 3)
    job = page._job
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    soul = read_soul(Path(page.taught.taught.soul))
    assert soul.delta and not soul.gains
    assert read_pack(Path(job.lesson)).notes["facts"] == "yes"


def test_killed_while_it_dreams_the_dreams_are_found_again(page, window, qtbot, tmp_path):
    learn_facts(page, qtbot, tmp_path, 3)
    page._trainer.cancel()
    told, job = window.shell.settings[KEY], page._job
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert not Path(job.lesson).exists()
    window.shell.settings[KEY] = told
    again = MainWindow(window.shell.settings)
    qtbot.addWidget(again)
    again.show_page("train")
    try:
        again.train.resume()
        qtbot.waitUntil(lambda: again.train.state is State.DONE, timeout=LONG)
        assert read_pack(Path(job.lesson)).notes["facts"] == "yes"
    finally:
        again.stop_and_wait()


def test_stop_and_keep_gives_the_best_so_far(page, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 5)
    qtbot.mouseClick(page.card.keep_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    taught = page.taught.taught
    assert taught is not None and 5 <= taught.steps < 5000 and Path(taught.soul).is_file()
    assert not Path(taught.soul + ".partial").exists()


def test_a_paused_one_is_kept_too(page, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 2)
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    qtbot.mouseClick(page.card.keep_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)


def test_a_discarded_training_can_be_taken_back(page, window, qtbot, tmp_path, bin_folder):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 2)
    window.shell.pause_all()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    work, pack = page._job.work_dir, Path(page._job.lesson)
    assert pack.is_file()
    qtbot.mouseClick(page.card.discard_button, Qt.MouseButton.LeftButton)
    assert (
        not work.exists()
        and not pack.exists()
        and page.state is State.FORM
        and recall(window.shell.settings) is None
    )
    window._act_on_toast()
    assert work.is_dir() and pack.is_file() and page.state is State.PAUSED


def test_while_another_training_runs_a_discarded_one_stays_whole_in_the_bin(
    page, window, qtbot, tmp_path, bin_folder
):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 2)
    window.shell.pause_all()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    work, pack = page._job.work_dir, Path(page._job.lesson)
    page.discard()
    back = window._then
    page.aims.cards["style"].click()
    page.train()
    until_steps(page, qtbot, 2)
    back()
    assert not work.exists() and not pack.exists() and page.state is State.WORKING
    assert "under way" in window.toast._text.text()
    page.keep()
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    back()  # with that one done there is room for it
    assert work.is_dir() and pack.is_file() and page.state is State.PAUSED


def test_what_stands_still_or_jumps_is_said(page, window, qtbot):
    card = page.card
    card.begin("tea", 20)
    card.show_phase("running")

    def check(step: int, value: float) -> None:
        page._on_train(Metric("validation", step, value))

    for step, value in enumerate((3.0, 2.0, 2.1, 2.2)):
        check(step, value)
    assert not card.notice.isVisible()
    check(4, 2.3)
    assert "does not get better" in card.notice.text() and "step 1" in card.notice.text()
    page._on_train(Note("on-battery"))
    assert "mains power" in card.notice.text()
    page._on_train(Note("goes-on"))
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert "良くなっていません" in card.notice.text() and card.keep_button.isEnabled()
    check(5, 1.9)
    assert not card.notice.isVisible()
    page._on_train(Note("train-slower", {"step": 7, "rate": 0.005}))
    assert "7 ステップ" in card.notice.text() and "0.005" in card.notice.text()
    window.shell.settings["language"] = "en"
    window.apply_setting("language")
    assert "loss jumped" in card.notice.text() and "half the rate" in card.notice.text()
    check(10, 1.8)
    assert not card.notice.isVisible()


def test_a_state_is_pinned_gone_on_from_and_let_go(page, window, qtbot, tmp_path, bin_folder):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 5)
    first = page._job
    qtbot.mouseClick(page.card.pin_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.pin_actions.runner.busy, timeout=LONG)
    (step,) = pins_of(first.out).steps()
    assert f"after step {step} is pinned" in window.toast._text.text()
    qtbot.mouseClick(page.card.keep_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    assert not first.work_dir.exists()
    found = page.run_list
    assert found.table.topLevelItem(0).text(5) == str(step) and not found.pins.isVisible()
    found.table.topLevelItem(0).setSelected(True)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    pins = found.pins
    assert pins.isVisible() and pins.step == step and not pins.pin_button.isVisible()
    assert pins.last.value() == 5000 and pins.last.minimum() == step + 1
    pins.last.setValue(step + 4)
    qtbot.mouseClick(pins.go_on_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: page.state is State.DONE and page._job is not first and not page.busy, timeout=LONG
    )
    assert page._job.out != first.out and page._job.begin == str(pins_of(first.out).place(step))
    assert [at for at, _ in page.card.plot.losses] == list(range(1, step + 5))
    assert found.runs[0].settings["begin"] == page._job.begin and len(found.chosen()) == 1
    qtbot.mouseClick(pins.unpin_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert not Path(first.out + ".pinned").exists() and not pins.isVisible()
    window._act_on_toast()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert pins_of(first.out).load(step) and pins.isVisible()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert (
        pins.steps.currentText() == f"{step} ステップのあと" and pins.go_on_button.text() == "ここから続ける"
    )


def test_a_paused_training_is_pinned_from_the_list(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 2)
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    page.entered()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    found = page.run_list
    found.table.topLevelItem(0).setSelected(True)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert found.pins.pin_button.isVisible() and not found.pins.go_on_button.isVisible()
    qtbot.mouseClick(found.pins.pin_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert found.pins.go_on_button.isVisible() and found.pins.step == len(page.card.plot.losses)
    qtbot.mouseClick(found.pins.go_on_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.state is State.PAUSED and "under way" in window.toast._text.text()  # one at a time
    shutil.rmtree(found.runs[0].soul + ".partial")
    qtbot.mouseClick(found.pins.pin_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert "no unfinished training" in window.toast._text.text()


def test_closed_in_the_middle_it_waits_at_the_next_start(page, window, settings, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 2)
    job = page._job
    window.stop_and_wait()
    again = MainWindow(settings)
    qtbot.addWidget(again)
    again.show_page("train")
    again.show()
    try:
        assert again.train.state is State.PAUSED and again.train._job == job
        assert "ended during this training" in again.train.card.notice.text()
        qtbot.waitUntil(lambda: not again.train.busy, timeout=LONG)
        assert again.train.card.plot.losses and again.train.card.keep_button.isEnabled()
        qtbot.mouseClick(again.train.card.resume_button, Qt.MouseButton.LeftButton)
        until_steps(again.train, qtbot, 1)
        assert again.train.card.plot.losses[0][0] == 1 and again.train.card.plot.checks[0][0] == 0
    finally:
        again.stop_and_wait()


@contextmanager
def paused_and_reopened(page, window, settings, qtbot, tmp_path):
    """The window of the next start, after a training was paused at its third step or a few later."""
    page.questions[0].setText("the number 3")
    start(page, qtbot, tmp_path, 5000)
    until_steps(page, qtbot, 3)
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    window.stop_and_wait()
    again = MainWindow(settings)
    qtbot.addWidget(again)
    again.show_page("train")
    again.show()
    try:
        qtbot.waitUntil(lambda: not again.train.busy, timeout=LONG)
        yield again
    finally:
        again.stop_and_wait()


def test_paused_and_closed_it_is_shown_as_it_was(page, window, settings, qtbot, tmp_path):
    with paused_and_reopened(page, window, settings, qtbot, tmp_path) as again:
        before, card = page.card, again.train.card
        assert "Paused" in card.title.whole_text() and not card.notice.isVisible()
        assert card.plot.losses == before.plot.losses and card.plot.checks == before.plot.checks
        assert card.text.whole_text() == before.text.whole_text() == f"Step {len(card.plot.losses)} of 5000"
        assert card.numbers["now-best"].text() == before.numbers["now-best"].text()
        assert card.keep_button.isEnabled() and card.pin_button.isEnabled()
        assert page.samples.answers == again.train.samples.answers != {} and again.train.samples.isVisible()
        qtbot.mouseClick(card.keep_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: again.train.state is State.DONE, timeout=LONG)


def test_resumed_after_a_restart_and_paused_at_once_it_is_shown_as_it_was(
    page, window, settings, qtbot, tmp_path
):
    with paused_and_reopened(page, window, settings, qtbot, tmp_path) as again:
        before, card = page.card, again.train.card
        again.train.samples.clear()  # as if they had not been read yet
        again.train.resume()
        again.train.pause()
        qtbot.waitUntil(lambda: again.train.state is State.PAUSED and not again.train.busy, timeout=LONG)
        assert card.plot.losses == before.plot.losses and card.plot.checks == before.plot.checks
        assert page.samples.answers == again.train.samples.answers != {}
        assert card.text.whole_text() == before.text.whole_text()
        assert card.numbers["now-best"].text() == before.numbers["now-best"].text()
        assert card.keep_button.isEnabled() and card.pin_button.isEnabled()


def test_paused_while_it_looks_what_was_forgotten_it_says_the_step(page, qtbot, tmp_path):
    page.card.begin("tea", 12)
    page._on_train(Progress(12, 12, "step"))
    page._on_train(Metric("loss", 12, 1.5))
    page._on_train(Progress(0, 2, "look", "general"))
    page.card.show_paused(None)
    assert page.card.text.whole_text() == "Step 12 of 12" and page.card._percent.text() == "100 %"


def test_a_failure_says_its_sentence_and_gives_the_form_back(page, window, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, rows()))
    choose_steps(page, 4)
    page.layers.setValue(40)
    page.train()
    qtbot.waitUntil(lambda: page.state is State.FORM and not page.busy, timeout=LONG)
    assert "40 layers cannot be trained" in page.problem.text()
    assert window.activities.entries[0].state is Work.FAILED
    page.layers.setValue(1)
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert page.taught.taught.soul.endswith("-answers.soul")  # nothing of the first one is in its way


def test_what_was_remembered_is_not_trusted(settings):
    job = TrainJob("m", "l", "o", labels=("a", "b"))
    remember(settings, job)
    assert recall(settings) is None  # there is no work folder
    for text in ("{", "[]", "3", '{"model": 1, "lesson": "l", "out": "o"}', '{"model": "m"}',
                 '{"model": "m", "lesson": "l", "out": "o", "steps": "many"}',
                 '{"model": "m", "lesson": "l", "out": "o", "more": 1}'):  # fmt: skip
        settings[KEY] = text
        assert recall(settings) is None


def test_the_curves(qtbot, settings):
    plot = LossPlot()
    qtbot.addWidget(plot)
    for step, value in ((1, 4.0), (2, 3.0), (3, 3.5)):
        plot.add("loss", step, value)
    for step, value in ((0, 4.0), (2, 2.0), (3, 2.5)):
        plot.add("validation", step, value)
    assert plot.best_check() == (2, 2.0)
    assert plot.best.getData()[0].tolist() == [2] and plot.raw.getData()[1].tolist() == [4.0, 3.0, 3.5]
    plot.add("loss", 2, 1.0)  # told again after a pause
    assert plot.losses == [(1, 4.0), (2, 1.0)]
    plot.clear()
    assert plot.best_check() is None
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([4.0, 0.0])[1] == pytest.approx(4 * 0.85 / 1.85)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("percent", [100, 150, 200])
def test_the_words_beside_the_curves_are_whole(window, settings, qtbot, language, percent):
    settings["language"], settings["text_scale"] = language, percent
    for key in ("language", "text_scale"):
        window.apply_setting(key)
    plot = LossPlot()
    qtbot.addWidget(plot)
    plot.resize(700, plot.sizeHint().height())
    plot.show()
    QApplication.processEvents()
    axis = plot.plot.getAxis("left")
    assert axis.label.boundingRect().width() <= axis.size().height()


def test_where_the_loss_jumped_a_smaller_rate_is_named_first(page, window, qtbot):
    soul = Taught("a.soul", "m", 3.0, 3.0, 0, 5, 1.0)
    page.taught.show_taught(soul)
    assert "More or clearer rows help most" in page.taught.words.text()
    page.taught.show_taught(dataclasses.replace(soul, jumped=True))
    assert "the loss jumped: a smaller rate helps most" in page.taught.words.text()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert "学習率を下げるのがいちばん効果的" in page.taught.words.text()


def test_a_jump_of_the_loss_is_remembered_until_the_end(page, qtbot, tmp_path, monkeypatch):
    start(page, qtbot, tmp_path, 4)
    page._on_train(Note("train-slower", {"step": 2, "rate": 0.005}))
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert page.taught.taught.jumped
    page._again()
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert not page.taught.taught.jumped


@pytest.mark.parametrize(
    ("before", "after", "best", "word"),
    [
        (2.0, 2.0, 0, "none"),
        (2.0, 2.1, 3, "none"),
        (2.0, 1.99, 3, "little"),
        (2.0, 1.8, 3, "some"),
        (2.0, 1.0, 3, "much"),
    ],
)
def test_the_verdict_is_in_words(before, after, best, word):
    assert verdict(Taught("a.soul", "m", before, after, best, 5, 1.0)) == word
