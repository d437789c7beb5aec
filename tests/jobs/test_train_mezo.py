"""Training by forward passes alone: it learns, its step log gives the same soul again, broken off it is the same."""

from dataclasses import replace
from pathlib import Path

import pytest
from reference.converted import write_converted
from running import error_of, finish

from bitconverter.format.soul_file import read_soul
from bitconverter.format.step_log import log_bytes, read_log
from bitconverter.jobs import learners, train_settings
from bitconverter.jobs.job import Cancel, Event, Metric, Note, Stopped, run_job
from bitconverter.jobs.replay import ReplayJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_settings import usual_rate
from bitconverter.model.block_trainer import Score

ROWS = "\n".join(f'{{"prompt": "the number {n} is", "answer": "o"}}' for n in range(40))


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    settings: dict[str, object] = {
        "layers": 2, "steps": 40, "batch": 12, "window": 64, "rate": 0.2, "threads": 2, "labels": ("o", "e"),
        "engine": "mezo", "epsilon": 0.1, "forget_limit": 100.0,
    }  # fmt: skip
    return TrainJob(str(model), str(folder / "rows.jsonl"), str(folder / "a.soul"), **settings | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"directions": 3},
        {"directions": 3, "one_sided": True},
        {"directions": 3, "by_spread": True, "rate": 0.05},
    ],
)
def test_it_learns_and_the_log_gives_the_same_soul(
    model: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    job = make_job(model, tmp_path, **changes)
    events: list[Event] = []
    result = finish(job, events)
    losses = [event.value for event in events if isinstance(event, Metric) and event.name == "loss"]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])
    log = read_log(Path(job.out + ".steps"))
    assert log.slopes.shape == (40, changes.get("directions", 1)) and (log.rates > 0).all()
    again = tmp_path / "again.soul"
    finish(ReplayJob(str(model), job.out + ".steps", str(again)))
    assert again.read_bytes() == Path(job.out).read_bytes()
    assert read_soul(again).notes["engine"] == "mezo"
    assert result.log == job.out + ".steps"


def test_more_right_answers_can_be_the_aim(model: Path, tmp_path: Path) -> None:
    """Accuracy has no gradient; it rises all the same."""
    job = make_job(
        model, tmp_path, objective="accuracy", steps=60, directions=2, rate=0.5, epsilon=0.5, batch=36
    )
    result = finish(job)
    log = read_log(Path(job.out + ".steps"))
    steps = log.slopes * 2 * 0.5 * 36  # differences of whole numbers of rows
    assert abs(steps - steps.round()).max() < 1e-3 and (steps.round() != 0).any()
    assert result.accuracy_after >= result.accuracy_before


@pytest.mark.parametrize("stop_at", [1, 17, 33])
def test_broken_off_it_ends_in_the_same_bytes(model: Path, tmp_path: Path, stop_at: int) -> None:
    whole, job, cancel = make_job(model, tmp_path / "whole"), make_job(model, tmp_path / "parts"), Cancel()
    finish(whole)

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == stop_at:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    events: list[Event] = []
    finish(make_job(model, tmp_path / "parts", threads=1), events)
    assert Note("resumed-training", {"step": stop_at}) in events
    for ending in ("", ".steps"):
        assert Path(job.out + ending).read_bytes() == Path(whole.out + ending).read_bytes()


def test_a_jump_is_in_the_log(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = learners.GainTrainer.replicas, 0

    def replicas(self: learners.GainTrainer, *args: object) -> list[Score]:
        nonlocal calls
        calls += 1
        scores = real(self, *args)  # type: ignore[arg-type]
        return [Score(1e6, s.tokens, s.right, s.windows) for s in scores] if calls in (15, 30) else scores

    monkeypatch.setattr(learners.GainTrainer, "replicas", replicas)
    job, events = make_job(model, tmp_path), []  # type: tuple[TrainJob, list[Event]]
    finish(job, events)
    assert [
        event.fields["step"] for event in events if isinstance(event, Note) and event.code == "train-slower"
    ] == [14, 29]
    log = read_log(Path(job.out + ".steps"))
    assert (log.restored >= 0).nonzero()[0].tolist() == [14, 29] and log.rates[14] == 0
    finish(ReplayJob(str(model), job.out + ".steps", str(tmp_path / "again.soul")))
    assert (tmp_path / "again.soul").read_bytes() == Path(job.out).read_bytes()


def test_replay_is_refused_where_it_makes_no_sense(model: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, steps=4)
    finish(job)
    steps, again = job.out + ".steps", str(tmp_path / "again.soul")
    assert error_of(ReplayJob(str(model), steps + "x", again)).code == "steps-missing"
    assert error_of(ReplayJob(str(model), steps, job.out)).code == "output-exists"
    other = tmp_path / "other"
    write_converted(tiny_model, other, 3, seed=3)
    assert error_of(ReplayJob(str(other), steps, again)).code == "steps-base"
    log = read_log(Path(steps))
    Path(steps).write_bytes(log_bytes(log)[:-40])
    assert error_of(ReplayJob(str(model), steps, again)).code == "steps-broken"
    assert not Path(again).exists()
    assert error_of(make_job(model, tmp_path)).code == "output-exists"  # its soul is there
    Path(job.out).unlink()
    assert error_of(make_job(model, tmp_path)).code == "output-exists"  # its log is there


def test_a_plateau_ends_the_run(model: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    result = finish(make_job(model, tmp_path, rate=0.0, patience=3), events)
    assert Note("train-plateau", {"step": 12, "checks": 3}) in events
    assert result.steps == 12 and result.best_step == 0


def test_the_usual_rate_of_gains_is_smaller_where_the_loss_is_over_all_words() -> None:
    """With 0.1 a lesson of 35 answers forgot more than it learned (two seeds, SmolLM2-135M at 3.25 bits)."""
    job = TrainJob("model", "lesson", "out", engine="mezo")
    assert usual_rate(job) == 0.03 and usual_rate(replace(job, labels=(" yes", " no"))) == 0.1
    assert usual_rate(replace(job, engine="exact")) == 0.01


def test_a_training_with_the_usual_rate_of_before_is_not_gone_on_with_at_another(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(model, tmp_path, rate=None, labels=())
    with monkeypatch.context() as before:
        before.setitem(train_settings.RATES, ("mezo", "gain"), 0.1)
        cancel = Cancel()

        def stop(event: Event) -> None:
            if isinstance(event, Metric) and event.name == "loss":
                cancel.request()

        assert isinstance(run_job(job, stop, cancel), Stopped)
    assert error_of(job).code == "lesson-changed"
    with monkeypatch.context() as before:
        before.setitem(train_settings.RATES, ("mezo", "gain"), 0.1)
        finish(job)
