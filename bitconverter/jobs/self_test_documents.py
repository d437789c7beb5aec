"""What a self-test finds out about documents: a PDF and a Word file are read. Both are made here, of the least that
such files need."""

import io
import zipfile
from pathlib import Path
from typing import Any

from bitconverter.engine import Cancel
from bitconverter.jobs.needing import need
from bitconverter.jobs.read_document import document_text

LINE = "吾輩は猫である。名前はまだ無い。"


def documents(folder: Path) -> dict[str, Any]:
    """Both are read as they were written."""
    made = {"文書.pdf": japanese_pdf(LINE), "文書.docx": word_file(LINE)}
    for name, data in made.items():
        found = document_text(folder / name, data, Cancel(), len(LINE))
        need(found == LINE, f"{name} was read as {found!r}")
    return {"kinds": len(made)}


def japanese_pdf(line: str) -> bytes:
    """A PDF with a line in a Japanese font that is not in the file and has no table of Unicode, as many have that are
    made in Japan: the codes are those of JIS, by one of Adobe's lists of codes."""
    shown = b"BT /F1 12 Tf 72 700 Td <%s> Tj ET" % line.encode("cp932").hex().encode()
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
            b"<</Length %d>>stream\n%s\nendstream" % (len(shown), shown),
            b"<</Type/Font/Subtype/Type0/BaseFont/Ryumin-Light-90ms-RKSJ-H/Encoding/90ms-RKSJ-H"
            b"/DescendantFonts[6 0 R]>>",
            b"<</Type/Font/Subtype/CIDFontType0/BaseFont/Ryumin-Light/FontDescriptor 7 0 R"
            b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>/DW 1000>>",
            b"<</Type/FontDescriptor/FontName/Ryumin-Light/Flags 4/FontBBox[-170 -331 1024 903]/ItalicAngle 0"
            b"/Ascent 723/Descent -241/CapHeight 709/StemV 69>>",
        ]
    )


def pdf_of(parts: list[bytes]) -> bytes:
    """A PDF of these objects, of which the first is the root."""
    out, places = io.BytesIO(), []
    out.write(b"%PDF-1.4\n")
    for number, part in enumerate(parts, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj%s endobj\n" % (number, part))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1))
    for place in places:
        out.write(b"%010d 00000 n \n" % place)
    out.write(b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, table))
    return out.getvalue()


def word_file(line: str) -> bytes:
    """A Word file with one paragraph."""
    kinds, names = "http://schemas.openxmlformats.org/package/2006", "http://schemas.openxmlformats.org"
    rels = "vnd.openxmlformats-package.relationships"
    main = "vnd.openxmlformats-officedocument.wordprocessingml.document.main"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{kinds}/content-types">'
        f'<Default Extension="rels" ContentType="application/{rels}+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="application/{main}+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{kinds}/relationships"><Relationship Id="rId1" '
        f'Type="{names}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{names}/wordprocessingml/2006/main"><w:body>'
        f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p></w:body></w:document>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, text in parts.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{text}')
    return out.getvalue()
