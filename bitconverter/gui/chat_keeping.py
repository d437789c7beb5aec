"""Chats that come and go: the one that was open last, another one, a new one; drafts and places are kept."""

from PySide6.QtCore import QTimer

from bitconverter.gui.chat_answers import ChatAnswers
from bitconverter.gui.chat_context import State
from bitconverter.gui.chat_transfer import ChatTransfer
from bitconverter.gui.messages import tr
from bitconverter.jobs.errors import UserError
from bitconverter.settings import Settings

SCROLL_SAVED_MS = 500


class ChatKeeping(ChatAnswers):
    """What connects the page with the store and the list of chats."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.transfer = ChatTransfer(self.store, self)
        self._scrolled = QTimer(self)
        self._scrolled.setSingleShot(True)
        self._scrolled.setInterval(SCROLL_SAVED_MS)
        self._scrolled.timeout.connect(lambda: self.log.set_scroll(self.view.position()))
        self.view.scrolled.connect(self._scrolled.start)
        self.drawer.presets.use(self.store)
        self.store.opened.connect(self._store_opened)
        self.store.failed.connect(self.complain)
        self.log.listed.connect(self.history.reload)
        self.history.opened.connect(self.open_chat)
        self.history.said.connect(self.say)
        self.history.gone.connect(self._chats_gone)
        self.history.renamed.connect(self._renamed)
        self.history.list.undo.connect(self.undo)
        self.history.export.connect(self.transfer.export)
        self.history.import_files.connect(self.transfer.ask_import)
        self.transfer.said.connect(self.say)
        self.transfer.failed.connect(self.complain)
        self.transfer.imported.connect(self._imported)

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

    def _renamed(self, chat_id: int, name: str) -> None:
        if chat_id == self.log.chat.id:
            self.log.change(title=name, named=True)

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

    def find_in_chats(self) -> None:
        """Go to the search field of the history."""
        if not self.bar.history_button.isChecked():
            self.bar.history_button.click()
        self.history.search.setFocus()
        self.history.search.selectAll()
