"""Trainings whose steps run on a graphics card, beside the same ones on the processor.

Needs a card, or BC_CUDA_DRIVER, the path of an emulated driver.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from card_models import engine_with_card
from running import error_of, finish, train_job

from bitconverter.jobs import train_work
from bitconverter.jobs.job import (
    Cancel,
    Context,
    Event,
    Metric,
    Note,
    Progress,
    Stopped,
    run_job,
)
from bitconverter.jobs.pins import PinJob, going_on
from bitconverter.jobs.replay import ReplayJob
from bitconverter.jobs.runs import RunsJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.block_trainer import BlockTrainer

pytestmark = pytest.mark.gpu

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 4
# Of a step's loss, nats of about 14: the first one is the same model, but for sums in another order. Later ones have
# moved by gradients rounded in other blocks of rows, or, with MeZO, by small differences of losses.
FIRST = 0.002
NEAR = {"exact": 0.02, "mezo": 0.2}


@pytest.fixture(scope="module", autouse=True)
def a_card() -> None:
    engine_with_card()


def a_job(model: Path, folder: Path, **changes: Any) -> TrainJob:
    settings: dict[str, Any] = {
        "layers": 2, "steps": 4, "batch": 3, "window": 16, "threads": 2, "forget_limit": 0.0, "device": "cuda:0",
    }  # fmt: skip
    return train_job(model, folder, TEXT, **settings | changes)


def losses_of(events: list[Event]) -> np.ndarray:
    return np.array([event.value for event in events if isinstance(event, Metric) and event.name == "loss"])


def told(events: list[Event]) -> dict[str, Any]:
    return next(event.fields for event in events if isinstance(event, Note) and event.code == "train-device")


@pytest.mark.parametrize("kind", ["exact", "mezo"])
@pytest.mark.parametrize("adapter", ["gain", "lora"])
def test_steps_on_the_card_are_those_on_the_processor(
    model: Path, tmp_path: Path, kind: str, adapter: str
) -> None:
    changes: dict[str, Any] = {"engine": kind, "adapter": adapter}
    if kind == "mezo":
        changes |= {"directions": 2, "one_sided": True}
    there: list[Event] = []
    here: list[Event] = []
    result = finish(a_job(model, tmp_path / "card", **changes), there)
    expected = finish(a_job(model, tmp_path / "processor", **changes, device="cpu"), here)
    assert told(there)["where"] == "cuda:0" and told(there)["layers"] == 2 and told(there)["bytes"] > 0
    assert told(here)["where"] == "cpu" and told(here)["code"] == "asked-cpu"
    assert result.placed.code == "all-layers" and result.placed.head and not expected.placed.on_device
    difference = abs(losses_of(there) - losses_of(here))
    assert len(difference) == 4 and difference[0] < FIRST and difference.max() < NEAR[kind], difference
    assert abs(result.before - expected.before) < FIRST and abs(result.after - expected.after) < NEAR[kind]


def test_the_same_training_on_the_same_card_ends_in_the_same_bytes(model: Path, tmp_path: Path) -> None:
    first, second = a_job(model, tmp_path / "a"), a_job(model, tmp_path / "b")
    assert finish(first).best_step > 0
    finish(second)
    assert Path(first.out).read_bytes() == Path(second.out).read_bytes()


def test_the_step_log_of_a_card_gives_the_same_soul_again(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path, engine="mezo", rate=0.5)
    assert finish(job).best_step > 0
    again = tmp_path / "again.soul"
    finish(ReplayJob(str(model), job.out + ".steps", str(again)))
    assert again.read_bytes() == Path(job.out).read_bytes()


@pytest.mark.parametrize(("kind", "adapter"), [("exact", "gain"), ("mezo", "gain"), ("mezo", "lora")])
def test_one_layer_there_and_one_here(model: Path, tmp_path: Path, kind: str, adapter: str) -> None:
    changes: dict[str, Any] = {"engine": kind, "adapter": adapter}
    there: list[Event] = []
    here: list[Event] = []
    finish(a_job(model, tmp_path / "card", gpu_layers=1, **changes), there)
    finish(a_job(model, tmp_path / "processor", device="cpu", **changes), here)
    assert (told(there)["layers"], told(there)["all_layers"], told(there)["code"]) == (1, 2, "asked-layers")
    assert abs(losses_of(there) - losses_of(here)).max() < NEAR[kind]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("adapter", ["gain", "lora"])
def test_places_together_or_one_by_one_are_the_same(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, layers: int
) -> None:
    """What MeZO looks at, with layers on the processor before those on the card or without."""
    changes: dict[str, Any] = {"engine": "mezo", "adapter": adapter, "directions": 3, "gpu_layers": layers}
    together, alone = (a_job(model, tmp_path / name, **changes) for name in ("together", "alone"))
    finish(together)
    monkeypatch.setattr(BlockTrainer, "most_together", lambda *_: 1)
    finish(alone)
    for ending in ("", ".steps"):
        assert Path(alone.out + ending).read_bytes() == Path(together.out + ending).read_bytes()


def test_the_layers_before_run_there_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifted = []
    usual = BlockTrainer.put_before_on_card

    def put(self: BlockTrainer, *params: Any) -> Any:
        lifted.append(usual(self, *params))
        return lifted[-1]

    monkeypatch.setattr(BlockTrainer, "put_before_on_card", put)
    there: list[Event] = []
    here: list[Event] = []
    finish(a_job(model, tmp_path / "card", layers=1), there)
    finish(a_job(model, tmp_path / "processor", layers=1, device="cpu"), here)
    assert len(lifted) == 1 and len(lifted[0].blocks) == 1
    assert abs(losses_of(there) - losses_of(here)).max() < NEAR["exact"]


def test_what_only_the_processor_trains_is_said(model: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    delta = {"adapter": "delta", "steps": 1}
    result = finish(a_job(model, tmp_path / "auto", device="auto", **delta), events)
    assert told(events)["where"] == "cpu" and told(events)["code"] == result.placed.code == "delta-needs-cpu"
    error = error_of(a_job(model, tmp_path / "card", **delta))
    assert error.code == "device-delta" and "processor only" in str(error)


def test_too_little_memory_is_a_refusal_with_numbers(model: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    finish(a_job(model, tmp_path / "auto", device="auto", gpu_memory=1 << 20, steps=1), events)
    assert told(events)["where"] == "cpu" and told(events)["code"] == "train-too-small"
    error = error_of(a_job(model, tmp_path / "card", gpu_memory=1 << 20))
    assert error.code == "device-train-small" and "MB" in str(error)


def changes_in(events: list[Event]) -> list[tuple[str, str]]:
    """From where to where, as often as it was told."""
    return [
        (event.fields["before"]["where"], event.fields["now"]["where"])
        for event in events
        if isinstance(event, Note) and event.code == "train-device-changed"
    ]


def stop_at(job: TrainJob, now: Callable[[Event], bool]) -> list[Event]:
    cancel, events = Cancel(), []  # type: tuple[Cancel, list[Event]]

    def emit(event: Event) -> None:
        events.append(event)
        if now(event):
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    return events


def after_step(step: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Metric) and event.name == "loss" and event.step == step


def test_who_goes_on_somewhere_else_is_told_and_it_is_written_down(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path, history=str(tmp_path / "runs.sqlite3"))
    assert not changes_in(stop_at(replace(job, device="cpu"), after_step(1)))
    assert changes_in(stop_at(job, after_step(2))) == [("cpu", "cuda:0")]
    assert not changes_in(stop_at(job, after_step(3)))  # told once
    events: list[Event] = []
    finish(replace(job, device="cpu"), events)
    assert changes_in(events) == [("cuda:0", "cpu")]
    (run,) = finish(RunsJob(job.history))
    assert [device.where for device in run.devices] == ["cpu", "cuda:0", "cpu"]
    assert run.devices[1].layers == run.devices[1].all_layers == 2 and run.devices[1].device


def test_who_prepares_somewhere_else_is_told_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_work, "RUN_TOKENS", 16)
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)
    job = a_job(model, tmp_path, layers=1)
    begun = stop_at(
        job, lambda event: isinstance(event, Progress) and event.item == "prefix" and event.done >= 2
    )
    assert not changes_in(begun)
    events: list[Event] = []
    finish(replace(job, device="cpu"), events)
    assert changes_in(events) == [("cuda:0", "cpu")]
    (change,) = [e.fields for e in events if isinstance(e, Note) and e.code == "train-device-changed"]
    assert (change["before"]["before"], change["now"]["before"]) == (1, 0)


def test_where_nothing_depends_on_it_yet_nothing_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers learn: what comes into the first one is the same everywhere."""
    monkeypatch.setattr(train_work, "RUN_TOKENS", 16)
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)
    whole, job = a_job(model, tmp_path / "whole", device="cpu"), a_job(model, tmp_path / "parts")
    finish(whole)
    stop_at(job, lambda event: isinstance(event, Progress) and event.item == "prefix" and event.done >= 2)
    events: list[Event] = []
    finish(replace(job, device="cpu", history=str(tmp_path / "runs.sqlite3")), events)
    assert not changes_in(events)
    (run,) = finish(RunsJob(str(tmp_path / "runs.sqlite3")))
    assert [device.where for device in run.devices] == ["cpu"]
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_what_begins_at_a_pin_of_another_device_is_told(model: Path, tmp_path: Path) -> None:
    job = a_job(model, tmp_path)
    stop_at(job, after_step(2))
    pinned = finish(PinJob(job.out))
    events: list[Event] = []
    finish(replace(going_on(pinned.path, str(tmp_path / "b.soul")), device="cpu"), events)
    assert changes_in(events) == [("cuda:0", "cpu")]
