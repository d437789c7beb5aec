"""Train row gains or low-rank additions of a converted model on a text or on examples; a soul is the result.

Only the last layers learn; what comes into them is computed once and kept on disk. Killed at any moment and started
again, a run ends in the same bytes on the same kind of processor (jobs/train_run.py).
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitconverter.engine import MATRICES, Cancelled
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.format.weight_file import FULL_ERRORS
from bitconverter.jobs import train_ending, train_state
from bitconverter.jobs.eco import low_priority, on_cores
from bitconverter.jobs.job import Context
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.runs import RunRecord, record_of_killed
from bitconverter.jobs.train_result import TrainResult, aside_path, check_soul_name, log_path, output_exists
from bitconverter.jobs.train_run import TrainRun
from bitconverter.jobs.train_settings import CLIPS, MOST_SAMPLES, TrainSettings

OBJECTIVES = ("loss", "accuracy")
ADAPTERS = ("gain", "lora", "delta")


@dataclass(frozen=True)
class TrainJob(TrainSettings):
    def run(self, ctx: Context) -> TrainResult:
        """Raises UserError: "train-setting", "soul-name", "output-exists", "work-folder-busy", "train-layers",
        "train-dense", "train-diverged", "train-memory", "lesson-changed", "no-such-core", "pin-damaged", "pin-other",
        "pin-settings", "pin-steps", "train-room", "train-room-elsewhere", "train-disk-full", those of
        choose_training_device(), of read_lessons() and of the tokenizer; EngineError; Cancelled."""
        with (
            _work_folder(self.work_dir),
            on_cores(self.cores),
            low_priority() if self.eco else contextlib.nullcontext(),
        ):
            return self._run(ctx)

    def _run(self, ctx: Context) -> TrainResult:
        started = time.monotonic()
        ending = train_ending.ended(self.work_dir, ctx)
        if ending is not None:
            record_of_killed(self, ctx, ending)
            return ending.result
        check_settings(self)
        check_place(self)
        resumed = train_state.present(self.work_dir)
        run = TrainRun(self, ctx)
        run.room().check()
        run.place()
        before = _reached(run)
        record = RunRecord(self, ctx, resumed)
        record.runs_on(run.state.devices)
        try:
            run.go()
            ending = train_ending.end(run, started)
        except Exception as error:
            if isinstance(error, UserError) and error.code == "train-diverged":  # it would do so again
                train_state.remove(self.work_dir)
            if train_state.present(self.work_dir):  # it can go on
                raise
            if _reached(run) == before:  # it was refused, or stopped before its first step: nothing ran
                record.withdrawn()
            elif not isinstance(error, Cancelled):
                record.failed()
            raise
        record.ended(ending)
        return ending.result


def _reached(run: TrainRun) -> tuple[int, int]:
    return run.state.step, len(run.state.checks)


def check_settings(job: TrainJob) -> None:
    """Raises UserError("train-setting") for one that no training can have."""
    words = [
        ("engine", job.engine, tuple(CLIPS)),
        ("objective", job.objective, OBJECTIVES),
        ("adapter", job.adapter, ADAPTERS),
        *(("targets", target, MATRICES) for target in job.targets),
    ]
    for name, value, known in words:
        if value not in known:
            raise _setting(name, value, " or ".join(known), known=known)
    whole = {
        "steps": (job.steps, 1, 10**6),
        "batch": (job.batch, 1, 4096),
        "window": (job.window, 2, 1 << 20),
        "directions": (job.directions, 1, 1024),
        "warmup": (job.warmup, 0, 10**6),
        "patience": (job.patience, 0, 10**6),
        "rank": (job.rank, 1, 256),
        "targets": (len(job.targets), 1, len(MATRICES)),
        "samples": (len(job.samples), 0, MOST_SAMPLES),
    }
    for name, (number, least, most) in whole.items():
        if not least <= number <= most:
            raise _setting(name, number, f"{least} to {most}", least=least, most=most)
    real = {
        "rate": (job.rate, 1.0), "decay": (job.decay, 10.0), "clip": (job.clip, 1e6),
        "forget_limit": (job.forget_limit, 100.0), "away": (job.away, 10_000.0),
    }  # fmt: skip
    for name, (size, top) in real.items():
        if size is not None and not 0 <= size <= top:
            raise _setting(name, size, f"0 to {top:g}", least=0, most=top)
    if job.epsilon is not None and not 1e-6 <= job.epsilon <= 1:
        raise _setting("epsilon", job.epsilon, "1e-6 to 1", least=1e-6, most=1)
    if job.by_spread and job.directions < 2:
        raise _setting(
            "directions", job.directions, "2 to 1024 with by_spread", least=2, most=1024, beside="by_spread"
        )
    if len(job.labels) == 1:
        raise _setting("labels", job.labels[0], "two or more words, or none", words=2)
    if not 0 <= job.seed < 2**53:
        raise _setting("seed", job.seed, "0 to 2^53 - 1", least=0, most=2**53 - 1)


def check_place(job: TrainJob) -> None:
    """Raises UserError: "soul-name"; "output-exists" where something would be overwritten."""
    begun = train_state.checkpoints(job.work_dir).steps()
    if begun and begun[0] > 0:  # it may be killed behind the writing of its soul
        return
    check_soul_name(job.out)
    for path in (Path(job.out), log_path(job.out), aside_path(job.out)):
        if path.exists():
            raise output_exists(str(path))
    if pins_of(job.out).steps() and not begun:  # of another training: two would be mixed
        raise output_exists(str(pins_of(job.out).folder))


@contextlib.contextmanager
def _work_folder(path: Path) -> Iterator[None]:
    """Locked inside the block; kept behind it only if the run was broken off after it had a state."""
    path.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(path)
    done = False
    try:
        yield
        done = True
    except OSError as error:
        if error.errno in FULL_ERRORS:
            raise _disk_full(error, path) from error
        raise
    finally:
        finished = done or not train_state.present(path)
        if finished:
            train_state.remove(path)
            train_ending.forget(path)
        lock.release()
        if finished:
            with contextlib.suppress(OSError):  # somebody else's files in there: the folder stays
                path.rmdir()


def _disk_full(error: OSError, work_folder: Path) -> UserError:
    """What is saved stays, and the training can go on from it later."""
    file, reason = error.filename or str(work_folder), error.strerror or str(error)
    saved = (
        "it goes on from what is saved of it"
        if train_state.present(work_folder)
        else "nothing of it is saved yet"
    )
    return UserError(
        "train-disk-full",
        f"{file} could not be written: {reason}. Make room and start it again: {saved}.",
        file=file, reason=reason,
    )  # fmt: skip


def _setting(name: str, value: float | str, allowed: str, **told: Any) -> UserError:
    """`told`: what is allowed, for front ends that say it in their own words (gui/texts/errors.py, SETTINGS_JA)."""
    return UserError(
        "train-setting",
        f"{name} is {value}, must be {allowed}.",
        name=name, value=value, allowed=allowed, **told,
    )  # fmt: skip
