"""A job on its own thread: its events in the GUI thread, one job at a time, nothing left behind."""

import threading
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import QApplication

from bitconverter.gui.job_worker import JobRunner
from bitconverter.jobs.job import Context, Failed, Finished, Progress, Stopped


class _Closable:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class _Count:
    """Counts to `total`; then returns `result`."""

    total: int
    result: Any = None
    work_dir = None

    def run(self, ctx: Context) -> Any:
        for step in range(self.total):
            ctx.cancel.check()
            ctx._emit(Progress(step + 1, self.total, "step"))
        return self.result


@dataclass(frozen=True)
class _UntilCancelled:
    """Runs until it is cancelled. `reached` is set when it runs; `obeys`: whether it then stops or finishes."""

    reached: threading.Event
    result: Any = None
    obeys: bool = True
    work_dir = None

    def run(self, ctx: Context) -> Any:
        ctx.emit(Progress(0, 1, "step"))
        self.reached.set()
        pause = threading.Event()
        while not ctx.cancel.requested:
            pause.wait(0.005)
        if self.obeys:
            ctx.cancel.check()
        return self.result


@dataclass(frozen=True)
class _Breaks:
    work_dir = None

    def run(self, ctx: Context) -> Any:
        raise RuntimeError("broken")


class _Seen(list):
    def __init__(self, runner: JobRunner) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()
        runner.happened.connect(self._add)

    def _add(self, event: Any) -> None:
        self.threads.add(threading.current_thread())
        self.append(event)


def test_all_events_arrive_in_order_in_the_gui_thread(qtbot):
    runner = JobRunner()
    seen = _Seen(runner)
    with qtbot.waitSignal(runner.idle):
        runner.start(_Count(50, "done"))
    assert [event.done for event in seen[:-1]] == list(range(1, 51))
    assert seen[-1] == Finished("done")
    assert seen.threads == {threading.main_thread()}
    assert not runner.busy


def test_a_cancelled_job_ends_as_stopped(qtbot):
    runner = JobRunner()
    seen = _Seen(runner)
    runner.happened.connect(lambda event: runner.cancel())
    with qtbot.waitSignal(runner.idle):
        runner.start(_UntilCancelled(threading.Event()))
    assert isinstance(seen[-1], Stopped)


def test_an_error_arrives_as_failed_and_the_next_job_runs(qtbot):
    runner = JobRunner()
    seen = _Seen(runner)
    with qtbot.waitSignal(runner.idle):
        runner.start(_Breaks())
    assert isinstance(seen[-1], Failed) and str(seen[-1].error) == "broken"
    with qtbot.waitSignal(runner.idle):
        runner.start(_Count(1, 7))
    assert seen[-1] == Finished(7)


def test_starting_another_job_silences_the_first_and_waits_for_it(qtbot):
    runner = JobRunner()
    seen = _Seen(runner)
    reached = threading.Event()
    runner.start(_UntilCancelled(reached, "first"))
    qtbot.waitUntil(reached.is_set)
    qtbot.waitUntil(lambda: bool(seen))
    seen.clear()
    with qtbot.waitSignal(runner.idle):
        runner.start(_Count(1, "second"))
    assert seen == [Progress(1, 1, "step"), Finished("second")]


def test_a_result_that_nobody_waits_for_is_closed(qtbot):
    runner = JobRunner()
    result, reached = _Closable(), threading.Event()
    runner.start(_UntilCancelled(reached, result, obeys=False))
    qtbot.waitUntil(reached.is_set)
    with qtbot.waitSignal(runner.idle):
        runner.drop()
    assert result.closed


def test_stop_and_wait_leaves_no_thread(qtbot):
    runner = JobRunner()
    seen, reached = _Seen(runner), threading.Event()
    runner.start(_UntilCancelled(reached))
    qtbot.waitUntil(reached.is_set)
    runner.stop_and_wait()
    assert not runner.busy
    assert not any(isinstance(event, Stopped) for event in seen)


def test_what_was_on_its_way_at_the_end_does_not_arrive(qtbot):
    runner = JobRunner()
    seen, result = _Seen(runner), _Closable()
    runner.start(_Count(1, result))
    assert runner._worker is not None
    runner._worker.wait()  # all is said, and nothing of it has arrived yet
    runner.stop_and_wait()
    QApplication.processEvents()
    assert seen == [] and not runner.busy
    assert result.closed
