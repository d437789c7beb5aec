"""Rows of lesson files: where each begins, and which cannot be read and why."""

import codecs
import json
from pathlib import Path

import pytest

from bitconverter.format.lesson_rows import BadRow, Row, read_rows
from bitconverter.format.row_problem import MENDED, REASONS, WHYS, Mending, RowProblem
from bitconverter.format.text_file import Decoded, decode_text

JAPANESE = "これは日本語の文章です。カタカナも混ざっています。\n二行目。\n"


def rows(name: str, text: str, mend: bool = False) -> list[Row | BadRow]:
    return list(read_rows(Path(name), Decoded(text, "utf_8"), mend))


def told(found: list[Row | BadRow]) -> list[object]:
    """(line, value) of good rows, (line, code) of bad ones."""
    return [(r.line, r.value) if isinstance(r, Row) else (r.problem.line, r.problem.code) for r in found]


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


LABELS = [("良", "悪"), ("犬", "猫"), ("可", "不可"), ("正", "誤"), ("賛成", "反対"), ("良", "猫")]
ENGLISH = "The parcel came on time and the shop answered quickly, number"


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("count", [2, 400])
def test_labels_in_kanji_alone_are_japanese(encoding: str, labels: tuple[str, str], count: int) -> None:
    text = "prompt,answer\r\n" + "".join(f"{ENGLISH} {k}.,{labels[k % 2]}\r\n" for k in range(count))
    found = decode_text(text.encode(encoding))
    assert found is not None and (found.encoding, found.text) == (encoding, text)
    lines = "".join(f'{{"prompt": "{ENGLISH} {k}", "answer": "{labels[k % 2]}"}}\n' for k in range(count))
    found = decode_text(lines.encode(encoding))
    assert found is not None and (found.encoding, found.text) == (encoding, lines)


OTHERS = [
    ("cp1252", "Don’t say it’s “the best” – we’re not sure they’d agree… It’s John’s — who’s next?\n"),
    ("cp1252", "I don’t know, they’re late and we’ll see\nIt isn’t what you’d think\n"),
    ("cp1252", "Le garçon est allé à l’école, où il a déjà appris à écrire. C’était l’été à Noël.\n"),
    ("cp1252", "Müller größer schön über Äpfel, Öl und Übung; die Straße heißt „Grüne Straße“.\n"),
    ("cp1252", "El niño comió piñas mañana. ¿Dónde está el baño? ¡Aquí! Señor Núñez también.\n"),
    ("cp1251", "Это обычный русский текст, в котором нет ничего особенного. Да или нет?\n"),
    ("gb18030", "这是一个普通的中文句子，里面没有日文。我们今天去学校学习中文，你呢？\n"),
    ("big5", "這是一個普通的中文句子，裡面沒有日文。我們今天去學校學習中文，你呢？\n"),
    ("euc_kr", "안녕하세요. 저는 학생입니다. 오늘은 날씨가 좋습니다. 한국어 문장입니다.\n"),
]  # fmt: skip


@pytest.mark.parametrize("encoding, text", OTHERS)
@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("header", ["", "prompt,answer\n"])
def test_no_other_language_becomes_japanese(encoding: str, text: str, count: int, header: str) -> None:
    found = decode_text((header + text * count).encode(encoding))
    assert found is not None and found.encoding not in ("cp932", "euc_jp")
    if count > 1:
        assert found.text == header + text * count


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
    text = '{\'a\': 1}\n{"a": 2},\n{\'a\': 3},\n{"a": [4, ]}\n{"a": 5, "b": None, }\n{\'a\': open}\n'
    codes = ["python-dict", "trailing-comma", "python-dict", "trailing-comma", "python-dict"]
    assert [code for _, code in told(rows("a.jsonl", text))] == [*codes, "not-json"]
    mended = rows("a.jsonl", text, mend=True)
    assert told(mended)[:5] == [
        (1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3}), (4, {"a": [4]}), (5, {"a": 5, "b": None}),
    ]  # fmt: skip
    assert [r.mended for r in mended[:5] if isinstance(r, Row)] == [(code,) for code in codes]


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
    for text in ('[{"a": 1},\n{"a": }, {"a": 3}]', '[{"a": 1}\n[1]]', '[{"a": 1},\n{"a"', '[{"a": 1}\n'):
        assert told(rows("a.json", text)) == [(1, {"a": 1}), (2, "rest-unreadable")]
    assert told(rows("a.json", "[]")) == []


def test_behind_a_broken_value_of_a_list_the_next_is_read() -> None:
    text = '[\n  {\n    "a": "he said "hi""\n  },\n  {\n    "a": {\n    }\n  },\n  {\n    "a": 3,\n  }\n]\n'
    found = rows("a.json", text)
    assert told(found) == [(3, "not-json"), (5, {"a": {}}), (10, "rest-unreadable")]
    assert [row.place for row in found] == [1, 2, 3]
    assert found[0].source == '{\n    "a": "he said "hi""\n  },'
    wrapped = told(rows("a.json", '{\n"data": ' + text + "}"))
    assert wrapped == [(4, "not-json"), (6, {"a": {}}), (11, "rest-unreadable")]


def test_the_line_of_a_damaged_letter_in_a_broken_value_is_its_own() -> None:
    text = '[\n  {\n    "a": 1,\n    "b": "?"\n    "c": 2\n  },\n  {"d": 4}\n]'
    for letter, code in (("\0", "zero-byte"), ("\ufffd", "damaged-letters")):
        found = list(read_rows(Path("a.json"), Decoded(text.replace("?", letter), "utf_8", True), False))
        assert told(found) == [(4, code), (7, {"d": 4})]


def test_a_comma_that_is_missing_in_a_list_costs_nothing_but_its_row() -> None:
    text = '[{"a": 1}\n{"a": 2},\n{"a": 3}]'
    assert told(rows("a.json", text)) == [(1, {"a": 1}), (2, "list-comma"), (3, {"a": 3})]
    assert told(rows("a.json", text, mend=True)) == [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]


def test_what_stands_behind_a_list_is_not_lost() -> None:
    assert told(rows("a.json", '[{"a": 1}]\n[{"a": 2}]\n')) == [(1, {"a": 1}), (2, {"a": 2})]
    for name in ("a.json", "a.jsonl"):
        found = rows(name, '[{"a": 1}]\n{"a": 2}\nx\n{"a": 3}\n')
        assert told(found) == [(1, {"a": 1}), (2, {"a": 2}), (3, "not-json"), (4, {"a": 3})]
    found = rows("a.json", '[\n{"a": 1}] x\n{"a": 2}\n')
    assert told(found) == [(2, {"a": 1}), (2, "not-json"), (3, {"a": 2})]
    assert isinstance(found[1], BadRow) and found[1].line == 2 and found[1].problem.fields["column"] == 11
    assert told(rows("a.json", '[{"a": 1}]\n{\n"a": 2\n}\n{\n"a": 3\n}')) == [
        (1, {"a": 1}), (2, {"a": 2}), (5, {"a": 3}),
    ]  # fmt: skip


def test_one_damaged_line_does_not_decide_about_the_form_of_a_file() -> None:
    lines = [f'{{"a": {k}, "b": "x"}}' for k in range(1000)]
    for number in (0, 1, 500, 999):
        line = lines[number]
        for damage in (line[1:], line[:-1], line.replace(":", ""), "[]", "[1]"):
            found = rows("a.jsonl", "\n".join([*lines[:number], damage, *lines[number + 1 :]]))
            bad = [(r.line, r.place) for r in found if isinstance(r, BadRow)]
            assert (len(found), bad) == (1000, [(number + 1, 0)]), damage
    (bad_row,) = (
        r for r in rows("a.jsonl", "\n".join([lines[0], lines[1][1:], *lines[2:]])) if isinstance(r, BadRow)
    )
    assert bad_row.problem.reason().endswith("the brace that opens it is missing in column 1")
    assert "jsonl" not in bad_row.problem.fix()
    two = rows("a.jsonl", f"{lines[0]}\n{lines[1][1:]}\n")
    assert told(two) == [(1, {"a": 0, "b": "x"}), (2, "not-json")]
    both = rows("a.jsonl", "\n".join([lines[0][:-1], lines[1][1:], *lines[2:]]))
    assert [r.line for r in both if isinstance(r, BadRow)] == [1, 2] and len(both) == 1000


@pytest.mark.parametrize("blanks", ["", "  "])
def test_a_damaged_row_of_a_list_with_a_row_a_line_costs_itself_alone(blanks: str) -> None:
    lines = [f'{blanks}{{"a": {k}, "b": "x"}}' for k in range(1000)]
    for number in (0, 1, 500, 998):
        for damage in (
            ("{", ""),
            ("}", ""),
            ("}", "}}"),
            (":", ""),
            ("{", "{{"),
            ('"x"', 'x"'),
            ('"}', '"} "c": 1}'),
        ):
            damaged = [line.replace(*damage) if k == number else line for k, line in enumerate(lines)]
            found = rows("a.json", "[\n" + ",\n".join(damaged) + "\n]\n")
            bad = [(r.line, r.place, r.problem.code) for r in found if isinstance(r, BadRow)]
            assert (len(found), bad) == (1000, [(number + 2, number + 1, "not-json")]), (number, damage)


def test_a_damaged_row_of_a_list_over_several_lines_costs_itself_alone() -> None:
    whole = json.dumps([{"a": k, "b": "x"} for k in range(9)], indent=2)
    for number in (0, 4, 7):
        begin, end = f'  {{\n    "a": {number},\n', '    "b": "x"\n  }'
        assert begin + end in whole
        for damaged in (
            begin.replace("{\n", "") + end, begin + end.replace('"x"', '"x"}'), begin + end.replace('"b"', "b"),
            begin.replace(",", "") + end, begin.replace("{", "") + end,
        ):  # fmt: skip
            found = rows("a.json", whole.replace(begin + end, damaged))
            bad = [(r.place, r.problem.code) for r in found if isinstance(r, BadRow)]
            assert (len(found), bad) == (9, [(number + 1, "not-json")]), damaged
        # a brace that ends the object early makes two of one, and no more
        early = begin.replace(",", "},") + end
        found = rows("a.json", whole.replace(begin + end, early))
        assert len(found) == 10 and [r.place for r in found if isinstance(r, BadRow)] == [number + 2]


def test_objects_over_several_lines_without_a_list() -> None:
    text = '{\n  "a": 1\n}\n{\n  "a": {\n    "b": 2\n  }\n}\n{\n  "a" 3\n}\n{\n  "a": 4\n}\n'
    assert told(rows("a.json", text)) == [
        (1, {"a": 1}), (4, {"a": {"b": 2}}), (10, "not-json"), (12, {"a": 4}),
    ]  # fmt: skip


def test_the_list_inside_of_an_object_is_found_by_its_key() -> None:
    for key in ("data", "データ", 'a"b'):
        for escaped in (True, False):
            whole = {"tags": ["x"], "info": {key: []}, key: [{"a": 1}, None], "n": 2}
            found = told(rows("a.json", json.dumps(whole, ensure_ascii=escaped)))
            assert found == [(1, {"a": 1}), (1, "not-object")]


def test_a_file_put_behind_another_with_its_mark() -> None:
    assert told(rows("a.jsonl", '{"a": 1}\n\ufeff{"a": 2}\n\u3000{"a": 3}\n')) == [
        (1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3}),
    ]  # fmt: skip


WHY = [
    ('{"a": undefined}', "json-value", 7, "undefined"), ("{a: 1}", "json-name", 2, "a"),
    ('{"a" 1}', "json-colon", 6, "1"),
    ('{"a": "he said "hi""}', "json-comma", 17, "hi"), ('  {"a": True, b: 1, }', "json-value", 9, "True"),
    ('{"a": 1} {"a": 2}', "json-extra", 10, "{"), ('{"a": "x\ty"}', "json-control", 9, "\t"),
    ('{"a": "C:\\qdir"}', "json-backslash", 10, "\\q"), ('{"a": "x}', "json-open-text", 7, '"'),
    ('{"a": [1', "json-ends", 9, ""), ('{"a": ', "json-ends", 6, ""), ('{\u201ca\u201d: 1}', "json-curly", 2, "\u201c"),
    ('{"質問": 「はい」}', "json-curly", 8, "「"), ("[" * 100_000, "json-deep", 1, ""),
    ('{"a": ' + "9" * 5000 + "}", "json-digits", 1, ""), ("nope", "json-begin", 1, "nope"),
    ("// no row", "json-begin", 1, "/"),
]  # fmt: skip


@pytest.mark.parametrize("line, why, column, letter", WHY)
def test_why_it_is_no_json_is_a_code_with_its_place(line: str, why: str, column: int, letter: str) -> None:
    (_, found) = rows("a.jsonl", '{"a": 0}\n' + line + "\n")
    assert isinstance(found, BadRow) and found.problem.code == "not-json" and found.line == 2
    assert {name: found.problem.fields[name] for name in ("why", "column", "letter")} == {
        "why": why, "column": column, "letter": letter,
    }  # fmt: skip
    reason = found.problem.reason()
    assert (
        reason.startswith("it is not JSON: ")
        and "{" not in reason.replace(letter, "")
        and found.problem.fix()
    )
    assert (f"column {column}" in reason) == ("{column}" in WHYS[why][0])


def test_the_column_in_a_list_is_counted_from_the_beginning_of_its_line() -> None:
    (_, found) = rows("a.json", '[{"a": 1},\n  {"a": True}]')
    assert isinstance(found, BadRow)
    assert (found.problem.line, found.problem.fields["column"], found.problem.fields["letter"]) == (
        2,
        9,
        "True",
    )


def test_tables() -> None:
    text = 'prompt, answer\n"a, b","two\nlines"\n\nx,y,z\n"bad"quote,1\nc,d\n'
    assert told(rows("a.csv", text)) == [
        (2, {"prompt": "a, b", "answer": "two\nlines"}), (5, "csv-columns"), (6, "csv-broken"),
        (7, {"prompt": "c", "answer": "d"}),
    ]  # fmt: skip
    assert told(rows("a.csv", "q;a\n1,5;2\n")) == [(2, {"q": "1,5", "a": "2"})]
    assert told(rows("a.TSV", "q\ta\n1,5\t2\n")) == [(2, {"q": "1,5", "a": "2"})]
    assert told(rows("a.csv", "q,a\n" + "x" * 200_000 + ",y\n"))[0][0] == 2  # type: ignore[index]
    assert told(rows("a.csv", "\n\nq;a\n1;2\n")) == [(4, {"q": "1", "a": "2"})]
    assert told(rows("a.csv", "sep=;\nq;a\n1,5;2\n")) == [(3, {"q": "1,5", "a": "2"})]
    assert told(rows("a.tsv", "q,a\n1,2\n")) == [(2, {"q": "1", "a": "2"})]
    assert told(rows("a.csv", "q,a\n1,2,,\n1,2,3\n")) == [(2, {"q": "1", "a": "2"}), (3, "csv-columns")]


def test_a_quotation_mark_that_nothing_closes_costs_its_line_alone() -> None:
    text = 'q,a\n1,2\n3,"four\n5,6\n7,"ei\nght"\n9,"te""n"\n'
    found = rows("a.csv", text)
    assert told(found) == [
        (2, {"q": "1", "a": "2"}), (3, "csv-broken"), (6, "csv-columns"), (7, {"q": "9", "a": 'te"n'}),
    ]  # fmt: skip
    last = rows("a.csv", 'q,a\n1,2\n3,"four\n5,6\n7,8')
    assert told(last) == [
        (2, {"q": "1", "a": "2"}), (3, "csv-broken"), (4, {"q": "5", "a": "6"}), (5, {"q": "7", "a": "8"}),
    ]  # fmt: skip
    assert isinstance(last[1], BadRow) and last[1].source == '3,"four'
    assert "opened and not closed" in last[1].problem.reason() and "close it" in last[1].problem.fix()
    many = told(rows("a.csv", "q,a\n" + 'x,"y\n' * 1001))
    assert all(code == "csv-broken" for _, code in many) and len(many) >= 500  # type: ignore[misc]


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
