"""The convert page on real models and the real engine."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt

from bitconverter.gui import convert_queue
from bitconverter.gui.activity import Work
from bitconverter.gui.convert_page import ConvertPage, State
from bitconverter.gui.layer_strip import LayerStrip, error_color
from bitconverter.gui.page import Shell
from bitconverter.gui.size_choice import PRESETS, STEPS, Choice
from bitconverter.gui.target_card import default_out
from bitconverter.gui.unfinished import is_ours, unfinished_job
from bitconverter.gui.window_life import LEAST_SIZE
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_work import WorkFolder
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Cancel, Metric, Progress, Stopped, run_job
from bitconverter.jobs.queue_file import load_queue, save_queue

LONG = 300_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture
def page(window):
    window.show_page("convert")
    return window.convert


@pytest.fixture
def source(tmp_path, chat_model) -> Path:
    return Path(shutil.copytree(chat_model, tmp_path / "モデル 1"))


@pytest.fixture
def larger(tmp_path, larger_model) -> Path:
    return Path(shutil.copytree(larger_model, tmp_path / "大きい model"))


def _choose(page, qtbot, path):
    page.choose_source(str(path))
    qtbot.waitUntil(lambda: page.state not in (State.CHECKING, State.EMPTY) and not page.busy, timeout=LONG)


def _convert(page, qtbot):
    qtbot.waitUntil(page.convert_button.isEnabled, timeout=LONG)
    page.convert_button.click()
    assert page.queue.current.state is Work.RUNNING
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)


def _at_first_progress(page, action):
    """Do `action` once, at the first progress of the next conversion."""

    def act(_item, event):
        if isinstance(event, Progress):
            page.queue.happened.disconnect(act)
            action()

    page.queue.happened.connect(act)


def _stopped_early(page, qtbot, source):
    """A conversion that was stopped, and kept, at its first progress."""
    _choose(page, qtbot, source)
    _at_first_progress(page, page.run_card.stop_button.click)
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)


def _pause(page, qtbot, path):
    _choose(page, qtbot, path)
    _at_first_progress(page, page.run_card.pause_button.click)
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)


def _weights(folder: str) -> str:
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


def test_an_empty_page_invites_and_offers_nothing_else(page):
    assert page.state is State.EMPTY
    assert not page.footer.isVisible() and not page.target_card.isVisible() and not page.run_card.isVisible()


def test_choosing_a_model_shows_its_checks_and_four_sizes(page, qtbot, source):
    _choose(page, qtbot, source)
    assert page.state is State.READY and page.convert_button.isEnabled()
    assert set(page._reports) == {Choice(name) for name in PRESETS}
    assert page._reports[Choice("tiny")].out_bytes < page._reports[Choice("best")].out_bytes
    assert page.target_card.out.whole_text() == str(source.parent / "モデル 1-ternary-4gb")
    assert {item.code for item in page._reports[Choice("4gb")].items} >= {"architecture", "tokenizer", "disk"}
    cards = page.target_card.sizes.cards
    assert all("B" in card.size_label.text() and card.badge.isVisible() for card in cards.values())
    assert cards["4gb"].isChecked()


def test_every_size_is_reached_and_chosen_with_the_keyboard(page, window, qtbot, source):
    _choose(page, qtbot, source)
    window.activateWindow()
    cards = page.target_card.sizes.cards
    cards["tiny"].setFocus()
    for name in PRESETS:
        qtbot.waitUntil(cards[name].hasFocus)
        qtbot.keyClick(cards[name], Qt.Key.Key_Space)
        assert page.target_card.sizes.choice == Choice(name)
        assert [n for n, card in cards.items() if card.isChecked()] == [name]
        qtbot.keyClick(cards[name], Qt.Key.Key_Tab)
    assert page.target_card.sizes.slider.hasFocus()
    qtbot.keyClick(page.target_card.sizes.slider, Qt.Key.Key_Backtab)
    assert cards["best"].hasFocus()
    qtbot.keyClick(cards["best"], Qt.Key.Key_Left)
    assert cards["8gb"].hasFocus()


def test_before_the_start_quality_and_time_are_expected(page, qtbot, source, monkeypatch):
    monkeypatch.setattr(ConvertPage, "PLANS", True)
    _choose(page, qtbot, source)
    assert page._plan is not None and len(page._plan.choices) == len(PRESETS)
    for card in page.target_card.sizes.cards.values():
        said = card.expected.text()
        assert "KL" in said and "tokens a second" in said and " s on this PC" in said
    line = page.target_card._plan_line
    assert line.isVisible() and "of memory" in line.text() and "KL" not in line.text()
    page.target_card.sizes.slider.setValue(5 * STEPS)
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert line.isVisible() and "KL" in line.text() and "tokens a second" in line.text()


def test_at_the_end_what_was_expected_stands_beside_what_happened(page, qtbot, source, settings, monkeypatch):
    monkeypatch.setattr(ConvertPage, "PLANS", True)
    settings["report"] = True
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    view, item = page.run_card.done.estimate, page.queue.last
    assert view.isVisible() and view.before is not None and view.after == item.measured()
    assert 0 < item.seconds < item.activity.ended - item.activity.started + 1
    assert 0 < view.after.file_bytes <= view.after.disk < 1.05 * view.before.disk
    assert view.after.file_bytes == item.result.file_bytes <= 1.3 * view.before.file_bytes
    assert view.after.kl == item.result.report["all"]["kl"]
    for name, cells in view.rows:
        assert name.isVisible() and all(cell.text() for cell in cells)
    assert all(cells[2].text().endswith("%") and cells[2].text()[0] in "+-" for _, cells in view.rows)


def test_after_a_conversion_the_next_one_is_estimated_too(page, qtbot, source, monkeypatch):
    monkeypatch.setattr(ConvertPage, "PLANS", True)
    _choose(page, qtbot, source)
    page.convert()
    page.choose_source(str(source))  # while the PC is at work: nothing is timed now
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.run_card.done.isVisible() and page.state is State.READY
    assert page.target_card.out.whole_text().endswith("-2")
    assert page.target_card._disk.text().strip() and page.target_card._plan_line.isVisible()


def test_the_same_sizes_are_told_before_and_after(page, qtbot, larger):
    _choose(page, qtbot, larger)
    page.target_card.sizes.cards["best"].click()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    after = page.target_card.sizes.cards["best"].size_label.text()
    told = page.summary.whole_text()
    _convert(page, qtbot)
    numbers = [number.text() for number in page.run_card.done._numbers[:2]]
    assert numbers[1] == after and told.startswith(f"{numbers[0]} becomes about {after}")


def test_a_conversion_that_nothing_was_expected_of_is_not_compared(page, qtbot, source):
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    assert page.run_card.done.isVisible() and not page.run_card.done.estimate.isVisible()


def test_the_slider_chooses_any_average(page, qtbot, source):
    _choose(page, qtbot, source)
    sizes = page.target_card.sizes
    sizes.slider.setValue(round(3.2 * STEPS))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert not any(card.isChecked() for card in sizes.cards.values())
    assert page._reports[page._choice].bits_per_weight == pytest.approx(3.2, abs=0.3)
    assert page.target_card.out.whole_text().endswith("-ternary-3.20bit")
    sizes.cards["tiny"].click()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert page.target_card.out.whole_text().endswith("-ternary-tiny") and sizes.cards["tiny"].isChecked()
    assert sizes.slider.value() == pytest.approx(2.0 * STEPS, abs=STEPS / 2)


def test_the_number_beside_the_slider_follows_the_language(window, page, qtbot, source, settings):
    _choose(page, qtbot, source)
    value = page.target_card.sizes.slider_value
    assert "bits" in value.text()
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "ビット" in value.text() and "bits" not in value.text()


def test_a_conversion_ends_with_numbers_and_leads_to_the_chat(window, page, qtbot, source):
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    out = source.parent / "モデル 1-ternary-4gb"
    assert page.queue.last.state is Work.DONE, page.console.text()
    assert (out / "model.safetensors").is_file() and not Path(f"{out}.partial").exists()
    assert page.run_card.done.chat_button.isVisible()
    page.run_card.done.chat_button.click()
    assert window.pages.currentWidget() is window.chat
    qtbot.waitUntil(lambda: not window.chat.busy, timeout=LONG)
    assert window.chat._session is not None and window.chat._session.ternary
    assert page._settings["recent_models"][0] == str(out)


@pytest.mark.parametrize("method", ["fast", "full"])
def test_the_strip_is_coloured_by_error_and_the_worst_tensors_are_named(
    page, qtbot, source, settings, method
):
    settings["method"] = method
    _choose(page, qtbot, source)
    said = []
    page.queue.happened.connect(lambda *_: said.append(page.run_card.worst.text()))
    page.convert_button.click()
    item = page.queue.current
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert item.state is Work.DONE, page.console.text()
    card = (Path(item.job.out) / "MODEL_CARD.md").read_text(encoding="utf-8")
    layers = json.loads((source / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    assert len(item.matrices) == 7 * layers and sorted(item.errors) == list(range(layers))
    for layer, error in item.errors.items():
        mine = [value for (number, _), value in item.matrices.items() if number == layer]
        assert error == pytest.approx(sum(mine) / 7)
        assert all(f": {100 * value:.2f}" in card for value in mine)
    page.run_card.show_item(item, layers)  # as it was shown a moment before its end
    assert page.run_card.strip.errors == item.errors
    strip = LayerStrip()
    qtbot.addWidget(strip)
    strip.show_layers(layers, layers, item.errors)
    strip.resize(300, strip.sizeHint().height())
    picture = strip.grab().toImage()
    for layer, error in item.errors.items():
        shown = picture.pixelColor(strip._cell(layer).center().toPoint())
        wanted = error_color(error)
        for part in ("red", "green", "blue"):
            assert abs(getattr(shown, part)() - getattr(wanted, part)()) <= 1
    worst = sorted(item.matrices, key=lambda key: -item.matrices[key])[:5]
    assert [f"layer {layer} {matrix} (" in said[-2] for layer, matrix in worst] == [True] * 5


def test_the_errors_of_another_run_are_there_again_after_resuming(page, qtbot, source):
    """Stopped in the middle and resumed by a page that has not seen the first run."""
    _choose(page, qtbot, source)
    job = page.job()
    cancel = Cancel()

    def stop(event):
        if isinstance(event, Metric) and event.name == "weight_error":
            cancel.request()

    assert isinstance(run_job(job, stop, cancel), Stopped)
    page.resume_into(job.out)
    item = page.queue.current
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    layers = json.loads((source / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    assert item.result.resumed_tensors and len(item.matrices) == 7 * layers == 7 * len(item.errors)


def test_the_calibrated_method_colours_the_layers(page, qtbot, source, settings):
    settings["method"], settings["report"] = "full", True
    _choose(page, qtbot, source)
    page.target_card.sizes.slider.setValue(round(3.5 * STEPS))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    page.convert_button.click()
    item = page.queue.current
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert item.state is Work.DONE, page.console.text()
    layers = json.loads((source / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    assert sorted(item.errors) == list(range(layers)) and page.run_card.strip.layers == layers
    manifest = json.loads((Path(item.job.out) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["method"] == "full"
    quality = page.run_card.done.quality
    assert quality.isVisible() and len(quality.answers) == len(manifest["report"]["answers"]) == 6
    page.run_card.done.larger_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page._choice.bits > 4 and page.state is State.READY


def test_a_larger_error_has_another_colour():
    good, middle, bad = (error_color(error).getRgb() for error in (1e-9, 0.017, 10.0))
    assert good != middle != bad


def test_after_a_conversion_the_next_one_gets_a_free_name(page, qtbot, source):
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    assert page.target_card.out.whole_text().endswith("-ternary-4gb-2")
    qtbot.waitUntil(page.convert_button.isEnabled, timeout=LONG)


def test_the_output_folder_can_be_changed(page, qtbot, source, tmp_path):
    _choose(page, qtbot, source)
    page.target_card.out_changed.emit(str(tmp_path / "elsewhere" / "name"))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    _convert(page, qtbot)
    assert (tmp_path / "elsewhere" / "name" / "config.json").is_file()


def test_a_paused_conversion_resumes_to_the_same_bytes(page, qtbot, larger):
    _pause(page, qtbot, larger)
    item = page.queue.current
    assert item.state is Work.PAUSED and page.run_card.resume_button.isVisible()
    assert not page.run_card.pause_button.isVisible() and not page.unfinished.isVisible()
    out = item.job.out
    assert Path(out + ".partial").is_dir() and not Path(out).exists()
    assert not page.convert_button.isEnabled() and Path(out).name in page.summary.text()
    assert "Already" in page.summary.text() and "another size" in page.convert_button.toolTip()
    page.run_card.resume_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.queue.last is item and item.state is Work.DONE and not page.convert_button.toolTip()
    _convert(page, qtbot)  # the whole way, into the next free name
    assert _weights(out) == _weights(out + "-2")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_that_it_is_in_the_list_already_is_said_uncut(window, page, qtbot, source, settings, language):
    settings["language"] = language
    window.apply_setting("language")
    window.resize(*LEAST_SIZE)
    _choose(page, qtbot, source.rename(source.with_name("SmolLM2-1")))
    page.queue._running = object()  # as if one ran: it waits
    page.convert_button.click()
    assert page.summary.text() == page.summary.whole_text() and "SmolLM2-1-ternary-4gb" in page.summary.text()
    page.queue._running = None


def test_stop_and_keep_leaves_the_work_and_starts_the_next(page, qtbot, larger, source):
    _choose(page, qtbot, larger)
    first = page._out
    _at_first_progress(page, page.run_card.stop_button.click)
    page.convert_button.click()
    page.queue.add(ConvertJob(source=str(source), out=str(source.parent / "next")))
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert Path(first + ".partial").is_dir() and (source.parent / "next" / "config.json").is_file()
    assert page.queue.items == []


def test_after_stop_and_keep_no_empty_card_is_left_and_resuming_is_offered(
    window, page, qtbot, larger, source
):
    window.activateWindow()
    _choose(page, qtbot, larger)
    page.convert_button.click()
    page.run_card.stop_button.setFocus()
    _at_first_progress(page, page.run_card.stop_button.click)
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert not page.run_card.isVisible() and page.unfinished.isVisible()
    assert window.focusWidget() is page.resume_button
    page.resume_button.click()
    stopped = page.queue.current
    _at_first_progress(page, page.run_card.stop_button.click)
    page.choose_source(str(source))  # the form is about another one by now
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert not page.run_card.isVisible() and not page.unfinished.isVisible()
    assert window.toast.isVisible()
    window.toast._button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.queue.last.job.out == stopped.job.out and page.queue.last.state is Work.DONE


def test_a_second_model_waits_and_then_runs(page, qtbot, larger, source):
    _choose(page, qtbot, larger)
    page.convert_button.click()
    page.choose_source(str(source))
    qtbot.waitUntil(lambda: page.state is State.READY or not page.converting, timeout=LONG)
    assert page.convert_button.isEnabled()
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert (source.parent / "モデル 1-ternary-4gb").is_dir()
    assert (larger.parent / "大きい model-ternary-4gb").is_dir()


def test_the_order_of_the_queue_can_be_changed_and_taking_out_can_be_undone(window, page, tmp_path):
    queue = page.queue
    queue._running = object()  # as if one ran: nothing starts
    jobs = [ConvertJob(source="x", out=str(tmp_path / name)) for name in "abc"]
    first, second, third = (queue.add(job) for job in jobs)
    queue._running = first
    queue.move(third, -1)
    assert [item.name for item in queue.items] == ["a", "c", "b"]
    queue.move(third, -1)  # the first place is taken by the running one
    assert [item.name for item in queue.items] == ["a", "c", "b"]
    assert len(page.queue_list.rows) == 2 and page.queue_list.isVisible()
    page.queue_list.removed.emit(third)
    assert [item.name for item in queue.items] == ["a", "b"]
    window.toast._button.click()
    assert [item.name for item in queue.items] == ["a", "b", "c"]
    assert [(job.out, state) for job, state in load_queue(queue._path)] == [
        (jobs[0].out, "waiting"), (jobs[1].out, "waiting"), (jobs[2].out, "waiting"),
    ]  # fmt: skip
    queue._running = None
    assert second.state is Work.WAITING


def test_the_queue_survives_a_crash(settings, qtbot, larger, source):
    """As a killed process leaves it: one was running, one was waiting."""
    jobs = [
        ConvertJob(source=str(larger), out=str(larger.parent / "one")),
        ConvertJob(source=str(source), out=str(larger.parent / "two"), calibration=("text.txt",)),
    ]
    settings.path.parent.mkdir(parents=True, exist_ok=True)
    save_queue(settings.path.with_name("queue.json"), [(jobs[0], "running"), (jobs[1], "waiting")])
    shell = Shell(settings)
    page = ConvertPage(shell)
    qtbot.addWidget(page)
    page.show()
    assert [item.job for item in page.queue.items] == jobs
    assert page.run_card.isVisible() and "interrupted" in page.run_card.notice.text()
    assert page.run_card._percent.text() == ""  # not 0 %: it is not known how far it was
    assert not page.busy  # nothing starts unasked
    page.queue.remove(page.queue.items[1])
    page.run_card.resume_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert (larger.parent / "one" / "model.safetensors").is_file()
    assert load_queue(settings.path.with_name("queue.json")) == []
    shell.history.close()  # as the window does at its end


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", '[{"state": "running", "job": {"source": 1, "out": "x"}}]',
     '[{"state": "gone", "job": {"source": "a", "out": "x"}}]',
     '[{"state": "paused", "job": {"source": "a", "out": "x", "surprise": 1}}]',
     *(f'[{{"state": "paused", "job": {{"source": "a", "out": "x", {wrong}}}}}]' for wrong in
       ('"planes": "4"', '"calibration_windows": "64"', '"polish": 1.5', '"bits": "3"', '"preset": 1'))],
)  # fmt: skip
def test_a_damaged_queue_file_is_an_empty_queue(tmp_path, text):
    (tmp_path / "queue.json").write_text(text, encoding="utf-8")
    assert load_queue(tmp_path / "queue.json") == []


@pytest.mark.parametrize("fields", [{}, {"calibration_windows": 7, "polish": 0, "bits": 3, "preset": "tiny"}])
def test_a_queue_file_gives_the_same_job(tmp_path, fields):
    job = {"source": "a", "out": "x", **fields}
    (tmp_path / "queue.json").write_text(json.dumps([{"state": "paused", "job": job}]), encoding="utf-8")
    assert [found for found, _ in load_queue(tmp_path / "queue.json")] == [ConvertJob(**job)]


def test_a_full_disk_pauses_and_the_conversion_goes_on_after_making_room(page, qtbot, larger, monkeypatch):
    _choose(page, qtbot, larger)

    def full(self, needed):
        raise UserError("disk-full", "The disk is full.", folder=str(self.path))

    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "check_space", full)
        page.convert_button.click()
        qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    item = page.queue.current
    assert item.state is Work.PAUSED and item.why == "disk-full"
    assert "disk is full" in page.run_card.notice.text()
    page.run_card.resume_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert item.state is Work.DONE


def test_an_unfinished_conversion_of_another_day_is_offered_and_can_be_discarded(
    page, qtbot, larger, settings, window, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    _stopped_early(page, qtbot, larger)
    folder = Path(page._out + ".partial")
    assert page.unfinished.isVisible() and folder.is_dir()
    page.discard_button.click()
    assert not folder.exists() and not page.unfinished.isVisible()
    window.toast._button.click()
    assert folder.is_dir() and page.unfinished.isVisible()
    page.resume_button.click()
    assert not page.unfinished.isVisible()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.queue.last.state is Work.DONE


def test_a_work_folder_that_cannot_be_read_is_not_offered(tmp_path):
    out = str(tmp_path / "x")
    assert unfinished_job(out, 0) is None and unfinished_job("", 0) is None
    Path(out + ".partial").mkdir()
    assert not is_ours(out + ".partial")
    for content in ("{", "[]", '{"job": "Other"}', '{"job": "ConvertJob", "surprise": 1}'):
        Path(out + ".partial", "job.json").write_text(content, encoding="utf-8")
        assert unfinished_job(out, 0) is None


def test_a_folder_that_is_no_model_is_explained_and_cannot_be_converted(page, qtbot, tmp_path):
    folder = tmp_path / "just a folder"
    folder.mkdir()
    _choose(page, qtbot, folder)
    assert page.state is State.BLOCKED and not page.convert_button.isEnabled()
    shown = [label.text() for label in page.source_card.checks.findChildren(type(page.summary).__mro__[1])]
    assert any("config.json" in text for text in shown)
    assert [button.property("fix") for button in page.source_card.checks.fixes] == ["fix-other"]


def test_a_taken_output_has_its_fix_beside_it(page, qtbot, source, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_bytes(b"")
    _choose(page, qtbot, source)
    page.target_card.out_changed.emit(str(taken))
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert [button.property("fix") for button in page.source_card.checks.fixes][:1] == ["fix-out"]
    page._new_out()  # what choosing another folder does
    page.fix("fix-again")
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)


def test_a_folder_with_other_unfinished_work_is_told_before(window, page, qtbot, larger, settings):
    _stopped_early(page, qtbot, larger)
    out = page._out
    window.show_page("settings")
    settings["method"] = "full"
    window.show_page("convert")
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert not page.convert_button.isEnabled()
    checks = page.source_card.checks
    assert [button.property("fix") for button in checks.fixes][:2] == ["fix-resume", "fix-out"]
    page.discard_button.click()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    window.toast._button.click()
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    checks.fixes[0].click()
    assert page.queue.current.job.out == out and page.queue.current.job.method == "fast"
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.queue.last.state is Work.DONE and page.state is State.READY


def test_a_missing_shard_is_named(page, qtbot, source):
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}),
        encoding="utf-8",
    )
    _choose(page, qtbot, source)
    assert page.state is State.BLOCKED
    report = page._reports[page._choice]
    assert any("model-00001-of-00002.safetensors" in item.message for item in report.items)


def test_a_failure_is_explained_and_convert_works_again(page, qtbot, source):
    _choose(page, qtbot, source)
    content = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(content[: len(content) // 2])
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.queue.last.state is Work.FAILED and "model.safetensors" in page.run_card.notice.text()
    assert page.convert_button.isEnabled() and page.queue.items == []
    (source / "model.safetensors").write_bytes(content)
    _convert(page, qtbot)
    assert page.queue.last.state is Work.DONE, page.console.text()


def test_choosing_another_model_while_one_is_checked_shows_the_last(page, qtbot, source, larger):
    page.choose_source(str(source))
    page.choose_source(str(larger))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert page._reports[page._choice].name == larger.name


def test_the_default_name_is_beside_the_source_and_free(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "model.Q4.GGUF").write_bytes(b"")
    assert default_out(str(tmp_path / "m"), "tiny") == str(tmp_path / "m-ternary-tiny")
    assert default_out(str(tmp_path / "model.Q4.GGUF"), "best") == str(tmp_path / "model.Q4-ternary-best")
    assert default_out(str(tmp_path / "m"), "best", str(tmp_path / "out")) == str(
        tmp_path / "out/m-ternary-best"
    )
    (tmp_path / "m-ternary-tiny").mkdir()
    assert default_out(str(tmp_path / "m"), "tiny") == str(tmp_path / "m-ternary-tiny-2")


def test_a_long_name_does_not_push_anything_out_of_a_narrow_window(window, page, qtbot, source):
    named = source.rename(source.with_name("とても長い名前" * 11))
    window.resize(*LEAST_SIZE)
    _choose(page, qtbot, named)
    assert page.area.widget().minimumSizeHint().width() <= page.area.viewport().width()


def test_the_keyboard_stays_at_the_buttons(window, page, qtbot, larger):
    window.activateWindow()
    _choose(page, qtbot, larger)
    page.convert_button.setFocus()
    qtbot.keyClick(page.convert_button, Qt.Key.Key_Space)
    assert page.queue.current.state is Work.RUNNING and window.focusWidget() is page.run_card.pause_button
    qtbot.keyClick(page.run_card.pause_button, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.queue.current.state is Work.PAUSED
    assert window.focusWidget() is page.run_card.resume_button


def _fixes(checks):
    return [button.property("fix") for button in checks.fixes]


def test_what_the_queue_holds_is_no_other_unfinished_work(window, page, qtbot, larger, settings):
    _pause(page, qtbot, larger)
    window.show_page("settings")
    settings["method"] = "full"
    window.show_page("convert")
    qtbot.waitUntil(lambda: page.state is not State.CHECKING and not page.busy, timeout=LONG)
    checks = page.source_card.checks
    assert page.state is State.READY and "fix-resume" not in _fixes(checks)
    assert "Already" in page.summary.text() and not page.convert_button.isEnabled()
    page.run_card.stop_button.click()
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    assert page.unfinished.isVisible()
    assert _fixes(checks)[0] == "fix-resume"
    checks.fixes[0].click()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert "fix-resume" not in _fixes(checks)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.queue.last.state is Work.DONE


def test_what_an_earlier_version_began_can_be_resumed(page, qtbot, larger, tmp_path, monkeypatch):
    """It had not every setting of now, and did what they are by default."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    _stopped_early(page, qtbot, larger)
    told = Path(page._out + ".partial") / "job.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    del values["own_chat"]
    values["out"] = "named from the folder that it was begun in"
    told.write_text(json.dumps(values), encoding="utf-8")
    assert unfinished_job(page._out, 0) is not None
    for part in (
        {"source": "named from there"},
        {"calibration": ["a.txt"]},
    ):  # where it was begun, nothing tells
        told.write_text(json.dumps(values | part), encoding="utf-8")
        assert unfinished_job(page._out, 0) is None


@pytest.mark.parametrize("how", ["cut", "newer"])
def test_what_cannot_be_resumed_is_not_offered_to_be_but_discarded(
    window, page, qtbot, larger, tmp_path, monkeypatch, how
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    _stopped_early(page, qtbot, larger)
    out, told = page._out, Path(page._out + ".partial") / "job.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    if how == "newer":
        values["surprise"] = 1
    text = json.dumps(values)
    told.write_text(text[:-9] if how == "cut" else text, encoding="utf-8")
    assert unfinished_job(out, 0) is None
    page.fix("fix-again")
    page._out_changed(out)
    qtbot.waitUntil(lambda: page.state is State.BLOCKED and not page.busy, timeout=LONG)
    why = {"cut": "damaged", "newer": "another version"}[how]
    assert why in page.unfinished.text() and "cannot be resumed" in page.unfinished.text()
    assert page.discard_button.isVisible() and not page.resume_button.isVisible()
    bad = [item for item in page._reports[page._choice].items if item.level == "error"]
    assert len(bad) == 1 and why in bad[0].message
    assert _fixes(page.source_card.checks)[:2] == ["fix-discard", "fix-out"]
    window.show_page("shelf")
    shelf = window.pages["shelf"]
    qtbot.waitUntil(lambda: not shelf.busy, timeout=LONG)
    assert shelf.choose(out + ".partial") and why in shelf.facts.text()
    assert [name for name, button in shelf.buttons.items() if button.isVisible()] == ["folder", "delete"]
    window.shell.resume_wanted.emit(out)
    assert page.queue.items == [] and page.unfinished.isVisible()
    page.fix("fix-discard")
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert not page.unfinished.isVisible() and not told.exists()


def test_with_an_empty_form_it_is_told_too_what_cannot_be_resumed(page, tmp_path):
    Path(tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "job.json").write_text("{", encoding="utf-8")
    page.resume_into(str(tmp_path / "x"))
    assert page.unfinished.isVisible() and page.discard_button.isVisible()
    assert not page.resume_button.isVisible() and page.state is State.EMPTY


def test_every_size_is_known_when_another_one_is_clicked_at_once(page, qtbot, source):
    page.choose_source(str(source))
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)  # the others are being estimated
    assert page._checker.busy
    page.target_card.sizes.cards["best"].click()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    cards = page.target_card.sizes.cards
    assert [name for name, card in cards.items() if "B" not in card.size_label.text()] == []


def test_a_paused_one_that_is_stopped_can_be_resumed_while_the_form_is_about_another(
    window, page, qtbot, larger, source
):
    _pause(page, qtbot, larger)
    paused = page.queue.current
    _choose(page, qtbot, source)
    page.run_card.stop_button.click()
    assert page.queue.items == [] and paused.state is Work.STOPPED and not page.unfinished.isVisible()
    assert window.toast.isVisible() and paused.name in window.toast._text.text()
    window.toast._button.click()
    assert page.queue.current.job == paused.job and page.queue.current.state is Work.RUNNING
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.queue.last.state is Work.DONE


def test_the_running_one_is_not_taken_out_of_the_queue(page, tmp_path, monkeypatch):
    queue = page.queue
    monkeypatch.setattr(queue._runner, "start", lambda job: None)
    running, waiting = (queue.add(ConvertJob(source="x", out=str(tmp_path / name))) for name in "ab")
    queue.remove(running)
    assert queue.items == [running, waiting] and running.state is Work.RUNNING
    queue.remove(waiting)
    assert queue.items == [running]
    queue._on_event(Stopped())


def test_the_time_of_a_resumed_conversion_is_that_of_all_its_runs(page, tmp_path, monkeypatch):
    queue, now = page.queue, [100.0]
    monkeypatch.setattr(queue._runner, "start", lambda job: None)
    monkeypatch.setattr(convert_queue, "time", SimpleNamespace(monotonic=lambda: now[0]))
    item = queue.add(ConvertJob(source="x", out=str(tmp_path / "a")))
    for seconds in (30.0, 12.0):
        queue.resume(item)
        now[0] += seconds
        queue.pause()
        queue._on_event(Stopped())
        assert item.state is Work.PAUSED
        now[0] += 1000.0  # of a break
    assert item.seconds == 42.0
