"""The chat template that a user chooses: one of a few well-known formats, a file, or the model's own; and what ends an
answer in it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.model.chat_template import SOURCE_LIMIT, ChatTemplate, load_chat_template
from bitconverter.model.template_names import KNOWN, OWN
from bitconverter.model.tokenizer import Tokenizer

FILE_LIMIT = 4 * SOURCE_LIMIT  # bytes
_ANSWER, _QUESTION = "Kf3q answer Zw8x", "Vb5m question Jt2p"  # no template writes these of its own accord

_MARK = re.compile(r"\n?([<\[][^>\]]+[>\]])")  # <|im_end|>, [/INST]


@dataclass(frozen=True)
class Ending:
    """What ends an answer beside the tokens that the model's files call its end: `ids`, and `text`, which the answer
    is cut at ("": nothing). `missing`: the mark that the template writes there and that this model has no token for."""

    ids: frozenset[int] = field(default_factory=frozenset)
    text: str = ""
    missing: str = ""


def template_for(word: str, tokenizer: Tokenizer) -> ChatTemplate:
    """The template that `word` asks for: OWN, a name of KNOWN, or the path of a file.

    Raises UserError: "no-chat-template" with `suggested` (a name of KNOWN, or ""), "chat-template-broken",
    and of a file "template-unknown", "template-unreadable", "template-broken"."""
    if word == OWN:
        return _own(tokenizer)
    variables = {"bos_token": "", "eos_token": "", **tokenizer.special_tokens}
    if not tokenizer.begin_ids():
        variables["bos_token"] = ""
    if word in KNOWN:
        place = files("bitconverter") / "resources" / "templates" / f"{word}.jinja"
        return ChatTemplate(place.read_text(encoding="utf-8"), variables, word)
    return ChatTemplate(_read(word), tokenizer.special_tokens, word)


def _own(tokenizer: Tokenizer) -> ChatTemplate:
    try:
        return load_chat_template(tokenizer.folder)
    except UserError as error:
        if error.code != "no-chat-template":
            raise
        name = suggested(tokenizer)
        marks = f"; the marks of {name} are in its vocabulary" if name else ""
        raise UserError(
            "no-chat-template",
            f"{tokenizer.folder.absolute().name} has no chat template, so there is no telling how this model expects a "
            "conversation; it may be a base model, made for completing text. Choose one of the well-known formats "
            f"({', '.join(KNOWN)}{marks}; on the command line with --template), or the chat_template.jinja of the "
            "model's publisher.",
            folder=str(tokenizer.folder),
            suggested=name,
        ) from error


def has_own(tokenizer: Tokenizer) -> bool:
    """Whether the model's folder has a template, also one that does not work."""
    try:
        load_chat_template(tokenizer.folder)
    except UserError as error:
        return error.code != "no-chat-template"
    return True


def suggested(tokenizer: Tokenizer) -> str:
    """The known format whose marks are all tokens of this model, "" if there is none."""
    special = set(tokenizer.special_texts)
    return next((name for name, marks in KNOWN.items() if marks and special.issuperset(marks)), "")


def _read(path: str) -> str:
    if not os.path.isfile(path):
        raise UserError(
            "template-unknown",
            f"{path} is neither a file nor one of the known chat templates ({', '.join(KNOWN)}).",
            name=path,
            known=", ".join(KNOWN),
        )
    try:
        if os.path.getsize(path) > FILE_LIMIT:
            raise ValueError(f"it has more than {FILE_LIMIT} bytes")
        text = Path(path).read_text(encoding="utf-8-sig")
        if not text.strip():
            raise ValueError("it is empty")
        return text
    except (OSError, ValueError) as error:
        raise UserError(
            "template-unreadable",
            f"The chat template {path} cannot be used: {error}. It has to be a text file in UTF-8, such as the "
            "chat_template.jinja of the model's publisher.",
            file=path,
            reason=str(error),
        ) from error


def ending_of(template: ChatTemplate, tokenizer: Tokenizer) -> Ending:
    """What `template` writes behind an answer: a model that was trained with it writes the same there."""
    try:
        after = _after_answer(template)
    except UserError:
        return Ending()  # it refuses such a talk; sending tells why
    lead = after[: len(after) - len(after.lstrip())]
    rest = after[len(lead) :]
    mark = next((text for text in _longest_first(tokenizer.special_texts) if rest.startswith(text)), "")
    if not mark:
        line = _first_line(after)
        written = _MARK.match(line)
        return Ending(text=written[0], missing=written[1]) if written else Ending(text=line)
    line = _first_line(rest[len(mark) :])
    if not line.startswith("\n") or any(text in line for text in tokenizer.special_texts):
        line = ""  # words that an answer may hold, or tokens, which are in no text
    number = tokenizer.id_of(mark)
    return Ending(frozenset() if number is None else frozenset([number]), line)


def _after_answer(template: ChatTemplate) -> str:
    """Between an answer and the next question, or the end of the text."""
    turns = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": _QUESTION},
    ]  # fmt: skip
    _, found, after = template.render(turns, add_generation_prompt=True).partition(_ANSWER)
    return after.partition(_QUESTION)[0] if found else ""


def _first_line(text: str) -> str:
    """The first words of `text`, with the line break before them if there is one; "" if there are none."""
    words = text.strip().split("\n")[0].rstrip()
    return f"\n{words}" if words and text[: text.index(words)].count("\n") else words


def _longest_first(texts: Sequence[str]) -> list[str]:
    return sorted(texts, key=len, reverse=True)
