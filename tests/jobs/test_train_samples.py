"""Questions answered in the middle of a training: they are read by people and change nothing."""

import json
from pathlib import Path

import pytest
from model_folders import write_byte_tokenizer
from running import FOX, train_job

from bitconverter.engine import Cancel, Engine
from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import read_pack
from bitconverter.jobs import sample_log, taught_model
from bitconverter.jobs.asking import Asking
from bitconverter.jobs.job import Curves, Event, Failed, Finished, Metric, Note, Questions, Stopped, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.saved_curves import SavedCurvesJob
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.jobs.train import TrainJob
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.tokenizer import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{% if 'boom' in m.content %}{{ raise_exception('not that') }}{% endif %}"
    "<{{ m.role[0] }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


@pytest.fixture(scope="module")
def model(model: Path) -> Path:
    vocab = json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    write_byte_tokenizer(model, vocab)
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return model


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {
        "layers": 2,
        "steps": 8,
        "batch": 4,
        "window": 24,
        "rate": 0.05,
        "forget_limit": 0.0,
    } | changes
    return train_job(model, folder, FOX * 20, **settings)


def saved_samples(job: TrainJob) -> list[tuple[int, str, str]]:
    """Read as the window does."""
    last = run_job(SavedCurvesJob(str(job.work_dir)), lambda _: None, Cancel())
    assert isinstance(last, Finished)
    return last.result.samples


def samples_in(events: list[Event]) -> list[tuple[int, str, str]]:
    notes = [event.fields for event in events if isinstance(event, Note) and event.code == "train-sample"]
    return [(fields["step"], fields["prompt"], fields["answer"]) for fields in notes]


@pytest.mark.parametrize(
    "changes", [{}, {"adapter": "lora", "rank": 2}, {"engine": "mezo"}, {"engine": "mezo", "adapter": "lora"}]
)
def test_asked_or_not_the_result_is_the_same(model: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    silent = make_job(model, tmp_path / "silent", **changes)
    assert isinstance(run_job(silent, lambda _: None, Cancel()), Finished)
    job = make_job(model, tmp_path / "asked", samples=("the quick", "ox j"), **changes)
    events, questions = [], Questions()  # type: tuple[list[Event], Questions]

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Metric) and event.name == "loss" and event.step in (2, 5):
            questions.ask(f"now {event.step}")

    assert isinstance(run_job(job, emit, Cancel(), questions), Finished)
    assert Path(job.out).read_bytes() == Path(silent.out).read_bytes()
    found = samples_in(events)
    along = [(step, prompt) for step, prompt, _ in found if not prompt.startswith("now")]
    assert along == [(step, prompt) for step in range(9) for prompt in ("the quick", "ox j")]
    assert [(step, prompt) for step, prompt, _ in found if prompt.startswith("now")] == [
        (2, "now 2"),
        (5, "now 5"),
    ]
    if not changes:
        assert len({answer for _, prompt, answer in found if prompt == "the quick"}) > 1  # it learns


def test_a_question_is_asked_as_the_rows_of_the_lesson_are(model: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"what is {k}?", "answer": "tea"}) for k in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    stack, tokenizer = LayerStack(Engine(1), model), Tokenizer(model)
    for style, system in (("chat", ""), ("chat", "Be kind."), ("plain", "")):
        pack = str(tmp_path / f"{style}{len(system)}.u32")
        job = PrepareJob(
            str(model), (str(tmp_path / "rows.jsonl"),), pack, window=64, style=style, system=system
        )
        assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
        tokens, mask = read_pack(Path(pack)).entry(0)
        asked = Asking(stack, tokenizer, pack)._prompt("what is 0?")
        assert asked == [int(token) for token in tokens[: list(mask).index(1)]]


def test_what_cannot_be_asked_does_not_end_the_training(model: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"what is {k}?", "answer": "tea"}) for k in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    prepare = PrepareJob(str(model), (str(tmp_path / "rows.jsonl"),), str(tmp_path / "a.u32"), window=64)
    assert isinstance(run_job(prepare, lambda _: None, Cancel()), Finished)
    job = TrainJob(
        str(model), prepare.out, str(tmp_path / "a.soul"), layers=1, steps=2, window=64, forget_limit=0.0,
        samples=("boom", "tea?"),
    )  # fmt: skip
    events: list[Event] = []
    assert isinstance(run_job(job, events.append, Cancel()), Finished)
    failed = [event.fields for event in events if isinstance(event, Note) and event.code == "sample-failed"]
    assert [fields["prompt"] for fields in failed] == ["boom"] * 3 and "not that" in failed[0]["reason"]
    assert [step for step, prompt, _ in samples_in(events) if prompt == "tea?"] == [0, 1, 2]


def test_stopped_at_a_sample_it_goes_on_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    whole = make_job(model, tmp_path / "whole")
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    job, cancel = make_job(model, tmp_path / "parts", samples=("a", "b", "c")), Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Note) and event.code == "train-sample" and event.fields["step"] == 3:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    before = saved_samples(job)
    assert [(step, prompt) for step, prompt, _ in before[:9]] == [(s, p) for s in range(3) for p in "abc"]
    assert before[9][:2] == (3, "a")
    events: list[Event] = []
    other = make_job(model, tmp_path / "parts", samples=("d",))  # the questions may change
    assert isinstance(run_job(other, events.append, Cancel()), Finished)
    assert {prompt for _, prompt, _ in samples_in(events)} == {"d"}
    assert [event.samples for event in events if isinstance(event, Curves)] == [before]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_answers_are_there_after_a_kill_and_once(model: Path, tmp_path: Path) -> None:
    job, cancel = make_job(model, tmp_path, samples=("a",)), Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 4:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    before, path = saved_samples(job), job.work_dir / sample_log.NAME
    assert [step for step, _, _ in before] == [0, 1, 2, 3]
    half = json.dumps([4, "a", "cut off by a kill"])[:-3]  # and lines that nobody wrote
    path.write_text(
        path.read_text() + f'[1, "a", "again"]\n7\n[1, 2, 3]\n[true, "a", "b"]\n{"[" * 99999}\n{half}',
        encoding="utf-8",
    )
    again = [before[0], (1, "a", "again"), *before[2:]]
    assert saved_samples(job) == again
    sample_log.add(job.work_dir, (4, "a", "behind the one that was cut off"))
    assert saved_samples(job) == [*again, (4, "a", "behind the one that was cut off")]
    path.unlink()
    assert saved_samples(job) == []
    assert isinstance(run_job(job, lambda _: None, Cancel()), Finished) and not job.work_dir.exists()


def test_more_questions_than_can_be_read_are_refused(model: Path, tmp_path: Path) -> None:
    last = run_job(make_job(model, tmp_path / "a", samples=("a", "b", "c", "d")), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "train-setting" and last.error.fields["name"] == "samples"


def test_an_answer_that_is_cut_has_whole_characters(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_byte_tokenizer(tmp_path)  # the model has no ids for letters beyond ASCII, and is not asked
    tokenizer = Tokenizer(tmp_path)
    ids = tokenizer.encode("あります。お茶", add_special_tokens=False)
    assert len(ids) == 21  # three tokens a character
    taught = TaughtModel(Engine(1), model, tokenizer)
    for start, stop, shown in (
        (0, 20, "あります。お"),
        (0, 21, "あります。お茶"),
        (2, 20, "あります。お"),
        (0, 2, ""),
    ):
        monkeypatch.setattr(taught_model, "continuation", lambda *_, made=ids[start:stop]: made)
        asked = tokenizer.encode("お茶は?", add_special_tokens=False) + ids[:start]
        assert taught.answer(asked, 99, Cancel()) == shown
