"""What a job is: plain parameters, a run method, events out, a cancel token in."""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bitconverter.engine import Cancel, Cancelled
from bitconverter.format.errors import UserError
from bitconverter.jobs.work_owner import claim

__all__ = [
    "Cancel", "Context", "Curves", "Event", "Failed", "Finished", "Job", "Metric", "Note", "Progress", "Questions",
    "Stopped", "Token", "run_job",
]  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units; `item` names what is being worked on; `eta` in seconds, None while unknown."""

    done: int
    total: int
    unit: str
    item: str = ""
    eta: float | None = None


@dataclass(frozen=True)
class Metric:
    """A measured number, at a step of the work."""

    name: str
    step: int
    value: float


@dataclass(frozen=True)
class Curves:
    """What a job that goes on had measured before: (step, value) by the names of its Metrics; and what it had answered:
    (step, question, answer)."""

    points: dict[str, list[tuple[int, float]]]
    samples: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """A piece of streamed text: whole characters only."""

    text: str


@dataclass(frozen=True)
class Note:
    """Something worth telling; each front end has the sentence for the code."""

    code: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    result: Any


@dataclass(frozen=True)
class Failed:
    error: Exception


@dataclass(frozen=True)
class Stopped:
    """Cancelled; the work folder, if there is one, holds what is needed to go on."""


Event = Progress | Metric | Curves | Token | Note | Finished | Failed | Stopped


class Questions:
    """What a front end asks of a job that runs. Any thread may ask; a job that answers takes them where it can."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, text: str) -> None:
        """Put one more behind those that wait."""
        self._waiting.put(text)

    def take(self) -> str | None:
        """The one that has waited longest, None if none does."""
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None


class Context:
    """All that a job may touch of its surroundings."""

    PROGRESS_INTERVAL = 0.05  # seconds: at most about 20 progress events a second

    def __init__(
        self,
        emit: Callable[[Event], None],
        cancel: Cancel,
        work_dir: Path | None = None,
        questions: Questions | None = None,
    ) -> None:
        self._emit = emit
        self.cancel = cancel
        self.work_dir = work_dir
        self.questions = questions or Questions()
        self._last_progress = 0.0

    def emit(self, event: Event) -> None:
        """Hand an event to whoever started the job; drops progress events that come too fast."""
        if isinstance(event, Progress):
            now = time.monotonic()
            if event.done < event.total and now - self._last_progress < self.PROGRESS_INTERVAL:
                return
            self._last_progress = now
        self._emit(event)


class Job(Protocol):
    """A frozen dataclass of plain parameters with a run method.

    `work_dir` is the folder the job owns while it runs, or None for a job that leaves nothing behind.
    """

    @property
    def work_dir(self) -> Path | None: ...

    def run(self, ctx: Context) -> Any: ...


def run_job(
    job: Job, emit: Callable[[Event], None], cancel: Cancel, questions: Questions | None = None
) -> Event:
    """Run to exactly one last event (Finished, Failed or Stopped), emit it and return it.

    Raises only KeyboardInterrupt and SystemExit, and these too behind a last event: somebody waits for it.
    """
    ctx = Context(emit, cancel, questions=questions)
    last: Event
    try:
        ctx.work_dir = job.work_dir
        if ctx.work_dir is not None:
            claim(ctx.work_dir, job)
        last = Finished(job.run(ctx))
    except Cancelled:
        last = Stopped()
    except IsADirectoryError as error:
        last = Failed(_folder_in_way(error))
    except Exception as error:  # the boundary: whoever started the job gets to see it
        last = Failed(error)
    except (KeyboardInterrupt, SystemExit) as error:
        ctx.emit(Failed(_unexpected(error)))
        raise
    except BaseException as error:  # a library's that ends no process: a panic of one written in Rust
        last = Failed(_unexpected(error))
    ctx.emit(last)
    return last


def _folder_in_way(error: IsADirectoryError) -> Exception:
    """Files of ours have names that nobody gives a folder, but somebody may have done so."""
    if not error.filename:
        return error
    told = UserError(
        "folder-in-way",
        f"{error.filename} is a folder, and a file must be there. Move the folder away, or choose another path.",
        path=str(error.filename),
    )
    told.__cause__ = error
    return told


def _unexpected(error: BaseException) -> RuntimeError:
    unexpected = RuntimeError(f"{type(error).__name__}: {error}")
    unexpected.__cause__ = error
    return unexpected
