"""A loaded model with the conversation that it holds.

The keys and values of the conversation so far are kept; the next answer computes only what is new, from the
first token on that differs.
"""

import bisect
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bitconverter.engine import Cancel, Session
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul
from bitconverter.jobs.placement import Placed
from bitconverter.jobs.template_words import OWN_TEMPLATE
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.known_templates import Ending, has_own
from bitconverter.model.soul import put_on, take_off
from bitconverter.model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Message:
    """One turn; role is "system", "user" or "assistant"."""

    role: str
    content: str


class ChatSession:
    """A loaded model with the conversation it holds. One answer at a time; `count_tokens` at any time."""

    def __init__(
        self, name: str, session: Session, tokenizer: Tokenizer, template: ChatTemplate, resources: ExitStack,
        soul: Soul | None = None, soul_name: str = "", placed: Placed | None = None,
    ) -> None:  # fmt: skip
        """`resources` is closed with the session, after the model is; `soul` is on the model already, and `soul_name`
        is what to call it; `placed` tells on what it runs, None: on the processor."""
        model = session.model
        self.name = name
        self.family = model.info.family
        self.ternary = model.info.ternary
        self.isa = model.engine.isa
        self.threads = model.engine.threads
        self.n_ctx = session.n_ctx
        self.max_positions = model.info.max_positions
        self.tokenizer = tokenizer
        self.has_own_template = has_own(tokenizer)
        self.use_template(OWN_TEMPLATE, template, Ending())
        self._session: Session | None = session
        self._held: list[int] = []  # the tokens that the session's cache holds
        self._lock = threading.Lock()
        self._resources = resources
        self._soul = soul
        self.soul_name = soul_name
        self.placed = placed or Placed(all_layers=model.info.n_layers)
        self.soul_is_on = soul is not None

    def use_template(self, word: str, template: ChatTemplate, ending: Ending) -> None:
        """Write conversations with `template`, which `word` asked for and `ending` ends the answers of."""
        self._template, self.template = template, word
        self.end_ids = self.tokenizer.eos_ids | ending.ids
        self.stop_text = ending.text

    def prompt_text(self, messages: Sequence[Message], continues: bool = False) -> str:
        """What the model sees of the conversation, up to where the assistant begins to speak; `continues`:
        up to the end of the last message, which is the assistant's and goes on.

        Raises UserError("chat-template-refused") when the model's template does not accept it.
        """
        told = messages[:-1] if continues else messages
        turns = [{"role": message.role, "content": message.content} for message in told]
        text = self._template.render(turns)
        return text + messages[-1].content if continues else text

    def prompt(self, messages: Sequence[Message], continues: bool = False) -> list[int]:
        """The token ids of prompt_text()."""
        # the template writes the special tokens itself
        return self.tokenizer.encode(self.prompt_text(messages, continues), add_special_tokens=False)

    def fit(
        self, messages: Sequence[Message], room: int, continues: bool = False
    ) -> tuple[tuple[Message, ...], int]:
        """The conversation without its oldest turns, as few of them as leave `room` tokens for an answer;
        and how many messages that leaves out. The system prompt and the last question always stay, so
        the result may still be too long.
        """
        system = tuple(message for message in messages[:1] if message.role == "system")
        turns = tuple(messages[len(system) :])
        starts = [index for index, message in enumerate(turns) if message.role == "user"]

        def too_long(start: int) -> bool:
            return len(self.prompt((*system, *turns[start:]), continues)) > self.n_ctx - room

        if not starts or not too_long(starts[0]):
            return tuple(messages), 0
        least = bisect.bisect_left(range(len(starts)), True, key=lambda i: not too_long(starts[i]))
        first = starts[min(least, len(starts) - 1)]
        return (*system, *turns[first:]), first

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """How many positions of the context the conversation takes before the answer."""
        return len(self.prompt(messages))

    def close(self) -> None:
        """Gives the memory back, after the answer that may be running. Closing twice is fine."""
        with self._lock:
            self._session = None  # with it go the model's mapping and the engine's threads
            self._resources.close()

    @contextmanager
    def exclusive(self) -> Iterator[Session]:
        """The engine takes one call at a time."""
        if not self._lock.acquire(blocking=False):
            raise UserError(
                "chat-busy", "This model is still answering. Stop it, or wait until it has ended."
            )
        try:
            if self._session is None:
                raise UserError("chat-closed", "This model has been closed. Load it again.")
            yield self._session
        finally:
            self._lock.release()

    def switch_soul(self, session: Session, on: bool) -> None:
        """With the soul that it was loaded with, or the model as it is: the next answer reads its conversation anew.
        `session`: what exclusive() gave."""
        if self._soul is None or on == self.soul_is_on:
            return
        (put_on if on else take_off)(session.model, self._soul)
        self.soul_is_on = on
        session.rewind(0)
        self._held.clear()

    def feed(self, session: Session, tokens: list[int], cancel: Cancel) -> None:
        """Append to the cache; after a cancel both sides still agree on what it holds."""
        session.forward(tokens, want_logits=False, cancel=cancel)
        self._held += tokens

    def keep_common(self, session: Session, tokens: list[int]) -> int:
        """Rewind to the longest prefix that `tokens` shares with the cache, short of the last token, whose
        logits are wanted. Returns its length.
        """
        limit = min(len(self._held), len(tokens) - 1)
        common = next((i for i in range(limit) if self._held[i] != tokens[i]), limit)
        session.rewind(common)
        del self._held[common:]
        return common
