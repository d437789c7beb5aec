"""Jobs that are over, kept from one start of the program to the next (store/job_store.py)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bitconverter.gui.activity import LIVE, Activities, Activity, Work
from bitconverter.gui.messages import ErrorText, error_text, tr
from bitconverter.gui.store_queue import FileQueue
from bitconverter.gui.texts import MESSAGES
from bitconverter.store.job_store import JobStore, PastJob


class JobHistory(QObject):
    """Writes down every job at its end, and reads those of before when the list is first looked at. The file is opened
    when one of the two happens: a start does not wait for it. Emits `said` with a sentence where it cannot be kept."""

    said = Signal(object)

    def __init__(self, activities: Activities, path: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._activities, self._path = activities, path
        self._queue: FileQueue[JobStore] | None = None
        self._loaded = self._closed = self._complained = False
        activities.turned.connect(self._turned)

    def load(self) -> None:
        """Put the jobs of before behind those of now."""
        queue = self._open()
        if queue is not None and not self._loaded:
            self._loaded = True
            queue.ask(lambda store: store.jobs(), self._recall)

    def remove(self, entries: Sequence[Activity]) -> Callable[[], None]:
        """Take these out of the list. Returns what puts them back."""
        gone = [entry for entry in entries if entry.state not in LIVE]
        numbers = [entry.id for entry in gone]
        self._activities.take_out(gone)
        self._ask(lambda store: store.remove(numbers))

        def back() -> None:
            self._activities.put_back(gone)
            self._ask(lambda store: store.remove(numbers, removed=False))

        return back

    def close(self) -> None:
        """Write what is to be written, and let go of the file."""
        self._closed = True
        if self._queue is not None:
            self._queue.close()

    def _open(self) -> FileQueue[JobStore] | None:
        if self._queue is None and not self._closed:
            self._queue = FileQueue(self._path, JobStore, self)
            self._queue.opened.connect(self._opened)
            self._queue.failed.connect(self._complain)
        return self._queue

    def _ask(self, work: Callable[[JobStore], None]) -> None:
        queue = self._open()
        if queue is not None:
            queue.ask(work)

    def _opened(self, said: object) -> None:
        if isinstance(said, Path):
            self.said.emit(partial(tr, "jobs-set-aside", path=str(said)))
        elif isinstance(said, Exception):
            self._complain(said)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            self.said.emit(lambda: tr("jobs-not-kept", reason=error_text(error).text))

    def _turned(self, entry: Activity) -> None:
        if entry.state not in LIVE:
            job = _kept(entry)
            self._ask(lambda store: store.add(job))

    def _recall(self, jobs: list[PastJob]) -> None:
        here = {entry.id for entry in self._activities.entries}
        known = [job for job in jobs if f"work-{job.kind}" in MESSAGES]  # others are of a later version
        self._activities.recall([_recalled(job) for job in known if job.id not in here])


def _kept(entry: Activity) -> PastJob:
    said = entry.problem or ErrorText("", "")
    return PastJob(
        entry.id, entry.kind, entry.name, entry.page, entry.state.value,
        round(entry.started * 1000), round(entry.ended * 1000), entry.result, dict(entry.numbers),
        said.title, said.text, said.details,
    )  # fmt: skip


def _recalled(job: PastJob) -> Activity:
    problem = ErrorText(job.title, job.text, job.details) if job.title or job.text else None
    return Activity(
        job.kind, job.name, job.page, Work(job.outcome), started=job.started / 1000, ended=job.ended / 1000,
        problem=problem, result=job.result, numbers=dict(job.numbers), id=job.id,
    )  # fmt: skip
