"""The file of rejected rows beside a pack: one JSON object a line, and never in the place of anybody else's file."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.format.row_problem import REASONS, RowProblem

FIELDS = ("file", "line", "place", "field", "code", "reason", "fix", "row")


def reject_line(path: str, line: int, place: int, problem: RowProblem, source: str) -> bytes:
    """What is written about one row."""
    values = (path, line, place, problem.field, problem.code, problem.reason(), problem.fix(), source)
    record = dict(zip(FIELDS, values, strict=True))
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def check_replaceable(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise UserError("rejects-in-way") unless `path` is free, or holds what an earlier preparation wrote there and is
    none of `inputs`."""
    if not os.path.lexists(path):
        return
    if any(_same(path, entry) for entry in inputs) or not _is_reject_file(path):
        raise UserError(
            "rejects-in-way",
            f"{path} is there already, and the rejected rows would take its place. Choose another name for the pack, "
            "or move that file.",
            path=str(path),
        )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _is_reject_file(path: Path) -> bool:
    """Told by every line: one that somebody added by hand is worth keeping."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return False
    return len(lines) > 1 and lines[-1] == b"" and all(map(_is_reject_line, lines[:-1]))


def _is_reject_line(line: bytes) -> bool:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and tuple(record) == FIELDS and str(record["code"]) in REASONS
