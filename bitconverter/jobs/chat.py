"""Talking to a model: load it once, then one job per answer, streamed."""

import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitconverter.engine import InvalidError, Model, Sampler, Session, sample
from bitconverter.format.errors import UserError
from bitconverter.jobs.chat_memory import open_session, usual_context
from bitconverter.jobs.chat_session import ChatSession, Message
from bitconverter.jobs.device_word import PROCESSOR, Device
from bitconverter.jobs.job import Context, Note, Progress, Token
from bitconverter.jobs.opening import model_folder, open_engine
from bitconverter.jobs.placement import Sessions, choose_device
from bitconverter.jobs.souls import soul_for
from bitconverter.jobs.template_words import OWN_TEMPLATE, TEMPLATES
from bitconverter.model.architecture import model_info
from bitconverter.model.chat_template import ChatTemplate
from bitconverter.model.known_templates import Ending, ending_of, template_for
from bitconverter.model.soul import put_on
from bitconverter.model.stop_text import StopText
from bitconverter.model.text_stream import TextStream
from bitconverter.model.tokenizer import Tokenizer, read_json

__all__ = [
    "OWN_TEMPLATE",
    "TEMPLATES",
    "Answer",
    "AnswerJob",
    "ChatSession",
    "LoadChatJob",
    "Message",
    "Prompt",
    "PromptJob",
    "Sampling",
    "UseTemplateJob",
    "answer_room",
]  # fmt: skip

PREFILL_CHUNK = 256  # tokens between two looks at the clock; what a chunk has computed stays after a stop


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. temperature 0: always the most probable; top_p 1, top_k 0, min_p 0,
    repeat_penalty 1: off. seed None: a fresh one, told in the Answer. max_tokens 0: no limit but the context.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int = 1024

    def sampler(self) -> Sampler:
        """As the engine takes it. Raises UserError("sampling") when a value is out of its range."""
        seed = secrets.randbelow(2**32) if self.seed is None else self.seed
        limits = (
            ("seed", seed, 2**64 - 1),
            ("top-k", self.top_k, 2**31 - 1),
            ("max-tokens", self.max_tokens, None),
        )
        for name, value, most in limits:
            if value < 0 or (most is not None and value > most):
                allowed = "0 or more" if most is None else f"from 0 to {most}"
                raise UserError(
                    "sampling", f"{name} is {value}; it must be {allowed}.", name=name, value=value
                )
        made = Sampler(self.temperature, self.top_p, self.min_p, self.top_k, self.repeat_penalty, seed=seed)
        try:
            sample(np.zeros(1, np.float32), made)
        except InvalidError as error:
            raise UserError("sampling", f"These sampling settings are not possible: {error}.") from error
        return made


@dataclass(frozen=True)
class Answer:
    """`prompt_tokens` of which `cached_tokens` were still in the session; `tokens` made, at `tokens_per_second`
    while decoding. finish: "stop" (the model ended), "length" (max_tokens), "context" (no room left).
    """

    text: str
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    finish: str
    seed: int


def answer_room(n_ctx: int, max_tokens: int) -> int:
    """Tokens of the context that are kept for the answer: what it may have, at most a quarter of all."""
    return min(max_tokens or n_ctx, n_ctx // 4)


@dataclass(frozen=True)
class LoadChatJob:
    """Opens a model folder (original or converted) or a .gguf file for a conversation: a ChatSession.

    `soul`: the file that training wrote for this model, "" for none; AnswerJob.with_soul switches it. `template`:
    OWN_TEMPLATE, a name or a file, see template_for(); UseTemplateJob switches it.
    n_ctx 0: what the model can hold, at most 4,096 positions. kv: f16, int8, int4 or f32. Emits Note("no-end-token")
    when nothing says how the model ends an answer, Note("template-no-end", mark) when the chosen template does, but
    with a mark that this model has no token for, Note("memory-tight") (jobs/chat_memory.py), and
    Note("device") when there is a graphics card and the model is not, or not all, on it (jobs/placement.py).
    """

    model: str
    threads: int = 0
    cpu: str = "auto"
    n_ctx: int = 0
    kv: str = "f16"
    soul: str = ""
    device: Device = PROCESSOR
    template: str = OWN_TEMPLATE

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> ChatSession:
        self.device.check()
        with ExitStack() as resources:
            folder = resources.enter_context(model_folder(self.model, ctx))
            model_info(
                read_json(folder / "config.json")
            )  # for another kind of model all the rest is no matter
            tokenizer = Tokenizer(folder)
            TextStream(tokenizer)  # refuses a tokenizer that it cannot stream, before the weights are opened
            ctx.cancel.check()
            model = Model(open_engine(self.threads, self.cpu), folder)
            tokenizer.check_fits(model.info.vocab_size)
            template = template_for(self.template, tokenizer)  # can be chosen, where nothing else is wrong
            self._check_context(model.info.max_positions)
            soul = soul_for(Path(self.soul), folder, ctx) if self.soul else None
            sessions = Sessions(self.n_ctx or usual_context(model), self.kv)
            placed = choose_device(model, self.device, sessions, lora=bool(soul and soul.on_processor))
            if placed.surprising:
                ctx.emit(Note("device", {"code": placed.code, **placed.told()}))
            if soul:
                put_on(model, soul)
            weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            session = open_session(model, weights, self.n_ctx, self.kv, ctx, placed)
            name = Path(self.model).resolve().name
            worn = Path(self.soul).stem if soul else ""
            chat = ChatSession(name, session, tokenizer, template, resources.pop_all(), soul, worn, placed)
            _use(chat, self.template, template, ctx)
            return chat

    def _check_context(self, max_positions: int) -> None:
        if not 0 <= self.n_ctx <= max_positions:
            raise UserError(
                "context-size",
                f"A context of {self.n_ctx} tokens is not possible: this model was trained for at most "
                f"{max_positions}. Choose 1 to {max_positions}, or 0 for the default.",
                asked=self.n_ctx,
                available=max_positions,
            )


@dataclass(frozen=True)
class UseTemplateJob:
    """Another chat template for a model that is open, from the next answer on: the ChatSession. Errors and notes as of
    LoadChatJob; after an error it is as before."""

    chat: ChatSession
    template: str

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> ChatSession:
        with self.chat.exclusive():
            _use(self.chat, self.template, template_for(self.template, self.chat.tokenizer), ctx)
        return self.chat


def _use(chat: ChatSession, word: str, template: ChatTemplate, ctx: Context) -> None:
    ending = ending_of(template, chat.tokenizer)
    if word == OWN_TEMPLATE:  # its files say what ends an answer, and no words do
        ending = Ending(ending.ids)
    chat.use_template(word, template, ending)
    if ending.missing:
        ctx.emit(Note("template-no-end", {"mark": ending.missing}))
    elif not chat.end_ids and not ending.text:
        ctx.emit(Note("no-end-token"))


@dataclass(frozen=True)
class Prompt:
    """What would be sent: its text with all special tokens, its length in tokens, and how many of the oldest
    messages are left out of it. It leaves room for an answer if `tokens` <= n_ctx - `room`. `template`: the one that
    was chosen, OWN_TEMPLATE if none was.
    """

    text: str
    tokens: int
    left_out: int
    n_ctx: int
    room: int
    template: str = OWN_TEMPLATE


@dataclass(frozen=True)
class PromptJob:
    """Renders and counts a conversation without answering it: a Prompt. Runs beside an AnswerJob."""

    chat: ChatSession
    messages: tuple[Message, ...]
    max_tokens: int = 0
    drop_oldest: bool = False

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> Prompt:
        room = answer_room(self.chat.n_ctx, self.max_tokens)
        messages, left_out = self.messages, 0
        if self.drop_oldest:
            messages, left_out = self.chat.fit(messages, room)
        ctx.cancel.check()
        text = self.chat.prompt_text(messages) if messages else ""
        tokens = len(self.chat.tokenizer.encode(text, add_special_tokens=False))
        return Prompt(text, tokens, left_out, self.chat.n_ctx, room, self.chat.template)


@dataclass(frozen=True)
class AnswerJob:
    """The model's answer to a conversation: Token events while it speaks, an Answer at the end.

    `continues`: the last message is the assistant's, and the answer is what follows it. `drop_oldest`: a
    conversation that is too long is told without its oldest turns (see ChatSession.fit), with
    Note("left-out", messages=how many); otherwise it fails with UserError("context-full"), which says how many tokens
    are `needed`, are `available`, and would be needed at `least` without all older turns.
    `with_soul`: put the chat's soul on, or take it off, before; None: as it is.
    Emits Progress(unit="token") while a long prompt is read. A cancel leaves the session usable.
    """

    chat: ChatSession
    messages: tuple[Message, ...]
    sampling: Sampling
    continues: bool = False
    drop_oldest: bool = False
    with_soul: bool | None = None

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> Answer:
        if not self.messages:
            raise UserError("no-message", "There is nothing to answer. Write a message first.")
        sampler = self.sampling.sampler()
        with self.chat.exclusive() as session:
            if self.with_soul is not None:
                self.chat.switch_soul(session, self.with_soul)
            prompt = self.chat.prompt(self._messages(ctx), self.continues)
            self._check_fits(len(prompt))
            start = time.perf_counter()
            cached = self._read(session, prompt, ctx)
            read = time.perf_counter()
            text, tokens, steps, finish = self._speak(session, sampler, ctx)
            seconds = time.perf_counter() - read
        speed = steps / seconds if steps else 0.0
        return Answer(
            text, len(prompt), cached, tokens, read - start, seconds, speed, finish, sampler.seed
        )  # fmt: skip

    def _messages(self, ctx: Context) -> tuple[Message, ...]:
        if not self.drop_oldest:
            return self.messages
        room = answer_room(self.chat.n_ctx, self.sampling.max_tokens)
        messages, left_out = self.chat.fit(self.messages, room, self.continues)
        if left_out:
            ctx.emit(Note("left-out", {"messages": left_out}))
        return messages

    def _check_fits(self, needed: int) -> None:
        """A prompt of no tokens has no logits; one that fills the context leaves no room for an answer."""
        available = self.chat.n_ctx
        if needed == 0:
            raise UserError(
                "no-message",
                f"The chat template {self.chat.template or 'of the model'} makes an empty text of this conversation. "
                "Write a message, or choose another chat template.",
            )
        if needed >= available:
            most = self.chat.max_positions
            told, longer = f"this model holds at most {most}", ""
            if needed < most:
                told = f"the context holds {available}"
                longer = f", or load the model with a longer context (up to {most})"
            raise UserError(
                "context-full",
                f"The conversation has {needed} tokens, and {told}. Start a new chat, or shorten the "
                f"message{longer}.",
                needed=needed,
                available=available,
                least=self._least(),
            )

    def _least(self) -> int:
        """Tokens of what stays when all older turns are left out."""
        messages, _ = self.chat.fit(self.messages, self.chat.n_ctx, self.continues)
        return len(self.chat.prompt(messages, self.continues))

    def _read(self, session: Session, prompt: list[int], ctx: Context) -> int:
        """Brings the session to the end of the prompt; returns how much of it was there already."""
        cached = self.chat.keep_common(session, prompt)
        total = len(prompt) - cached
        for first in range(cached, len(prompt), PREFILL_CHUNK):
            ctx.cancel.check()
            self.chat.feed(session, prompt[first : first + PREFILL_CHUNK], ctx.cancel)
            if total > PREFILL_CHUNK:
                ctx.emit(Progress(min(first - cached + PREFILL_CHUNK, total), total, "token", "prompt"))
        return cached

    def _speak(self, session: Session, sampler: Sampler, ctx: Context) -> tuple[str, int, int, str]:
        """(text, tokens made, forward passes for them, finish)"""
        stream = TextStream(self.chat.tokenizer, continues=self.continues)
        stop = StopText(self.chat.stop_text)
        pieces: list[str] = []
        tokens = steps = 0

        def emit(piece: str) -> None:
            if piece:
                pieces.append(piece)
                ctx.emit(Token(piece))

        while True:
            ctx.cancel.check()
            token = session.sample(sampler)
            if token in self.chat.end_ids:
                finish = "stop"
                break
            tokens += 1
            emit(stop.push(stream.push(token)))
            if stop.found:
                finish = "stop"
                break
            if self.sampling.max_tokens and tokens >= self.sampling.max_tokens:
                finish = "length"
                break
            if session.position >= session.n_ctx:
                finish = "context"
                break
            self.chat.feed(session, [token], ctx.cancel)
            steps += 1
        if finish == "stop":  # cut short, an unfinished character is one that was never said
            emit(stop.push(stream.finish()))
        emit(stop.finish())
        return "".join(pieces), tokens, steps, finish
