"""A training that leaves the PC to its user: low priority, and no work on battery; the result is the same."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from reference.converted import write_converted

from bitconverter.jobs import eco
from bitconverter.jobs.job import Cancel, Event, Finished, Metric, Note, Stopped, run_job
from bitconverter.jobs.train import TrainJob


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eco") / "モデル"
    write_converted(tiny_model, folder, 2, seed=3)
    return folder


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    folder.mkdir(exist_ok=True)
    (folder / "lesson.txt").write_text("the quick brown fox jumps over the lazy dog. " * 20, encoding="utf-8")
    settings = {
        "layers": 1,
        "steps": 6,
        "batch": 4,
        "window": 24,
        "rate": 0.03,
        "forget_limit": 0.0,
    } | changes
    return TrainJob(str(model), str(folder / "lesson.txt"), str(folder / "a.soul"), **settings)  # type: ignore[arg-type]


def in_a_thread(job: TrainJob, emit: object, cancel: Cancel) -> Event:
    """As the front ends run it: its thread's priority is gone with it."""
    last: list[Event] = []
    thread = threading.Thread(target=lambda: last.append(run_job(job, emit, cancel)))  # type: ignore[arg-type]
    thread.start()
    thread.join()
    return last[0]


@pytest.fixture
def supply(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the power supply says, look for look; the last word stays."""
    said = [True]

    def look() -> SimpleNamespace:
        return SimpleNamespace(power_plugged=said.pop(0) if len(said) > 1 else said[0])

    monkeypatch.setattr(psutil, "sensors_battery", look, raising=False)
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.0)
    return said


def notes_in(events: list[Event]) -> Iterator[str]:
    return (event.code for event in events if isinstance(event, Note) and event.code.startswith("on-"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the priority is the process's")
def test_only_the_jobs_own_threads_give_way(model: Path, tmp_path: Path) -> None:
    seen: set[int] = set()

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss":
            seen.update(os.getpriority(os.PRIO_PROCESS, thread.id) for thread in psutil.Process().threads())
            seen.add(100 + os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    low = max(usual, eco.NICENESS)
    assert isinstance(in_a_thread(make_job(model, tmp_path / "a", eco=True), emit, Cancel()), Finished)
    assert {low, 100 + low} <= seen
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual


def test_it_waits_for_mains_and_ends_in_the_same_bytes(
    model: Path, tmp_path: Path, supply: list[bool]
) -> None:
    whole = make_job(model, tmp_path / "whole")
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    job, events = make_job(model, tmp_path / "eco", eco=True), []  # type: tuple[TrainJob, list[Event]]
    supply[:] = [True, True, False, False, False, True]
    assert isinstance(in_a_thread(job, events.append, Cancel()), Finished)
    assert list(notes_in(events)) == ["on-battery", "on-mains"]
    at = events.index(Note("on-battery"))
    assert not [e for e in events[at : events.index(Note("on-mains"))] if isinstance(e, Metric)]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_stopped_while_it_waits_nothing_is_lost(model: Path, tmp_path: Path, supply: list[bool]) -> None:
    job, cancel, events = make_job(model, tmp_path / "a", eco=True), Cancel(), []  # type: ignore[var-annotated]

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Metric) and event.name == "loss" and event.step == 2:
            supply[:] = [False]
        if event == Note("on-battery"):
            cancel.request()

    assert isinstance(in_a_thread(job, emit, cancel), Stopped)
    supply[:] = [True]
    assert isinstance(in_a_thread(job, events.append, Cancel()), Finished)
    assert Note("resumed-training", {"step": 2}) in events


def test_without_the_wish_the_battery_is_not_looked_at(
    model: Path, tmp_path: Path, supply: list[bool]
) -> None:
    supply[:] = [False]
    events: list[Event] = []
    assert isinstance(run_job(make_job(model, tmp_path / "a"), events.append, Cancel()), Finished)
    assert list(notes_in(events)) == []


@pytest.mark.parametrize("error", [AttributeError("none here"), OSError("no driver"), RuntimeError("odd")])
def test_where_nothing_tells_of_a_battery_there_is_none(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> None:
        raise error

    monkeypatch.setattr(psutil, "sensors_battery", look, raising=False)
    assert not eco.on_battery()
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    assert not eco.on_battery()
