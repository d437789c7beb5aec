"""The training that was not finished, remembered in the settings: closing the window or a crash does not forget it."""

import dataclasses
import json
import os
from typing import Any

from bitconverter.jobs.train import TrainJob
from bitconverter.settings import Settings, storable

KEY = "last_training"


def remember(settings: Settings, job: TrainJob | None) -> None:
    """`job` is under way; None: nothing is."""
    text = "" if job is None else json.dumps(dataclasses.asdict(job), ensure_ascii=False)
    settings[KEY] = text if storable(text) else ""


def recall(settings: Settings) -> TrainJob | None:
    """The training under way, if its work folder is there; None for anything that is not one."""
    try:
        values = json.loads(settings[KEY]) if settings[KEY] else None
    except (ValueError, RecursionError):
        return None
    job = _job_from(values)
    return job if job is not None and is_work_folder(str(job.work_dir)) else None


def is_work_folder(folder: str) -> bool:
    """Whether `folder` was made by a training: nothing else is ever removed."""
    return folder.endswith(".soul.partial") and os.path.isfile(os.path.join(folder, "job.json"))


def _job_from(values: Any) -> TrainJob | None:
    fields = {field.name: field for field in dataclasses.fields(TrainJob)}
    if not isinstance(values, dict) or not {"model", "lesson", "out"} <= set(values) <= set(fields):
        return None
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    for key, value in kept.items():
        usual = fields[key].default
        wanted = str if usual is dataclasses.MISSING else type(usual)
        if usual is not None and type(value) is not wanted:
            return None
    return TrainJob(**kept)
