"""What can be done with pinned states of trainings: pin one, let it go, go on from it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, tr
from bitconverter.gui.page import Shell
from bitconverter.gui.trash import move_to_trash, take_back
from bitconverter.jobs.job import Event, Failed, Finished
from bitconverter.jobs.pinned import pins_of
from bitconverter.jobs.pins import GoOnJob, PinJob, Pinned
from bitconverter.jobs.train_state import ASIDE
from bitconverter.store.run_store import Run


class PinActions(QObject):
    """`changed`: another state is pinned, or one less; `ready`: the TrainJob that goes on from one. `free` gives a name
    for its soul that is not taken (train_page.py)."""

    changed = Signal()
    ready = Signal(object)

    def __init__(self, shell: Shell, free: Callable[[Path], str], parent: QObject) -> None:
        super().__init__(parent)
        self._shell, self._free = shell, free
        self.runner = JobRunner(self)
        self.runner.happened.connect(self._on_event)

    def pin(self, soul: str) -> None:
        """The newest saved state of the training of `soul`, which is not finished."""
        if not self.runner.busy:
            self.runner.start(PinJob(soul))

    def go_on(self, run: Run, step: int, steps: int) -> None:
        """From its state after `step`, until there are `steps`."""
        if not self.runner.busy:
            soul = run.soul.removesuffix(ASIDE)
            out = self._free(Path(soul.removesuffix(".soul"))) + ".soul"
            self.runner.start(GoOnJob(str(pins_of(soul).place(step)), out, steps))

    def unpin(self, run: Run, step: int) -> None:
        """Its state after `step` goes to the bin, and can be taken back."""
        pins = pins_of(run.soul)
        thing = move_to_trash(str(pins.place(step)))
        if thing is None:
            self._shell.say(partial(tr, "delete-failed", path=str(pins.place(step))))
            return
        pins.remove_if_empty()
        self.changed.emit()

        def back() -> None:
            if take_back(thing):
                self.changed.emit()
            else:
                self._shell.say(partial(tr, "undo-failed", path=thing.path))

        self._shell.say(partial(tr, "unpinned", step=step), "undo" if thing.can_return else "", back)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Finished) and isinstance(event.result, Pinned):
            self._shell.say(partial(tr, "pin-done", step=event.result.step))
            self.changed.emit()
        elif isinstance(event, Finished):
            self.ready.emit(event.result)
        elif isinstance(event, Failed):
            self._shell.say(lambda: error_text(event.error).text)
