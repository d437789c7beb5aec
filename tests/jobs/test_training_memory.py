"""The memory of a training is told before it, and what is too much is refused with numbers."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from reference.converted import write_converted
from reference.model import ReferenceModel
from running import FOX, train_job
from safetensors.numpy import save_file

from bitconverter.engine import Engine, Model
from bitconverter.format.errors import UserError
from bitconverter.jobs import training_memory
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Metric, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.training_memory import KEPT_MOST, KEPT_SHARE, Load, room_to_keep, training_bytes
from bitconverter.model.layer_stack import LayerStack

WIDE = 16384


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {"layers": 2, "steps": 2, "batch": 256, "window": 60, "threads": 2} | changes
    return train_job(model, folder, FOX * 400, **settings)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free, total=2**40))


def test_too_much_is_refused_before_anything_is_computed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 20_000_000)
    job, events = make_job(model, tmp_path), []  # type: tuple[TrainJob, list[Event]]
    last = run_job(job, events.append, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError), last
    error = last.error
    assert error.code == "train-memory" and error.fields["needed"] > error.fields["free"] == 20_000_000
    assert f"{error.fields['needed'] / 1e6:.0f} MB" in str(error) and "20 MB are free" in str(error)
    assert events == [last] and not job.work_dir.exists()
    with_free(monkeypatch, error.fields["needed"])
    assert isinstance(run_job(job, events.append, Cancel()), Finished)
    told = [event.value for event in events if isinstance(event, Metric) and event.name == "memory"]
    assert told == [error.fields["needed"]]


def test_the_probe_tells_it_of_the_whole_lesson(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(monkeypatch, 10**12)
    job = make_job(model, tmp_path, batch=4)
    prepare = PrepareJob(str(model), (job.lesson,), window=60)
    last = run_job(EstimateTrainingJob(prepare, job), lambda _: None, Cancel())
    assert isinstance(last, Finished) and isinstance(last.result, TrainingEstimate)
    assert last.result.free == 10**12 and last.result.memory > 30_000_000
    with_free(monkeypatch, last.result.memory - 1)
    last = run_job(EstimateTrainingJob(prepare, job), lambda _: None, Cancel())
    assert (
        isinstance(last, Failed) and isinstance(last.error, UserError) and last.error.code == "train-memory"
    )


@pytest.mark.parametrize(
    "change",
    [{"layers": 3}, {"tokens": 9000}, {"parameters": 10**6}, {"lesson": 10**6}, {"vocabulary": 1000},
     {"engine": "mezo", "replicas": 8}],
)  # fmt: skip
def test_more_work_takes_more_memory(model: Path, change: dict[str, object]) -> None:
    info = Model(Engine(1), model).info
    usual = Load(layers=2, tokens=4000, window=60, parameters=1000, lesson=10_000, vocabulary=100)
    larger = dataclasses.replace(usual, **change)  # type: ignore[arg-type]
    assert training_bytes(info, larger) > training_bytes(info, usual)


def test_an_eighth_of_what_is_free_may_be_kept_in_whole_layers(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Model(Engine(1), model).info
    load = Load(layers=2, tokens=4000, window=60, parameters=1000, lesson=10_000, vocabulary=100)
    block = LayerStack(Engine(1), model).block(0, 60)
    layer = 4 * load.tokens * block.kept_columns
    for free, layers in ((0, 0), (KEPT_SHARE * layer - 1, 0), (KEPT_SHARE * layer, 1), (10**13, 2)):
        with_free(monkeypatch, 5_000_000 + free)
        assert room_to_keep(info, load, 5_000_000) == layers * layer
    many = dataclasses.replace(load, layers=10**6)
    assert KEPT_MOST - layer < room_to_keep(info, many, 0) <= KEPT_MOST


def test_what_is_kept_changes_the_time_but_not_the_soul(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    souls: list[bytes] = []
    told: list[float] = []
    for name, free in (("little", 10**8), ("much", 10**12)):
        (tmp_path / name).mkdir()
        with_free(monkeypatch, free)
        job, events = make_job(model, tmp_path / name, adapter="lora", batch=64), list[Event]()
        monkeypatch.setattr(training_memory, "KEPT_MOST", 0 if name == "little" else KEPT_MOST)
        assert isinstance(run_job(job, events.append, Cancel()), Finished)
        souls.append(Path(job.out).read_bytes())
        told += [event.value for event in events if isinstance(event, Metric) and event.name == "memory"]
    assert told[0] < told[1]
    assert souls[0] == souls[1]


PROGRAM = """
import psutil, threading, time
from pathlib import Path
from bitconverter.engine import Engine, Model
from bitconverter.jobs.job import Cancel, Metric, run_job
from bitconverter.jobs.hardware import own_memory
from bitconverter.jobs.train import TrainJob
job = {job!r}
Model(Engine(2), Path(job.model))
before, most, over, told = own_memory(), [0], threading.Event(), []
def look():
    while not over.is_set():
        most[0] = max(most[0], own_memory())
        time.sleep(0.001)
watch = threading.Thread(target=look)
watch.start()
run_job(job, lambda e: told.append(e.value) if isinstance(e, Metric) and e.name == "memory" else None, Cancel())
over.set()
watch.join()
print(most[0] - before, round(told[0]))
"""


@pytest.fixture(scope="module")
def wide_model(model: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three million weights in the MLP of a layer."""
    source = tmp_path_factory.mktemp("wide") / "source"
    shutil.copytree(tiny_model, source)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["intermediate_size"], hidden = WIDE, config["hidden_size"]
    (source / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors, draw = ReferenceModel(tiny_model).tensors, np.random.default_rng(1)
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    for name in tensors:
        if ".mlp." in name:
            shape = (hidden, WIDE) if "down_proj" in name else (WIDE, hidden)
            tensors[name] = (draw.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
    save_file(tensors, source / "model.safetensors")
    write_converted(source, source.parent / "model", 2, seed=3)
    return source.parent / "model"


def told_and_taken(job: TrainJob) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(job=job)], capture_output=True, encoding="utf-8",
        cwd=Path(__file__).parents[2], check=True,
    )  # fmt: skip
    taken, told = (int(word) for word in done.stdout.split())
    return told, taken


@pytest.mark.parametrize(
    "changes", [{}, {"engine": "mezo"}, {"adapter": "lora", "rank": 64}, {"adapter": "delta"}]
)
def test_what_is_told_is_near_what_is_taken(model: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    told, taken = told_and_taken(make_job(model, tmp_path, **changes))
    assert taken <= told < taken + 256_000_000


def test_many_directions_of_whole_matrices_are_not_there_at_once(wide_model: Path, tmp_path: Path) -> None:
    """Twelve places to look at, of which two are together."""
    told, taken = told_and_taken(
        make_job(
            wide_model,
            tmp_path,
            layers=1,
            batch=4,
            engine="mezo",
            adapter="delta",
            directions=6,
            forget_limit=0.0,
        )
    )
    assert taken <= told < taken + 256_000_000
