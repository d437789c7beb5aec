"""Every job of the window in one list: what runs, what waits, what is over."""

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt, Signal

from bitconverter.gui.messages import ErrorText, error_text, format_duration, item_text, tr
from bitconverter.jobs.job import Event, Failed, Finished, Progress, Stopped

MOST = 200  # jobs that are over stay in the list
Index = QModelIndex | QPersistentModelIndex


class Work(Enum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"
    DONE = "done"


LIVE = (Work.WAITING, Work.RUNNING, Work.PAUSED)


@dataclass
class Activity:
    """One job. `kind` names its message "work-KIND"; `page` is where it is shown."""

    kind: str
    name: str
    page: str
    state: Work = Work.RUNNING
    share: float = 0.0
    item: str = ""
    eta: float | None = None
    started: float = field(default_factory=time.time)
    ended: float = 0.0
    problem: ErrorText | None = None

    def title(self) -> str:
        """What it does, with what."""
        return tr(f"work-{self.kind}", name=self.name)

    def short(self) -> str:
        """How far it is, and the time left."""
        left = "" if self.eta is None else tr("time-left", time=format_duration(self.eta))
        return "  ·  ".join(part for part in (f"{self.share:.0%}".replace("%", " %"), left) if part)

    def detail(self) -> str:
        """How far it is and at what, or how it ended."""
        if self.state is Work.RUNNING:
            return "  ·  ".join(part for part in (self.short(), item_text(self.item)) if part)
        if self.state is Work.FAILED and self.problem is not None:
            return self.problem.text
        if self.state is Work.DONE:
            return tr("work-took", time=format_duration(self.ended - self.started))
        return tr(f"work-is-{self.state.value}")


class Activities(QAbstractListModel):
    """The newest first. `turned` tells that a job has begun, ended, paused or gone on; `progressed` the rest."""

    turned = Signal(object)
    progressed = Signal(object)
    ENTRY = int(Qt.ItemDataRole.UserRole)

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Activity] = []

    @property
    def running(self) -> list[Activity]:
        """The jobs at work."""
        return [entry for entry in self.entries if entry.state is Work.RUNNING]

    def begin(self, kind: str, name: str, page: str) -> Activity:
        """A job begins."""
        entry = Activity(kind, name, page)
        self.beginInsertRows(QModelIndex(), 0, 0)
        self.entries.insert(0, entry)
        self.endInsertRows()
        if len(self.entries) > MOST:
            self.beginRemoveRows(QModelIndex(), MOST, MOST)
            self.entries.pop()
            self.endRemoveRows()
        self.turned.emit(entry)
        return entry

    def happened(self, entry: Activity, event: Event) -> None:
        """What the job of `entry` says."""
        if isinstance(event, Progress):
            entry.share = event.done / event.total if event.total else 0.0
            entry.item, entry.eta = event.item, event.eta
            self._tell(entry, self.progressed)
        elif isinstance(event, Failed):
            entry.problem = error_text(event.error, item_text(entry.item))
            self.turn(entry, Work.FAILED)
        elif isinstance(event, Finished):
            self.turn(entry, Work.DONE)
        elif isinstance(event, Stopped):
            self.turn(entry, Work.STOPPED)

    def turn(self, entry: Activity, state: Work) -> None:
        """The job of `entry` is in another state."""
        entry.state = state
        entry.ended = 0.0 if state in LIVE else time.time()
        self._tell(entry, self.turned)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        if self.entries:
            self.dataChanged.emit(self.index(0), self.index(len(self.entries) - 1))

    def clear(self) -> None:
        """Forget the jobs that are over."""
        self.beginResetModel()
        self.entries = [entry for entry in self.entries if entry.state in LIVE]
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        entry = self.entries[index.row()]
        if role == self.ENTRY:
            return entry
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{entry.title()}: {entry.detail()}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.title()}, {entry.detail()}"
        return None

    def _tell(self, entry: Activity, signal: Any) -> None:
        if entry in self.entries:
            at = self.index(self.entries.index(entry))
            self.dataChanged.emit(at, at)
        signal.emit(entry)
