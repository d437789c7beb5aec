"""What the window needs of a page, and what a page may ask of the window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from bitconverter import paths
from bitconverter.gui.activity import Activities, Activity, Work
from bitconverter.gui.job_history import JobHistory
from bitconverter.settings import Settings


class Shell(QObject):
    """The window as the pages see it: they ask, it does. `idle`: a page's last thread has ended."""

    page_wanted = Signal(str)
    model_wanted = Signal(str)  # to be opened in the chat
    soul_wanted = Signal(str, str)  # to be opened in the chat with its model; "": that has to be found
    source_wanted = Signal(str)  # to be converted
    resume_wanted = Signal(str)  # the output folder of an unfinished conversion
    model_made = Signal(str)  # by a conversion
    files_wanted = Signal(list)  # dropped, or given at the start: paths
    setting_changed = Signal(str)
    to_save = Signal()
    said = Signal(object, str, object)
    pause_wanted = Signal()
    idle = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.settings = settings
        self.activities = Activities()
        self.queued: dict[str, Activity] = {}  # the work folders of the conversions in the queue
        self.history = JobHistory(self.activities, paths.jobs_file(), self)
        self.history.said.connect(self.say)

    @property
    def working(self) -> bool:
        """Whether a long job runs: one that is worth keeping the PC awake, and a question before closing."""
        return any(entry.state is Work.RUNNING for entry in self.activities.entries)

    def pause_all(self) -> None:
        """Ask every long job to pause."""
        self.pause_wanted.emit()

    def say(self, text: Callable[[], str], action: str = "", then: Callable[[], None] | None = None) -> None:
        """A short line at the bottom of the window: what `text` returns, now and again after a change of language;
        with a button of the message `action` that calls `then`."""
        self.said.emit(text, action, then)


class PageLike(Protocol):
    """The side of a page that the window uses. `busy`: a thread of it is alive."""

    @property
    def busy(self) -> bool: ...
    def entered(self) -> None: ...
    def escape(self) -> None: ...
    def retranslate(self) -> None: ...
    def shut_down(self) -> None: ...
    def stop_and_wait(self) -> None: ...


class Page(QWidget):
    """A page that runs no job of its own, unless it says otherwise."""

    def __init__(self, shell: Shell) -> None:
        super().__init__()
        self.setObjectName("page")
        self.shell, self.settings = shell, shell.settings

    @property
    def busy(self) -> bool:
        """Whether a thread of this page is alive."""
        return False

    def entered(self) -> None:
        """The page has just been shown."""

    def escape(self) -> None:
        """Esc was pressed while the page is shown."""

    def retranslate(self) -> None:
        """Say everything again in the language of now."""

    def shut_down(self) -> None:
        """Ask the jobs of this page to stop."""

    def stop_and_wait(self) -> None:
        """Stop the jobs of this page and block until their threads have ended."""


@dataclass(frozen=True)
class PageSpec:
    """One page of the window. `place`: "top" or "bottom" of the rail, or "none" for a page that is reached
    from others. `build` makes it from the Shell."""

    name: str
    icon: str
    build: Callable[[Shell], QWidget]
    place: str = "top"
