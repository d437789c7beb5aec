"""What a row says: a text, or a conversation of which the answers are learned.

Known: {"prompt", "answer"} and its relatives (also completion, question, input and output, 質問 and 回答; a context
stands before the question), Alpaca's {"instruction", "input", "output"} (and history), Dolly's {"instruction",
"context", "response"}, ShareGPT's {"conversations": [{"from", "value"}]}, OpenAI's {"messages": [{"role", "content"}]}
(weight 0: not learned), {"text"}. Names of fields are read in any case.
"""

from dataclasses import dataclass
from typing import Any

from bitconverter.format.lesson_rows import kind_name
from bitconverter.format.row_problem import Mending, RowProblem

PAIRS = (
    ("prompt", "answer"), ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"),
    ("question", "answer"), ("question", "response"), ("input", "output"), ("input", "target"), ("q", "a"),
    ("user", "assistant"), ("human", "assistant"), ("質問", "回答"), ("質問", "答え"), ("問", "答"),
    ("入力", "出力"),
)  # fmt: skip
INSTRUCTIONS = (
    ("instruction", "input", "output"),
    ("instruction", "input", "response"),
    ("instruction", "context", "response"),
    ("instruction", "context", "output"),
    ("指示", "入力", "出力"),
)
TURNS = ("messages", "conversations", "conversation")
CONTEXT = "context"
TEXTS = ("text", "本文")
ROLE_NAMES, TEXT_NAMES = ("from", "role", "speaker", "author"), ("value", "content", "text")
ROLES = {
    "system": "system", "developer": "system", "システム": "system",
    "user": "user", "human": "user", "prompter": "user", "ユーザー": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant",
    "アシスタント": "assistant",
}  # fmt: skip
TOOLS = ("tool", "function", "function_call", "observation", "ipython")


@dataclass(frozen=True)
class Turn:
    """`role` is system, user or assistant; `field` names the place in the row."""

    role: str
    text: str
    field: str
    learned: bool = False


@dataclass(frozen=True)
class Document:
    """All of it is learned."""

    text: str
    field: str = "text"


@dataclass(frozen=True)
class Conversation:
    """`shape`: "pair", "alpaca", "sharegpt", "openai"."""

    turns: tuple[Turn, ...]
    shape: str


def shape_of(value: Any, mending: Mending) -> Document | Conversation:
    """What a row says. Raises RowProblem."""
    if isinstance(value, str):
        return Document(value)
    row = {str(name).strip().lower(): part for name, part in value.items()}
    for name in TURNS:
        if isinstance(row.get(name), list):
            return _conversation(row, name, mending)
    for names in sorted(INSTRUCTIONS, key=lambda names: names[1] not in row):
        if names[0] in row and names[2] in row:
            return _instruction(row, names, mending)
    for prompt, answer in PAIRS:
        if prompt in row and answer in row:
            turns = [*_system(row, mending), *_pair(row, prompt, answer, mending)]
            return Conversation(tuple(turns), "pair")
    for name in TEXTS:
        if name in row:
            return Document(_text(row, name, mending), name)
    raise _unknown(row)


def _unknown(row: dict[str, Any]) -> RowProblem:
    for name in TURNS:
        if name in row:
            return RowProblem("not-turns", name, found=kind_name(row[name]))
    known: tuple[tuple[str, ...], ...] = (*INSTRUCTIONS, *PAIRS)
    for names in known:
        if names[0] in row:
            return RowProblem("field-missing", names[-1])
        if names[-1] in row:
            return RowProblem("field-missing", names[0])
    found = ", ".join(row)
    return RowProblem("unknown-fields", found=found if len(found) <= 80 else found[:79] + "…")


def _pair(row: dict[str, Any], prompt: str, answer: str, mending: Mending) -> list[Turn]:
    question = _text(row, prompt, mending)
    if row.get(CONTEXT) not in (None, ""):
        question = _text(row, CONTEXT, mending) + "\n\n" + question
    return [Turn("user", question, prompt), Turn("assistant", _text(row, answer, mending), answer, True)]


def _system(row: dict[str, Any], mending: Mending) -> list[Turn]:
    text = row.get("system")
    if text is None or text == "":
        return []
    return [Turn("system", _text(row, "system", mending), "system")]


def _instruction(row: dict[str, Any], names: tuple[str, str, str], mending: Mending) -> Conversation:
    """Alpaca's row; `input` may be missing or empty, `history` holds earlier [question, answer] pairs."""
    instruction, extra, output = names
    turns = _system(row, mending)
    for number, pair in enumerate(row.get("history") or []):
        place = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowProblem("field-kind", place, found=kind_name(pair))
        parts = {f"{place}[0]": pair[0], f"{place}[1]": pair[1]}
        turns += _pair(parts, f"{place}[0]", f"{place}[1]", mending)
    question = _text(row, instruction, mending)
    if row.get(extra) not in (None, ""):
        question += "\n\n" + _text(row, extra, mending)
    turns.append(Turn("user", question, instruction))
    turns.append(Turn("assistant", _text(row, output, mending), output, True))
    return Conversation(tuple(turns), "alpaca")


def _conversation(row: dict[str, Any], name: str, mending: Mending) -> Conversation:
    turns = _system(row, mending)
    entries = row[name]
    if not entries:
        raise RowProblem("field-empty", name)
    for number, entry in enumerate(entries):
        turns.append(_turn(entry, f"{name}[{number}]", mending))
    roles = {turn.role for turn in turns}
    if "assistant" in roles and "user" not in roles:
        raise RowProblem("no-question", name)
    at = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    while at < len(turns) and turns[at].role == "assistant":
        mending.mend(RowProblem("begins-with-answer", turns[at].field))
        del turns[at]
    if not any(turn.role == "assistant" for turn in turns):
        raise RowProblem("no-answer", name)
    while turns[-1].role != "assistant":
        mending.mend(RowProblem("ends-with-question", turns[-1].field))
        turns.pop()
    if not any(turn.learned for turn in turns):
        raise RowProblem("no-answer", name)
    shape = "sharegpt" if any(isinstance(e, dict) and "from" in e for e in entries) else "openai"
    return Conversation(tuple(turns), shape)


def _turn(entry: Any, place: str, mending: Mending) -> Turn:
    if not isinstance(entry, dict):
        raise RowProblem("field-kind", place, found=kind_name(entry))
    entry = {str(name).strip().lower(): part for name, part in entry.items()}
    role_name = next((name for name in ROLE_NAMES if name in entry), "role")
    usual = "value" if role_name == "from" else "content"
    text_name = next((name for name in TEXT_NAMES if name in entry), usual)
    given = entry.get(role_name)
    if not isinstance(given, str):
        raise RowProblem("field-missing", f"{place}.{role_name}")
    if given.lower() in TOOLS or entry.get("tool_calls") or entry.get("function_call"):
        raise RowProblem("role-tool", place, found=given if given.lower() in TOOLS else "tool_calls")
    role = ROLES.get(given.strip().lower())
    if role is None:
        raise RowProblem("role-unknown", f"{place}.{role_name}", found=repr(given[:40]))
    field = f"{place}.{text_name}"
    text = _text({field: _joined(entry.get(text_name), field)}, field, mending)
    return Turn(role, text, field, role == "assistant" and entry.get("weight", 1) != 0)


def _joined(content: Any, field: str) -> Any:
    """OpenAI's content as a list of parts, of which only texts can be used."""
    if not isinstance(content, list):
        return content
    texts = []
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise RowProblem("field-kind", f"{field}[{number}]", found=_part_name(part))
        texts.append(part["text"])
    return "".join(texts)


def _part_name(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind[:40] if isinstance(kind, str) else kind_name(part)


def _text(row: dict[str, Any], name: str, mending: Mending) -> str:
    value = row.get(name)
    if value is None:
        raise RowProblem("field-missing", name)
    if isinstance(value, bool | int | float):
        mending.mend(RowProblem("field-number", name, found=kind_name(value)))
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise RowProblem("field-kind", name, found=kind_name(value))
    if not value.strip():
        raise RowProblem("field-empty", name)
    if "\0" in value:
        mending.mend(RowProblem("zero-letter", name))
        value = value.replace("\0", "")
    if any("\ud800" <= character <= "\udfff" for character in value):
        mending.mend(RowProblem("half-character", name))
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
