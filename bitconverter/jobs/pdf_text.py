"""The words of a PDF's page, as they were before they were set in lines of its width.

Two lines are joined only where that is nearly certain: what is joined wrongly (a table, a poem, code) cannot be read
any more, and an end of a line too many harms little.
"""

import itertools
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
MOST = 0.75  # of the lines are no wider than the usual width: a few are, with letters of other fonts
FIT = 0.9  # of that width: a line ends there by itself if the next word would still have fitted
LONG = 0.6  # of that width is a line at least whose next word did not fit
NARROWEST = 40  # letters: shorter lines are a table's
FEWEST_SMALL = 0.1  # of a page's lines begin with a small or a wide letter where sentences go over lines
_LEADERS = re.compile(r"(\. ?){4}|…{2}|・{4}|·{4}")  # of a table of contents
_ENDS = tuple(".:;!?。．：；！？」』")  # of a sentence
_BEGINS = re.compile(  # a paragraph, an item of a list, a heading, a date, a line of code
    r"[ \u3000•・■□●○◆▪*>①-⑳]|[–-]\s|\(?\w[.)]\s|[(（]?[0-9０-９]+[.)．）、]|\d+(\.\d+)+\s|\[\d+\]"
    r"|第[0-9０-９一二三四五六七八九十]+[章節条項]|\d{1,4}[-/:年月]\d?|[\w.]+[(\[{]|[\w.]+ [-+*/]?= "
)
_COMPOUND = re.compile(r"\w-\w+$")


def page_text(text: str) -> str:
    """What the library has found on a page: letters for what stands for them, and lines that only the width of the page
    has ended put together again."""
    text = _HYPHEN.sub(f"{_MARK}\n", text.replace(_MARK, "")).translate(LETTERS)
    lines = [line.rstrip(" ") for line in text.strip(" \n").split("\n")]
    widths = [_width(line) for line in lines]
    usual = _usual(lines, widths)
    pieces = [lines[0]]
    for (before, line), width in zip(itertools.pairwise(lines), widths, strict=False):
        if before.endswith(_MARK):
            pieces[-1] = (
                before.removesuffix(_MARK) if _is_divided(before, line) else before.replace(_MARK, "-")
            )
        elif usual and _goes_on(before, width, line, usual):
            pieces.append("" if _is_wide(before[-1]) or _is_wide(line[0]) else " ")
        else:
            pieces.append("\n")
        pieces.append(line)
    return "".join(pieces).replace(_MARK, "-")  # the page ends in the middle of a word


def _usual(lines: list[str], widths: list[int]) -> int:
    """The width that lines are broken at; 0 where no two belong together: of a table, or verse."""
    written = sorted(width for width in widths if width)
    usual = written[round(MOST * (len(written) - 1))] if written else 0
    goes_on = sum(line[0].islower() or _is_wide(line[0]) for line in lines if line)
    return usual if usual >= NARROWEST and goes_on >= FEWEST_SMALL * len(written) else 0


def _goes_on(before: str, width: int, line: str, usual: int) -> bool:
    """Whether `before` would have had the first word of `line` too, had it fitted."""
    if not before or not line or _BEGINS.match(line) or _LEADERS.search(before):
        return False
    if before.endswith(_ENDS) and not line[0].islower():
        return False
    if before[-1].isdigit() and not (line[0].islower() or _is_wide(line[0])):  # columns of numbers
        return False
    word = 2 if _is_wide(line[0]) else 1 + line.find(" ") if " " in line else len(line)
    return width >= LONG * usual and width + word > FIT * usual


def _width(line: str) -> int:
    """In letters of half the width of a kanji."""
    return len(line) + (0 if line.isascii() else sum(map(_is_wide, line)))


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _is_divided(before: str, line: str) -> bool:
    """Whether a word was divided at the end of a line: a name, a number, or a compound that has a hyphen already keeps
    the one that it has."""
    left = before.removesuffix(_MARK)
    return left[-1:].islower() and line[:1].islower() and not _COMPOUND.search(left[-60:])
