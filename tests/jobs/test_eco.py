"""A training that leaves the PC to its user: low priority, chosen cores, no work on battery, in the heat or while
somebody is at it; the result is the same."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from running import FOX, train_job

from bitconverter.format.errors import UserError
from bitconverter.jobs import eco, train_work
from bitconverter.jobs.eco import Heat, Manners, Probes
from bitconverter.jobs.job import (
    Cancel,
    Context,
    Event,
    Failed,
    Finished,
    Metric,
    Note,
    Progress,
    Stopped,
    run_job,
)
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.train import TrainJob


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {
        "layers": 1,
        "steps": 6,
        "batch": 4,
        "window": 24,
        "rate": 0.03,
        "forget_limit": 0.0,
    } | changes
    return train_job(model, folder, FOX * 20, **settings)


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


WAITING = ("on-battery", "too-hot", "user-active", "goes-on")


def notes_in(events: list[Event]) -> Iterator[str]:
    return (event.code for event in events if isinstance(event, Note) and event.code in WAITING)


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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the priority is the process's")
def test_who_gives_way_more_already_goes_on_doing_so() -> None:
    seen: list[int] = []

    def work() -> None:
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, 19)
        with eco.low_priority():
            seen.append(os.getpriority(os.PRIO_PROCESS, me))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [19]


def test_it_waits_for_mains_and_ends_in_the_same_bytes(
    model: Path, tmp_path: Path, supply: list[bool]
) -> None:
    whole = make_job(model, tmp_path / "whole")
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    job, events = make_job(model, tmp_path / "eco", eco=True), []  # type: tuple[TrainJob, list[Event]]
    supply[:] = [True, True, False, False, False, True]
    assert isinstance(in_a_thread(job, events.append, Cancel()), Finished)
    assert list(notes_in(events)) == ["on-battery", "goes-on"]
    at = events.index(Note("on-battery"))
    assert not [e for e in events[at : events.index(Note("goes-on"))] if isinstance(e, Metric)]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_it_waits_before_the_first_step_too(
    model: Path, tmp_path: Path, supply: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_work, "RUN_TOKENS", 16)  # so that there are several parts to wait between
    whole = make_job(model, tmp_path / "whole", layers=1)
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    job, events = make_job(model, tmp_path / "eco", eco=True, layers=1), []  # type: tuple[TrainJob, list[Event]]

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.item == "prefix" and event.done == 2:
            supply[:] = [False, False, True]

    assert isinstance(in_a_thread(job, emit, Cancel()), Finished)
    assert list(notes_in(events)) == ["on-battery", "goes-on"]
    made = [k for k, e in enumerate(events) if isinstance(e, Progress) and e.item == "prefix"]
    assert made[0] < events.index(Note("on-battery")) < events.index(Note("goes-on")) < made[-1]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_it_waits_before_and_inside_the_look_at_the_general_text(
    model: Path, tmp_path: Path, supply: list[bool]
) -> None:
    whole = make_job(model, tmp_path / "whole", forget_limit=100.0)
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    job, events = make_job(model, tmp_path / "eco", eco=True, forget_limit=100.0), []  # type: tuple[TrainJob, list[Event]]

    def emit(event: Event) -> None:
        events.append(event)
        last_check = isinstance(event, Metric) and event.name == "accuracy" and event.step == 6
        if last_check or (isinstance(event, Progress) and event.unit == "look" and event.done == 1):
            supply[:] = [False, False, True]

    assert isinstance(in_a_thread(job, emit, Cancel()), Finished)
    assert list(notes_in(events)) == ["on-battery", "goes-on"] * 2
    looks = [k for k, event in enumerate(events) if isinstance(event, Progress) and event.unit == "look"]
    waits = [k for k, event in enumerate(events) if event in (Note("on-battery"), Note("goes-on"))]
    assert waits[0] < waits[1] < looks[0] < looks[1] < waits[2] < waits[3]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_who_ends_it_by_hand_does_not_wait(model: Path, tmp_path: Path, supply: list[bool]) -> None:
    job, cancel = make_job(model, tmp_path / "a", eco=True, forget_limit=100.0), Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    supply[:] = [False]
    events: list[Event] = []
    assert isinstance(run_job(KeepTrainingJob(job), events.append, Cancel()), Finished)
    assert list(notes_in(events)) == [] and Path(job.out).is_file()


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


# ---- when it waits: the policy alone ----


def pc(
    battery: bool = False, degrees: float | None = 50.0, limit: float = 90.0, idle: float | None = 1e9
) -> Probes:
    heat = None if degrees is None else Heat(degrees, limit)
    return Probes(lambda: battery, lambda: heat, lambda: idle)


@pytest.mark.parametrize(
    ("probes", "careful", "away", "code"),
    [
        (pc(), True, 180, ""),
        (pc(battery=True, degrees=99.0, idle=0.0), True, 180, "on-battery"),
        (pc(degrees=90.0, idle=0.0), True, 180, "too-hot"),
        (pc(degrees=89.9), True, 180, ""),
        (pc(degrees=80.0, limit=80.0), True, 0, "too-hot"),
        (pc(idle=179.9), True, 180, "user-active"),
        (pc(idle=180.0), True, 180, ""),
        (pc(battery=True, degrees=99.0, idle=0.0), False, 0, ""),
        (pc(battery=True, degrees=99.0, idle=0.0), False, 180, "user-active"),
        (pc(degrees=None, idle=None), True, 180, ""),
    ],
)
def test_what_makes_it_wait(probes: Probes, careful: bool, away: float, code: str) -> None:
    reason = Manners(careful, away, probes).reason()
    assert (reason.code if reason else "") == code


def test_what_was_hot_must_get_clearly_cooler() -> None:
    degrees = [89.0, 91.0, 89.0, 80.0, 79.9, 89.0, 90.0]
    manners = Manners(True, 0, Probes(lambda: False, lambda: Heat(degrees.pop(0), 90.0), lambda: None))
    assert [manners.reason() is not None for _ in range(7)] == [False, True, True, True, False, False, True]


def test_one_reason_after_the_other_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.0)
    heats, idles = [95.0, 95.0, 50.0, 50.0, 50.0], [0.0, 10.0, 60.0]
    manners = Manners(True, 60, Probes(lambda: False, lambda: Heat(heats.pop(0), 90.0), lambda: idles.pop(0)))
    reason, events = manners.reason(), []  # type: ignore[var-annotated]
    assert reason is not None
    eco.wait_until_free(Context(events.append, Cancel()), manners, reason)
    assert events == [
        Note("too-hot", {"degrees": 95.0, "limit": 90.0, "until": 80.0}),
        Note("user-active", {"minutes": 1.0}),
        Note("goes-on"),
    ]


def test_what_cannot_be_seen_is_said() -> None:
    events: list[Event] = []
    eco.tell_blindness(Context(events.append, Cancel()), Manners(True, 60, pc(degrees=None, idle=None)))
    eco.tell_blindness(Context(events.append, Cancel()), Manners(False, 0, pc(degrees=None, idle=None)))
    eco.tell_blindness(Context(events.append, Cancel()), Manners(True, 60, pc()))
    assert events == [Note("cannot-see-heat"), Note("cannot-see-user")]


# ---- what the PC is like ----


def sensor(current: float | None, high: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(label="", current=current, high=high, critical=None)


@pytest.mark.parametrize(
    ("sensors", "heat"),
    [
        ({}, None),
        ({"nvme": [sensor(95.0)]}, None),
        ({"k10temp": [sensor(71.5)], "nvme": [sensor(95.0)]}, Heat(71.5, 90.0)),
        ({"coretemp": [sensor(70.0, 80.0), sensor(75.0, 80.0)], "acpitz": [sensor(99.0)]}, Heat(75.0, 80.0)),
        ({"coretemp": [sensor(70.0, 100.0)]}, Heat(70.0, 90.0)),
        ({"coretemp": [sensor(70.0, 0.0), sensor(None)]}, Heat(70.0, 90.0)),
        ({"acpitz": [sensor(48.0, 105.0)]}, Heat(48.0, 90.0)),
        ({"coretemp": [sensor(85.0, 100.0), sensor(79.0, 75.0)]}, Heat(79.0, 75.0)),  # this one is too hot
    ],
)
def test_the_heat_is_that_of_the_processor(
    sensors: dict[str, object], heat: Heat | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    assert eco.processor_heat() == heat


def test_where_there_are_no_sensors_there_is_no_heat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert eco.processor_heat() is None


# ---- a real run ----


def test_it_waits_for_the_user_to_leave_and_ends_in_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_job(model, tmp_path / "whole")
    assert isinstance(run_job(whole, lambda _: None, Cancel()), Finished)
    idles = [999.0, 999.0, 999.0, 2.0, 3.0, 999.0]
    monkeypatch.setattr(eco, "LOOK_SECONDS", 0.0)
    probes = Probes(idle=lambda: idles.pop(0) if len(idles) > 1 else idles[0])
    monkeypatch.setattr("bitconverter.jobs.train_work.Probes", lambda: probes)
    job, events = make_job(model, tmp_path / "away", away=10.0), []  # type: tuple[TrainJob, list[Event]]
    assert isinstance(run_job(job, events.append, Cancel()), Finished)
    assert list(notes_in(events)) == ["user-active", "goes-on"]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="there the cores of single threads can be seen")
def test_the_job_stays_on_its_cores(model: Path, tmp_path: Path) -> None:
    usual = os.sched_getaffinity(0)
    core, seen = min(usual), set()  # type: tuple[int, set[frozenset[int]]]

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss":
            seen.add(frozenset(os.sched_getaffinity(0)))

    job = make_job(model, tmp_path / "a", cores=(core,))
    assert isinstance(run_job(job, emit, Cancel()), Finished)
    assert seen == {frozenset({core})} and os.sched_getaffinity(0) == usual
    assert eco.some_cores(0) == eco.some_cores(len(usual)) == ()
    assert eco.some_cores(1) == ((core,) if len(usual) > 1 else ())


def test_a_core_that_is_none_is_named(model: Path, tmp_path: Path) -> None:
    last = run_job(make_job(model, tmp_path / "a", cores=(4095,)), lambda _: None, Cancel())
    assert (
        isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "no-such-core"
    )
