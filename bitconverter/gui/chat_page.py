"""Chat: opens a model, sends what is typed, shows what comes back."""

from enum import Enum, auto
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog

from bitconverter.gui.chat_layout import ChatLayout
from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import note_text, tr
from bitconverter.gui.source_card import remember_folder, start_folder
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Event, Failed, Finished, Note, Progress, Stopped, Token
from bitconverter.settings import Settings

COUNTED_LETTERS = 60_000  # counted in well under 100 ms


class State(Enum):
    """Where the page stands."""

    NO_MODEL = auto()
    LOADING = auto()
    READY = auto()
    ANSWERING = auto()
    STOPPING = auto()


class ChatPage(ChatLayout):
    """Emits `convert_requested` to go to that page, `idle` when no job runs any more."""

    convert_requested = Signal()
    idle = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.state = State.NO_MODEL
        self.log = ChatLog()
        self._session: ChatSession | None = None
        self._opening, self._next_model = "", ""
        self._undo_after_stop, self._again = False, False
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(self._on_idle)
        self._connect()
        self._show_state(State.NO_MODEL)

    def _connect(self) -> None:
        self.dropped.connect(self.open_model)
        self.bar.picked.connect(self.open_model)
        self.bar.browse.connect(self._browse)
        self.bar.browse_file.connect(self._browse_file)
        self.bar.new_chat.connect(self.new_chat)
        self.start.picked.connect(self.open_model)
        self.start.browse.connect(self._browse)
        self.start.convert.connect(self.convert_requested)
        self.start.suggested.connect(self._send_text)
        self.view.again.connect(self.answer_again)
        self.view.edit.connect(self.edit_question)
        self.composer.send.connect(self.send)
        self.composer.stop.connect(self.stop)
        self.composer.draft_changed.connect(self._count)
        self.drawer.prompt.textChanged.connect(self.composer.count_later)
        self.new_chat_button.clicked.connect(self.new_chat)
        self.toast.action.connect(self._undo)

    def _show_state(self, state: State) -> None:
        self.state = state
        idle = state is State.READY
        self.composer.set_state(idle, state is State.ANSWERING)
        self.bar.new_button.setDisabled(state in (State.ANSWERING, State.STOPPING))
        self.view.show_log(self.log, idle)
        session = self._session
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
        if idle:
            self._count()

    def _show_model(self) -> None:
        self.show_model(self._session, Path(self._opening).name if self.state is State.LOADING else "")

    # ---- the model

    def open_model(self, path: str) -> None:
        """Open `path`, a model folder or a .gguf file; an answer in progress is stopped first. The chat stays."""
        self.hide_notice()
        if self._runner.busy:
            self._next_model = path
            self._runner.cancel()
            return
        self._close_session()  # before the next one is opened: two models may not fit into memory
        self._opening = path
        threads, kv = int(self._settings["threads"]), str(self._settings["kv_cache"])
        self._runner.start(LoadChatJob(model=path, threads=threads, kv=kv))
        self._show_state(State.LOADING)

    def offer_model(self, path: str) -> None:
        """A model has just been made: it is the first of the recent ones."""
        self._settings.add_recent_model(path)
        if self.state is State.NO_MODEL and not self.log.turns:
            self.start.show_no_model()

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _loaded(self, session: ChatSession) -> None:
        self._session = session
        self._settings.add_recent_model(self._opening)
        remember_folder(self._settings, self._opening)
        self._show_state(State.READY)
        self.composer.edit.setFocus()

    def _browse_file(self) -> None:
        start, kind = start_folder(self._settings), tr("gguf-filter")
        path, _ = QFileDialog.getOpenFileName(self, tr("choose-gguf-title"), start, kind)
        if path:
            self.open_model(path)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, tr("open-model-title"), start_folder(self._settings))
        if path:
            self.open_model(path)

    # ---- talking

    def send(self) -> None:
        """Send what is typed."""
        self._send_text(self.composer.text())

    def _send_text(self, text: str) -> None:
        if self.state is not State.READY or not text.strip():
            return
        self.log.add("user", text.strip())
        self.composer.set_text("")
        self.toast.dismiss()
        self._answer()

    def _answer(self) -> None:
        assert self._session is not None
        self.hide_notice()
        messages = self.log.messages(self.drawer.system_prompt())
        self.log.add("assistant", "")
        self._count()
        self._show_state(State.ANSWERING)
        self.view.follow()
        self._runner.start(AnswerJob(chat=self._session, messages=messages, sampling=self.drawer.sampling()))

    def stop(self) -> None:
        """Stop the answer; what was said so far stays."""
        if self.state is State.ANSWERING:
            self._show_state(State.STOPPING)
            self._runner.cancel()

    def answer_again(self) -> None:
        """Replace the last answer by another one."""
        if self.state is not State.READY:
            return
        self.log.remember()
        if self.log.drop_last_answer():
            self.toast.show_text(tr("answer-replaced"), tr("undo"))
            self._again = True
            self._answer()

    def edit_question(self) -> None:
        """Take the last question back into the input, and its answer away."""
        if self.state is not State.READY:
            return
        self.log.remember()
        text = self.log.take_last_question()
        if text is not None:
            self._put_back(text)
            self.composer.edit.setFocus()
            self._show_state(State.READY)
            self.toast.show_text(tr("question-taken"), tr("undo"))

    def new_chat(self) -> None:
        """Forget the conversation; undo brings it back. What is typed stays."""
        if self.state in (State.ANSWERING, State.STOPPING):
            return
        self.hide_notice()
        if self.log.clear():
            self.toast.show_text(tr("chat-cleared"), tr("undo"))
        self._show_state(self.state)
        self.composer.edit.setFocus()

    def _undo(self) -> None:
        if self.state in (State.ANSWERING, State.STOPPING):
            self._undo_after_stop = True
            self.stop()
        elif self.log.undo():
            self._show_state(self.state)
            self.view.follow()

    # ---- what the jobs say

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Token):
            answer = self.view.last_answer()
            if answer is not None:
                answer.append(event.text)
        elif isinstance(event, Progress):
            answer = self.view.last_answer()
            if answer is not None:
                answer.show_reading(event.done / max(event.total, 1))
        elif isinstance(event, Note):
            self.toast.show_text(note_text(event))
        elif self.state is State.LOADING:
            self._on_load_end(event)
        elif isinstance(event, Finished | Failed | Stopped):
            self._on_answer_end(event)

    def _on_load_end(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._loaded(event.result)
        elif isinstance(event, Failed):
            self._show_state(State.NO_MODEL)
            self.complain(event.error)
        elif isinstance(event, Stopped):
            self._show_state(State.NO_MODEL)

    def _on_answer_end(self, event: Finished | Failed | Stopped) -> None:
        widget, turn = self.view.last_answer(), self.log.turns[-1]
        if isinstance(event, Finished):
            answer: Answer = event.result
            turn.text, turn.answer, turn.end = answer.text, answer, answer.finish
        else:
            turn.end = "stopped"
        again, self._again = self._again, False
        if not turn.text and turn.end == "stopped":
            if not (again and self.log.undo()):
                self._put_back(self.log.take_last_question() or "")
            else:
                self.toast.dismiss()
        elif widget is not None:
            widget.finish()
        if self._undo_after_stop:
            self._undo_after_stop = False
            self.log.undo()
        self._show_state(State.READY)
        if isinstance(event, Failed):
            self.complain(event.error)
        elif turn.end == "context":
            self.complain("end-context")

    def _put_back(self, text: str) -> None:
        """A question goes back into the input, before what is typed there."""
        typed = self.composer.text()
        self.composer.set_text(f"{text}\n{typed}" if typed.strip() else text)

    def _count(self) -> None:
        """Bring the context meter up to date. Not while answering: the numbers come with its end."""
        session = self._session
        if session is None or self.state is not State.READY:
            return
        messages = self.log.messages(self.drawer.system_prompt(), self.composer.text())
        if sum(len(message.content) for message in messages) > COUNTED_LETTERS:
            self._show_last_count(session)  # counting would hold the window up
            return
        try:
            used = session.count_tokens(messages) if messages else 0
        except UserError:  # a template may refuse a half-made chat; sending it tells why
            return
        self.composer.show_context((used, session.n_ctx))

    def _show_last_count(self, session: ChatSession) -> None:
        """What the last answer counted; whether more fits is told when it is sent."""
        answer = next((turn.answer for turn in reversed(self.log.turns) if turn.answer is not None), None)
        if answer is not None:
            self.composer.show_context((answer.prompt_tokens + answer.tokens, session.n_ctx))

    # ---- the window

    def session_size(self) -> int:
        """Tokens that the context of the open model holds; 0 without one."""
        return 0 if self._session is None else int(self._session.n_ctx)

    @property
    def busy(self) -> bool:
        """A thread of this page is alive."""
        return self._runner.busy

    def shut_down(self) -> None:
        """Ask the job to stop; `idle` tells when it has."""
        self._next_model = ""
        self._runner.cancel()

    def stop_and_wait(self) -> None:
        """Cancel the job, block until its thread has ended, and give the model back."""
        self._runner.stop_and_wait()
        self._close_session()

    def _on_idle(self) -> None:
        path, self._next_model = self._next_model, ""
        if path:
            self.open_model(path)
        else:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show_model()
