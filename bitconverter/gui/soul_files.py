"""The files beside a soul: what bears its name, and the material that the window made for its training."""

import os
from collections.abc import Sequence
from pathlib import Path

from bitconverter.jobs.pinned import PINNED, pins_of
from bitconverter.jobs.prepare_inputs import RAW, REJECTED
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_result import log_path
from bitconverter.jobs.train_state import ASIDE


def made_for(job: TrainJob) -> tuple[str, ...]:
    """The pack of `job` and the rows that are not in it, where the window made them for this training alone."""
    own = job.out.removesuffix(".soul")
    return (own + RAW, own + REJECTED) if job.lesson == own + RAW else ()


def without_pins(soul: str, made: Sequence[str]) -> list[str]:
    """Those of `made` that are there and can go with `soul`: what is pinned of its training needs them all."""
    return [] if pins_of(soul).steps() else [path for path in made if os.path.exists(path)]


def with_log(soul: str) -> list[str]:
    """The soul, and its step log if it has one."""
    log = str(log_path(soul.removesuffix(ASIDE)))
    return [soul, log] if os.path.exists(log) else [soul]


def rename_soul(soul: str, new: str) -> None:
    """The soul with its step log and its pinned states, or nothing at all. Raises OSError."""
    pairs = [(path, new + path.removeprefix(soul)) for path in [*with_log(soul), soul + PINNED]]
    pairs = [(old, path) for old, path in pairs if os.path.exists(old)]
    for _, path in pairs:
        if os.path.exists(path):
            raise FileExistsError(17, "", path)
    done: list[tuple[str, str]] = []
    try:
        for old, path in pairs:
            os.rename(old, path)
            done.append((old, path))
    except OSError:
        for old, path in done:
            os.rename(path, old)
        raise


def remove(paths: Sequence[str]) -> None:
    """For good: files of a training that came to nothing."""
    for path in paths:
        Path(path).unlink(missing_ok=True)
