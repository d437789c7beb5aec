"""The chat that a model writes for its own calibration: it answers questions, as it will in the user's chats.

What counts in a chat is how the converted model goes on with what the model itself says, which no text of other
people is like (docs/MODEL.md, "What was tried"; text written by the model as in Liu et al. 2023, LLM-QAT). The source
answers the questions of resources/calibration/questions.json, each answer drawn from its own predictions with a seed
of its own. `own_chat.json` in the work folder keeps what is written, so that a conversion which goes on after a stop
is calibrated on the same text, whatever the computer is like by then.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import psutil

from bitconverter.engine import Cancelled, Engine, EngineError, Model, ModelInfo, Sampler, Session
from bitconverter.format.errors import UserError
from bitconverter.format.sealed import load_sealed, save_sealed
from bitconverter.jobs.continuation import WRITTEN_COST, continuations
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.opening import check_unpacking, model_folder
from bitconverter.model.budget import SYSTEM, session_bytes
from bitconverter.model.calibration_text import TODAY, Conversation
from bitconverter.model.chat_template import ChatTemplate, load_chat_template
from bitconverter.model.source import Source
from bitconverter.model.text_stream import whole_text
from bitconverter.model.tokenizer import Tokenizer

NAME = "own_chat.json"
TOGETHER, LEAST = 28, 8  # conversations: side by side at most; fewer than so many are none
CONTEXT, ANSWER = 512, 200  # tokens: of a conversation at most, of an answer at most
BATCH = 32  # tokens of a question at a time
SECOND_QUESTION_EACH = 3  # conversations
FIRST_SHARE = 0.67  # of the time: the answers to the first questions
SAMPLER = Sampler(temperature=0.8, top_p=0.95, top_k=0, min_p=0.0)
TOO_LARGE = "large"  # why there are none
SEED_STEP = 1009  # between the seeds of two conversions
TOKENS = 270  # of a conversation, about
KV = "int8"  # the cache
WORK = 1e13  # source weights multiplied, at most: fewer conversations of a large model


def can_chat(source: Source) -> bool:
    """Whether it has a chat template that can be used; the preflight tells of one that cannot."""
    try:
        template = source.chat_template()
        return template is not None and bool(template.render([_message("user", "?")], now=TODAY).strip())
    except UserError:
        return False


def asking(source: Source) -> str:
    """What the text that the source writes depends on besides the source and the calibration text: a fingerprint."""
    template = source.chat_template()
    assert template is not None  # can_chat()
    asked = template.render([_message("user", "?")], add_generation_prompt=True, now=TODAY)
    return hashlib.sha256(f"{asked} {_questions()}".encode()).hexdigest()


def conversations_of(source: Source, parameters: int) -> int:
    """How many conversations a model of so many weights writes: none where the weights as the engine maps them do not
    fit into this computer's memory, because each token would read them from the disk again."""
    mapped = source.total_bytes
    if source.kind == "gguf":
        from bitconverter.model.gguf_source import expanded_bytes  # the gguf library takes a while to load

        mapped = expanded_bytes(source.tensors.values(), source.config)
    if mapped > psutil.virtual_memory().total - SYSTEM:
        return 0
    most = min(len(_questions()[0]), int(WORK / TOKENS / max(parameters, 1)))
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
                    writer = _Writer(folder, self.engine, self.seed, min(count, TOGETHER), self.ctx)
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
        self, writer: "_Writer", count: int, done: list[Conversation], tell: Callable[[float], None]
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


class _Writer:
    def __init__(self, folder: Path, engine: Engine, seed: int, together: int, ctx: Context) -> None:
        self._template: ChatTemplate = load_chat_template(folder)
        self._tokenizer = Tokenizer(folder)
        model = Model(engine, folder)
        self._tokenizer.check_fits(model.info.vocab_size)
        context = min(CONTEXT, model.info.max_positions)
        self._answer = min(ANSWER, context // 2)
        self._sessions = [Session(model, n_ctx=context, n_batch=BATCH, kv=KV) for _ in range(together)]
        self._seed, self._ctx = seed, ctx
        self._asked, self._asked_next = _questions()

    def write(self, numbers: Sequence[int], tell: Callable[[float], None]) -> list[Conversation]:
        """The conversations of these numbers, at most TOGETHER. Raises Cancelled, UserError of the template."""
        talks: list[Conversation] = [[_message("user", self._asked[k])] for k in numbers]
        self._answers(talks, numbers, 0, lambda part: tell(FIRST_SHARE * part))
        again = [i for i, k in enumerate(numbers) if k % SECOND_QUESTION_EACH == 0]
        for i in again:
            question = self._asked_next[numbers[i] // SECOND_QUESTION_EACH % len(self._asked_next)]
            talks[i].append(_message("user", question))
        more = [talks[i] for i in again]
        self._answers(
            more, [numbers[i] for i in again], 1, lambda part: tell(FIRST_SHARE + (1 - FIRST_SHARE) * part)
        )
        return talks

    def _answers(
        self, talks: list[Conversation], numbers: Sequence[int], turn: int, tell: Callable[[float], None]
    ) -> None:
        """Puts the model's answer behind each."""
        prompts = [
            self._tokenizer.encode(
                self._template.render(talk, add_generation_prompt=True, now=TODAY), add_special_tokens=False
            )
            for talk in talks
        ]
        whole = sum(map(len, prompts)) + WRITTEN_COST * self._answer * len(prompts)
        done = 0.0

        def step(cost: float) -> None:
            nonlocal done
            done += cost
            tell(done / whole)

        samplers = [replace(SAMPLER, seed=(self._seed * SEED_STEP + 2 * k + turn) % 2**64) for k in numbers]
        made = continuations(
            self._sessions[: len(talks)], prompts, samplers, self._tokenizer.eos_ids, self._answer,
            self._ctx.cancel, step,
        )  # fmt: skip
        for talk, tokens in zip(talks, made, strict=True):
            talk.append(_message("assistant", whole_text(self._tokenizer, tokens)))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _questions() -> tuple[list[str], list[str]]:
    """Those that begin a conversation, and those that may follow."""
    place = files("bitconverter") / "resources" / "calibration" / "questions.json"
    value = json.loads(place.read_text(encoding="utf-8"))
    return value["questions"], value["second_questions"]
