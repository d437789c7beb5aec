"""A training that makes the model forget too much is set aside, and can be kept all the same."""

import math
from pathlib import Path
from typing import Any

import pytest
from running import error_of, finish, train_job

from bitconverter.engine import Cancel, Engine
from bitconverter.format.soul_file import read_soul
from bitconverter.jobs.adopt import AdoptJob, AdoptResult
from bitconverter.jobs.job import Event, Note, Stopped, run_job
from bitconverter.jobs.merge import MergeJob
from bitconverter.jobs.taught_model import Forgetting, TaughtModel
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_result import TrainResult
from bitconverter.model.tokenizer import Tokenizer


def make_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    """A narrow lesson, learned far too hard."""
    settings = {"layers": 2, "steps": 20, "batch": 4, "window": 24, "rate": 0.2, "threads": 2} | changes
    return train_job(model, folder, "a" * 800, **settings)


def train(job: TrainJob, events: list[Event] | None = None) -> TrainResult:
    result = finish(job, events)
    assert isinstance(result, TrainResult)
    return result


def general_loss(folder: Path) -> float:
    return TaughtModel(Engine(2), folder, Tokenizer(folder)).general_loss(Cancel())


def test_too_much_forgetting_is_set_aside_and_kept_all_the_same(model: Path, tmp_path: Path) -> None:
    job, events = make_job(model, tmp_path / "aside"), []  # type: tuple[TrainJob, list[Event]]
    result = train(job, events)
    aside = Path(job.out + ".aside")
    assert result.set_aside and result.out == str(aside) and aside.is_file() and not Path(job.out).exists()
    found = result.forgetting
    assert found is not None and found.before == general_loss(model) and found.after > found.before + 0.2
    assert Note("train-forgot", {**vars(found), "path": str(aside)}) in events
    notes = read_soul(aside).notes
    assert (float(notes["general_before"]), float(notes["general_after"])) == (found.before, found.after)
    assert not job.work_dir.exists() and error_of(job).code == "output-exists"

    kept = train(make_job(model, tmp_path / "kept", forget_limit=100.0))
    assert not kept.set_aside and Path(kept.out).read_bytes() == aside.read_bytes()

    (tmp_path / "aside" / "魂.soul").write_text("mine")
    assert (
        error_of(AdoptJob(job.out)).code == "output-exists"
        and Path(job.out).read_text(encoding="utf-8") == "mine"
    )
    Path(job.out).unlink()
    assert finish(AdoptJob(job.out)) == AdoptResult(job.out)
    Path(job.out).rename(aside)
    assert finish(AdoptJob(str(aside))) == AdoptResult(job.out)  # by the name that is seen
    twice = tmp_path / "other.aside.aside"  # of a soul whose own name ends so
    twice.write_bytes(b"soul")
    assert finish(AdoptJob(str(tmp_path / "other.aside"))) == AdoptResult(str(tmp_path / "other.aside"))
    assert Path(job.out).read_bytes() == Path(kept.out).read_bytes() and not aside.exists()
    assert error_of(AdoptJob(job.out)).code == "nothing-aside"


def test_what_is_measured_is_the_model_that_comes_out(model: Path, tmp_path: Path) -> None:
    result = train(make_job(model, tmp_path / "a", forget_limit=100.0))
    finish(MergeJob(str(model), result.out, str(tmp_path / "merged")))
    assert result.forgetting is not None
    assert general_loss(tmp_path / "merged") == pytest.approx(
        result.forgetting.after, rel=1e-3
    )  # scales in f16


def test_it_is_not_looked_at_where_that_is_not_wanted(model: Path, tmp_path: Path) -> None:
    result = train(make_job(model, tmp_path / "a", forget_limit=0.0))
    assert result.forgetting is None and not result.set_aside
    assert "general_before" not in read_soul(Path(result.out)).notes


def test_where_nothing_was_learned_nothing_is_forgotten(model: Path, tmp_path: Path) -> None:
    result = train(make_job(model, tmp_path / "a", rate=0.0))
    assert result.forgetting is not None and result.forgetting.after == result.forgetting.before
    assert not result.set_aside


def test_stopped_while_it_looks_it_goes_on_to_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(make_job(model, tmp_path / "whole"))
    job, cancel = make_job(model, tmp_path / "parts"), Cancel()
    real = TaughtModel.general_loss

    def stop(self: TaughtModel, *given: Any) -> float:
        cancel.request()
        return real(self, *given)

    monkeypatch.setattr(TaughtModel, "general_loss", stop)
    assert isinstance(run_job(job, lambda _: None, cancel), Stopped)
    monkeypatch.setattr(TaughtModel, "general_loss", real)
    assert Path(train(job).out).read_bytes() == Path(whole.out).read_bytes()


@pytest.mark.parametrize(
    ("before", "after", "too_much"),
    [
        (2.0, 2.0, False),
        (2.0, 1.0, False),
        (2.0, 2.125, False),
        (2.0, 2.25, True),
        (2.0, math.nan, True),
        (2.0, math.inf, True),
        (math.inf, math.inf, False),
    ],
)
def test_the_limit(before: float, after: float, too_much: bool) -> None:
    assert Forgetting(before, after, 0.125).too_much is too_much
