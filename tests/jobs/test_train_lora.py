"""Low-rank additions as what learns: by both engines, into a soul that chat takes and merge refuses."""

from pathlib import Path

import numpy as np
import pytest
from learned_additions import TEXT, finish, gradient_is_the_slope, merge_refuses, same_together_and_alone
from reference.converted import write_converted

from bitconverter.engine import Engine, Model, Session, logits_score
from bitconverter.format.soul_file import read_soul
from bitconverter.jobs.job import Cancel, Event, Metric, Stopped, run_job
from bitconverter.jobs.replay import ReplayJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lora_trainer import LoraTrainer
from bitconverter.model.soul import put_on, take_off
from bitconverter.model.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "model"
    write_converted(tiny_model, folder, 2, seed=3)
    return folder


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    folder.mkdir(exist_ok=True)
    (folder / "lesson.txt").write_text(TEXT, encoding="utf-8")
    settings: dict[str, object] = {
        "layers": 2, "steps": 12, "batch": 4, "window": 24, "rate": 0.02, "threads": 2, "adapter": "lora", "rank": 3,
        "targets": ("v", "q", "down"),
    }  # fmt: skip
    return TrainJob(str(model), str(folder / "lesson.txt"), str(folder / "a.soul"), **settings | changes)  # type: ignore[arg-type]


def test_it_learns_and_the_model_with_the_soul_has_learned(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    result = finish(job)
    assert result.after < 0.95 * result.before  # type: ignore[attr-defined]
    soul = read_soul(Path(job.out))
    assert not soul.gains and len(soul.lora) == 2 * 3
    assert {a.shape[0] for a, _ in soul.lora.values()} == {3}
    opened = Model(Engine(2), model)
    tokens = np.array(Tokenizer(model).encode(TEXT, add_special_tokens=False)[:25], np.int32)

    def loss() -> float:
        logits = Session(opened, n_ctx=32, kv="f32").forward(tokens[:-1], all_positions=True)
        assert logits is not None
        return float(logits_score(opened.engine, logits, tokens[1:])[0].mean())

    before = loss()
    put_on(opened, soul)
    assert loss() < 0.95 * before
    take_off(opened, soul)
    assert loss() == before


def test_broken_off_it_ends_in_the_same_bytes(model: Path, tmp_path: Path) -> None:
    whole, job, cancel = make_job(model, tmp_path / "whole"), make_job(model, tmp_path / "parts"), Cancel()
    finish(whole)

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 5:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    finish(make_job(model, tmp_path / "parts", threads=1))
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def test_by_forward_passes_it_replays(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, engine="mezo", rate=0.001)
    finish(job)
    finish(ReplayJob(str(model), job.out + ".steps", str(tmp_path / "again.soul")))
    assert (tmp_path / "again.soul").read_bytes() == Path(job.out).read_bytes()


def test_together_or_one_by_one_the_forward_passes_end_in_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_together_and_alone(
        lambda name, **changes: make_job(model, tmp_path / name, **changes), LoraTrainer, monkeypatch
    )


def test_merge_refuses_it_with_a_reason(model: Path, tmp_path: Path) -> None:
    merge_refuses(model, make_job(model, tmp_path, steps=2), "merge-lora", tmp_path / "merged")


def test_the_gradient_is_the_slope(model: Path) -> None:
    gradient_is_the_slope(
        LoraTrainer(LayerStack(Engine(2), model), 2, 24, rank=4, targets=("k", "o", "up", "down"))
    )
