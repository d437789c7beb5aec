"""The queue of conversions: one runs, the others wait. It survives closing and a crash (jobs/queue_file.py)."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from bitconverter.gui.activity import LIVE, Activity, Work
from bitconverter.gui.estimate import Figures
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import NO_ROOM, ErrorText, error_text, tr, why_text
from bitconverter.gui.page import Shell
from bitconverter.jobs.convert import ConvertJob, ConvertResult
from bitconverter.jobs.convert_work import size_on_disk
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.hardware import own_memory
from bitconverter.jobs.job import Event, Failed, Finished, Metric, Progress, Stopped
from bitconverter.jobs.queue_file import load_queue, save_queue
from bitconverter.jobs.rounding_errors import MATRIX

LOOK_MS = 200  # between two looks at the memory and disk that a conversion takes


@dataclass(eq=False)
class QueueItem:
    """One conversion. `why`: of a paused one "", "disk-full" or "interrupted"; `errors`: of layers, as they come, and
    `matrices`: of their matrices, by layer and name; `ending`: what Stopped will mean ("pause", "stop", or "" at
    closing). `expected` before it; `seconds` of all its runs since it was put into the queue, and the most that it took
    of `memory` beside the program, and of `disk`."""

    job: ConvertJob
    activity: Activity
    expected: Figures | None = None
    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    why: str = ""
    ending: str = ""
    errors: dict[int, float] = field(default_factory=dict)
    matrices: dict[tuple[int, str], float] = field(default_factory=dict)
    layer: int = -1
    result: ConvertResult | None = None
    problem: ErrorText | None = None

    @property
    def state(self) -> Work:
        """Where it stands."""
        return self.activity.state

    @property
    def name(self) -> str:
        """The folder that it makes."""
        return Path(self.job.out).name

    def measured(self) -> Figures | None:
        """What happened, once it is done; of the KL divergence only where the report has it."""
        if self.result is None:
            return None
        numbers = (self.result.report or {}).get("all") or {}
        disk = max(self.disk, self.result.file_bytes)
        return Figures(self.seconds, self.memory, disk, self.result.file_bytes, numbers.get("kl"))


class ConvertQueue(QObject):
    """`items` in their order; the first that is not over is `current`. `changed`: order or states;
    `happened(item, event)`: what the running one says."""

    changed = Signal()
    happened = Signal(object, object)
    idle = Signal()

    def __init__(self, shell: Shell, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._shell = shell
        self._path = shell.settings.path.with_name("queue.json")
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(self.idle)
        self._running: QueueItem | None = None
        self._began = 0.0  # when the running one did
        self._program = own_memory()
        self._watch = QTimer(self, interval=LOOK_MS)
        self._watch.timeout.connect(self._look_at_use)
        self.items: list[QueueItem] = []
        self.last: QueueItem | None = None  # the one that ended last, done or failed
        self._load()
        shell.pause_wanted.connect(self.pause)

    def _load(self) -> None:
        for job, state in load_queue(self._path):
            item = QueueItem(job, self._shell.activities.begin("convert", Path(job.out).name, "convert"))
            self.items.append(item)
            if state == "waiting":
                self._shell.activities.turn(item.activity, Work.WAITING)
            else:
                item.why = "interrupted" if state == "running" else ""
                self._shell.activities.turn(item.activity, Work.PAUSED)
        self._tell()

    @property
    def current(self) -> QueueItem | None:
        """The one that runs, or waits to go on."""
        return self.items[0] if self.items else None

    @property
    def busy(self) -> bool:
        """Whether a thread is alive."""
        return self._runner.busy

    # ---- what can be done

    def add(self, job: ConvertJob, expected: Figures | None = None) -> QueueItem:
        """Put `job` at the end; it starts when nothing else is there. A job for a folder that is in the queue
        already (a stopped one that goes on) takes its place. `expected` is kept to be compared at the end."""
        for item in self.items:
            if item.job.out == job.out:
                self.resume(item)
                return item
        activity = self._shell.activities.begin("convert", Path(job.out).name, "convert")
        item = QueueItem(job, activity, expected)
        self._shell.activities.turn(item.activity, Work.WAITING)
        self.items.append(item)
        self._next()
        return item

    def look_at_program(self) -> None:
        """From now on, what the process takes more counts as a conversion's. Called before a model is looked at: what
        that leaves in the allocator is used again by the conversion."""
        if self._running is None:
            self._program = own_memory()

    def pause(self) -> None:
        """Stop the running one, giving its memory back; the queue waits until it is resumed."""
        self._end("pause")

    def stop(self) -> None:
        """Stop the current one and keep what is finished; the next one begins."""
        item = self.current
        if item is not None and self._running is None:
            self._drop(item, Work.STOPPED)
            self.happened.emit(item, Stopped())
            self._next()
        else:
            self._end("stop")

    def resume_current(self) -> None:
        """Go on with the current one."""
        if self.current is not None:
            self.resume(self.current)

    def resume(self, item: QueueItem) -> None:
        """Go on with `item`, before all others, unless one runs."""
        if self._running is not None:
            return
        self.items.remove(item)
        self.items.insert(0, item)
        item.why, item.problem = "", None
        self._shell.activities.turn(item.activity, Work.WAITING)
        self._next()

    def remove(self, item: QueueItem) -> None:
        """Take a waiting one out of the queue."""
        if item is not self._running:
            self._drop(item, Work.STOPPED)
            self._next()

    def move(self, item: QueueItem, step: int) -> None:
        """Let a waiting one come earlier or later; the first place is that of the running one."""
        at = self.items.index(item)
        to = min(max(at + step, 1 if self._running else 0), len(self.items) - 1)
        if item is not self._running and to != at:
            self.items.insert(to, self.items.pop(at))
            self._save()

    def shut_down(self) -> None:
        """Stop the running one at once; the next start offers to go on."""
        self._end("")

    def stop_and_wait(self) -> None:
        """Stop and block until the thread has ended."""
        if self._running is not None:
            self._running.ending = ""
        self._runner.stop_and_wait()

    def _end(self, ending: str) -> None:
        if self._running is not None:
            self._running.ending = ending
            self._runner.cancel()
            self.changed.emit()

    # ---- what happens

    def _next(self) -> None:
        item = self.current
        if item is not None and self._running is None and item.state is Work.WAITING:
            self._running, self.last = item, None
            item.ending, item.problem = "", None
            self._began = time.monotonic()
            self._watch.start()
            self._shell.activities.turn(item.activity, Work.RUNNING)
            self._runner.start(item.job)
        self._save()

    def _on_event(self, event: Event) -> None:
        item = self._running
        if item is None:
            return
        if isinstance(event, Progress):
            item.layer = _layer_of(event.item, item.layer)
        elif isinstance(event, Metric) and event.name in ("output_error", "weight_error"):
            item.errors[event.step] = event.value
        elif isinstance(event, Metric) and event.name.startswith(MATRIX):
            item.matrices[event.step, event.name.removeprefix(MATRIX)] = event.value
        if isinstance(event, Finished | Failed | Stopped):
            self._look_at_use()
            self._watch.stop()
            item.seconds += time.monotonic() - self._began
            self._running = None
            self._over(item, event)
            item.ending = ""
        else:
            self._shell.activities.happened(item.activity, event)
        self.happened.emit(item, event)
        if isinstance(event, Finished | Failed | Stopped):
            self._next()

    def _look_at_use(self) -> None:
        item = self._running
        if item is not None:
            item.memory = max(item.memory, own_memory() - self._program)
            item.disk = max(item.disk, size_on_disk(item.job.work_dir))

    def _over(self, item: QueueItem, event: Finished | Failed | Stopped) -> None:
        activities = self._shell.activities
        if isinstance(event, Stopped) and item.ending != "stop":
            activities.turn(item.activity, Work.PAUSED)
            return
        if isinstance(event, Failed) and _disk_full(event.error):
            item.why, item.problem = "disk-full", error_text(event.error, item.activity.item)
            activities.turn(item.activity, Work.PAUSED)
            return
        self.items.remove(item)
        self.last = None if isinstance(event, Stopped) else item  # a stopped one has nothing to show
        if isinstance(event, Finished):
            item.result = event.result
        elif isinstance(event, Failed):
            item.problem = error_text(event.error, item.activity.item)
        activities.happened(item.activity, event)

    def _drop(self, item: QueueItem, state: Work) -> None:
        self.items.remove(item)
        self._shell.activities.turn(item.activity, state)

    def _tell(self) -> None:
        self._shell.queued = {str(item.job.work_dir): item.activity for item in self.items}

    def _save(self) -> None:
        self._tell()
        states = [(item.job, item.state.value) for item in self.items if item.state in LIVE]
        try:
            save_queue(self._path, states)
        except OSError as error:
            words = error.strerror or str(error)
            self._shell.say(lambda: tr("settings-not-saved", reason=why_text(words)))
        self.changed.emit()


def _layer_of(text: str, before: int) -> int:
    """The layer that a progress event names ("layer 3", "model.layers.3.mlp…"), or the one before."""
    for part in text.replace(".", " ").split():
        if part.isdigit():
            return int(part)
    return before


def _disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    return isinstance(error, UserError) and error.code == "disk-full"
