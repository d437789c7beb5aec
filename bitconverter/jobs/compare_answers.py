"""The same questions, answered by a model and by what training made of it: rows that were held back from learning."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import EXAMPLE, Pack, read_pack
from bitconverter.format.soul_file import Adapters
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.souls import soul_for
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.model.text_stream import whole_text
from bitconverter.model.tokenizer import Tokenizer

TEXT_BEGINNING = 24  # tokens of a held back text that are to be continued


@dataclass(frozen=True)
class Compared:
    """`wanted`: what the lesson says; the other two are greedy."""

    prompt: str
    wanted: str
    before: str
    after: str


@dataclass(frozen=True)
class CompareAnswersJob:
    """`soul` was trained from `model` on the pack `lesson`. At most `most` rows, and `tokens` tokens of each answer."""

    model: str
    soul: str
    lesson: str
    most: int = 3
    tokens: int = 40
    threads: int = field(default=0, metadata={"identity": False})

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> tuple[Compared, ...]:
        """Emits Progress(unit="answer"). Raises UserError: "pack-broken", "text-unreadable", "soul-missing",
        "soul-broken", "soul-base"; EngineError; Cancelled."""
        try:
            pack = read_pack(Path(self.lesson), ctx.cancel.check)
        except OSError as error:
            raise UserError(
                "text-unreadable",
                f"{self.lesson} cannot be read: {error.strerror or error}. Check the path.",
                path=self.lesson,
            ) from error
        tokenizer = Tokenizer(Path(self.model))
        which = _rows(pack, self.most)
        asked = [_question(pack, number) for number in which]
        folder = Path(self.model)
        # it is what shows whether one that was set aside is worth keeping
        soul = soul_for(Path(self.soul), folder, ctx, even_aside=True)
        window = max(map(len, asked), default=1) + self.tokens
        model = TaughtModel(open_engine(self.threads, "auto"), folder, tokenizer, window)
        before = self._answers(model, asked, folder.name, ctx)
        model.wear(Adapters(soul.gains, soul.lora, soul.delta))
        sides = before, self._answers(model, asked, Path(self.soul).stem, ctx)
        prompts = _without_frame([_shown(tokenizer, ids) for ids in asked], pack, tokenizer)
        wanted = [
            _text(tokenizer, ids, _answer(pack, number)) for ids, number in zip(asked, which, strict=True)
        ]
        return tuple(Compared(*texts) for texts in zip(prompts, wanted, *sides, strict=True))

    def _answers(self, model: TaughtModel, asked: list[list[int]], name: str, ctx: Context) -> list[str]:
        found = []
        for number, ids in enumerate(asked):
            ctx.emit(Progress(number, len(asked), "answer", name))
            found.append(model.answer(ids, self.tokens, ctx.cancel))
        return found


def _shown(tokenizer: Tokenizer, ids: list[int]) -> str:
    """With special tokens; a piece of a text may begin and end in the middle of a character, which is left out."""
    return whole_text(tokenizer, ids, skip_special_tokens=False).lstrip("\ufffd")


def _text(tokenizer: Tokenizer, before: list[int], ids: list[int]) -> str:
    """Without end tokens: not every model marks them as special."""
    return whole_text(tokenizer, [i for i in ids if i not in tokenizer.eos_ids], before=before).strip()


def _rows(pack: Pack, most: int) -> list[int]:
    """Rows that were held back, examples before texts; where none was, any."""
    held = np.flatnonzero(pack.held)
    pool = held if len(held) else np.arange(len(pack))
    examples = pool[pack.kinds[pool] == EXAMPLE]
    return [int(number) for number in (examples if len(examples) else pool)[:most]]


def _question(pack: Pack, number: int) -> list[int]:
    """What stands before the last answer of an example, or the beginning of a text."""
    tokens, mask = pack.entry(number)
    if pack.kinds[number] != EXAMPLE:
        return [int(token) for token in tokens[: min(TEXT_BEGINNING, len(tokens) - 1)]]
    return [int(token) for token in tokens[: _last_answer(mask)]]


def _answer(pack: Pack, number: int) -> list[int]:
    tokens, mask = pack.entry(number)
    if pack.kinds[number] != EXAMPLE:
        return [int(token) for token in tokens[min(TEXT_BEGINNING, len(tokens) - 1) :][:TEXT_BEGINNING]]
    start = _last_answer(mask)
    return [int(token) for token in tokens[start:][mask[start:] == 1]]


def _last_answer(mask: np.ndarray) -> int:
    """Where the last learned run begins."""
    learned = np.flatnonzero(mask)
    breaks = np.flatnonzero(np.diff(learned) > 1)
    return int(learned[breaks[-1] + 1] if len(breaks) else learned[0])


def _without_frame(texts: list[str], pack: Pack, tokenizer: Tokenizer) -> list[str]:
    """The questions alone: what a template writes before and behind every one of them is left out.

    It is what all prompts of the lesson begin and end with, up to a line's end or a special token, so that words
    which the questions happen to share stay.
    """
    others = [
        _question(pack, number) for number in range(min(len(pack), 50)) if pack.kinds[number] == EXAMPLE
    ]
    every = [*texts, *(_shown(tokenizer, ids) for ids in others)]
    if len(set(every)) < 2:
        return [text.strip() for text in texts]
    start = _shared_letters(every)
    stop = _shared_letters([text[::-1] for text in every])
    edges = ["\n", *tokenizer.special_texts]
    begin = every[0][:start]
    start = max((at + len(edge) for edge in edges if (at := begin.rfind(edge)) >= 0), default=0)
    end = every[0][len(every[0]) - stop :] if stop else ""
    first = min((at for edge in edges if (at := end.find(edge)) >= 0), default=len(end))
    cut = len(end) - first
    return [text[start : len(text) - cut].strip() for text in texts]


def _shared_letters(texts: list[str]) -> int:
    """How many letters all of them begin with."""
    least, most = min(texts), max(texts)
    return next(
        (n for n, pair in enumerate(zip(least, most, strict=False)) if pair[0] != pair[1]), len(least)
    )
