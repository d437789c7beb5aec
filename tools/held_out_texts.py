"""The texts on which conversions are judged: prose, documentation and code from Debian packages, as three files.

    apt-get install r-cran-janeaustenr postgresql-doc-15 python3.11-doc libpython3.11-stdlib
    python tools/held_out_texts.py OUT
    apt-get install debian-reference-ja && python tools/held_out_texts.py OUT --japanese      japanese.txt too

prose.txt: six novels of Jane Austen; docs.txt: PostgreSQL's and Python's documentation; code.txt: Python's standard
library; japanese.txt: the Debian Reference. Of every novel, page, module or chapter a piece, so that 8,192 tokens hold
some of each. None of it is in the calibration text that comes with the program.
"""

import argparse
import gzip
import html.parser
import re
import subprocess
import sys
from pathlib import Path

NOVELS = ("sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion")
NOVEL_LINES = slice(2000, 2160)
POSTGRES = Path("/usr/share/doc/postgresql-doc-15/html")
PYTHON = Path("/usr/share/doc/python3.11/html")
PAGES = (
    *(
        POSTGRES / f"{name}.html"
        for name in ("mvcc-intro", "indexes-types", "sql-createtrigger", "wal-intro")
    ),
    *(PYTHON / "library" / f"{name}.html" for name in ("argparse", "contextlib", "sched", "heapq")),
)
LIBRARY = Path("/usr/lib/python3.11")
MODULES = ("textwrap", "queue", "shelve", "fractions", "tempfile", "configparser", "difflib", "mailbox")
REFERENCE = Path("/usr/share/debian-reference/debian-reference.ja.txt.gz")
SHORTEST, JAPANESE = 120, 0.6  # characters of a paragraph, and how many of them are no ASCII
PARAGRAPHS = 90
PIECE = 7000  # characters of a page or a module
SKIPPED = 1500  # of its beginning: menus, licences
BUILT = "October 07, 2026"  # when the recorded text's package was built, which each page of Python's tells


class _Text(html.parser.HTMLParser):
    """The words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden = 0
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def words_of(page: Path) -> str:
    reader = _Text()
    reader.feed(page.read_text(encoding="utf-8"))
    return "\n".join(" ".join(line.split()) for line in "".join(reader.pieces).splitlines() if line.strip())


def undated(text: str) -> str:
    """The same text from every build of the documentation."""
    text = re.sub(r"Last updated on \w+ \d+, \d+", f"Last updated on {BUILT}", text)
    return re.sub(r"Copyright 2001-\d{4}", "Copyright 2001-2026", text)


def novel(name: str) -> str:
    script = f"library(janeaustenr); writeLines(enc2utf8({name}))"
    done = subprocess.run(["Rscript", "-e", script], check=True, capture_output=True)
    return "\n".join(done.stdout.decode("utf-8").splitlines()[NOVEL_LINES])


def piece(text: str) -> str:
    """Whole lines."""
    start = text.index("\n", SKIPPED) + 1
    return text[start : text.rfind("\n", start, start + PIECE)]


def japanese(reference: str) -> str:
    """Paragraphs from everywhere in it, each of them in one line."""
    paragraphs = [
        re.sub(r"\s*\n\s*", " ", re.sub(r"(?<=[^\x00-\x7f])\n\s*(?=[^\x00-\x7f])", "", paragraph)).strip()
        for paragraph in reference.split("\n\n")
    ]
    prose = [
        paragraph
        for paragraph in paragraphs
        if len(paragraph) > SHORTEST and sum(ord(c) > 0x3000 for c in paragraph) > JAPANESE * len(paragraph)
    ]
    return "\n\n".join(prose[:: max(1, len(prose) // PARAGRAPHS)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--japanese", action="store_true", help="japanese.txt too")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "prose": [novel(name) for name in NOVELS],
        "docs": [undated(piece(words_of(page))) for page in PAGES],
        "code": [piece((LIBRARY / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES],
    }
    if arguments.japanese:
        texts["japanese"] = [japanese(gzip.decompress(REFERENCE.read_bytes()).decode("utf-8"))]
    for name, pieces in texts.items():
        (out / f"{name}.txt").write_text("\n\n".join(pieces) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
