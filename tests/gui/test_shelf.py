"""The shelf on real models and a real recycle bin."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QLocale

from bitconverter.format.lock import FolderLock
from bitconverter.format.soul_file import Soul, soul_bytes
from bitconverter.gui import trash
from bitconverter.gui.activity import Work
from bitconverter.gui.shelf_delegate import depth
from bitconverter.gui.shelf_model import ENTRY, facts, fit_of, parents
from bitconverter.gui.trash import foreign_in
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Finished, Progress, run_job
from bitconverter.jobs.shelf import CONVERTED, GGUF, ORIGINAL, SOUL, UNFINISHED, ShelfEntry

LONG = 300_000
SOUL_OF_SMALL = Soul({"model.layers.0.mlp.up_proj": np.ones(8, np.float32)}, "small 小", "0" * 64, {})


@pytest.fixture(scope="module")
def made(tmp_path_factory, chat_model) -> Path:
    """An original, its conversion, and an unfinished one. Copied by each test."""
    place = tmp_path_factory.mktemp("shelf")
    source = Path(shutil.copytree(chat_model, place / "original 元"))
    done = run_job(ConvertJob(source=str(source), out=str(place / "small 小")), lambda _: None, Cancel())
    assert isinstance(done, Finished)
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Path(shutil.copytree(made, tmp_path / "models"))


@pytest.fixture
def page(window, place, qtbot):
    window.show_page("shelf")
    shelf = window.pages["shelf"]
    shelf.add_folder(str(place))
    qtbot.waitUntil(lambda: not shelf.busy and len(shelf.entries) == 2, timeout=LONG)
    return shelf


def _wait(page, qtbot):
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def test_a_conversion_stands_below_its_original_with_its_numbers(page, place, settings):
    assert settings["model_folders"] == [str(place)]
    top = page.model.index(0, 0)
    assert page.model.rowCount() == 1 and top.data(ENTRY).kind == ORIGINAL
    child = page.model.index(0, 0, top).data(ENTRY)
    assert child.kind == CONVERTED and child.name == "small 小"
    text = " ".join(facts(child))
    assert "bits" in text and "KB" in text
    page.choose(child.path)
    assert page.buttons["verify"].isVisible() and not page.buttons["convert"].isVisible()
    assert "GB" in page.verdict.text()


def test_verify_finds_a_changed_byte(window, page, place, qtbot):
    page.choose(str(place / "small 小"))
    page.act("verify")
    _wait(page, qtbot)
    assert "whole" in window.toast._text.text() and not page.notice.isVisible()
    weights = place / "small 小" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    page.act("verify")
    _wait(page, qtbot)
    assert page.notice.isVisible() and "model" in page.notice.text()


def test_what_verify_found_damaged_is_not_offered_until_its_files_are_others(
    window, page, place, qtbot, settings
):
    path = place / "small 小"
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    page.choose(str(path))
    assert page.buttons["chat"].isVisible() and fit_of(page.current()) is not None
    page.act("verify")
    _wait(page, qtbot)
    for _ in range(2):
        assert page.current().damaged and page.current().kind == CONVERTED and fit_of(page.current()) is None
        assert not page.buttons["chat"].isVisible() and page.buttons["verify"].isVisible()
        assert page.facts.text().startswith("Cannot be used")
        page.tree.activated.emit(page.tree.currentIndex())
        assert window.page_name == "shelf"
        page.scan()
        _wait(page, qtbot)
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "変換" in page.current().damaged
    assert page.notice.isVisible()
    weights.write_bytes(whole)
    page.scan()
    _wait(page, qtbot)
    assert not page.current().damaged and page.buttons["chat"].isVisible()
    assert not page.notice.isVisible()


def test_a_model_that_was_cut_short_is_not_offered_as_one_that_runs(page, place, qtbot):
    path = place / "small 小"
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (place / "junk.gguf").write_bytes(b"GGUFxxxx")
    page.scan()
    qtbot.waitUntil(lambda: not page.busy and len(page.entries) == 3, timeout=LONG)
    for broken in (path, place / "junk.gguf"):
        page.choose(str(broken))
        assert page.current().damaged and fit_of(page.current()) is None
        assert not page.buttons["chat"].isVisible() and page.buttons["delete"].isVisible()


def test_why_a_model_cannot_be_used_is_said_in_japanese_too(window, page, place, qtbot, settings):
    weights = place / "small 小" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    (place / "junk.gguf").write_bytes(b"no such thing" * 9)
    (place / "junk.soul").write_bytes(b"x" * 100)
    (place / "original 元" / "config.json").write_text("{", encoding="utf-8")
    page.scan()
    qtbot.waitUntil(lambda: not page.busy and len(page.entries) == 4, timeout=LONG)
    for language, words in (("en", "again"), ("ja", "もう一度")):
        settings["language"] = language
        window.apply_setting("language")
        for name in ("small 小", "junk.gguf", "junk.soul", "original 元"):
            assert page.choose(str(place / name)) and page.current().damaged
            assert words in page.facts.text(), page.facts.text()
    page.show_entries(page._memory.load())  # as at the next start
    page.choose(str(weights.parent))
    assert "もう一度" in page.facts.text()


def test_delete_goes_to_the_bin_and_undo_takes_it_back(window, page, place, qtbot):
    path = place / "small 小"
    weights = (path / "model.safetensors").read_bytes()
    page.choose(str(path))
    page.act("delete")
    assert not path.exists() and len(page.entries) == 1
    assert window.toast.isVisible()
    window.toast._button.click()
    _wait(page, qtbot)
    assert (path / "model.safetensors").read_bytes() == weights
    assert page.current().path == str(path)


def test_chat_and_convert_lead_to_their_pages(window, page, place, qtbot):
    page.choose(str(place / "original 元"))
    page.act("convert")
    assert window.page_name == "convert"
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    window.show_page("shelf")
    page.choose(str(place / "small 小"))
    page.act("chat")
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert window.page_name == "chat" and window.chat._session.ternary


def test_a_drive_that_is_gone_is_shown_grey_and_comes_back(page, place, qtbot):
    away = place.rename(place.with_name("unplugged"))
    page.scan()
    _wait(page, qtbot)
    assert len(page.entries) == 2 and not any(entry.there for entry in page.entries)
    page.choose(str(place / "small 小"))
    assert not any(button.isVisible() for button in page.buttons.values())
    away.rename(place)
    page.scan()
    _wait(page, qtbot)
    assert len(page.entries) == 2 and all(entry.there for entry in page.entries)


def test_what_its_owner_removed_is_no_longer_there(page, place, qtbot):
    shutil.rmtree(place / "small 小")
    page.scan()
    _wait(page, qtbot)
    assert [entry.kind for entry in page.entries] == [ORIGINAL]


def test_an_unfinished_conversion_is_resumed_from_the_shelf(window, page, place, larger_model, qtbot):
    source, cancel = Path(shutil.copytree(larger_model, place / "large")), Cancel()
    last = run_job(
        ConvertJob(source=str(source), out=str(place / "half")),
        lambda event: cancel.request() if isinstance(event, Progress) else None,
        cancel,
    )
    assert not isinstance(last, Finished)
    page.scan()
    _wait(page, qtbot)
    assert page.choose(str(place / "half.partial")) and page.current().kind == UNFINISHED
    page.act("resume")
    qtbot.waitUntil(lambda: not window.busy, timeout=LONG)
    assert (place / "half" / "model.safetensors").is_file() and not (place / "half.partial").exists()


@pytest.fixture
def halves(page, place, larger_model, qtbot) -> list[Path]:
    """Two conversions that were stopped on their way."""
    source = Path(shutil.copytree(larger_model, place / "large"))
    for name in ("half", "半分"):
        cancel = Cancel()
        run_job(
            ConvertJob(source=str(source), out=str(place / name)),
            lambda event, cancel=cancel: cancel.request() if isinstance(event, Progress) else None,
            cancel,
        )
    page.scan()
    _wait(page, qtbot)
    return [place / "half.partial", place / "半分.partial"]


def test_unfinished_ones_are_counted_and_cleared_away_with_one_button(window, page, halves, qtbot):
    assert page.leftovers.isVisible() and page.leftovers.text.text().startswith("2 unfinished")
    (halves[0] / "calibration.state").write_bytes(bytes(7_000_000))  # as the calibrated method keeps one
    page.scan()
    _wait(page, qtbot)
    assert "7.0" in page.leftovers.text.text() and "MB" in page.leftovers.text.text()
    page.leftovers.button.click()
    assert not any(half.exists() for half in halves) and not page.leftovers.isVisible()
    assert not page.notice.isVisible()
    window.toast._button.click()
    _wait(page, qtbot)
    assert all((half / "job.json").is_file() for half in halves) and len(page.leftovers.entries) == 2


def test_what_is_at_work_is_not_cleared_away(window, page, halves, qtbot):
    lock = FolderLock(halves[0])
    page.leftovers.button.click()
    assert halves[0].exists() and not halves[1].exists() and page.notice.isVisible()
    page.choose(str(halves[0]))
    page.act("delete")
    assert halves[0].exists() and "Stop" in page.notice.text()
    lock.release()
    page.leftovers.button.click()
    assert not halves[0].exists() and not page.leftovers.isVisible()


def test_what_runs_is_not_called_unfinished_and_its_end_is_seen(window, page, place, qtbot, larger_model):
    """The shelf is looked at all the while."""
    source = Path(shutil.copytree(larger_model, place / "large 大"))
    out = place / "large small"
    asked, said = [], []

    def look(_item, event):
        if isinstance(event, Progress) and event.done and not asked:
            asked.append(True)
            page.scan()
            qtbot.waitUntil(lambda: not page._scanner.busy, timeout=LONG)
            kinds = {Path(entry.path).name: entry.kind for entry in page.entries}
            said.append((kinds.get("large small.partial"), page.leftovers.isVisible()))

    window.convert.queue.happened.connect(look)
    window.convert.queue.add(ConvertJob(source=str(source), out=str(out), method="fast", report=False))
    qtbot.waitUntil(lambda: not window.convert.busy, timeout=LONG)
    assert said == [(UNFINISHED, False)]
    qtbot.waitUntil(lambda: any(entry.path == str(out) for entry in page.entries), timeout=LONG)
    assert window.page_name == "shelf"


def test_search_keeps_the_family_together_and_the_order_is_kept(page, settings):
    page.search.setText("小")
    assert [entry.name for entry in page.model.entries()] == ["original 元", "small 小"]
    page.search.setText("nothing like it")
    assert page.model.entries() == []
    assert page.nothing.isVisible() and not page.tree.isVisible() and page.finder.isVisible()
    page.search.setText("")
    assert page.tree.isVisible() and not page.nothing.isVisible()
    page.order.setCurrentIndex(page.order.findData("size"))
    assert settings["shelf_order"] == "size"


def test_removing_a_folder_touches_nothing_and_can_be_undone(window, page, place, qtbot):
    page.remove_folder(str(place))
    _wait(page, qtbot)
    assert page.entries == [] and (place / "small 小").is_dir() and page.empty.isVisible()
    window.toast._button.click()
    _wait(page, qtbot)
    assert len(page.entries) == 2


def test_the_change_of_perplexity_is_said_when_the_report_has_it(page, place, qtbot):
    path = place / "small 小" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["report"] = {"all": {"perplexity": 10.6, "source_perplexity": 10.0}}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    page.scan()
    _wait(page, qtbot)
    entry = next(e for e in page.entries if e.kind == CONVERTED)
    assert any("+6.0" in fact for fact in facts(entry)), QLocale().name()


def test_of_two_originals_of_one_name_the_one_beside_is_the_parent():
    first, second = (ShelfEntry(f"/{place}/m", "m", ORIGINAL) for place in "ab")
    assert parents([first, second, ShelfEntry("/b/small", "small", CONVERTED, source="m")])[2] is second
    assert parents([first, second, ShelfEntry("/c/small", "small", CONVERTED, source="m")])[2] is first
    assert parents([first, second, ShelfEntry("/c/small", "small", CONVERTED, source="x")])[2] is None


def test_a_soul_stands_below_the_model_that_was_taught(page, place, qtbot):
    (place / "secretary 秘書.soul").write_bytes(soul_bytes(SOUL_OF_SMALL))
    (place / "damaged.soul").write_bytes(b"x" * 100)
    page.scan()
    qtbot.waitUntil(lambda: not page.busy and len(page.entries) == 4, timeout=LONG)
    original = page.model.index(0, 0)
    while original.data(ENTRY).kind != ORIGINAL:
        original = original.siblingAtRow(original.row() + 1)
    converted = page.model.index(0, 0, original)
    soul = page.model.index(0, 0, converted)
    assert soul.data(ENTRY).name == "secretary 秘書" and depth(soul) == 2
    assert any("small 小" in fact for fact in facts(soul.data(ENTRY)))
    assert {e.name for e in page.model.entries()} == {"original 元", "small 小", "secretary 秘書", "damaged"}
    assert page.choose(str(place / "secretary 秘書.soul"))
    assert page.buttons["delete"].isVisible() and page.buttons["chat"].isVisible()
    page.search.setText("秘書")  # the whole family is shown
    assert len(page.model.entries()) == 3
    page.search.clear()
    page.choose(str(place / "damaged.soul"))
    assert page.current().damaged and page.current().kind == SOUL
    assert page.buttons["delete"].isVisible() and not page.buttons["chat"].isVisible()


def test_a_folder_with_more_than_a_model_is_never_deleted(window, page, place, tmp_path, monkeypatch, qtbot):
    source = place / "original 元"
    (source / "photos").mkdir()
    (source / "photos" / "family.jpg").write_bytes(b"x")
    page.choose(str(source))
    page.act("delete")
    assert source.is_dir() and "family.jpg" in page.notice.text() and not window.toast.isVisible()
    (source / "photos" / "family.jpg").unlink()
    for home in (source, source / "inside"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "home", classmethod(lambda cls, home=home: home))
            assert foreign_in(str(source)) == ""
    assert foreign_in(os.path.abspath(os.sep)) == ""
    assert foreign_in(str(source)) is None and foreign_in(str(place / "small 小")) is None


def test_what_is_in_the_queue_is_shown_there_and_not_resumed(window, page, place, qtbot, halves):
    half = halves[0]
    settings = json.loads((half / "job.json").read_text(encoding="utf-8"))
    queue, job = window.convert.queue, ConvertJob(source=settings["source"], out=str(place / "half"))
    queue._running = object()  # as if another one ran: it waits
    item = queue.add(job)
    for state, words in (("waiting", "in the queue"), ("running", "Converting"), ("paused", "Paused")):
        window.shell.activities.turn(item.activity, Work(state))
        page.scan()
        _wait(page, qtbot)
        page.choose(str(half))
        assert words in page.facts.text()
        assert [name for name, button in page.buttons.items() if button.isVisible()] == ["show", "folder"]
        assert page.leftovers.text.text().startswith("1 unfinished")
    page.act("delete")
    page._delete(page.current())
    assert half.exists()
    page.buttons["show"].click()
    assert window.page_name == "convert"
    queue._running = None
    queue.remove(item)
    window.show_page("shelf")
    _wait(page, qtbot)
    page.choose(str(half))
    assert page.buttons["resume"].isVisible() and not page.buttons["show"].isVisible()


def test_a_gguf_needs_the_memory_of_what_it_is_unpacked_to():
    size = 3_000_000_000
    needed = {
        kind: fit_of(ShelfEntry(path="/m", name="m", kind=kind, bytes=size)).needed
        for kind in (GGUF, ORIGINAL)
    }
    assert needed[GGUF] - needed[ORIGINAL] == size


def test_a_folder_with_more_files_than_are_looked_at_is_not_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(trash, "MOST_LOOKED_AT", 3)
    for name in "abc":
        (tmp_path / f"{name}.json").write_text("{}", encoding="utf-8")
    assert foreign_in(str(tmp_path)) is None
    (tmp_path / "d.json").write_text("{}", encoding="utf-8")
    assert foreign_in(str(tmp_path))
