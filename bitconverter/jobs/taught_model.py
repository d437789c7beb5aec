"""The model with what training has made so far, whole: it answers questions, and shows what it has forgotten.

It runs beside a training and touches nothing of it, so a run ends in the same bytes whether it was asked or not.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from bitconverter.engine import Cancel, Engine, Model, Session
from bitconverter.format.soul_file import Adapters
from bitconverter.jobs.continuation import continuation
from bitconverter.jobs.evaluate import Pair, bos_of, cut, measure
from bitconverter.jobs.job import Context
from bitconverter.model.soul import put_on, take_off
from bitconverter.model.text_stream import whole_text
from bitconverter.model.tokenizer import Tokenizer

WINDOW = 256  # tokens of the context
CHUNK = 8  # positions whose logits are held at a time: a training has taken its memory already
BATCH = 32  # tokens of a forward pass, for the same reason
GENERAL_TEXTS = ("english", "japanese", "code")  # of resources/report: no lesson is about them
GENERAL_TOKENS = 256  # of each


@dataclass(frozen=True)
class Forgetting:
    """The loss on the built-in general text before and after training, in nats per token; it may rise by `limit`."""

    before: float
    after: float
    limit: float

    @property
    def too_much(self) -> bool:
        """Also where the loss afterwards is no number; never where nothing changed."""
        return self.after != self.before and not self.after - self.before <= self.limit


class TaughtModel:
    """`window`: tokens of its context, at most what the model can hold."""

    def __init__(self, engine: Engine, folder: Path, tokenizer: Tokenizer, window: int = WINDOW) -> None:
        self._tokenizer = tokenizer
        self._model = Model(engine, folder)
        self._pair = Pair(
            engine, self._model, None, min(window, self._model.info.max_positions), "f16", BATCH
        )
        self._pair.chunk = CHUNK
        self._worn = Adapters()

    @property
    def session(self) -> Session:
        return self._pair.model

    def wear(self, adapters: Adapters) -> None:
        """From now on these are on it, in place of those before; Adapters() is the model as it is."""
        take_off(self._model, self._worn)
        self._worn = Adapters()
        put_on(self._model, adapters)
        self._worn = adapters

    def general_loss(
        self, cancel: Cancel, known: list[float] | None = None, after_each: Callable[[], None] = lambda: None
    ) -> float:
        """On the built-in general text, in nats per token. `known`: the sums over its first windows, from an earlier
        look; those over the others are put behind them, and after_each() is called. Raises Cancelled."""
        windows, sums = self._general_windows(), [] if known is None else known
        del sums[len(windows) :]
        silent = Context(lambda _: None, cancel)
        for window in windows[len(sums) :]:
            found = measure(self._pair, [window], silent)
            sums.append(math.log(found.perplexity) * found.tokens)
            after_each()
        return sum(sums) / sum(len(window) - 1 for window in windows)

    def general_seconds(self, cancel: Cancel) -> float:
        """About how long a general_loss() takes, by its first window. Raises Cancelled."""
        windows = self._general_windows()
        began = time.monotonic()
        measure(self._pair, windows[:1], Context(lambda _: None, cancel))
        return (time.monotonic() - began) * sum(map(len, windows)) / len(windows[0])

    def _general_windows(self) -> list[list[int]]:
        bos = bos_of(self._tokenizer)
        windows = []
        for name in GENERAL_TEXTS:
            place = files("bitconverter") / "resources" / "report" / f"{name}.txt"
            text = place.read_text(encoding="utf-8")
            ids = self._tokenizer.encode(text, add_special_tokens=False)[:GENERAL_TOKENS]
            windows += cut(ids, bos, self.session.n_ctx)
        return windows

    def answer(self, prompt: list[int], most: int, cancel: Cancel) -> str:
        """Greedy, at most `most` tokens, to a prompt of which only the end is seen if it is long; whole characters
        only. Raises Cancelled."""
        made = continuation(self.session, prompt, self._tokenizer.eos_ids, most, cancel)
        return whole_text(self._tokenizer, made, before=prompt).strip()
