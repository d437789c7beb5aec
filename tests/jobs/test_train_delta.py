"""Whole matrices added to the MLP as what learns: by both engines, into a soul that chat takes and merge refuses."""

from pathlib import Path

import pytest
from learned_additions import (
    TEXT,
    broken_off_is_whole,
    gradient_is_the_slope,
    merge_refuses,
    same_together_and_alone,
    the_model_has_learned,
)
from running import finish, train_job

from bitconverter.engine import Engine
from bitconverter.format.soul_file import read_soul
from bitconverter.jobs.replay import ReplayJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.delta_trainer import DELTA_PLANES, DeltaTrainer
from bitconverter.model.layer_stack import LayerStack


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings: dict[str, object] = {
        "layers": 2, "steps": 12, "batch": 4, "window": 24, "rate": 0.02, "threads": 2, "adapter": "delta",
    }  # fmt: skip
    return train_job(model, folder, TEXT, **settings | changes)


def test_it_learns_and_the_model_with_the_soul_has_learned(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    result = finish(job)
    assert result.after < 0.95 * result.before
    soul = read_soul(Path(job.out))
    assert not soul.gains and not soul.lora and len(soul.delta) == 2 * 3
    assert {len(planes) for planes, _ in soul.delta.values()} == {DELTA_PLANES}
    assert all(".mlp." in name for name in soul.delta) and soul.on_processor
    the_model_has_learned(model, soul)


def test_broken_off_it_ends_in_the_same_bytes(model: Path, tmp_path: Path) -> None:
    broken_off_is_whole(lambda name, **changes: make_job(model, tmp_path / name, **changes))


def test_by_forward_passes_it_replays(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, engine="mezo", rate=0.001, epsilon=0.01, steps=40)
    result = finish(job)
    assert result.after < result.before and result.best_step > 0
    finish(ReplayJob(str(model), job.out + ".steps", str(tmp_path / "again.soul")))
    assert (tmp_path / "again.soul").read_bytes() == Path(job.out).read_bytes()


def test_together_or_one_by_one_the_forward_passes_end_in_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_together_and_alone(
        lambda name, **changes: make_job(model, tmp_path / name, **changes), DeltaTrainer, monkeypatch
    )


def test_merge_refuses_it_with_a_reason(model: Path, tmp_path: Path) -> None:
    merge_refuses(model, make_job(model, tmp_path, steps=2), "merge-delta", tmp_path / "merged")


def test_the_gradient_is_the_slope(model: Path) -> None:
    gradient_is_the_slope(DeltaTrainer(LayerStack(Engine(2), model), 2, 24))
