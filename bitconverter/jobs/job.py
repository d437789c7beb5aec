"""What a job is: plain parameters, a run method, events out, a cancel token in."""

import contextlib
import dataclasses
import json
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bitconverter.engine import Cancel, Cancelled
from bitconverter.format.atomic import write_json
from bitconverter.format.errors import UserError
from bitconverter.format.lock import FolderLock

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
            _claim(ctx.work_dir, job)
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


def _claim(work_dir: Path, job: Job) -> None:
    """A work folder belongs to one job; going on with other parameters is refused."""
    path = work_dir / "job.json"
    try:
        if not path.exists():
            work_dir.mkdir(parents=True, exist_ok=True)
            write_json(path, _identity(job))
            return
        taken = other_work(work_dir, job)
    except OSError as error:
        raise UserError(
            "folder-unwritable",
            f"{work_dir} cannot be written: {error.strerror or error}. Choose another output folder.",
            folder=str(work_dir),
        ) from error
    if taken is not None:
        with contextlib.suppress(OSError):  # one that somebody works in shall not be removed: says so itself
            FolderLock(work_dir).release()
        raise taken


def other_work(work_dir: Path, job: Job) -> UserError | None:
    """Why `job` cannot go on in `work_dir`, which holds the work of another one; None if it can, or could begin there.

    Fields that cannot change the result have the metadata {"identity": False} and may differ; those with {"path": True}
    are the same however they are spelt. A version of the program
    without a field did what its default does. Raises OSError.
    """
    path = work_dir / "job.json"
    if not path.exists():
        return None
    now = _with_whole_paths(job, _identity(job))
    there = _read_identity(path)
    if there is not None and there.get("job") == now["job"]:
        # an earlier version may have kept what does not count
        there = _usual(job) | {name: value for name, value in there.items() if name not in _free(job)}
        there = _with_whole_paths(job, there)
    if there == now:
        return None
    differ = _differences(there, now)
    if there is None:
        return UserError(
            "work-folder-damaged",
            f"{work_dir} holds unfinished work that cannot go on: what it was begun with is damaged (job.json). "
            "Choose another output folder, or remove that folder.",
            folder=str(work_dir), differ=differ,
        )  # fmt: skip
    if there.keys() != now.keys():
        return UserError(
            "work-folder-version",
            f"{work_dir} holds unfinished work of another version of this program, which cannot go on "
            f"(there -> now: {differ}). Choose another output folder, or remove that folder.",
            folder=str(work_dir), differ=differ,
        )  # fmt: skip
    return UserError(
        "work-folder-taken",
        f"{work_dir} holds unfinished work with other settings (there -> now: {differ}). "
        "Choose another output folder, use the same settings to go on, or remove that folder.",
        folder=str(work_dir), differ=differ,
    )  # fmt: skip


def _identity(job: Job) -> dict[str, Any]:
    names = [f.name for f in _identity_fields(job)]
    return _as_json({"job": type(job).__name__, **{name: getattr(job, name) for name in names}})


def _usual(job: Job) -> dict[str, Any]:
    """What fields are by default, of those that have one."""
    fields = [f for f in _identity_fields(job) if f.default is not dataclasses.MISSING]
    return _as_json({f.name: f.default for f in fields})


def _with_whole_paths(job: Job, values: dict[str, Any]) -> dict[str, Any]:
    """Paths from here on, where they begin nowhere; an earlier version kept them as they were typed."""
    paths = {f.name for f in _identity_fields(job) if f.metadata.get("path")}

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        return os.path.abspath(value) if isinstance(value, str) else value

    return {name: whole(value) if name in paths else value for name, value in values.items()}


def _free(job: Job) -> set[str]:
    """The fields that may differ."""
    assert dataclasses.is_dataclass(job)
    return {f.name for f in dataclasses.fields(job)} - {f.name for f in _identity_fields(job)}


def _identity_fields(job: Job) -> list["dataclasses.Field[Any]"]:
    assert dataclasses.is_dataclass(job) and not isinstance(job, type)
    return [f for f in dataclasses.fields(job) if f.metadata.get("identity", True)]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return result


def _read_identity(path: Path) -> dict[str, Any] | None:
    """What a job.json says; None where it is damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _differences(theirs: dict[str, Any] | None, parameters: dict[str, Any]) -> str:
    """What a job.json has differently, in words."""
    if theirs is None:
        return f"job.json damaged -> {parameters['job']}"
    # "-": of a version of the program that has no such setting
    pairs = ((name, theirs.get(name, "-"), parameters.get(name, "-")) for name in {**theirs, **parameters})
    return ", ".join(
        f"{name.replace('_', '-')} {_told(there)} -> {_told(now)}"
        for name, there, now in pairs
        if there != now
    )


def _told(value: Any) -> str:
    return "none" if value is None else str(value)
