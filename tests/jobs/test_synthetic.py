"""A model of random weights opens, answers, is the same every time, and overwrites nothing."""

import hashlib
from pathlib import Path

import pytest

from bitconverter.cli import arguments
from bitconverter.jobs.benchmark import BenchmarkJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.inspect import InspectJob
from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Progress, Stopped, run_job
from bitconverter.jobs.synthetic import SyntheticJob
from bitconverter.model.shapes import SHAPES


def made(out: Path, planes: int) -> Path:
    job = SyntheticJob(str(out), "135m", planes, layers=1)
    assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
    return out


@pytest.mark.parametrize("planes", [1, 2])
def test_it_is_a_converted_model_with_finite_answers(planes: int, tmp_path: Path) -> None:
    out = made(tmp_path / "random", planes)
    looked = run_job(InspectJob(str(out)), lambda _: None, Cancel())
    assert isinstance(looked, Finished), looked
    assert abs(looked.result.bits_per_weight - 1.6 * planes) < 0.05
    ran = run_job(BenchmarkJob(str(out), prompt_tokens=8, new_tokens=2, repeat=1), lambda _: None, Cancel())
    assert isinstance(ran, Finished), ran


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (made(tmp_path / name, 1) / "model.safetensors" for name in "ab")
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def test_what_is_there_stays_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    last = run_job(SyntheticJob(str(tmp_path / "mine"), "135m"), lambda _: None, Cancel())
    assert isinstance(last, Failed)
    assert isinstance(last.error, UserError)
    cancel = Cancel()

    def emit(event: Event) -> None:
        if isinstance(event, Progress):
            cancel.request()

    assert isinstance(run_job(SyntheticJob(str(tmp_path / "new"), "135m"), emit, cancel), Stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unfinished_conversion_to_the_same_name_stays(tmp_path: Path) -> None:
    """It may hold hours of work, and lies where this job once made its own folder."""
    journal = tmp_path / "random.partial" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_text("hours of work", encoding="utf-8")
    made(tmp_path / "random", 1)
    assert journal.read_text(encoding="utf-8") == "hours of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["random", "random.partial"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "new", tmp_path / ("x" * 300) / "new"):
        last = run_job(SyntheticJob(str(out), "135m", 1, layers=1), lambda _: None, Cancel())
        assert isinstance(last, Failed) and isinstance(last.error, UserError), last
        assert f"The folder {out} cannot be made" in str(last.error)


def test_the_command_line_knows_the_shapes() -> None:
    assert arguments.SHAPES == SHAPES
