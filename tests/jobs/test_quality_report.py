"""The quality report of a conversion: the numbers of evaluate, the same on every run, made again after a stop."""

import json
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from model_folders import golden_copy, hashes, write_gguf

from bitconverter.jobs import quality_report
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.evaluate import EvaluateJob
from bitconverter.jobs.job import Cancel, Context, Event, Finished, Metric, Note, Progress, Stopped, run_job
from bitconverter.jobs.quality_report import TEXTS, amounts, predicts_nothing


def convert(source: Path, out: Path, **more: Any) -> tuple[ConvertResult, list[Event]]:
    events: list[Event] = []
    job = ConvertJob(str(source), str(out), **{"threads": 1, "planes": 2, "report": True, **more})
    last = run_job(job, events.append, Cancel())
    assert isinstance(last, Finished), last
    return last.result, events


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return golden_copy("llama3.1", tmp_path / "m")


@pytest.mark.parametrize(
    ("perplexity", "vocab", "said"),
    [
        (49152.0, 49152, True),
        (None, 49152, True),
        (3e6, 49152, True),
        (19.3, 49152, False),
        (20_000.0, 49152, False),
    ],
)
def test_a_source_that_guesses_is_told_from_one_that_knows_something(
    perplexity: float | None, vocab: int, said: bool
) -> None:
    assert predicts_nothing(perplexity, vocab) == said


def test_its_numbers_are_those_of_evaluate(source: Path, tmp_path: Path) -> None:
    result, events = convert(source, tmp_path / "out")
    # of random weights
    assert Note("source-damaged", {"vocabulary": 101}) in events
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    report = manifest["report"]
    assert result.report == report
    assert set(report["texts"]) == set(TEXTS)
    for name, row in report["texts"].items():
        text = str(files("bitconverter") / "resources" / "report" / f"{name}.txt")
        job = EvaluateJob(str(tmp_path / "out"), text, str(source), max_tokens=1024, window=report["window"])
        last = run_job(job, lambda _: None, Cancel())
        assert isinstance(last, Finished), last
        assert row["tokens"] == last.result.tokens
        for key, value in (
            ("kl", last.result.kl),
            ("top1", last.result.top1),
            ("perplexity", last.result.perplexity),
        ):
            assert row[key] == pytest.approx(value, rel=1e-4)
    tokens = sum(row["tokens"] for row in report["texts"].values())
    assert report["all"]["tokens"] == tokens
    mean = sum(row["tokens"] * row["kl"] for row in report["texts"].values()) / tokens
    assert report["all"]["kl"] == pytest.approx(mean, rel=1e-3)


def test_the_card_shows_numbers_answers_and_every_matrix(source: Path, tmp_path: Path) -> None:
    result, _ = convert(source, tmp_path / "out", method="full", calibration_windows=2)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert result.report is not None
    assert len(result.report["answers"]) == 6
    for answer in result.report["answers"]:
        assert f"**{answer['prompt']}**" in card
    assert f"| together | {result.report['all']['tokens']} |" in card
    assert "| layer | q | k | v | o | gate | up | down |" in card
    assert card.count("| 2: ") == 14


def test_it_does_not_depend_on_threads(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "one")
    convert(source, tmp_path / "three", threads=3)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three")


@pytest.mark.parametrize("method", ["fast", "full"])
def test_the_progress_of_a_conversion_ends_behind_its_report(
    source: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One scale from the beginning to the end: no bar that is full, and begins again."""
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)
    _, events = convert(source, tmp_path / "out", method=method)
    progress = [event for event in events if isinstance(event, Progress)]
    assert {(event.unit, event.total) for event in progress} == {("byte", progress[0].total)}
    done = [event.done for event in progress]
    assert done == sorted(done) and done[-1] == progress[0].total
    report = [event for event in progress if event.item.startswith("quality report")]
    assert {event.item.partition(": ")[2] for event in report} == {*TEXTS, ""}
    assert max(event.done for event in report) < progress[0].total
    share = 1 - min(event.done for event in report) / progress[0].total
    assert (share > 0.5) == (method == "fast")  # without calibration, the report takes most of the time


def test_a_report_that_is_skipped_is_no_hole_in_the_progress(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    _, events = convert(source, tmp_path / "out", need_tokenizer=False)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total


def test_stopped_in_the_report_the_conversion_is_not_done_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "PROGRESS_INTERVAL", 0.0)
    convert(source, tmp_path / "whole")
    cancel = Cancel()

    def stop_in_report(event: Event) -> None:
        if isinstance(event, Progress) and event.item.startswith("quality report"):
            cancel.request()

    job = ConvertJob(str(source), str(tmp_path / "out"), threads=1, planes=2, report=True)
    assert isinstance(run_job(job, stop_in_report, cancel), Stopped)
    result, events = convert(source, tmp_path / "out")
    tensors = len(
        json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["source"]["tensors"]
    )
    assert result.resumed_tensors == tensors
    assert any(isinstance(event, Metric) and event.name == "perplexity" for event in events)
    assert hashes(tmp_path / "whole") == hashes(tmp_path / "out")


def test_without_a_tokenizer_it_says_why_not(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    result, events = convert(source, tmp_path / "out", need_tokenizer=False)
    notes = [event for event in events if isinstance(event, Note) and event.code == "report-skipped"]
    assert len(notes) == 1 and "tokenizer" in notes[0].fields["why"]
    assert result.report == {"skipped": notes[0].fields["why"]}
    assert "were not compared" in (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_gguf_that_has_no_room_to_be_unpacked_is_converted_without_a_report(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(source, tmp_path / "m.gguf")
    usage = shutil.disk_usage(tmp_path)
    asked = []

    def little(path: object) -> object:
        asked.append(str(path))
        return usage._replace(free=usage.free if str(tmp_path) in str(path) else 1000)

    monkeypatch.setattr(tempfile, "tempdir", str(Path("/")))
    monkeypatch.setattr(shutil, "disk_usage", little)
    monkeypatch.setattr(quality_report, "model_folder", lambda *_: pytest.fail("it was unpacked"))
    result, events = convert(tmp_path / "m.gguf", tmp_path / "out")
    assert result.report is not None and "unpacked" in result.report["skipped"] and "/" in asked
    notes = [event for event in events if isinstance(event, Note)]
    assert [note.fields["code"] for note in notes if note.code == "check"].count("unpacking") == 1
    assert any(note.code == "report-skipped" for note in notes)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_large_models_are_measured_less() -> None:
    assert (amounts(135 * 10**6).text, amounts(135 * 10**6).answer) == (1024, 48)
    assert (amounts(8 * 10**9).text, amounts(8 * 10**9).answer) == (500, 8)
    assert amounts(70 * 10**9).text == 128
