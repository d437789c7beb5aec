"""What is put beside texts of which a model is to know what they say: dreams of them, and what it knows already.

Without the second it would answer every question with the text. Rehearsal (Robins 1995, "Catastrophic forgetting,
rehearsal and pseudorehearsal"): general texts, and what the model itself answers to general questions before it
learns, are learned along.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bitconverter.engine import Cancelled, EngineError, check_config
from bitconverter.format.errors import UserError
from bitconverter.format.row_problem import RowProblem
from bitconverter.jobs.chat_writer import ChatWriter, questions
from bitconverter.jobs.job import Context, Note, Progress
from bitconverter.jobs.opening import open_engine
from bitconverter.model.calibration_text import Conversation as Talk
from bitconverter.model.dreams import dreams
from bitconverter.model.lesson_encoder import Encoded, LessonEncoder
from bitconverter.model.lesson_shapes import Conversation, Document, Turn

SHARE = 1.0  # tokens that are rehearsed, to one that is dreamt
TEXTS = ("prose.txt", "docs.txt", "code.txt", "japanese.txt")  # of resources/calibration, an equal share each
LETTERS_EACH = 12  # of a text, to one dream of it
PIECE = 700  # letters of a general text at a time
TOGETHER, ANSWER = 14, 100  # conversations side by side, tokens of an answer
_ENDS = ".!?。！？"
PASSES = 6  # over dreams and rehearsal: fewer know less of a text, more forget more (docs/MODEL.md, "Facts")

WHOLE = 1_500_000  # weights of an MLP's matrix that is added whole, at most

_written: dict[str, list[Talk]] = {}  # by model and seed: a training is estimated before it is prepared


def dreams_expected(letters: int) -> int:
    """About how many dreams texts of so many letters give."""
    return max(1, letters // LETTERS_EACH)


def facts_steps(windows: int, batch: int) -> int:
    """The steps that windows of such a lesson are learned in."""
    return max(1, math.ceil(PASSES * windows / batch))


def facts_training(folder: Path) -> dict[str, Any]:
    """What of a TrainJob suits the model in a folder: facts are of high rank, so whole matrices learn where they are
    small; in larger ones a rank of 32 is enough, and all that memory allows. {} where it is no model."""
    try:
        info = check_config((folder / "config.json").read_bytes())
    except (OSError, EngineError):
        return {}
    if info.hidden_size * info.intermediate_size <= WHOLE:
        return {"adapter": "delta", "rate": 5e-4}
    return {"adapter": "lora", "rank": 32, "targets": ("gate", "up", "down"), "layers": 8, "rate": 5e-4}


class Facts:
    """Rows beside texts, encoded for a model."""

    def __init__(self, folder: Path, encoder: LessonEncoder, seed: int, ctx: Context) -> None:
        self._folder, self._encoder, self._seed, self._ctx = folder, encoder, seed, ctx

    def dreamt(self, text: str) -> Iterator[Encoded]:
        """Of a text; what does not fit into a window, or would hold a special token, is left out."""
        for dream in dreams(text, self._seed):
            turns = (Turn("user", dream.prompt, "prompt"), Turn("assistant", dream.answer, "answer", True))
            yield from self._encoded(Conversation(turns, "pair"))

    def rehearsed(self, tokens: int) -> Iterator[Encoded]:
        """About SHARE times as many tokens as were dreamt: what the model answers, and general texts, by turns."""
        left = round(SHARE * tokens)
        for pair in zip_longest(self._said(), self._read()):
            for encoded in pair:
                if encoded is not None and left > 0:
                    left -= len(encoded.ids)
                    yield encoded
            if left <= 0:
                return

    def _said(self) -> Iterator[Encoded]:
        for talk in self._talks() if self._encoder.template is not None else []:
            turns = tuple(Turn(m["role"], m["content"], "text", m["role"] == "assistant") for m in talk)
            yield from self._encoded(Conversation(turns, "openai"))

    def _read(self) -> Iterator[Encoded]:
        for piece in self._pieces():
            for encoded in self._encoded(Document(piece)):
                # a piece ends anywhere: that a text ends there is not learned
                yield Encoded(encoded.ids, [*encoded.learned[:-1], False], encoded.kind)

    def _encoded(self, row: Document | Conversation) -> Iterator[Encoded]:
        try:
            yield self._encoder.encode(row)
        except RowProblem:
            return

    def _talks(self) -> list[Talk]:
        """What the model says before it has learned anything; none, and Note("rehearsal-skipped", why=...), where it
        cannot. Raises Cancelled."""
        key = f"{_fingerprint(self._folder)} {self._seed}"
        if key not in _written:
            try:
                talks = self._write()
            except Cancelled:
                raise
            except (UserError, EngineError, MemoryError) as error:
                self._ctx.emit(Note("rehearsal-skipped", {"why": str(error) or type(error).__name__}))
                return []
            _written.clear()
            _written[key] = talks
        return _written[key]

    def _write(self) -> list[Talk]:
        count = len(questions()[0])
        writer = ChatWriter(self._folder, open_engine(0, "auto"), self._seed, TOGETHER, ANSWER, self._ctx)
        talks: list[Talk] = []
        for start in range(0, count, TOGETHER):
            numbers = range(start, min(start + TOGETHER, count))

            def tell(part: float, start: int = start, more: int = len(numbers)) -> None:
                self._ctx.emit(Progress(round(100 * (start + part * more)), 100 * count, "answer"))

            talks += writer.write(numbers, tell)
        whole = [[{**message, "content": _whole_sentences(message)} for message in talk] for talk in talks]
        return [talk for talk in whole if all(message["content"] for message in talk)]

    def _pieces(self) -> Iterator[str]:
        """Of the general texts in turn, each once, in an order that is drawn."""
        place = files("bitconverter") / "resources" / "calibration"
        drawn = random.Random(self._seed)
        parted = []
        for name in TEXTS:
            text = (place / name).read_text(encoding="utf-8")
            starts = list(range(0, len(text) - PIECE, PIECE))
            drawn.shuffle(starts)
            parted.append([text[start : start + PIECE] for start in starts])
        for pieces in zip(*parted, strict=False):
            yield from pieces


def _whole_sentences(message: dict[str, str]) -> str:
    """An answer that was cut off must not teach to stop anywhere."""
    text = message["content"].strip()
    if message["role"] != "assistant" or text[-1:] in _ENDS:
        return text
    last = max(text.rfind(end) for end in _ENDS)
    return text[: last + 1] if last > 0 else text


def _fingerprint(folder: Path) -> str:
    """Of a converted folder: its manifest holds the hashes of its files; of another one its sizes and times."""
    try:
        return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    except OSError:
        found = [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in folder.iterdir()]
        return repr(sorted(found))
