"""The queue of conversions on disk, so that closing the window or a crash does not forget it."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import write_json
from bitconverter.jobs.convert import ConvertJob

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
        job = job_from(value.get("job")) if isinstance(value, dict) else None
        if job is not None and value.get("state") in STATES:
            found.append((job, str(value["state"])))
    return found


def job_from(values: Any) -> ConvertJob | None:
    """A ConvertJob from its fields as JSON has them; None when they are not its fields."""
    fields = {field.name: field for field in dataclasses.fields(ConvertJob)}
    if not isinstance(values, dict) or not {"source", "out"} <= set(values) <= set(fields):
        return None
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    for key, value in kept.items():
        usual = fields[key].default
        if isinstance(usual, str | int | tuple) and type(value) is not type(usual):
            return None
        kind: Any = fields[key].type  # such as int | None
        whole = isinstance(value, int) and isinstance(0.0, kind)  # for a float, JSON's 3 is as good as 3.0
        if usual is None and not (isinstance(value, kind) or whole):
            return None
    if not isinstance(kept["source"], str) or not isinstance(kept["out"], str):
        return None
    return ConvertJob(**kept)
