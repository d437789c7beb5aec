"""Pin a state of a training, let it go again, and go on from it (jobs/pinned.py says what a pinned state is)."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.jobs import train_state
from bitconverter.jobs.job import Context
from bitconverter.jobs.pinned import SETTINGS, pins_of, read_pin
from bitconverter.jobs.train import TrainJob

# to read a checkpoint that a training at work may tidy away meanwhile; seconds between
TRIES, PAUSE = 20, 0.02


@dataclass(frozen=True)
class Pinned:
    path: str
    step: int


@dataclass(frozen=True)
class PinJob:
    """Pin the checkpoint after `step` of the unfinished training of `soul`, None: the newest that is whole. The
    training may be at work."""

    soul: str
    step: int | None = None

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> Pinned:
        """Raises UserError: "pin-nothing", "pin-missing"."""
        work = Path(self.soul + ".partial")
        saved, pins = train_state.checkpoints(work), pins_of(self.soul)
        settings = _settings(work)
        for number in range(TRIES if settings else 0):
            if number:
                ctx.cancel.check()
                time.sleep(PAUSE)
            for step in saved.steps() if self.step is None else [self.step]:
                files = saved.load(step)
                if files is not None:
                    pins.save(step, {**files, SETTINGS: settings}, best=False)
                    return Pinned(str(pins.place(step)), step)
        if self.step is not None and saved.steps():
            raise _missing(self.soul, self.step)
        raise UserError(
            "pin-nothing",
            f"There is no unfinished training of {self.soul} with a state that could be pinned. Pin one while it runs, "
            "or while it is paused.",
            soul=self.soul,
        )


@dataclass(frozen=True)
class UnpinJob:
    """Remove the state after `step` that was pinned."""

    soul: str
    step: int

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> Pinned:
        """Raises UserError("pin-missing")."""
        pins = pins_of(self.soul)
        if self.step not in pins.steps():
            raise _missing(self.soul, self.step)
        pins.remove_one(self.step)
        return Pinned(str(pins.place(self.step)), self.step)


@dataclass(frozen=True)
class GoOnJob:
    """The TrainJob that goes on from the pinned state in the folder `path`, to be run then; see going_on()."""

    path: str
    out: str
    steps: int | None = None
    rate: float | None = None

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> TrainJob:
        """Raises UserError("pin-damaged")."""
        return going_on(self.path, self.out, self.steps, self.rate)


def going_on(path: str, out: str, steps: int | None = None, rate: float | None = None) -> TrainJob:
    """A training that goes on from the pinned state in the folder `path`, with its settings but for what is given.
    Raises UserError("pin-damaged")."""
    names = {field.name for field in dataclasses.fields(TrainJob)}
    told: Any = json.loads(read_pin(path)[SETTINGS])
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in told.items()
        if name in names
    }
    job = TrainJob(**values)
    return dataclasses.replace(
        job, out=out, begin=path, steps=steps or job.steps, rate=job.rate if rate is None else rate
    )


def _settings(work: Path) -> bytes:
    """Those of the training in a work folder, b"" if there is none."""
    try:
        told: Any = json.loads((work / "job.json").read_bytes())
    except (OSError, ValueError):
        return b""
    if not isinstance(told, dict) or told.pop("job", "") != TrainJob.__name__:
        return b""
    return json.dumps(told).encode()


def _missing(soul: str, step: int) -> UserError:
    return UserError(
        "pin-missing",
        f"There is no whole state of {soul} after step {step}. `bitconverter runs` lists what is pinned.",
        soul=soul,
        step=step,
    )
