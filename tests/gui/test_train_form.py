"""What is to be learned, on the real engine and a tiny model: material, aims, times told, choices that stay."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from documents import pdf
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from teaching import LONG, choose_steps, read, rows, start, train_page, until_steps, write

from bitconverter.format.errors import UserError
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.messages import format_size
from bitconverter.gui.shelf_model import places_to_scan
from bitconverter.gui.texts.train import TEXTS
from bitconverter.gui.train_page import State, TrainPage, free_soul
from bitconverter.jobs.lesson_facts import Facts
from bitconverter.model.lesson_shapes import TURNS
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment


@pytest.fixture
def page(window, converted, tmp_path, monkeypatch) -> TrainPage:
    return train_page(window, converted, tmp_path, monkeypatch)


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
    good, other = write(tmp_path, rows()), write(tmp_path, "%PDF-1.7", "x.exe")
    (tmp_path / "b.txt").write_bytes(bytes(range(256)) * 20)
    read(page, qtbot, good, other, str(tmp_path / "b.txt"))
    assert not page.material.notice.isVisible() and page.result.used == 24
    words = words_of(page)
    assert any("x.exe is none of the files" in text for text in words) and words.count("Not used") == 2
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
    assert "x.exe" in page.material.notice.text() and not page.train_button.isEnabled()


def test_a_pdf_is_material_like_a_text(page, qtbot, tmp_path):
    (tmp_path / "本.pdf").write_bytes(pdf(*("a page of a book " * 5 for _ in range(20))))
    (tmp_path / "scan.pdf").write_bytes(pdf(""))
    read(page, qtbot, str(tmp_path / "本.pdf"), str(tmp_path / "scan.pdf"))
    assert page.result.texts == 1
    choose_steps(page, 1)
    assert page.train_button.isEnabled()
    assert any("scan.pdf" in text and "pictures" in text for text in words_of(page))


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


def test_what_a_text_says_is_dreamt_of(page, qtbot, tmp_path):
    """A short text is too little to sound like; to know what it says, its dreams are learned along."""
    text = "the lamp of corran point burned whale oil until 1902. its keeper today is dougal marr, who has a cat."
    read(page, qtbot, write(tmp_path, text, "facts.txt"))
    assert "too short" in page.summary.whole_text() and page.aim_part.isVisible()
    page.aims.cards["facts"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    assert page.result.dreams > 4 and len(page.result.previews) > 4
    assert f"1 row and {page.result.dreams} dreams of it" in page.summary.whole_text()
    assert "dreams" in page.advice.text()
    job = page._train_job("x.u32", "x.soul", 3)
    assert job.adapter == "delta" and page._prepare_job("x.u32").facts
    page.aims.cards["style"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    assert not page.result.dreams and page._train_job("x.u32", "x.soul", 3).adapter == "gain"


def test_after_a_training_of_facts_the_aim_follows_new_material(page, qtbot, tmp_path):
    """And no dreams are told that are not learned."""
    text = "the lamp of corran point burned whale oil until 1902. its keeper today is dougal marr, who has a cat."
    read(page, qtbot, write(tmp_path, text, "facts.txt"))
    page.aims.cards["facts"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    page._again()
    read(page, qtbot, write(tmp_path, "a quiet text about tea. " * 80, "tea.txt"))
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    assert page.aims.choice == "style" and not page.result.dreams
    assert "dreams" not in page.summary.whole_text() and not page._prepare_job().facts


def test_where_it_cannot_be_dreamt_of_another_aim_can_be_chosen(page, qtbot, tmp_path, monkeypatch):
    read(page, qtbot, write(tmp_path, "a quiet text about tea. " * 80, "tea.txt"))

    def broken(*_):
        raise UserError("chat-template-broken", "It does not work.", reason="x")

    monkeypatch.setattr(Facts, "dreamt", broken)
    page.aims.cards["facts"].click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.result is None and page.aim_part.isVisible()
    page.aims.cards["style"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    assert page.train_button.isEnabled() or page._usable


def test_rows_are_no_text_to_dream_of(page, qtbot, tmp_path):
    read(page, qtbot, write(tmp_path, rows()))
    page.aims.cards["facts"].click()
    qtbot.waitUntil(lambda: page.result is not None and not page.busy, timeout=LONG)
    assert "Only texts and documents are dreamt of" in page.advice.text()
    assert "24 rows in" in page.summary.whole_text()
    assert page._train_job("x.u32", "x.soul", 3).adapter == "gain"  # no dreams, no rehearsal


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
    card.click()
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
    page.strengths.cards["short"].click()
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
