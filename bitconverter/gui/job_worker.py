"""A job on a thread of its own, its events as one Qt signal in the GUI thread."""

from PySide6.QtCore import QObject, QThread, Signal

from bitconverter.jobs.job import Cancel, Event, Failed, Finished, Job, Questions, Stopped, run_job


class JobWorker(QThread):
    """Runs one job. The object stays in the GUI thread; only `run` is on the other one."""

    happened = Signal(object)

    def __init__(self, job: Job, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._job = job
        self._cancel, self._questions = Cancel(), Questions()

    def run(self) -> None:
        """Never touches a widget: Qt queues each event over to the thread of its receiver."""
        run_job(self._job, self.happened.emit, self._cancel, self._questions)

    def ask(self, text: str) -> None:
        """A question for the job; one that answers any sends the answer as an event."""
        self._questions.ask(text)

    def cancel(self) -> None:
        """Ask the job to stop; it still sends its last event."""
        self._cancel.request()


class JobRunner(QObject):
    """One job at a time. Starting another cancels the current one, whose events then no longer arrive."""

    happened = Signal(object)
    idle = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker: JobWorker | None = None
        self._next: Job | None = None
        self._muted = False

    @property
    def busy(self) -> bool:
        """True from start() to the moment the thread has ended."""
        return self._worker is not None

    def start(self, job: Job) -> None:
        """Run `job` now, or as soon as the current one has stopped."""
        if self._worker is None:
            self._begin(job)
            return
        self._next = job
        self._muted = True
        self._worker.cancel()

    def ask(self, text: str) -> None:
        """A question for the current job, if there is one."""
        if self._worker is not None:
            self._worker.ask(text)

    def cancel(self) -> None:
        """Ask the current job to stop; its last event still arrives."""
        self._next = None
        if self._worker is not None:
            self._worker.cancel()

    def drop(self) -> None:
        """Like cancel(), but nothing of it arrives any more except `idle`."""
        self._muted = self._worker is not None
        self.cancel()

    def stop_and_wait(self) -> None:
        """Cancel and block until the thread has ended. For the last moment before the program ends."""
        worker = self._worker
        self.cancel()
        if worker is not None:
            worker.happened.disconnect(self._receive)
            worker.wait()
            self._worker, self._muted = None, False

    def _begin(self, job: Job) -> None:
        self._worker = JobWorker(job, self)
        self._worker.happened.connect(self._receive)
        self._worker.start()

    def _receive(self, event: Event) -> None:
        worker, muted = self._worker, self._muted
        muted = muted or worker is None  # it was on its way when stop_and_wait() was called
        if isinstance(event, Finished | Failed | Stopped) and worker is not None:
            worker.wait()  # its last event is out: run() is about to return
            worker.deleteLater()
            self._worker, self._muted = None, False
            following, self._next = self._next, None
            if following is not None:
                self._begin(following)
        if not muted:
            self.happened.emit(event)
        elif isinstance(event, Finished) and hasattr(event.result, "close"):
            event.result.close()  # nobody will: it was asked to stop and finished all the same
        if self._worker is None and worker is not None:
            self.idle.emit()
