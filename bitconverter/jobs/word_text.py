"""The words of a Word file (.docx): paragraphs, headings as Markdown has them, and tables.

What was inserted while changes are tracked is read, what was deleted is not; so are the fields of forms. Of a table the
cells are read as they stand in the file: one that is merged over several rows is empty in all but the first.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn

UNPACKED_LIMIT = 400_000_000  # bytes of all parts, pictures too: a zip may promise anything
XML_LIMIT = 60_000_000  # bytes of the parts with words, which take ten times that in memory
P, TABLE, LINE, CELL, TEXT = (qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "t"))
STYLE, STYLE_NAME = f"{qn('w:pPr')}/{qn('w:pStyle')}", qn("w:val")
SIGNS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
# All else may hold paragraphs, tables and words: forms, tracked insertions, links, text boxes.
LEFT_OUT = {
    qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), qn("w:rPr"), qn("w:sectPr"),
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # says the same again
}  # fmt: skip


def word_lines(data: bytes) -> Iterator[str]:
    """Each paragraph and each row of a table is a line. Raises what zip, XML and the library do with a damaged file;
    ValueError where it unpacks to too much."""
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        sizes = [
            (part.filename.lower().endswith((".xml", ".rels")), part.file_size) for part in parts.infolist()
        ]
    if sum(size for _, size in sizes) > UNPACKED_LIMIT or sum(size for xml, size in sizes if xml) > XML_LIMIT:
        raise ValueError("it unpacks to more than any document has")
    document = docx.Document(io.BytesIO(data))
    # where a file has no styles the library would look for its own, which a frozen program does not have
    styled = any(relation.reltype == RELATIONSHIP_TYPE.STYLES for relation in document.part.rels.values())
    names = {style.style_id: style.name or "" for style in document.styles} if styled else {}
    yield from _blocks(document.element.body, names)


def _blocks(parent: Any, styles: dict[str, str]) -> Iterator[str]:
    for block in parent:
        if block.tag == P:
            yield _heading(block, styles) + "".join(_words(block))
        elif block.tag == TABLE:
            for line in _inside(block, LINE):
                cells = (" ".join(_blocks(cell, {})).replace("\n", " ") for cell in _inside(line, CELL))
                yield "| " + " | ".join(cells) + " |"
            yield ""
        elif block.tag not in LEFT_OUT:
            yield from _blocks(block, styles)


def _inside(parent: Any, tag: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, also those in the field of a form."""
    for part in parent:
        if part.tag == tag:
            yield part
        elif part.tag not in LEFT_OUT:
            yield from _inside(part, tag)


def _heading(paragraph: Any, styles: dict[str, str]) -> str:
    """ "## " for a heading of the second level, "" for all else."""
    style = paragraph.find(STYLE)
    name = "" if style is None else styles.get(style.get(STYLE_NAME, ""), "")
    level = name.removeprefix("Heading ")
    return "#" * int(level) + " " if level != name and level.isdecimal() and len(level) == 1 else ""


def _words(parent: Any) -> Iterator[str]:
    for part in parent:
        if part.tag == TEXT:
            yield part.text or ""
        elif part.tag in SIGNS:
            yield SIGNS[part.tag]
        elif part.tag not in LEFT_OUT:
            if part.tag == P:  # of a text box
                yield "\n"
            yield from _words(part)
