"""The looks at the windows held back: when, what they find, and when nothing gets better any more."""

import math
from collections.abc import Callable

import numpy as np

from bitconverter.jobs.job import Metric, Note
from bitconverter.jobs.train_state import Checking
from bitconverter.jobs.train_work import TrainWork

CHECKS = (
    10  # looks in a run, beside the one at its start; up to twice as many where steps do not divide by it
)


def check_due(work: TrainWork) -> bool:
    """Whether the state as it is now is to be looked at."""
    state, steps = work.state, work.job.steps
    if looked_at(work):
        return False
    return state.step % _every(steps) == 0 or state.step == steps


def looked_at(work: TrainWork) -> bool:
    """Whether the last look was at the state as it is now."""
    state = work.state
    return bool(state.checks) and state.checks[-1][0] == state.step


def checks_of(steps: int) -> int:
    """Looks in a run of so many steps, beside the one at its start."""
    return math.ceil(steps / _every(steps))


def _every(steps: int) -> int:
    return max(1, steps // CHECKS)


def check(work: TrainWork, save: Callable[[], None]) -> bool:
    """The loss on the windows held back; whether it is the lowest so far, whose parameters are kept. `save` is called
    where there is time to save how far the look is."""
    state, windows = work.state, len(work.lesson)
    sums = _begun(work)
    while sums.next < windows:
        work.give_way(save)
        part = np.arange(sums.next, min(sums.next + work.together, windows))
        score = work.trainer.score(work.batch(part), work.cancel)
        sums = state.checking = Checking(
            sums.next + len(part), sums.loss + score.loss, sums.tokens + score.tokens,
            sums.right + score.right, sums.windows + score.windows,
        )  # fmt: skip
        if work.save_due():
            save()
    state.checking = None
    value, accuracy = sums.loss / max(1, sums.tokens), sums.right / max(1, sums.windows)
    better = value < state.best_loss or not state.checks
    state.checks.append((state.step, value, accuracy))
    if better:
        state.best, state.best_loss, state.best_step = state.parameters.copy(), value, state.step
    work.ctx.emit(Metric("validation", state.step, value))
    work.ctx.emit(Metric("accuracy", state.step, accuracy))
    return better


def on_plateau(work: TrainWork) -> bool:
    """Whether nothing has become better for as many checks as the job has patience for."""
    state = work.state
    since = sum(step > state.best_step for step, _, _ in state.checks)
    if not 0 < work.job.patience <= since:
        return False
    work.ctx.emit(Note("train-plateau", {"step": state.step, "checks": since}))
    return True


def _begun(work: TrainWork) -> Checking:
    """The sums of a look that was broken off, or none."""
    begun, first, end = work.state.checking, work.lesson.n_learn, len(work.lesson)
    if begun is None or not first < begun.next <= end:
        return Checking(first)
    whole_parts = (begun.next - first) % work.together == 0 or begun.next == end
    return begun if whole_parts else Checking(first)
