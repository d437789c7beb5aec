"""Chat: opens a model, sends what is typed, shows what comes back."""

from enum import Enum, auto
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.chat_start import ChatStart
from bitconverter.gui.chat_view import WIDTH, ChatView
from bitconverter.gui.composer import Composer
from bitconverter.gui.dropping import dropped_model
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, note_text, tr
from bitconverter.gui.model_bar import ModelBar
from bitconverter.gui.notice import Notice
from bitconverter.gui.sampling_drawer import SamplingDrawer
from bitconverter.gui.source_card import start_folder
from bitconverter.gui.widgets import Button, Toast
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Event, Failed, Finished, Note, Progress, Stopped, Token
from bitconverter.settings import Settings

COUNTED_LETTERS = 200_000
ISA_NAMES = {"avx2": "AVX2", "avx512": "AVX-512", "avx512-vnni": "AVX-512 VNNI"}


class State(Enum):
    """Where the page stands."""

    NO_MODEL = auto()
    LOADING = auto()
    READY = auto()
    ANSWERING = auto()
    STOPPING = auto()


class ChatPage(QWidget):
    """Emits `convert_requested` to go to that page, `idle` when no job runs any more."""

    convert_requested = Signal()
    idle = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAcceptDrops(True)
        self._settings = settings
        self.state = State.NO_MODEL
        self.log = ChatLog()
        self._session: ChatSession | None = None
        self._opening, self._next_model = "", ""
        self._undo_after_stop = False
        self._problem: Exception | str | None = None
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(self._on_idle)
        self._build()
        self._show_state(State.NO_MODEL)

    # ---- what is on the page

    def _build(self) -> None:
        self.bar, self.start, self.view = ModelBar(self._settings), ChatStart(self._settings), ChatView()
        self.notice, self.composer, self.drawer = Notice(), Composer(), SamplingDrawer(self._settings)
        self.new_chat_button = Button("primary", "plus")
        self.notice.buttons.insertWidget(0, self.new_chat_button)
        self.new_chat_button.hide()
        self._middle = QStackedWidget()
        self._middle.addWidget(self.start)
        self._middle.addWidget(self.view)
        bottom = QWidget()
        bottom.setMaximumWidth(WIDTH)
        under = QVBoxLayout(bottom)
        under.setContentsMargins(28, 0, 28, 18)
        under.setSpacing(10)
        under.addWidget(self.notice)
        under.addWidget(self.composer)
        line = QHBoxLayout()
        line.addStretch(1)
        line.addWidget(bottom, 100)
        line.addStretch(1)
        left = QVBoxLayout()
        left.setSpacing(0)
        left.addWidget(self._middle, 1)
        left.addLayout(line)
        body = QHBoxLayout()
        body.setSpacing(0)
        body.addLayout(left, 1)
        body.addWidget(self.drawer)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(self.bar)
        page.addLayout(body, 1)
        self.toast = Toast(self)
        self.drawer.setVisible(self._settings["drawer_open"])
        self._connect()

    def _connect(self) -> None:
        self.bar.picked.connect(self.open_model)
        self.bar.browse.connect(self._browse)
        self.bar.browse_file.connect(self._browse_file)
        self.bar.new_chat.connect(self.new_chat)
        self.bar.drawer_toggled.connect(self._toggle_drawer)
        self.start.picked.connect(self.open_model)
        self.start.browse.connect(self._browse)
        self.start.convert.connect(self.convert_requested)
        self.start.suggested.connect(self._send_text)
        self.view.again.connect(self.answer_again)
        self.view.edit.connect(self.edit_question)
        self.view.copy.connect(self._copy)
        self.view.code_copied.connect(self._say_copied)
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
        session = self._session
        if session is None:
            name = tr("loading", name=Path(self._opening).name) if self.state is State.LOADING else ""
            self.bar.show_model(name, "", "", "")
            self.composer.show_context(None)
            return
        isa, threads = ISA_NAMES.get(session.isa, session.isa), session.threads
        tip = tr("device-tip", isa=isa, threads=threads, context=f"{session.n_ctx:,}", family=session.family)
        kind = tr("kind-ternary" if session.ternary else "kind-original")
        self.bar.show_model(session.name, kind, tr("device", isa=isa, threads=threads), tip)

    # ---- the model

    def open_model(self, path: str) -> None:
        """Open `path`, a model folder or a .gguf file; an answer in progress is stopped first. The chat stays."""
        self._hide_notice()
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
        self._settings["last_folder"] = str(Path(self._opening).parent)
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
        self._hide_notice()
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
            self._answer()

    def edit_question(self) -> None:
        """Take the last question back into the input, and its answer away."""
        if self.state is not State.READY:
            return
        self.log.remember()
        text = self.log.take_last_question()
        if text is not None:
            self.composer.set_text(text)
            self.composer.edit.setFocus()
            self._show_state(State.READY)
            self.toast.show_text(tr("question-taken"), tr("undo"))

    def new_chat(self) -> None:
        """Forget the conversation; undo brings it back. What is typed stays."""
        if self.state in (State.ANSWERING, State.STOPPING):
            return
        self._hide_notice()
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
            self._complain(event.error)
        elif isinstance(event, Stopped):
            self._show_state(State.NO_MODEL)

    def _on_answer_end(self, event: Finished | Failed | Stopped) -> None:
        widget, turn = self.view.last_answer(), self.log.turns[-1]
        if isinstance(event, Finished):
            answer: Answer = event.result
            turn.text, turn.answer, turn.end = answer.text, answer, answer.finish
        else:
            turn.end = "stopped"
        if isinstance(event, Failed) and not turn.text:
            self._give_back()
        elif not turn.text and turn.end == "stopped":
            self.log.drop_last_answer()
        elif widget is not None:
            widget.finish()
        if self._undo_after_stop:
            self._undo_after_stop = False
            self.log.undo()
        self._show_state(State.READY)
        if isinstance(event, Failed):
            self._complain(event.error)
        elif turn.end == "context":
            self._complain("end-context")

    def _give_back(self) -> None:
        """Nothing was answered: the question goes back into the input, before what was typed meanwhile."""
        text = self.log.take_last_question() or ""
        typed = self.composer.text()
        self.composer.set_text(f"{text}\n{typed}" if typed.strip() else text)

    def _complain(self, problem: Exception | str) -> None:
        """Show an error, or the message "end-context"; a full context comes with the way out of it."""
        self._hide_notice()
        self._problem = problem
        fields = getattr(problem, "fields", {})
        if isinstance(problem, str):
            self.notice.show_warning(tr("context-full-title"), tr(problem))
        elif isinstance(problem, UserError) and problem.code == "context-full" and "needed" in fields:
            text = tr("context-full-text", needed=fields["needed"], available=fields.get("available", "?"))
            self.notice.show_warning(tr("context-full-title"), text)
        else:
            self.notice.show_error(error_text(problem))
            return
        self.new_chat_button.setText(tr("new-chat"))
        self.new_chat_button.show()

    def _hide_notice(self) -> None:
        self._problem = None
        self.new_chat_button.hide()
        self.notice.clear()

    def _count(self) -> None:
        """Bring the context meter up to date. Not while answering: the numbers come with its end."""
        session = self._session
        if session is None or self.state is not State.READY:
            return
        messages = self.log.messages(self.drawer.system_prompt(), self.composer.text())
        if sum(len(message.content) for message in messages) > COUNTED_LETTERS:
            return  # counting would hold the window up; whether it fits is told when it is sent
        try:
            used = session.count_tokens(messages) if messages else 0
        except UserError:  # a template may refuse a half-made chat; sending it tells why
            return
        self.composer.show_context((used, session.n_ctx))

    # ---- small things

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._say_copied()

    def _say_copied(self) -> None:
        self.toast.show_text(tr("copied"))

    def _toggle_drawer(self, shown: bool) -> None:
        self.drawer.setVisible(shown)
        self._settings["drawer_open"] = shown

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
        for part in (self.bar, self.start, self.view, self.composer, self.drawer):
            part.retranslate()
        if self._problem is not None:
            self._complain(self._problem)
        self._show_model()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_model(event.mimeData()):
            self.start.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.start.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self.start.set_hot(False)
        path = dropped_model(event.mimeData())
        if path:
            event.acceptProposedAction()
            self.open_model(path)
