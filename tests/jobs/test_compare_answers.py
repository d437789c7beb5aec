"""Answers before and after: of rows that were held back, by the real engine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_folders import edit_config, edit_tensors, write_byte_tokenizer
from reference.converted import write_converted
from running import finish

from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import read_pack
from bitconverter.jobs.compare_answers import CompareAnswersJob, Compared
from bitconverter.jobs.job import Cancel, Event, Failed, Progress, Stopped, run_job
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.train import TrainJob
from bitconverter.model.tokenizer import Tokenizer

EMBEDDING = "model.embed_tokens.weight"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role[0] }}>\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<a>\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(model: Path) -> Path:
    write_byte_tokenizer(model, json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return model


def taught(model: Path, tmp_path: Path, text: str, name: str) -> CompareAnswersJob:
    (tmp_path / name).write_text(text, encoding="utf-8")
    lesson, soul = tmp_path / "a.u32", tmp_path / "魂.soul"
    finish(PrepareJob(str(model), (str(tmp_path / name),), str(lesson), window=64))
    settings = {"layers": 2, "steps": 30, "batch": 8, "window": 64, "rate": 0.05, "forget_limit": 100.0}
    finish(TrainJob(str(model), str(lesson), str(soul), **settings))  # type: ignore[arg-type]
    return CompareAnswersJob(str(model), str(soul), str(lesson), tokens=12)


def test_held_back_questions_are_answered_by_both(model: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"what is {k}?", "answer": "aaaa"}) for k in range(30)]
    job = taught(model, tmp_path, "\n".join(rows), "rows.jsonl")
    events: list[Event] = []
    found = finish(job, events)
    assert isinstance(found, tuple) and len(found) == 3
    pack, tokenizer = read_pack(Path(job.lesson)), Tokenizer(model)
    held = [int(line) for (_, line), is_held in zip(pack.places, pack.held, strict=True) if is_held]
    for answer, line in zip(found, held, strict=True):
        assert isinstance(answer, Compared)
        assert answer.prompt == f"what is {line - 1}?"  # without what the template writes
        assert answer.wanted == tokenizer.decode(tokenizer.encode("aaaa", add_special_tokens=False))
        assert answer.after != answer.before
        assert answer.after.count("a") > answer.before.count("a")
    assert [event.item for event in events if isinstance(event, Progress)] == [model.name] * 3 + ["魂"] * 3
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "a.u32", "魂.soul"}


def test_a_text_is_continued(model: Path, tmp_path: Path) -> None:
    found = finish(taught(model, tmp_path, "tea and rain. " * 60, "a.txt"))
    assert isinstance(found, tuple) and all("tea" in answer.prompt for answer in found)


def test_what_was_set_aside_is_compared_before_anybody_keeps_it(model: Path, tmp_path: Path) -> None:
    job = taught(model, tmp_path, "tea and rain. " * 60, "a.txt")
    aside = Path(job.soul).rename(job.soul + ".aside")
    assert isinstance(finish(replace(job, soul=str(aside))), tuple)


def test_a_japanese_text_is_cut_between_characters(tiny_model: Path, tmp_path: Path) -> None:
    source, model = tmp_path / "source", tmp_path / "モデル"
    shutil.copytree(tiny_model, source)
    edit_config(source, vocab_size=256)  # a token for every byte
    edit_tensors(
        source, lambda tensors: tensors.update({EMBEDDING: np.tile(tensors[EMBEDDING], (2, 1))[:256]})
    )
    write_converted(source, model, 2, seed=3)
    write_byte_tokenizer(model)
    text = "港はゆっくりと目を覚ました。まずカモメが、それから綱が。x"  # 85 bytes: cut everywhere
    found = finish(taught(model, tmp_path, text * 30, "a.txt"))
    assert isinstance(found, tuple) and len(found) == 3
    pack = read_pack(Path(tmp_path / "a.u32"))
    begins = [pack.entry(int(number))[0][:1].tolist() for number in range(len(pack))]
    assert len({tuple(begin) for begin in begins}) > 3
    for answer in found:
        assert "\ufffd" not in answer.prompt + answer.wanted
        assert answer.prompt + answer.wanted in text * 2


def test_it_can_be_stopped_and_says_what_is_missing(model: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"{k}?", "answer": "a"}) for k in range(20)]
    job = taught(model, tmp_path, "\n".join(rows), "rows.jsonl")
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    assert isinstance(run_job(job, emit, cancel), Stopped)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "a.u32", "魂.soul"}
    Path(job.lesson).unlink()
    last = run_job(job, lambda _: None, Cancel())
    assert isinstance(last, Failed) and isinstance(last.error, UserError)
    assert last.error.code == "text-unreadable"
