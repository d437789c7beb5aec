"""Train a converted model's row gains on a text or on examples: exact gradients, AdamW, a soul as the result.

Only the last layers learn; what comes into them is computed once and kept on disk. Killed at any moment and started
again, a run ends in the same bytes on the same kind of processor (jobs/train_run.py).
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock
from bitconverter.jobs import train_state
from bitconverter.jobs.job import Context
from bitconverter.jobs.train_run import Settings, TrainResult, TrainRun, output_exists


@dataclass(frozen=True)
class TrainJob:
    """`model`: a converted folder; `lesson`: a UTF-8 .txt, or a .jsonl of {"prompt", "answer"}; `out`: the soul to
    write. The last `layers` layers learn; a step sees `batch` windows of at most `window` tokens. `labels`: the words
    that the answers of examples are, each one token, to be told apart; the loss is over these alone.

    `threads` does not change the result, so it may differ when a run is continued.
    """

    model: str
    lesson: str
    out: str
    layers: int = 6
    steps: int = 30
    batch: int = 16
    window: int = 256
    rate: float = 3e-3
    decay: float = 0.0
    seed: int = 0
    threads: int = field(default=0, metadata={"identity": False})
    cpu: str = "auto"
    labels: tuple[str, ...] = ()

    @property
    def work_dir(self) -> Path:
        return Path(self.out + ".partial")

    def run(self, ctx: Context) -> TrainResult:
        """Raises UserError: "train-setting", "output-exists", "work-folder-busy", "train-layers", "train-dense",
        "train-diverged", "lesson-changed", those of read_lessons() and of the tokenizer; EngineError; Cancelled."""
        started = time.monotonic()
        with _work_folder(self.work_dir):
            self._check()
            with contextlib.closing(TrainRun(self._settings(), ctx)) as run:
                run.go()
                run.publish()
                return run.result(time.monotonic() - started)

    def _settings(self) -> Settings:
        return Settings(
            Path(self.model), self.lesson, Path(self.out), self.work_dir, self.layers, self.steps, self.batch,
            self.window, self.rate, self.decay, self.seed, self.threads, self.cpu,
            self.labels,
        )  # fmt: skip

    def _check(self) -> None:
        whole = {
            "steps": (self.steps, 1, 10**6),
            "batch": (self.batch, 1, 4096),
            "window": (self.window, 2, 1 << 20),
        }
        for name, (value, least, most) in whole.items():
            if not least <= value <= most:
                raise _setting(name, value, f"{least} to {most}")
        for name, real, top in (("rate", self.rate, 1.0), ("decay", self.decay, 10.0)):
            if not 0 <= real <= top:
                raise _setting(name, real, f"0 to {top:g}")
        if len(self.labels) == 1:
            raise _setting("labels", self.labels[0], "two or more words, or none")
        if not 0 <= self.seed < 2**53:
            raise _setting("seed", self.seed, "0 to 2^53 - 1")
        if Path(self.out).exists() and not train_state.present(self.work_dir):
            raise output_exists(self.out)


@contextlib.contextmanager
def _work_folder(path: Path) -> Iterator[None]:
    """Locked inside the block; kept behind it only if the run was broken off after it had a state."""
    path.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(path)
    done = False
    try:
        yield
        done = True
    finally:
        finished = done or not train_state.present(path)
        if finished:
            train_state.remove(path)
            (path / "job.json").unlink(missing_ok=True)
        lock.release()
        if finished:
            with contextlib.suppress(OSError):  # somebody else's files in there: the folder stays
                path.rmdir()


def _setting(name: str, value: float | str, allowed: str) -> UserError:
    return UserError(
        "train-setting", f"{name} is {value}, must be {allowed}.", name=name, value=value, allowed=allowed
    )
