"""A document's text as sentences, paragraph by paragraph, in scripts with and without spaces.

Nothing is known of grammar: a sentence ends at a full stop that does not shorten a word and is in no Japanese bracket,
or with its line where that was not ended by the width of a page. What is no sentence (code, tables) is left out.
"""

import re
import unicodedata
from collections.abc import Iterator

MOST = 400  # letters of a sentence; a longer one is parted further, and what stays longer is left out
LONG_LINE = {
    "spaced": 45,
    "ja": 25,
    "unspaced": 25,
}  # letters: a line that the width of a page may have ended

_KANA, _HAN = re.compile(r"[ぁ-ゖァ-ヺ]"), re.compile(r"[一-鿿々〆]")
_UNSPACED = re.compile(r"[ก-๛ກ-ໟက-ဿក-៿]")  # Thai, Lao, Burmese, Khmer
_FENCE = re.compile(r"\s*(```|~~~)")
_MARK = re.compile(r"\s*(?:#{1,6}|[-*+•・]|>)\s+")
_NUMBER = re.compile(r"\s*\d{1,3}[.)]\s+")
_ENDS = frozenset(".!?。！？｡．।؟:：")
# a full stop, what closes behind it, and a space before what is no small letter
_END = re.compile(r"([.!?।؟][\"'”’)]*)\s+(?=[^\sa-zà-þ])")
_LOOSE_END = re.compile(r"(?<=[.!?;।؟])\s+")
_JAPANESE_END = re.compile(r"[。！？｡．]|[「『（【(]|[」』）】)]")
_SHORT = re.compile(
    r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Gen|Lt|Col|Capt|Sgt|Inc|Ltd|Co|No|Nr|Vol|vol|pp|ca|vs|cf|e\.g|i\.e|Fig"
    r"|z|B|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|(?:am|den|vom|dem) \d\d?|(?:[A-Z]\.)*[A-Z])\.$"
)


def script(text: str) -> str:
    """ "ja", "spaced" (words stand between spaces), or "unspaced": how the words of a sentence are found."""
    letters = sum(map(str.isalpha, text)) or 1
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if kana and 3 * (kana + han) >= letters:
        return "ja"
    return "unspaced" if 3 * (han + len(_UNSPACED.findall(text))) >= letters else "spaced"


def paragraphs(text: str) -> Iterator[list[str]]:
    """The sentences of each paragraph that has any, one paragraph at a time."""
    lines: list[str] = []
    code = False
    for line in (*text.splitlines(), ""):
        if _FENCE.match(line):
            code, line = not code, ""
        if line.strip() and not code:
            if not line.lstrip().startswith("|"):
                lines.append(unicodedata.normalize("NFC", line))
            continue
        found = [part for whole in _joined(lines) for part in _sentences(whole) if len(part) <= MOST]
        if found:
            yield found
        lines = []


def _joined(lines: list[str]) -> Iterator[str]:
    """Lines together that only the width of a page has parted."""
    whole: list[str] = []
    for line in lines:
        last = whole[-1] if whole else ""
        ended = not last or last[-1] in _ENDS
        mark = _MARK.match(line) or (_NUMBER.match(line) if ended else None)
        line = line[mark.end() if mark else 0 :].strip()
        if not line:
            continue
        if not ended and not mark and (line[0].islower() or len(last) >= LONG_LINE[script(last)]):
            if last[-1] == "-" and last[-2:-1].isalpha() and line[0].islower():
                whole[-1] = last[:-1]
            elif script(last[-1] + line[0]) == "spaced":
                whole.append(" ")
        elif whole:
            yield "".join(whole)
            whole = []
        whole.append(line)
    if whole:
        yield "".join(whole)


def _sentences(line: str) -> Iterator[str]:
    parts = _japanese(line) if script(line) != "spaced" else _spaced(line)
    for part in parts:
        yield from _LOOSE_END.split(part) if len(part) > MOST else [part]


def _spaced(line: str) -> Iterator[str]:
    whole = ""
    for part in _END.sub(r"\1\n", line).split("\n"):
        whole = f"{whole} {part.strip()}".strip()
        if len(whole) > MOST or not _SHORT.search(whole[-12:]):
            yield whole
            whole = ""
    if whole:
        yield whole


def _japanese(line: str) -> Iterator[str]:
    """What stands in brackets is no sentence of its own."""
    start = depth = 0
    for found in _JAPANESE_END.finditer(line):
        if found[0] in "「『（【(":
            depth += 1
        elif found[0] in "」』）】)":
            depth = max(0, depth - 1)
        elif not depth or found.end() - start > MOST:  # a bracket may never be closed
            yield line[start : found.end()].strip()
            start, depth = found.end(), 0
    if line[start:].strip():
        yield line[start:].strip()
