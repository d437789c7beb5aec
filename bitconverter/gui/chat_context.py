"""Where the chat page stands, the conversation that it shows, and the context that it takes."""

from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from bitconverter.gui.chat_layout import ChatLayout
from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.prompt_counter import PromptCounter
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment, Node

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession, Prompt


class State(Enum):
    """Where the page stands."""

    NO_MODEL = auto()
    LOADING = auto()
    READY = auto()
    ANSWERING = auto()
    STOPPING = auto()


class ChatContext(ChatLayout):
    """The state of the page: the model, the conversation, and the message that is being edited."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.state = State.NO_MODEL
        self.log = ChatLog(self.store)
        self.counter = PromptCounter(self)
        self.counter.counted.connect(self._counted)
        self._session: ChatSession | None = None
        self._opening = ""
        self._soul_on = False  # what the next answer is made with, if the model has a soul
        self._editing: Node | None = None
        self._stash: tuple[str, tuple[Attachment, ...]] = ("", ())

    def _show_state(self, state: State) -> None:
        self.state = state
        idle = state not in (State.ANSWERING, State.STOPPING)
        self.composer.set_state(self._may_send(), state is State.ANSWERING)
        self.bar.new_button.setEnabled(idle)
        self.view.show_log(self.log, state is State.READY)
        session = self._session
        self.composer.show_model(session is not None or state is State.LOADING)
        name = session.name if session is not None else ""
        if self.log.turns:
            self._middle.setCurrentWidget(self.view)
        else:
            self._middle.setCurrentWidget(self.start)
            if state is State.LOADING:
                self.start.show_loading(Path(self._opening).name)
            elif session is not None:
                self.start.show_ready(name)
            else:
                self.start.show_no_model()
        self._show_model()
        self.history.show_current(self.log.chat.id if self.log.stored else None)
        if state is State.READY:
            self._count()

    def _may_send(self) -> bool:
        """A changed answer can be kept without a model."""
        changes_answer = self._editing is not None and self._editing.role == "assistant"
        return self.state is State.READY or (changes_answer and self.state is State.NO_MODEL)

    def _show_model(self) -> None:
        self.show_model(self._session, Path(self._opening).name if self.state is State.LOADING else "")
        self.drawer.template.show_session(self._session, self.state is State.READY)
        soul = self._session.soul_name if self._session is not None else ""
        self.bar.show_soul(soul, self._soul_on, self.state is State.READY)

    # ---- the context

    def _count(self) -> None:
        """Bring the context meter up to date. Not while answering: it changes with every word."""
        session = self._session
        if session is None or self.state is not State.READY:
            return
        draft, attachments = self.composer.text(), self.composer.attachments.all()
        if self._editing is not None:
            draft, attachments = "", ()
        messages = self.log.messages(self.drawer.system_prompt(), draft, attachments)
        max_tokens = self.drawer.sampling().max_tokens
        self.counter.count(session, messages, max_tokens, self.log.chat.drop_oldest)

    def _counted(self, prompt: "Prompt") -> None:
        if self._session is None:
            return
        self.composer.show_prompt(prompt)
        self.view.show_left_out(prompt.left_out)
        if self.preview is not None:
            self.preview.show_prompt(prompt)
