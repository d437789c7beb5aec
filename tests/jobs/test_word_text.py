"""Word files: what a reader sees in them is read, in any order of its parts, and no file takes all memory or time."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from docx.parts.styles import StylesPart

from bitconverter.engine import Cancel, Cancelled
from bitconverter.format.errors import UserError
from bitconverter.jobs import word_text
from bitconverter.jobs.read_document import document_text
from bitconverter.jobs.self_test_documents import word_file


def read(data: bytes, most: int = 1_000_000, cancel: Cancel | None = None) -> str:
    return document_text(Path("文書.docx"), data, cancel or Cancel(), most)


def with_body(body: str) -> bytes:
    """A Word file whose body is `body`."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(word_file("X"))) as source, zipfile.ZipFile(out, "w", 8) as made:
        for name in source.namelist():
            text = source.read(name).decode()
            made.writestr(name, text.replace("<w:p><w:r><w:t>X</w:t></w:r></w:p>", body))
    return out.getvalue()


def p(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def cell(inside: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def table(*rows: tuple[str, ...]) -> str:
    return "<w:tbl>" + "".join(f"<w:tr>{''.join(cells)}</w:tr>" for cells in rows) + "</w:tbl>"


FIRST, FOLLOWING = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"


def test_headings_and_a_table() -> None:
    document = docx.Document()
    document.add_heading("報告", 1)
    document.add_paragraph("本文です。")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "りんご", "3"
    out = io.BytesIO()
    document.save(out)
    assert read(out.getvalue()) == "# 報告\n本文です。\n| りんご | 3 |"


def test_without_styles_those_of_the_library_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frozen program has none."""
    monkeypatch.setattr(StylesPart, "default", lambda _package: pytest.fail("they were looked for"))
    assert read(word_file("本文です。")) == "本文です。"


WRITTEN = {
    "link": ("<w:p><w:hyperlink><w:r><w:t>a link</w:t></w:r></w:hyperlink></w:p>", "a link"),
    "tracked": (
        "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>",
        "new",
    ),
    "moved": (
        f"<w:moveFrom>{p('from')}</w:moveFrom>{p('a')}<w:p><w:moveTo><w:r><w:t>to</w:t></w:r></w:moveTo></w:p>",
        "a\nto",
    ),
    "form": (f"<w:sdt><w:sdtPr/><w:sdtContent>{p('filled in')}</w:sdtContent></w:sdt>", "filled in"),
    "signs": (
        "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r></w:p>",
        "a\tb\nc-d",
    ),
    "box": (f"<w:p><w:r><w:t>out</w:t></w:r><w:r><w:pict><w:txbxContent>{p('in')}</w:txbxContent></w:pict></w:r></w:p>",
            "out\nin"),
    "inner table": (table((cell(p("a")), cell(table((cell(p("b")),))))), "| a | | b |  |"),
    "merged": (
        table((cell(p("a"), FIRST), cell(p("b"))), (cell("<w:p/>", FOLLOWING), cell(p("c")))),
        "| a | b |\n|  | c |",
    ),
    "row of a form": (
        f"<w:tbl><w:sdt><w:sdtContent><w:tr>{cell(p('a'))}</w:tr></w:sdtContent></w:sdt></w:tbl>",
        "| a |",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(WRITTEN))
def test_what_a_reader_sees_is_read_once(kind: str) -> None:
    body, text = WRITTEN[kind]
    assert read(with_body(body)) == text


def test_the_same_for_older_programs_is_not_read_twice() -> None:
    mc = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    body = (
        f'<w:p><w:r><mc:AlternateContent xmlns:mc="{mc}"><mc:Choice Requires="wps"><w:t>once</w:t></mc:Choice>'
        "<mc:Fallback><w:t>once</w:t></mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert read(with_body(body)) == "once"


@pytest.mark.parametrize(
    "body",
    [
        table((cell(p("a"), '<w:gridSpan w:val="300000000"/>'),)),  # took all memory
        table((cell(p("a"), FIRST),), *[(cell("<w:p/>", FOLLOWING),)] * 3000),  # a RecursionError
    ],
    ids=["wide", "merged"],
)
def test_merged_cells_of_any_number_are_read(body: str) -> None:
    assert read(with_body(body)).startswith("| a |")


def test_too_many_letters_are_refused_on_the_way_and_a_cancel_is_seen() -> None:
    with pytest.raises(UserError) as caught:
        read(with_body(p("word") * 1000), 400)
    assert caught.value.code == "document-long"
    cancel = Cancel()
    cancel.request()
    with pytest.raises(Cancelled):
        read(word_file("a"), cancel=cancel)


def test_one_that_is_none_or_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as parts:
        parts.writestr("hello.txt", "x")
    with pytest.raises(UserError) as caught:
        read(out.getvalue())
    assert caught.value.code == "document-broken"
    for limit in ("UNPACKED_LIMIT", "XML_LIMIT"):
        monkeypatch.setattr(word_text, limit, 1000)
        with pytest.raises(UserError, match="unpacks"):
            read(word_file("a" * 1000))
        monkeypatch.undo()
