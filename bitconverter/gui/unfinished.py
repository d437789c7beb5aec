"""Finding a conversion that was stopped: its work folder holds the parameters it was started with."""

import json
import os
from dataclasses import fields

from PySide6.QtCore import QDir, QFile, QStandardPaths

from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.preflight import partial_folder


def unfinished_job(out: str, threads: int) -> ConvertJob | None:
    """The stopped conversion into `out`, ready to go on; None when there is none that can be read.
    `threads` is used unless the work folder fixes it: the result does not depend on it."""
    if not out:
        return None
    path = partial_folder(out) / "job.json"
    if not os.path.isfile(path):
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {field.name for field in fields(ConvertJob)}
    if not isinstance(values, dict) or values.pop("job", None) != ConvertJob.__name__:
        return None
    if not {"source", "out", "planes"} <= set(values) <= known:
        return None
    return ConvertJob(**{"threads": threads, **values})


def discard(out: str) -> bool:
    """Move the work folder of `out` to the trash. False when the system refused."""
    folder = partial_folder(out)
    if not os.path.isfile(folder / "job.json"):
        return False  # not made by a conversion: not ours to remove
    # Qt keeps the trash in the user's data folder and does not make that folder
    QDir().mkpath(QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation))
    return QFile(str(folder)).moveToTrash()
