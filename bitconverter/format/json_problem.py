"""Why a text is no JSON, as a code and a place: the parser's own words are English and say little.

The codes are those of format/row_problem.py's WHYS.
"""

import json
import re
from typing import NamedTuple

# what word processors and Japanese input put where JSON wants "
CURLY = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u300c\u300d\uff02\u00ab\u00bb"
_BY_MESSAGE = (
    ("Expecting property name", "json-name"), ("Expecting ':'", "json-colon"), ("Expecting ','", "json-comma"),
    ("Extra data", "json-extra"), ("Invalid control character", "json-control"), ("Invalid \\", "json-backslash"),
    ("Unterminated string", "json-open-text"), ("Illegal trailing comma", "json-comma-too-many"),
    ("Expecting value", "json-value"),
)  # fmt: skip
_WORD = re.compile(r"[\w.+-]{1,20}")


class JsonProblem(NamedTuple):
    """`code`; `place` in the text, from 0; `found`: what stands there, a word or a letter."""

    code: str
    place: int
    found: str


def json_problem(error: Exception, text: str, start: int = 0) -> JsonProblem:
    """What json's `error` says of `text`, which was read from `start` on."""
    if isinstance(error, RecursionError):
        return JsonProblem("json-deep", start, "")
    if not isinstance(error, json.JSONDecodeError):  # its other ValueError: an endless row of digits
        return JsonProblem("json-digits", start, "")
    place = min(error.pos, len(text))
    code = next((code for begin, code in _BY_MESSAGE if error.msg.startswith(begin)), "json-value")
    here = text[place : place + 1]
    if code in ("json-name", "json-value") and here and here in "}]":
        before = text[:place].rstrip()
        if before.endswith(","):  # newer Pythons say so themselves, and where the comma is
            return JsonProblem("json-comma-too-many", len(before) - 1, ",")
    if code == "json-backslash":
        found = text[place : place + 2]
    else:
        word = _WORD.match(text, place)
        found = word[0] if word else here
    if code not in ("json-open-text", "json-extra", "json-control") and not text[place:].strip():
        return JsonProblem("json-ends", len(text[:place].rstrip()), "")
    if here and here in CURLY and code != "json-extra":
        return JsonProblem("json-curly", place, here)
    return JsonProblem(code, place, found)


def column(text: str, place: int) -> int:
    """Of a place in a text of several lines, from 1."""
    return place - text.rfind("\n", 0, place)
