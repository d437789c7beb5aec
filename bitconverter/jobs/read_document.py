"""The text of a document: PDF, Word; of one that goes along with a message also text in any encoding, Markdown."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bitconverter.engine import Cancel, Cancelled
from bitconverter.format.errors import UserError
from bitconverter.format.file_kinds import PDF, WORD
from bitconverter.format.size_text import at_least, at_most
from bitconverter.format.text_file import decode_text
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.pdf_text import page_text

FILE_LIMIT = 100_000_000  # bytes
TEXT_LIMIT = 2_000_000  # letters; a context of 128 Ki tokens holds about a quarter of that
HEADER = 1024  # bytes in which a PDF may begin


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
        kind, encoding = document_kind(path, data), ""
        if kind:
            text = document_text(
                path, data, ctx.cancel, TEXT_LIMIT,
                lambda page, pages: ctx.emit(Progress(page, pages, "page", path.name)),
            )  # fmt: skip
        else:
            kind = "text"
            text, encoding = _plain(path, data)
        return Document(path.name, text, kind, encoding)


def document_kind(path: Path, data: bytes) -> str:
    """ "pdf", "docx", or "": what begins otherwise. A zip file is a Word document by its name alone."""
    if data[:5] == b"%PDF-" or (path.suffix.lower() == PDF and b"%PDF-" in data[:HEADER]):
        return "pdf"
    return "docx" if data[:4] == b"PK\x03\x04" and path.suffix.lower() == WORD else ""


def document_text(
    path: Path, data: bytes, cancel: Cancel, most: int, page: Callable[[int, int], None] = lambda *_: None
) -> str:
    """The text of a file that document_kind() knows, at most `most` letters. `page` is called with the number of each
    page of a PDF that was read, and with how many there are.

    Raises UserError: document-encrypted, -broken, -empty, -long.
    """
    kind = document_kind(path, data)
    text = _pdf(path, data, cancel, most, page) if kind == "pdf" else _word(path, data, cancel, most)
    _check_length(path, len(text), most)
    return _tidy(path, text)


def _tidy(path: Path, text: str) -> str:
    """With line ends of one kind, and none around it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not text.strip():
        raise UserError(
            "document-empty",
            f"There is no text in {path.name}. If its pages are pictures (a scan), let a text recognition "
            "program make text of them first.",
            file=path.name,
        )
    return text


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


def _check_length(path: Path, letters: int, most: int) -> None:
    if letters > most:
        raise UserError(
            "document-long",
            f"{path.name} has more than {most} letters, which is too much. Take a part of it.",
            file=path.name,
            limit=most,
        )


def _plain(path: Path, data: bytes) -> tuple[str, str]:
    """(text, at most TEXT_LIMIT letters; its encoding)."""
    found = decode_text(data)
    if found is None:
        raise UserError(
            "document-binary",
            f"{path.name} is no text that can be read. Text, Markdown, PDF and Word (.docx) files can be attached.",
            file=path.name,
        )
    _check_length(path, len(found.text), TEXT_LIMIT)
    return _tidy(path, found.text), found.encoding


def _broken(path: Path, error: BaseException) -> UserError:
    return UserError(
        "document-broken",
        f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:200]}). Open it in the program that "
        "made it and save it again.",
        file=path.name,
        reason=str(error)[:200],
    )


def _pdf(path: Path, data: bytes, cancel: Cancel, most: int, page: Callable[[int, int], None]) -> str:
    from bitconverter.jobs.pdf_file import PdfFile  # its library takes a moment to load

    pages: list[str] = []
    letters = 0
    try:
        with closing(PdfFile(data)) as file:
            for number in range(file.pages):
                cancel.check()
                found = file.text(number)
                letters += len(found)
                _check_length(path, letters, most)  # before more is done with it
                pages.append(page_text(found))
                page(number + 1, file.pages)
    except (UserError, Cancelled):
        raise
    except PermissionError as error:
        raise UserError(
            "document-encrypted",
            f"{path.name} is locked with a password. Save a copy without one and take that.",
            file=path.name,
        ) from error
    except Exception as error:  # the library raises whatever a damaged file leads it to
        raise _broken(path, error) from error
    return "\n\n".join(text for text in pages if text)


def _word(path: Path, data: bytes, cancel: Cancel, most: int) -> str:
    from bitconverter.jobs.word_text import word_lines  # its library takes a moment to load

    lines: list[str] = []
    letters = 0
    try:
        for line in word_lines(data):
            cancel.check()
            lines.append(line)
            letters += len(line) + 1
            _check_length(path, letters - 1, most)  # no line end behind the last one
    except (UserError, Cancelled):
        raise
    except Exception as error:  # zip, XML and missing parts each have their own
        raise _broken(path, error) from error
    return "\n".join(lines)
