"""The convert page on real models and the real engine."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent

from bitconverter.gui.convert_page import State
from bitconverter.gui.main_window import LEAST_SIZE
from bitconverter.gui.target_card import default_out
from bitconverter.gui.unfinished import discard, unfinished_job
from bitconverter.jobs.job import Progress

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


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
    page.convert_button.click()
    assert page.state is State.RUNNING
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)


def _stop_at_first_progress(page):
    def stop(event):
        if isinstance(event, Progress):
            page.stop()

    page._converter.happened.connect(stop)
    return lambda: page._converter.happened.disconnect(stop)


def _weights(folder: str) -> str:
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


def test_an_empty_page_invites_and_offers_nothing_else(page):
    assert page.state is State.EMPTY
    assert not page.footer.isVisible() and not page.target_card.isVisible()


def test_choosing_a_model_shows_its_checks_and_four_sizes(page, qtbot, source):
    _choose(page, qtbot, source)
    assert page.state is State.READY and page.convert_button.isEnabled()
    sizes = [page._reports[planes].out_bytes for planes in (1, 2, 3, 4)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert page.target_card.out.whole_text() == str(source.parent / "モデル 1-ternary-3planes")
    assert {item.code for item in page._reports[3].items} >= {"architecture", "tokenizer", "disk"}


def test_a_conversion_ends_with_numbers_and_leads_to_the_chat(window, page, qtbot, source):
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    assert page.state is State.DONE, page.console.text()
    out = source.parent / "モデル 1-ternary-3planes"
    assert (out / "model.safetensors").is_file() and not Path(f"{out}.partial").exists()
    assert page.run_card.chat_button.isVisible()
    page.run_card.chat_button.click()
    assert window.pages.currentWidget() is window.chat
    qtbot.waitUntil(lambda: not window.chat.busy, timeout=LONG)
    assert window.chat._session is not None and window.chat._session.ternary
    assert page._settings["recent_models"][0] == str(out)


def test_after_a_conversion_the_next_one_gets_a_free_name(page, qtbot, source):
    _choose(page, qtbot, source)
    _convert(page, qtbot)
    assert page.convert_button.isEnabled()
    assert page.target_card.out.whole_text().endswith("-ternary-3planes-2")


def test_another_number_of_planes_changes_folder_and_result(page, qtbot, source):
    _choose(page, qtbot, source)
    page.target_card.cards._cards[4].click()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert page.target_card.out.whole_text().endswith("-ternary-4planes")
    _convert(page, qtbot)
    manifest = json.loads(
        (source.parent / "モデル 1-ternary-4planes" / "config.json").read_text(encoding="utf-8")
    )
    assert manifest["quantization_config"]["quant_method"] == "ternary_planes"


def test_the_output_folder_can_be_changed(page, qtbot, source, tmp_path):
    _choose(page, qtbot, source)
    page.target_card.out_changed.emit(str(tmp_path / "elsewhere" / "name"))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    _convert(page, qtbot)
    assert (tmp_path / "elsewhere" / "name" / "config.json").is_file()


def test_a_stopped_conversion_resumes_to_the_same_bytes(page, qtbot, larger, settings):
    _choose(page, qtbot, larger)
    release = _stop_at_first_progress(page)
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    release()
    assert page.state is State.STOPPED
    assert page.unfinished.isVisible() and page.resume_button.isVisible()
    out = page.target_card.out.whole_text()
    assert Path(out + ".partial").is_dir() and not Path(out).exists()
    page.resume_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.state is State.DONE and not page.unfinished.isVisible()
    _convert(page, qtbot)  # the whole way, into the next free name
    assert _weights(out) == _weights(out + "-2")


def test_an_unfinished_conversion_of_another_day_is_offered(page, qtbot, larger, settings):
    from bitconverter.gui.convert_page import ConvertPage

    _choose(page, qtbot, larger)
    release = _stop_at_first_progress(page)
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    release()
    later = ConvertPage(settings)
    qtbot.addWidget(later)
    later.show()
    assert later.unfinished.isVisible() and later.state is State.EMPTY
    later.resume_button.click()
    qtbot.waitUntil(lambda: not later.busy, timeout=LONG)
    assert later.state is State.DONE


def test_a_work_folder_that_cannot_be_read_is_not_offered(tmp_path):
    out = str(tmp_path / "x")
    assert unfinished_job(out, 0) is None and unfinished_job("", 0) is None
    Path(out + ".partial").mkdir()
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


def test_a_missing_shard_is_named(page, qtbot, source):
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}),
        encoding="utf-8",
    )
    _choose(page, qtbot, source)
    assert page.state is State.BLOCKED
    assert any("model-00001-of-00002.safetensors" in item.message for item in page._reports[2].items)


def test_a_failure_is_explained_and_convert_works_again(page, qtbot, source):
    _choose(page, qtbot, source)
    content = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(content[: len(content) // 2])
    page.convert_button.click()
    qtbot.waitUntil(lambda: not page.converting, timeout=LONG)
    assert page.state is State.FAILED and "model.safetensors" in page.run_card.notice.text()
    assert page.convert_button.isEnabled()
    (source / "model.safetensors").write_bytes(content)
    _convert(page, qtbot)
    assert page.state is State.DONE, page.console.text()


def test_choosing_another_model_while_one_is_checked_shows_the_last(page, qtbot, source, larger):
    page.choose_source(str(source))
    page.choose_source(str(larger))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert page._reports[2].name == larger.name


def test_a_dropped_folder_or_file_of_it_is_chosen(page, qtbot, source):
    for path in (source, source / "config.json"):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        enter = QDragEnterEvent(QPoint(50, 50), Qt.DropAction.CopyAction, data, buttons, keys)
        page.dragEnterEvent(enter)
        assert enter.isAccepted()
        page.dropEvent(QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, data, buttons, keys))
        qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
        assert page._source == str(source)


def test_text_or_a_web_address_is_not_taken(page):
    data = QMimeData()
    data.setText("hello")
    data.setUrls([QUrl("https://example.org/model")])
    keys = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, keys)
    enter.ignore()
    page.dragEnterEvent(enter)
    assert not enter.isAccepted()


def test_the_default_name_is_beside_the_source_and_free(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "model.Q4.GGUF").write_bytes(b"")
    assert default_out(str(tmp_path / "m"), 1) == str(tmp_path / "m-ternary-1plane")
    assert default_out(str(tmp_path / "model.Q4.GGUF"), 4) == str(tmp_path / "model.Q4-ternary-4planes")
    (tmp_path / "m-ternary-1plane").mkdir()
    assert default_out(str(tmp_path / "m"), 1) == str(tmp_path / "m-ternary-1plane-2")


def test_discarding_moves_only_the_work_folder_of_a_conversion_to_the_trash(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    out = str(tmp_path / "x")
    Path(out + ".partial").mkdir()
    assert not discard(out) and Path(out + ".partial").is_dir()  # no job.json: not ours
    Path(out + ".partial", "job.json").write_text("{}", encoding="utf-8")
    assert discard(out) and not Path(out + ".partial").exists()


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
    assert page.state is State.RUNNING and window.focusWidget() is page.stop_button
    qtbot.keyClick(page.stop_button, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.state is State.STOPPED and window.focusWidget() is page.convert_button
