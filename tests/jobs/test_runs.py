"""Trainings write themselves down, and two of them are compared."""

from dataclasses import replace
from pathlib import Path

import pytest
from running import FOX, finish, train_job

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.jobs import training_memory
from bitconverter.jobs.job import Failed, Metric, Note, Stopped, run_job
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.runs import DiffRunsJob, RunDiff, RunsJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_run import TrainRun
from bitconverter.store.ran_on import RanOn
from bitconverter.store.run_store import Run, open_runs


def make_job(model: Path, folder: Path, name: str = "a", **changes: object) -> TrainJob:
    settings = {
        "layers": 1, "steps": 4, "batch": 4, "window": 24, "rate": 0.03, "forget_limit": 100.0,
        "history": str(folder / "history" / "runs.sqlite3"),
    } | changes  # fmt: skip
    return train_job(model, folder, FOX * 20, name, **settings)


def runs_of(job: TrainJob) -> list[Run]:
    found = finish(RunsJob(job.history))
    assert isinstance(found, tuple)
    return list(found)


def diff_of(job: TrainJob, first: int, second: int) -> RunDiff:
    found = finish(DiffRunsJob(job.history, first, second))
    assert isinstance(found, RunDiff)
    return found


def test_settings_curves_and_outcome_are_kept(model: Path, tmp_path: Path) -> None:
    job, events = make_job(model, tmp_path), []  # type: tuple[TrainJob, list[Event]]
    result = finish(job, events)
    (run,) = runs_of(job)
    assert (run.outcome, run.soul) == ("done", job.out) and run.settings["rate"] == 0.03
    assert run.settings["clip"] == 1.0 and run.settings["targets"] == ["q", "v"] and "out" not in run.settings
    assert run.numbers["before"] == result.before and run.numbers["after"] == result.after
    assert run.numbers["general_after"] == result.forgetting.after
    assert run.devices == (RanOn("cpu", all_layers=1, before=0),)
    whole = diff_of(job, run.id, run.id).first
    told = {name: [(e.step, e.value) for e in events if isinstance(e, Metric) and e.name == name]
            for name in ("loss", "validation")}  # fmt: skip
    assert list(whole.losses) == told["loss"] and list(whole.checks) == told["validation"]


def test_two_runs_are_compared_by_what_differs(model: Path, tmp_path: Path) -> None:
    first = make_job(model, tmp_path)
    finish(first)
    finish(make_job(model, tmp_path, "b", rate=0.01, steps=6, threads=2))
    newest, oldest = runs_of(first)
    diff = diff_of(first, oldest.id, newest.id)
    assert diff.settings == (("steps", 4, 6), ("rate", 0.03, 0.01))
    numbers = {name: (a, b) for name, a, b in diff.numbers}
    assert numbers["steps"] == (4, 6) and "before" not in numbers  # the same lesson, the same model
    assert numbers["after"] == (oldest.numbers["after"], newest.numbers["after"])
    last = run_job(DiffRunsJob(first.history, 1, 99), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "run-missing"


def test_broken_off_and_continued_it_is_one_run(model: Path, tmp_path: Path) -> None:
    job, cancel = make_job(model, tmp_path), Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    assert [run.outcome for run in runs_of(job)] == ["unfinished"]
    finish(job)
    (run,) = runs_of(job)
    assert run.outcome == "done"
    assert [step for step, _ in diff_of(job, run.id, run.id).first.losses] == [1, 2, 3, 4]


def refused(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, TrainJob]]:
    """(code, training that cannot begin)."""
    (folder / "messages.jsonl").write_text('{"messages": []}', encoding="utf-8")
    (folder / "short.txt").write_text("a", encoding="utf-8")
    monkeypatch.setenv("BC_CUDA_DRIVER", str(folder / "no driver"))
    return [
        ("train-setting", make_job(model, folder, rate=-1.0)),
        ("train-layers", make_job(model, folder, layers=9)),
        ("lesson-unprepared", replace(make_job(model, folder), lesson=str(folder / "messages.jsonl"))),
        ("text-unreadable", replace(make_job(model, folder), lesson=str(folder / "none.txt"))),
        ("lesson-short", replace(make_job(model, folder), lesson=str(folder / "short.txt"))),
        ("no-such-core", make_job(model, folder, cores=(9999,))),
        ("device-none", make_job(model, folder, device="cuda:7")),
    ]


def test_what_was_refused_did_not_run_and_is_not_listed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, job in refused(model, tmp_path, monkeypatch):
        last = run_job(job, lambda _: None, Cancel())
        assert isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == code
        assert runs_of(job) == []
        assert not Path(job.work_dir).exists()


def test_too_little_memory_is_no_run_either(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_memory, "free_bytes", lambda: 1000)
    job = make_job(model, tmp_path)
    last = run_job(job, lambda _: None, Cancel())
    assert (
        isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "train-memory"
    )
    assert runs_of(job) == []


def test_a_training_that_breaks_off_is_listed_and_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    job = make_job(model, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(TrainRun, "_step", broken)
        assert isinstance(run_job(job, lambda _: None, Cancel()), Failed)
    assert [run.outcome for run in runs_of(job)] == ["unfinished"]
    finish(job)
    assert [run.outcome for run in runs_of(job)] == ["done"]


def test_what_was_ended_early_or_set_aside_says_so(model: Path, tmp_path: Path) -> None:
    job, cancel = make_job(model, tmp_path), Cancel()
    last = run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    assert isinstance(last, Stopped)
    finish(KeepTrainingJob(job))
    aside = make_job(model, tmp_path, "b", layers=2, rate=0.2, steps=20, forget_limit=0.2)
    (tmp_path / "lesson.txt").write_text("a" * 800, encoding="utf-8")
    finish(aside)
    assert [run.outcome for run in runs_of(job)] == ["aside", "kept"]
    assert runs_of(job)[0].soul == aside.out + ".aside"


def test_a_list_that_cannot_be_kept_loses_no_training(model: Path, tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file, where a folder must be")
    job, events = make_job(model, tmp_path), []  # type: tuple[TrainJob, list[Event]]
    finish(job, events)
    assert Path(job.out).is_file()
    notes = [event for event in events if isinstance(event, Note) and event.code == "history-unavailable"]
    assert len(notes) == 1 and "cannot be kept" in notes[0].fields["reason"]


def test_one_damaged_byte_in_the_list_loses_no_training(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    path = Path(job.history)
    with open_runs(path) as store:
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[data.index(b"CREATE TABLE run(") + 2] = 0xC1  # SQLite's error text quotes it: no UTF-8
    path.write_bytes(data)
    finish(job)
    assert Path(job.out).is_file() and path.with_name(path.name + ".bad").is_file()
    assert [run.outcome for run in runs_of(job)] == ["done"]
