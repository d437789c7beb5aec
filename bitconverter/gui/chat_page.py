"""Chat: opens a model, sends what is typed, shows what comes back."""

from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QFileDialog

from bitconverter.gui.chat_layout import ISA_NAMES, ChatLayout
from bitconverter.gui.chat_log import ChatLog
from bitconverter.gui.chat_message import AssistantMessage
from bitconverter.gui.chat_transfer import ChatTransfer
from bitconverter.gui.document_reader import DocumentReader
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import note_text, tr
from bitconverter.gui.prompt_counter import PromptCounter
from bitconverter.gui.source_card import remember_folder, start_folder
from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, LoadChatJob, Prompt, Sampling
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Event, Failed, Finished, Note, Progress, Stopped, Token
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment, Node, Numbers

SCROLL_SAVED_MS = 500


class State(Enum):
    """Where the page stands."""

    NO_MODEL = auto()
    LOADING = auto()
    READY = auto()
    ANSWERING = auto()
    STOPPING = auto()


class _Running:
    """The answer that is being made: its node, the text it began with, what was added to the chat for it,
    the branch from before, and the settings it is made with."""

    def __init__(
        self, node: Node, added: list[Node], leaf: int | None, sampling: Sampling, system: str
    ) -> None:
        self.node, self.added, self.leaf = node, added, leaf
        self.before, self.numbers_before, self.ending_before = node.text, node.numbers, node.ending
        self.sampling, self.system = sampling, system
        self.expected: str | None = None  # the text that it should become, when it is repeated


class ChatPage(ChatLayout):
    """Emits `convert_requested` to go to that page, `idle` when no job runs any more."""

    convert_requested = Signal()
    idle = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.state = State.NO_MODEL
        self.log = ChatLog(self.store)
        self.transfer = ChatTransfer(self.store, self)
        self.counter, self.reader = PromptCounter(self), DocumentReader(self)
        self._session: ChatSession | None = None
        self._opening, self._next_model = "", ""
        self._running: _Running | None = None
        self._editing: Node | None = None
        self._stash: tuple[str, tuple[Attachment, ...]] = ("", ())
        self._after_stop: Callable[[], None] | None = None
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)
        self._runner.idle.connect(self._on_idle)
        self._scrolled = QTimer(self)
        self._scrolled.setSingleShot(True)
        self._scrolled.setInterval(SCROLL_SAVED_MS)
        self._connect()
        self.drawer.presets.use(self.store)
        self.composer.moods.show_mood(self.drawer.mood())
        self._show_state(State.NO_MODEL)

    def _connect(self) -> None:
        self.dropped.connect(self.open_model)
        self.documents_dropped.connect(self.attach_files)
        self.bar.picked.connect(self.open_model)
        self.bar.browse.connect(self._browse)
        self.bar.browse_file.connect(self._browse_file)
        self.bar.new_chat.connect(self.new_chat)
        self.start.picked.connect(self.open_model)
        self.start.browse.connect(self._browse)
        self.start.convert.connect(self.convert_requested)
        self.start.suggested.connect(self._send_text)
        self.view.acted.connect(self.act)
        self.view.scrolled.connect(self._scrolled.start)
        self._scrolled.timeout.connect(lambda: self.log.set_scroll(self.view.position()))
        self.composer.send.connect(self.send)
        self.composer.stop.connect(self.stop)
        self.composer.typed.connect(self._keep_draft)
        self.composer.draft_changed.connect(self._count)
        self.composer.preview.connect(self.open_preview)
        self.composer.edit_left.connect(self.leave_editing)
        self.composer.attach_button.clicked.connect(self._browse_documents)
        self.composer.moods.chosen.connect(self.drawer.set_mood)
        self.drawer.changed.connect(self._settings_changed)
        self.drawer.to_save.connect(self._keep_prompt)
        self.drawer.preview.connect(self.open_preview)
        self.drawer.drop_oldest.connect(self._set_drop_oldest)
        self.drawer.presets.said.connect(self.say)
        self.new_chat_button.clicked.connect(self.new_chat)
        self.drop_button.clicked.connect(self._drop_and_send)
        self.counter.counted.connect(self._counted)
        self.reader.read.connect(self.composer.attachments.add)
        self.reader.failed.connect(self.complain)
        self.reader.waiting.connect(self.composer.attachments.show_reading)
        self.store.opened.connect(self._store_opened)
        self.store.failed.connect(self.complain)
        self.log.listed.connect(self.history.reload)
        self.history.opened.connect(self.open_chat)
        self.history.said.connect(self.say)
        self.history.gone.connect(self._chats_gone)
        self.history.list.undo.connect(self.undo)
        self.history.export.connect(self.transfer.export)
        self.history.import_files.connect(self.transfer.ask_import)
        self.transfer.said.connect(self.say)
        self.transfer.failed.connect(self.complain)
        self.transfer.imported.connect(self._imported)

    def _show_state(self, state: State) -> None:
        self.state = state
        idle = state not in (State.ANSWERING, State.STOPPING)
        self.composer.set_state(self._may_send(), state is State.ANSWERING)
        self.bar.new_button.setEnabled(idle)
        self.view.show_log(self.log, state is State.READY)
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
        self.history.show_current(self.log.chat.id if self.log.stored else None)
        if state is State.READY:
            self._count()

    def _may_send(self) -> bool:
        """A changed answer can be kept without a model."""
        changes_answer = self._editing is not None and self._editing.role == "assistant"
        return self.state is State.READY or (changes_answer and self.state is State.NO_MODEL)

    def _show_model(self) -> None:
        self.show_model(self._session, Path(self._opening).name if self.state is State.LOADING else "")

    # ---- the store and the chats in it

    def _store_opened(self, said: object) -> None:
        if isinstance(said, Exception):
            self.complain(said)
        elif said is not None:
            self.complain(UserError("chats-damaged", tr("chats-damaged", path=str(said)), path=str(said)))
        self.store.ask(lambda store: (store.state("open"), store.state("draft")), self._resume)
        self.history.reload()

    def _resume(self, state: tuple[str, str]) -> None:
        """The chat that was open when the program ended, or the draft of a new one."""
        chat, draft = state
        if self.log.stored or self.log.turns:
            return  # something has been said meanwhile
        if chat.isdecimal():
            self.open_chat(int(chat), None)
        elif draft and self.composer.empty():
            self.composer.set_text(draft)

    def open_chat(self, chat_id: int, message: int | None = None) -> None:
        """Show a chat, at `message` or where it was left. An answer in progress is stopped first."""
        if self.state in (State.ANSWERING, State.STOPPING):
            self._after_stop = lambda: self.open_chat(chat_id, message)
            self.stop()
        elif self.log.stored and chat_id == self.log.chat.id:
            self._show_message(message)
        else:
            self.leave_editing()
            self.log.set_scroll(self.view.position())
            self.log.open(chat_id, lambda: self._opened(message))

    def _opened(self, message: int | None) -> None:
        self.hide_notice()
        chat = self.log.chat
        self.view.show_left_out(0)
        self.composer.set_text(chat.draft)
        self.drawer.set_prompt(chat.system_prompt)
        self.drawer.drop_box.setChecked(chat.drop_oldest)
        self._show_state(self.state)
        self.view.go_to(chat.scroll)
        self._show_message(message)

    def _show_message(self, message: int | None) -> None:
        if message is not None and message in self.log.tree:
            self.log.show(self.log.tree.node(message))
            self._show_state(self.state)
            self.view.go_to_message(message)

    def new_chat(self) -> None:
        """Begin another chat; this one stays in the list. What is typed stays in the input."""
        if self.state in (State.ANSWERING, State.STOPPING):
            return
        self.leave_editing()
        self.hide_notice()
        if self.log.turns:
            self._begin()
        self.composer.edit.setFocus()

    def _begin(self) -> None:
        self.log.set_scroll(self.view.position())
        self.log.set_draft("")
        self.log.begin(self.composer.text())
        self.view.show_left_out(0)
        self.drawer.drop_box.setChecked(False)
        self._show_state(self.state)

    def _chats_gone(self, ids: list[int]) -> None:
        if self.log.chat.id in ids:
            self.leave_editing()
            if self.state is State.ANSWERING:
                self._runner.cancel()
            self._begin()

    def _imported(self, chat_ids: list[int]) -> None:
        self.history.reload()
        if chat_ids:
            self.open_chat(chat_ids[0])

    def _keep_draft(self) -> None:
        if self._editing is None:
            self.log.set_draft(self.composer.text())

    def _keep_prompt(self) -> None:
        prompt = self.drawer.system_prompt()
        if self.log.stored and prompt != self.log.chat.system_prompt:
            self.log.change(system_prompt=prompt)

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
            self.counter.stop_and_wait()
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
        """Send what is typed, or the message that has been edited."""
        text, attachments = self.composer.text(), self.composer.attachments.all()
        if self._editing is not None:
            self._send_edited(text, attachments)
        else:
            self._send_text(text, attachments)

    def _send_text(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        if self.state is not State.READY or not (text.strip() or attachments):
            return
        leaf = self.log.tree.leaf
        self._ask(text, attachments, leaf)

    def _ask(self, text: str, attachments: tuple[Attachment, ...], parent: int | None) -> None:
        leaf = self.log.tree.leaf
        if not self.log.stored:
            self.log.change(system_prompt=self.drawer.system_prompt())
        question = self.log.add("user", text.strip(), parent, attachments)
        self.composer.set_text("")
        self.toast.dismiss()
        self._answer(leaf, [question])

    def _answer(
        self,
        leaf: int | None,
        added: list[Node],
        sampling: Sampling | None = None,
        system: str | None = None,
    ) -> None:
        """A new answer to the last message; `leaf` is the branch to go back to if nothing comes of it."""
        sampling = self.drawer.sampling() if sampling is None else sampling
        system = self.drawer.system_prompt() if system is None else system
        messages = self.log.messages(system)
        node = self.log.add("assistant", "", self.log.tree.leaf)
        self._running = _Running(node, [*added, node], leaf, sampling, system)
        self._start(AnswerJob(self._ready(), messages, sampling, drop_oldest=self.log.chat.drop_oldest))

    def _start(self, job: AnswerJob) -> None:
        self.hide_notice()
        self._show_state(State.ANSWERING)
        self.view.follow()
        self._runner.start(job)

    def _ready(self) -> ChatSession:
        assert self._session is not None
        return self._session

    def stop(self) -> None:
        """Stop the answer; what was said so far stays."""
        if self.state is State.ANSWERING:
            self._show_state(State.STOPPING)
            self._runner.cancel()

    # ---- what is done with a message

    def act(self, name: str, node: Node) -> None:
        """Do what a message's button or menu says: see chat_message.py."""
        if self.state in (State.ANSWERING, State.STOPPING, State.LOADING):
            return
        if name in ("previous", "next"):
            versions = self.log.tree.versions(node)
            place = versions.index(node) + (1 if name == "next" else -1)
            if 0 <= place < len(versions):
                self.log.show(versions[place])
                self._show_state(self.state)
        elif name in ("edit", "edit-answer"):
            self.edit(node)
        elif name == "delete":
            self._delete(node)
        elif self.state is State.READY:
            if name == "again":
                self.answer_again(node)
            elif name == "repeat":
                self.repeat(node)
            elif name == "continue":
                self.go_on(node)

    def answer_again(self, node: Node | None = None) -> None:
        """Another answer to the same question, beside `node` (default: the last answer)."""
        node = node or (self.log.turns[-1] if self.log.turns else None)
        if self.state is not State.READY or node is None or node.role != "assistant" or node.parent is None:
            return
        leaf = self.log.tree.leaf
        self.log.tree.leaf = node.parent
        self._answer(leaf, [])

    def repeat(self, node: Node) -> None:
        """The same answer again, with the settings, the seed and the system prompt that it had."""
        numbers = node.numbers
        if self.state is not State.READY or numbers is None or node.parent is None:
            return
        sampling = Sampling(
            temperature=numbers.temperature, top_p=numbers.top_p, top_k=numbers.top_k, min_p=numbers.min_p,
            repeat_penalty=numbers.repeat_penalty, seed=numbers.seed, max_tokens=numbers.max_tokens,
        )  # fmt: skip
        leaf = self.log.tree.leaf
        self.log.tree.leaf = node.parent
        self._answer(leaf, [], sampling, numbers.system_prompt)
        assert self._running is not None
        self._running.expected = node.text

    def go_on(self, node: Node) -> None:
        """Let an answer that was cut go on."""
        if self.state is not State.READY or not self.log.turns or node is not self.log.turns[-1]:
            return
        sampling, system = self.drawer.sampling(), self.drawer.system_prompt()
        messages = self.log.messages(system)
        self._running = _Running(node, [], self.log.tree.leaf, sampling, system)
        node.ending = ""
        self.log.go_on(node)
        job = AnswerJob(
            self._ready(), messages, sampling, continues=True, drop_oldest=self.log.chat.drop_oldest
        )
        self._start(job)

    def edit(self, node: Node) -> None:
        """Take a message into the input; sending it makes another version of it, and a branch."""
        if self._editing is None:
            self._stash = (self.composer.text(), self.composer.attachments.all())
        self._editing = node
        self.composer.show_editing("editing-question" if node.role == "user" else "editing-answer")
        self.composer.set_text(node.text, node.attachments)
        self.composer.set_state(self._may_send(), False)
        self.composer.edit.setFocus()

    def leave_editing(self) -> None:
        """Leave the message as it was; what was typed before is back."""
        if self._editing is not None:
            self._editing = None
            self.composer.show_editing("")
            self.composer.set_text(*self._stash)
            self.composer.set_state(self._may_send(), self.state is State.ANSWERING)

    def _send_edited(self, text: str, attachments: tuple[Attachment, ...]) -> None:
        node = self._editing
        assert node is not None
        if node.role == "user":
            if self.state is not State.READY:
                return
            self.leave_editing()
            typed = (self.composer.text(), self.composer.attachments.all())
            self._ask(text, attachments, node.parent)
            self.composer.set_text(*typed)
        else:
            self.leave_editing()
            self.log.add("assistant", text.strip(), node.parent, ending="stop")
            self.log.save_now()
            self._show_state(self.state)

    def _delete(self, node: Node) -> None:
        bring_back = self.log.delete(node)

        def undo() -> None:
            bring_back()
            self._show_state(self.state)

        self._show_state(self.state)
        self.say(tr("message-deleted"), undo)

    # ---- what the jobs say

    def _on_event(self, event: Event) -> None:
        running = self._running
        if isinstance(event, Token):
            if running is not None:
                self.log.write(running.node, event.text)
                answer = self._answer_widget()
                if answer is not None:
                    answer.grew()
        elif isinstance(event, Progress):
            answer = self._answer_widget()
            if answer is not None:
                answer.show_reading(event.done / max(event.total, 1))
        elif isinstance(event, Note):
            if event.code == "left-out":
                self.view.show_left_out(event.fields["messages"])
            else:
                self.say(note_text(event))
        elif self.state is State.LOADING:
            self._on_load_end(event)
        elif isinstance(event, Finished | Failed | Stopped):
            self._on_answer_end(event)

    def _answer_widget(self) -> AssistantMessage | None:
        answer, running = self.view.last_answer(), self._running
        return answer if answer is not None and running is not None and answer.turn is running.node else None

    def _on_load_end(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._loaded(event.result)
        elif isinstance(event, Failed):
            self._show_state(State.NO_MODEL)
            self.complain(event.error)
        elif isinstance(event, Stopped):
            self._show_state(State.NO_MODEL)

    def _on_answer_end(self, event: Finished | Failed | Stopped) -> None:
        running, self._running = self._running, None
        if running is None:
            self._show_state(State.READY)
            return
        node = running.node
        if isinstance(event, Finished):
            answer: Answer = event.result
            node.text = running.before + answer.text
            self.log.end(node, answer.finish, self._numbers(running, answer))
        elif node.text == running.before and running.added:
            self._give_back(running)
        elif node.text == running.before:  # nothing came of going on
            self.log.end(node, running.ending_before, running.numbers_before)
        else:
            self.log.end(node, "stopped", running.numbers_before)
        widget = self.view.last_answer()
        if widget is not None and widget.turn is node:
            widget.finish()
        self._show_state(State.READY)
        if isinstance(event, Failed):
            self.complain(event.error, can_drop=len(self.log.turns) > 1 and not self.log.chat.drop_oldest)
        elif node.ending == "context" and isinstance(event, Finished):
            self.complain("end-context")
        elif running.expected is not None and isinstance(event, Finished):
            self.say(tr("repeated" if node.text == running.expected else "repeated-differs"))
        after, self._after_stop = self._after_stop, None
        if after is not None:
            after()

    def _give_back(self, running: _Running) -> None:
        """Nothing was said: the question goes back into the input, before what is typed there."""
        questions = [node for node in running.added if node.role == "user"]
        self.log.take_away(running.added)
        if running.leaf is None or running.leaf in self.log.tree:
            self.log.tree.leaf = running.leaf
        if questions and self._editing is None:
            typed, attachments = self.composer.text(), self.composer.attachments.all()
            text = questions[0].text
            text = f"{text}\n{typed}" if typed.strip() else text
            self.composer.set_text(text, [*questions[0].attachments, *attachments])

    def _numbers(self, running: _Running, answer: Answer) -> Numbers:
        session, sampling, before = self._ready(), running.sampling, running.numbers_before
        isa = ISA_NAMES.get(session.isa, session.isa)
        return Numbers(
            prompt_tokens=answer.prompt_tokens, cached_tokens=answer.cached_tokens,
            tokens=answer.tokens + (before.tokens if before else 0),
            prefill_seconds=answer.prefill_seconds + (before.prefill_seconds if before else 0),
            decode_seconds=answer.decode_seconds + (before.decode_seconds if before else 0),
            tokens_per_second=answer.tokens_per_second, model=session.name, device=f"CPU {isa}",
            seed=answer.seed, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k,
            min_p=sampling.min_p, repeat_penalty=sampling.repeat_penalty,
            max_tokens=sampling.max_tokens, system_prompt=running.system,
        )  # fmt: skip

    # ---- the context

    def _settings_changed(self) -> None:
        self.composer.moods.show_mood(self.drawer.mood())
        self.composer.count_later()

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

    def _counted(self, prompt: Prompt) -> None:
        if self._session is None:
            return
        self.composer.show_prompt(prompt)
        self.view.show_left_out(prompt.left_out)
        if self.preview is not None:
            self.preview.show_prompt(prompt)

    def _set_drop_oldest(self, on: bool) -> None:
        self.log.change(drop_oldest=on)
        self._count()

    def _drop_and_send(self) -> None:
        """The choice for a full context: go on without the oldest messages."""
        self.drawer.drop_box.setChecked(True)
        self.log.change(drop_oldest=True)
        self.hide_notice()
        if not self.composer.empty():
            self.send()

    # ---- documents

    def attach_files(self, paths: list[str]) -> None:
        """Read these files and let them go along with the message."""
        self.hide_notice()
        self.reader.add([str(path) for path in paths])

    def _browse_documents(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(
            self, tr("attach"), start_folder(self._settings), tr("attach-filter")
        )
        if paths:
            remember_folder(self._settings, paths[0])
            self.attach_files(paths)

    # ---- the window

    def session_size(self) -> int:
        """Tokens that the context of the open model holds; 0 without one."""
        return 0 if self._session is None else int(self._session.n_ctx)

    @property
    def busy(self) -> bool:
        """A job of this page runs: a model is being opened, or an answer is being made."""
        return self._runner.busy

    def find_in_chats(self) -> None:
        """Go to the search field of the history."""
        if not self.bar.history_button.isChecked():
            self.bar.history_button.click()
        self.history.search.setFocus()
        self.history.search.selectAll()

    def entered(self) -> None:
        """The page has just been shown: what is typed goes into the message."""
        self.composer.edit.setFocus()

    def escape(self) -> None:
        """Esc stops the answer."""
        self.stop()

    def shut_down(self) -> None:
        """Ask the job to stop; `idle` tells when it has."""
        self._next_model = ""
        self._runner.cancel()

    def stop_and_wait(self) -> None:
        """End every job, keep what is typed and read, close the chats, and give the model back."""
        self._runner.stop_and_wait()
        running, self._running = self._running, None
        if running is not None and running.node.id in self.log.tree:
            self.log.end(running.node, "stopped", running.numbers_before)
        self.reader.stop_and_wait()
        self.leave_editing()
        self.log.set_scroll(self.view.position())
        self.log.save_now()
        self._close_session()
        self.counter.stop_and_wait()
        self.store.close()

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
