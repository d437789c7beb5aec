"""The text files of a model in the encodings that Japanese editors write: they work, or the sentence names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import golden_copy

from bitconverter.jobs.chat import LoadChatJob
from bitconverter.jobs.job import Cancel, Failed, Finished, run_job
from bitconverter.jobs.preflight import PreflightJob

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "cp932"]
WORKS = {"utf-8", "utf-8-sig"}
FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose text files all hold Japanese."""
    folder = golden_copy("llama2", tmp_path / "モデル")
    notes = {"tokenizer_config.json": {}, "generation_config.json": {"eos_token_id": 2}}
    for name, content in notes.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    for name in ("config.json", *notes):
        content = {"_name": "日本語のモデル", **json.loads((folder / name).read_text(encoding="utf-8"))}
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["日"] = tokenizer["model"]["vocab"].pop(
        next(reversed(tokenizer["model"]["vocab"]))
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{# 会話 #}{{ messages[-1].content }}", encoding="utf-8")
    return folder


def rewrite(path: Path, encoding: str) -> None:
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding, "replace"))


def chat(folder: Path) -> str:
    """ "" when it opens, else the sentence."""
    last = run_job(LoadChatJob(str(folder), threads=1), lambda event: None, Cancel())
    if isinstance(last, Finished):
        last.result.close()
        return ""
    assert isinstance(last, Failed)
    return str(last.error)


def check(folder: Path) -> str:
    """ "" when nothing is wrong with it as a source, else the sentences."""
    last = run_job(PreflightJob(source=str(folder), out=None), lambda event: None, Cancel())
    assert isinstance(last, Finished), last
    return "\n".join(item.message for item in last.result.items if item.level != "ok")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("job", [chat, check])
def test_a_file_in_any_encoding_works_or_is_named(
    folder: Path, name: str, encoding: str, job: Callable[[Path], str]
) -> None:
    before = job(folder)
    rewrite(folder / name, encoding)
    said = job(folder)
    if encoding in WORKS:
        assert said == before
    else:
        assert said == before or name in said, said
        if name in ("config.json", "tokenizer.json"):
            assert name in said
