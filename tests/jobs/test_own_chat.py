"""The chat that a source writes for its own calibration: the same text each time, kept, and put into the conversion."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import pytest
from model_folders import golden_copy, write_bpe, write_gguf
from talking import TEMPLATE, VOCAB, make_folder

from bitconverter.engine import Cancelled, Engine, Model, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs import chat_writer, convert_work, own_chat
from bitconverter.jobs.continuation import GREEDY, continuation, continuations
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Cancel, Context, Event, Failed, Finished, Note, Progress, Stopped, run_job
from bitconverter.jobs.own_chat import OwnChat, conversations_of
from bitconverter.model.budget import SYSTEM
from bitconverter.model.calibration_text import Conversation
from bitconverter.model.open_source import open_source

FULL: dict[str, Any] = {
    "method": "full",
    "calibration_windows": 6,
    "polish": 0,
    "planes": 2,
    "threads": 1,
    "own_chat": True,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "話す")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_chat, "ANSWER", 6)
    monkeypatch.setattr(own_chat, "TOGETHER", 4)
    monkeypatch.setattr(own_chat, "LEAST", 2)


class Talk(NamedTuple):
    """Of some conversations, kept in `work`."""

    source: Path
    work: Path
    count: int = 10
    identity: str = "x"
    seed: int = 0
    threads: int = 1

    def written(
        self,
        events: list[Event] | None = None,
        tell: Callable[[float], None] = lambda part: None,
        **more: Any,
    ) -> list[Conversation]:
        self.work.mkdir(exist_ok=True)
        ctx = Context([].append if events is None else events.append, more.pop("cancel", Cancel()))
        engine = Engine(threads=self.threads)
        return OwnChat(
            ctx,
            self.work,
            self.identity,
            str(self.source),
            engine,
            self.seed,
            self.count,
            more.pop("needed", False),
        ).conversations(tell)


def test_the_source_answers_questions_some_twice(source: Path, tmp_path: Path) -> None:
    asked = json.loads(
        (files("bitconverter") / "resources" / "calibration" / "questions.json").read_text(encoding="utf-8")
    )
    parts: list[float] = []
    events: list[Event] = []
    talks = Talk(source, tmp_path / "w").written(events, parts.append)
    assert [talk[0]["content"] for talk in talks] == asked["questions"][:10]
    assert [len(talk) for talk in talks] == [4, 2, 2, 4, 2, 2, 4, 2, 2, 4]
    assert [talk[2]["content"] for talk in talks if len(talk) == 4] == asked["second_questions"][:4]
    assert all([m["role"] for m in talk] == ["user", "assistant"] * (len(talk) // 2) for talk in talks)
    assert any(talk[1]["content"] for talk in talks)
    assert parts == sorted(parts) and parts[-1] == 1.0 and len(parts) > 20
    assert events == [Note("own-chat", {"conversations": 10})]


def test_the_same_text_whatever_is_written_beside_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(source, tmp_path / "a")
    found = talk.written()
    monkeypatch.setattr(own_chat, "TOGETHER", 3)
    assert talk._replace(work=tmp_path / "b", threads=2).written() == found
    assert talk._replace(work=tmp_path / "c", seed=1).written() != found


def test_what_is_there_is_not_written_again(source: Path, tmp_path: Path) -> None:
    talk = Talk(source, tmp_path / "w")
    found = talk.written()
    shutil.rmtree(source)
    assert talk._replace(count=3).written() == found, "the number that it began with counts"
    assert talk._replace(identity="another source").written() == []


@pytest.mark.parametrize("after", [0.05, 0.5, 0.95])
def test_stopped_and_begun_again_it_is_the_same(after: float, source: Path, tmp_path: Path) -> None:
    whole = Talk(source, tmp_path / "whole").written()
    cancel, talk = Cancel(), Talk(source, tmp_path / "w")
    with pytest.raises(Cancelled):
        talk.written(tell=lambda part: cancel.request() if part >= after else None, cancel=cancel)
    assert talk.written() == whole


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", None])
def test_a_damaged_file_is_written_again(damage: bytes | None, source: Path, tmp_path: Path) -> None:
    talk = Talk(source, tmp_path / "w")
    whole = talk.written()
    path = tmp_path / "w" / own_chat.NAME
    path.write_bytes(damage if damage is not None else path.read_bytes().replace(b'"user"', b'"nobody"', 1))
    assert talk.written() == whole


def test_a_source_that_cannot_be_run_writes_none_and_says_why(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").write_bytes(b"damaged")
    events: list[Event] = []
    talk = Talk(source, tmp_path / "w")
    assert talk.written(events) == []
    (note,) = events
    assert isinstance(note, Note) and note.code == "own-chat-skipped" and note.fields["why"]
    again: list[Event] = []
    assert talk.written(again) == [] and again == events, (
        "also if it could by now: the text must stay the same"
    )


def test_how_many_depends_on_size_and_memory(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_source(str(source))
    monkeypatch.setattr(own_chat, "LEAST", 8)
    assert conversations_of(opened, 10**8) == 56
    assert conversations_of(opened, 10**9) == 37
    assert conversations_of(opened, 7 * 10**9) == 0

    class Memory:
        total = SYSTEM + opened.total_bytes

    monkeypatch.setattr(chat_writer.psutil, "virtual_memory", Memory)
    assert conversations_of(opened, 10**8) == 56
    Memory.total -= 1
    assert conversations_of(opened, 10**8) == 0


def test_too_large_a_source_writes_none(source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    assert Talk(source, tmp_path / "w", count=0).written(events) == []
    assert events == [Note("own-chat-large")]


# ---- in a conversion ----


def convert(source: Path, out: Path, cancel: Cancel | None = None, **more: Any) -> tuple[Event, list[Event]]:
    events: list[Event] = []
    cancel = cancel or Cancel()

    def emit(event: Event) -> None:
        events.append(event)

    return run_job(ConvertJob(str(source), str(out), **{**FULL, **more}), emit, cancel), events


def calibration(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return dict(found["parameters"]["calibration"])


def test_a_conversion_is_calibrated_on_it(source: Path, tmp_path: Path) -> None:
    last, events = convert(source, tmp_path / "own")
    assert isinstance(last, Finished), last
    assert Note("own-chat", {"conversations": 56}) in events
    assert "own chat" in {event.item for event in events if isinstance(event, Progress)}
    assert calibration(tmp_path / "own")["own_chat"] == 56
    assert "56 conversations that the source itself wrote" in (tmp_path / "own" / "MODEL_CARD.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "話す"]

    last, events = convert(source, tmp_path / "without", own_chat=False)
    assert isinstance(last, Finished), last
    assert not [event for event in events if isinstance(event, Note) and event.code.startswith("own-chat")]
    text = calibration(tmp_path / "without")
    assert "own_chat" not in text and text["sha256"] != calibration(tmp_path / "own")["sha256"]


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_source_that_is_named_by_one_of_its_files_is_run_too(
    file: str, source: Path, tmp_path: Path
) -> None:
    """The quality report was left out for it: "neither a model folder nor a .gguf file"."""
    last, events = convert(source / file, tmp_path / "out", report=True)
    assert isinstance(last, Finished), last
    codes = {event.code for event in events if isinstance(event, Note)}
    assert "own-chat" in codes and not codes & {"own-chat-skipped", "report-skipped"}
    assert last.result.report["answers"]


def test_a_gguf_is_unpacked_for_it(tmp_path: Path) -> None:
    def talking(writer: gguf.GGUFWriter) -> None:
        write_bpe(writer)
        writer.add_chat_template(TEMPLATE)

    path = tmp_path / "話す.gguf"
    write_gguf(golden_copy("llama3.1", tmp_path / "folder"), path, metadata=talking)
    last, events = convert(path, tmp_path / "out")
    assert isinstance(last, Finished), last
    codes = [event.code for event in events if isinstance(event, Note)]
    assert {"expanding", "own-chat"} <= set(codes)
    assert calibration(tmp_path / "out")["own_chat"] == 56


def stop_in_layer_1(source: Path, out: Path) -> None:
    cancel = Cancel()

    def stop_at(event: Event) -> None:
        if isinstance(event, Progress) and event.item == "layer 1":
            cancel.request()

    last = run_job(ConvertJob(str(source), str(out), **FULL), stop_at, cancel)
    assert isinstance(last, Stopped), last


def test_a_model_without_a_template_writes_none(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "base", template=None)
    last, events = convert(source, tmp_path / "out")
    assert isinstance(last, Finished), last
    assert not [event for event in events if isinstance(event, Note) and event.code.startswith("own-chat")]
    assert "own_chat" not in calibration(tmp_path / "out")


@pytest.mark.parametrize("item", ["own chat", "sensitivity", "layer 1"])
def test_stopped_on_the_way_it_ends_in_the_same_bytes(item: str, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "whole")
    cancel, out = Cancel(), tmp_path / "out"

    def stop_at(event: Event) -> None:
        if isinstance(event, Progress) and event.item == item and event.done > event.total // 20:
            cancel.request()

    last = run_job(ConvertJob(str(source), str(out), **FULL), stop_at, cancel)
    assert isinstance(last, Stopped), last
    last, _ = convert(source, out)
    assert isinstance(last, Finished), last
    for name in ("model.safetensors", "manifest.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("polish", [0, 3])
def test_a_text_that_has_changed_begins_the_rounding_again(
    polish: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the chat is lost and another kind of computer writes it again: no result is of two texts."""
    cancel, out = Cancel(), tmp_path / "out"
    settings = {**FULL, "polish": polish}

    def stop_at(event: Event) -> None:
        if isinstance(event, Progress) and event.item == ("polish" if polish else "layer 1"):
            cancel.request()

    last = run_job(ConvertJob(str(source), str(out), **settings), stop_at, cancel)
    assert isinstance(last, Stopped), last
    (tmp_path / "out.partial" / own_chat.NAME).unlink()
    monkeypatch.setattr(own_chat, "ANSWER", 7)
    last, events = convert(source, out, polish=polish)
    assert isinstance(last, Finished) and last.result.resumed_tensors == 0, last
    assert Note("text-changed") in events
    last, events = convert(source, tmp_path / "whole", polish=polish)
    assert isinstance(last, Finished) and Note("text-changed") not in events
    for name in ("model.safetensors", "manifest.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_without_a_hash_of_the_text_nobody_knows_what_is_committed(
    content: bytes | None, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stop_in_layer_1(source, out)
    path = tmp_path / "out.partial" / "text.json"
    path.unlink() if content is None else path.write_bytes(content)
    last, events = convert(source, out)
    assert isinstance(last, Finished) and last.result.resumed_tensors == 0, last
    assert Note("text-changed") in events


def test_killed_between_the_journal_and_the_hash_two_texts_are_not_mixed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    stop_in_layer_1(source, out)
    (tmp_path / "out.partial" / own_chat.NAME).unlink()
    monkeypatch.setattr(own_chat, "ANSWER", 7)

    def killed(path: Path, value: Any) -> None:
        if path.name == "text.json":
            raise KeyboardInterrupt
        save(path, value)

    save = convert_work.save_sealed
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(convert_work, "save_sealed", killed)
        convert(source, out)
    last, _ = convert(source, out)
    assert isinstance(last, Finished), last
    convert(source, tmp_path / "whole")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_another_template_is_another_source(source: Path, tmp_path: Path) -> None:
    """Of its part behind a question, which no text but the source's own shows."""
    out = tmp_path / "out"
    stop_in_layer_1(source, out)
    config = source / "tokenizer_config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace("a:{% endif", "A:{% endif"), encoding="utf-8"
    )
    last, _ = convert(source, out)
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "source-changed"


def test_what_hindered_it_is_tried_again_while_nothing_is_rounded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise UserError("unpacking", "no room")

    talk = Talk(source, tmp_path / "w")
    with monkeypatch.context() as patched:
        patched.setattr(own_chat, "check_unpacking", full)
        assert talk.written() == []
    assert talk.written(needed=True) == []
    assert len(talk.written()) == 10


def test_empty_answers_are_left_out(source: Path, tmp_path: Path) -> None:
    generation = source / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": list(range(VOCAB))}), encoding="utf-8")
    events: list[Event] = []
    assert Talk(source, tmp_path / "w").written(events) == []
    assert [event.code for event in events if isinstance(event, Note)] == ["own-chat-skipped"]


def test_a_template_that_writes_nothing_is_none(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "empty", template="{# nothing #}")
    last, events = convert(source, tmp_path / "out")
    assert isinstance(last, Finished), last
    assert not [event for event in events if isinstance(event, Note) and event.code.startswith("own-chat")]


# ---- texts side by side ----


def test_each_text_is_what_it_is_alone(source: Path) -> None:
    model = Model(Engine(threads=1), source)
    alone = Session(model, n_ctx=32)
    prompts = [[1, 2, 3], [], [4], list(range(1, 60))]  # the last is longer than the context
    samplers = [replace(GREEDY, temperature=0.9, seed=k) for k in range(len(prompts))]
    together = continuations(
        [Session(model, n_ctx=32) for _ in prompts], prompts, samplers, frozenset({7}), 9, Cancel()
    )
    for prompt, sampler, made in zip(prompts, samplers, together, strict=True):
        assert made == continuation(alone, prompt, frozenset({7}), 9, Cancel(), sampler)
    assert together[1] == [] and len(together[3]) <= 9
