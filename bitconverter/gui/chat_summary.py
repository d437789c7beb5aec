"""A conversation that fills the context goes on in a new chat, with what was said so far in short as a document."""

from dataclasses import dataclass
from functools import partial

from bitconverter.gui.chat_context import State
from bitconverter.gui.chat_keeping import ChatKeeping
from bitconverter.gui.messages import tr
from bitconverter.jobs.job import Event, Failed, Finished, Progress, Stopped, Token
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment, Chat


@dataclass
class _Summary:
    """The one that is being written: of which chat, what was shown when it began, how far it is."""

    chat: Chat
    problem: Exception | str | None
    can_drop: bool
    share: float = 0.0
    text: str = ""


class ChatSummary(ChatKeeping):
    """What the button of a full context does; the chat that was open stays as it is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._summary: _Summary | None = None
        self.summarise_button.clicked.connect(self.summarise)

    def summarise(self) -> None:
        """Let the model write what was said so far in short. It can be stopped like an answer."""
        if self.state is not State.READY or not self.log.turns:
            return
        from bitconverter.jobs.summarise import SummariseJob

        self._summary = _Summary(self.log.chat, self._problem, self._can_drop)
        job = SummariseJob(self._ready(), self.log.messages(""))
        self.hide_notice()
        self._show_state(State.ANSWERING)
        self._show_summary(self._summary)
        self._runner.start(job)

    def _show_summary(self, summary: _Summary) -> None:
        self.notice.show_working(tr("summarising", percent=round(100 * summary.share)), summary.text)

    def _on_event(self, event: Event) -> None:
        summary = self._summary
        if summary is None:
            super()._on_event(event)
        elif isinstance(event, Token):
            summary.text += event.text
            self._show_summary(summary)
        elif isinstance(event, Progress):
            summary.share = event.done / max(event.total, 1)
            self._show_summary(summary)
        elif isinstance(event, Finished | Failed | Stopped):
            self._summary = None
            self.hide_notice()
            self._show_state(State.READY)
            self._end_summary(summary, event)
            self._do_after_stop()

    def _end_summary(self, summary: _Summary, event: Finished | Failed | Stopped) -> None:
        if self.log.chat.id != summary.chat.id:  # it has been deleted meanwhile
            return
        if isinstance(event, Finished):
            self._go_on_with(summary.chat, event.result)
        elif isinstance(event, Failed):
            self.complain(event.error, summary.can_drop)
        elif summary.problem is not None:  # what can be chosen is as before
            self.complain(summary.problem, summary.can_drop)

    def _go_on_with(self, old: Chat, text: str) -> None:
        """A new chat, with what is typed and the summary as its first document."""
        self.leave_editing()
        self._begin()
        name = tr("summary-name", title=old.title)
        documents = self.composer.attachments
        documents.set_all([Attachment(name, text), *(a for a in documents.all() if a.name != name)])
        self.say(partial(tr, "summarised"), lambda: self._back_to(old, name))
        self.composer.edit.setFocus()

    def _back_to(self, old: Chat, name: str) -> None:
        """The chat that the summary is of, with what is typed by now."""
        typed, documents = self.composer.text(), self.composer.attachments.all()

        def put_back() -> None:
            self._opened(None)
            self.composer.set_text(typed, [a for a in documents if a.name != name])

        self.log.open(old.id, put_back)

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        if self._summary is not None:
            self._show_summary(self._summary)
