"""Counts what would be sent, on a thread of its own: rendering and counting a long chat takes a while."""

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from bitconverter.gui.job_worker import JobRunner
from bitconverter.jobs.job import Event, Finished

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession, Message, Prompt


class PromptCounter(QObject):
    """Emits `counted` with a Prompt. A conversation that the template refuses is not counted: sending it
    tells why."""

    counted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)

    @property
    def busy(self) -> bool:
        """A count is under way."""
        return self._runner.busy

    def count(
        self, session: "ChatSession", messages: "tuple[Message, ...]", max_tokens: int, drop_oldest: bool
    ) -> None:
        """Count these now; a count that is under way is given up."""
        from bitconverter.jobs.chat import PromptJob

        self._runner.start(PromptJob(session, messages, max_tokens, drop_oldest))

    def stop_and_wait(self) -> None:
        """Nothing is counted any more."""
        self._runner.stop_and_wait()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Finished):
            prompt: Prompt = event.result
            self.counted.emit(prompt)
