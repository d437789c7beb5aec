"""Material that a training cannot take as it is: what it is, and the command that prepares it."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.model.lesson_shapes import TURNS, Conversation, shape_of
from bitconverter.model.tokenizer import Tokenizer

KINDS = {".json": "JSON that is no row a line", ".csv": "a table", ".tsv": "a table"}
_SHAPES = {
    "openai": "conversations, as OpenAI writes them",
    "sharegpt": "conversations, as ShareGPT writes them",
    "alpaca": "Alpaca's rows",
    "pair": "questions and answers under other names",
}


def refuse_unprepared(path: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> None:
    """Raises UserError("lesson-unprepared") for a folder, a table and .json."""
    kind = "a folder" if Path(path).is_dir() else KINDS.get(Path(path).suffix.lower(), "")
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
        return "conversations" if names & set(TURNS) else ""
    return _SHAPES[shape.shape] if isinstance(shape, Conversation) else "texts"


def unprepared(path: str, kind: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> UserError:
    """For what is to be prepared first."""
    command = prepare_command(path, tokenizer, labels)
    return UserError(
        "lesson-unprepared",
        f"{path} cannot be learned as it is: it holds {kind}. Prepare it first, and train with what comes out: "
        f"{command}",
        path=path, kind=kind, command=command,
    )  # fmt: skip


def prepare_command(path: str, tokenizer: Tokenizer, labels: Mapping[str, int]) -> str:
    """As it can be pasted into a terminal. Labels want answers that follow their questions directly."""
    out = str(Path(path).with_suffix("")) + ".u32"
    words = ["bitconverter", "prepare", str(tokenizer.folder), path, out, *(["--plain"] if labels else [])]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
