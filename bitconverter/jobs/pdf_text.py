"""The words of a PDF's page, as they were before they were set in lines of its width."""

import itertools
import math
import re
import unicodedata

# What stands for letters in PDF files that do not tell their fonts' encoding: TeX's T1 and TS1 (Cork, 1990). Ligatures
# are written out, kanji that are only parts of others by their shape (Kangxi radicals) are the kanji that were meant,
# and control characters are none that anybody wrote.
LETTERS: dict[int, str | None] = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), 0xAD, 0xFFFE)) | {
    0x09: " ", 0x10: "“", 0x11: "”", 0x12: "„", 0x13: "«", 0x14: "»", 0x15: "–", 0x16: "—", 0x1B: "ff", 0x1C: "fi",
    0x1D: "fl", 0x1E: "ffi", 0x1F: "ffl", 0x88: "•",
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in (*range(0x2F00, 0x2FD6), *range(0xFB00, 0xFB05))},
}  # fmt: skip
_HYPHEN = re.compile("[\x02\ufffe]")  # what the library makes of a hyphen and the end of a line behind it
_MARK = "\ufdd0"  # the same, here
FULL = 0.8  # of the width that nearly all lines keep to: one that is shorter has ended by itself
NEARLY_ALL = 0.9
NARROWEST = 40  # letters: shorter lines are a table's, or a poem's
_ITEM = re.compile(r"\s*([•・■□●○◆▪*]|\(?\d+[.)])\s")
_DASH, _ENDS = re.compile(r"\s*[–-]\s"), ".:;!?。．：；！？"


def page_text(text: str) -> str:
    """What the library has found on a page: letters for what stands for them, and lines that only the width of the page
    has ended put together again."""
    text = _HYPHEN.sub(f"{_MARK}\n", text).translate(LETTERS)
    lines = [line.rstrip(" ") for line in text.strip().split("\n")]
    widths = sorted(_width(line) for line in lines if line)
    usual = widths[round(NEARLY_ALL * (len(widths) - 1))] if widths else 0
    full = FULL * usual if usual >= NARROWEST else math.inf
    together = lines[:1]
    for before, line in itertools.pairwise(lines):
        if before.endswith(_MARK):
            together[-1] = _unhyphenated(together[-1].removesuffix(_MARK), line)
        elif line and _width(before) >= full and not _is_item(line, before):
            together[-1] = _joined(together[-1], line.lstrip())
        else:
            together.append(line)
    return "\n".join(together).replace(_MARK, "-")  # the page ends in the middle of a word


def _is_item(line: str, before: str) -> bool:
    """Of a list. A dash begins one behind the end of a sentence."""
    return bool(_ITEM.match(line) or (_DASH.match(line) and before.endswith(tuple(_ENDS))))


def _width(line: str) -> int:
    """In letters of half the width of a kanji."""
    return sum(1 + _is_wide(letter) for letter in line)


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _joined(left: str, right: str) -> str:
    return left + right if _is_wide(left[-1]) or _is_wide(right[0]) else f"{left} {right}"


def _unhyphenated(left: str, right: str) -> str:
    """A word that was divided is one again; a name or number keeps its hyphen."""
    return left + right if left[-1:].islower() and right[:1].islower() else f"{left}-{right}"
