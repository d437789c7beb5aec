"""A full context goes on in a new chat with a summary of the old one. Real engine, tiny model."""

import pytest

from bitconverter.gui.chat_page import ChatPage, State
from bitconverter.jobs import summarise
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Context

LONG = 60_000  # milliseconds; a bound for a broken program, not a promise


@pytest.fixture
def full(window, chat_model, qtbot) -> ChatPage:
    """A conversation that one more question does not fit into."""
    window.open_model(str(chat_model))
    page = window.chat
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    page.drawer.seed_random.setChecked(False)
    page.drawer.numbers["max_tokens"].field.setValue(16)
    for text in ("x" * 2500, "y" * 1000, "z" * 2000):
        page.composer.set_text(text)
        page.send()
        qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert page.summarise_button.isVisible() and page.composer.text() == "z" * 2000
    return page


def _chats(page):
    return [row.text for row in page.history.model.rows() if row.kind == "chat"]


def test_it_goes_on_in_a_new_chat_with_what_is_typed(full, qtbot):
    page = full
    old, texts = page.log.chat.id, [turn.text for turn in page.log.turns]
    page.composer.set_text("And now?")
    page.summarise_button.click()
    assert page.state is State.ANSWERING and "Summarising the conversation" in page.notice.text()
    assert not page.summarise_button.isVisible()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert page.log.chat.id != old and page.log.turns == [] and page.composer.text() == "And now?"
    (document,) = page.composer.attachments.all()
    assert document.name.startswith("summary of xxxx") and document.text.startswith("Our conversation so far")
    assert not page.notice.isVisible() and "stays in the list" in page.toast._text.text()
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    assert [turn.attachments for turn in page.log.turns] == [(document,), ()]
    assert page.log.turns[1].numbers.prompt_tokens > len(document.text) // 2
    qtbot.waitUntil(lambda: len(_chats(page)) == 2, timeout=LONG)
    page.open_chat(old)
    qtbot.waitUntil(lambda: page.log.chat.id == old, timeout=LONG)
    assert [turn.text for turn in page.log.turns] == texts


def test_undo_goes_back_with_what_was_typed_meanwhile(full, qtbot):
    page = full
    old = page.log.chat.id
    page.summarise_button.click()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    page.composer.edit.setPlainText("typed since")
    page.toast._button.click()
    qtbot.waitUntil(lambda: page.log.chat.id == old, timeout=LONG)
    assert page.composer.text() == "typed since" and page.composer.attachments.all() == ()
    assert len(page.log.turns) == 4


def test_stopped_the_choice_is_there_again(full, qtbot):
    page = full
    old = page.log.chat.id
    page.summarise_button.click()
    page.escape()
    assert page.state is State.STOPPING
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert page.log.chat.id == old and page.composer.text() == "z" * 2000
    assert (
        page.drop_button.isVisible()
        and page.summarise_button.isVisible()
        and page.new_chat_button.isVisible()
    )
    assert "full" in page.notice.text()


def test_an_error_is_told_with_the_other_ways_out(full, qtbot, monkeypatch):
    def refuse(job: summarise.SummariseJob, ctx: Context) -> str:
        raise UserError("summary-empty", "The model wrote no summary of the conversation.")

    page = full
    monkeypatch.setattr(summarise.SummariseJob, "run", refuse)
    page.summarise_button.click()
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert "wrote no summary" in page.notice.text()
    assert page.drop_button.isVisible() and page.new_chat_button.isVisible()
    assert not page.summarise_button.isVisible()


@pytest.mark.parametrize("what", ["another chat", "its own deleted"])
def test_another_chat_is_not_given_the_summary(full, qtbot, what):
    page = full
    summarised = page.log.chat.id
    page.new_chat()
    page.composer.set_text("other")
    page.send()
    qtbot.waitUntil(lambda: not page.busy, timeout=LONG)
    other = page.log.chat.id
    page.open_chat(summarised)
    qtbot.waitUntil(lambda: page.log.chat.id == summarised, timeout=LONG)
    page.summarise()
    assert page.state is State.ANSWERING
    if what == "another chat":
        page.open_chat(other)
        qtbot.waitUntil(lambda: page.log.chat.id == other, timeout=LONG)
    else:
        page._chats_gone([summarised])
    qtbot.waitUntil(lambda: page.state is State.READY, timeout=LONG)
    assert page.composer.attachments.all() == () and not page.notice.isVisible()
    assert page.log.chat.id == other or not page.log.turns
