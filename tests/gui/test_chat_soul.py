"""A soul in the chat: opened with its model, switched on and off, and told of by every answer."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QTextEdit
from reference.converted import write_converted
from safetensors.numpy import load_file
from window_checks import left_in_english, nameless

from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.gui.chat_page import State
from bitconverter.gui.chat_souls import SOULS, remember, remembered
from bitconverter.gui.model_memory import MOST
from bitconverter.jobs.job import Token

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture(scope="module")
def made(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """生徒/, a converted model, and お茶.soul, with which it says something else. Copied by each test."""
    place = tmp_path_factory.mktemp("chat soul")
    base = place / "生徒"
    write_converted(chat_model, base, 2, seed=3)
    shutil.copy(chat_model / "chat_template.jinja", base)
    rng, gains = np.random.default_rng(2), {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if name.startswith("model.layers.1.") and name.endswith(".scales"):
            gain = np.exp(rng.normal(0, 1.0, tensor.shape)).astype(np.float32)
            gains[name.removesuffix(".scales")] = gain
    soul = Soul(gains, base.name, weights_hash(base.glob("*.safetensors")), {})
    (place / "お茶.soul").write_bytes(soul_bytes(soul))
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "models"))


def opened(window, qtbot):
    """The chat, when a model is open in it, with always the same words, at most 16 of them."""
    page = window.chat
    qtbot.waitUntil(lambda: page.state is State.READY and not window.busy, timeout=LONG)
    page.drawer.seed_random.setChecked(False)
    page.drawer.numbers["max_tokens"].field.setValue(16)
    return page


@pytest.fixture
def page(window, place, qtbot):
    """The chat with the soul on its model."""
    window.open_soul(str(place / "お茶.soul"), str(place / "生徒"))
    return opened(window, qtbot)


def ask(page, qtbot, text="hello"):
    page.composer.set_text(text)
    page.send()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    return page.log.turns[-1]


def again(page, qtbot):
    page.answer_again()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    return page.log.turns[-1]


def drop(window, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    keys, button = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.LeftButton
    window.dropEvent(QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, data, button, keys))


def test_from_the_shelf_a_soul_is_opened_on_its_model(window, place, qtbot, settings):
    window.show_page("shelf")
    shelf = window.pages["shelf"]
    shelf.add_folder(str(place))
    qtbot.waitUntil(lambda: not shelf.busy and len(shelf.entries) == 2, timeout=LONG)
    shelf.choose(str(place / "お茶.soul"))
    assert shelf.buttons["chat"].isVisible()
    shelf.act("chat")
    assert window.page_name == "chat"
    page = opened(window, qtbot)
    assert page._session.soul_is_on and page._session.soul_name == "お茶"
    assert page.bar.model_button.text() == "生徒" and settings["recent_models"][0] == str(place / "生徒")
    assert page.bar.soul_switch.isVisible() and page.bar.soul_switch.isChecked()
    assert page.bar.soul_switch.text() == "With お茶"


@pytest.mark.parametrize("on", ["settings", "chat"])
def test_a_dropped_soul_is_opened_with_the_model_beside_it(window, place, qtbot, on):
    window.show_page(on)
    if on == "chat":
        window.chat.dropped.emit(str(place / "お茶.soul"))
    else:
        drop(window, place / "お茶.soul")
    page = opened(window, qtbot)
    assert window.page_name == "chat" and page._session.soul_is_on


def test_a_missing_model_is_named_and_what_was_open_stays(window, place, tmp_path, chat_model, qtbot):
    window.open_model(str(chat_model))
    page = opened(window, qtbot)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.move(place / "お茶.soul", alone)
    drop(window, alone / "お茶.soul")
    qtbot.waitUntil(lambda: not window.busy and page.notice.isVisible(), timeout=LONG)
    assert "the model 生徒" in page.notice.text() and "お茶.soul" in page.notice.text()
    assert page.state is State.READY and page._session.name == chat_model.name
    assert not page.bar.soul_switch.isVisible() and ask(page, qtbot).numbers.soul == ""


def test_the_switch_counts_from_the_next_answer_and_each_answer_tells(page, qtbot):
    seen, switch = [], page.bar.soul_switch
    page._runner.happened.connect(
        lambda event: seen.append(switch.isEnabled()) if isinstance(event, Token) else None
    )
    trained = ask(page, qtbot)
    assert seen and not any(seen) and switch.isEnabled()  # not while an answer is made
    assert trained.numbers.soul == "お茶" and "with お茶" in page.view.last_answer()._numbers.whole_text()
    switch.setFocus()
    qtbot.keyClick(switch, Qt.Key.Key_Space)
    assert not switch.isChecked() and page._session.soul_is_on  # the next answer does it
    plain = again(page, qtbot)
    assert plain.text != trained.text and plain.numbers.soul == "" and not page._session.soul_is_on
    assert "お茶" not in page.view.last_answer()._numbers.whole_text()


def test_without_it_the_answer_is_the_models_own(page, window, place, qtbot):
    qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)
    plain = ask(page, qtbot)
    page.open_model(str(place / "生徒"), soul="")
    assert not opened(window, qtbot).bar.soul_switch.isVisible()
    assert again(page, qtbot).text == plain.text


def test_the_next_opening_of_the_model_finds_the_switch_as_it_was(page, window, place, chat_model, qtbot):
    qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)
    window.open_model(str(chat_model))
    opened(window, qtbot)
    assert not page.bar.soul_switch.isVisible()
    for on in (False, True):
        window.open_model(str(place / "生徒"))
        opened(window, qtbot)
        assert page.bar.soul_switch.isVisible() and page.bar.soul_switch.isChecked() == on
        assert bool(ask(page, qtbot).numbers.soul) == on
        qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)


def test_a_soul_that_is_gone_does_not_lock_its_model_away(page, window, place, qtbot, settings):
    (place / "お茶.soul").unlink()
    window.open_model(str(place / "生徒"))
    opened(window, qtbot)
    assert page._session.soul_name == "" and not page.bar.soul_switch.isVisible()
    assert "お茶.soul" in page.notice.text() and "without its soul" in page.toast._text.text()
    assert remembered(settings, str(place / "生徒")) == ("", False)


def test_repeat_exactly_takes_the_soul_that_the_answer_had(page, window, place, qtbot):
    trained = ask(page, qtbot)
    qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)
    plain = again(page, qtbot)
    for node in (trained, plain):
        page.act("repeat", node)
        qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
        repeated = page.log.turns[-1]
        assert repeated is not node and repeated.text == node.text
        assert repeated.numbers.soul == node.numbers.soul
    assert not page.bar.soul_switch.isChecked()  # the user's choice stays
    page.open_model(str(place / "生徒"), soul="")
    opened(window, qtbot)
    count = len(page.log.tree.versions(trained))
    page.act("repeat", trained)
    assert page.state is State.READY and len(page.log.tree.versions(trained)) == count
    assert "お茶" in page.toast._text.text()


def test_an_answer_goes_on_with_the_soul_that_it_began_with(page, qtbot):
    first = ask(page, qtbot)
    assert first.ending == "length"
    qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)
    page.go_on(first)
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert first.numbers.soul == "お茶" and first.numbers.tokens == 32 and page._session.soul_is_on


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("scale", [100, 200])
def test_the_switch_is_in_the_bar_at_1024_x_640(page, window, settings, qtbot, place, language, scale):
    # wide in every font, with Japanese letters or with boxes for them
    long = place / f"{'とても長い名前の' * 3 + 'WWWW' * 25}ソウル.soul"
    (place / "お茶.soul").rename(long)
    window.open_soul(str(long), str(place / "生徒"))
    opened(window, qtbot)
    settings["language"], settings["text_scale"] = language, scale
    window.apply_setting("language")
    window.apply_setting("text_scale")
    window.resize(1024, 640)
    for _ in range(5):
        QApplication.processEvents()
    bar, switch = page.bar, page.bar.soul_switch
    parts = [
        bar.history_button,
        bar.model_button,
        switch,
        bar._kind,
        bar._device,
        bar.new_button,
        bar.drawer_button,
    ]
    places = [part.geometry() for part in parts if part.isVisible()]
    assert switch.isVisible() and window.width() == 1024
    assert all(left.right() < right.left() for left, right in pairwise(places))
    assert places[-1].right() <= bar.width() and switch.width() >= switch.sizeHint().width()
    assert "…" in switch.text() and long.stem in switch.accessibleName() and long.stem in switch.toolTip()
    assert switch.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert not nameless(window) and (language == "en" or not left_in_english(window))
    settings["text_scale"] = 100
    window.apply_setting("text_scale")


@pytest.mark.parametrize("on", [True, False])
def test_both_answers_are_shown_side_by_side_and_stay_as_versions(page, window, settings, qtbot, on):
    if not on:
        qtbot.keyClick(page.bar.soul_switch, Qt.Key.Key_Space)
    first = ask(page, qtbot)
    menu = page.view.last_answer().menu()
    next(action for action in menu.actions() if "with and without" in action.text()).trigger()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    second, shown = page.log.turns[-1], page.two_answers
    assert page.log.tree.versions(first) == [first, second] and second.text != first.text
    assert bool(first.numbers.soul) == on and bool(second.numbers.soul) != on
    assert (second.numbers.seed, second.numbers.max_tokens) == (first.numbers.seed, first.numbers.max_tokens)
    assert page.bar.soul_switch.isChecked() == on  # the next answer is made as before
    assert shown.isVisible() and [name.text() for name in shown.names] == ["with お茶", "without お茶"]
    pieces = [text.findChildren(QTextEdit) for text in shown.texts]
    said = ["".join(piece.toPlainText() for piece in side) for side in pieces]
    assert said[0] != said[1] and all(said)
    settings["language"] = "ja"
    window.apply_setting("language")
    assert not nameless(shown) and not left_in_english(shown)
    assert shown.names[1].text() == "「お茶」なし"
    shown.close_button.click()
    assert not shown.isVisible()


def test_without_a_soul_there_is_nothing_to_compare(page, window, place, chat_model, qtbot):
    answer = ask(page, qtbot)
    assert "both" in page.view.last_answer().offers()
    page.open_model(str(place / "生徒"), soul="")
    opened(window, qtbot)
    assert "both" not in page.view.last_answer().offers()
    page.act("both", answer)
    assert page.state is State.READY and page.log.tree.versions(answer) == [answer]


def test_what_is_remembered_is_not_trusted(settings):
    settings[SOULS.key] = ["", "[" * 100_000, "3", '["m"]', '["m", "s", 1]', '["m", "s.soul", true]']
    assert remembered(settings, "m") == ("s.soul", True) and remembered(settings, "n") == ("", False)
    remember(settings, "m", "t.soul", False)
    assert remembered(settings, "m") == ("t.soul", False)
    for number in range(MOST + 5):
        remember(settings, f"model {number} \udcff", "s.soul", True)
    settings.save()
    assert len(json.loads(settings.path.read_text(encoding="utf-8"))[SOULS.key]) == MOST
    assert remembered(settings, f"model {MOST} \udcff") == ("s.soul", True)
    remember(settings, f"model {MOST} \udcff", "", False)
    assert remembered(settings, f"model {MOST} \udcff") == ("", False)
