"""The chat page on a tiny random model and the real engine."""

import re
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from bitconverter.gui import theme
from bitconverter.gui.chat_log import TITLE_LETTERS, title_of
from bitconverter.gui.chat_message import AssistantMessage, UserMessage
from bitconverter.gui.chat_page import State
from bitconverter.gui.window_life import LEAST_SIZE
from bitconverter.jobs.chat import Answer
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Failed, Finished, Stopped, Token
from bitconverter.store.records import Attachment, Node

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture
def page(window, chat_model, qtbot):
    """A chat with the tiny model, always the same words, at most 20 of them."""
    window.open_model(str(chat_model))
    page = window.chat
    assert page.state is State.LOADING
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.state is State.READY, page.notice.text()
    page.drawer.seed_random.setChecked(False)
    page.drawer.numbers["max_tokens"].field.setValue(20)
    return page


def _ask(page, qtbot, text):
    page.composer.set_text(text)
    qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)


def _act_at_first_token(page, action):
    done = []

    def act(event):
        if isinstance(event, Token) and not done:
            done.append(True)
            action()

    page._runner.happened.connect(act)


def test_an_open_model_shows_on_what_it_runs(page, chat_model, qtbot):
    assert page.bar.model_button.text() == chat_model.name
    assert page.bar._device.text().startswith("CPU")
    assert page._settings["recent_models"][0] == str(chat_model)
    qtbot.waitUntil(page.composer.meter.isVisible, timeout=LONG)  # counted in a thread of its own


def test_an_answer_streams_and_ends_with_its_numbers(page, qtbot):
    seen = []
    page._runner.happened.connect(lambda event: seen.append(event) if isinstance(event, Token) else None)
    _ask(page, qtbot, "hello")
    question, answer = page.log.turns
    assert (question.role, question.text) == ("user", "hello")
    assert answer.role == "assistant" and answer.text == "".join(token.text for token in seen)
    assert answer.numbers is not None and answer.numbers.tokens == 20 and answer.ending == "length"
    widget = page.view.last_answer()
    assert "tok/s" in widget._numbers.text() and widget.again_button.isVisible()
    assert page.composer.text() == "" and page.state is State.READY


def test_a_fixed_seed_gives_the_same_answer_again_and_both_versions_stay(page, qtbot):
    _ask(page, qtbot, "hello")
    first = page.log.turns[-1]
    page.view.last_answer().again_button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    second = page.log.turns[-1]
    assert second is not first and second.text == first.text
    versions = page.view.last_answer().versions
    assert versions.text() == "2/2" and not versions.forth.isEnabled()
    versions.back.click()
    assert page.log.turns[-1] is first and page.view.last_answer().versions.text() == "1/2"


def test_a_random_seed_can_be_typed_in_later(page):
    page.drawer.seed_random.setChecked(True)
    seeds = {page.drawer.sampling().seed for _ in range(20)}
    assert len(seeds) > 1 and all(0 <= seed <= page.drawer.seed.maximum() for seed in seeds)


def test_a_stopped_answer_keeps_its_words_and_the_chat_goes_on(page, qtbot):
    page.drawer.numbers["max_tokens"].field.setValue(4000)
    _act_at_first_token(page, page.stop)
    page.composer.set_text("a long one")
    page.composer.button.click()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    turn = page.log.turns[-1]
    assert turn.ending == "stopped" and turn.text and turn.numbers is None
    page.drawer.numbers["max_tokens"].field.setValue(16)
    _ask(page, qtbot, "again")
    assert page.log.turns[-1].numbers.tokens == 16


def test_escape_stops_the_answer(window, page, qtbot):
    page.drawer.numbers["max_tokens"].field.setValue(4000)
    _act_at_first_token(page, window._escape)
    _ask(page, qtbot, "go on")
    assert page.log.turns[-1].ending == "stopped"


def test_what_is_typed_during_an_answer_stays_and_enter_does_not_send_it(page, qtbot):
    page.drawer.numbers["max_tokens"].field.setValue(4000)

    def type_and_press():
        page.composer.set_text("my next question")
        qtbot.keyClick(page.composer.edit, Qt.Key.Key_Return)
        page.stop()

    _act_at_first_token(page, type_and_press)
    _ask(page, qtbot, "first")
    assert page.composer.text() == "my next question" and len(page.log.turns) == 2


def test_the_system_prompt_and_the_draft_count_as_context(page, qtbot):
    def count():
        with qtbot.waitSignal(page.counter.counted, timeout=LONG):
            page._count()
        return page.composer.prompt().tokens

    page.composer.set_text("12345")
    used = count()
    page.drawer.prompt.setPlainText("Be brief.")
    assert count() > used
    page.composer.attachments.add(Attachment("a.txt", "x" * 100))
    assert count() > used + 100
    with qtbot.waitSignal(page.composer.draft_changed):
        page.composer.set_text("12345678")
    assert page._settings["system_prompt"] == "Be brief."


def test_a_message_that_does_not_fit_is_explained_and_given_back(page, qtbot):
    text = "x" * 5000
    _ask(page, qtbot, text)
    assert page.composer.text() == text and page.log.turns == []
    assert "context" in page.notice.text().lower() and not page.new_chat_button.isVisible()  # no help here
    page.new_chat()
    assert not page.notice.isVisible() and page.composer.text() == text


def test_an_answer_that_fills_the_context_says_so(page, qtbot):
    page.drawer.numbers["max_tokens"].field.setValue(200)
    _ask(page, qtbot, "x" * 4050)
    assert page.log.turns[-1].ending == "context"
    assert page.new_chat_button.isVisible()


def test_a_new_chat_begins_and_the_old_one_is_in_the_list(window, page, qtbot):
    _ask(page, qtbot, "hello")
    first = page.log.chat.id
    window._new_chat()
    assert page.log.turns == [] and page.start.isVisible()
    qtbot.waitUntil(lambda: [row.id for row in page.history.model.rows() if row.kind == "chat"] == [first])


def test_an_edited_question_is_a_branch_and_the_draft_stays(page, qtbot):
    _ask(page, qtbot, "first")
    _ask(page, qtbot, "second")
    before = list(page.log.turns)
    page.composer.set_text("a draft")
    widgets = [m for m in page.view._messages if isinstance(m, UserMessage)]
    widgets[0].edit_button.click()
    assert page.composer.text() == "first" and page.composer._banner.isVisible()
    page.composer.leave_button.click()
    assert page.composer.text() == "a draft" and not page.composer._banner.isVisible()
    widgets[0].edit_button.click()
    _ask(page, qtbot, "first, better")
    assert [turn.text for turn in page.log.turns if turn.role == "user"] == ["first, better"]
    assert page.composer.text() == "a draft"
    page.view._messages[0].versions.back.click()
    assert page.log.turns == before


def test_an_answer_is_copied_as_it_was_written(page, qtbot, qapp):
    _ask(page, qtbot, "hello")
    page.view.last_answer().copy_button.click()
    assert qapp.clipboard().text() == page.log.turns[-1].text


def test_a_second_turn_reuses_the_first(page, qtbot):
    _ask(page, qtbot, "hello")
    _ask(page, qtbot, "and now")
    answer = page.log.turns[-1].numbers
    assert answer.cached_tokens > 0


def test_a_folder_that_is_no_model_is_explained(window, qtbot, tmp_path):
    window.chat.composer.set_text("I typed this")
    window.open_model(str(tmp_path))
    qtbot.waitUntil(lambda: not window.chat.busy, timeout=LONG)
    assert window.chat.state is State.NO_MODEL and window.chat.notice.isVisible()
    assert window.chat.composer.text() == "I typed this"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_long_error_is_whole_in_the_smallest_window(
    window, settings, qtbot, chat_model, tmp_path, language
):
    settings["language"] = language
    window.apply_setting("language")
    window.resize(*LEAST_SIZE)
    bare = Path(shutil.copytree(chat_model, tmp_path / "without a template"))
    (bare / "chat_template.jinja").unlink()
    page = window.chat
    window.open_model(str(bare))
    qtbot.waitUntil(lambda: not page.busy and page.notice.isVisible(), timeout=LONG)
    QApplication.processEvents()
    words = page.notice._text
    assert words.height() >= words.heightForWidth(words.width()) > 0
    assert page.composer.geometry().bottom() <= page.height()


def test_another_model_can_be_opened_during_an_answer_and_the_chat_stays(page, qtbot, chat_model, tmp_path):
    other = Path(shutil.copytree(chat_model, tmp_path / "other"))
    page.drawer.numbers["max_tokens"].field.setValue(4000)
    _act_at_first_token(page, lambda: page.open_model(str(other)))
    page.composer.set_text("hello")
    page.send()
    qtbot.waitUntil(lambda: page.state is State.READY and page._session.name == "other", timeout=LONG)
    assert page.log.turns[0].text == "hello" and page.log.turns[1].ending == "stopped"


def test_sampling_settings_reach_the_job_and_the_file(page):
    page.drawer.numbers["temperature"].field.setValue(0.25)
    page.drawer.numbers["top_k"].slider.setValue(7)
    page.drawer.seed.setValue(99)
    sampling = page.drawer.sampling()
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.25, 7, 99)
    assert page._settings["temperature"] == 0.25 and page._settings["top_k"] == 7
    page.drawer.reset()
    assert page.drawer.numbers["temperature"].value() == 0.7 and page.drawer.seed_random.isChecked()


def test_the_drawer_can_be_hidden_and_stays_hidden(window, page, settings):
    page.bar.drawer_button.click()
    assert page.drawer.isVisible() and settings["drawer_open"] is True
    page.bar.drawer_button.click()
    assert not page.drawer.isVisible() and settings["drawer_open"] is False


def test_streamed_text_is_shown_whole_at_the_end(chat_log, qtbot):
    widget = AssistantMessage(chat_log.add("assistant", ""))
    qtbot.addWidget(widget)
    text = "日本語の文章です。**太字** 🙂\n\n- 一\n- 二"
    for letter in text:
        chat_log.write(widget.turn, letter)
        widget.grew()
    widget.turn.ending = "stop"
    widget.finish()
    assert widget.turn.text == text
    assert "日本語の文章です。太字 🙂" in widget.text.toPlainText()


def test_rendering_happens_seldom_while_text_streams(chat_log, qtbot, monkeypatch):
    widget = AssistantMessage(chat_log.add("assistant", ""))
    qtbot.addWidget(widget)
    rendered = []
    monkeypatch.setattr(widget.text, "set_markdown", rendered.append)
    for _ in range(500):
        chat_log.write(widget.turn, "word ")
        widget.grew()
    assert rendered == []  # nothing until the event loop runs
    qtbot.waitUntil(lambda: bool(rendered))
    assert rendered == ["word " * 500]


def test_a_problem_is_told_in_the_language_that_is_chosen_later(window, page, qtbot, settings):
    _ask(page, qtbot, "x" * 5000)
    settings["language"] = "ja"
    window.apply_setting("language")
    assert "文脈がいっぱい" in page.notice.text() and page.new_chat_button.text() == "新しい会話"
    settings["language"] = "en"
    window.apply_setting("language")
    assert "context is full" in page.notice.text()


def _answer_with(page, monkeypatch, end):
    """The next answer ends with the event `end` without a word."""
    started = []

    def start(job):
        started.append(job)
        page._on_event(end)

    monkeypatch.setattr(page._runner, "start", start)
    return started


def test_an_empty_answer_is_said_and_the_roles_go_on_alternating(page, monkeypatch):
    answer = Answer("", 5, 0, 0, 0.1, 0.1, 0.0, "stop", 1)
    started = _answer_with(page, monkeypatch, Finished(answer))
    page._send_text("one")
    assert "answered nothing" in page.view.last_answer()._waiting.text()
    page._send_text("two")
    assert [message.role for message in started[-1].messages] == ["user", "assistant", "user"]


def test_stopped_before_the_first_word_the_question_is_given_back(page, monkeypatch):
    _answer_with(page, monkeypatch, Stopped())
    page._send_text("why?")
    assert page.log.turns == [] and page.composer.text() == "why?"


def test_another_answer_stopped_before_its_first_word_leaves_the_one_there_was(page, qtbot, monkeypatch):
    _ask(page, qtbot, "hello")
    before = list(page.log.turns)
    _answer_with(page, monkeypatch, Stopped())
    page.answer_again()
    assert page.log.turns == before and page.composer.text() == ""
    assert page.view.last_answer().turn is before[-1]


def test_a_very_long_message_is_shown_by_its_beginning(page, qtbot, qapp):
    page.log.add("user", "word " * 20_000)
    page.view.show_log(page.log, True)
    (message,) = page.view.findChildren(UserMessage)
    assert len(message.text.toPlainText()) < 9_000 and "100,000 letters" in message.text.toPlainText()
    message.copy_button.click()
    assert qapp.clipboard().text() == "word " * 20_000


def test_new_chat_waits_for_the_end_of_an_answer(page, monkeypatch):
    monkeypatch.setattr(page._runner, "start", lambda job: None)
    page._send_text("hello")
    assert page.state is State.ANSWERING and not page.bar.new_button.isEnabled()
    page._on_event(Stopped())
    assert page.bar.new_button.isEnabled()


def test_answers_follow_theme_and_language(window, settings, qtbot, chat_log):
    question = chat_log.add("user", "code?")
    chat_log.add("assistant", "```python\nprint(1)\n```", question.id, ending="stop")
    view = window.chat.view
    view.show_log(chat_log, True)
    answer = view.last_answer()
    assert "Copy" in answer.text.toPlainText()
    for key, value in (("language", "ja"), ("theme", "dark")):
        settings[key] = value
        window.apply_setting(key)
    qtbot.waitUntil(lambda: not view._refreshing.isActive())
    assert "コピー" in answer.text.toPlainText() and theme.DARK.code in answer.text.toHtml()


def test_answers_and_the_input_follow_the_text_size(window, settings, qtbot, chat_log):
    question = chat_log.add("user", "code?")
    chat_log.add("assistant", "# Title\n\nwords\n\n```python\nprint(1)\n```", question.id, ending="stop")
    view, edit = window.chat.view, window.chat.composer.edit
    view.show_log(chat_log, True)
    answer = view.last_answer()
    sizes = {}
    for scale in (100, 200, 100):
        settings["text_scale"] = scale
        window.apply_setting("text_scale")
        qtbot.waitUntil(lambda: not view._refreshing.isActive())
        found = re.findall(r"font-size:([0-9.]+)pt", answer.text.toHtml())
        sizes[scale] = {float(size) for size in found if float(size) > 3}  # less is a gap
        assert edit.height() == edit.fontMetrics().lineSpacing() + 18  # one whole line
    assert len(sizes[100]) >= 4 and sizes[200] == {2 * size for size in sizes[100]}


@pytest.mark.parametrize("end", [Stopped(), Failed(UserError("no-message", "Nothing was said."))])
def test_what_is_typed_meanwhile_stays_below_the_question_that_is_given_back(page, monkeypatch, end):
    monkeypatch.setattr(page._runner, "start", lambda job: None)
    page._send_text("why?")
    page.composer.set_text("and then?")
    page._on_event(end)
    assert page.log.turns == [] and page.composer.text() == "why?\nand then?"


def test_a_title_that_is_cut_between_two_words_ends_with_the_first(qapp):
    words = "a" * (TITLE_LETTERS - 2)
    assert title_of(Node("user", f"{words} and more")) == words + "…"
    assert title_of(Node("user", f"{words} b")) == f"{words} b"
