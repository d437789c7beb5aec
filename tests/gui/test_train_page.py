"""The train page on the real engine and a tiny model: from files to a soul, and every way out between."""

import dataclasses
import json
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import write_byte_tokenizer
from model_folders import edit_config
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from reference.converted import write_converted

from bitconverter import paths
from bitconverter.gui import pin_actions, taught_actions
from bitconverter.gui import train_page as train_page_module
from bitconverter.gui.activity import Work
from bitconverter.gui.loss_plot import LossPlot, smoothed
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.messages import format_size
from bitconverter.gui.shelf_model import places_to_scan
from bitconverter.gui.taught_view import Taught, verdict
from bitconverter.gui.texts.train import TEXTS
from bitconverter.gui.train_page import State, TrainPage, free_soul
from bitconverter.gui.trash import Trashed
from bitconverter.gui.unfinished_training import KEY, recall, remember
from bitconverter.jobs import eco
from bitconverter.jobs.job import Metric, Note, Progress
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.jobs.train import TrainJob
from bitconverter.model.lesson_shapes import TURNS
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment
from bitconverter.store.run_store import Run

LONG = 120_000
TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model with a chat template, long enough for windows of 512 tokens."""
    source = tmp_path_factory.mktemp("teach") / "source"
    shutil.copytree(tiny_model, source)
    edit_config(source, max_position_embeddings=4096)
    folder = source.parent / "小さな 生徒 🙂"
    write_converted(source, folder, 2, seed=3)
    write_byte_tokenizer(
        folder, json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.fixture
def page(window: MainWindow, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainPage:
    """The page with its model chosen; souls go into a folder of the test. Nothing is estimated."""
    monkeypatch.setattr(TrainPage, "ESTIMATES", False)
    (tmp_path / "souls").mkdir()
    window.shell.settings["output_folder"] = str(tmp_path / "souls")
    window.show_page("train")
    window.train.choose_model(str(converted))
    return window.train


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bin of the test's own; take_back() finds things there."""
    place = tmp_path / "bin"
    place.mkdir()

    def move(path: str) -> Trashed:
        target = place / Path(path).name
        shutil.move(path, target)
        return Trashed(path, str(target))

    for module in (train_page_module, taught_actions, pin_actions):
        monkeypatch.setattr(module, "move_to_trash", move)
    return place


def rows(count: int = 24) -> str:
    return "\n".join(
        json.dumps({"prompt": f"the number {k}", "answer": "odd." if k % 2 else "even."})
        for k in range(count)
    )


def write(tmp_path: Path, text: str, name: str = "教材.jsonl") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def read(page: TrainPage, qtbot, *paths: str) -> None:
    page.add_material(list(paths))
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def choose_steps(page: TrainPage, steps: int) -> None:
    qtbot_click(page.strengths.cards["custom"])
    page.steps.setValue(steps)
    page.layers.setValue(1)
    page.rate.setValue(0.03)


def qtbot_click(button) -> None:
    button.click()


def start(page: TrainPage, qtbot, tmp_path: Path, steps: int) -> None:
    read(page, qtbot, write(tmp_path, rows()))
    choose_steps(page, steps)
    qtbot.mouseClick(page.train_button, Qt.MouseButton.LeftButton)
    assert page.state is State.WORKING


def until_steps(page: TrainPage, qtbot, count: int) -> None:
    qtbot.waitUntil(lambda: len(page.card.plot.losses) >= count, timeout=LONG)


def test_without_a_converted_model_it_says_what_to_do(window, qtbot):
    window.show_page("train")
    page = window.train
    assert page.no_model.isVisible() and page.convert_button.isVisible() and not page.models.isVisible()
    qtbot.mouseClick(page.convert_button, Qt.MouseButton.LeftButton)
    assert window.page_name == "convert"


def test_material_without_a_model_is_not_said_to_be_read(window, qtbot, tmp_path, converted):
    window.show_page("train")
    page = window.train
    page.add_material([write(tmp_path, rows())])
    assert page.material.summary.text() == page.summary.whole_text() == "Choose the model that learns"
    page.choose_model(str(converted))
    assert page.material.summary.text() == "Reading…"
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert "24 rows" in page.material.summary.text()


def test_a_model_that_is_not_converted_is_refused_with_a_word(window, chat_model):
    window.show_page("train")
    window.train.choose_model(str(chat_model))
    assert window.train.model == "" and window.toast.isVisible()


def test_bad_rows_are_named_and_put_right_with_one_button(page, qtbot, tmp_path):
    bad = '\n{"prompt": "x", "answer": 3}\n{"prompt": "y"}'
    read(page, qtbot, write(tmp_path, rows() + bad))
    material = page.material
    assert "26 rows: 24 can be used, 2 cannot" in material.summary.text()
    assert not material.problems.isVisible()
    qtbot.mouseClick(material.open_button, Qt.MouseButton.LeftButton)
    texts = [label.text() for label in material.problems.findChildren(QLabel)]
    assert "教材.jsonl, line 25: its answer is the number 3, not a text" in texts
    assert (
        "教材.jsonl, line 26: it has no answer" in texts
        and "What to do: put it between quotation marks" in texts
    )
    qtbot.mouseClick(material.mend_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert (
        "25 can be used, 1 cannot" in material.summary.text() and "1 was put right" in material.summary.text()
    )
    assert not material.mend_button.isVisible()


def test_one_row_and_one_letter_are_no_plural(page, window, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, '{"prompt": "y"}'))
    assert page.material.summary.text() == "1 row: 0 can be used, 1 cannot"
    bar = window.chat.composer.attachments
    for count, words in ((1, "1 letter"), (1200, "1,200 letters")):
        bar.set_all([Attachment("note.txt", "x" * count)])
        assert words in [text.text() for text in bar.findChildren(QLabel) if not text.isHidden()]


def test_bad_rows_are_named_in_japanese(page, window, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, rows() + '\n{"prompt": "x", "answer": [1]}'))
    qtbot.mouseClick(page.material.open_button, Qt.MouseButton.LeftButton)
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    texts = [label.text() for label in page.material.problems.findChildren(QLabel)]
    assert "教材.jsonl 25 行目: answer が文ではありません（リスト）" in texts


def test_one_row_is_too_little_and_not_called_good(page, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, rows(1)))
    assert page.material.badge.text() == "Too little" and page.material.badge.property("role") == "careful"
    assert "too little" in page.summary.whole_text() and not page.train_button.isEnabled()
    read(page, qtbot, write(tmp_path, rows(3).partition("\n")[2], "more.jsonl"))
    assert page.material.badge.text() == "Good"


def test_the_preview_marks_what_is_learned(page, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, rows()))
    preview = page.material.preview
    assert preview.isVisible() and "u:the number 0" in preview.view.toPlainText()
    html = preview.view.toHtml()
    at = html.index("even.")
    assert "underline" in html[html.rindex("<span", 0, at) : at]
    asked = html.index("the number 0")
    assert "underline" not in html[html.rindex("<span", 0, asked) : asked]
    assert not preview.earlier.isEnabled()
    qtbot.mouseClick(preview.later, Qt.MouseButton.LeftButton)
    assert "the number 1" in preview.view.toPlainText() and "line 2" in preview.where.text()


def test_material_can_be_removed_and_the_sample_taken(page, qtbot, tmp_path):
    path = write(tmp_path, rows())
    read(page, qtbot, path)
    assert page.train_button.isVisible()
    page.material.removed.emit(path)
    assert page.paths == [] and not page.train_button.isVisible() and page.material.files_button.isVisible()
    qtbot.mouseClick(page.material.sample_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.result is not None and (page.result.rows, page.result.used) == (16, 16)


def test_what_cannot_be_read_is_said(page, qtbot, tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 20)
    read(page, qtbot, str(tmp_path / "a.txt"))
    assert "a.txt is no text" in page.material.notice.text() and not page.train_button.isEnabled()
    assert page.summary.text() == "This material cannot be read"


def test_the_drop_area_names_only_chats_that_can_be_learned():
    for text in TEXTS["material-text"]:
        assert all(name in text for name in ("messages", "OpenAI", "conversations", "ShareGPT"))
        assert "exported" not in text and "書き出し）" not in text
    assert {"messages", "conversations"} <= set(TURNS)


def words_of(page):
    return [label.text() for line in page.material.rows for label in line.findChildren(QLabel)]


def test_a_file_that_is_of_no_use_is_set_apart_with_its_reason(page, window, qtbot, tmp_path):
    good, pdf = write(tmp_path, rows()), write(tmp_path, "%PDF-1.7", "x.pdf")
    (tmp_path / "b.txt").write_bytes(bytes(range(256)) * 20)
    read(page, qtbot, good, pdf, str(tmp_path / "b.txt"))
    assert not page.material.notice.isVisible() and page.result.used == 24
    words = words_of(page)
    assert any("x.pdf is none of the files" in text for text in words) and words.count("Not used") == 2
    assert any("b.txt is no text" in text for text in words)
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert words_of(page).count("使いません") == 2
    choose_steps(page, 2)
    page.train()
    assert page._material.inputs == (good,)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    page._again()
    page.material.removed.emit(good)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert "x.pdf" in page.material.notice.text() and not page.train_button.isEnabled()


def test_a_pack_is_told_apart_from_what_the_window_learns_from(page, window, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 2)
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    page._again()
    page.material.removed.emit(page.paths[0])
    read(page, qtbot, page.taught.taught.lesson if page.taught.taught else page._job.lesson)
    assert "Choose the files that it was made of" in page.material.notice.text()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    qtbot.waitUntil(lambda: "もとのファイルを選んで" in page.material.notice.text())


def test_an_empty_file_is_not_called_good(page, window, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, "", "empty.jsonl"))
    badge = page.material.badge
    assert badge.text() == "Nothing to use" and badge.property("role") == "bad"
    assert page.material.summary.text() == "There is nothing in it" and not page.train_button.isEnabled()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert page.material.summary.text() == "中身がありません"


def test_the_aim_follows_the_material_and_the_words_are_honest(page, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, "a quiet text about tea. " * 80, "a.txt"))
    assert page.aims.choice == "style"
    page.material.removed.emit(str(tmp_path / "a.txt"))
    labels = "\n".join(json.dumps({"prompt": f"{k}", "answer": "y" if k % 2 else "n"}) for k in range(20))
    read(page, qtbot, write(tmp_path, labels))
    assert page.aims.choice == "sort" and "n, y" in page.advice.text() and "too few" in page.advice.text()
    page.aims.cards["style"].click()  # from here on it is the user's
    read(page, qtbot, write(tmp_path, labels.replace('"y"', '"yes."'), "b.jsonl"))
    assert page.aims.choice == "style"
    page.aims.cards["sort"].click()
    assert "not a few single words" in page.advice.text()
    for language, words in (("ja", "学びます。30 行は試すには"), ("en", "answers. 30 rows are enough")):
        page.window().shell.settings["language"] = language
        page.window().apply_setting("language")
        assert words in page.advice.text()
    page.material.removed.emit(str(tmp_path / "b.jsonl"))
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    choose_steps(page, 3)
    page.train()
    assert page._job is not None and set(page._job.labels) == {"n", "y"}
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)


def test_an_estimate_gives_steps_and_times(page, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    read(page, qtbot, write(tmp_path, rows()))
    assert page.estimate is not None
    fact = page.strengths.cards["short"].fact.text()
    assert f"{page.estimate.useful} steps" in fact and "about" in fact
    assert "learning by heart" in page.honest.text()  # so small a material is learned in seconds
    assert page.train_button.isEnabled() and f"in {page.estimate.useful} steps" in page.summary.whole_text()


def test_the_way_of_learning_can_be_chosen(page, window, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    read(page, qtbot, write(tmp_path, rows()))
    assert "Memory: about" in page.memory.text() and {job.engine for job in page.estimates} == {"exact"}
    choose_steps(page, 8)
    assert page._train_job("p.u32", "out.soul", 8).patience == 5
    assert page.rate.value() == 0.03 and not page.about_mezo.isVisible()
    page.rate.setValue(0.02)
    page.engine.setCurrentIndex(page.engine.findData("mezo"))
    assert page.about_mezo.isVisible() and page.rate.value() == 0.03
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert {job.engine for job in page.estimates} == {"exact", "mezo"}
    assert "about" in page.strengths.cards["custom"].fact.text()
    window.shell.settings["language"] = "ja"
    window.apply_setting("language")
    assert page.engine.currentText() == "試行（MeZO）" and "メモリー" in page.memory.text()
    page.train()
    assert page._job.engine == "mezo" and page._job.eco
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    assert Path(page.taught.taught.soul.removesuffix(".aside") + ".steps").is_file()
    page._again()
    page.strengths.cards["short"].click()
    page.train()
    assert page._job.engine == "exact"
    page.keep()
    qtbot.waitUntil(lambda: page.state is not State.WORKING and not page.busy, timeout=LONG)


def test_the_time_told_is_that_of_the_numbers_that_are_chosen(page, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    read(page, qtbot, write(tmp_path, rows()))
    card, told = page.strengths.cards["custom"], page.estimate
    assert told.layers == page.layers.maximum() == 2 == page.layers.value()  # all that this model has
    qtbot_click(card)
    page.layers.setValue(1)
    assert card.fact.text() == "Measuring…" and not page.memory.isVisible()
    assert "Trying a few steps" in page.honest.text()
    page.rate.setValue(0.02)  # changes neither time nor memory
    qtbot.waitUntil(lambda: "about" in card.fact.text() and not page.busy, timeout=LONG)
    own = next(found for job, found in page.estimates.items() if job.layers == 1)
    assert page.estimate is told and own.layers == 1 and own.memory < told.memory
    assert format_size(own.memory) in page.memory.text() and page.memory.isVisible()
    page.layers.setValue(2)  # known already
    assert "about" in card.fact.text() and not page.busy
    page.layers.setValue(1)
    qtbot_click(page.strengths.cards["short"])
    assert format_size(told.memory) in page.memory.text()
    read(page, qtbot, write(tmp_path, "a quiet text about tea. " * 80, "a.txt"))
    assert page.estimate.layers == 2  # what is left in the fields is not what an evening learns with


def test_after_a_training_the_times_are_told_again(page, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    page.add_material([write(tmp_path, rows())])
    qtbot.waitUntil(lambda: page.result is not None, timeout=LONG)
    choose_steps(page, 2)
    page.train()
    qtbot.waitUntil(lambda: page.state is State.DONE, timeout=LONG)
    page._again()
    qtbot.waitUntil(lambda: page.estimate is not None and not page.busy, timeout=LONG)


def test_after_discarding_and_with_other_settings_the_times_are_told_again(
    page, window, qtbot, tmp_path, monkeypatch, bin_folder
):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    page.add_material([write(tmp_path, rows())])
    qtbot.waitUntil(lambda: page.result is not None, timeout=LONG)
    choose_steps(page, 5000)
    page.train()
    until_steps(page, qtbot, 2)
    page.pause()
    qtbot.waitUntil(lambda: page.state is State.PAUSED and not page.busy, timeout=LONG)
    page.discard()
    qtbot.waitUntil(lambda: page.own_estimate is not None and not page.busy, timeout=10_000)
    window.show_page("settings")
    window.shell.settings["threads"] = 1
    assert page.estimate is None
    window.show_page("train")
    qtbot.waitUntil(lambda: page.own_estimate is not None and not page.busy, timeout=10_000)


def test_too_little_memory_is_said_with_numbers(page, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainPage, "ESTIMATES", True)
    free = SimpleNamespace(available=20_000_000, total=2**34)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    read(page, qtbot, write(tmp_path, rows()))
    assert "20 MB are free" in page.problem.text() and page.estimate is None


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
        assert abs(head - cell) <= 3, (column, head, cell)
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


def test_the_rate_follows_what_is_to_be_learned_until_it_is_chosen(page, qtbot, tmp_path):
    same = "".join(
        json.dumps({"prompt": f"is {k} even", "answer": "o" if k % 2 else "e"}) + "\n" for k in range(40)
    )
    read(page, qtbot, write(tmp_path, same))
    assert page.result.labels and page.aims.choice == "sort"
    page.engine.setCurrentIndex(page.engine.findData("mezo"))
    assert page.rate.value() == 0.1
    page.aims.cards["answers"].click()
    assert page.rate.value() == 0.03
    page.rate.setValue(0.05)
    page.aims.cards["sort"].click()
    assert page.rate.value() == 0.05


def test_a_name_is_free_where_nothing_of_a_training_has_it(tmp_path):
    assert free_soul(tmp_path / "a") == str(tmp_path / "a")
    (tmp_path / "a.soul.steps").write_bytes(b"")
    assert free_soul(tmp_path / "a") == str(tmp_path / "a-2")


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


def test_what_was_chosen_is_there_at_the_next_start(page, window, settings, converted, qtbot, tmp_path):
    start(page, qtbot, tmp_path, 7)
    qtbot.waitUntil(lambda: page.state is State.DONE and not page.busy, timeout=LONG)
    soul, model = page.taught.taught.soul, page.model
    settings["output_folder"] = ""  # the soul is found all the same
    window.stop_and_wait()
    kept = Settings(settings.path)
    kept["output_folder"] = ""
    assert {model, soul} <= set(places_to_scan(kept, []))
    again = MainWindow(kept)
    qtbot.addWidget(again)
    again.show_page("train")
    again.show()
    form = again.train
    try:
        assert form.model == model and not form.no_model.isVisible()
        assert form.strengths.choice == "custom" and form.steps.value() == 7
        form.add_material([write(tmp_path, rows(), "b.jsonl")])
        qtbot.waitUntil(lambda: not form.busy, timeout=LONG)
        assert "in 7 steps" in form.summary.whole_text()
    finally:
        again.stop_and_wait()


def test_of_several_models_the_last_one_taught_is_chosen_again(
    page, window, settings, converted, qtbot, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(converted, other)
    page.choose_model(str(other))
    page.models.setCurrentIndex(page.models.findData(str(converted)))
    page.models.activated.emit(page.models.currentIndex())
    window.stop_and_wait()
    again = MainWindow(Settings(settings.path))
    qtbot.addWidget(again)
    again.show_page("train")
    try:
        assert again.train.model == str(converted) and again.train.models.findData(str(other)) >= 0
    finally:
        again.stop_and_wait()


@contextmanager
def paused_and_reopened(page, window, settings, qtbot, tmp_path):
    """The window of the next start, after a training was paused at its third step or a few later."""
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
        qtbot.mouseClick(card.keep_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: again.train.state is State.DONE, timeout=LONG)


def test_resumed_after_a_restart_and_paused_at_once_it_is_shown_as_it_was(
    page, window, settings, qtbot, tmp_path
):
    with paused_and_reopened(page, window, settings, qtbot, tmp_path) as again:
        before, card = page.card, again.train.card
        again.train.resume()
        again.train.pause()
        qtbot.waitUntil(lambda: again.train.state is State.PAUSED and not again.train.busy, timeout=LONG)
        assert card.plot.losses == before.plot.losses and card.plot.checks == before.plot.checks
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


def test_files_are_dropped_on_the_page(page, window, qtbot, tmp_path):
    path = write(tmp_path, rows())
    (tmp_path / "notes").mkdir()
    write(tmp_path / "notes", "a text about tea. " * 50, "a.txt")
    for thing in (path, str(tmp_path / "notes")):
        window._take(thing, "train")
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert (
        page.paths == [path, str(tmp_path / "notes")] and page.result is not None and page.result.used == 25
    )


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
    assert "学習率を下げるのが一番" in page.taught.words.text()


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
