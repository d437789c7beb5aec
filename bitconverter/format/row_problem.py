"""Why a row of a lesson cannot be learned, and what would help: a code with fields, and its English sentences."""

from collections.abc import Mapping
from typing import Any

# code -> (what is wrong, what to do). A code of MENDED is put right by itself when that is asked for.
REASONS: dict[str, tuple[str, str]] = {
    "not-json": ("it is not JSON: {why}", "{help}"),
    "python-dict": (
        "it is not JSON but looks like a Python dictionary",
        "use double quotes around names and texts",
    ),
    "trailing-comma": ("it is JSON but for a comma too many", "remove the comma"),
    "not-object": (
        "it is {found}, not a JSON object",
        "put the fields between braces, with their names",
    ),
    "rest-unreadable": (
        "the JSON is broken here, and nothing behind it is read: {why}",
        "{help}, or write one object a line (.jsonl)",
    ),
    "list-comma": ("no comma stands before it", "put one behind the row before"),
    "csv-broken": ("its quotation marks do not match: {why}", "{help}"),
    "csv-columns": (
        "it has {found} cells, the first line has {expected}",
        "put cells with commas or line ends between quotation marks",
    ),
    "damaged-letters": (
        "some of its bytes are no {encoding}",
        "open the file in an editor, repair this line and save it as UTF-8",
    ),
    "zero-byte": ("it holds a zero byte", "remove it, or save the file as text again"),
    "no-text": ("it is no text that can be read", "save it as UTF-8 text, or take it out of the folder"),
    "packed-file": (
        "it is a {kind} file, whatever its name says",
        "save what is inside as text, or take it out of the folder",
    ),
    "document-empty": (
        "there is no text in it",
        "if its pages are pictures (a scan), let a text recognition program make text of them first",
    ),
    "document-encrypted": ("it is locked with a password", "save a copy without one"),
    "document-broken": ("it cannot be read ({found})", "open it in the program that made it and save it again"),
    "document-long": ("it has more than {found} letters", "divide it into several files"),
    "file-gone": ("it cannot be read", "look whether it is still there and may be read"),
    "unknown-fields": (
        "its fields ({found}) are none that are known",
        "name them prompt and answer, or messages, conversations, instruction and output, or text (a table does that "
        "in its first line)",
    ),
    "field-missing": ("it has no {field}", "add it, or remove the row"),
    "field-empty": ("its {field} is empty", "fill it in, or remove the row"),
    "field-number": ("its {field} is {found}, not a text", "put it between quotation marks"),
    "field-kind": ("its {field} is {found}, not a text", "write it as a text"),
    "not-turns": ("its {field} is {found}, not a list of turns", "write a list of {{role, content}}"),
    "role-unknown": ("{found} in {field} is no role", "use system, user and assistant"),
    "role-tool": (
        "it uses {found} in {field}, and calls of tools cannot be learned yet",
        "remove these turns, or the row",
    ),
    "no-answer": ("nobody answers in it", "add a turn of the assistant, or remove the row"),
    "no-question": (
        "nobody asks in it: it has answers alone",
        "add a turn of the user before the answer, or make the answer a row with text",
    ),
    "begins-with-answer": ("it begins with an answer", "remove what comes before the first question"),
    "ends-with-question": ("its last turn has no answer", "remove the last turn, or answer it"),
    "half-character": ("its {field} holds half a character (a lone surrogate)", "write the text again"),
    "zero-letter": ("its {field} holds a zero character", "remove it"),
    "special-token": (
        "its {field} holds {found}, which has a meaning of its own for this model",
        "remove it: the model's template adds what is needed",
    ),
    "template-refused": ("the model's chat template does not accept it: {why}", "change its turns"),
    "needs-template": (
        "it is a conversation, and this model has no chat template",
        "take a model made for chat, or rows with a prompt and an answer",
    ),
    "too-long": (
        "it has {tokens} tokens, and a window holds {most}",
        "shorten it, divide it into several rows, or let prepare take it with --window {needed}",
    ),
    "too-long-for-model": (
        "it has {tokens} tokens, and this model reads {limit} at most",
        "shorten it, or divide it into several rows",
    ),
    "no-tokens": ("its {field} gives no token", "fill it in, or remove the row"),
    "same-as": ("it is the same as {path}, line {other}", "remove one of them"),
    "same-as-in-list": ("it is the same as row {other} of {path}", "remove one of them"),
    "nothing-learned": ("nothing in it is marked to be learned", "mark its answer in the .mask file"),
    "no-label": ("its {field} {found} is not one of the labels", "answer with one of the labels, or remove the row"),
    "empty-file": ("there is nothing in it", "remove the file"),
}  # fmt: skip
# The fields `why` and `help` of a reason, by a code that stands in its field `why`.
WHYS: dict[str, tuple[str, str]] = {
    "json-value": ("{letter} in column {column} is no value", 'put texts between "'),
    "json-begin": ("it begins with {letter}, not with a brace", "write one JSON object in the line, or remove it"),
    "json-brace": ("the brace that opens it is missing in column {column}", "put it there"),
    "json-name": ("{letter} in column {column} is no name", 'put names between "'),
    "json-colon": ("a colon is missing in column {column}", "put one between the name and its value"),
    "json-comma": (
        "a comma is missing in column {column}",
        'put one between two fields, and write a " inside a text as \\"',
    ),
    "json-comma-too-many": ("the comma in column {column} is one too many", "remove it"),
    "json-extra": ("more stands behind its end in column {column}", "write one JSON object a line"),
    "json-control": ("a text holds a tab or a line end in column {column}", "write it as \\t or \\n"),
    "json-backslash": ("{letter} in column {column} means nothing", "double the backslash"),
    "json-open-text": (
        "the text from column {column} on does not end",
        'put a " behind it, and write line ends inside it as \\n',
    ),
    "json-ends": ("it ends too early", "add what is missing at its end, such as a brace"),
    "json-curly": ('{letter} stands in column {column} where " must', 'write straight quotation marks (")'),
    "json-deep": ("too many brackets stand inside each other", "write it with fewer"),
    "json-digits": ("a number has too many digits", "put it between quotation marks"),
    "json-list": ("a comma or ] is missing in column {column}", "put it there"),
    "csv-behind-quote": (
        "more stands behind one that ends a cell",
        'double each " inside a cell that begins with one',
    ),
    "csv-open-quote": ("one is opened and not closed", 'close it, or double each " inside the cell'),
    "csv-long": ("a cell is too long", "close its quotation mark, or divide it"),
}  # fmt: skip
MENDED = frozenset(
    {
        "python-dict", "trailing-comma", "list-comma", "field-number", "begins-with-answer", "ends-with-question",
        "half-character", "zero-letter",
    }
)  # fmt: skip


class RowProblem(Exception):
    """`line` counts from 1; `field` names the place in the row, "" for all of it."""

    def __init__(self, code: str, field: str = "", *, line: int = 0, **fields: Any) -> None:
        super().__init__(code)
        self.code, self.field, self.line = code, field, line
        self.fields = {"field": field, **fields}

    @property
    def mends(self) -> bool:
        """Whether asking for repairs would use this row."""
        return self.code in MENDED

    def reason(self) -> str:
        """What is wrong, in English, as a part of a sentence."""
        return REASONS[self.code][0].format(**self._said)

    def fix(self) -> str:
        """What to do about it."""
        return REASONS[self.code][1].format(**self._said)

    def told(self) -> dict[str, Any]:
        """For who says it in another language."""
        return {"code": self.code, "fields": self.fields, "reason": self.reason(), "fix": self.fix()}

    @property
    def _said(self) -> dict[str, Any]:
        return with_why(self.fields, WHYS)


def with_why(fields: dict[str, Any], whys: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """`fields` with what the code in `why` says, in the language of `whys`."""
    found = whys.get(str(fields.get("why")))
    if found is None:
        return fields
    why, help_text = (text.format(**fields) for text in found)
    return {**fields, "why": why, "help": help_text}


class Mending:
    """Collects what is put right. Every repair goes through `mend`, which refuses when none is wanted."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.done: list[str] = []

    def mend(self, problem: RowProblem) -> None:
        """Note that `problem` is put right; raise it instead when that is not wanted."""
        if not self.wanted:
            raise problem
        self.done.append(problem.code)
