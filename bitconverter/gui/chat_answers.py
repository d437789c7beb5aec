"""Talking: what is sent, what comes back, and what is done with a message."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bitconverter.gui.chat_context import ChatContext, State
from bitconverter.gui.chat_message import AssistantMessage
from bitconverter.gui.device_text import answer_device
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import note_text, tr
from bitconverter.gui.template_choice import template_name
from bitconverter.jobs.job import Event, Failed, Finished, Note, Progress, Stopped, Token
from bitconverter.settings import Settings
from bitconverter.store.records import Attachment, Node, Numbers

if TYPE_CHECKING:
    from bitconverter.jobs.chat import Answer, AnswerJob, ChatSession, Sampling


class _Running:
    """The answer that is being made: its node, the text it began with, what was added to the chat for it,
    the branch from before, and the settings it is made with."""

    def __init__(
        self,
        node: Node,
        added: list[Node],
        leaf: int | None,
        sampling: "Sampling",
        system: str,
        with_soul: bool,
    ) -> None:
        self.node, self.added, self.leaf = node, added, leaf
        self.before, self.numbers_before, self.ending_before = node.text, node.numbers, node.ending
        self.sampling, self.system, self.with_soul = sampling, system, with_soul
        self.expected: str | None = None  # the text that it should become, when it is repeated
        self.beside: Node | None = None  # the answer that it is to be shown beside


class ChatAnswers(ChatContext):
    """Runs one job at a time: an answer, or (in ChatPage) the opening of a model."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._running: _Running | None = None
        self._after_stop: Callable[[], None] | None = None
        self.view.can_both = self._can_both
        self._runner = JobRunner(self)
        self._runner.happened.connect(self._on_event)

    def send(self) -> None:
        """Send what is typed, or the message that has been edited; nothing while a document of it is being read."""
        if self.composer.attachments.reading:
            return
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
        sampling: "Sampling | None" = None,
        system: str | None = None,
        with_soul: bool | None = None,
    ) -> None:
        """A new answer to the last message; `leaf` is the branch to go back to if nothing comes of it. What is None is
        as it is set now."""
        sampling = self.drawer.sampling() if sampling is None else sampling
        system = self.drawer.system_prompt() if system is None else system
        with_soul = self._soul_on if with_soul is None else with_soul
        messages = self.log.messages(system)
        node = self.log.add("assistant", "", self.log.tree.leaf)
        self._running = _Running(node, [*added, node], leaf, sampling, system, with_soul)
        drop_oldest = self.log.chat.drop_oldest
        from bitconverter.jobs.chat import AnswerJob

        job = AnswerJob(self._ready(), messages, sampling, drop_oldest=drop_oldest, with_soul=with_soul)
        self._start(job)

    def _start(self, job: "AnswerJob") -> None:
        self.hide_notice()
        self._show_state(State.ANSWERING)
        self.view.follow()
        self._runner.start(job)

    def _ready(self) -> "ChatSession":
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
            elif name == "both":
                self.answer_both(node)
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
        """The same answer again, with the settings, the seed, the system prompt, the soul and the chat template that it
        had."""
        numbers = node.numbers
        if self.state is not State.READY or numbers is None or node.parent is None:
            return
        if self._made_otherwise(numbers):
            return
        self._answer_as(node, numbers, bool(numbers.soul)).expected = node.text

    def answer_both(self, node: Node) -> None:
        """The same answer the other way, without the soul that it was made with, or with the one that is open; then
        both are shown."""
        if self.state is State.READY and node.numbers is not None and self._can_both(node):
            self._answer_as(node, node.numbers, not node.numbers.soul).beside = node

    def _can_both(self, node: Node) -> bool:
        session, numbers = self._session, node.numbers
        if session is None or numbers is None or node.parent is None or numbers.model != session.name:
            return False
        return (
            bool(session.soul_name)
            and numbers.template == session.template
            and numbers.soul in ("", session.soul_name)
        )

    def _answer_as(self, node: Node, numbers: Numbers, with_soul: bool) -> _Running:
        """Another version of `node`, made as its `numbers` say."""
        from bitconverter.jobs.chat import Sampling

        sampling = Sampling(
            temperature=numbers.temperature, top_p=numbers.top_p, top_k=numbers.top_k, min_p=numbers.min_p,
            repeat_penalty=numbers.repeat_penalty, seed=numbers.seed, max_tokens=numbers.max_tokens,
        )  # fmt: skip
        leaf = self.log.tree.leaf
        self.log.tree.leaf = node.parent
        self._answer(leaf, [], sampling, numbers.system_prompt, with_soul)
        assert self._running is not None
        return self._running

    def _made_otherwise(self, numbers: Numbers) -> bool:
        """Whether an answer was made with a soul that is not open now, or with another chat template; then that is
        said."""
        session = self._ready()
        if numbers.soul not in ("", session.soul_name):
            self.say(partial(tr, "soul-not-open", name=numbers.soul))
        elif numbers.template != session.template:
            self.say(lambda: tr("template-not-in-use", name=template_name(numbers.template)))
        else:
            return False
        return True

    def go_on(self, node: Node) -> None:
        """Let an answer that was cut go on, with the soul that it began with where that is known."""
        if self.state is not State.READY or not self.log.turns or node is not self.log.turns[-1]:
            return
        if node.numbers is not None and self._made_otherwise(node.numbers):
            return
        with_soul = self._soul_on if node.numbers is None else bool(node.numbers.soul)
        sampling, system = self.drawer.sampling(), self.drawer.system_prompt()
        messages = self.log.messages(system)
        self._running = _Running(node, [], self.log.tree.leaf, sampling, system, with_soul)
        node.ending = ""
        self.log.go_on(node)
        from bitconverter.jobs.chat import AnswerJob

        job = AnswerJob(
            self._ready(), messages, sampling, True, self.log.chat.drop_oldest, with_soul
        )  # fmt: skip
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
        self.say(partial(tr, "message-deleted"), undo)

    # ---- what the job says

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
                self.say(partial(note_text, event))
        elif isinstance(event, Finished | Failed | Stopped):
            self._on_answer_end(event)

    def _answer_widget(self) -> AssistantMessage | None:
        answer, running = self.view.last_answer(), self._running
        return answer if answer is not None and running is not None and answer.turn is running.node else None

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
            self.complain(event.error, can_drop=self._dropping_helps(event.error))
        elif node.ending == "context" and isinstance(event, Finished):
            self.complain("end-context")
        elif running.expected is not None and isinstance(event, Finished):
            self.say(partial(tr, "repeated" if node.text == running.expected else "repeated-differs"))
        elif running.beside is not None and isinstance(event, Finished):
            self._show_both(node, running.beside)
        self._do_after_stop()

    def _do_after_stop(self) -> None:
        """What was asked for while something was being written, which was stopped for it."""
        after, self._after_stop = self._after_stop, None
        if after is not None:
            after()

    def _dropping_helps(self, error: Exception) -> bool:
        """Whether the conversation would fit without its oldest messages, which are not left out yet."""
        fields = getattr(error, "fields", {})
        least, available = fields.get("least"), fields.get("available")
        if least is None or available is None or self.log.chat.drop_oldest:
            return False
        return bool(least < available)

    def _show_both(self, *nodes: Node) -> None:
        texts = {bool(node.numbers and node.numbers.soul): node.text for node in nodes}
        self.open_two_answers(self._ready().soul_name, texts[True], texts[False])

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

    def _numbers(self, running: _Running, answer: "Answer") -> Numbers:
        session, sampling, before = self._ready(), running.sampling, running.numbers_before
        return Numbers(
            prompt_tokens=answer.prompt_tokens, cached_tokens=answer.cached_tokens,
            tokens=answer.tokens + (before.tokens if before else 0),
            prefill_seconds=answer.prefill_seconds + (before.prefill_seconds if before else 0),
            decode_seconds=answer.decode_seconds + (before.decode_seconds if before else 0),
            tokens_per_second=answer.tokens_per_second, model=session.name, device=answer_device(session),
            seed=answer.seed, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k,
            min_p=sampling.min_p, repeat_penalty=sampling.repeat_penalty,
            max_tokens=sampling.max_tokens, system_prompt=running.system,
            soul=session.soul_name if running.with_soul else "", template=session.template,
        )  # fmt: skip
