"""What a training would take, found out by trying; and a training that is ended early and kept."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from running import finish

from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import read_soul
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.job import Cancel, Event, Failed, Metric, Progress, Stopped, run_job
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_checks import checks_of


def jobs(model: Path, tmp_path: Path, rows: int = 40, **changes: object) -> tuple[PrepareJob, TrainJob]:
    path = tmp_path / "rows.jsonl"
    lines = [
        json.dumps({"prompt": f"number {k}", "answer": " odd" if k % 2 else " even"}) for k in range(rows)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    prepare = PrepareJob(str(model), (str(path),), window=64)
    settings = {"layers": 1, "steps": 8, "batch": 4, "window": 64, "rate": 0.03, "threads": 2} | changes
    return prepare, TrainJob(str(model), str(tmp_path / "rows.u32"), str(tmp_path / "a.soul"), **settings)  # type: ignore[arg-type]


def test_an_estimate_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    prepare, train = jobs(model, tmp_path)
    found = finish(EstimateTrainingJob(prepare, train))
    assert isinstance(found, TrainingEstimate)
    assert (found.windows, found.batch, found.layers) == (36, 4, 1)
    assert found.useful == 20 * 36 // 4 and found.before > 0 < found.step
    assert not list(place.iterdir()) and not list(tmp_path.glob("*.soul*"))


def test_more_layers_than_there_are_become_all_of_them(model: Path, tmp_path: Path) -> None:
    found = finish(EstimateTrainingJob(*jobs(model, tmp_path, layers=6)))
    assert isinstance(found, TrainingEstimate) and found.layers == 2


def test_steps_of_a_time() -> None:
    estimate = TrainingEstimate(
        before=10.0, step=2.0, windows=100, batch=10, useful=200, layers=6, memory=1, free=2
    )
    assert estimate.steps_in(110.0) == 50 and estimate.seconds(50) == 110.0
    assert estimate.steps_in(10**6) == 200  # no more than is useful
    assert estimate.steps_in(1.0) == 10
    looked = replace(estimate, check=1.0, general=20.0)
    assert looked.seconds(50) == 140.0 and looked.steps_in(140.0) == 50
    assert looked.seconds(15) == 10 + 30 + 15 + 20 and looked.seconds(3) == 10 + 6 + 3 + 20


@pytest.mark.parametrize("steps", [1, 3, 9, 10, 15, 29, 50, 203])
def test_the_checks_that_are_counted_are_those_that_are_made(model: Path, tmp_path: Path, steps: int) -> None:
    prepare, train = jobs(model, tmp_path, steps=steps, batch=1, forget_limit=0.0)
    finish(PrepareJob(prepare.model, prepare.inputs, train.lesson, window=64))
    events: list[Event] = []
    finish(train, events)
    checks = [event for event in events if isinstance(event, Metric) and event.name == "validation"]
    assert len(checks) == 1 + checks_of(steps)


def test_the_general_text_is_part_of_the_time(model: Path, tmp_path: Path) -> None:
    prepare, train = jobs(model, tmp_path)
    found = finish(EstimateTrainingJob(prepare, train))
    assert isinstance(found, TrainingEstimate) and found.general > 0 < found.check
    assert found.seconds(8) == pytest.approx(found.before + 8 * (found.step + found.check) + found.general)
    found = finish(EstimateTrainingJob(prepare, replace(train, forget_limit=0.0)))
    assert isinstance(found, TrainingEstimate) and found.general == 0


def test_a_training_of_its_own_is_tried_with_the_batch_that_it_has(model: Path, tmp_path: Path) -> None:
    prepare, train = jobs(model, tmp_path, rows=6, batch=16)
    finish(PrepareJob(prepare.model, prepare.inputs, train.lesson, window=64))
    alone, formed = finish(EstimateTrainingJob(None, train)), finish(EstimateTrainingJob(prepare, train))
    assert isinstance(alone, TrainingEstimate) and isinstance(formed, TrainingEstimate)
    assert alone.windows == formed.windows == formed.batch == 5 and alone.batch == 16


@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_training_that_was_stopped_is_kept_as_it_is(model: Path, tmp_path: Path, stop_at: int) -> None:
    prepare, train = jobs(model, tmp_path)
    finish(PrepareJob(prepare.model, prepare.inputs, train.lesson, window=64))
    cancel, checks = Cancel(), []

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "validation":
            checks.append(event.value)
        if isinstance(event, Metric) and event.name == "loss" and event.step == stop_at:
            cancel.request()

    assert isinstance(run_job(train, emit, cancel), Stopped)
    events: list[Event] = []
    result = finish(KeepTrainingJob(train), events)
    checks += [event.value for event in events if isinstance(event, Metric) and event.name == "validation"]
    assert result.before == checks[0] and result.after == min(checks)
    assert read_soul(Path(train.out)).base_name == model.name
    assert not train.work_dir.exists()


def test_what_has_not_begun_cannot_be_kept(model: Path, tmp_path: Path) -> None:
    prepare, train = jobs(model, tmp_path)
    finish(PrepareJob(prepare.model, prepare.inputs, train.lesson, window=64))
    last = run_job(KeepTrainingJob(train), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "train-nothing-yet" and not train.work_dir.exists()
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.item == "prefix":
            cancel.request()

    assert isinstance(run_job(train, emit, cancel), Stopped)
    last = run_job(KeepTrainingJob(train), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "train-nothing-yet"
