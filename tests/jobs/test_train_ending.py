"""Whatever lies on the disk when a training is killed at its very end, the next start ends it."""

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import FOX, stop_at, train_job

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.jobs import train_ending, train_state, train_work
from bitconverter.jobs.job import Context, Event, Failed, Finished, Job, Metric, Note, Stopped, run_job
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.runs import RunsJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_lesson import TrainLesson
from bitconverter.jobs.train_result import TrainResult
from bitconverter.jobs.train_run import TrainRun
from bitconverter.model.block_trainer import BlockTrainer

_watchers: list[Callable[[], None]] = []
FILE_EVENTS = ("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "sqlite3.connect")


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watchers and event in FILE_EVENTS:
        watcher = _watchers.pop()  # what it does itself is not looked at
        watcher()
        _watchers.append(watcher)


sys.addaudithook(_hook)  # one that is added stays


def a_job(model: Path, folder: Path, **changes: Any) -> TrainJob:
    settings: dict[str, Any] = {
        "layers": 1, "steps": 6, "batch": 4, "window": 24, "rate": 0.03, "forget_limit": 0.0,
        "history": str(folder / "runs.sqlite3"),
    }  # fmt: skip
    return train_job(model, folder, FOX * 20, **settings | changes)


def outcomes(job: TrainJob) -> list[str]:
    last = run_job(RunsJob(job.history), lambda _: None, Cancel())
    assert isinstance(last, Finished)
    return [run.outcome for run in last.result]


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def states_of_the_end(job: Job, folder: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Copies of the folder: before every change that is made to it behind the last step."""
    copies: list[Path] = []
    seen: list[list[tuple[str, int]]] = []

    def copy() -> None:
        if (now := listing(folder)) not in seen[-1:]:
            seen.append(now)
            copies.append(Path(shutil.copytree(folder, room / str(len(copies)))))

    real = TrainRun.files

    def files(self: TrainRun, *args: Any) -> dict[Path, bytes]:
        found = real(self, *args)
        _watchers.append(copy)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(TrainRun, "files", files)
        try:
            last = run_job(job, lambda _: None, Cancel())
        finally:
            _watchers.clear()
    assert isinstance(last, Finished), last
    return copies


def begin_again(copy: Path, folder: Path, job: Job) -> tuple[Event, list[Event]]:
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    events: list[Event] = []
    return run_job(job, events.append, Cancel()), events


def steps_of(events: list[Event]) -> int:
    return sum(isinstance(event, Metric) and event.name == "loss" for event in events)


@pytest.mark.parametrize("changes", [{}, {"engine": "mezo"}, {"forget_limit": 1e-9}])
def test_killed_at_any_moment_of_its_end_it_ends_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    folder = tmp_path / "a"
    job = a_job(model, folder, **changes)
    copies = states_of_the_end(job, folder, tmp_path / "copies", monkeypatch)
    (outcome,) = outcomes(job)
    written = {path.name: path.read_bytes() for path in folder.glob("魂*") if path.is_file()}
    assert len(copies) > 15 and len(written) == (2 if job.engine == "mezo" else 1)
    finished = 0
    for copy in copies:
        last, events = begin_again(copy, folder, job)
        work = copy / job.work_dir.name
        if isinstance(last, Failed):  # nothing was left to do
            assert isinstance(last.error, UserError) and last.error.code == "output-exists"
            assert not work.exists() or {path.name for path in work.iterdir()} <= {"lock"}
        else:
            assert isinstance(last, Finished), last
            finished += 1
        assert steps_of(events) == 0
        assert not [event for event in events if isinstance(event, Note) and event.code == "checkpoint-bad"]
        assert outcomes(job) == [outcome] and not job.work_dir.exists()
        assert {path.name: path.read_bytes() for path in folder.glob("魂*")} == written
    assert finished > 12


@pytest.mark.parametrize("engine", ["exact", "mezo"])
@pytest.mark.parametrize("again", ["resume", "keep"])
def test_killed_while_it_is_kept_early(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, again: str
) -> None:
    """Resumed, it is what was kept if its soul was there, else it goes on to its last step."""
    folder = tmp_path / "a"
    job = a_job(model, folder, engine=engine)
    stop_at(job, 3)
    copies = states_of_the_end(KeepTrainingJob(job), folder, tmp_path / "copies", monkeypatch)
    kept = Path(job.out).read_bytes()
    ends = []
    for copy in copies:
        if not (copy / job.work_dir.name / "ending.json").exists():
            continue
        there = (copy / Path(job.out).name).exists()
        last, events = begin_again(copy, folder, KeepTrainingJob(job) if again == "keep" else job)
        assert isinstance(last, Finished), last
        more = again == "resume" and not there
        assert steps_of(events) == (3 if more else 0) and last.result.steps == (6 if more else 3)
        assert outcomes(job) == ["done" if more else "kept"] and not job.work_dir.exists()
        assert more or Path(job.out).read_bytes() == kept
        ends.append(there)
    assert True in ends and False in ends


@pytest.mark.parametrize("engine", ["exact", "mezo"])
def test_what_was_learned_since_the_last_check_is_kept(model: Path, tmp_path: Path, engine: str) -> None:
    """The first check behind step 0 would have come after step 10."""
    job = a_job(model, tmp_path / "a", steps=100, engine=engine)
    stop_at(job, 6)
    events: list[Event] = []
    last = run_job(KeepTrainingJob(job), events.append, Cancel())
    assert isinstance(last, Finished), last
    assert (last.result.steps, last.result.best_step) == (6, 6) and last.result.after < last.result.before
    assert Note("train-no-gain") not in events
    assert any((event.name, event.step) == ("validation", 6) for event in events if isinstance(event, Metric))


def test_a_last_state_that_is_worse_is_not_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(model, tmp_path / "a", steps=20)
    stop_at(job, 5)  # checked after step 4
    real = BlockTrainer.score
    monkeypatch.setattr(
        BlockTrainer, "score", lambda *words: dataclasses.replace(found := real(*words), loss=9 * found.loss)
    )
    last = run_job(KeepTrainingJob(job), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    assert (last.result.steps, last.result.best_step) == (5, 4) and last.result.after < last.result.before


def test_killed_in_the_look_at_what_is_to_be_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command ends in the same bytes, and a training that goes on instead in those of one never stopped."""
    whole = a_job(model, tmp_path / "whole", steps=24)
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    ends = {}
    for name in ("kept", "killed", "resumed"):
        job = a_job(model, tmp_path / name, steps=24)
        monkeypatch.setattr(train_work, "RUN_TOKENS", 24)
        monkeypatch.setattr(train_work, "SAVE_SECONDS", 0.0)
        stop_at(job, 5)
        if name != "kept":
            cancel = Cancel()
            real = BlockTrainer.score

            def score(*words: Any, real: Any = real, cancel: Cancel = cancel) -> Any:
                found = real(*words)
                cancel.request()
                return found

            with monkeypatch.context() as patched:
                patched.setattr(BlockTrainer, "score", score)
                assert isinstance(run_job(KeepTrainingJob(job), lambda _: None, cancel), Stopped)
        last = run_job(job if name == "resumed" else KeepTrainingJob(job), lambda _: None, Cancel())
        assert isinstance(last, Finished), last
        ends[name] = Path(job.out).read_bytes()
    assert ends["kept"] == ends["killed"]
    assert ends["resumed"] == Path(whole.out).read_bytes()


def test_an_ending_of_another_training_is_not_believed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    job = a_job(model, folder)
    copies = states_of_the_end(job, folder, tmp_path / "copies", monkeypatch)
    left = [{path.name for path in (copy / job.work_dir.name).glob("*.json")} for copy in copies]
    copy = copies[left.index({"ending.json"})]
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    other = TrainJob(**{**vars(job), "seed": 5})
    last = run_job(other, lambda _: None, Cancel())
    assert (
        isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "output-exists"
    )
    assert not job.work_dir.exists() and outcomes(job) == ["done"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"result": {}}'])
def test_a_damaged_ending_is_none(model: Path, tmp_path: Path, text: bytes) -> None:
    job = a_job(model, tmp_path / "a")
    stop_at(job, 3)
    (job.work_dir / "ending.json").write_bytes(text)
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.steps == 6 and not job.work_dir.exists()


def test_states_are_gone_all_at_once_and_what_is_not_theirs_stays(tmp_path: Path) -> None:
    saved = train_state.checkpoints(tmp_path)
    saved.save(3, {"state.npz": b"x"}, best=True)
    (saved.folder / "mine.txt").write_text("mine")
    train_state.remove(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints", "mine.txt"]


def test_learned_tokens_are_those_of_every_step(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path / "a", steps=23)
    steps: list[int] = []
    real = TrainLesson.places

    def places(self: TrainLesson, step: int) -> Any:
        found = real(self, step)
        steps.append(int((self.targets[found] >= 0).sum()))
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainLesson, "places", places)
        last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished) and last.result.learned_tokens == sum(steps) and len(steps) == 23


def lost_from(step: int) -> Callable[[TrainRun, float], bool]:
    return lambda self, loss: self.state.step >= step


@pytest.mark.parametrize("engine", ["exact", "mezo"])
def test_one_that_diverges_ends_with_its_best_state(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    job = a_job(model, tmp_path / "a", engine=engine, steps=40)
    monkeypatch.setattr(TrainRun, "_lost", lost_from(12))
    events: list[Event] = []
    last = run_job(job, events.append, Cancel())
    assert isinstance(last, Finished), last
    best = last.result.best_step
    assert 0 < best <= 12 and last.result.steps == 17 and last.result.after < last.result.before
    assert Note("train-gave-up", {"step": 16, "best": best}) in events
    assert Path(job.out).exists() and not job.work_dir.exists() and outcomes(job) == ["done"]


def test_one_that_was_given_up_takes_no_step_more(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(model, tmp_path / "a", steps=40)
    monkeypatch.setattr(TrainRun, "_lost", lost_from(12))
    cancel = Cancel()
    last = run_job(
        job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 17 else None, cancel
    )
    events: list[Event] = []
    if isinstance(last, Stopped):
        last = run_job(job, events.append, Cancel())
    assert isinstance(last, Finished) and last.result.steps == 17 and steps_of(events) == 0


def test_one_that_never_got_better_has_failed_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(model, tmp_path / "a", steps=40)
    monkeypatch.setattr(TrainRun, "_lost", lost_from(0))
    last = run_job(job, lambda _: None, Cancel())
    assert (
        isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "train-diverged"
    )
    assert outcomes(job) == ["failed"] and not job.work_dir.exists() and not Path(job.out).exists()


def test_an_ending_that_names_a_file_elsewhere_takes_nothing_back(tmp_path: Path) -> None:
    """Who writes into the work folder must not be able to have other files removed."""
    work, other = tmp_path / "a.soul.partial", tmp_path / "elsewhere" / "precious.txt"
    other.parent.mkdir()
    other.write_bytes(b"precious")
    work.mkdir()
    train_state.checkpoints(work).save(1, {"state.npz": b"x"}, False)
    told: dict[str, Any] = {
        "result": {"out": str(tmp_path / "a.soul"), "forgetting": None, "placed": {}},
        "early": False, "losses": [], "checks": [], "job": "",
        "files": {str(other): hashlib.sha256(b"precious").hexdigest()},
    }  # fmt: skip
    fields = {field.name: 0 for field in dataclasses.fields(TrainResult)}
    told["result"] = {**fields, **told["result"]}
    (work / train_ending.ENDING).write_text(json.dumps(told), encoding="utf-8")
    assert train_ending.ended(work, Context(lambda _: None, Cancel())) is None
    assert other.read_bytes() == b"precious"
