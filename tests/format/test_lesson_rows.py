"""Rows of lesson files: where each begins, and which cannot be read and why."""

import codecs
from pathlib import Path

import pytest

from bitconverter.format.lesson_rows import BadRow, Row, read_rows
from bitconverter.format.row_problem import MENDED, REASONS, Mending, RowProblem
from bitconverter.format.text_file import Decoded, decode_text

JAPANESE = "これは日本語の文章です。カタカナも混ざっています。\n二行目。\n"


def rows(name: str, text: str, mend: bool = False) -> list[Row | BadRow]:
    return list(read_rows(Path(name), Decoded(text, "utf_8"), mend))


def told(found: list[Row | BadRow]) -> list[object]:
    """(line, value) of good rows, (line, code) of bad ones."""
    return [(r.line, r.value if isinstance(r, Row) else r.problem.code) for r in found]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp932", "euc_jp", "iso2022_jp"]
)
def test_every_japanese_encoding_is_told(encoding: str) -> None:
    data = JAPANESE.encode(encoding)
    if encoding == "utf-16-le":
        data = codecs.BOM_UTF16_LE + data
    found = decode_text(data)
    assert found is not None and (found.text, found.damaged) == (JAPANESE, False)


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp"])
def test_a_short_line_of_kana_is_enough(encoding: str) -> None:
    found = decode_text("問,答\nあ,い\n".encode(encoding))
    assert found is not None and found.text == "問,答\nあ,い\n"


def test_western_text_is_not_taken_for_japanese() -> None:
    text = "Le garçon est allé à l'école, où il a déjà appris à écrire en français. C'était l'été.\n" * 5
    found = decode_text(text.encode("cp1252"))
    assert found is not None and found.text == text


def test_utf8_with_a_broken_byte_stays_utf8_and_the_line_is_named() -> None:
    lines = [f'{{"text": "{JAPANESE[:20]}"}}'.encode() for _ in range(5)]
    lines[2] = lines[2].replace("本".encode(), "本".encode()[:2])
    found = decode_text(b"\n".join(lines))
    assert found is not None and found.encoding == "utf_8" and found.damaged
    result = list(read_rows(Path("a.jsonl"), found, False))
    assert [r.line for r in result if isinstance(r, BadRow)] == [3]
    assert [r.line for r in result if isinstance(r, Row)] == [1, 2, 4, 5]


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp"])
def test_a_japanese_encoding_with_a_broken_byte_stays_so_and_the_line_is_named(encoding: str) -> None:
    lines = [f"質問{k},{JAPANESE[:20]}".encode(encoding) for k in range(6)]
    lines[2] = lines[2][:1] + lines[2][2:]  # half of a letter
    lines[4] += b"\x83"
    found = decode_text(b"q,a\n" + b"\n".join(lines))
    assert found is not None and found.encoding == encoding and found.damaged
    result = list(read_rows(Path("a.csv"), found, False))
    assert [(r.line, r.problem.code) for r in result if isinstance(r, BadRow)] == [
        (4, "damaged-letters"), (6, "damaged-letters"),
    ]  # fmt: skip
    assert [r.line for r in result if isinstance(r, Row)] == [2, 3, 5, 7]


def test_bytes_that_are_no_text_are_none() -> None:
    assert decode_text(bytes(range(256)) * 20) is None


def test_json_lines() -> None:
    text = '{"a": 1}\r\n\n[1]\n{"b": "x\u2028y"}\nnope\n' + "[" * 100_000
    found = told(rows("a.jsonl", text))
    assert found == [
        (1, {"a": 1}), (3, "not-object"), (4, {"b": "x\u2028y"}), (5, "not-json"), (6, "not-json"),
    ]  # fmt: skip


def test_python_and_commas_are_mended_when_asked() -> None:
    text = "{'a': 1}\n{\"a\": 2},\n{'a': 3},\n{'a': open}\n"
    assert [code for _, code in told(rows("a.jsonl", text))] == [
        "python-dict", "trailing-comma", "python-dict", "not-json",
    ]  # fmt: skip
    mended = rows("a.jsonl", text, mend=True)
    assert told(mended)[:3] == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]
    assert [r.mended for r in mended[:3] if isinstance(r, Row)] == [
        ("python-dict",), ("trailing-comma",), ("python-dict",),
    ]  # fmt: skip


def test_json_as_one_value() -> None:
    text = '[\n {"a": 1},\n\n {"a": 2}\n]\n'
    assert told(rows("a.json", text)) == [(2, {"a": 1}), (4, {"a": 2})]
    assert told(rows("really-an-array.jsonl", text)) == [(2, {"a": 1}), (4, {"a": 2})]
    assert told(rows("a.json", '{"a": 1}\n{"a": 2}')) == [(1, {"a": 1}), (2, {"a": 2})]
    assert told(rows("a.json", '{"version": 1,\n"data": [\n{"a": 1},\n{"a": 2}]}')) == [
        (3, {"a": 1}), (4, {"a": 2}),
    ]  # fmt: skip
    one = '{"messages": [{"role": "user", "content": "x"}]}'
    assert told(rows("a.json", one)) == [(1, {"messages": [{"role": "user", "content": "x"}]})]


def test_a_broken_array_gives_what_stands_before() -> None:
    for text in ('[{"a": 1},\n{"a": }, {"a": 3}]', '[{"a": 1}\n{"a": 2}]', '[{"a": 1},\n{"a"'):
        assert told(rows("a.json", text)) == [(1, {"a": 1}), (2, "rest-unreadable")]
    assert told(rows("a.json", "[]")) == []


def test_tables() -> None:
    text = 'prompt, answer\n"a, b","two\nlines"\n\nx,y,z\n"bad"quote,1\nc,d\n'
    assert told(rows("a.csv", text)) == [
        (2, {"prompt": "a, b", "answer": "two\nlines"}), (5, "csv-columns"), (6, "csv-broken"),
        (7, {"prompt": "c", "answer": "d"}),
    ]  # fmt: skip
    assert told(rows("a.csv", "q;a\n1,5;2\n")) == [(2, {"q": "1,5", "a": "2"})]
    assert told(rows("a.TSV", "q\ta\n1,5\t2\n")) == [(2, {"q": "1,5", "a": "2"})]
    assert told(rows("a.csv", "q,a\n" + "x" * 200_000 + ",y\n"))[0][0] == 2  # type: ignore[index]


def test_a_text_is_one_row() -> None:
    assert told(rows("a.md", "# x\n\ny\n")) == [(1, "# x\n\ny\n")]
    assert told(rows("a.txt", " \n")) == [(1, "empty-file")]


def test_every_reason_has_a_sentence_and_a_repair_is_refused_unless_wanted() -> None:
    assert set(REASONS) >= MENDED
    problem = RowProblem("field-number", "answer", found="the number 3")
    assert problem.mends and problem.reason() == "its answer is the number 3, not a text"
    with pytest.raises(RowProblem):
        Mending(False).mend(problem)
    mending = Mending(True)
    mending.mend(problem)
    assert mending.done == ["field-number"]
