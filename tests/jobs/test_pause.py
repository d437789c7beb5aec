"""A job can be paused and goes on in place; the result is the same."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from model_folders import golden_copy

from bitconverter.engine import Cancel, Cancelled, Engine, quantize_planes
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Event, Finished, Progress, run_job

LOOK = 0.2  # seconds: a paused thread never ends, so this can make no test fail


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("inside", ["python", "engine"])
def test_paused_work_waits_for_resume(inside: str) -> None:
    cancel = Cancel()
    cancel.pause()
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    def work() -> None:
        if inside == "python":
            cancel.check()
        else:
            quantize_planes(Engine(threads=2), weights, seed=0, n_planes=2, cancel=cancel)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LOOK)
    assert thread.is_alive() and cancel.paused
    cancel.resume()
    thread.join()


def test_a_paused_job_can_be_stopped() -> None:
    cancel = Cancel()
    cancel.pause()
    cancel.request()
    with pytest.raises(Cancelled):
        cancel.check()


def test_a_conversion_that_was_paused_gives_the_same_bytes(tmp_path: Path) -> None:
    source = golden_copy("llama3.1", tmp_path / "m")
    for name, paused in (("plain", False), ("paused", True)):
        cancel = Cancel()

        def emit(event: Event, cancel: Cancel = cancel, paused: bool = paused) -> None:
            if paused and isinstance(event, Progress):
                cancel.pause()
                threading.Timer(0.001, cancel.resume).start()

        job = ConvertJob(str(source), str(tmp_path / name), threads=2, method="full", calibration_windows=2)
        assert isinstance(run_job(job, emit, cancel), Finished)
        while any(isinstance(t, threading.Timer) for t in threading.enumerate()):
            next(t for t in threading.enumerate() if isinstance(t, threading.Timer)).join()
    assert sha256(tmp_path / "plain" / "model.safetensors") == sha256(
        tmp_path / "paused" / "model.safetensors"
    )
