"""Run a job for the command line: it works in a thread, this one prints events and listens to Ctrl-C."""

import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bitconverter.cli import FAILED, STOPPED, device_text, texts
from bitconverter.cli.terminal import ProgressLine, time_left, visible
from bitconverter.jobs.errors import EngineError, UserError
from bitconverter.jobs.job import (
    Cancel,
    Event,
    Failed,
    Finished,
    Job,
    Metric,
    Note,
    Progress,
    Stopped,
    Token,
    run_job,
)
from bitconverter.store.ran_on import RanOn

POLL_SECONDS = 0.1  # Windows does not wake a waiting thread for Ctrl-C


class Ended(Exception):
    """A job did not finish; what there is to say has been said. `status` is the process's exit status."""

    def __init__(self, status: int, error: Exception | None = None) -> None:
        super().__init__(status)
        self.status, self.error = status, error


def run(job: Job, line: ProgressLine, on_token: Callable[[str], None] | None = None) -> Any:
    """The job's result. Raises Ended(FAILED or STOPPED) after telling why."""
    cancel = Cancel()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    # In a thread of its own, because Python sees Ctrl-C only between two calls of the main thread,
    # and one call of the engine may take long.
    worker = threading.Thread(target=run_job, args=(job, events.put, cancel), name="job")
    with _interrupt_cancels(cancel):
        worker.start()
        try:
            last = _follow(events, cancel, line, on_token)
        except BaseException:  # the output cannot be written: nobody would see what comes
            cancel.request()
            raise
        finally:
            worker.join()
    line.clear()
    if isinstance(last, Finished):
        return last.result
    if isinstance(last, Failed):
        report(last.error)
        raise Ended(FAILED, last.error)
    raise Ended(STOPPED)


def _follow(
    events: queue.SimpleQueue[Event],
    cancel: Cancel,
    line: ProgressLine,
    on_token: Callable[[str], None] | None,
) -> Finished | Failed | Stopped:
    told = False
    errors: list[float] = []
    left = ""
    while True:
        if cancel.requested and not told:
            told = True
            line.say(texts.AGAIN_TO_FORCE)
        try:
            event = events.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        match event:
            case Finished() | Failed() | Stopped():
                return event
            case Progress():
                line.show(event)
                left = time_left(event)
            case Metric("output_error", layer, error):
                errors.append(error)
                mean = sum(errors) / len(errors)
                line.say(texts.LAYER.format(layer=layer + 1, error=error, mean=mean, left=left))
            case Metric("validation", step, value):
                line.say(texts.TRAIN_CHECK.format(step=step, value=value))
            case Metric("accuracy", step, value):
                line.say(texts.TRAIN_RIGHT.format(step=step, value=value))
            case Note(code, fields):
                line.say(describe_note(code, fields))
            case Token(text) if on_token is not None:
                on_token(text)


@contextmanager
def _interrupt_cancels(cancel: Cancel) -> Iterator[None]:
    """The first Ctrl-C asks the job to stop; a second one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    usual = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        cancel.request()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def describe_note(code: str, fields: dict[str, Any]) -> str:
    """The sentence for a note; an unknown one shows its code and fields."""
    if code == "device":
        fields = {"reason": device_text.reason(fields["code"], fields)}
    if code == "train-device":
        fields = {"said": device_text.steps_on(fields)}
    if code == "train-device-changed":
        fields = {when: device_text.ran_on(RanOn(**fields[when])) for when in ("before", "now")}
    if code == "file-read":
        fields = {**fields, "encoding": f" ({fields['encoding']})" if fields["encoding"] else ""}
    try:
        return texts.NOTES[code].format(**fields)
    except KeyError:
        return " ".join([code, *(f"{key}={value}" for key, value in fields.items())])


def report(error: Exception) -> None:
    """Say on standard error what went wrong: a sentence, or for our own mistakes the whole story."""
    if not isinstance(error, UserError | EngineError | OSError | MemoryError):
        print(visible("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        print(f"bitconverter: {texts.UNEXPECTED}", file=sys.stderr)
        return
    print(f"bitconverter: {visible(str(error)) or type(error).__name__}", file=sys.stderr)
