"""A disk that fills up in the middle of a training: which file it was is told, and nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from running import train_job

from bitconverter.jobs.job import Cancel, Finished, Note, run_job
from bitconverter.jobs.train import TrainJob

TEXT = "the quick brown fox jumps over the lazy dog and runs back home. " * 12
# a limit on the size of a file makes its writing fail as a full disk does
PROGRAM = """
import resource, signal
from bitconverter.jobs import train_ending
from bitconverter.jobs.job import Cancel, run_job
from bitconverter.jobs.train import TrainJob
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
def end(*words, real=train_ending.end):
    full()
    return real(*words)
if {at_the_end}:
    train_ending.end = end
else:
    full()
last = run_job({job!r}, lambda event: None, Cancel())
print(last.error.code, last.error)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")


def a_job(model: Path, folder: Path) -> TrainJob:
    return train_job(model, folder, TEXT, layers=1, steps=4, batch=4, window=24, threads=2, forget_limit=0.0)


def finish(job: TrainJob, events: list | None = None) -> bytes:
    last = run_job(job, (lambda _: None) if events is None else events.append, Cancel())
    assert isinstance(last, Finished), last
    return Path(job.out).read_bytes()


@pytest.mark.parametrize(
    ("limit", "at_the_end", "file"),
    [(30_000, False, "prefix.partial"), (1_000, False, "state.npz"), (3_000, True, "魂.soul")],
)
def test_the_file_is_named_and_the_training_goes_on(
    model: Path, tmp_path: Path, limit: int, at_the_end: bool, file: str
) -> None:
    whole = finish(a_job(model, tmp_path / "whole"))
    job = a_job(model, tmp_path / "parts")
    program = PROGRAM.format(limit=limit, at_the_end=at_the_end, job=job)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=Path(__file__).parents[2]
    )
    assert done.stdout.startswith("train-disk-full "), done
    assert f"{file} could not be written" in done.stdout and "Make room" in done.stdout
    assert ("nothing of it is saved yet" in done.stdout) == (file == "state.npz")
    events: list = []
    assert finish(job, events) == whole
    went_on = any(isinstance(event, Note) and event.code == "resumed-training" for event in events)
    assert went_on == at_the_end  # before the first state nothing is saved, and it begins anew
