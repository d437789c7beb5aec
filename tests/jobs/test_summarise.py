"""A conversation in short: all of it is read, in parts that fit; the last messages stay word for word."""

import json
from pathlib import Path
from typing import Any

import pytest
from talking import ASK, finished, load, make_folder

from bitconverter.format.errors import UserError
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, Message
from bitconverter.jobs.job import Cancel, Context, Event, Failed, Finished, Progress, Stopped, Token, run_job
from bitconverter.jobs.summarise import SummariseJob

TALK = tuple(
    Message("user" if k % 2 == 0 else "assistant", f"message {k}: " + f"<{k}> {{part}} " * 25)
    for k in range(12)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the tiny model is, with room for more positions."""
    folder = make_folder(tmp_path_factory.mktemp("summarise") / "要約 model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps({**config, "max_position_embeddings": 2048}), encoding="utf-8"
    )
    return folder


@pytest.fixture
def chat(folder: Path) -> ChatSession:
    return load(folder, n_ctx=1200)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model is asked, in turn."""
    texts: list[str] = []

    def run(job: AnswerJob, ctx: Context) -> Answer:
        texts.append(job.messages[0].content)
        return real(job, ctx)

    real = AnswerJob.run
    monkeypatch.setattr(AnswerJob, "run", run)
    return texts


def shorten(chat: ChatSession, messages: tuple[Message, ...]) -> tuple[str, list[Event]]:
    events: list[Event] = []
    last = run_job(SummariseJob(chat, messages), events.append, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished), last
    return last.result, events


def test_all_of_it_is_read_in_parts_with_the_summary_so_far(chat: ChatSession, asked: list[str]) -> None:
    assert chat.count_tokens(TALK) > 2 * chat.n_ctx
    text, events = shorten(chat, (Message("system", "be brief"), *TALK))
    assert len(asked) > 3 and "in short" not in asked[0] and all("in short" in told for told in asked[1:])
    joined = "\n".join(asked)
    assert all(message.content.strip() in joined for message in TALK) and "be brief" not in joined
    places = [joined.index(f"message {k}:") for k in range(len(TALK))]
    assert places == sorted(places) and joined.count("User: message") == len(TALK) // 2
    steps = [event for event in events if isinstance(event, Progress)]
    assert steps[0].done == 0 and len({step.total for step in steps}) == 1
    assert [step.done for step in steps] == sorted(step.done for step in steps) and steps[-1].done == steps[
        -1
    ].total
    spoken = "".join(event.text for event in events if isinstance(event, Token))
    assert text.startswith("Our conversation so far, in short:\n") and spoken.strip() in text
    assert text == shorten(chat, TALK)[0]


def test_the_last_turns_stay_word_for_word_and_leave_room(chat: ChatSession) -> None:
    last = (Message("user", "what is left?"), Message("assistant", "  almost all of it  "))
    text, _ = shorten(chat, (*TALK, *last))
    quoted = "The last messages, word for word:\n\nUser: what is left?\n\nAssistant: almost all of it"
    assert (
        text.endswith(quoted) and len(chat.tokenizer.encode(text, add_special_tokens=False)) < chat.n_ctx // 2
    )
    long = (*TALK, Message("user", "x" * 900), Message("assistant", "so it is"))
    assert "word for word" not in shorten(chat, long)[0]  # half a turn would be an answer to nothing


def test_a_message_longer_than_the_context_is_read_whole(chat: ChatSession, asked: list[str]) -> None:
    letters = "".join(f"({k})" for k in range(1000))
    shorten(chat, (Message("user", letters),))
    head, tail = "Here is a part of a conversation:\n\n", "\n\nSummarise"
    parts = [told[told.index(head) + len(head) : told.index(tail)] for told in asked]
    read = "".join(part.removeprefix("User: ") for part in parts).replace("\n", "")
    assert len(asked) > 3 and read == letters


def test_a_japanese_conversation_is_summarised_in_japanese(chat: ChatSession, asked: list[str]) -> None:
    text, _ = shorten(chat, (Message("user", "京都へ行きます。"), Message("assistant", "はい。")))
    assert "要約" in asked[0] and "ユーザー: 京都へ行きます。" in asked[0] and "Summarise" not in asked[0]
    assert text.startswith("これまでの会話の要約：") and text.endswith("アシスタント: はい。")


def test_a_word_of_japanese_does_not_make_a_conversation_japanese(
    chat: ChatSession, asked: list[str]
) -> None:
    said = (
        Message("user", "What does こんにちは mean, and how is it said?"),
        Message("assistant", "こんにちは。" * 9),
    )
    text, _ = shorten(chat, said)
    assert "Summarise" in asked[0] and text.startswith("Our conversation so far")


def test_a_stop_leaves_the_chat_usable(chat: ChatSession) -> None:
    before = finished(chat).text
    cancel = Cancel()
    last = run_job(SummariseJob(chat, TALK), lambda event: cancel.request(), cancel)
    assert isinstance(last, Stopped)
    assert finished(chat, ASK).text == before


def test_what_cannot_be_summarised_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as small:
        shorten(load(folder, n_ctx=300), TALK)
    assert small.value.code == "summary-small" and "300" in str(small.value)

    def nothing(job: AnswerJob, ctx: Context) -> Answer:
        return Answer(" \n", 1, 0, 1, 0.0, 0.0, 1.0, "stop", 0)

    monkeypatch.setattr(AnswerJob, "run", nothing)
    with pytest.raises(UserError) as empty:
        shorten(load(folder, n_ctx=1200), TALK)
    assert empty.value.code == "summary-empty"


@pytest.mark.parametrize(
    ("finish", "summary"),
    [("length", "It is 3.5 m. Good!"), ("stop", "It is 3.5 m. Good! And th")],
)
def test_a_sentence_that_was_cut_is_left_out(
    chat: ChatSession, monkeypatch: pytest.MonkeyPatch, finish: str, summary: str
) -> None:
    def written(job: AnswerJob, ctx: Context) -> Answer:
        return Answer(" It is 3.5 m. Good! And th", 1, 0, 1, 0.0, 0.0, 1.0, finish, 0)

    monkeypatch.setattr(AnswerJob, "run", written)
    assert shorten(chat, TALK[:1])[0].split("\n\n")[0] == f"Our conversation so far, in short:\n{summary}"


def test_without_a_whole_sentence_all_of_it_stays(chat: ChatSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(job: AnswerJob, ctx: Context) -> Answer:
        return (
            Answer("京都。明日", 1, 0, 1, 0.0, 0.0, 1.0, "length", 0)
            if "京" in job.messages[0].content
            else cut
        )

    cut = Answer("no end of it", 1, 0, 1, 0.0, 0.0, 1.0, "length", 0)
    monkeypatch.setattr(AnswerJob, "run", written)
    asked: Any = (Message("user", "かな 京"),)
    assert "\n京都。\n" in shorten(chat, asked)[0]
    assert "\nno end of it\n" in shorten(chat, (Message("user", "hello"),))[0]
