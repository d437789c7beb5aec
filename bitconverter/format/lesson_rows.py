"""The rows of a lesson file: .jsonl, .json, .csv, .tsv, and texts and documents, which are one row each."""

import ast
import csv
import itertools
import json
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter.format.file_kinds import DOCUMENTS, TABLES, TEXTS
from bitconverter.format.json_problem import JsonProblem, column, json_problem
from bitconverter.format.row_problem import Mending, RowProblem
from bitconverter.format.text_file import Decoded

MOST_CELL = 50_000_000  # characters; the library's own limit is 131,072
MOST_LITERAL = 1_000_000  # characters of a line that is read as Python
MOST_OPENED = 100  # quotation marks that nothing closes: each costs a look at all that follows
DELIMITERS = ",;\t"
CONVERSATIONS = ("messages", "conversations", "conversation", "history")  # keys of lists that are one row
LOOKED_AT = 10_000  # characters that tell the form of a file
MOST_INDENT = 1000  # characters before a row in its line
PYTHONS = ("'", "None", "True", "False")  # where JSON has something else
WHITE = string.whitespace + "\u3000\xa0\ufeff"  # the last one begins a file that was put behind another
_LIST_INSIDE = re.compile(r'"([^"\\]*)"\s*:\s*(\[)\s*\{')
_SEPARATOR = re.compile(r'"?sep=(.)"?')


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
    """A row that cannot be read at all; its problem may stand in a later line than its beginning."""

    line: int
    problem: RowProblem
    source: str
    place: int = 0


def read_rows(path: Path, found: Decoded, mend: bool) -> Iterator[Row | BadRow]:
    """Every row of a file with an ending of file_kinds.LESSONS, in order. A row with damaged letters is bad."""
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    suffix = path.suffix.lower()
    if suffix in (*TEXTS, *DOCUMENTS):
        rows = _document(text)
    elif suffix in TABLES:
        rows = _table(text, suffix == ".tsv")
    else:
        rows = _json(text, mend)
    for row in rows:
        if found.damaged and "�" in row.source:
            line = row.line + row.source[: row.source.index("�")].count("\n")
            problem = RowProblem("damaged-letters", line=line, encoding=found.encoding)
            yield BadRow(line, problem, row.source, row.place)
        elif "\0" in row.source:
            line = row.line + row.source[: row.source.index("\0")].count("\n")
            yield BadRow(line, RowProblem("zero-byte", line=line), row.source, row.place)
        else:
            yield row


def _document(text: str) -> Iterator[Row | BadRow]:
    yield Row(1, text, text) if text.strip() else BadRow(1, RowProblem("empty-file", line=1), text)


# ---- JSON


def _json(text: str, mend: bool) -> Iterator[Row | BadRow]:
    """An object a line, or one value for the whole file: the file's own form counts, not its name."""
    start = _skip(text, 0)
    if text[start : start + 1] == "[" and not _is_line_of_its_own(text[start:]):
        yield from _values(text, start + 1, "]", mend)
    elif text[start : start + 1] == "{" and (whole := _one_object(text)) is not None:
        key = _list_of_rows(whole)
        if key is None:
            yield Row(_line_at(text, start), whole, text.strip())
        else:
            yield from _values(text, _member(text, start, key) + 1, "]", mend, wrapped=True)
    elif text[start : start + 1] == "{" and _over_lines(text):
        begin = _LIST_INSIDE.search(text, start, start + LOOKED_AT)
        if begin is not None and begin[1].lower() not in CONVERSATIONS:
            yield from _values(text, begin.end(2), "]", mend, wrapped=True)
        else:
            yield from _values(text, start, "", mend)
    else:
        yield from _json_lines(text, mend)


def _one_object(text: str) -> dict[str, Any] | None:
    """The object that a text is, None if it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _list_of_rows(whole: dict[str, Any]) -> str | None:
    """The key of {"data": [{...}, ...]}. A conversation is such an object too, but one row."""
    keys = [k for k, v in whole.items() if isinstance(v, list) and any(isinstance(x, dict) for x in v)]
    others = [k for k in keys if k.lower() not in CONVERSATIONS]
    return others[0] if len(others) == 1 else None


def _member(text: str, brace: int, key: str) -> int:
    """Where the value of `key` begins in the object that begins at `brace`, which is sound and has it."""
    decoder, at = json.JSONDecoder(), brace + 1
    while True:
        name, at = decoder.raw_decode(text, _skip(text, at))
        at = _skip(text, _skip(text, at) + 1)
        if name == key:
            return at
        _, at = decoder.raw_decode(text, at)
        at = _skip(text, at) + 1


def _is_line_of_its_own(text: str) -> bool:
    """Whether the list that a file begins with is one line of many, with objects behind it and none inside."""
    first, _, rest = text.partition("\n")
    if len(first) > LOOKED_AT or text[_skip(text, len(first)) :][:1] != "{" or not rest:
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return not any(isinstance(entry, dict) for entry in value)


def _over_lines(text: str) -> bool:
    """Whether the object that a file begins with goes over several lines, as in none of a line each. One damaged line
    does not decide about it."""
    first, _, rest = text.strip().partition("\n")
    if not (first.rstrip().endswith(("{", "[", ":")) or rest.lstrip()[:1] in ('"', "}")):
        return False
    if _one_object(first) is not None:
        return False
    lines = [line.strip() for line in text[:LOOKED_AT].split("\n") if line.strip()]
    whole = sum(line.startswith("{") and line.endswith(("}", "},")) for line in lines)
    inside = _LIST_INSIDE.search(text[:LOOKED_AT])
    return 2 * whole <= len(lines) or (inside is not None and "\n" in text[: inside.end()])


def _values(text: str, at: int, stop: str, mend: bool, wrapped: bool = False) -> Iterator[Row | BadRow]:
    """The values of a list from its first one on, up to `stop`; "" for values without a list around them. `wrapped`:
    what follows the list is something else. Behind a broken one the next that begins its line as that one does, or as
    those before it do, is taken for the one that follows."""
    decoder, seen, comma, place = json.JSONDecoder(), _Lines(text), True, 0
    indent: str | None = None  # of the last object that began its line
    while True:
        place += 1
        at = _skip(text, at)
        if at < len(text) and text[at] == stop and not wrapped and text[_skip(text, at + 1) :][:1] == "[":
            at, comma = _skip(text, _skip(text, at + 1) + 1), True  # two files, one behind the other
        if text[at : at + 1] == stop:
            after = _skip(text, at + 1)
            if stop and not wrapped and after < len(text):
                yield from _behind(text, after, mend)
            return
        begins = _indent(text, at)
        if text[at : at + 1] == "{" and begins is not None:
            indent = begins
        following: int | None = None
        problem: JsonProblem | None
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            problem = json_problem(error, text, at)
        else:
            after = _skip(text, end)
            problem = _unseparated(text, at, value, after, stop)
            apart = "\n" in text[end:after] and text[after : after + 1] != "}"
            if problem is None or (isinstance(value, dict) and (apart or _sibling(text, at, indent) is None)):
                yield replace(
                    _listed(seen.line(at), value, text[at:end], mend, comma or not stop), place=place
                )
                at, comma = after, text[after : after + 1] == ","
                at += comma
                if problem is None:
                    continue
                place += 1
        following = _sibling(text, at, indent)
        yield _rest(text, at, problem, seen, place, following)
        if following is None:
            return
        at, comma = following, True


def _listed(line: int, value: Any, source: str, mend: bool, comma: bool) -> Row | BadRow:
    mending = Mending(mend)
    try:
        if not comma:
            mending.mend(RowProblem("list-comma", line=line))
        return _checked(line, value, source, tuple(mending.done))
    except RowProblem as missing:
        return BadRow(line, missing, source)


def _unseparated(text: str, at: int, value: Any, after: int, stop: str) -> JsonProblem | None:
    """What is wrong between the value at `at` and what stands `after` it."""
    found = text[after : after + 1]
    if found in (",", stop, "{") and (found or not stop):
        return None
    if not found:
        return JsonProblem("json-ends", after, "")
    if found == ":" and isinstance(value, str):
        return JsonProblem("json-brace", at, text[at])
    return JsonProblem("json-list" if stop else "json-extra", after, "")


def _behind(text: str, at: int, mend: bool) -> Iterator[Row | BadRow]:
    """The rows of what stands behind the end of a list: another file that was put there."""
    begin = text.rfind("\n", 0, at) + 1
    lines = text.count("\n", 0, begin)
    for row in _json(" " * (at - begin) + text[at:], mend):
        if isinstance(row, BadRow):
            row.problem.line += lines
        yield replace(row, line=row.line + lines)


def _rest(
    text: str, at: int, problem: JsonProblem, seen: "_Lines", place: int, stop: int | None = None
) -> BadRow:
    """A value that cannot be read, up to `stop`; None: and nothing behind it can."""
    begin = seen.line(min(at, problem.place))
    line = begin + text.count("\n", at, problem.place)
    code = "rest-unreadable" if stop is None else "not-json"
    why = RowProblem(
        code, line=line, why=problem.code, column=column(text, problem.place), letter=problem.found
    )
    return BadRow(begin, why, text[at : at + 2000 if stop is None else stop].rstrip(), place)


def _indent(text: str, at: int) -> str | None:
    """What stands before the value at `at` in its line; None where that is more than blanks."""
    least = max(0, at - MOST_INDENT)  # a list may be one line, of which every value asks
    begin = text.rfind("\n", least, at) + 1
    if begin == 0 and least:
        return None
    before = text[begin:at]
    return None if before.strip() else before


def _sibling(text: str, at: int, indent: str | None) -> int | None:
    """Where the object behind the value at `at` begins: in a line that begins as the value's own, or where its brace
    is missing as the `indent` of those before; None where none does."""
    own = _indent(text, at) if text[at : at + 1] == "{" else None
    begins = own if own is not None else indent
    if begins is None:  # nothing before it shows how rows begin: not further inside than itself
        within = min(at - text.rfind("\n", 0, at) - 1, MOST_INDENT)
        match = re.compile(rf"\n[ \t]{{0,{within}}}\{{").search(text, at)
        return None if match is None else match.end() - 1
    found = text.find(f"\n{begins}{{", at)
    return None if found < 0 else found + 1 + len(begins)


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
    while at < len(text) and text[at] in " \t\n\ufeff":
        at += 1
    return at


def _line_at(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _json_lines(text: str, mend: bool) -> Iterator[Row | BadRow]:
    # not splitlines(): a JSON text may hold U+2028, which is no end of a line there
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(WHITE):
            continue
        mending = Mending(mend)
        try:
            value = _line_value(line, number, mending)
        except RowProblem as problem:
            yield BadRow(number, problem, line)
            continue
        yield _checked(number, value, line, tuple(mending.done))


def _line_value(line: str, number: int, mending: Mending) -> Any:
    inside = line.strip(WHITE)
    try:
        return json.loads(inside)
    except (ValueError, RecursionError) as error:
        why = json_problem(error, inside)
    for code, repaired in (
        ("trailing-comma", _without_comma(inside, why)),
        ("python-dict", _python(inside.rstrip(",")) if why.found in PYTHONS else None),
    ):
        if repaired is not None:
            mending.mend(RowProblem(code, line=number))
            return repaired
    if why.code == "json-extra" and why.found == ":" and inside[0] == '"':
        why = JsonProblem("json-brace", 0, inside[0])
    at = line.index(inside[0]) + why.place + 1
    code = "json-begin" if (why.code, why.place) == ("json-value", 0) else why.code
    raise RowProblem("not-json", line=number, why=code, column=at, letter=why.found)


def _without_comma(line: str, why: JsonProblem) -> Any:
    at = why.place if why.code == "json-comma-too-many" else len(line) - 1
    if line[at : at + 1] != ",":
        return None
    try:
        return json.loads(line[:at] + line[at + 1 :])
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


# ---- tables


def _table(text: str, tabs: bool) -> Iterator[Row | BadRow]:
    """Rows of a table whose first line names its columns."""
    csv.field_size_limit(MOST_CELL)
    lines = text.split("\n")
    names: list[str] | None = None
    for line, cells, source in _cells(lines, *_before_names(lines, tabs)):
        if isinstance(cells, str):
            yield BadRow(line, RowProblem("csv-broken", line=line, why=cells), source)
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
            continue
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()  # some programs fill all rows up to the longest one
        if len(cells) != len(names):
            yield BadRow(
                line, RowProblem("csv-columns", line=line, found=len(cells), expected=len(names)), source
            )
        else:
            yield Row(line, dict(zip(names, cells, strict=True)), source)


def _cells(lines: list[str], begin: int, delimiter: str) -> Iterator[tuple[int, list[str] | str, str]]:
    """(line, cells or a code of WHYS, text) of every row from line `begin` (from 0) on. Behind a quotation mark that
    nothing closes, the line after it is read as the next row."""
    for opened in range(MOST_OPENED + 1):
        rest = (line + "\n" for line in itertools.islice(lines, begin, None))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        while True:
            line = begin + reader.line_num + 1
            try:
                cells: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = _csv_why(error)
            again = cells == "csv-open-quote" and opened < MOST_OPENED
            yield line, cells, "\n".join(lines[line - 1 : line if again else begin + reader.line_num])
            if again:
                begin = line
                break


def _before_names(lines: list[str], tabs: bool) -> tuple[int, str]:
    """The place of the line that names the columns, and what stands between them: Excel may say so in a line of its
    own."""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    said = _SEPARATOR.fullmatch(lines[first].strip(" "))
    if said is not None:
        return first + 1, said[1]
    if tabs and "\t" in lines[first]:
        return first, "\t"
    return first, max(DELIMITERS, key=lines[first].count)


def _csv_why(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "csv-open-quote"
    return "csv-long" if "limit" in str(error) else "csv-behind-quote"
