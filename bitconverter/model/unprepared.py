"""Material that a training cannot take as it is: what it is, and the command that prepares it."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.format.file_kinds import PDF, TABLES, WORD
from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.model.lesson_shapes import TURNS, Conversation, shape_of
from bitconverter.model.tokenizer import Tokenizer

_KINDS = {
    ".json": "it is JSON, and not a row a line",
    **dict.fromkeys(TABLES, "it is a table"),
    PDF: "it is a PDF document",
    WORD: "it is a Word document",
}
_SHAPES = {
    "openai": "it holds conversations, as OpenAI writes them",
    "sharegpt": "it holds conversations, as ShareGPT writes them",
    "alpaca": "it holds Alpaca's rows",
    "pair": "it holds questions and answers under other names",
}


def refuse_unprepared(path: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> None:
    """Raises UserError("lesson-unprepared") for a folder, a table, a PDF or Word document, and .json."""
    place, kind = Path(path), ""
    if place.is_dir():
        kind = "it is a folder"
    elif place.is_file():
        kind = _KINDS.get(place.suffix.lower(), "")
    if kind:
        raise unprepared(path, kind, tokenizer, labels)


def kind_of_row(row: dict[str, Any]) -> str:
    """What a row is that is no {"prompt", "answer"}; "" for nothing that `prepare` would know either."""
    names = {str(name).strip().lower() for name in row}
    if {"prompt", "answer"} <= names:
        return ""
    try:
        shape = shape_of(row, Mending(True))
    except RowProblem:
        return "it holds conversations" if names & set(TURNS) else ""
    return _SHAPES[shape.shape] if isinstance(shape, Conversation) else "it holds texts"


def unprepared(path: str, kind: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> UserError:
    """For what is to be prepared first."""
    command = prepare_command(path, tokenizer, labels)
    return UserError(
        "lesson-unprepared",
        f"{path} cannot be learned as it is: {kind}. Prepare it first, and train with what comes out: "
        f"{command}",
        path=path, kind=kind, command=command,
    )  # fmt: skip


def prepare_command(path: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> str:
    """As it can be pasted into a terminal. Labels want answers that follow their questions directly."""
    stem = str(Path(path).with_suffix(""))
    out = f"{stem}-prepared.u32" if path == f"{stem}.u32" else f"{stem}.u32"
    words = ["bitconverter", "prepare", str(tokenizer.folder), path, out, *(["--plain"] if labels else [])]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
