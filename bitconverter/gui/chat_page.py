"""Chat: the whole page. Opens a model, reads documents, and connects the parts."""

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QMenu

from bitconverter.gui.chat_context import State
from bitconverter.gui.chat_souls import remember, remembered
from bitconverter.gui.chat_summary import ChatSummary
from bitconverter.gui.choose import choose_file, choose_files, choose_folder
from bitconverter.gui.document_reader import DocumentReader
from bitconverter.gui.dropping import is_soul
from bitconverter.gui.messages import tr
from bitconverter.gui.shelf_model import ShelfMemory, memory_file, places_to_scan
from bitconverter.gui.source_card import remember_folder, start_folder
from bitconverter.gui.template_choice import fill_menu, remember_template, remembered_template
from bitconverter.gui.warming import warm_up
from bitconverter.jobs.device_word import CPU, Device
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Event, Failed, Finished, Stopped
from bitconverter.settings import Settings

if TYPE_CHECKING:
    from bitconverter.jobs.chat import ChatSession

__all__ = ["ChatPage", "State"]


class ChatPage(ChatSummary):
    """Emits `convert_requested` to go to that page, `idle` when no job runs any more."""

    convert_requested = Signal()
    idle = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.reader = DocumentReader(self)
        self._next: Callable[[], None] | None = None  # what to open when the job of now has ended
        self._asked_soul: str | None = None  # of the opening under way, see open_model()
        self._asked_context = 0
        self._soul = ""  # the open model's, or that of the one that is being opened
        self._soul_problem: Exception | None = None  # told when the model is open without it
        self._model = ""  # the open one's path
        self._warming: Thread | None = None
        self._runner.idle.connect(self._on_idle)
        self._connect()
        for keys in ("Ctrl+F", "Ctrl+Shift+F"):
            QShortcut(QKeySequence(keys), self).activated.connect(self.find_in_chats)
        self.composer.moods.show_mood(self.drawer.mood())
        self._show_state(State.NO_MODEL)

    def _connect(self) -> None:
        self.dropped.connect(self._open_dropped)
        self.documents_dropped.connect(self.attach_files)
        self.bar.picked.connect(self.open_model)
        self.bar.browse.connect(self._browse)
        self.bar.browse_file.connect(self._browse_file)
        self.bar.new_chat.connect(self.new_chat)
        self.bar.soul_switched.connect(self.switch_soul)
        self.start.picked.connect(self.open_model)
        self.start.browse.connect(self._browse)
        self.start.convert.connect(self.convert_requested)
        self.start.suggested.connect(self._send_suggestion)
        self.view.acted.connect(self.act)
        self.composer.send.connect(self.send)
        self.composer.stop.connect(self.stop)
        self.composer.model_missing.connect(lambda: self.say(partial(tr, "message-no-model")))
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
        self.smaller_button.clicked.connect(self._open_smaller)
        self.processor_button.clicked.connect(self._open_on_processor)
        self.template_button.clicked.connect(self._choose_template)
        self.drawer.template.chosen.connect(self.use_template)
        self.drop_button.clicked.connect(self._drop_and_send)
        self.reader.read.connect(self.composer.attachments.add)
        self.reader.failed.connect(self.complain)
        self.reader.waiting.connect(self.composer.attachments.show_reading)

    def _send_suggestion(self, text: str) -> None:
        """What is typed next goes into the message; the button that had the keyboard is gone."""
        self._send_text(text)
        self.composer.edit.setFocus()

    # ---- the model

    def open_model(self, path: str, context: int = 0, soul: str | None = None, device: str = "") -> None:
        """Open `path`, a model folder or a .gguf file, with a context of so many tokens (0: the usual); an answer in
        progress is stopped first. The chat stays. `soul`: the file that is put on it, "" for none; None: the one that
        it was opened with last, on or off as it was left. `device`: what it is to run on; "": as the settings say."""
        from bitconverter.jobs.chat import LoadChatJob

        self.hide_notice()
        if self._runner.busy:
            self._open_next(partial(self.open_model, path, context, soul, device))
            return
        if not self.can_undo:
            self.toast.dismiss()  # that there is no model, or something about the last one
        self._warming = warm_up()
        self._close_session()  # before the next one is opened: two models may not fit into memory
        self._opening, self._asked_soul, self._asked_context = path, soul, context
        self._soul, self._soul_on = remembered(self._settings, path) if soul is None else (soul, bool(soul))
        threads, kv = int(self._settings["threads"]), str(self._settings["kv_cache"])
        on = Device(device or str(self._settings["device"]))
        template = remembered_template(self._settings, path)
        self._runner.start(
            LoadChatJob(path, threads, n_ctx=context, kv=kv, soul=self._soul, device=on, template=template)
        )
        self._show_state(State.LOADING)

    def use_template(self, word: str) -> None:
        """Write conversations with another chat template, from the next answer on."""
        if self.state is State.READY:
            from bitconverter.jobs.chat import UseTemplateJob

            self.hide_notice()
            self._opening = self._model
            self._runner.start(UseTemplateJob(self._ready(), word))
            self._show_state(State.LOADING)

    def _template_menu(self) -> QMenu:
        """For the model that could not be opened because of its template."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        suggested = str(getattr(self._problem, "fields", {}).get("suggested", ""))
        own = bool(
            remembered_template(self._settings, self._opening)
        )  # then it may have one: that was not tried
        fill_menu(menu, self._settings, None, own, suggested, self._open_with_template)
        return menu

    def _choose_template(self) -> None:
        corner = self.template_button.rect().bottomLeft()
        self._template_menu().popup(self.template_button.mapToGlobal(corner))

    def _open_with_template(self, word: str) -> None:
        """Once more the model that had none, or a bad one."""
        if remember_template(self._settings, self._opening, word):
            self.drawer.to_save.emit()
        self.open_model(self._opening, self._asked_context, self._asked_soul)

    def open_soul(self, path: str, model: str = "") -> None:
        """Open the soul `path` on the model that it was trained on: `model`, or "" where that has to be found
        first. What is open stays so until it is."""
        if model:
            self.open_model(model, soul=path)
            return
        self.hide_notice()
        if self._runner.busy:
            self._open_next(partial(self.open_soul, path))
            return
        self._opening = self._asked_soul = path
        from bitconverter.jobs.soul_base import FindBaseJob

        known = ShelfMemory(memory_file(self._settings)).load()
        self._runner.start(FindBaseJob(path, places_to_scan(self._settings, known)))
        self._show_state(State.LOADING)

    def _open_dropped(self, path: str) -> None:
        if is_soul(path):
            self.open_soul(path)
        else:
            self.open_model(path)

    def _open_next(self, opening: Callable[[], None]) -> None:
        """When the job of now, which is stopped, has ended."""
        self._next = opening
        self._runner.cancel()

    def switch_soul(self, on: bool) -> None:
        """Make the answers with the soul, or without it, from the next one on."""
        self._soul_on = on
        remember(self._settings, self._model, self._soul, on)
        self.drawer.to_save.emit()

    def _open_smaller(self) -> None:
        """Once more the model that memory was too small for, with the context that was found to fit."""
        context = int(getattr(self._problem, "fields", {}).get("fits", 0))
        self.open_model(self._opening, context, self._asked_soul)

    def _open_on_processor(self) -> None:
        """Once more the model that the graphics card of the settings did not take."""
        self.open_model(self._opening, self._asked_context, self._asked_soul, CPU)

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

    def _loaded(self, session: "ChatSession") -> None:
        self._session, self._model = session, self._opening
        self._settings.add_recent_model(self._opening)
        remember_folder(self._settings, self._opening)
        if self._soul:
            remember(self._settings, self._model, self._soul, self._soul_on)
        if remember_template(self._settings, self._model, session.template):
            self.drawer.to_save.emit()
        self._show_state(State.READY)
        problem, self._soul_problem = self._soul_problem, None
        if problem is not None:
            self.complain(problem)
            self.say(partial(tr, "opened-without-soul"))
        self.composer.edit.setFocus()

    def _on_load_end(self, event: Event) -> None:
        from bitconverter.jobs.chat import ChatSession

        before = State.NO_MODEL if self._session is None else State.READY
        if isinstance(event, Finished) and isinstance(event.result, ChatSession):
            self._loaded(event.result)
        elif isinstance(event, Finished):  # the model of a soul has been found
            self._next = self._next or partial(self.open_model, event.result, soul=self._opening)
        elif isinstance(event, Failed) and self._may_do_without_soul(event.error):
            self._soul_problem = event.error
            remember(self._settings, self._opening, "", False)
            self._next = self._next or partial(self.open_model, self._opening)
        elif isinstance(event, Failed):
            self._show_state(before)
            self.complain(event.error)
        elif isinstance(event, Stopped):
            self._show_state(before)

    def _may_do_without_soul(self, error: BaseException) -> bool:
        """A soul that nobody asked for now, and that is gone or fits no more, must not lock its model away: the model
        is opened without it, and that is said."""
        return self._asked_soul is None and isinstance(error, UserError) and error.code.startswith("soul-")

    def _browse_file(self) -> None:
        start, kind = start_folder(self._settings), tr("gguf-filter")
        path = choose_file(self, tr("choose-gguf-title"), start, kind)
        if path:
            self.open_model(path)

    def _browse(self) -> None:
        path = choose_folder(self, tr("open-model-title"), start_folder(self._settings))
        if path:
            self.open_model(path)

    def _on_event(self, event: Event) -> None:
        if self.state is State.LOADING and isinstance(event, Finished | Failed | Stopped):
            self._on_load_end(event)
        else:
            super()._on_event(event)

    # ---- settings of the chat

    def _settings_changed(self) -> None:
        self.composer.moods.show_mood(self.drawer.mood())
        self.composer.count_later()

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
        paths = choose_files(self, tr("attach"), start_folder(self._settings), tr("attach-filter"))
        if paths:
            remember_folder(self._settings, paths[0])
            self.attach_files(paths)

    # ---- the window

    @property
    def busy(self) -> bool:
        """A job of this page runs: a model is being opened, or an answer is being made."""
        return self._runner.busy

    def entered(self) -> None:
        """The page has just been shown: what is typed goes into the message."""
        self.composer.edit.setFocus()

    def escape(self) -> None:
        """Esc stops the answer, or leaves the message that is being edited."""
        if self.state is State.ANSWERING:
            self.stop()
        else:
            self.leave_editing()

    def shut_down(self) -> None:
        """Ask the job to stop; `idle` tells when it has."""
        self._next = None
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
        if self._warming is not None:
            self._warming.join()
        self.store.close()

    def _on_idle(self) -> None:
        following, self._next = self._next, None
        if following is not None:
            following()
        else:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show_model()
