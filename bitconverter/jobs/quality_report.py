"""How a finished conversion compares with its source: on built-in text that nothing was calibrated on, and six answers.

Both models run side by side in the engine, the source mapped as it is: a source that does not fit into memory is
read from disk again and again, so how much is measured depends on its size (`amounts`), never on the clock: the
report is a part of manifest.json, which must be the same on every run.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from bitconverter.engine import Cancelled, Engine, EngineError, Model, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs.continuation import continuation
from bitconverter.jobs.evaluate import EvaluateResult, Pair, bos_of, cut, measure
from bitconverter.jobs.job import Context, Event, Note, Progress
from bitconverter.jobs.opening import check_unpacking, model_folder
from bitconverter.model.calibration_text import TODAY
from bitconverter.model.chat_template import ChatTemplate, load_chat_template
from bitconverter.model.tokenizer import Tokenizer

TEXTS = ("english", "japanese", "code")
WINDOW = 512  # tokens
# Source weights read or multiplied for each text, and for each answer, at most; least and most tokens of each.
TEXT_WORK, TEXT_TOKENS = 4e12, (128, 1024)
ANSWER_WORK, ANSWER_TOKENS = 6e10, (8, 48)
DIGITS = 5  # of the numbers in the manifest
CHANCE = 0.9  # of the perplexity of guessing; a model that has learned anything is far below
TEXT_SHARE = 0.7  # of the report's time that goes to the texts
Tell = Callable[[float, str], None]  # how much of the report is done, 0 to 1, and at what it is


@dataclass(frozen=True)
class Amounts:
    """Tokens measured of each text, and tokens of each answer."""

    text: int
    answer: int


def amounts(parameters: int) -> Amounts:
    """What a model of so many weights gets: 1,024 tokens a text and 48 an answer below 1 billion; 500 and 8 at 8."""

    def limit(work: float, bounds: tuple[int, int]) -> int:
        return int(min(max(work / max(parameters, 1), bounds[0]), bounds[1]))

    return Amounts(limit(TEXT_WORK, TEXT_TOKENS), limit(ANSWER_WORK, ANSWER_TOKENS))


def quality_report(
    ctx: Context, source: str, converted: Path, parameters: int, engine: Engine, tell: Tell
) -> dict[str, Any]:
    """For the manifest: {"texts": {name: numbers}, "all": numbers, "answers": [...]} (docs/FORMAT.md 1.4).

    Where the two cannot be run (no usable tokenizer, too little memory for the source) {"skipped": why}, and
    Note("report-skipped", why=...). Note("source-damaged") where the source itself predicts text no better than chance
    does: an absurd weight or two, which no check of numbers finds. Raises Cancelled.
    """
    try:
        check_unpacking(source)
        with model_folder(source, ctx) as folder:
            report = _Report(ctx, folder, converted, parameters, engine, tell)
            found = report.run()
            if predicts_nothing(found["all"]["source_perplexity"], report.vocab):
                ctx.emit(Note("source-damaged", {"vocabulary": report.vocab}))
            return found
    except Cancelled:
        raise
    except (UserError, EngineError, MemoryError) as error:
        why = str(error) or type(error).__name__
        ctx.emit(Note("report-skipped", {"why": why}))
        return {"skipped": why}


def predicts_nothing(perplexity: float | None, vocab: int) -> bool:
    """Whether a model with such a perplexity (None: beyond all numbers) knows no more than that there are so many
    tokens."""
    return perplexity is None or perplexity > CHANCE * vocab


class _Report:
    def __init__(
        self, ctx: Context, source: Path, converted: Path, parameters: int, engine: Engine, tell: Tell
    ) -> None:
        self._ctx, self._tell = ctx, tell
        self._tokenizer = Tokenizer(converted)
        self._amounts = amounts(parameters)
        model, reference = Model(engine, converted), Model(engine, source)
        self._tokenizer.check_fits(model.info.vocab_size)
        self.vocab = model.info.vocab_size
        self._pair = Pair(engine, model, reference, min(WINDOW, model.info.max_positions), "f16")
        self._template = _template(converted)

    def run(self) -> dict[str, Any]:
        texts = {name: self._text(name) for name in TEXTS}
        tokens = sum(result.tokens for result in texts.values())

        def mean(values: list[float]) -> float:
            return (
                sum(n * v for n, v in zip((r.tokens for r in texts.values()), values, strict=True)) / tokens
            )

        results = list(texts.values())
        together = EvaluateResult(
            perplexity=float(np.exp(mean([np.log(r.perplexity) for r in results]))),
            reference_perplexity=float(np.exp(mean([np.log(r.reference_perplexity or np.nan) for r in results]))),
            kl=mean([r.kl or 0.0 for r in results]), top1=mean([r.top1 or 0.0 for r in results]),
            tokens=tokens, seconds=0.0, tokens_per_second=0.0,
        )  # fmt: skip
        return {
            "window": self._pair.model.n_ctx,
            "texts": {name: _numbers(result) for name, result in texts.items()},
            "all": _numbers(together),
            "answers": self._answers(),
        }

    def _text(self, name: str) -> EvaluateResult:
        text = (_resources() / f"{name}.txt").read_text(encoding="utf-8")
        ids = self._tokenizer.encode(text, add_special_tokens=False)[: self._amounts.text]
        windows = cut(ids, bos_of(self._tokenizer), self._pair.model.n_ctx)
        return measure(self._pair, windows, self._within(TEXTS.index(name)), f"quality report: {name}")

    def _within(self, number: int) -> Context:
        """Whose progress is that of a text within the report."""

        def emit(event: Event) -> None:
            if isinstance(event, Progress):
                done = number + event.done / event.total
                self._tell(TEXT_SHARE * done / len(TEXTS), event.item)
            else:
                self._ctx.emit(event)

        return Context(emit, self._ctx.cancel)

    def _answers(self) -> list[dict[str, str]]:
        prompts = json.loads((_resources() / "prompts.json").read_text(encoding="utf-8"))
        assert self._pair.reference is not None
        found = []
        for k, prompt in enumerate(prompts):
            self._tell(TEXT_SHARE + (1 - TEXT_SHARE) * k / len(prompts), "quality report")
            ids = self._ask(prompt)
            found.append(
                {
                    "prompt": prompt,
                    "source": self._answer(self._pair.reference, ids),
                    "converted": self._answer(self._pair.model, ids),
                }
            )
        return found

    def _ask(self, prompt: str) -> list[int]:
        """As a chat would ask it; a model without a (usable) template continues the text."""
        if self._template is not None:
            try:
                text = self._template.render([{"role": "user", "content": prompt}], now=TODAY)
                return self._tokenizer.encode(text, add_special_tokens=False)
            except UserError:
                self._template = None
        return bos_of(self._tokenizer) + self._tokenizer.encode(prompt + "\n", add_special_tokens=False)

    def _answer(self, session: Session, prompt: list[int]) -> str:
        """Greedy, to the model's end or `Amounts.answer` tokens, as far as the window has room."""
        made = continuation(session, prompt, self._tokenizer.eos_ids, self._amounts.answer, self._ctx.cancel)
        text = self._tokenizer.decode(made)
        # half a character, where the answer was cut
        return text.rstrip("\ufffd") if len(made) == self._amounts.answer else text


def _template(folder: Path) -> ChatTemplate | None:
    try:
        return load_chat_template(folder)
    except UserError:  # none, or a broken one: the preflight told
        return None


def _resources() -> Any:
    return files("bitconverter") / "resources" / "report"


def _numbers(result: EvaluateResult) -> dict[str, Any]:
    """As many digits as mean something: what lies behind may differ between kinds of CPU."""
    values = {
        "perplexity": result.perplexity, "source_perplexity": result.reference_perplexity,
        "kl": result.kl, "top1": result.top1,
    }  # fmt: skip
    return {"tokens": result.tokens} | {
        key: None if value is None or not np.isfinite(value) else float(f"{value:.{DIGITS}g}")
        for key, value in values.items()
    }
