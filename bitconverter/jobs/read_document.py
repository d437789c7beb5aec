"""The text of a document that goes along with a message: text in any encoding, Markdown, PDF, Word."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bitconverter.engine import Cancelled
from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.format.text_file import decode_text
from bitconverter.jobs.job import Context, Progress

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

FILE_LIMIT = 100_000_000  # bytes
TEXT_LIMIT = 2_000_000  # letters; a context of 128 Ki tokens holds about a quarter of that
UNPACKED_LIMIT = 400_000_000  # bytes of a Word file's parts: a zip may promise anything


@dataclass(frozen=True)
class Document:
    """`name` is the file's, `kind` "text", "pdf" or "docx", `encoding` that of a text, "" otherwise."""

    name: str
    text: str
    kind: str
    encoding: str


@dataclass(frozen=True)
class ReadDocumentJob:
    """Reads a file's text: a Document. Emits Progress(unit="page") for a PDF.

    Raises UserError: document-missing, -large, -binary, -encrypted, -broken, -empty, -long.
    """

    path: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> Document:
        path = Path(self.path)
        data = _read(path)
        encoding = ""
        if data[:5] == b"%PDF-":
            kind, text = "pdf", _pdf(path, data, ctx)
        elif data[:4] == b"PK\x03\x04" and path.suffix.lower() == ".docx":
            kind, text = "docx", _word(path, data, ctx)
        else:
            kind = "text"
            text, encoding = _plain(path, data)
        text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        if not text.strip():
            raise UserError(
                "document-empty",
                f"There is no text in {path.name}. If its pages are pictures (a scan), let a text recognition "
                "program make text of them first.",
                file=path.name,
            )
        _check_length(path, len(text))
        return Document(path.name, text, kind, encoding)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise UserError(
                "document-large",
                f"{path.name} has {at_least(size)}; at most {at_most(FILE_LIMIT)} can be attached. Attach a part "
                "of it.",
                file=path.name,
                size=size,
                limit=FILE_LIMIT,
                size_text=at_least(size),
                limit_text=at_most(FILE_LIMIT),
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            "document-missing",
            f"{path} cannot be read: {error.strerror or error}. Check that it is there and may be read.",
            file=str(path),
        ) from error


def _check_length(path: Path, letters: int) -> None:
    if letters > TEXT_LIMIT:
        raise UserError(
            "document-long",
            f"{path.name} has more than {TEXT_LIMIT} letters, which no context holds. Attach a part of it.",
            file=path.name,
            limit=TEXT_LIMIT,
        )


def _plain(path: Path, data: bytes) -> tuple[str, str]:
    """(text, its encoding)."""
    found = decode_text(data)
    if found is None:
        raise UserError(
            "document-binary",
            f"{path.name} is no text that can be read. Text, Markdown, PDF and Word (.docx) files can be attached.",
            file=path.name,
        )
    return found.text, found.encoding


def _broken(path: Path, error: BaseException) -> UserError:
    return UserError(
        "document-broken",
        f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:200]}). Open it in the program that "
        "made it and save it again.",
        file=path.name,
        reason=str(error)[:200],
    )


def _pdf(path: Path, data: bytes, ctx: Context) -> str:
    import pypdf  # which, like docx, takes longer to import than the window to open

    pages: list[str] = []
    letters = 0
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError(
                "document-encrypted",
                f"{path.name} is locked with a password. Save a copy without one and attach that.",
                file=path.name,
            )
        total = len(reader.pages)
        for number in range(total):
            ctx.cancel.check()
            pages.append(reader.pages[number].extract_text().strip())
            letters += len(pages[-1])
            _check_length(path, letters)
            ctx.emit(Progress(number + 1, total, "page", path.name))
    except (UserError, Cancelled):
        raise
    except Exception as error:  # the library raises whatever a damaged file leads it to
        raise _broken(path, error) from error
    return "\n\n".join(page for page in pages if page)


def _word(path: Path, data: bytes, ctx: Context) -> str:
    import docx

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            if sum(part.file_size for part in parts.infolist()) > UNPACKED_LIMIT:
                raise ValueError("it unpacks to more than any document has")
        document = docx.Document(io.BytesIO(data))
        ctx.cancel.check()
        return "\n".join(_paragraphs(document))
    except Cancelled:
        raise
    except Exception as error:  # zip, XML and missing parts each have their own
        raise _broken(path, error) from error


def _paragraphs(document: "WordDocument") -> Iterator[str]:
    from docx.table import Table

    for part in document.iter_inner_content():
        if isinstance(part, Table):
            for line in part.rows:
                yield "| " + " | ".join(cell.text.replace("\n", " ") for cell in line.cells) + " |"
            yield ""
        else:
            style = part.style.name if part.style is not None and part.style.name else ""
            level = style.removeprefix("Heading ")
            yield "#" * int(level) + " " + part.text if level.isdecimal() and level != style else part.text
