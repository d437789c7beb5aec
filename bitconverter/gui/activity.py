"""Every job of the window in one list: what runs, what waits, what is over."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt, Signal

from bitconverter.gui.job_facts import facts, short_text
from bitconverter.gui.messages import ErrorText, error_text, format_duration, item_text, time_left, tr
from bitconverter.jobs.job import Event, Failed, Finished, Progress, Stopped
from bitconverter.store.job_store import MOST
from bitconverter.store.records import new_id

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


def _now() -> float:
    """Seconds, in whole milliseconds as the store has them: what is told stays the same after a restart."""
    return round(time.time(), 3)


@dataclass
class Activity:
    """One job. `kind` names its message "work-KIND"; `page` is where it is shown. `result`: the file or folder that it
    made or is about, "" if none; `numbers`: what it told at its end."""

    kind: str
    name: str
    page: str
    state: Work = Work.RUNNING
    share: float = 0.0
    item: str = ""
    eta: float | None = None
    started: float = field(default_factory=_now)
    ended: float = 0.0
    problem: ErrorText | None = None
    result: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    id: int = field(default_factory=new_id)

    def take(self, result: Any) -> None:
        """Keep what the `result` of the job tells."""
        made, self.numbers = facts(self.kind, result)
        self.result = made or self.result

    def when(self) -> str:
        """The day and the hour when it ended, "" while it is not over."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.ended)) if self.ended else ""

    def title(self) -> str:
        """What it does, with what."""
        return tr(f"work-{self.kind}", name=self.name)

    def short(self) -> str:
        """How far it is, and the time left."""
        parts = (f"{self.share:.0%}".replace("%", " %"), time_left(self.eta))
        return "  ·  ".join(part for part in parts if part)

    def detail(self) -> str:
        """How far it is and at what, or how it ended."""
        if self.state is Work.RUNNING:
            return "  ·  ".join(part for part in (self.short(), item_text(self.item)) if part)
        if self.state is Work.FAILED and self.problem is not None:
            return self.problem.now().text
        if self.state is Work.DONE:
            took = tr("work-took", time=format_duration(max(self.ended - self.started, 0.0)))
            return "  ·  ".join(part for part in (took, short_text(self.numbers)) if part)
        return tr(f"work-is-{self.state.value}")


class Activities(QAbstractListModel):
    """The newest first. `turned` tells that a job has begun, ended, paused or gone on; `progressed` the rest."""

    turned = Signal(object)
    progressed = Signal(object)
    ENTRY = int(Qt.ItemDataRole.UserRole)
    ENDED = ENTRY + 1

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Activity] = []
        self._ended = 0.0  # the latest end

    @property
    def running(self) -> list[Activity]:
        """The jobs at work."""
        return [entry for entry in self.entries if entry.state is Work.RUNNING]

    def begin(self, kind: str, name: str, page: str, about: str = "") -> Activity:
        """A job begins; `about`: the file or folder that it looks at."""
        entry = Activity(kind, name, page, result=about)
        self._insert(0, [entry])
        self.turned.emit(entry)
        return entry

    def recall(self, entries: Sequence[Activity]) -> None:
        """Jobs of before, the newest first, behind those of now; not more than MOST that are over in all."""
        over = sum(entry.state not in LIVE for entry in self.entries)
        self._insert(len(self.entries), list(entries)[: max(MOST - over, 0)])

    def put_back(self, entries: Sequence[Activity]) -> None:
        """These are in the list again."""
        self._insert(0, list(entries))

    def take_out(self, entries: Sequence[Activity]) -> None:
        """Forget these, all of which are over."""
        gone = {entry.id for entry in entries}
        self.beginResetModel()
        self.entries = [entry for entry in self.entries if entry.id not in gone]
        self.endResetModel()

    def _insert(self, at: int, entries: list[Activity]) -> None:
        if entries:
            self.beginInsertRows(QModelIndex(), at, at + len(entries) - 1)
            self.entries[at:at] = entries
            self.endInsertRows()

    def happened(self, entry: Activity, event: Event) -> None:
        """What the job of `entry` says."""
        if isinstance(event, Progress):
            entry.share = event.done / event.total if event.total else 0.0
            entry.item, entry.eta = event.item, event.eta
            self._tell(entry, self.progressed)
        elif isinstance(event, Failed):
            entry.problem = error_text(event.error, entry.item)
            self.turn(entry, Work.FAILED)
        elif isinstance(event, Finished):
            entry.take(event.result)
            self.turn(entry, Work.DONE)
        elif isinstance(event, Stopped):
            self.turn(entry, Work.STOPPED)

    def turn(self, entry: Activity, state: Work) -> None:
        """The job of `entry` is in another state."""
        if entry.state is Work.WAITING and state is Work.RUNNING and not entry.share:
            entry.started = _now()
        entry.state = state
        entry.ended = 0.0 if state in LIVE else self._end()
        self._tell(entry, self.turned)

    def _end(self) -> float:
        """Now, or a little after the last end: the store counts milliseconds, and keeps the order by them."""
        self._ended = max(_now(), round(self._ended + 0.002, 3))
        return self._ended

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        if self.entries:
            self.dataChanged.emit(self.index(0), self.index(len(self.entries) - 1))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> Any:
        entry = self.entries[index.row()]
        if role == self.ENTRY:
            return entry
        if role == self.ENDED:
            return entry.ended
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
