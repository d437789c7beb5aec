"""What the window says: messages of gui/texts in the language in use; events, errors and numbers as text.

The jobs' own sentences are English; what a code means in Japanese is in gui/texts/errors.py, and a code
that is not there is shown with the job's own sentence.
"""

import errno
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QLocale

from bitconverter import __version__
from bitconverter.gui.reasons import os_reason_ja, reason_ja
from bitconverter.gui.texts import MESSAGES
from bitconverter.gui.texts.errors import CHECKS_JA, ERRORS_JA, IMPORT_WHYS_JA, SETTINGS_JA
from bitconverter.gui.texts.rows import KINDS_JA, ROWS_JA, WHYS_JA
from bitconverter.gui.texts.text import LANGUAGES, chosen
from bitconverter.jobs.errors import MODEL_FILE_ERRORS, UserError
from bitconverter.jobs.job import Note
from bitconverter.store.records import Numbers

if TYPE_CHECKING:
    from bitconverter.jobs.preflight import CheckItem


class _State:
    language = "en"


def set_language(choice: str) -> None:
    """Use "en" or "ja", or "auto" for the language of the system."""
    if choice == "auto":
        japanese = any(name.startswith("ja") for name in QLocale.system().uiLanguages()[:1])
        choice = "ja" if japanese else "en"
    if choice not in LANGUAGES:
        raise ValueError(f"no such language: {choice}")
    _State.language = choice


def language() -> str:
    """The language in use."""
    return _State.language


def tr(key: str, **fields: Any) -> str:
    """The message `key` in the language in use, its {fields} filled in; `count` chooses the plural."""
    return chosen(MESSAGES[key], _State.language, fields.get("count")).format(**fields)


@dataclass(frozen=True)
class ErrorText:
    """What to show of an error: `code` names it in every language, `details` are for a report. `said`: title and text
    in each language, where the error itself is known."""

    title: str
    text: str
    details: str = ""
    code: str = ""
    said: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False)

    def now(self) -> "ErrorText":
        """In the language in use, which may have changed since."""
        title, text = self.said.get(_State.language, (self.title, self.text))
        return replace(self, title=title, text=text)


NO_ROOM = {
    errno.ENOSPC,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}  # of an OSError: the disk, or the user's share of it
_USER_TITLES = {
    "disk-full": "error-disk-title", "train-disk-full": "error-disk-title",
    "scratch-full": "error-disk-title", "merge-full": "error-disk-title", "prepare-full": "error-disk-title",
    "memory-context": "error-memory-title", "memory-refused": "error-memory-title",
}  # fmt: skip


def error_text(error: BaseException, item: str = "") -> ErrorText:
    """An error as a title, which names the kind of its cause, and what happened and what to do; `item`: at what the
    work was when it happened, as its last Progress said."""
    code = error.code if isinstance(error, UserError) else type(error).__name__
    said = {}
    for each in LANGUAGES:
        with _speaking(each):
            told = _error_text(error)
            last = [tr("error-at", step=item_text(item))] if item else []
            said[each] = (told.title, "\n".join([told.text, *last]))
    return ErrorText(*said[_State.language], _details(error, code), code, said)


@contextmanager
def _speaking(choice: str) -> Iterator[None]:
    before, _State.language = _State.language, choice
    try:
        yield
    finally:
        _State.language = before


def _details(error: BaseException, code: str) -> str:
    """For a report: what went wrong in English, with all that is known of it."""
    head = f"BitConverter {__version__}: {code}\n"
    if not isinstance(error, UserError):
        return head + "".join(traceback.format_exception(error))
    fields = (f"{name}: {value}" for name, value in error.fields.items() if name != "items")
    return head + "\n".join([str(error), *fields])


def _error_text(error: BaseException) -> ErrorText:
    if isinstance(error, UserError):
        if "items" in error.fields:  # a refused preflight: each of its errors is a sentence
            bad = [item for item in error.fields["items"] if item.level == "error"]
            return ErrorText(tr("error-title"), "\n".join(check_text(item) for item in bad) or str(error))
        return ErrorText(tr(_USER_TITLES.get(error.code, "error-title")), _user_sentence(error))
    if isinstance(error, MemoryError):
        from bitconverter.jobs.chat_memory import free_memory

        reason = (
            tr("error-sentence", words=why_text(str(error)).rstrip(".。"))
            if str(error)
            else tr("error-memory-why")
        )
        text = tr("error-memory", reason=reason, free=format_size(free_memory()))
        return ErrorText(tr("error-memory-title"), text)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return ErrorText(tr("error-disk-title"), tr("error-disk", reason=_os_reason(error)))
    if isinstance(error, OSError):
        return ErrorText(tr("error-title"), tr("error-os", reason=_os_reason(error)))
    if isinstance(error, MODEL_FILE_ERRORS):
        return ErrorText(tr("error-title"), tr("error-model-file", reason=why_text(str(error)).rstrip(".")))
    if type(error).__module__.startswith("bitconverter."):  # the engine speaks in sentences
        return ErrorText(tr("error-title"), tr("error-engine", reason=why_text(str(error)).rstrip(".")))
    reason = f"{type(error).__name__}: {error}"
    return ErrorText(tr("error-unexpected-title"), tr("error-unexpected", reason=reason))


def _user_sentence(error: UserError) -> str:
    template = ERRORS_JA.get(error.code) if _State.language == "ja" else None
    fields = {**_whys(error.fields), **_row_fields(error.fields)}
    if error.code == "import-format":
        fields |= _import_fields(error.fields)
    if error.code in ("train-setting", "prepare-setting"):
        fields |= _setting_fields(error.fields)
    filled = None if template is None else _filled(template, fields)
    return filled if filled is not None else str(error)


def _os_reason(error: OSError) -> str:
    return os_reason_ja(error) if _State.language == "ja" else str(error)


def why_text(words: str) -> str:
    """Why something failed, in the words of the engine, the system or a library, in the language in use."""
    return reason_ja(words) if _State.language == "ja" else words


def _whys(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with the reasons among them in the language in use."""
    told = {name: fields[name] for name in ("why", "reason", "message") if isinstance(fields.get(name), str)}
    return {**fields, **{name: why_text(words) for name, words in told.items()}}


def damage_text(message: str, code: str, fields: Any) -> str:
    """Why a model cannot be used: the `code` and `fields` of a UserError, whose own words are `message`."""
    error = UserError(code, message)
    error.fields = fields if isinstance(fields, dict) else {}
    return _user_sentence(error)


def _filled(template: str, fields: dict[str, Any]) -> str | None:
    """None when the template needs a field that is not there."""
    try:
        return template.format(**fields)
    except (KeyError, IndexError):
        return None


def _import_fields(fields: dict[str, Any]) -> dict[str, str]:
    """Where and why a file of chats cannot be read, in Japanese; line 0 is all of it."""
    why = str(fields.get("why", ""))
    said = next((words for begin, words in IMPORT_WHYS_JA.items() if why.startswith(begin)), why)
    return {"where": f"{fields['line']} 行目: " if fields.get("line") else "", "why": said}


def _setting_fields(fields: dict[str, Any]) -> dict[str, str]:
    """Which setting of a training is refused and what is allowed, in Japanese; a name without a message stays."""
    told = {name: f"{fields[name]:g}" for name in ("least", "most") if isinstance(fields.get(name), float)}
    told |= {
        name: tr(f"run-{fields[name]}") if f"run-{fields[name]}" in MESSAGES else fields[name]
        for name in ("name", "beside")
        if name in fields
    }
    if "known" in fields:
        told["known"] = "、".join(fields["known"])
    said = (_filled(template, {**fields, **told}) for template in SETTINGS_JA)
    return {
        **told,
        "allowed": next((words for words in said if words is not None), str(fields.get("allowed", ""))),
    }


def _row_fields(fields: dict[str, Any]) -> dict[str, str]:
    """What an error says of a row of a lesson, of which its field `problem` tells."""
    told = fields.get("problem")
    if not isinstance(told, dict):
        return {}
    reason, fix = row_text(told["code"], told["fields"], told["reason"], told["fix"])
    if "file" not in told:
        return {"reason": reason}
    return {"why": f"{row_where(told['file'], told['line'], told['place'])}: {reason}", "help": fix}


def check_text(item: "CheckItem") -> str:
    """A check as a sentence: the first Japanese one whose fields are there, else the job's own."""
    fields = _whys({"message": item.message.rstrip(". "), **item.fields})
    for name in ("free", "needed"):
        if item.code == "disk" and isinstance(fields.get(name), int):
            fields[name] = format_size(fields[name])
    for template in CHECKS_JA.get(f"{item.code}-{item.level}", ()) if _State.language == "ja" else ():
        filled = _filled(template, fields)
        if filled is not None:
            return filled
    if item.level == "error":  # a source that could not be opened is told by the error's own code
        return _user_sentence(UserError(item.code, item.message, **item.fields))
    return item.message


def row_where(file: str, line: int, place: int) -> str:
    """Where a row of a lesson stands; `place` in a list, else 0."""
    if place:
        return tr("row-where-in-list", file=file, place=place, line=line)
    return tr("row-where", file=file, line=line)


def row_text(code: str, fields: dict[str, Any], reason: str, fix: str) -> tuple[str, str]:
    """Why a row of a lesson is not used, and what would help; `reason` and `fix` are the job's own words."""
    if _State.language == "ja" and code in ROWS_JA:
        found = str(fields.get("found", ""))
        fields = {**_whys(fields), "found": KINDS_JA.get(found, found.replace("the number ", "数値 "))}
        if (why := WHYS_JA.get(str(fields.get("why")))) is not None:
            fields |= {"why": why[0].format(**fields), "help": why[1].format(**fields)}
        filled = [_filled(template, fields) for template in ROWS_JA[code]]
        if filled[0] is not None and filled[1] is not None:
            return filled[0], filled[1]
    return reason, fix


def note_text(note: Note) -> str:
    """A note as a line of the console."""
    if note.code == "check":
        from bitconverter.jobs.preflight import CheckItem

        told = note.fields
        item = CheckItem(told["code"], told["level"], told["message"], told.get("fields", {}))
        return tr("note-check", message=check_text(item))
    fields = _whys(note.fields)
    if note.code == "row-rejected":
        reason, fix = row_text(fields["code"], fields["fields"], fields["reason"], fields["fix"])
        where = row_where(fields["path"], fields["line"], fields["place"])
        fields = {"where": where, "reason": reason, "fix": fix}
    key = f"note-{note.code}"
    if note.code == "device":
        fields = {"reason": device_reason(fields["code"], fields)}
    if note.code == "train-device":
        fields = {"said": steps_text(fields)}
    if note.code == "train-device-changed":
        fields = {when: ran_on_text(fields[when]) for when in ("before", "now")}
    if key in MESSAGES:
        return tr(key, **fields)
    return ", ".join([note.code, *(f"{name} {value}" for name, value in note.fields.items())])


def device_reason(code: str, fields: dict[str, Any]) -> str:
    """Why a model runs where it does: a code of jobs/placement.py and Placed.told()."""
    if "why" in fields:
        fields = {**fields, "why": why_text(fields["why"])}
    return tr(f"why-{code}", **fields)


def steps_text(fields: dict[str, Any]) -> str:
    """On what the steps of a training run, and why: the fields of the note "train-device"."""
    if fields["where"] == "cpu":
        key = "steps-cpu-tip"
    elif fields["layers"] == fields["all_layers"]:
        return tr("steps-card-tip", **fields)
    else:
        key = "steps-partly-tip"
    return f"{tr(key, **fields)}\n{device_reason(fields['code'], fields)}"


def ran_on_text(fields: dict[str, Any]) -> str:
    """On what a training ran, with all that decides about its last digits: the fields of a RanOn."""
    if fields["where"] == "cpu":
        return tr("ran-on-cpu")
    head = tr("ran-on-head") if fields["head"] else ""
    more = tr("ran-on-before", before=fields["before"]) if fields["before"] > 0 else ""
    return tr("ran-on-card", **{**fields, "head": head, "more": more})


def item_text(item: str) -> str:
    """What a progress event is at, in the language in use; names of files and of other tensors as they are."""
    layer = re.match(r"(?:layer |model\.layers\.)(\d+)", item)
    if layer:
        return tr("layer-number", layer=layer[1])
    stage, _, part = item.partition(": ")
    if f"item-{stage}" in MESSAGES:
        return tr(f"item-{stage}") + (f": {tr(f'item-{part}')}" if f"item-{part}" in MESSAGES else "")
    return item


def answer_line(answer: Numbers) -> str:
    """The numbers under an answer."""
    speed, seconds = (
        f"{answer.tokens_per_second:.1f}",
        f"{answer.prefill_seconds + answer.decode_seconds:.1f}",
    )
    line = tr("tok-s", speed=speed, count=answer.tokens, seconds=seconds)
    soul = tr("made-with-soul", name=answer.soul) if answer.soul else ""
    return " · ".join(part for part in (line, soul, answer.device) if part)


def answer_details(answer: Numbers) -> str:
    """More numbers, for the tool tip."""
    return tr(
        "answer-tip", prompt=answer.prompt_tokens, cached=answer.cached_tokens,
        prefill=f"{answer.prefill_seconds:.2f}", seed=answer.seed, model=answer.model or "?",
        temperature=f"{answer.temperature:g}",
    )  # fmt: skip


def format_size(count: int) -> str:
    """Bytes as people say them: 1000 to the kilo, three digits."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    if unit == "B":
        return f"{count} B"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def format_count(count: int) -> str:
    """A number of parameters: 135 M, 8.03 B."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def time_left(seconds: float | None) -> str:
    """ "about 3 min left"; "" where it is not known, or as good as over."""
    return "" if seconds is None or seconds < 1 else tr("time-left", time=format_duration(seconds))


def format_duration(seconds: float) -> str:
    """12 s, 3 min, 1 h 5 min."""
    if seconds < 10:
        return tr("seconds", n=f"{seconds:.1f}")
    if seconds < 90:
        return tr("seconds", n=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 60:
        return tr("minutes", n=minutes)
    return tr("hours", n=minutes // 60, m=minutes % 60)
