"""A training that is broken off anywhere: what was done before the first step, inside a look at what is held back and
inside a look at the general text is not done again, and the result has the same bytes."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import finish, train_job

from bitconverter.engine import Cancel, ModelInfo
from bitconverter.format.journal import Journal
from bitconverter.jobs import evaluate, train_lesson, train_prefix, train_state, train_work
from bitconverter.jobs.job import Context, Event, Finished, Metric, Note, Progress, Stopped, run_job
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_work import run_tokens
from bitconverter.model.block_trainer import BlockTrainer
from bitconverter.store.ran_on import RanOn

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12
PROGRAM = """
import os, signal
from bitconverter.jobs import train_work
from bitconverter.jobs.job import Cancel, Context, Progress, run_job
from bitconverter.jobs.train import TrainJob
train_work.SAVE_SECONDS, train_work.RUN_TOKENS, Context.PROGRESS_INTERVAL = 0.0, 48, 0.0
told = []
def emit(event):
    if isinstance(event, Progress) and event.item == "prefix":
        told.append(event.done)
        print(event.done, flush=True)
        if len(told) == 3:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows any signal is one that kills
run_job({job!r}, emit, Cancel())
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows at a time, each part told and kept at once."""
    monkeypatch.setattr(train_work, "RUN_TOKENS", 48)
    monkeypatch.setattr(train_work, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)


def a_job(model: Path, folder: Path, **changes: Any) -> TrainJob:
    settings: dict[str, Any] = {
        "layers": 1, "steps": 4, "batch": 4, "window": 24, "rate": 0.03, "threads": 2, "forget_limit": 0.0,
    }  # fmt: skip
    return train_job(model, folder, TEXT, **settings | changes)


def stop_when(job: TrainJob, now: Callable[[Event], bool]) -> list[Event]:
    """Run it, and stop it at the first event that now() is true of."""
    cancel, events = Cancel(), []  # type: tuple[Cancel, list[Event]]

    def emit(event: Event) -> None:
        events.append(event)
        if now(event):
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    return events


def prepared(events: list[Event]) -> list[int]:
    """The windows that were there, each time it was told."""
    return [event.done for event in events if isinstance(event, Progress) and event.item == "prefix"]


def notes(events: list[Event], code: str) -> list[dict[str, Any]]:
    return [event.fields for event in events if isinstance(event, Note) and event.code == code]


def in_the_preparation(done: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Progress) and event.item == "prefix" and event.done >= done


# ---- before the first step


def test_stopped_before_the_first_step_nothing_is_made_twice(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = BlockTrainer.batch

    def batch(self: BlockTrainer, tokens: Any, *more: Any) -> Any:
        found = real(self, tokens, *more)
        made.append(len(tokens))
        return found

    monkeypatch.setattr(BlockTrainer, "batch", batch)
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    states: list[bytes] = []

    def look(job: TrainJob, events: list[Event]) -> Callable[[Event], None]:
        def emit(event: Event) -> None:
            events.append(event)
            if isinstance(event, Metric) and event.name == "loss" and event.step == 1:
                states.append((job.work_dir / train_prefix.WHOLE).read_bytes())

        return emit

    assert isinstance(run_job(whole, look(whole, []), Cancel()), Finished)
    once = list(made)
    made.clear()
    before = prepared(stop_when(job, in_the_preparation(5)))
    assert before == [2, 4, 6] and not (job.work_dir / train_prefix.WHOLE).exists()
    events: list[Event] = []
    assert isinstance(run_job(job, look(job, events), Cancel()), Finished)
    assert made == once and len(once) > 6
    assert notes(events, "prefix-goes-on") == [{"windows": 6, "all": sum(once)}]
    assert prepared(events)[0] == 8 and prepared(events)[-1] == sum(once)
    assert not notes(events, "resumed-training") and not notes(events, "prefix-bad")
    assert states[0] == states[1]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes() and not job.work_dir.exists()


def test_killed_before_the_first_step_it_goes_on_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """What is told of is kept, but for the last part."""
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    lives = []
    for _ in range(3):
        child = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(job=job)], capture_output=True, encoding="utf-8",
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert child.returncode != 0 and not child.stderr
        lives.append([int(word) for word in child.stdout.split()])
    assert lives == [[2, 4, 6], [6, 8, 10], [10, 12, 14]]
    events: list[Event] = []
    finish(job, events)
    assert notes(events, "prefix-goes-on")[0]["windows"] == 12
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes() and not job.work_dir.exists()


def turn_a_bit(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 16
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def forge_a_line(path: Path) -> None:
    """With a CRC that holds, of a part that is not there."""
    journal = Journal(path)
    journal.append({"windows": journal.records[-1]["windows"] + 2, "sha256": "0" * 64})
    journal.close()


def odd_line(path: Path) -> None:
    journal = Journal(path)
    journal.append({"windows": "many"})
    journal.close()


@pytest.mark.parametrize(
    ("name", "damage", "left"),
    [
        (train_prefix.PARTIAL, lambda path: turn_a_bit(path, 0.999), 4),
        (train_prefix.PARTIAL, lambda path: turn_a_bit(path, (4096 + 10) / path.stat().st_size), 0),
        (train_prefix.PARTIAL, lambda path: turn_a_bit(path, 0), 0),
        (train_prefix.PARTIAL, cut_off, 4),
        (train_prefix.PARTIAL, Path.unlink, 0),
        (train_prefix.JOURNAL, lambda path: turn_a_bit(path, 0), 0),
        (train_prefix.JOURNAL, lambda path: turn_a_bit(path, 0.99), 4),
        (train_prefix.JOURNAL, Path.unlink, 0),
        (train_prefix.JOURNAL, forge_a_line, 6),
        (train_prefix.JOURNAL, odd_line, 6),
    ],
)
def test_what_is_damaged_is_made_again_and_said(
    model: Path, tmp_path: Path, name: str, damage: Callable[[Path], None], left: int
) -> None:
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_when(job, in_the_preparation(5))
    damage(job.work_dir / name)
    events: list[Event] = []
    finish(job, events)
    assert notes(events, "prefix-bad") == [{"windows": left}]
    assert prepared(events)[0] == left + 2
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes() and not job.work_dir.exists()


@pytest.mark.parametrize("name", [train_prefix.WHOLE, train_prefix.JOURNAL])
def test_damage_in_what_was_whole_is_found_too(model: Path, tmp_path: Path, name: str) -> None:
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_when(job, lambda event: isinstance(event, Metric) and event.name == "loss" and event.step == 2)
    turn_a_bit(job.work_dir / name, 0.6)
    events: list[Event] = []
    finish(job, events)
    (bad,) = notes(events, "prefix-bad")
    assert 0 < bad["windows"] < prepared(events)[-1] and prepared(events)[0] == bad["windows"] + 2
    assert notes(events, "resumed-training") == [{"step": 2}]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_a_line_that_a_kill_cut_off_is_no_damage(model: Path, tmp_path: Path) -> None:
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_when(job, in_the_preparation(5))
    journal, partial = job.work_dir / train_prefix.JOURNAL, job.work_dir / train_prefix.PARTIAL
    journal.write_bytes(journal.read_bytes() + b'{"windows": 8, "sha2')
    partial.write_bytes(partial.read_bytes() + b"half of a part")
    events: list[Event] = []
    finish(job, events)
    assert not notes(events, "prefix-bad") and prepared(events)[0] == 8
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_killed_between_the_last_part_and_its_name(model: Path, tmp_path: Path) -> None:
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_when(job, lambda event: isinstance(event, Metric) and event.name == "validation")
    (job.work_dir / train_prefix.WHOLE).rename(job.work_dir / train_prefix.PARTIAL)
    events: list[Event] = []
    finish(job, events)
    assert not prepared(events) and not notes(events, "prefix-bad")
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_what_is_not_due_is_not_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_work, "SAVE_SECONDS", 1e6)
    job = a_job(model, tmp_path / "a")
    stop_when(job, in_the_preparation(7))
    journal = Journal(job.work_dir / train_prefix.JOURNAL)
    journal.close()
    assert [record.get("windows") for record in journal.records] == [None, 8]  # one mark, when it was stopped


def test_a_run_that_has_not_begun_to_learn_is_not_kept(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path / "a")
    stop_when(job, in_the_preparation(5))
    Path(job.out).write_text("mine", encoding="utf-8")
    last = run_job(job, lambda _: None, Cancel())
    assert last.error.code == "output-exists"  # type: ignore[union-attr]
    assert job.work_dir.exists() and Path(job.out).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("weights", "tokens"),
    [(135_000_000, 1024), (1_200_000_000, 1024), (3_000_000_000, 512), (8_000_000_000, 256)],
)
def test_large_models_take_fewer_windows_at_a_time(
    monkeypatch: pytest.MonkeyPatch, weights: int, tokens: int
) -> None:
    monkeypatch.setattr(train_work, "RUN_TOKENS", 1024)
    values = {field.name: 0 for field in dataclasses.fields(ModelInfo)} | {"linear_weights": weights}
    assert run_tokens(ModelInfo(**values)) == tokens  # type: ignore[arg-type]


# ---- a look at what is held back


def test_a_look_that_was_broken_off_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_lesson, "HELD", 0.5)
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    looks: list[int] = []
    real = BlockTrainer.score
    cancel = Cancel()

    def score(self: BlockTrainer, batch: Any, *more: Any) -> Any:
        found = real(self, batch, *more)
        looks.append(len(batch.lengths))
        if len(looks) == stop_at:
            cancel.request()  # the part that comes next is not made
        return found

    monkeypatch.setattr(BlockTrainer, "score", score)
    stop_at = 0
    result = finish(whole)
    once = list(looks)
    assert len(once) // 5 >= 4  # parts of a look
    looks.clear()
    stop_at = len(once) // 5 + 2
    assert isinstance(run_job(job, lambda _: None, cancel), Stopped)
    saved = train_state.checkpoints(job.work_dir)
    state, _ = train_state.parse(saved.load(saved.steps()[0])[train_state.STATE], result.parameters)  # type: ignore[index]
    assert state.checking is not None and state.checking.tokens > 0 and len(state.checks) == 1
    stop_at = 0
    again = finish(job)
    assert looks == once
    assert dataclasses.replace(again, out="", seconds=0.0) == dataclasses.replace(result, out="", seconds=0.0)
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


@pytest.mark.parametrize("at", [-1, 0, 10**9, np.nan])
def test_sums_of_another_lesson_are_not_gone_on_with(model: Path, tmp_path: Path, at: float) -> None:
    """A whole checkpoint by its hashes, that says what it cannot say."""
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    result = finish(whole)
    stop_when(job, lambda event: isinstance(event, Metric) and event.name == "loss" and event.step == 2)
    saved = train_state.checkpoints(job.work_dir)
    newest = saved.steps()[0]
    files = saved.load(newest)
    assert files is not None
    with np.load(saved.place(newest) / train_state.STATE) as stored:
        arrays = dict(stored)
    assert len(arrays["checks"]) == 2 and newest == 2
    arrays["checking"] = np.array([at, 1.0, 2.0, 3.0, 4.0])
    with open(tmp_path / "state.npz", "wb") as file:
        np.savez(file, **arrays)
    saved.save(newest, {train_state.STATE: (tmp_path / "state.npz").read_bytes()}, best=False)
    events: list[Event] = []
    assert finish(job, events).after == result.after
    assert bool(notes(events, "checkpoint-bad")) == bool(np.isnan(at))
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


# ---- a look at the general text


def test_a_look_at_the_general_text_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitconverter.jobs import taught_model

    whole, job = (a_job(model, tmp_path / name, forget_limit=100.0) for name in ("whole", "parts"))
    seen: list[int] = []
    cancel = Cancel()

    def measure(pair: Any, windows: Any, *more: Any) -> Any:
        seen.append(sum(map(len, windows)))
        if len(seen) == stop_at:
            cancel.request()
        return evaluate.measure(pair, windows, *more)

    monkeypatch.setattr(taught_model, "measure", measure)
    stop_at = 0
    finish(whole)
    once = list(seen)
    assert len(once) >= 6
    seen.clear()
    stop_at = len(once) // 2 + 2  # in the second look
    assert isinstance(run_job(job, lambda _: None, cancel), Stopped)
    kept = json.loads((job.work_dir / "general.json").read_text(encoding="utf-8"))
    assert len(kept["before"]) == len(once) // 2 and len(kept["after"]) == 1
    stop_at = 0
    finish(job)
    assert seen == [
        *once[: len(once) // 2 + 2],
        *once[len(once) // 2 + 1 :],
    ]  # only the one that was broken off
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes() and not job.work_dir.exists()


@pytest.mark.parametrize("damage", ["{", '{"before": [1.0]}', "changed"])
def test_damaged_numbers_are_measured_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from bitconverter.jobs import taught_model

    whole, job = (a_job(model, tmp_path / name, forget_limit=100.0) for name in ("whole", "parts"))
    finish(whole)
    cancel, seen = Cancel(), []  # type: tuple[Cancel, list[int]]

    def measure(*args: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            cancel.request()
        return evaluate.measure(*args)

    monkeypatch.setattr(taught_model, "measure", measure)
    assert isinstance(run_job(job, lambda _: None, cancel), Stopped)
    path = job.work_dir / "general.json"
    text = path.read_text(encoding="utf-8")
    value = json.loads(text)
    value["before"][0] += 1.0
    path.write_text(json.dumps(value) if damage == "changed" else damage, encoding="utf-8")
    finish(job)
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


# ---- where it ran


def test_where_it_runs_is_in_the_state(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path / "a")
    stop_when(job, in_the_preparation(5))
    saved = train_state.checkpoints(job.work_dir)
    files = saved.load(0)
    assert files is not None
    size = int(np.load(saved.place(0) / train_state.STATE)["parameters"].size)
    state, _ = train_state.parse(files[train_state.STATE], size)
    assert state.devices == [RanOn("cpu", all_layers=1, before=0)]
    events: list[Event] = []
    finish(job, events)
    assert not notes(events, "train-device-changed")


def test_a_state_that_tells_of_no_device_is_gone_on_with(model: Path, tmp_path: Path) -> None:
    """As they were written, and pinned, before it was kept in mind."""
    whole, job = a_job(model, tmp_path / "whole"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_when(job, lambda event: isinstance(event, Metric) and event.name == "loss" and event.step == 2)
    saved = train_state.checkpoints(job.work_dir)
    with np.load(saved.place(2) / train_state.STATE) as stored:
        arrays = {name: stored[name] for name in stored.files if name not in ("devices", "checking")}
    with open(tmp_path / "state.npz", "wb") as file:
        np.savez(file, **arrays)
    saved.save(2, {train_state.STATE: (tmp_path / "state.npz").read_bytes()}, best=False)
    events: list[Event] = []
    finish(job, events)
    assert notes(events, "resumed-training") == [{"step": 2}] and not notes(events, "checkpoint-bad")
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_nothing_can_be_kept_of_a_preparation(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path / "a")
    stop_when(job, in_the_preparation(5))
    last = run_job(KeepTrainingJob(job), lambda _: None, Cancel())
    assert last.error.code == "train-nothing-yet" and job.work_dir.exists()  # type: ignore[union-attr]
