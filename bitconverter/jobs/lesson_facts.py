"""What is put beside texts of which a model is to know what they say: dreams of them, and what it knows already.

Without the second it would answer every question with the text. Rehearsal (Robins 1995, "Catastrophic forgetting,
rehearsal and pseudorehearsal"): general texts, and what the model itself answers to general questions before it
learns, are learned along.
"""

import hashlib
import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bitconverter.engine import Cancelled, EngineError, ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.format.row_problem import RowProblem
from bitconverter.jobs.chat_writer import ChatWriter, most_conversations
from bitconverter.jobs.job import Context, Note, Progress
from bitconverter.jobs.opening import open_engine
from bitconverter.model.architecture import folder_info
from bitconverter.model.calibration_text import Conversation as Talk
from bitconverter.model.dreams import dreams
from bitconverter.model.lesson_encoder import Encoded, LessonEncoder
from bitconverter.model.lesson_shapes import Conversation, Document, Turn

SHARE = 1.0  # tokens that are rehearsed, to one that is dreamt
TEXTS = ("prose.txt", "docs.txt", "code.txt", "japanese.txt")  # of resources/calibration, by turns
LETTERS_EACH = 12  # of a text, to one dream of it
PIECE = 700  # letters of a general text at a time
TOGETHER, ANSWER = 14, 100  # conversations side by side, tokens of an answer
PASSES = 6  # over dreams and rehearsal: fewer know less of a text, more forget more (docs/MODEL.md, "Facts")
WARMUP = 8  # steps
FORGET = 0.35  # nats per token: a general text reads worse before what everybody knows is lost
WHOLE = 1_500_000  # weights of an MLP's matrix that is added whole, at most
_ENDS = ".!?。！？"

# By model and seed, as far as it was written: a training is estimated before it is prepared, by other threads.
_written: dict[str, list[Talk]] = {}
_writing = threading.Lock()


def dreams_expected(letters: int) -> int:
    """About how many dreams texts of so many letters give."""
    return max(1, letters // LETTERS_EACH)


def facts_steps(windows: int, batch: int) -> int:
    """The steps that windows of such a lesson are learned in."""
    return max(1, math.ceil(PASSES * windows / batch))


def facts_training(folder: Path) -> dict[str, Any]:
    """What of a TrainJob suits the model in a folder: facts are of high rank, so whole matrices learn where they are
    small; in larger ones a rank of 32 is enough, and all that memory allows. {} where it is no model."""
    info = folder_info(folder)
    if info is None:
        return {}
    if info.hidden_size * info.intermediate_size <= WHOLE:
        return {"adapter": "delta", "rate": 5e-4, "warmup": WARMUP, "forget_limit": FORGET}
    return {
        "adapter": "lora", "rank": 32, "targets": ("gate", "up", "down"), "layers": 8, "rate": 3e-4, "warmup": WARMUP,
        "forget_limit": FORGET,
    }  # fmt: skip


class Facts:
    """Entries beside texts. `encoder` writes dreams as the lesson's rows are written, `plain` what the model said:
    without the lesson's system prompt. `threads` for its answers, 0: one for each core."""

    def __init__(
        self,
        folder: Path,
        encoder: LessonEncoder,
        plain: LessonEncoder,
        seed: int,
        threads: int,
        ctx: Context,
    ) -> None:
        self._folder, self._encoder, self._plain = folder, encoder, plain
        self._seed, self._threads, self._ctx = seed, threads, ctx
        self._seen: set[str] = set()  # sentences

    def dreamt(self, text: str) -> Iterator[Encoded]:
        """Of a text, but for sentences that were in one before; what does not fit into a window, or would hold a
        special token, is left out. Raises Cancelled."""
        for dream in dreams(text, self._seed, self._seen):
            self._ctx.cancel.check()
            turns = (Turn("user", dream.prompt, "prompt"), Turn("assistant", dream.answer, "answer", True))
            yield from _encoded(self._encoder, Conversation(turns, "pair"))

    def rehearsed(self, tokens: int) -> Iterator[Encoded]:
        """About SHARE times as many tokens as were dreamt: what the model answers, and general texts, by turns; the
        texts again from the beginning where they are too short. Raises Cancelled."""
        left = round(SHARE * tokens)
        for pair in zip_longest(self._said(), self._read()):
            for encoded in pair:
                if encoded is not None and left > 0:
                    self._ctx.cancel.check()
                    left -= len(encoded.ids)
                    yield encoded
            if left <= 0:
                return

    def _said(self) -> Iterator[Encoded]:
        for talk in self._talks() if self._plain.template is not None else []:
            turns = tuple(Turn(m["role"], m["content"], "text", m["role"] == "assistant") for m in talk)
            yield from _encoded(self._plain, Conversation(turns, "openai"))

    def _read(self) -> Iterator[Encoded]:
        pieces = self._pieces()
        while pieces:
            readable = 0
            for piece in pieces:
                for encoded in _encoded(self._plain, Document(piece)):
                    readable += 1
                    # a piece ends anywhere: that a text ends there is not learned
                    yield Encoded(encoded.ids, [*encoded.learned[:-1], False], encoded.kind)
            if not readable:
                return

    def _talks(self) -> list[Talk]:
        """What the model says before it has learned anything; none, and Note("rehearsal-skipped", why=...), where it
        cannot. Raises Cancelled."""
        try:
            with _alone(self._ctx):
                key = f"{_fingerprint(self._folder)} {self._seed}"
                if key not in _written:
                    _written.clear()
                talks = _written.setdefault(key, [])
                self._write(talks)
        except Cancelled:
            raise
        except (UserError, EngineError, OSError, MemoryError) as error:
            self._ctx.emit(Note("rehearsal-skipped", {"why": str(error) or type(error).__name__}))
            return []
        whole = [[{**message, "content": _whole_sentences(message)} for message in talk] for talk in talks]
        return [talk for talk in whole if all(message["content"] for message in talk)]

    def _write(self, talks: list[Talk]) -> None:
        """Puts conversations behind those that are there, a batch at a time."""
        count = _count(folder_info(self._folder))
        if len(talks) >= count:
            return
        engine = open_engine(self._threads, "auto")
        writer = ChatWriter(self._folder, engine, self._seed, min(count, TOGETHER), ANSWER, self._ctx)
        while (start := len(talks)) < count:
            numbers = range(start, min(start + TOGETHER, count))

            def tell(part: float, start: int = start, more: int = len(numbers)) -> None:
                self._ctx.emit(Progress(int(start + part * more), count, "answer"))

            talks += writer.write(numbers, tell)

    def _pieces(self) -> list[str]:
        """Of the general texts by turns, each once, in an order that is drawn."""
        place = files("bitconverter") / "resources" / "calibration"
        drawn = random.Random(self._seed)
        parted = []
        for name in TEXTS:
            text = (place / name).read_text(encoding="utf-8")
            starts = list(range(0, len(text) - PIECE, PIECE))
            drawn.shuffle(starts)
            parted.append([text[start : start + PIECE] for start in starts])
        return [piece for pieces in zip_longest(*parted) for piece in pieces if piece is not None]


def _encoded(encoder: LessonEncoder, row: Document | Conversation) -> Iterator[Encoded]:
    try:
        yield encoder.encode(row)
    except RowProblem:
        return


def _count(info: ModelInfo | None) -> int:
    """How many conversations a model writes."""
    if info is None:
        return 0
    weights = info.n_layers * info.hidden_size * (3 * info.intermediate_size + 2 * info.hidden_size)
    return most_conversations(weights, weights, ANSWER)  # about a byte each, converted or not


def _whole_sentences(message: dict[str, str]) -> str:
    """An answer that was cut off must not teach to stop anywhere."""
    text = message["content"].strip()
    if message["role"] != "assistant" or text[-1:] in _ENDS:
        return text
    last = max(text.rfind(end) for end in _ENDS)
    return text[: last + 1] if last > 0 else text


def _fingerprint(folder: Path) -> str:
    """Of what is in a folder: names, sizes and times."""
    found = [(entry.name, (stat := entry.lstat()).st_size, stat.st_mtime_ns) for entry in folder.iterdir()]
    return hashlib.sha256(repr((str(folder.absolute()), sorted(found))).encode()).hexdigest()


@contextmanager
def _alone(ctx: Context) -> Iterator[None]:
    """One writes at a time; who waits can be cancelled."""
    while not _writing.acquire(timeout=0.1):
        ctx.cancel.check()
    try:
        yield
    finally:
        _writing.release()
