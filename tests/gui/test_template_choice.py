"""The chat template chosen in the window: for a model that has none, for one that is open, and kept for each."""

import shutil
from pathlib import Path

import pytest
from PySide6.QtWidgets import QFileDialog
from window_checks import left_in_english, nameless

from bitconverter.gui.chat_page import ChatPage, State
from bitconverter.gui.main_window import MainWindow
from bitconverter.gui.messages import tr
from bitconverter.gui.model_memory import MOST
from bitconverter.gui.template_choice import CHOSEN, remember_template, remembered_template, template_name
from bitconverter.jobs.chat import OWN_TEMPLATE, TEMPLATES
from bitconverter.settings import Settings

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise
CHATML = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def bare(chat_model: Path, tmp_path: Path) -> Path:
    """A model without a template."""
    folder = Path(shutil.copytree(chat_model, tmp_path / "型のない モデル"))
    (folder / "chat_template.jinja").unlink()
    return folder


def refused(window: MainWindow, qtbot, folder: Path) -> ChatPage:
    window.open_model(str(folder))
    qtbot.waitUntil(lambda: not window.chat.busy and window.chat.notice.isVisible(), timeout=LONG)
    return window.chat


def ready(page: ChatPage, qtbot) -> None:
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    page.drawer.seed_random.setChecked(False)
    page.drawer.numbers["max_tokens"].field.setValue(8)


def choose(menu, name: str) -> None:
    (action,) = [each for each in menu.actions() if each.text().startswith(name)]
    assert action.isEnabled()
    action.trigger()


def say(page: ChatPage, qtbot, text: str = "hello"):
    page.composer.set_text(text)
    page.send()
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    return page.log.turns[-1]


def test_where_more_than_the_template_is_wrong_that_is_said_instead(window, settings, qtbot, bare):
    settings["language"] = "ja"
    window.apply_setting("language")
    config = (bare / "config.json").read_text(encoding="utf-8")
    (bare / "config.json").write_text(config.replace('"llama"', '"bert"'), encoding="utf-8")
    page = refused(window, qtbot, bare)
    assert "「bert」という種類" in page.notice.text() and "is not supported" not in page.notice.text()
    assert not page.template_button.isVisible()
    (bare / "config.json").write_text(config, encoding="utf-8")
    (bare / "model.safetensors").unlink()
    page = refused(window, qtbot, bare)
    assert not page.template_button.isVisible()


def test_a_model_without_a_template_talks_after_a_choice_also_at_the_next_start(
    window, settings, qtbot, bare
):
    page = refused(window, qtbot, bare)
    assert page.template_button.isVisible() and page.state is State.NO_MODEL
    menu = page._template_menu()
    own = menu.actions()[0]
    assert own.text() == tr("template-own") and not own.isEnabled()
    assert [a.text() for a in menu.actions() if a.text()][1:-1] == [template_name(name) for name in TEMPLATES]
    choose(menu, "ChatML")
    ready(page, qtbot)
    assert not page.notice.isVisible() and "ChatML" in page.drawer.template.button.text()
    answer = say(page, qtbot)
    assert answer.text and answer.numbers.template == "chatml"
    window.stop_and_wait()
    later = MainWindow(Settings(settings.path))
    qtbot.addWidget(later)
    later.show()
    try:
        later.open_model(str(bare))
        ready(later.chat, qtbot)
        assert later.chat._session.template == "chatml"
    finally:
        later.stop_and_wait()


def test_the_preview_is_what_is_sent(window, qtbot, bare):
    page = refused(window, qtbot, bare)
    choose(page._template_menu(), "ChatML")
    ready(page, qtbot)
    page.composer.set_text("hello")
    with qtbot.waitSignal(page.counter.counted, timeout=LONG):
        page._count()
    page.open_preview()
    shown = page.preview.view.toPlainText()
    assert shown == CHATML and "ChatML" in page.preview._text.text()
    say(page, qtbot)
    session = page._session
    sent = session.tokenizer.encode(shown, add_special_tokens=False)
    assert session._held[: len(sent)] == sent


def test_it_is_switched_while_a_model_is_open_and_kept_and_given_back(window, settings, qtbot, chat_model):
    window.open_model(str(chat_model))
    page, choice = window.chat, window.chat.drawer.template
    ready(page, qtbot)
    session, first = page._session, say(page, qtbot)
    assert choice.button.text() == tr("template-own") and first.numbers.template == ""
    choose(choice.menu_now(), template_name("plain"))
    ready(page, qtbot)
    assert page._session is session and session.template == "plain"
    assert remembered_template(settings, str(chat_model)) == "plain"
    page.composer.set_text("hello")
    with qtbot.waitSignal(page.counter.counted, timeout=LONG) as counted:
        page._count()
    assert counted.args[0].text.endswith("User: hello\nAssistant:")
    page.act("repeat", page.log.turns[-1])  # it was made with the model's own
    assert tr("template-not-in-use", name=tr("template-own")) in page.toast._text.text() and not page.busy
    choose(choice.menu_now(), tr("template-own"))
    ready(page, qtbot)
    assert remembered_template(settings, str(chat_model)) == OWN_TEMPLATE
    page.act("repeat", page.log.turns[-1])
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert tr("repeated") in page.toast._text.text()


def test_a_file_of_the_user_is_used_and_missing_later_it_can_be_chosen_anew(
    window, qtbot, bare, tmp_path, monkeypatch
):
    mine = tmp_path / "私の 型.jinja"
    mine.write_text("M:{{ messages[-1].content }}:", encoding="utf-8")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(mine), ""))
    page = refused(window, qtbot, bare)
    choose(page._template_menu(), tr("template-file"))
    ready(page, qtbot)
    assert page.drawer.template.button.accessibleName().endswith(mine.name)
    assert page._session.prompt_text(page.log.messages("", "x", ())) == "M:x:"
    mine.unlink()
    page = refused(window, qtbot, bare)
    assert page.template_button.isVisible() and str(mine) in page.notice.text()
    choose(page._template_menu(), "Alpaca")
    ready(page, qtbot)
    assert page._session.template == "alpaca"


def test_a_file_that_does_not_work_leaves_the_open_model_as_it_was(
    window, qtbot, chat_model, tmp_path, monkeypatch
):
    window.open_model(str(chat_model))
    page = window.chat
    ready(page, qtbot)
    mine = tmp_path / "bad.jinja"
    mine.write_text("{% if", encoding="utf-8")
    page.use_template(str(mine))
    qtbot.waitUntil(lambda: page.state is State.READY and not page.busy, timeout=LONG)
    assert page.notice.isVisible() and page._session.template == OWN_TEMPLATE
    assert page.template_button.isVisible()
    choose(page._template_menu(), "ChatML")  # the way out also there
    ready(page, qtbot)
    assert page._session.template == "chatml" and say(page, qtbot).text


def test_an_end_that_the_model_has_no_token_for_is_said(window, qtbot, bare):
    page = refused(window, qtbot, bare)
    choose(page._template_menu(), "ChatML")
    ready(page, qtbot)
    assert "<|im_end|>" in page.toast._text.text()


def test_it_is_whole_in_japanese_and_every_control_has_a_name(window, settings, qtbot, bare):
    settings["language"], settings["drawer_open"] = "ja", True
    window.apply_setting("language")
    page = refused(window, qtbot, bare)
    page._place_sides()
    assert nameless(window) == [] and not left_in_english(window)
    choose(page._template_menu(), "ChatML")
    ready(page, qtbot)
    assert nameless(window) == []


def test_the_choices_have_a_bound_and_what_is_not_ours_is_passed_over(settings):
    settings[CHOSEN.key] = ["{", '["a"]', '[1, "x"]']
    for number in range(MOST + 3):
        remember_template(settings, f"/m{number}", "plain")
    assert len(settings[CHOSEN.key]) == MOST and remembered_template(settings, "/m0") == OWN_TEMPLATE
    assert remembered_template(settings, f"/m{MOST}") == "plain"
    remember_template(settings, f"/m{MOST}", OWN_TEMPLATE)
    assert remembered_template(settings, f"/m{MOST}") == OWN_TEMPLATE
