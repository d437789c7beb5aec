"""Documents as they come: encodings, PDF, Word, and files that only look like one."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pypdfium2
import pytest
from documents import locked_pdf, pdf

from bitconverter.format.errors import UserError
from bitconverter.jobs import read_document
from bitconverter.jobs.job import Cancel, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.read_document import Document, ReadDocumentJob
from bitconverter.jobs.self_test_documents import japanese_pdf

JAPANESE = "今日の会議の議事録\n一、予算について\n二、次回の日程\n"


def read(path: Path) -> Document:
    last = run_job(ReadDocumentJob(str(path)), lambda event: None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932", "euc_jp", "iso2022_jp", "utf_16_le"]
)
def test_japanese_text_in_any_usual_encoding(tmp_path, encoding):
    path = tmp_path / "議事録 🙂.txt"
    path.write_bytes(JAPANESE.replace("\n", "\r\n").encode(encoding))
    document = read(path)
    assert document.text == JAPANESE.strip() and document.name == path.name and document.kind == "text"


def test_markdown_is_taken_as_it_is(tmp_path):
    path = tmp_path / "NOTES.MD"
    path.write_text("# Title\n\n- `code`", encoding="utf-8")
    assert read(path).text == "# Title\n\n- `code`"


def test_the_pages_of_a_pdf(tmp_path):
    path = tmp_path / "paper.PDF"
    path.write_bytes(pdf("first page", "second page"))
    pages = []
    last = run_job(
        ReadDocumentJob(str(path)), lambda e: pages.append(e) if isinstance(e, Progress) else None, Cancel()
    )
    assert last.result.text == "first page\n\nsecond page" and last.result.kind == "pdf"
    assert [event.done for event in pages] == [1, 2]


def test_japanese_without_a_table_of_unicode(tmp_path):
    (tmp_path / "論文.pdf").write_bytes(japanese_pdf("吾輩は猫である。名前はまだ無い。"))
    assert read(tmp_path / "論文.pdf").text == "吾輩は猫である。名前はまだ無い。"


def test_pdf_files_are_read_in_several_threads_one_at_a_time(tmp_path, monkeypatch):
    """The library may be in one thread alone."""
    inside, most = [], []

    def find(page):
        inside.append(page)
        most.append(len(inside))
        time.sleep(0.001)
        text = real(page)
        inside.remove(page)
        return text

    real = pypdfium2.PdfPage.get_textpage
    monkeypatch.setattr(pypdfium2.PdfPage, "get_textpage", find)
    (tmp_path / "a.pdf").write_bytes(pdf(*(f"page {k}" for k in range(20))))
    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(lambda _: read(tmp_path / "a.pdf").text, range(8)))
    assert set(texts) == {"\n\n".join(f"page {k}" for k in range(20))}
    assert len(most) == 160 and set(most) == {1}


def test_between_two_pages_a_cancel_is_seen(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf("first", "second"))
    cancel = Cancel()
    last = run_job(ReadDocumentJob(str(tmp_path / "a.pdf")), lambda _: cancel.request(), cancel)
    assert isinstance(last, Stopped)


def test_ligatures_and_control_characters_of_a_pdf_are_letters_or_nothing(tmp_path):
    """As in R's NEWS.pdf, whose fonts do not say what their codes mean."""
    path = tmp_path / "tex.pdf"
    path.write_bytes(pdf(r"\034xed, o\033 and \020so\021\003"))
    assert read(path).text == "fixed, off and “so”"


WRONG = {
    "document-missing": ("gone.txt", lambda path: None),
    "document-binary": ("picture.txt", lambda path: path.write_bytes(bytes(range(256)) * 40)),
    "document-encrypted": ("locked.pdf", lambda path: path.write_bytes(locked_pdf())),
    "document-empty": ("scan.pdf", lambda path: path.write_bytes(pdf(""))),
    "document-broken": ("cut.pdf", lambda path: path.write_bytes(pdf("x")[:60])),
    "document-large": ("large.txt", lambda path: path.write_bytes(b"a" * 2000)),
    "document-long": ("long.txt", lambda path: path.write_bytes(b"b" * 900)),
}


@pytest.mark.parametrize("code", sorted(WRONG))
def test_what_cannot_be_attached_says_why(tmp_path, code, monkeypatch):
    if code in ("document-large", "document-long"):
        monkeypatch.setattr(read_document, "FILE_LIMIT", 1000)
        monkeypatch.setattr(read_document, "TEXT_LIMIT", 500)
    name, make = WRONG[code]
    make(tmp_path / name)
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert caught.value.code == code and name in str(caught.value)
