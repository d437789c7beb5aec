"""Reads documents to attach, one after the other, while the window goes on."""

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bitconverter.gui.job_worker import JobRunner
from bitconverter.jobs.job import Event, Failed, Finished
from bitconverter.jobs.read_document import Document, ReadDocumentJob
from bitconverter.store.records import Attachment


class DocumentReader(QObject):
    """Emits `read` with an Attachment, `failed` with an error, `waiting` with the names still to come."""

    read = Signal(object)
    failed = Signal(object)
    waiting = Signal(list)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._paths: list[str] = []
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(self._next)

    @property
    def busy(self) -> bool:
        """A file is being read."""
        return self._runner.busy

    def add(self, paths: list[str]) -> None:
        """Read these too."""
        self._paths += paths
        if not self._runner.busy:
            self._next()
        else:
            self._tell()

    def stop_and_wait(self) -> None:
        """Read nothing any more."""
        self._paths = []
        self._runner.stop_and_wait()

    def _next(self) -> None:
        if self._paths:
            self._runner.start(ReadDocumentJob(self._paths[0]))
        self._tell()

    def _tell(self) -> None:
        self.waiting.emit([Path(path).name for path in self._paths])

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Finished):
            document: Document = event.result
            self._paths.pop(0)
            self.read.emit(Attachment(document.name, document.text))
        elif isinstance(event, Failed):
            self._paths.pop(0)
            self.failed.emit(event.error)
