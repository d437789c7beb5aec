"""Finding a conversion that was stopped: its work folder holds the parameters it was started with."""

import dataclasses
import json
import os

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job_fields import job_of
from bitconverter.jobs.preflight import partial_folder


def unfinished_job(out: str, threads: int) -> ConvertJob | None:
    """The stopped conversion into `out`, ready to go on; None when there is none that can be read.
    `threads` is used unless the work folder fixes it: the result does not depend on it."""
    path = partial_folder(out) / "job.json" if out else None
    if path is None or not os.path.isfile(path):
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.pop("job", None) != ConvertJob.__name__:
        return None
    job = job_of(ConvertJob, {"threads": threads, **values})
    return None if job is None else dataclasses.replace(job, out=out)


def is_ours(folder: str) -> bool:
    """Whether `folder` was made by a conversion: nothing else is ever removed."""
    return folder.endswith(".partial") and os.path.isfile(os.path.join(folder, "job.json"))
