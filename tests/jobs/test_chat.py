"""Answers of a tiny random model with a small tokenizer: streaming, stopping, the reuse of the context."""

import json
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from reference.converted import write_converted
from talking import ASK, GREEDY, TEMPLATE, VOCAB, answer, finished, greedy_tokens, load, make_folder

from bitconverter.engine import EngineError
from bitconverter.format.errors import UserError
from bitconverter.jobs.chat import (
    AnswerJob,
    ChatSession,
    LoadChatJob,
    Message,
    Prompt,
    PromptJob,
    Sampling,
    template_for,
)
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, Progress, Stopped, Token, run_job
from bitconverter.model.known_templates import Ending
from bitconverter.model.text_stream import TextStream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("chat") / "日本語 🙂 model")


@pytest.fixture
def chat(folder: Path) -> ChatSession:
    return load(folder)


def test_an_answer_is_what_the_engine_says_streamed_and_counted(folder: Path, chat: ChatSession) -> None:
    prompt = chat.tokenizer.encode("u:hello there\na:", add_special_tokens=False)
    assert chat.prompt(ASK) == prompt
    result = finished(chat)
    assert result.text == chat.tokenizer.decode(greedy_tokens(folder, prompt, 24))
    assert (result.prompt_tokens, result.cached_tokens, result.tokens) == (len(prompt), 0, 24)
    assert result.finish == "length" and result.seed == 0
    assert result.tokens_per_second > 0 and result.prefill_seconds > 0 and result.decode_seconds > 0
    assert chat.count_tokens(ASK) == result.prompt_tokens


def test_the_session_says_what_it_runs(folder: Path) -> None:
    chat = load(folder, cpu="scalar", n_ctx=50)
    assert (chat.name, chat.family, chat.isa, chat.threads) == (folder.name, "llama", "scalar", 1)
    assert (chat.n_ctx, chat.max_positions, chat.ternary) == (50, 128, False)


def test_a_converted_model_chats_too(folder: Path, tmp_path: Path) -> None:
    write_converted(folder, tmp_path / "converted", 3, seed=5)
    chat = load(tmp_path / "converted")
    assert chat.ternary
    assert finished(chat).tokens == 24


@pytest.mark.parametrize("place", ["generation list", "generation number", "config", "tokenizer"])
def test_every_token_that_a_file_calls_the_end_ends_the_answer(
    folder: Path, tmp_path: Path, place: str
) -> None:
    prompt = load(folder).prompt(ASK)
    said = greedy_tokens(folder, prompt, 24)
    end = said[9]
    first = said.index(end)
    eos = {"generation list": [148, end], "generation number": end}.get(place)
    other = make_folder(tmp_path / "model", eos=eos)
    if place == "config":
        config = json.loads((other / "config.json").read_text(encoding="utf-8"))
        (other / "config.json").write_text(json.dumps({**config, "eos_token_id": end}), encoding="utf-8")
    if place == "tokenizer":
        text = load(folder).tokenizer.token(end)
        config = {"chat_template": TEMPLATE, "eos_token": {"content": text, "special": True}}
        (other / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    chat = load(other)
    result = finished(chat)
    assert (result.finish, result.tokens) == ("stop", first)
    assert result.text == chat.tokenizer.decode(said[:first])


def test_it_is_told_when_nothing_says_how_an_answer_ends(folder: Path, tmp_path: Path) -> None:
    for path, expected in ((folder, ["no-end-token"]), (make_folder(tmp_path / "m", eos=3), [])):
        notes: list[str] = []
        job = LoadChatJob(str(path), threads=1)
        run_job(job, lambda e, n=notes: n.append(e.code) if isinstance(e, Note) else None, Cancel())
        assert notes == expected


# ---- the context ----


def test_a_second_turn_computes_only_what_is_new_and_says_the_same(folder: Path, chat: ChatSession) -> None:
    first = finished(chat, sampling=replace(GREEDY, max_tokens=10))
    turns = (*ASK, Message("assistant", "hm"), Message("user", "and then?"))
    second = finished(chat, turns)
    assert second.cached_tokens == first.prompt_tokens, "up to where the answer was another"
    assert second.prompt_tokens == chat.count_tokens(turns)
    assert second.text == finished(load(folder), turns).text


def test_the_own_answer_is_in_the_cache_already(chat: ChatSession) -> None:
    first = finished(chat, sampling=replace(GREEDY, max_tokens=10))
    said = chat.tokenizer.encode(first.text, add_special_tokens=False)
    second = finished(chat, (*ASK, Message("assistant", first.text), Message("user", "go on")))
    held = first.prompt_tokens + first.tokens - 1  # the last token was said, but never fed
    whole = said == [t for t in said if t < VOCAB] and len(said) == first.tokens
    assert second.cached_tokens == held if whole else first.prompt_tokens <= second.cached_tokens <= held


def test_the_same_question_again_needs_only_its_last_token(chat: ChatSession) -> None:
    first = finished(chat)
    again = finished(chat)
    assert again.cached_tokens == again.prompt_tokens - 1
    assert again.text == first.text


def test_another_conversation_starts_from_what_it_shares(folder: Path, chat: ChatSession) -> None:
    finished(chat)
    other = (Message("user", "help"),)
    result = finished(chat, other)
    assert result.cached_tokens == len("u:hel")
    assert result.text == finished(load(folder), other).text


def test_a_conversation_that_does_not_fit_is_refused_before_work(folder: Path) -> None:
    chat = load(folder, n_ctx=20)
    needed = chat.count_tokens((Message("user", "x" * 40),))
    with pytest.raises(UserError, match="Start a new chat") as caught:
        finished(chat, (Message("user", "x" * 40),))
    assert caught.value.code == "context-full"
    assert caught.value.fields == {"needed": needed, "available": 20, "least": needed}
    assert "longer context (up to 128)" in str(caught.value)
    with pytest.raises(UserError, match="this model holds at most 128") as caught:
        finished(chat, (Message("user", "x" * 200),))
    assert "longer context" not in str(caught.value), "none is long enough"
    assert finished(chat, (Message("user", "x"),)).tokens > 0, "the session is still good"


def test_an_answer_ends_where_the_context_ends(folder: Path) -> None:
    chat = load(folder, n_ctx=30)
    result = finished(chat, sampling=replace(GREEDY, max_tokens=0))
    assert result.finish == "context"
    assert result.tokens == 30 - result.prompt_tokens + 1
    full = (Message("user", "x" * (29 - len("u:\na:"))),)
    assert chat.count_tokens(full) == 29
    assert finished(chat, full, replace(GREEDY, max_tokens=0)).tokens == 2


def test_a_long_prompt_tells_its_progress(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitconverter.jobs.chat.PREFILL_CHUNK", 16)
    chat = load(folder)
    messages = (Message("user", "x" * 60),)
    seen: list[tuple[int, int]] = []

    def watch(event: Event, cancel: Cancel) -> None:
        if isinstance(event, Progress):
            seen.append((event.done, event.total))

    last, text = answer(chat, messages, watch=watch)
    total = chat.count_tokens(messages)
    assert seen[-1] == (total, total) and seen == sorted(seen)
    assert isinstance(last, Finished) and text == finished(load(folder), messages).text


def test_an_answer_cut_short_ends_at_a_whole_character(folder: Path, chat: ChatSession) -> None:
    """The tiny model says random bytes, so that some of these cuts fall into a character."""
    shown = [finished(chat, sampling=replace(GREEDY, max_tokens=n)).text for n in range(1, 25)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))
    said = greedy_tokens(folder, chat.prompt(ASK), 24)
    stream = TextStream(chat.tokenizer)
    whole = [stream.push(token) for token in said]
    assert shown == ["".join(whole[:n]) for n in range(1, 25)]
    assert "" in whole, "a token that completes no character"


# ---- stopping ----


def test_a_stop_ends_it_after_the_text_so_far_and_the_session_goes_on(
    folder: Path, chat: ChatSession
) -> None:
    seen: list[str] = []

    def stop_after_three(event: Event, cancel: Cancel) -> None:
        if isinstance(event, Token):
            seen.append(event.text)
            if len(seen) == 3:
                cancel.request()

    last, text = answer(chat, watch=stop_after_three)
    assert isinstance(last, Stopped)
    assert len(seen) == 3 and finished(load(folder)).text.startswith(text)
    turns = (*ASK, Message("assistant", text), Message("user", "why?"))
    assert finished(chat, turns).text == finished(load(folder), turns).text


def test_a_stop_while_the_prompt_is_read_keeps_what_was_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitconverter.jobs.chat.PREFILL_CHUNK", 8)
    chat = load(folder)
    messages = (Message("user", "x" * 60),)

    def stop_at_first(event: Event, cancel: Cancel) -> None:
        if isinstance(event, Progress):
            cancel.request()

    last, text = answer(chat, messages, watch=stop_at_first)
    assert isinstance(last, Stopped) and text == ""
    result = finished(chat, messages)
    assert result.cached_tokens == 8
    assert result.text == finished(load(folder), messages).text


def test_a_stop_before_the_start_says_nothing(chat: ChatSession) -> None:
    cancel = Cancel()
    cancel.request()
    events: list[Event] = []
    assert isinstance(run_job(AnswerJob(chat, ASK, GREEDY), events.append, cancel), Stopped)
    assert events == [Stopped()]
    assert isinstance(run_job(LoadChatJob(chat.name), events.append, cancel), Failed | Stopped)


def test_one_answer_at_a_time(chat: ChatSession) -> None:
    inner: list[Event] = []

    def ask_again(event: Event, cancel: Cancel) -> None:
        if isinstance(event, Token) and not inner:
            inner.append(answer(chat)[0])

    last, _ = answer(chat, watch=ask_again)
    assert isinstance(last, Finished)
    assert isinstance(inner[0], Failed) and inner[0].error.code == "chat-busy"  # type: ignore[attr-defined]


def test_counting_tokens_is_possible_while_it_answers(chat: ChatSession) -> None:
    counted: list[int] = []

    def count(event: Event, cancel: Cancel) -> None:
        if isinstance(event, Token) and not counted:
            thread = threading.Thread(target=lambda: counted.append(chat.count_tokens(ASK)))
            thread.start()
            thread.join()

    answer(chat, watch=count)
    assert counted == [chat.count_tokens(ASK)]


def test_a_closed_session_says_so_and_closing_twice_is_fine(chat: ChatSession) -> None:
    chat.close()
    chat.close()
    with pytest.raises(UserError) as caught:
        finished(chat)
    assert caught.value.code == "chat-closed"


# ---- sampling ----


def test_the_seed_makes_the_text(chat: ChatSession) -> None:
    warm = Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0, max_tokens=24)
    one, again, other = (finished(chat, sampling=replace(warm, seed=s)).text for s in (1, 1, 2))
    assert one == again != other
    fresh = finished(chat, sampling=warm)
    assert finished(chat, sampling=replace(warm, seed=fresh.seed)).text == fresh.text
    assert finished(chat, sampling=warm).seed != fresh.seed


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"min_p": 2}, {"top_k": -1},
     {"repeat_penalty": 0}, {"seed": -1}, {"seed": 2**64}, {"max_tokens": -1}, {"top_k": 2**40}],
)  # fmt: skip
def test_impossible_settings_are_refused_before_work(chat: ChatSession, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        finished(chat, sampling=replace(GREEDY, **wrong))
    assert caught.value.code == "sampling"
    assert finished(chat).cached_tokens == 0, "nothing had been computed"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"top_k": 2**40}, f"top-k is {2**40}; it must be from 0 to {2**31 - 1}."),
     ({"seed": 2**64}, f"seed is {2**64}; it must be from 0 to {2**64 - 1}."),
     ({"max_tokens": -1}, "max-tokens is -1; it must be 0 or more.")],
)  # fmt: skip
def test_an_impossible_setting_is_named_with_what_is_possible(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(GREEDY, **wrong).sampler()
    assert str(caught.value) == told


def test_no_message_is_refused(chat: ChatSession) -> None:
    with pytest.raises(UserError) as caught:
        finished(chat, ())
    assert caught.value.code == "no-message"


# ---- loading ----


@pytest.mark.parametrize("n_ctx", [-1, 129])
def test_an_impossible_context_size_is_refused(folder: Path, n_ctx: int) -> None:
    with pytest.raises(UserError) as caught:
        load(folder, n_ctx=n_ctx)
    assert caught.value.code == "context-size"


def test_a_folder_that_cannot_chat_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load(tmp_path / "nowhere")
    (tmp_path / "several").mkdir()
    with pytest.raises(UserError, match="one inside of it") as caught:
        load(tmp_path / "several")
    assert caught.value.code == "config-missing"
    model = make_folder(tmp_path / "model", template=None)
    with pytest.raises(UserError) as caught:
        load(model)
    assert caught.value.code == "no-chat-template"
    config = (model / "config.json").read_text(encoding="utf-8")
    (model / "config.json").write_text(
        json.dumps({**json.loads(config), "model_type": "bert"}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="bert") as caught:  # a template would not help
        load(model)
    assert caught.value.code == "model-type" and caught.value.fields == {"model_type": "bert"}
    (model / "config.json").write_text(config, encoding="utf-8")
    weights = model / "model.safetensors"
    weights.rename(tmp_path / "weights")
    with pytest.raises(EngineError, match="safetensors"):
        load(model)
    (tmp_path / "weights").rename(weights)
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError) as caught:
        load(model)
    assert caught.value.code == "no-tokenizer"


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model")
    raw = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    raw.add_tokens(["too much"])
    raw.save(str(model / "tokenizer.json"))
    with pytest.raises(UserError) as caught:
        load(model)
    assert caught.value.code == "tokenizer-mismatch"


def test_a_template_that_refuses_the_conversation_is_quoted(tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model", template="{{ raise_exception('No pirates, please.') }}")
    with pytest.raises(UserError, match="No pirates, please") as caught:
        finished(load(model))
    assert caught.value.code == "chat-template-refused"


# ---- the real model ----


def test_smollm2_knows_the_capital_of_france_and_goes_on(smollm2: Path) -> None:
    chat = load(smollm2)
    ask = (Message("user", "What is the capital of France?"),)
    first = finished(chat, ask, replace(GREEDY, max_tokens=40))
    assert "Paris" in first.text and first.finish == "stop"
    turns = (*ask, Message("assistant", first.text), Message("user", "日本の首都は？ Answer in English. 🙂"))
    second = finished(chat, turns, replace(GREEDY, max_tokens=8))
    assert second.cached_tokens >= first.prompt_tokens + first.tokens - 1
    assert "\ufffd" not in second.text


def test_an_answer_that_was_cut_goes_on_as_if_it_had_not_been(chat: ChatSession) -> None:
    whole = finished(chat)
    first = finished(chat, sampling=replace(GREEDY, max_tokens=9))
    job = AnswerJob(
        chat, (*ASK, Message("assistant", first.text)), replace(GREEDY, max_tokens=15), continues=True
    )
    last = run_job(job, lambda event: None, Cancel())
    assert isinstance(last, Finished)
    assert first.text + last.result.text == whole.text


def _long_talk(turns: int) -> tuple[Message, ...]:
    talk = [Message("system", "Be brief.")]
    for number in range(turns):
        talk += [Message("user", f"question {number}"), Message("assistant", f"answer {number}")]
    return (*talk, Message("user", "the last one"))


def test_too_long_a_talk_loses_its_oldest_turns_only_when_asked_to(folder: Path) -> None:
    chat = load(folder, n_ctx=100)
    talk = _long_talk(10)
    last, _ = answer(chat, talk)
    assert isinstance(last, Failed) and getattr(last.error, "code", "") == "context-full"
    assert last.error.fields["least"] == chat.count_tokens((talk[0], talk[-1])) < 100
    notes: list[Note] = []
    job = AnswerJob(chat, talk, replace(GREEDY, max_tokens=4), drop_oldest=True)
    last = run_job(job, lambda e: notes.append(e) if isinstance(e, Note) else None, Cancel())
    assert isinstance(last, Finished)
    assert notes[0].code == "left-out"
    left_out = notes[0].fields["messages"]
    kept = (talk[0], *talk[1 + left_out :])
    assert kept[1].role == "user" and last.result.prompt_tokens == chat.count_tokens(kept) <= 96
    one_more = (talk[0], *talk[left_out - 1 :])
    assert chat.count_tokens(one_more) > 96


def test_a_last_question_that_is_too_long_by_itself_is_still_refused(folder: Path) -> None:
    chat = load(folder, n_ctx=50)
    talk = (*_long_talk(2)[:-1], Message("user", "x" * 80))
    for drop in (True, False):
        last = run_job(AnswerJob(chat, talk, GREEDY, drop_oldest=drop), lambda event: None, Cancel())
        assert isinstance(last, Failed) and getattr(last.error, "code", "") == "context-full"
        assert last.error.fields["least"] == chat.count_tokens((talk[0], talk[-1])) > 50


def test_a_prompt_is_shown_as_it_is_sent(folder: Path) -> None:
    chat = load(folder, n_ctx=100)
    last = run_job(PromptJob(chat, ASK, max_tokens=10), lambda event: None, Cancel())
    assert isinstance(last, Finished)
    assert last.result == Prompt("u:hello there\na:", chat.count_tokens(ASK), 0, 100, 10)
    last = run_job(PromptJob(chat, _long_talk(10), drop_oldest=True), lambda event: None, Cancel())
    assert isinstance(last, Finished)
    assert last.result.left_out and last.result.tokens <= 75 and "question 0" not in last.result.text
    assert run_job(PromptJob(chat, ()), lambda event: None, Cancel()).result.tokens == 0


def test_what_was_held_back_is_said_when_no_stop_word_followed(folder: Path, chat: ChatSession) -> None:
    whole = finished(chat).text
    template = template_for(chat.template, chat.tokenizer)
    chat.use_template(chat.template, template, Ending(text=whole[-1] + "never said"))
    assert finished(chat).text == whole


def test_a_prompt_that_fills_the_context_leaves_no_room_for_an_answer(folder: Path) -> None:
    chat = load(folder, n_ctx=30)
    full = (Message("user", "x" * (30 - len("u:\na:"))),)
    assert chat.count_tokens(full) == 30
    with pytest.raises(UserError) as caught:
        finished(chat, full)
    assert caught.value.code == "context-full" and caught.value.fields["needed"] == 30


def test_the_speed_counts_what_was_computed_in_its_time(chat: ChatSession) -> None:
    """The first token is there when the prompt has been read."""
    result = finished(chat)
    assert result.tokens_per_second == pytest.approx((result.tokens - 1) / result.decode_seconds)
    assert finished(chat, sampling=replace(GREEDY, max_tokens=1)).tokens_per_second == 0
