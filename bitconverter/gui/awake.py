"""Keeps the PC from falling asleep while a job runs (the display may), and what follows the last one."""

import sys
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from bitconverter.gui.activity import LIVE, Activity, Work
from bitconverter.gui.messages import tr
from bitconverter.gui.page import Shell

if TYPE_CHECKING:
    from wakepy import Mode

GRACE = 60_000  # milliseconds between the last job's end and what follows
LONG = ("convert", "train")  # kinds of jobs that people leave alone with the PC


class Awake(QObject):
    """Holds the system awake exactly while a job runs and the setting "keep_awake" is on."""

    changed = Signal(bool)

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._shell = shell
        self._mode: Mode | None = None  # wakepy's, once it is prepared
        self._entered = False
        self._afterwards = QTimer(self, singleShot=True, interval=GRACE)
        self._afterwards.timeout.connect(self._follow_up)
        shell.activities.turned.connect(self._turned)
        shell.setting_changed.connect(lambda key: self._look() if key == "keep_awake" else None)

    @property
    def held(self) -> bool:
        """Whether the system has been told to stay awake, and agreed."""
        return self._entered and self._mode is not None and bool(self._mode.active)

    def prepare(self) -> "Mode":
        """What the first job would wait for, and the window with it: the library."""
        if self._mode is None:
            self._mode = _mode()
        return self._mode

    def _turned(self, entry: Activity) -> None:
        self._look()
        working = any(entry.state in LIVE for entry in self._shell.activities.entries)
        if working:
            self._afterwards.stop()
        elif entry.state is Work.DONE and entry.kind in LONG:
            self._announce()

    def _look(self) -> None:
        wanted = self._shell.working and bool(self._shell.settings["keep_awake"])
        if wanted and not self._entered:
            self.prepare().__enter__()
            self._entered = True
            self.changed.emit(self.held)
        elif not wanted:
            self.let_go()

    def let_go(self) -> None:
        """The system may sleep again."""
        if self._entered and self._mode is not None:
            self._entered = False
            self._mode.__exit__(None, None, None)
            self.changed.emit(False)

    def _announce(self) -> None:
        choice = self._shell.settings["when_finished"]
        if choice == "nothing":
            return
        self._afterwards.start()
        text = partial(tr, f"finished-{choice}", seconds=GRACE // 1000)
        self._shell.say(text, "cancel", self._afterwards.stop)

    def _follow_up(self) -> None:
        program, *arguments = after_command(self._shell.settings["when_finished"])
        QProcess.startDetached(program, arguments)


def _mode() -> "Mode":
    from wakepy import keep

    return keep.running(on_fail="pass")  # a system that refuses is no error: `held` says so


def after_command(choice: str) -> list[str]:
    """The system's own program that puts this PC to sleep or turns it off."""
    if sys.platform == "win32":
        if choice == "sleep":
            return ["rundll32.exe", "powrprof.dll,SetSuspendState", "0,1,0"]
        return ["shutdown.exe", "/s", "/t", "0"]
    return ["systemctl", "suspend" if choice == "sleep" else "poweroff"]
