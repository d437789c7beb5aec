"""Documents as lessons: the text of a PDF and of a Word file is learned like any text, and what cannot be read is
named, alone where it was found in a folder."""

import zipfile
from pathlib import Path

import docx
import pytest
from documents import locked_pdf, pdf
from model_folders import write_byte_tokenizer

from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import TEXT, read_pack
from bitconverter.jobs import prepare_inputs
from bitconverter.jobs.job import Cancel, Failed, Finished, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.prepare_result import PrepareResult
from bitconverter.model.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "モデル"
    folder.mkdir()
    write_byte_tokenizer(folder)
    return folder


def prepare(model: Path, *inputs: Path, out: str = "") -> PrepareResult:
    job = PrepareJob(str(model), tuple(map(str, inputs)), out, window=64, preview=9, share=0.0)
    last = run_job(job, lambda _: None, Cancel())
    if isinstance(last, Failed):
        raise last.error
    assert isinstance(last, Finished)
    return last.result


def word(path: Path, *paragraphs: str) -> Path:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    document.save(str(path))
    return path


def test_a_pdf_and_a_word_file_are_learned_whole(model: Path, tmp_path: Path) -> None:
    (tmp_path / "paper.PDF").write_bytes(pdf("first page", "second page"))
    word(tmp_path / "報告.docx", "本文です。", "二つ目。")
    out = tmp_path / "out.u32"
    result = prepare(model, tmp_path / "paper.PDF", tmp_path / "報告.docx", out=str(out))
    assert (result.rows, result.used, result.texts) == (2, 2, 2)
    assert [(file.name, file.encoding) for file in result.files] == [("paper.PDF", ""), ("報告.docx", "")]
    pack, tokenizer = read_pack(out), Tokenizer(model)
    assert pack.kinds.tolist() == [TEXT, TEXT]
    texts = [tokenizer.decode(pack.entry(number)[0].tolist()) for number in range(2)]
    assert "first page\n\nsecond page" in texts[0] and "本文です。\n二つ目。" in texts[1]


def test_a_folder_of_documents_is_searched_and_each_bad_one_costs_itself_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_inputs, "LETTER_LIMIT", 50)
    folder = tmp_path / "資料"
    folder.mkdir()
    for name, data in {
        "broken.pdf": pdf("x")[:60], "good.pdf": pdf("good"), "locked.pdf": locked_pdf(),
        "long.pdf": pdf("x" * 60), "scan.pdf": pdf(""), "text.pdf": b"only called so", "zip.pdf": b"PK\x03\x04..",
        "mailed.pdf": b"\r\n\r\n" + pdf("behind an empty line"), "rich.docx": b"{\\rtf1 hello}",
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
    word(folder / "word.docx", "words")
    with zipfile.ZipFile(folder / "none.docx", "w") as parts:
        parts.writestr("hello.txt", "x")
    result = prepare(model, folder)
    assert {problem.file: problem.code for problem in result.problems} == {
        "broken.pdf": "document-broken", "locked.pdf": "document-encrypted", "long.pdf": "document-long",
        "none.docx": "document-broken", "scan.pdf": "document-empty", "zip.pdf": "packed-file",
        "rich.docx": "packed-file",
    }  # fmt: skip
    assert {file.name for file in result.files if file.used} == {
        "good.pdf",
        "text.pdf",
        "word.docx",
        "mailed.pdf",
    }
    assert all(problem.reason and problem.fix and "None" not in problem.reason for problem in result.problems)


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("document-broken", pdf("x")[:60]),
        ("document-encrypted", locked_pdf()),
        ("document-empty", pdf("")),
    ],
)
def test_one_that_was_named_is_refused(model: Path, tmp_path: Path, code: str, data: bytes) -> None:
    (tmp_path / "本.pdf").write_bytes(data)
    with pytest.raises(UserError, match=r"本\.pdf") as caught:
        prepare(model, tmp_path / "本.pdf")
    assert caught.value.code == code
