"""What trainings of low-rank additions and of whole added matrices are tested for alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Cancel, Failed, Finished, Job, run_job
from bitconverter.jobs.merge import MergeJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.block_trainer import BlockTrainer

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12


def finish(job: Job) -> object:
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return last.result


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
    last = run_job(MergeJob(str(model), job.out, str(out)), lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == code and "--soul" in str(last.error)
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
