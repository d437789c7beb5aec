"""The trainings of before: what a run writes down of itself, the list, and what two of them have differently."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.train_ending import Ending
from bitconverter.jobs.train_result import TrainResult
from bitconverter.jobs.train_settings import CLIPS, TrainSettings, usual_rate
from bitconverter.store.ran_on import RanOn
from bitconverter.store.run_store import ASIDE, DONE, FAILED, KEPT, Run, StoreError, open_runs

# where it is and runs, and what changes no result
NOT_SETTINGS = ("out", "history", "threads", "cpu", "device", "gpu_memory", "gpu_layers")
Value = Any


class RunRecord:
    """What is written down of one training in the file `job.history`, "" for nowhere. What goes wrong there is no
    reason to lose a training: it is told, by Note("history-unavailable", reason), and the run goes on."""

    def __init__(self, job: TrainSettings, ctx: Context, resumed: bool, begins: bool = True) -> None:
        """`resumed`: the one that is not over goes on, if it is known; not `begins`: none is begun instead of it."""
        self._path, self._ctx, self._number = job.history, ctx, 0
        self._soul = os.path.abspath(job.out)
        if self._path and begins:
            self._try(lambda store: self._keep(store.begin(self._soul, settings_of(job), resumed)))
        elif self._path:
            self._try(lambda store: self._keep(store.unfinished(self._soul)))

    def runs_on(self, devices: list[RanOn]) -> None:
        """On what it has run until now, and runs."""
        if self._number:
            self._try(lambda store: store.runs_on(self._number, devices))

    def ended(self, ending: Ending) -> None:
        """It has a result."""
        result = ending.result
        outcome = ASIDE if result.set_aside else KEPT if ending.early else DONE
        checks = [(step, loss) for step, loss, _ in ending.checks]
        self._end(outcome, os.path.abspath(result.out), numbers_of(result), ending.losses, checks)

    def withdrawn(self) -> None:
        """It has not run at all."""
        if self._number:
            self._try(lambda store: store.withdraw(self._number))

    def failed(self) -> None:
        """It cannot go on."""
        self._end(FAILED, self._soul, {}, [], [])

    def _end(
        self, outcome: str, soul: str, numbers: dict[str, float], *curves: list[tuple[int, float]]
    ) -> None:
        if self._number:
            self._try(lambda store: store.end(self._number, outcome, soul, numbers, *curves))

    def _keep(self, number: int) -> None:
        self._number = number

    def _try(self, work: Any) -> None:
        try:
            with open_runs(Path(self._path)) as store:
                work(store)
        except (UserError, StoreError, OSError) as error:
            self._ctx.emit(Note("history-unavailable", {"reason": str(error)}))


def record_of_killed(job: TrainSettings, ctx: Context, ending: Ending) -> None:
    """Write down the end of a training whose process was killed behind its soul, unless it did that itself."""
    RunRecord(job, ctx, resumed=True, begins=False).ended(ending)


def settings_of(job: TrainSettings) -> dict[str, Any]:
    """What decides about the result, defaults written out."""
    values = {key: value for key, value in asdict(job).items() if key not in NOT_SETTINGS}
    values["rate"] = usual_rate(job) if job.rate is None else job.rate
    values["clip"] = CLIPS[job.engine] if job.clip is None else job.clip
    return values


def numbers_of(result: TrainResult) -> dict[str, float]:
    """The figures of a result, by their names; `general_before` and `general_after` if they were looked at."""
    names = (
        "before", "after", "accuracy_before", "accuracy_after", "steps", "best_step", "parameters",
        "learned_tokens", "seconds",
    )  # fmt: skip
    numbers = {name: getattr(result, name) for name in names}
    if result.forgetting is not None:
        numbers |= {"general_before": result.forgetting.before, "general_after": result.forgetting.after}
    return numbers


@dataclass(frozen=True)
class RunsJob:
    """The trainings that the file `history` knows, the newest first, without curves, with what is pinned of them: a
    tuple of Run."""

    history: str
    most: int = 200

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> tuple[Run, ...]:
        """Raises UserError: "runs-newer", "runs-unavailable"."""
        with open_runs(Path(self.history)) as store:
            return tuple(_with_pins(run) for run in store.runs(self.most))


@dataclass(frozen=True)
class RunDiff:
    """`settings` and `numbers`: (name, of the first, of the second), only those that differ; None: it has none."""

    first: Run
    second: Run
    settings: tuple[tuple[str, Value, Value], ...]
    numbers: tuple[tuple[str, Value, Value], ...]


@dataclass(frozen=True)
class DiffRunsJob:
    """Two trainings side by side, with their curves; the same number twice shows one."""

    history: str
    first: int
    second: int

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> RunDiff:
        """Raises UserError: "run-missing", "runs-newer", "runs-unavailable"."""
        with open_runs(Path(self.history)) as store:
            first, second = _with_pins(store.run(self.first)), _with_pins(store.run(self.second))
        return RunDiff(
            first,
            second,
            _differences(first.settings, second.settings),
            _differences(first.numbers, second.numbers),
        )


def _with_pins(run: Run) -> Run:
    return replace(run, pinned=tuple(pins_of(run.soul).steps()))


def _differences(first: dict[str, Value], second: dict[str, Value]) -> tuple[tuple[str, Value, Value], ...]:
    names = dict.fromkeys([*first, *second])
    return tuple(
        (name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)
    )
