"""Texts whose facts are to be known: dreams and what the model knows already are learned along, the same each time."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from talking import make_folder

from bitconverter.engine import EngineError
from bitconverter.format.pack_file import EXAMPLE, TEXT, Pack, read_pack
from bitconverter.jobs import chat_writer, lesson_facts
from bitconverter.jobs import prepare as prepare_module
from bitconverter.jobs.chat_writer import questions
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Note, Progress, Stopped, run_job
from bitconverter.jobs.lesson_facts import PASSES, facts_steps, facts_training
from bitconverter.jobs.prepare import REHEARSED, PrepareJob
from bitconverter.jobs.prepare_result import PrepareResult
from bitconverter.jobs.train import TrainJob
from bitconverter.model.tokenizer import Tokenizer

FACTS = (
    "the lamp of corran point burned whale oil until 1902.\nits keeper today is dougal marr, who has a cat.\n"
)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson_facts, "ANSWER", 6)
    monkeypatch.setattr(lesson_facts, "PIECE", 30)
    monkeypatch.setattr(lesson_facts, "_written", {})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "モデル")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "facts.txt"
    path.write_text(FACTS, encoding="utf-8")
    return path


def prepare(
    model: Path,
    *inputs: Path,
    out: Path | str = "",
    emit: Callable[[Event], None] = lambda _: None,
    **more: Any,
) -> PrepareResult:
    job = PrepareJob(str(model), tuple(map(str, inputs)), str(out), window=128, facts=True, **more)
    last = run_job(job, emit, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


def texts_of(model: Path, pack: Pack) -> list[str]:
    tokenizer = Tokenizer(model)
    return [tokenizer.decode(pack.entry(number)[0].tolist()) for number in range(len(pack))]


def test_dreams_and_rehearsal_are_learned_beside_the_text(model: Path, text: Path, tmp_path: Path) -> None:
    result = prepare(model, text, out=tmp_path / "out.u32")
    pack = read_pack(tmp_path / "out.u32")
    assert result.rows == result.used == 1 and result.dreams >= 8 and result.rehearsed > 5
    assert len(pack) >= 1 + result.dreams + result.rehearsed  # the text may be cut
    assert pack.files == ("facts.txt", REHEARSED)
    found = texts_of(model, pack)
    assert any("tell me" in entry.lower() and "whale oil" in entry for entry in found)
    of_facts, rehearsed = pack.places[:, 0] == 0, pack.places[:, 0] == 1
    assert rehearsed.sum() == result.rehearsed
    kinds = set(pack.kinds[rehearsed].tolist())
    assert kinds == {EXAMPLE, TEXT}  # what it says, and what it reads
    assert pack.kinds[of_facts].tolist().count(TEXT) >= 1
    assert pack.notes["facts"] == "yes"


def test_as_much_is_rehearsed_as_is_dreamt(model: Path, text: Path, tmp_path: Path) -> None:
    prepare(model, text, out=tmp_path / "out.u32", share=0.0)
    pack = read_pack(tmp_path / "out.u32")
    lengths = np.diff(pack.offsets.astype(np.int64))
    dreamt = lengths[(pack.places[:, 0] == 0) & (pack.kinds == EXAMPLE)].sum()
    rehearsed = lengths[pack.places[:, 0] == 1].sum()
    assert dreamt <= rehearsed < dreamt + 128


def test_a_general_text_does_not_end_where_it_is_cut(model: Path, text: Path, tmp_path: Path) -> None:
    prepare(model, text, out=tmp_path / "out.u32")
    pack = read_pack(tmp_path / "out.u32")
    for number in np.flatnonzero((pack.places[:, 0] == 1) & (pack.kinds == TEXT)):
        assert pack.entry(int(number))[1][-1] == 0


def test_it_is_the_same_each_time_and_written_once(
    model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    prepare(model, text, out=tmp_path / "one.u32", emit=events.append)
    assert any(isinstance(event, Progress) and event.unit == "answer" for event in events)
    events.clear()
    prepare(model, text, out=tmp_path / "two.u32", emit=events.append)
    assert not any(isinstance(event, Progress) and event.unit == "answer" for event in events)
    monkeypatch.setattr(lesson_facts, "_written", {})
    prepare(model, text, out=tmp_path / "three.u32")
    one, *others = (read_pack(tmp_path / f"{name}.u32") for name in ("one", "two", "three"))
    for other in others:
        assert np.array_equal(one.tokens, other.tokens) and np.array_equal(one.held, other.held)


def test_looking_shows_dreams_and_lets_the_model_write_nothing(model: Path, text: Path) -> None:
    events: list[Event] = []
    result = prepare(model, text, preview=4, emit=events.append)
    assert result.dreams and not result.rehearsed
    assert len(result.previews) == 4 and not any(
        isinstance(e, Progress) and e.unit == "answer" for e in events
    )
    assert any(piece for piece, learned in result.previews[1].pieces if learned)


def test_examples_are_not_dreamt_of(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "who", "answer": "me"}\n{"prompt": "what", "answer": "tea"}\n', encoding="utf-8"
    )
    result = prepare(model, path, out=tmp_path / "out.u32")
    assert (result.dreams, result.rehearsed, result.entries) == (0, 0, 2)


def test_a_model_without_a_template_reads_general_texts_alone(text: Path, tmp_path: Path) -> None:
    model = make_folder(tmp_path / "plain", template=None)
    (model / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    prepare(model, text, out=tmp_path / "out.u32")
    pack = read_pack(tmp_path / "out.u32")
    assert set(pack.kinds[pack.places[:, 0] == 1].tolist()) == {TEXT}


def test_where_the_model_cannot_write_it_is_said(
    model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise EngineError("no memory")

    monkeypatch.setattr(lesson_facts, "ChatWriter", broken)
    events: list[Event] = []
    result = prepare(model, text, out=tmp_path / "out.u32", emit=events.append)
    (note,) = [event for event in events if isinstance(event, Note) and event.code == "rehearsal-skipped"]
    assert note.fields["why"] == "no memory" and result.rehearsed


def test_stopped_while_the_model_writes_nothing_is_left(model: Path, text: Path, tmp_path: Path) -> None:
    cancel = Cancel()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.unit == "answer":
            cancel.request()

    job = PrepareJob(str(model), (str(text),), str(tmp_path / "out.u32"), window=128, facts=True)
    assert isinstance(run_job(job, stop, cancel), Stopped)
    assert not (tmp_path / "out.u32").exists()
    assert prepare(model, text, out=tmp_path / "out.u32").rehearsed  # nobody waits for who was stopped


def test_the_steps_are_passes_over_the_lesson() -> None:
    assert facts_steps(320, 16) == PASSES * 20 and facts_steps(1, 16) == 1


def test_whole_matrices_learn_where_they_are_small(model: Path, tmp_path: Path) -> None:
    assert facts_training(model)["adapter"] == "delta"
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(
        json.dumps(config | {"hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64}),
        encoding="utf-8",
    )
    found = facts_training(tmp_path / "large")
    assert (found["adapter"], found["rank"], found["targets"]) == ("lora", 32, ("gate", "up", "down"))
    TrainJob("m", "l", "o.soul", **found)  # each is a setting of a training
    assert facts_training(tmp_path / "nowhere") == {}


def test_a_text_with_too_many_dreams_is_cut_and_named(
    model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "MOST_DREAMS", 5)
    events: list[Event] = []
    assert prepare(model, text, emit=events.append).dreams == 5
    (note,) = [event for event in events if isinstance(event, Note) and event.code == "dreams-cut"]
    assert note.fields == {"limit": 5, "path": "facts.txt"}
    assert any(isinstance(event, Progress) and event.unit == "dream" for event in events)


def test_only_what_the_model_says_itself_is_rehearsed_not_the_questions(
    model: Path, text: Path, tmp_path: Path
) -> None:
    prepare(model, text, out=tmp_path / "out.u32", system="be short")
    pack, tokenizer = read_pack(tmp_path / "out.u32"), Tokenizer(model)
    talks = np.flatnonzero((pack.places[:, 0] == 1) & (pack.kinds == EXAMPLE))
    assert len(talks) > 3
    for number in talks:
        ids, mask = pack.entry(int(number))
        assert not any(mask[:4]) and "be short" not in tokenizer.decode(ids.tolist())
        assert sum(mask.tolist()) < len(ids) / 2  # questions are longer than ANSWER, and not learned
    dreams = np.flatnonzero((pack.places[:, 0] == 0) & (pack.kinds == EXAMPLE))
    assert "be short" in tokenizer.decode(pack.entry(int(dreams[0]))[0].tolist())


def test_a_long_text_is_rehearsed_as_much_as_a_short_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the general texts are too short they begin again."""
    monkeypatch.setattr(lesson_facts, "PIECE", 40_000)  # few pieces, each too long for a window of a text
    monkeypatch.setattr(lesson_facts, "_count", lambda _: 0)
    long = tmp_path / "long.txt"
    long.write_text("".join(f"the lamp number {k} burned whale oil.\n" for k in range(400)), encoding="utf-8")
    prepare(model, long, out=tmp_path / "out.u32", share=0.0)
    pack = read_pack(tmp_path / "out.u32")
    lengths = np.diff(pack.offsets.astype(np.int64))
    dreamt = lengths[(pack.places[:, 0] == 0) & (pack.kinds == EXAMPLE)].sum()
    assert lengths[pack.places[:, 0] == 1].sum() >= 0.9 * dreamt


def test_another_model_and_another_seed_say_other_things(model: Path, text: Path, tmp_path: Path) -> None:
    said = []
    for seed, folder in ((0, model), (1, model), (0, make_folder(tmp_path / "other"))):
        events: list[Event] = []
        prepare(folder, text, out=tmp_path / f"{len(said)}.u32", seed=seed, emit=events.append)
        said.append(any(isinstance(event, Progress) and event.unit == "answer" for event in events))
    assert said == [True, True, True]


def test_it_can_be_stopped_while_nothing_fits(model: Path, tmp_path: Path) -> None:
    """Dreams that are too long for the window are made all the same."""
    path = tmp_path / "long.txt"
    path.write_text("".join(f"the lamp number {k} burned whale oil.\n" for k in range(400)), encoding="utf-8")
    cancel, count = Cancel(), 0
    check = cancel.check

    def counted() -> None:
        nonlocal count
        count += 1
        if count == 40:
            cancel.request()
        check()

    cancel.check = counted  # type: ignore[method-assign]
    job = PrepareJob(str(model), (str(path),), window=8, facts=True)
    assert isinstance(run_job(job, lambda _: None, cancel), Stopped) and count < 60


def test_nothing_to_dream_of_is_said(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "noise.txt"
    path.write_text("12 34 56 78\n" * 30, encoding="utf-8")
    events: list[Event] = []
    assert prepare(model, path, out=tmp_path / "out.u32", emit=events.append).dreams == 0
    assert [event.code for event in events if isinstance(event, Note)].count("dreams-none") == 1


def test_raw_ids_are_dreamt_of_as_text(model: Path, tmp_path: Path) -> None:
    ids = Tokenizer(model).encode(FACTS, add_special_tokens=False)
    (tmp_path / "raw.u32").write_bytes(np.array(ids, "<u4").tobytes())
    assert prepare(model, tmp_path / "raw.u32", out=tmp_path / "out.u32").dreams > 5


def test_rows_are_counted_without_dreams(model: Path, text: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "who", "answer": "me"}\n', encoding="utf-8")
    result = prepare(model, text, rows, out=tmp_path / "out.u32")
    assert (result.rows, result.texts, result.examples) == (2, 1, 1) and result.dreams > 5


def test_a_large_model_answers_fewer_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson_facts, "ANSWER", 100)
    monkeypatch.setattr(chat_writer.psutil, "virtual_memory", lambda: SimpleNamespace(total=32 * 2**30))

    def info(hidden: int, layers: int) -> Any:
        return SimpleNamespace(n_layers=layers, hidden_size=hidden, intermediate_size=3 * hidden)

    assert lesson_facts._count(info(576, 30)) == len(questions()[0])
    assert 1 < lesson_facts._count(info(4096, 32)) < len(questions()[0])
    assert lesson_facts._count(info(65536, 80)) == 0 == lesson_facts._count(None)
