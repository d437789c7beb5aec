"""Finding a conversion that was stopped: its work folder holds the parameters it was started with, and it goes on only
with the same ones."""

import json
import os
from typing import Any

from bitconverter.gui.messages import tr
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job_fields import job_of
from bitconverter.jobs.preflight import partial_folder
from bitconverter.jobs.work_owner import other_work


def unfinished_job(out: str, threads: int) -> ConvertJob | None:
    """The stopped conversion into `out`, ready to go on; None when there is none that can.
    `threads` is used unless the work folder fixes it: the result does not depend on it."""
    job = job_of(ConvertJob, {"threads": threads, **(_begun_with(out) or {}), "out": out})
    # begun by an earlier version in a folder that nothing tells
    if job is None or not all(map(os.path.isabs, (job.source, *job.calibration))):
        return None
    try:
        return None if other_work(job.work_dir, job) else job
    except OSError:
        return None


def why_not_resumed(out: str) -> str:
    """Why the stopped conversion into `out` cannot go on, in the language in use; "" where it can, or where none is."""
    if not out or not is_ours(str(partial_folder(out))) or unfinished_job(out, 0) is not None:
        return ""
    return tr("unfinished-damaged" if _begun_with(out) is None else "unfinished-version")


def _begun_with(out: str) -> dict[str, Any] | None:
    """The fields of the conversion into `out` as its work folder has them; None where it has none to be read."""
    path = partial_folder(out) / "job.json" if out else None
    if path is None or not os.path.isfile(path):
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.pop("job", None) != ConvertJob.__name__:
        return None
    return values


def is_ours(folder: str) -> bool:
    """Whether `folder` was made by a conversion: nothing else is ever removed."""
    return folder.endswith(".partial") and os.path.isfile(os.path.join(folder, "job.json"))
