"""What a training takes on its disk is told before it, and too little is refused with both numbers."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import FOX, error_of, train_job

from bitconverter.cli.main import main
from bitconverter.engine import Cancel
from bitconverter.jobs import train_work
from bitconverter.jobs.checkpoints import Checkpoints
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.job import Finished, Metric, Stopped, run_job
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.room import size_on_disk
from bitconverter.jobs.train import TrainJob


def a_job(model: Path, folder: Path, **changes: object) -> TrainJob:
    settings = {
        "layers": 2,
        "steps": 40,
        "batch": 4,
        "window": 60,
        "threads": 1,
        "forget_limit": 0.0,
    } | changes
    return train_job(model, folder, FOX * 400, **settings)


def told(job: TrainJob) -> int:
    last = run_job(EstimateTrainingJob(None, job), lambda _: None, Cancel())
    assert isinstance(last, Finished) and isinstance(last.result, TrainingEstimate), last
    assert last.result.room is not None
    return last.result.room.needed


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"adapter": "lora", "rank": 16}, {"adapter": "delta"}, {"engine": "mezo", "directions": 4},
        {"engine": "mezo", "steps": 400, "directions": 8, "window": 24}, {"steps": 2},
    ],
)  # fmt: skip
def test_what_is_told_is_what_it_takes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    job = a_job(model, tmp_path, **changes)
    estimate, taken = told(job), 0
    tidy = Checkpoints._tidy

    def watched(self: Checkpoints) -> None:
        nonlocal taken
        taken = max(taken, size_on_disk(job.work_dir))
        tidy(self)

    monkeypatch.setattr(Checkpoints, "_tidy", watched)
    monkeypatch.setattr(train_work, "SAVE_SECONDS", 0.0)  # the best state is not one of the newest then
    assert isinstance(run_job(job, lambda _: None, Cancel()), Finished)
    assert taken <= estimate <= 1.2 * taken


def test_too_little_room_is_refused_before_the_start(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, usage = a_job(model, tmp_path), shutil.disk_usage(tmp_path)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("psutil.disk_partitions", lambda: [])
    monkeypatch.setattr(
        "shutil.disk_usage", lambda place: usage._replace(free=1000 if str(tmp_path) == str(place) else 10**9)
    )
    error = error_of(job)
    assert error.code == "train-room" and f"Too little space in {tmp_path}" in str(error)
    assert error.fields["needed"] in str(error) and "0.00 MB are free" in str(error)
    assert sorted(tmp_path.iterdir()) == before
    assert str(error_of(EstimateTrainingJob(None, job))) == str(error)
    drives = [SimpleNamespace(mountpoint="/proc", opts="rw", fstype="ext4")]  # another device
    monkeypatch.setattr("psutil.disk_partitions", lambda: drives)
    for refused in (job, EstimateTrainingJob(None, job)):
        error = error_of(refused)
        assert error.code == "train-room-elsewhere" and "There is room on /proc (1.00 GB)." in str(error)
    words = ["train", job.model, job.lesson, job.out, "--layers", "2", "--window", "60", "--threads", "1"]
    for more in ([], ["--check"]):
        assert main([*words, *more]) == 1
        assert "Too little space" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_there_already_needs_no_room_again_and_can_be_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, cancel = a_job(model, tmp_path), Cancel()
    whole = told(job)

    def stop(event: object) -> None:
        if isinstance(event, Metric) and event.name == "loss" and event.step == 9:
            cancel.request()

    assert isinstance(run_job(job, stop, cancel), Stopped)
    assert 0 < told(job) < whole - size_on_disk(job.work_dir) / 2
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _place: usage._replace(free=1000))
    assert error_of(job).code.startswith("train-room") and job.work_dir.exists()
    assert isinstance(run_job(KeepTrainingJob(job), lambda _: None, Cancel()), Finished)


def test_the_check_tells_the_disk(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job(model, tmp_path)
    words = ["train", job.model, job.lesson, job.out, "--layers", "2", "--window", "60", "--check"]
    assert main(words) == 0
    assert "disk                   about " in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    room = json.loads(capsys.readouterr().out)["room"]
    assert room["place"] == str(tmp_path) and 0 < room["needed"] < room["free"]
    assert told(dataclasses.replace(job, steps=30)) == room["needed"]
