"""The curves of a training that was stopped are read from its work folder."""

from pathlib import Path

from reference.converted import write_converted

from bitconverter.engine import Cancel
from bitconverter.jobs import train_state
from bitconverter.jobs.job import Curves, Event, Finished, Metric, Stopped, run_job
from bitconverter.jobs.saved_curves import SavedCurvesJob
from bitconverter.jobs.train import TrainJob


def _curves(folder: Path) -> Curves | None:
    last = run_job(SavedCurvesJob(str(folder)), lambda _: None, Cancel())
    assert isinstance(last, Finished), last
    return last.result


def test_the_newest_state_that_is_whole_tells_the_curves(tiny_model: Path, tmp_path: Path) -> None:
    write_converted(tiny_model, tmp_path / "モデル", 2, seed=3)
    (tmp_path / "lesson.txt").write_text(
        "the quick brown fox jumps over the lazy dog. " * 20, encoding="utf-8"
    )
    job = TrainJob(
        str(tmp_path / "モデル"), str(tmp_path / "lesson.txt"), str(tmp_path / "魂.soul"), layers=1, steps=50,
        batch=4, window=24, rate=0.03, forget_limit=0.0,
    )  # fmt: skip
    assert _curves(job.work_dir) is None  # there is no folder
    cancel, told = Cancel(), {"loss": [], "validation": []}

    def watch(event: Event) -> None:
        if isinstance(event, Metric) and event.name in told:
            told[event.name].append((event.step, event.value))
            if event.step == 12:
                cancel.request()

    assert isinstance(run_job(job, watch, cancel), Stopped)
    found = _curves(job.work_dir)
    assert found is not None and found.points == told and found.points["loss"][-1][0] == 12
    saved = train_state.checkpoints(job.work_dir)
    for step in saved.steps():
        place = saved.place(step) / train_state.STATE
        data = place.read_bytes()
        assert train_state.curves(place) is not None
        for broken in (b"", data[: len(data) // 2], b"\x93NUMPY" + data[6:]):
            place.write_bytes(broken)
            assert train_state.curves(place) is None
    assert _curves(job.work_dir) is None
