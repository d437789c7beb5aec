"""Why something failed, said in Japanese: the words that stand inside an error's sentence (gui/texts/reasons.py)."""

import errno
import os
import re
from functools import cache

from bitconverter.gui.texts.reasons import REASONS_JA, SYSTEM_JA
from bitconverter.gui.texts.rows import KINDS_JA

_FIELD = re.compile(r"\{(\w+)\}")
_RAISED = re.compile(
    r"(?:SelfTestFailed|[A-Z]\w*(?:Error|Exception)): (.+)", re.DOTALL
)  # with its class before it
_NUMBERED = re.compile(
    r"\[(Errno|WinError) (-?\d+)\] (.*?)(?:: ('[^']*'|\"[^\"]*\"))?(?: -> ('[^']*'|\"[^\"]*\"))?"
)
BACKSLASH = "\\"
MOST = 2_000  # letters of words that are looked up


def reason_ja(words: str) -> str:
    """`words`, which are English, in Japanese; as they are where nothing is known of them."""
    return _known(words.strip()) or words


def os_reason_ja(error: OSError) -> str:
    """What the system refused, and for which file."""
    number = getattr(error, "winerror", None) or error.errno
    said = _of_system(number, by_windows=bool(getattr(error, "winerror", None)))
    if said is None and error.errno is not None:
        said = _of_system(error.errno)
    if said is None:
        return reason_ja(str(error))
    return f"{said}: {error.filename}" if error.filename else said


def _known(words: str) -> str | None:
    words = words.rstrip(". ")
    if len(words) > MOST:
        return None
    if (said := _system_words().get(words)) is not None:
        return said
    if numbered := _NUMBERED.fullmatch(words):
        kind, number, text, file, _ = numbered.groups()
        said = _of_system(int(number), by_windows=kind == "WinError") or text
        if not file:
            return said
        return f"{said}: {file[1:-1].replace(BACKSLASH * 2, BACKSLASH)}"  # as repr() writes it
    if (raised := _RAISED.fullmatch(words)) and (said := _known(raised[1])) is not None:
        return said
    for pattern, japanese in _patterns():
        if (match := pattern.fullmatch(words)) and (filled := _filled(japanese, match.groupdict())):
            return filled
    return _named(words)


def _named(words: str) -> str | None:
    """A file, and why it cannot be read: "FILE: why"."""
    name, colon, why = words.rpartition(": ")
    said = _system_words().get(why) if colon else None
    return None if said is None else f"{name}: {said}"


def _filled(japanese: str, fields: dict[str, str]) -> str | None:
    """None where the reason inside the reason is not known."""
    if "why" in fields:
        inner = _known(fields["why"])
        if inner is None:
            return None
        fields = {**fields, "why": inner}
    fields = {name: KINDS_JA.get(value, value) for name, value in fields.items()}
    return japanese.format(**fields)


def _of_system(number: int | None, by_windows: bool = False) -> str | None:
    if number is None:
        return None
    return SYSTEM_JA.get(number if by_windows else errno.errorcode.get(number, ""))


@cache
def _system_words() -> dict[str, str]:
    numbers = {name: getattr(errno, name, None) for name in SYSTEM_JA if isinstance(name, str)}
    return {os.strerror(number): SYSTEM_JA[name] for name, number in numbers.items() if number is not None}


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Those with most words first, so that one which would fit nearly everything comes last."""
    by_words = sorted(REASONS_JA, key=lambda english: -len(_FIELD.sub("", english)))
    return [(_pattern(english), REASONS_JA[english]) for english in by_words]


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english.rstrip(". "))
    return re.compile(
        "".join(f"(?P<{part}>.+?)" if odd % 2 else re.escape(part) for odd, part in enumerate(parts)),
        re.DOTALL,
    )
