"""TrainJob: it learns, it says what it does, and broken off anywhere it ends in the same bytes."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import error_of, finish

from bitconverter.engine import Block
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.soul_file import read_soul, weights_hash
from bitconverter.jobs import train_state
from bitconverter.jobs.job import Cancel, Event, Finished, Metric, Note, Progress, Stopped, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.block_trainer import BlockTrainer, Step
from bitconverter.model.layer_stack import LayerStack

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12


@pytest.fixture
def job(model: Path, tmp_path: Path) -> TrainJob:
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    return make_job(model, tmp_path)


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {"layers": 1, "steps": 8, "batch": 4, "window": 24, "rate": 0.03, "threads": 2} | changes
    return TrainJob(str(model), str(folder / "lesson.txt"), str(folder / "魂.soul"), **settings)  # type: ignore[arg-type]


def test_it_learns_and_leaves_a_soul(job: TrainJob, model: Path) -> None:
    events: list[Event] = []
    result = finish(job, events)
    assert result.after < 0.95 * result.before
    soul = read_soul(Path(job.out))
    assert soul.base_name == model.name and soul.base_sha256 == weights_hash(model.glob("*.safetensors"))
    assert sum(len(gain) for gain in soul.gains.values()) == result.parameters
    assert all(".layers.1." in name for name in soul.gains)  # of two layers, the last
    assert any((gain != 1).any() for gain in soul.gains.values())
    assert float(soul.notes["loss_after"]) == result.after
    losses = [event for event in events if isinstance(event, Metric) and event.name == "loss"]
    checks = [event for event in events if isinstance(event, Metric) and event.name == "validation"]
    assert [event.step for event in losses] == list(range(1, 9))
    assert [event.step for event in checks] == list(range(9))
    right = [event for event in events if isinstance(event, Metric) and event.name == "accuracy"]
    assert [event.step for event in right] == list(range(9)) and right[0].value == result.accuracy_before
    assert checks[0].value == result.before and min(c.value for c in checks) == result.after
    assert [e.done for e in events if isinstance(e, Progress) and e.unit == "step"] == list(range(1, 9))
    assert "train-began" in [e.code for e in events if isinstance(e, Note)]
    assert not job.work_dir.exists()


def test_weights_that_an_index_names_are_learned_with(job: TrainJob, model: Path, tmp_path: Path) -> None:
    """As an editor may have saved it: with a byte order mark."""
    indexed, weights = tmp_path / "indexed", "model-00001-of-00001.safetensors"
    shutil.copytree(model, indexed)
    (indexed / "model.safetensors").rename(indexed / weights)
    index = json.dumps({"weight_map": dict.fromkeys(SafetensorsFile(indexed / weights).tensors, weights)})
    (indexed / "model.safetensors.index.json").write_text(index, encoding="utf-8-sig")
    one = finish(job)
    other = finish(dataclasses.replace(job, model=str(indexed), out=str(tmp_path / "other.soul")))
    assert (one.before, one.after) == (other.before, other.after)


def test_examples_are_learned_too(model: Path, tmp_path: Path) -> None:
    rows = [
        f'{{"prompt": "the number {n} is", "answer": " {"odd" if n % 2 else "even"}"}}' for n in range(20)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    job = TrainJob(str(model), str(path), str(tmp_path / "a.soul"), 2, 6, 8, 64, 0.03)
    result = finish(job)
    assert result.after < result.before


def test_a_pack_is_learned_and_its_own_share_is_held_back(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"number {n}", "answer": " odd" if n % 2 else " even"} for n in range(20)]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    pack = tmp_path / "教材.u32"
    prepared = run_job(
        PrepareJob(str(model), (str(tmp_path / "rows.json"),), str(pack), share=0.25),
        lambda _: None,
        Cancel(),
    )
    assert isinstance(prepared, Finished), prepared
    events: list[Event] = []
    result = finish(TrainJob(str(model), str(pack), str(tmp_path / "a.soul"), 2, 6, 8, 256, 0.03), events)
    assert result.after < result.before
    (began,) = [event for event in events if isinstance(event, Note) and event.code == "train-began"]
    assert (began.fields["windows"], began.fields["checks"]) == (15, 5)


def test_labels_are_told_apart(model: Path, tmp_path: Path) -> None:
    """Always the same one: the least that can be learned, also about examples held back."""
    rows = [f'{{"prompt": "the number {n} is", "answer": "o"}}' for n in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    job = TrainJob(str(model), str(path), str(tmp_path / "a.soul"), 2, 6, 8, 64, 0.03, labels=("o", "e"))
    result = finish(job)
    assert result.learned_tokens == 6 * 8 and result.after < result.before < 12
    assert (
        error_of(TrainJob(str(model), str(path), str(tmp_path / "b.soul"), labels=("o",))).code
        == "train-setting"
    )
    assert (
        error_of(TrainJob(str(model), str(path), str(tmp_path / "b.soul"), labels=("odd", "e"))).code
        == "lesson-label"
    )


@pytest.mark.parametrize("stop_at", [1, 3, 7])
def test_cancelled_and_continued_it_ends_in_the_same_bytes(model: Path, tmp_path: Path, stop_at: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(make_job(model, whole))
    job, cancel = make_job(model, parts), Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == stop_at:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    assert job.work_dir.exists()
    events: list[Event] = []
    finish(make_job(model, parts, threads=1), events)  # the number of threads may change
    assert Note("resumed-training", {"step": stop_at}) in events
    assert Path(job.out).read_bytes() == Path(make_job(model, whole).out).read_bytes()
    assert not job.work_dir.exists()


@pytest.mark.parametrize("changes", [{}, {"engine": "mezo"}, {"adapter": "lora", "rank": 2}])
def test_killed_and_started_again_it_ends_in_the_same_bytes(
    model: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    """SIGKILL after a random event, again and again; every step is saved, so that each run goes on a little."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(make_job(model, whole, **changes))
    job = make_job(model, parts, **changes)
    program = (
        "import sys; from bitconverter.jobs import train_work; train_work.SAVE_SECONDS = 0.0\n"
        "from bitconverter.jobs.job import Cancel, run_job; from bitconverter.jobs.train import TrainJob\n"
        f"run_job({job!r}, lambda event: print(event, flush=True), Cancel())"
    )
    for lines in np.random.default_rng(len(changes)).integers(1, 12, 5):
        with subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        ) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
    if job.work_dir.exists():  # else a last run came to its end before it was killed
        finish(job)
    assert Path(job.out).read_bytes() == Path(make_job(model, whole).out).read_bytes()


def test_damaged_checkpoints_are_set_aside_and_the_newest_good_one_is_used(
    job: TrainJob, model: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(make_job(model, whole))
    cancel = Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 6 else None, cancel)
    checkpoints = train_state.checkpoints(job.work_dir)
    newest, second, third = checkpoints.steps()[:3]
    damaged = checkpoints.folder / f"step-{newest:08d}"
    (damaged / train_state.STATE).write_bytes((damaged / train_state.STATE).read_bytes()[:-100])
    (checkpoints.folder / f"step-{second:08d}" / "DONE").unlink()
    events: list[Event] = []
    finish(job, events)
    bad = [
        event.fields["name"] for event in events if isinstance(event, Note) and event.code == "checkpoint-bad"
    ]
    assert bad == [f"step-{newest:08d}.bad", f"step-{second:08d}.bad"]
    assert Note("resumed-training", {"step": third}) in events
    assert Path(job.out).read_bytes() == Path(make_job(model, whole).out).read_bytes()
    assert not job.work_dir.exists()


def test_a_changed_lesson_or_setting_is_noticed(job: TrainJob, model: Path, tmp_path: Path) -> None:
    cancel = Cancel()
    run_job(job, lambda e: cancel.request() if isinstance(e, Metric) and e.step == 2 else None, cancel)
    assert error_of(make_job(model, tmp_path, rate=0.02)).code == "work-folder-taken"
    (tmp_path / "lesson.txt").write_text(TEXT.upper(), encoding="utf-8")
    assert error_of(job).code == "lesson-changed"
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    finish(job)


@pytest.mark.parametrize("engine", ["exact", "mezo"])
def test_what_comes_into_the_learning_layers_is_made_once(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """However many steps there are, the layer before them runs as often."""
    real = LayerStack.block
    made: list[int] = []

    def block(self: LayerStack, layer: int, *args: Any, **more: Any) -> Block:
        made.append(layer)
        return real(self, layer, *args, **more)

    monkeypatch.setattr(LayerStack, "block", block)
    counts, there = [], []
    for steps in (2, 8):
        made.clear()
        own = dataclasses.replace(job, steps=steps, engine=engine, out=job.out.replace("魂", f"魂{steps}"))
        file = own.work_dir / "prefix.f32"

        def look(event: Event, file: Path = file) -> None:
            if isinstance(event, Metric) and event.name == "loss":
                there.append(file.is_file())

        last = run_job(own, look, Cancel())
        assert isinstance(last, Finished)
        counts.append(made.count(0))
    assert counts[0] == counts[1] > 0 and there and all(there)


def test_a_jump_of_the_loss_goes_back_to_the_best(
    job: TrainJob, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Step] = BlockTrainer.step
    calls = 0

    def step(self: BlockTrainer, *args: object) -> Step:
        nonlocal calls
        calls += 1
        good = real(self, *args)
        return Step(np.nan, good.tokens, good.gradient) if calls in (3, 5) else good

    monkeypatch.setattr(BlockTrainer, "step", step)
    events: list[Event] = []
    result = finish(job, events)
    slower = [
        event.fields["step"] for event in events if isinstance(event, Note) and event.code == "train-slower"
    ]
    assert slower == [2, 4] and result.after < result.before
    Path(job.out).unlink()
    monkeypatch.setattr(BlockTrainer, "step", lambda self, *a: Step(np.inf, 1, np.zeros(self.size)))
    assert error_of(job).code == "train-diverged"


def test_when_nothing_helps_it_says_so(model: Path, tmp_path: Path) -> None:
    (tmp_path / "lesson.txt").write_text(TEXT, encoding="utf-8")
    events: list[Event] = []
    result = finish(make_job(model, tmp_path, rate=0.0), events)
    assert result.best_step == 0 and result.after == result.before
    assert Note("train-no-gain") in events


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"steps": 0}, "train-setting"),
        ({"batch": 0}, "train-setting"),
        ({"window": 1}, "train-setting"),
        ({"rate": float("nan")}, "train-setting"),
        ({"rate": -1.0}, "train-setting"),
        ({"decay": 11.0}, "train-setting"),
        ({"seed": -1}, "train-setting"),
        ({"engine": "magic"}, "train-setting"),
        ({"objective": "joy"}, "train-setting"),
        ({"directions": 0}, "train-setting"),
        ({"epsilon": 0.0}, "train-setting"),
        ({"clip": -1.0}, "train-setting"),
        ({"patience": -1}, "train-setting"),
        ({"adapter": "magic"}, "train-setting"),
        ({"rank": 0}, "train-setting"),
        ({"targets": ("q", "x")}, "train-setting"),
        ({"targets": ()}, "train-setting"),
        ({"layers": 9}, "train-layers"),
        ({"threads": -1}, "threads"),
    ],
)
def test_bad_settings_are_named(
    job: TrainJob, model: Path, tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    bad = make_job(model, tmp_path, **changes)
    assert error_of(bad).code == code
    assert not bad.work_dir.exists()  # nothing was begun


def test_what_is_there_is_not_overwritten(job: TrainJob, tiny_model: Path, tmp_path: Path) -> None:
    Path(job.out).write_text("mine", encoding="utf-8")
    assert error_of(job).code == "output-exists"
    assert Path(job.out).read_text(encoding="utf-8") == "mine"
    Path(job.out).unlink()
    assert error_of(make_job(tiny_model, tmp_path)).code == "train-dense"


@pytest.mark.parametrize("above, jumps", [(2.9, False), (3.1, True)])
def test_a_loss_three_nats_above_the_first_one_is_a_jump(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch, above: float, jumps: bool
) -> None:
    real: Callable[..., Step] = BlockTrainer.step
    losses: list[float] = []

    def step(self: BlockTrainer, *args: object) -> Step:
        good = real(self, *args)
        losses.append(good.loss if len(losses) != 4 else losses[0] + above)
        return dataclasses.replace(good, loss=losses[-1])

    monkeypatch.setattr(BlockTrainer, "step", step)
    events: list[Event] = []
    finish(job, events)
    assert [e.fields["step"] for e in events if isinstance(e, Note) and e.code == "train-slower"] == [
        4
    ] * jumps


def test_the_rate_rises_over_no_more_than_half_of_the_steps(job: TrainJob) -> None:
    half = read_after(dataclasses.replace(job, warmup=4, out=job.out.replace("魂", "half")))
    longer = read_after(dataclasses.replace(job, warmup=1000, out=job.out.replace("魂", "longer")))
    none = read_after(dataclasses.replace(job, warmup=0, out=job.out.replace("魂", "none")))
    assert half == longer != none


def read_after(job: TrainJob) -> dict[str, list[float]]:
    """What it has learned."""
    finish(job)
    return {name: gain.tolist() for name, gain in read_soul(Path(job.out)).gains.items()}
