"""Whose a work folder is: job.json in it says what was begun there, and nothing else goes on with it. A job is a
dataclass here, no more."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from bitconverter.format.atomic import write_json
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock


def claim(work_dir: Path, job: object) -> None:
    """A work folder belongs to one job; going on with other parameters is refused."""
    path = work_dir / "job.json"
    try:
        if not path.exists():
            work_dir.mkdir(parents=True, exist_ok=True)
            write_json(path, _identity(job))
            return
        taken = other_work(work_dir, job)
    except OSError as error:
        raise UserError(
            "folder-unwritable",
            f"{work_dir} cannot be written: {error.strerror or error}. Choose another output folder.",
            folder=str(work_dir),
        ) from error
    if taken is not None:
        with contextlib.suppress(OSError):  # one that somebody works in shall not be removed: says so itself
            FolderLock(work_dir).release()
        raise taken


def other_work(work_dir: Path, job: object) -> UserError | None:
    """Why `job` cannot go on in `work_dir`, which holds the work of another one; None if it can, or could begin there.

    Fields that cannot change the result have the metadata {"identity": False} and may differ; those with {"path": True}
    are the same however they are spelt. A version of the program without a field did what its default does. Raises
    OSError.
    """
    path = work_dir / "job.json"
    if not path.exists():
        return None
    now = _with_whole_paths(job, _identity(job))
    there = _read_identity(path)
    if there is not None and there.get("job") == now["job"]:
        # an earlier version may have kept what does not count
        there = _usual(job) | {name: value for name, value in there.items() if name not in _free(job)}
        there = _with_whole_paths(job, there)
    if there == now:
        return None
    fields = {"folder": str(work_dir), "differ": _differences(there, now)}
    holds, changes = f"{work_dir} holds unfinished work", f"(there -> now: {fields['differ']})"
    if there is None:
        return UserError(
            "work-folder-damaged",
            f"{holds} that cannot go on: what it was begun with is damaged (job.json). "
            "Choose another output folder, or remove that folder.",
            **fields,
        )
    if there.keys() != now.keys():
        return UserError(
            "work-folder-version",
            f"{holds} of another version of this program, which cannot go on {changes}. "
            "Choose another output folder, or remove that folder.",
            **fields,
        )
    return UserError(
        "work-folder-taken",
        f"{holds} with other settings {changes}. "
        "Choose another output folder, use the same settings to go on, or remove that folder.",
        **fields,
    )


def _identity(job: object) -> dict[str, Any]:
    names = [f.name for f in _identity_fields(job)]
    return _as_json({"job": type(job).__name__, **{name: getattr(job, name) for name in names}})


def _usual(job: object) -> dict[str, Any]:
    """What fields are by default, of those that have one."""
    fields = [f for f in _identity_fields(job) if f.default is not dataclasses.MISSING]
    return _as_json({f.name: f.default for f in fields})


def _with_whole_paths(job: object, values: dict[str, Any]) -> dict[str, Any]:
    """Paths from here on, where they begin nowhere; an earlier version kept them as they were typed."""
    paths = {f.name for f in _identity_fields(job) if f.metadata.get("path")}

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        return os.path.abspath(value) if isinstance(value, str) else value

    return {name: whole(value) if name in paths else value for name, value in values.items()}


def _free(job: object) -> set[str]:
    """The fields that may differ."""
    assert dataclasses.is_dataclass(job)
    return {f.name for f in dataclasses.fields(job)} - {f.name for f in _identity_fields(job)}


def _identity_fields(job: object) -> list["dataclasses.Field[Any]"]:
    assert dataclasses.is_dataclass(job) and not isinstance(job, type)
    return [f for f in dataclasses.fields(job) if f.metadata.get("identity", True)]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return result


def _read_identity(path: Path) -> dict[str, Any] | None:
    """What a job.json says; None where it is damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _differences(theirs: dict[str, Any] | None, parameters: dict[str, Any]) -> str:
    """What a job.json has differently, in words."""
    if theirs is None:
        return f"job.json damaged -> {parameters['job']}"
    # "-": of a version of the program that has no such setting
    pairs = ((name, theirs.get(name, "-"), parameters.get(name, "-")) for name in {**theirs, **parameters})
    return ", ".join(
        f"{name.replace('_', '-')} {_told(there)} -> {_told(now)}"
        for name, there, now in pairs
        if there != now
    )


def _told(value: Any) -> str:
    return "none" if value is None else str(value)
