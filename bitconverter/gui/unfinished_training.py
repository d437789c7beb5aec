"""The training that was not finished, remembered in the settings: closing the window or a crash does not forget it."""

import dataclasses
import json
import os
from typing import Any

from bitconverter.jobs.job_fields import job_of
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.settings import Settings, storable

KEY = "last_training"
# beside the fields of the job
INPUTS, MEND, FACTS, PAUSED = "material", "material_mend", "material_facts", "paused"


def remember(
    settings: Settings, job: TrainJob | None, material: PrepareJob | None = None, paused: bool = False
) -> None:
    """`job` is under way, or `paused`; None: nothing is. `material`: what its lesson is made of, until it has a work
    folder."""
    values = {} if job is None else {**dataclasses.asdict(job), PAUSED: paused}
    if job is not None and material is not None:
        values |= {INPUTS: list(material.inputs), MEND: material.mend, FACTS: material.facts}
    text = json.dumps(values, ensure_ascii=False) if values else ""
    settings[KEY] = text if storable(text) else ""


def recall(settings: Settings) -> TrainJob | None:
    """The training under way, if its work folder is there or its lesson was still in the making; None for anything
    that is not one."""
    values = _values(settings)
    job = _job_from(values)
    if job is None or not (is_work_folder(str(job.work_dir)) or recall_material(settings)):
        return None
    return job


def recall_material(settings: Settings) -> PrepareJob | None:
    """What makes the lesson of a training that has not begun to learn."""
    values = _values(settings)
    job = _job_from(values)
    if job is None or os.path.exists(job.work_dir) or os.path.exists(job.out):
        return None
    inputs, mend = values.get(INPUTS), values.get(MEND)
    if not inputs or not isinstance(inputs, list) or not all(isinstance(path, str) for path in inputs):
        return None
    return PrepareJob(
        job.model, tuple(inputs), job.lesson, window=job.window, mend=mend is True,
        facts=values.get(FACTS) is True, threads=job.threads,
    )  # fmt: skip


def recall_paused(settings: Settings) -> bool:
    """Whether the training under way had been paused; else the program ended while it was at work."""
    values = _values(settings)
    return isinstance(values, dict) and values.get(PAUSED) is True


def _values(settings: Settings) -> Any:
    try:
        return json.loads(settings[KEY]) if settings[KEY] else None
    except (ValueError, RecursionError):
        return None


def is_work_folder(folder: str) -> bool:
    """Whether `folder` was made by a training: nothing else is ever removed."""
    return folder.endswith(".soul.partial") and os.path.isfile(os.path.join(folder, "job.json"))


def _job_from(values: Any) -> TrainJob | None:
    if not isinstance(values, dict):
        return None
    beside = (INPUTS, MEND, FACTS, PAUSED)
    return job_of(TrainJob, {key: value for key, value in values.items() if key not in beside})
