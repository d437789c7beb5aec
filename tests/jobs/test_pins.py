"""A state of a training that was pinned stays, and a training goes on from it."""

from dataclasses import fields
from pathlib import Path

import pytest
from running import FOX, error_of, finish, stop_at, train_job

from bitconverter.engine import Cancel
from bitconverter.format.errors import UserError
from bitconverter.jobs import train_state
from bitconverter.jobs.checkpoints import Checkpoints
from bitconverter.jobs.job import Event, Metric, Note, Questions, run_job
from bitconverter.jobs.pinned import FIXED
from bitconverter.jobs.pins import PinJob, Pinned, UnpinJob, going_on, pins_of
from bitconverter.jobs.runs import RunsJob
from bitconverter.jobs.train import TrainJob

KINDS: list[dict[str, object]] = [
    {},
    {"engine": "mezo"},
    {"adapter": "lora", "rank": 2},
    {"adapter": "delta"},
]


def make_job(model: Path, folder: Path, name: str = "a", **changes: object) -> TrainJob:
    settings = {
        "layers": 1,
        "steps": 30,
        "batch": 4,
        "window": 24,
        "rate": 0.03,
        "forget_limit": 0.0,
    } | changes
    return train_job(model, folder, FOX * 20, name, **settings)


def pin(soul: str, step: int | None = None) -> Pinned:
    found = finish(PinJob(soul, step))
    assert isinstance(found, Pinned)
    return found


@pytest.mark.parametrize("changes", KINDS)
def test_what_goes_on_from_a_pin_ends_in_the_same_bytes(
    model: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    """The pin outlives the training, whose newer states and whose work folder are gone by then."""
    job = make_job(model, tmp_path, **changes)
    stop_at(job, 10)
    pinned = pin(job.out)
    assert pinned.step == 10 and Path(pinned.path).is_dir()
    finish(job)
    assert not job.work_dir.exists() and pins_of(job.out).steps() == [10]
    again = going_on(pinned.path, str(tmp_path / "again.soul"))
    assert again.steps == 30 and again.begin == pinned.path
    events: list[Event] = []
    finish(again, events)
    told = [event.step for event in events if isinstance(event, Metric) and event.name == "loss"]
    assert Note("began-at-pin", {"step": 10}) in events and told == list(range(11, 31))
    assert Path(again.out).read_bytes() == Path(job.out).read_bytes()


def test_it_goes_on_further_and_otherwise_and_is_killed_on_the_way(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    stop_at(job, 10)
    pinned = pin(job.out)
    ends = []
    for name, broken_off in (("b", False), ("c", True)):
        more = going_on(pinned.path, str(tmp_path / f"{name}.soul"), steps=50, rate=0.01)
        if broken_off:
            stop_at(more, 20)
            assert pin(more.out).step == 20
        ends.append(finish(more))
    assert [end.steps for end in ends] == [50, 50]
    assert (tmp_path / "b.soul").read_bytes() == (tmp_path / "c.soul").read_bytes()
    assert ends[0].before == finish(job).before


def test_it_is_not_tidied_away_and_goes_when_it_is_unpinned(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, history=str(tmp_path / "runs.sqlite3"))
    for step in (3, 6, 9, 12, 15):
        stop_at(job, step)
        if step in (3, 6):
            pin(job.out)
    saved = train_state.checkpoints(job.work_dir)
    assert 6 not in saved.steps()[:3] and pins_of(job.out).steps() == [6, 3]
    assert pin(job.out, saved.steps()[1]).step == saved.steps()[1]
    finish(UnpinJob(job.out, saved.steps()[1]))
    (run,) = finish(RunsJob(job.history))
    assert run.pinned == (6, 3)
    finish(UnpinJob(job.out, 3))
    finish(UnpinJob(job.out, 6))
    assert not Path(job.out + ".pinned").exists()
    assert error_of(UnpinJob(job.out, 6)).code == "pin-missing"


def test_what_cannot_be_pinned_or_gone_on_from_is_said(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    assert error_of(PinJob(job.out)).code == "pin-nothing"
    stop_at(job, 10)
    assert error_of(PinJob(job.out, 7)).code == "pin-missing"
    pinned = Path(pin(job.out).path)
    for code, changes in (("pin-settings", {"seed": 5}), ("pin-steps", {"steps": 10})):
        assert error_of(make_job(model, tmp_path, "b", begin=str(pinned), **changes)).code == code
        assert not Path(make_job(model, tmp_path, "b").work_dir).exists()
    other = make_job(model, tmp_path / "other", "c", begin=str(pinned))
    (tmp_path / "other" / "lesson.txt").write_text("something else. " * 60, encoding="utf-8")
    assert error_of(other).code == "pin-other"
    (pinned / train_state.STATE).write_bytes(b"damaged")
    for broken in (pinned, tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError) as caught:
            going_on(str(broken), str(tmp_path / "d.soul"))
        assert caught.value.code == "pin-damaged"
    assert error_of(make_job(model, tmp_path, "d", begin=str(pinned))).code == "pin-damaged"


def test_of_every_setting_it_is_said_whether_it_may_change() -> None:
    settings = {field.name for field in fields(TrainJob) if field.metadata.get("identity", True)}
    free = {
        "steps",
        "rate",
        "decay",
        "clip",
        "warmup",
        "patience",
        "forget_limit",
    }  # docs/FORMAT.md section 4.4
    own = {"model", "lesson", "out", "cpu", "begin"}  # told by the key, or of the run itself
    assert settings == {*FIXED} | free | own


def test_a_damaged_checkpoint_is_not_pinned(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    for step in (4, 8):
        stop_at(job, step)
    (train_state.checkpoints(job.work_dir).folder / "step-00000008" / train_state.STATE).write_bytes(b"x")
    assert pin(job.out).step < 8 and error_of(PinJob(job.out, 8)).code == "pin-missing"


def test_pins_of_another_training_are_not_mixed(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path)
    stop_at(job, 10)
    pin(job.out)
    finish(job)
    Path(job.out).unlink()
    assert error_of(job).code == "output-exists"


def test_the_state_that_answered_can_be_pinned(model: Path, tmp_path: Path) -> None:
    """Whenever a question is answered there is a checkpoint of that step, also where nothing got better."""
    job, seen = make_job(model, tmp_path, rate=0.0, samples=("the",)), []  # type: tuple[TrainJob, list[tuple[int, int]]]
    questions = Questions()

    def look(event: Event) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 4:
            questions.ask("and now?")
        if isinstance(event, Note) and event.code in ("train-sample", "sample-failed"):
            seen.append((event.fields.get("step", 4), train_state.checkpoints(job.work_dir).steps()[0]))

    run_job(job, look, Cancel(), questions)
    assert len(seen) == 12 and all(told == saved for told, saved in seen)


def test_what_is_tidied_away_while_it_is_read_is_looked_for_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that saves often takes a checkpoint away between the look at the list and the look into it."""
    job = make_job(model, tmp_path)
    stop_at(job, 8)
    whole, gone = Checkpoints.load, []

    def load(self: Checkpoints, step: int) -> dict[str, bytes] | None:
        gone.append(step)
        return None if len(gone) < 30 else whole(self, step)

    monkeypatch.setattr(Checkpoints, "load", load)
    assert pin(job.out).step in gone
