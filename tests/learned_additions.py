"""What trainings of low-rank additions and of whole added matrices are tested for alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import error_of, finish

from bitconverter.engine import Engine, Model, Session, logits_score
from bitconverter.format.soul_file import Soul
from bitconverter.jobs.job import Cancel, Event, Metric, Stopped, run_job
from bitconverter.jobs.merge import MergeJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.block_trainer import BlockTrainer
from bitconverter.model.soul import put_on, take_off
from bitconverter.model.tokenizer import Tokenizer

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12


def the_model_has_learned(model: Path, soul: Soul) -> None:
    """With the soul on, it is better at the text; off again, it is as it was."""
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


def broken_off_is_whole(make: Callable[..., TrainJob]) -> None:
    """Broken off and gone on with, it ends in the same bytes. `make`: a job from a name and changed settings."""
    whole, job, cancel = make("whole"), make("parts"), Cancel()
    finish(whole)

    def emit(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 5:
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    finish(make("parts", threads=1))
    assert Path(job.out).read_bytes() == Path(whole.out).read_bytes()


def same_together_and_alone(
    make: Callable[..., TrainJob], trainer: type[BlockTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make`: a job from a name and changed settings."""
    changes: dict[str, object] = {
        "engine": "mezo", "rate": 0.001, "epsilon": 0.01, "directions": 3, "forget_limit": 0.0,
    }  # fmt: skip
    together, alone = (make(name, **changes) for name in ("together", "alone"))
    finish(together)
    monkeypatch.setattr(trainer, "most_together", lambda *_: 1)
    finish(alone)
    for ending in ("", ".steps"):
        assert Path(alone.out + ending).read_bytes() == Path(together.out + ending).read_bytes()


def merge_refuses(model: Path, job: TrainJob, code: str, out: Path) -> None:
    finish(job)
    error = error_of(MergeJob(str(model), job.out, str(out)))
    assert error.code == code and "--soul" in str(error)
    assert not out.exists()


def gradient_is_the_slope(trainer: BlockTrainer) -> None:
    """Wide enough to step over the rounding of activations to int8."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 100, (60, 25)).astype(np.int32)
    batch = trainer.batch(np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:]))
    start = trainer.start(0) + rng.normal(0, 0.05, trainer.size)
    trainer.set_parameters(start)
    gradient = trainer.step(batch).gradient
    direction, ends = gradient / np.linalg.norm(gradient), []
    for size in (0.1, -0.1):
        trainer.set_parameters(start + size * direction)
        score = trainer.score(batch)
        ends.append(score.loss / score.tokens)
    assert (ends[0] - ends[1]) / 0.2 == pytest.approx(np.linalg.norm(gradient), rel=0.05)
