"""The conversation that is open: its tree, and how it reaches the store while it is being written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from bitconverter.gui.store_queue import StoreQueue
from bitconverter.store.chat_store import ChatStore
from bitconverter.store.chat_tree import ChatTree
from bitconverter.store.records import Attachment, Chat, Node, Numbers

if TYPE_CHECKING:
    from bitconverter.jobs.chat import Message

SAVE_EVERY_MS = 400  # a killed program loses at most what came since
TITLE_LETTERS = 48


def told(node: Node) -> str:
    """What the model is told of a message: its documents, then its text."""
    documents = [f"[{a.name}]\n{a.text}\n[/{a.name}]\n\n" for a in node.attachments]
    return "".join(documents) + node.text


class ChatLog(QObject):
    """One chat at a time. Emits `listed` when the list of chats has changed in the store."""

    listed = Signal()

    def __init__(self, store: StoreQueue) -> None:
        super().__init__()
        self._store = store
        self._waiting: list[Node] = []  # added to the tree, not yet to the store
        self._dirty: Node | None = None  # text is being added to it
        self._stored = False
        self._draft_changed = False
        self._timer = QTimer(self)
        self._timer.setInterval(SAVE_EVERY_MS)
        self._timer.timeout.connect(self.save_now)
        self.chat, self.tree = Chat(), ChatTree()

    # ---- which chat

    @property
    def turns(self) -> list[Node]:
        """The branch that is shown."""
        return self.tree.path()

    @property
    def stored(self) -> bool:
        """Whether the chat has got into the list: it does with its first message."""
        return self._stored

    def begin(self, draft: str = "") -> None:
        """A new chat, which is stored when something is said in it."""
        self.save_now()
        self.chat, self.tree, self._stored = Chat(draft=draft), ChatTree(), False
        self._store.ask(lambda store: store.set_state("open", ""))

    def open(self, chat_id: int, then: Callable[[], None]) -> None:
        """Read a chat and make it the open one; `then` is called when it is."""
        self.save_now()

        def read(store: ChatStore) -> tuple[Chat, ChatTree] | None:
            chat = store.chat(chat_id)
            if chat is None:
                return None
            store.set_state("open", str(chat_id))
            return chat, store.tree(chat_id)

        def take(found: tuple[Chat, ChatTree] | None) -> None:
            if found is not None:
                (self.chat, self.tree), self._stored = found, True
                then()

        self._store.ask(read, take)

    def change(self, **values: object) -> None:
        """Change fields of the chat (see store.records.Chat), here and in the store."""
        self.chat = replace(self.chat, **values)  # type: ignore[arg-type]
        if self._stored:
            chat_id = self.chat.id
            self._store.ask(lambda store: store.update_chat(chat_id, **values), lambda _: self.listed.emit())

    def set_scroll(self, position: float) -> None:
        """How far down it is read, 0..1."""
        if position != self.chat.scroll:
            self.chat = replace(self.chat, scroll=position)
            if self._stored:
                chat_id = self.chat.id
                self._store.ask(lambda store: store.update_chat(chat_id, scroll=position))

    def set_draft(self, text: str) -> None:
        """What is typed and not sent; written down soon."""
        if text != self.chat.draft:
            self.chat = replace(self.chat, draft=text)
            self._draft_changed = True
            self._timer.start()

    # ---- what is said

    def messages(
        self, system_prompt: str, draft: str = "", attachments: Sequence[Attachment] = ()
    ) -> "tuple[Message, ...]":
        """What the model sees: the system prompt, the branch that is shown, and the draft. An answer may be
        empty: leaving it out would put two questions in a row, which templates refuse."""
        from bitconverter.jobs.chat import Message

        result = [Message("system", system_prompt.strip())] if system_prompt.strip() else []
        result += [Message(turn.role, told(turn)) for turn in self.turns if told(turn) or turn.ending]
        if draft.strip() or attachments:
            result.append(Message("user", told(Node("user", draft, attachments=tuple(attachments)))))
        return tuple(result)

    def add(
        self,
        role: str,
        text: str,
        parent: int | None = None,
        attachments: Sequence[Attachment] = (),
        ending: str = "",
    ) -> Node:
        """A message under `parent`; it is stored with the next save."""
        node = Node(role, text, parent, ending=ending or ("stop" if role == "user" else ""))
        node.attachments = tuple(attachments)
        self.tree.add(node)
        self._waiting.append(node)
        self._timer.start()
        return node

    def write(self, node: Node, text: str) -> None:
        """More of an answer."""
        node.text += text
        self._dirty = node

    def go_on(self, node: Node) -> None:
        """An answer that had ended grows again."""
        copy = replace(node)
        self._store.ask(lambda store: store.save_message(copy))
        self._timer.start()

    def end(self, node: Node, ending: str, numbers: Numbers | None) -> None:
        """The answer is as it will stay."""
        node.ending, node.numbers = ending, numbers
        self.save_now()
        copy = replace(node)
        self._store.ask(lambda store: store.save_message(copy), lambda _: self.listed.emit())
        if not self._draft_changed:
            self._timer.stop()

    def take_away(self, nodes: Sequence[Node]) -> None:
        """Undo add(): the messages have never been said."""
        for node in nodes:
            if node.id in self.tree:
                self.tree.remove(node)
        ids = [node.id for node in nodes if node not in self._waiting]
        self._waiting = [node for node in self._waiting if node not in nodes]
        self._dirty = None
        if ids:
            self._store.ask(lambda store: store.delete_messages(ids))
            self._store_leaf()

    def show(self, node: Node) -> None:
        """Show the branch through `node`."""
        self.tree.show(node)
        self._store_leaf()

    def delete(self, node: Node) -> Callable[[], None]:
        """Take a message and all that follows it away; returns what brings them back."""
        self.save_now()
        leaf, chat_id = self.tree.leaf, self.chat.id
        gone = self.tree.remove(node)
        ids = [each.id for each in gone]
        self._store.ask(lambda store: store.delete_messages(ids))
        self._store_leaf()

        def bring_back() -> None:
            self._store.ask(lambda store: store.restore_messages(ids))
            # another chat may be open by now: this one shows them when it is opened again
            self._store.ask(lambda store: store.update_chat(chat_id, leaf=leaf))
            if self.chat.id == chat_id:
                self.tree.put_back(gone, leaf)

        return bring_back

    def _store_leaf(self) -> None:
        if self._stored:
            chat_id, leaf = self.chat.id, self.tree.leaf
            self._store.ask(lambda store: store.update_chat(chat_id, leaf=leaf))

    # ---- the store

    def save_now(self) -> None:
        """Hand over what the store does not have yet."""
        if self._waiting:
            self._store_waiting()
        if self._dirty is not None:
            message, text = self._dirty.id, self._dirty.text
            self._dirty = None
            self._store.ask(lambda store: store.save_text(message, text))
        if self._draft_changed:
            self._draft_changed = False
            self._store_draft()
        if not self.turns or self.turns[-1].ending:
            self._timer.stop()

    def _store_waiting(self) -> None:
        nodes, self._waiting = [replace(node) for node in self._waiting], []
        if not self._stored:
            self._stored = True
            first = next((node for node in nodes if node.role == "user"), nodes[0])
            self.chat = replace(self.chat, title=title_of(first), draft="")
            chat = self.chat
            self._store.ask(lambda store: store.add_chat(chat))
            self._store.ask(lambda store: store.set_state("open", str(chat.id)))
            self._store.ask(lambda store: store.set_state("draft", ""))
        chat_id = self.chat.id
        self._store.ask(lambda store: store.add_messages(chat_id, nodes), lambda _: self.listed.emit())

    def _store_draft(self) -> None:
        chat_id, draft = self.chat.id, self.chat.draft
        if self._stored:
            self._store.ask(lambda store: store.update_chat(chat_id, draft=draft))
        else:
            self._store.ask(lambda store: store.set_state("draft", draft))


def title_of(node: Node) -> str:
    """The name of a chat until the user gives one: the beginning of what was asked first."""
    words = " ".join(node.text.split()) or (node.attachments[0].name if node.attachments else "")
    return words if len(words) <= TITLE_LETTERS else words[: TITLE_LETTERS - 1].rstrip() + "…"
