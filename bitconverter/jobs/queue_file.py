"""The queue of conversions on disk, so that closing the window or a crash does not forget it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from bitconverter.format.atomic import write_json
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job_fields import job_of

STATES = ("waiting", "running", "paused")


def save_queue(path: Path, entries: Sequence[tuple[ConvertJob, str]]) -> None:
    """Write the jobs in their order, each with its state (one of STATES). Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [{"state": state, "job": dataclasses.asdict(job)} for job, state in entries])


def load_queue(path: Path) -> list[tuple[ConvertJob, str]]:
    """What save_queue() wrote; entries that cannot be read are left out, and a file that is none gives []."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    found = []
    for value in values if isinstance(values, list) else []:
        job = job_of(ConvertJob, value.get("job")) if isinstance(value, dict) else None
        if job is not None and value.get("state") in STATES:
            found.append((job, str(value["state"])))
    return found
