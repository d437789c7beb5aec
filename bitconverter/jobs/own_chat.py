"""The chat that a model writes for its own calibration: it answers questions, as it will in the user's chats.

What counts in a chat is how the converted model goes on with what the model itself says, which no text of other
people is like (docs/MODEL.md, "What was tried"; text written by the model as in Liu et al. 2023, LLM-QAT). The source
answers the questions of resources/calibration/questions.json, each answer drawn from its own predictions with a seed
of its own. `own_chat.json` in the work folder keeps what is written, so that a conversion which goes on after a stop
is calibrated on the same text, whatever the computer is like by then.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bitconverter.engine import Cancelled, Engine, EngineError, ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.format.sealed import load_sealed, save_sealed
from bitconverter.jobs.chat_writer import (
    BATCH,
    CONTEXT,
    KV,
    ChatWriter,
    message,
    most_conversations,
    questions,
)
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.opening import check_unpacking, model_folder
from bitconverter.model.budget import session_bytes
from bitconverter.model.calibration_text import TODAY, Conversation
from bitconverter.model.source import Source

NAME = "own_chat.json"
TOGETHER, LEAST = 28, 8  # conversations: side by side at most; fewer than so many are none
ANSWER = 200  # tokens of an answer at most
TOO_LARGE = "large"  # why there are none
TOKENS = 270  # of a conversation, about


def can_chat(source: Source) -> bool:
    """Whether it has a chat template that can be used; the preflight tells of one that cannot."""
    try:
        template = source.chat_template()
        return template is not None and bool(template.render([message("user", "?")], now=TODAY).strip())
    except UserError:
        return False


def asking(source: Source) -> str:
    """What the text that the source writes depends on besides the source and the calibration text: a fingerprint."""
    template = source.chat_template()
    assert template is not None  # can_chat()
    asked = template.render([message("user", "?")], add_generation_prompt=True, now=TODAY)
    return hashlib.sha256(f"{asked} {questions()}".encode()).hexdigest()


def conversations_of(source: Source, parameters: int) -> int:
    """How many conversations a model of so many weights writes, by the weights as the engine maps them."""
    mapped = source.total_bytes
    if source.kind == "gguf":
        from bitconverter.model.gguf_source import expanded_bytes  # the gguf library takes a while to load

        mapped = expanded_bytes(source.tensors.values(), source.config)
    most = most_conversations(mapped, parameters, TOKENS)
    return most if most >= LEAST else 0


def own_chat_bytes(info: ModelInfo) -> int:
    """Memory that the writing takes at most beside the mapped weights."""
    return TOGETHER * session_bytes(info, min(CONTEXT, info.max_positions), KV, BATCH)


@dataclass(frozen=True)
class OwnChat:
    """By the model at `path`, kept in the folder `work`; `identity` says of what and how. `count` conversations, if
    none were begun (conversations_of()). `needed`: something is rounded already on what there is, so that why there is
    none stays; else it is tried again."""

    ctx: Context
    work: Path
    identity: str
    path: str
    engine: Engine
    seed: int
    count: int
    needed: bool = False

    def conversations(self, tell: Callable[[float], None]) -> list[Conversation]:
        """What is there of them already, and the rest, which the source writes. `tell` hears how much is done, 0 to 1.

        Where the source is too large there are none, and Note("own-chat-large"); where it cannot be run here,
        Note("own-chat-skipped", why=...). Raises Cancelled.
        """
        count, done, why = self._load()
        try:
            if not why and len(done) < count:
                check_unpacking(self.path)
                with model_folder(self.path, self.ctx) as folder:
                    writer = ChatWriter(
                        folder, self.engine, self.seed, min(count, TOGETHER), ANSWER, self.ctx
                    )
                    self._write(writer, count, done, tell)
        except Cancelled:
            raise
        except (UserError, EngineError, MemoryError) as error:
            done, why = [], str(error) or type(error).__name__
            self._save(count, done, why)
        answered = [talk for talk in done if all(message["content"].strip() for message in talk)]
        if done and not answered:
            why = "it answers nothing"
        if why == TOO_LARGE:
            self.ctx.emit(Note("own-chat-large"))
        elif why:
            self.ctx.emit(Note("own-chat-skipped", {"why": why}))
        else:
            self.ctx.emit(Note("own-chat", {"conversations": len(answered)}))
        tell(1.0)
        return answered

    def _write(
        self, writer: ChatWriter, count: int, done: list[Conversation], tell: Callable[[float], None]
    ) -> None:
        """Puts conversations behind `done`, some at a time, up to `count`."""
        while (start := len(done)) < count:
            numbers = range(start, min(start + TOGETHER, count))

            def tell_part(part: float, start: int = start, more: int = len(numbers)) -> None:
                tell((start + part * more) / count)

            done += writer.write(numbers, tell_part)
            self._save(count, done, "")

    def _load(self) -> tuple[int, list[Conversation], str]:
        """(how many there shall be, those that are there, why there are none)."""
        try:
            state = load_sealed(self.work / NAME)
            if state["identity"] == self.identity and (self.needed or not state["why"]):
                return int(state["count"]), list(state["conversations"]), str(state["why"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        why = "" if self.count else TOO_LARGE
        self._save(self.count, [], why)
        return self.count, [], why

    def _save(self, count: int, done: list[Conversation], why: str) -> None:
        state = {"identity": self.identity, "count": count, "conversations": done, "why": why}
        save_sealed(self.work / NAME, state)
