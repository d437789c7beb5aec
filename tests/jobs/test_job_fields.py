"""Only what a job's fields can be becomes a job."""

import dataclasses
import json
from typing import Any

import pytest

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job_fields import job_of
from bitconverter.jobs.train import TrainJob

CONVERT, TRAIN = {"source": "a", "out": "b"}, {"model": "m", "lesson": "l", "out": "o"}


@pytest.mark.parametrize(
    "job",
    [
        ConvertJob("a", "b", bits=3.25, calibration=("x", "y"), calibration_windows=7, preset="tiny"),
        TrainJob("m", "l", "o", labels=("a", "b"), rate=0.5, gpu_layers=3, eco=True),
        TrainJob("m", "l", "o"),
    ],
)
def test_a_job_comes_back_as_it_was_written(job: Any) -> None:
    assert job_of(type(job), json.loads(json.dumps(dataclasses.asdict(job)))) == job


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ConvertJob, {**CONVERT, "polish": True}), (ConvertJob, {**CONVERT, "calibration": "x"}),
        (ConvertJob, {**CONVERT, "planes": None}), (ConvertJob, {**CONVERT, "bits": "3"}),
        (ConvertJob, {"source": "a"}), (ConvertJob, {"source": 1, "out": "b"}), (ConvertJob, {**CONVERT, "more": 1}),
        (ConvertJob, [CONVERT]), (ConvertJob, None), (TrainJob, {**TRAIN, "rate": "fast"}),
        (TrainJob, {**TRAIN, "gpu_layers": 1.5}), (TrainJob, {**TRAIN, "away": 3}), (TrainJob, {**TRAIN, "eco": 1}),
    ],
)  # fmt: skip
def test_anything_else_is_none(kind: type, values: Any) -> None:
    assert job_of(kind, values) is None
