"""What tests do with jobs: run one to its end, to its error or to a step, and make a training of a text."""

from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Job, Metric, Stopped, run_job
from bitconverter.jobs.train import TrainJob

FOX = "the quick brown fox jumps over the lazy dog. "


def finish(job: Job, events: list[Event] | None = None) -> Any:
    """The result; with `events` what the job told goes in there."""
    last = run_job(job, ([] if events is None else events).append, Cancel())
    assert isinstance(last, Finished), last
    return last.result


def error_of(job: Job) -> UserError:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    return last.error


def stop_at(job: TrainJob, step: int) -> None:
    cancel = Cancel()
    last = run_job(
        job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == step else None, cancel
    )
    assert isinstance(last, Stopped)


def train_job(model: Path, folder: Path, text: str, name: str = "魂", **settings: Any) -> TrainJob:
    """In `folder`, which is made, as is the lesson."""
    folder.mkdir(exist_ok=True)
    (folder / "lesson.txt").write_text(text, encoding="utf-8")
    return TrainJob(str(model), str(folder / "lesson.txt"), str(folder / f"{name}.soul"), **settings)
