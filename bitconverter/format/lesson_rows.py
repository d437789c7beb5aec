"""The rows of a lesson file: .jsonl, .json, .csv, .tsv, and texts, which are one row each."""

import ast
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.format.text_file import Decoded

TEXTS = (".txt", ".md", ".markdown")
TABLES = (".csv", ".tsv")
KINDS = (*TEXTS, ".jsonl", ".json", *TABLES)
MOST_CELL = 50_000_000  # characters; the library's own limit is 131,072
MOST_LITERAL = 1_000_000  # characters of a line that is read as Python
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One row: where it begins, what it says (a text, or names and values), its text as it stands in the file, the
    codes of what was put right in it, and its place in a list, from 1: programs write a whole list into one line. 0
    where it stands in none."""

    line: int
    value: Any
    source: str
    mended: tuple[str, ...] = ()
    place: int = 0


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read at all."""

    line: int
    problem: RowProblem
    source: str
    place: int = 0


def read_rows(path: Path, found: Decoded, mend: bool) -> Iterator[Row | BadRow]:
    """Every row of a file of one of KINDS, in order. A row with damaged letters is bad."""
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    suffix = path.suffix.lower()
    if suffix in TEXTS:
        rows = _document(text)
    elif suffix in TABLES:
        rows = _table(text, "\t" if suffix == ".tsv" else "")
    else:
        rows = _json(text, mend)
    for row in rows:
        if found.damaged and "�" in row.source:
            line = row.line + row.source[: row.source.index("�")].count("\n")
            problem = RowProblem("damaged-letters", line=line, encoding=found.encoding)
            yield BadRow(line, problem, row.source, row.place)
        else:
            yield row


def _document(text: str) -> Iterator[Row | BadRow]:
    yield Row(1, text, text) if text.strip() else BadRow(1, RowProblem("empty-file", line=1), text)


# ---- JSON


def _json(text: str, mend: bool) -> Iterator[Row | BadRow]:
    """An object a line, or one value for the whole file: the file's own form counts, not its name."""
    start = text[:1000].lstrip()[:1]
    if start == "[":
        yield from _array(text, text.index("["))
    elif start == "{" and (whole := _one_object(text)) is not None:
        key = _list_of_rows(whole)
        if key is None:
            yield Row(_line_at(text, text.index("{")), whole, text.strip())
        else:
            place = re.search(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:\s*\[", text)
            yield from _array(text, place.end() - 1 if place else text.index("["))
    else:
        yield from _json_lines(text, mend)


def _one_object(text: str) -> dict[str, Any] | None:
    """The object that a file of more than one line is, None if it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _list_of_rows(whole: dict[str, Any]) -> str | None:
    """The key of {"data": [{...}, ...]}. A conversation is such an object too, but one row."""
    keys = [k for k, v in whole.items() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)]
    others = [k for k in keys if k.lower() not in ("messages", "conversations", "conversation", "history")]
    return others[0] if len(others) == 1 else None


def _array(text: str, start: int) -> Iterator[Row | BadRow]:
    decoder, at, seen = json.JSONDecoder(), start + 1, _Lines(text)
    for place in itertools.count(1):
        at = _skip(text, at)
        if at >= len(text) or text[at] == "]":
            return
        line = seen.line(at)
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            where = seen.line(min(getattr(error, "pos", at), len(text)))
            problem = RowProblem("rest-unreadable", line=where, why=_why(error))
            yield BadRow(where, problem, text[at : at + 2000], place)
            return
        yield replace(_checked(line, value, text[at:end]), place=place)
        at = _skip(text, end)
        if at < len(text) and text[at] == ",":
            at += 1
        elif at >= len(text) or text[at] != "]":
            where = seen.line(min(at, len(text)))
            problem = RowProblem("rest-unreadable", line=where, why="a comma or ] is missing")
            yield BadRow(where, problem, text[at : at + 2000], place + 1)
            return


class _Lines:
    """Line numbers of growing places, each part of the text counted once."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def line(self, place: int) -> int:
        if place < self._at:
            return _line_at(self._text, place)
        self._line += self._text.count("\n", self._at, place)
        self._at = place
        return self._line


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\n":
        at += 1
    return at


def _line_at(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _json_lines(text: str, mend: bool) -> Iterator[Row | BadRow]:
    # not splitlines(): a JSON text may hold U+2028, which is no end of a line there
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        mending = Mending(mend)
        try:
            value = _line_value(line.strip(), number, mending)
        except RowProblem as problem:
            yield BadRow(number, problem, line)
            continue
        yield _checked(number, value, line, tuple(mending.done))


def _line_value(line: str, number: int, mending: Mending) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = RowProblem("not-json", line=number, why=_why(error))
    for code, repaired in (
        ("trailing-comma", _without_comma(line)),
        ("python-dict", _python(line.rstrip(","))),
    ):
        if repaired is not None:
            mending.mend(RowProblem(code, line=number))
            return repaired
    raise problem


def _without_comma(line: str) -> Any:
    if not line.endswith(","):
        return None
    try:
        return json.loads(line[:-1])
    except (ValueError, RecursionError):
        return None


def _python(line: str) -> Any:
    """A dictionary of plain values in Python's spelling; nothing is run."""
    if len(line) > MOST_LITERAL or not line.startswith("{"):
        return None
    try:
        value = ast.literal_eval(line)
        return json.loads(json.dumps(value)) if isinstance(value, dict) else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _checked(line: int, value: Any, source: str, mended: tuple[str, ...] = ()) -> Row | BadRow:
    if not isinstance(value, dict):
        return BadRow(line, RowProblem("not-object", line=line, found=kind_name(value)), source)
    return Row(line, value, source, mended)


def kind_name(value: Any) -> str:
    """A JSON value's kind, for sentences."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {value}"
    names: dict[type, str] = {list: "a list", dict: "an object", str: "a text"}
    return names.get(type(value), type(value).__name__)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return "too many brackets" if isinstance(error, RecursionError) else str(error)[:200]


# ---- tables


def _table(text: str, delimiter: str) -> Iterator[Row | BadRow]:
    """Rows of a table whose first line names its columns."""
    csv.field_size_limit(MOST_CELL)
    lines = text.split("\n")
    delimiter = delimiter or max(DELIMITERS, key=lines[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            source = "\n".join(lines[line - 1 : reader.line_num])
            yield BadRow(line, RowProblem("csv-broken", line=line, why=str(error)[:200]), source)
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        source = "\n".join(lines[line - 1 : reader.line_num])
        if names is None:
            names = [cell.strip() for cell in cells]
        elif len(cells) != len(names):
            problem = RowProblem("csv-columns", line=line, found=len(cells), expected=len(names))
            yield BadRow(line, problem, source)
        else:
            yield Row(line, dict(zip(names, cells, strict=True)), source)
