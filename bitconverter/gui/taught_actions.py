"""What can be done with a soul that training gave: compare, chat with it, name it, take it back."""

import dataclasses
import re
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bitconverter import paths
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, note_text, tr, why_text
from bitconverter.gui.page import Shell
from bitconverter.gui.soul_files import rename_soul, with_log, without_pins
from bitconverter.gui.taught_view import TaughtView
from bitconverter.gui.trash import move_to_trash, take_back
from bitconverter.jobs.adopt import AdoptJob, AdoptResult
from bitconverter.jobs.compare_answers import CompareAnswersJob
from bitconverter.jobs.job import Event, Failed, Finished, Note, Stopped
from bitconverter.jobs.rename_run import Renamed, RenameRunJob
from bitconverter.jobs.train_state import ASIDE

_ENDING = re.compile(r"\s*\.soul\s*$", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


class TaughtActions(QObject):
    """`gone`: the soul is in the bin; `back`: it was taken out of it again (a Taught). `moved`: it lies there now, and
    the list of trainings knows."""

    gone = Signal()
    moved = Signal(str)
    back = Signal(object)

    def __init__(self, view: TaughtView, shell: Shell, parent: QObject) -> None:
        super().__init__(parent)
        self._view, self._shell = view, shell
        self.runner = JobRunner(self)
        self.runner.happened.connect(self._on_event)
        view.use.connect(self.use)
        view.compare.connect(self.compare)
        view.undo.connect(self.undo)
        view.adopt.connect(self.adopt)
        view.renamed.connect(self.rename)

    def use(self) -> None:
        """Chat with the model that it was trained on, with the soul on."""
        taught = self._view.taught
        if taught is not None and not self.runner.busy:
            self._shell.soul_wanted.emit(taught.soul, taught.model)

    def compare(self) -> None:
        """Let the model answer rows that were held back, as it was and as it is now."""
        taught = self._view.taught
        if taught is None or self.runner.busy:
            return
        self._view.show_busy("compare")
        threads = self._shell.settings["threads"]
        self.runner.start(CompareAnswersJob(taught.model, taught.soul, taught.lesson, threads=threads))

    def adopt(self) -> None:
        """What was set aside becomes a soul like any other."""
        taught = self._view.taught
        if taught is not None and not self.runner.busy:
            self._view.show_busy("adopt")
            self.runner.start(AdoptJob(taught.soul.removesuffix(ASIDE), str(paths.runs_file())))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Note) and event.code == "adopt-not-listed":
            self._shell.say(partial(note_text, event))
        if not isinstance(event, Finished | Failed | Stopped):
            return
        self._view.show_busy("")
        if isinstance(event, Finished) and isinstance(event.result, AdoptResult):
            assert self._view.taught is not None
            self._view.show_taught(
                dataclasses.replace(self._view.taught, soul=event.result.out, set_aside=False)
            )
            self.moved.emit(event.result.out)
        elif isinstance(event, Finished) and isinstance(event.result, Renamed):
            self.moved.emit(event.result.soul)
        elif isinstance(event, Finished):
            self._view.show_answers(event.result)
        elif isinstance(event, Failed):
            self._view.show_error(error_text(event.error))

    def undo(self) -> None:
        """The soul goes to the bin, with its material: the model was never changed."""
        taught = self._view.taught
        if taught is None:
            return
        thing = move_to_trash(taught.soul)
        if thing is None:
            self._shell.say(partial(tr, "delete-failed", path=taught.soul))
            return
        beside = [*with_log(taught.soul)[1:], *without_pins(taught.soul, taught.made)]
        others = [other for other in map(move_to_trash, beside) if other is not None]
        self.gone.emit()

        def back() -> None:
            if take_back(thing):
                for other in others:
                    take_back(other)
                self.back.emit(taught)
            else:
                self._shell.say(partial(tr, "undo-failed", path=taught.soul))

        text = partial(tr, "deleted", name=Path(taught.soul).name)
        self._shell.say(text, "undo" if thing.can_return else "", back)

    def rename(self, name: str) -> None:
        """Call the soul `name`; what no file may be called becomes "_"."""
        taught = self._view.taught
        if taught is None or self.runner.busy:
            return
        name = _NOT_IN_NAMES.sub("_", _ENDING.sub("", name))
        if name in ("", taught.name):
            self._view.retranslate()
            return
        path = Path(taught.soul).with_name(name + ".soul")
        try:
            rename_soul(taught.soul, str(path))
        except OSError as error:
            reason = "" if isinstance(error, FileExistsError) else str(error.strerror)
            self._shell.say(
                lambda: tr(
                    "taught-not-renamed", name=path.name, reason=why_text(reason) or tr("taught-name-taken")
                )
            )
            self._view.retranslate()
            return
        self._view.show_taught(dataclasses.replace(taught, soul=str(path)))
        self.runner.start(RenameRunJob(str(paths.runs_file()), taught.soul, str(path)))
