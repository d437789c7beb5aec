"""The files that a lesson is made of: what was named, and what lies in the folders that were named."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.format.file_kinds import DOCUMENTS, LESSONS
from bitconverter.format.pack_file import looks_raw
from bitconverter.format.row_problem import REASONS, RowProblem
from bitconverter.format.size_text import at_least, at_most
from bitconverter.format.text_file import Decoded, any_text, read_any_text
from bitconverter.jobs.read_document import document_kind, document_text

RAW = ".u32"
REJECTED = ".rejected.jsonl"  # what an earlier preparation left beside its pack
FILE_LIMIT = 1_000_000_000  # bytes of one file: it is held in memory, several times
LETTER_LIMIT = 100_000_000  # of one document, which may promise any number of pages


@dataclass(frozen=True)
class Input:
    """`name` is how the file is called to people: relative to the folder that was named. `searched`: it was found in
    one, so nobody said that it can be read."""

    path: Path
    name: str
    size: int
    searched: bool = False


def find_inputs(named: Sequence[str], apart: dict[str, UserError] | None = None) -> tuple[list[Input], int]:
    """(the files in order, how many others in the folders were left out). With `apart` what is of no use goes in
    there, by its path, and nothing is raised.

    Raises UserError: "lesson-file-missing", "lesson-kind", "lesson-folder-empty", "lesson-large", "lesson-pack".
    """
    found: dict[Path, Input] = {}
    left_out = 0
    for text in named:
        path = Path(text)
        try:
            inside, others = _in_folder(path) if path.is_dir() else ([_named(path)], 0)
        except UserError as error:
            if apart is None:
                raise
            apart[str(path)] = error
            continue
        left_out += others
        for entry in inside:
            found.setdefault(entry.path.absolute(), entry)
    return list(found.values()), left_out


def read_input(entry: Input, cancel: Cancel) -> Decoded:
    """The text of a file; encoding "": of a PDF or Word document. Raises UserError("lesson-file-missing",
    "lesson-binary", "lesson-packed", "document-encrypted", "document-broken", "document-empty", "document-long"),
    RowProblem instead for a file that was found in a folder."""
    try:
        return (
            _document(entry.path, cancel)
            if entry.path.suffix.lower() in DOCUMENTS
            else read_any_text(entry.path)
        )
    except OSError as error:
        if entry.searched:
            raise RowProblem("file-gone", line=1) from error
        raise _missing(entry.path, error) from error
    except UserError as error:
        if not entry.searched:
            raise
        if error.code in REASONS:
            found = error.fields.get("reason", error.fields.get("limit"))
            raise RowProblem(error.code, line=1, found=found) from error
        packed = error.code == "lesson-packed"
        raise RowProblem(
            "packed-file" if packed else "no-text", line=1, kind=error.fields.get("kind", "")
        ) from error


def _document(path: Path, cancel: Cancel) -> Decoded:
    """A text that is only called a document is one all the same."""
    data = path.read_bytes()
    if not document_kind(path, data):
        return any_text(path, data)
    return Decoded(document_text(path, data, cancel, LETTER_LIMIT), "")


def _named(path: Path) -> Input:
    try:
        size = path.stat().st_size
        raw = path.suffix.lower() == RAW and looks_raw(path)
    except OSError as error:
        raise _missing(path, error) from error
    if path.suffix.lower() == RAW and not raw:
        raise UserError(
            "lesson-pack",
            f"{path} is a pack already, which only `bitconverter train` takes as it is. Choose the files that it was "
            "made of, also to add others to them.",
            path=str(path),
        )
    if path.suffix.lower() not in (*LESSONS, RAW):
        raise UserError(
            "lesson-kind",
            f"{path.name} is none of the files that lessons are made of: {', '.join(LESSONS)}, raw .u32. "
            "Save it as one of these.",
            path=str(path), kinds=", ".join(LESSONS),
        )  # fmt: skip
    if size > FILE_LIMIT:
        raise UserError(
            "lesson-large",
            f"{path} has {at_least(size)}, and at most {at_most(FILE_LIMIT)} of one file can be read. Divide it into "
            "several.",
            path=str(path), size=size, limit=FILE_LIMIT, size_text=at_least(size), limit_text=at_most(FILE_LIMIT),
        )  # fmt: skip
    return Input(path, path.name, size)


def _in_folder(folder: Path) -> tuple[list[Input], int]:
    files: list[Path] = []
    others = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(LESSONS) and not name.startswith(".") and not name.endswith(REJECTED):
                files.append(Path(place) / name)
            else:
                others += 1
    if not files:
        raise UserError(
            "lesson-folder-empty",
            f"There is no file for lessons in {folder}: {', '.join(LESSONS)}. Choose another folder.",
            folder=str(folder), kinds=", ".join(LESSONS),
        )  # fmt: skip
    entries = [_named(path) for path in files]
    return [Input(e.path, e.path.relative_to(folder).as_posix(), e.size, True) for e in entries], others


def _missing(path: Path, error: OSError) -> UserError:
    return UserError(
        "lesson-file-missing",
        f"{path} cannot be read: {error.strerror or error}. Check that it is there and may be read.",
        path=str(path),
    )
