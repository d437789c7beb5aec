"""Text files that a user gives us."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bitconverter.format.errors import UserError

LOOKED_AT = 200_000  # bytes that decide about an encoding that nothing in the file tells
OTHERS = ["cp932", "euc_jp", "utf_16_le", "utf_16_be", "cp1252", "gb18030", "big5", "euc_kr", "cp1251"]
PACKED = (  # what files begin with that are given for texts
    (b"PK\x03\x04", "ZIP"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7-Zip"), (b"%PDF-", "PDF"), (b"PAR1", "Parquet"),
    (b"{\\rtf", "RTF"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office 97"),
)  # fmt: skip
LETTERS_A_KANJI = (
    4  # of ASCII, at least, beside labels in kanji: Korean and Chinese texts are made of such bytes too
)
LEVEL_1, SIGNS = range(16, 48), range(1, 6)  # rows of JIS X 0208
MOST_LABELS = 64  # different kanji of labels
_KANA = re.compile("[\u3041-\u30ff]")
_NOT_ASCII = re.compile("[^\\x00-\\x7f]")
_ASCII_LETTER = re.compile("[A-Za-z]")
_BESIDE_LETTER = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])")
_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Decoded:
    """A file's text, its encoding by Python's name, and whether some bytes did not fit ("�" stands for them)."""

    text: str
    encoding: str
    damaged: bool = False


def read_text(path: str) -> str:
    """A UTF-8 text file, with or without a byte order mark."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            "text-encoding",
            f"{path} is not UTF-8 text (byte {error.start} does not fit). Save it as UTF-8 and try again.",
            path=path,
        ) from error
    except OSError as error:
        raise UserError(
            "text-unreadable", f"{path} cannot be read: {error.strerror or error}. Check the path.", path=path
        ) from error


def read_any_text(path: Path) -> Decoded:
    """A file in any encoding that decode_text() knows. Raises UserError("lesson-binary", "lesson-packed"); OSError."""
    return any_text(path, path.read_bytes())


def any_text(path: Path, data: bytes) -> Decoded:
    """The same of a file's bytes, without OSError."""
    kind = next((kind for begin, kind in PACKED if data.startswith(begin)), "")
    if kind:
        raise UserError(
            "lesson-packed",
            f"{path} is a {kind} file, whatever its name says. Save what is inside as text or a table, and take that.",
            path=str(path), kind=kind,
        )  # fmt: skip
    found = decode_text(data)
    if found is None:
        raise UserError(
            "lesson-binary",
            f"{path} is no text that can be read. Save it as UTF-8 text and try again.",
            path=str(path),
        )
    return found


def decode_text(data: bytes) -> Decoded | None:
    """The text of a file in UTF-8, UTF-16, ISO-2022-JP, EUC-JP, cp932 or what looks most like it; None: no text.

    UTF-8 with a few broken bytes is UTF-8. Of the two Japanese encodings without a mark the one that gives kana is
    taken: other languages' text gives hardly any by chance. So it is with a few broken bytes, too. Japanese without any
    kana is a table whose labels are kanji.
    """
    for tell in (_by_mark, _utf8, _japanese, _japanese_labels, _damaged_japanese, _guessed):
        found = tell(data)
        if found is not None:
            return found if "\0" not in found.text or _few_zeros(data) else None
    return None


def _by_mark(data: bytes) -> Decoded | None:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _lenient(data, "utf_16")
    if data[:3] == b"\xef\xbb\xbf":
        return _lenient(data, "utf_8_sig")
    if b"\x1b$" in data:  # an escape sequence of Japanese mail, all of whose bytes are ASCII
        return _strict(data, "iso2022_jp")
    return None


def _few_zeros(data: bytes) -> bool:
    """Whether zero bytes are accidents in a text of single bytes: UTF-16 has one beside every line end."""
    ends = data.count(b"\n")
    return data.count(b"\0") <= ends and 2 * (data.count(b"\n\0") + data.count(b"\0\n")) <= ends


def _utf8(data: bytes) -> Decoded | None:
    text = data.decode("utf-8", "surrogateescape")
    broken = len(_HALVES.findall(text))
    if 8 * broken > len(_NOT_ASCII.findall(text)) - broken:
        return None
    return None if "\0" in text and not _few_zeros(data) else _lenient(data, "utf_8")


def _japanese(data: bytes) -> Decoded | None:
    for encoding in ("euc_jp", "cp932"):  # cp932 takes nearly all of EUC-JP for half-width kana
        found = _strict(data, encoding)
        if found is not None and "\0" not in found.text and _has_kana(found.text):
            return found
    return None


def _damaged_japanese(data: bytes) -> Decoded | None:
    """The one of the two encodings in which fewer bytes are broken, if they are few."""
    found = min((_lenient(data, encoding) for encoding in ("euc_jp", "cp932")), key=_broken)
    good = len(_NOT_ASCII.findall(found.text)) - _broken(found)
    few = 8 * _broken(found) <= good
    return found if few and "\0" not in found.text and _has_kana(found.text) else None


def _japanese_labels(data: bytes) -> Decoded | None:
    """Words of common kanji beside text of other letters."""
    for encoding in ("euc_jp", "cp932"):
        found = _strict(data, encoding)
        if found is not None and "\0" not in found.text and _has_common_kanji(found.text, encoding):
            return found
    return None


def _has_common_kanji(text: str, encoding: str) -> bool:
    """Whether what is not ASCII is kanji of JIS level 1, but for signs and a few others, and was no Western text: there
    a quotation mark or an accented letter swallows the letter behind it, in the middle of a word."""
    wide = Counter(_NOT_ASCII.findall(text))
    common = {letter for letter in wide if _jis_row(letter) in LEVEL_1}
    kanji = sum(wide[letter] for letter in common)
    others = sum(
        count for letter, count in wide.items() if letter not in common and _jis_row(letter) not in SIGNS
    )
    if 2 * kanji < wide.total() or 10 * others > kanji or not kanji:
        return False
    if encoding == "euc_jp":
        letters = len(_ASCII_LETTER.findall(text))
        return len(common) <= MOST_LABELS and letters >= LETTERS_A_KANJI * kanji
    swallowed = sum(
        match[0].encode(encoding)[1:].isalpha()
        for match in _BESIDE_LETTER.finditer(text)
        if match[0] in common
    )
    return 4 * swallowed <= kanji


def _jis_row(letter: str) -> int:
    """Its row in JIS X 0208; 0: it is in none."""
    code = letter.encode("euc_jp", "ignore")
    return code[0] - 0xA0 if len(code) == 2 and code[0] > 0xA0 else 0


def _has_kana(text: str) -> bool:
    return 20 * len(_KANA.findall(text)) > len(_NOT_ASCII.findall(text))


def _broken(found: Decoded) -> int:
    return found.text.count("�")


def _guessed(data: bytes) -> Decoded | None:
    import charset_normalizer

    best = charset_normalizer.from_bytes(data[:LOOKED_AT], cp_isolation=OTHERS).best()
    return None if best is None else _lenient(data, best.encoding)


def _strict(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(data.decode(encoding), encoding)
    except UnicodeDecodeError:
        return None


def _lenient(data: bytes, encoding: str) -> Decoded:
    found = _strict(data, encoding)
    return found if found is not None else Decoded(data.decode(encoding, "replace"), encoding, True)
