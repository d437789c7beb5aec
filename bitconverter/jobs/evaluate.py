"""How well a model predicts a text, and how close it stays to the model it was made from.

The text's tokens are cut into windows; every window starts with an empty context (and with the
tokenizer's BOS, if it adds one). In a window of n tokens, tokens 1..n-1 are predicted from those
before them; perplexity = exp(mean of -log p). With a reference, KL(reference || model) and the
share of equal most probable tokens are means over the same positions.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bitconverter.engine import Engine, Model, Session, logits_divergence, logits_score
from bitconverter.format.errors import UserError
from bitconverter.format.text_file import read_text
from bitconverter.jobs.device_word import PROCESSOR, Device
from bitconverter.jobs.job import Context, Metric, Progress
from bitconverter.jobs.opening import chunk_tokens, model_folder, open_engine
from bitconverter.jobs.placement import Placed, Sessions, choose_device
from bitconverter.model.tokenizer import Tokenizer

PIECE = 30_000  # characters encoded at a time: some hundredths of a second
SEAM_CONTEXT = 500  # characters on each side that a place is tried with
SEAM_TRIES = 1000  # line ends that are tried
SCORED = 2 << 20  # logits compared at a time: some hundredths of a second


@dataclass(frozen=True)
class EvaluateResult:
    """Means over `tokens` predicted tokens; kl in nats, top1 in 0..1; None without a reference. `placed`: on what the
    model ran."""

    perplexity: float
    reference_perplexity: float | None
    kl: float | None
    top1: float | None
    tokens: int
    seconds: float
    tokens_per_second: float
    placed: Placed | None = None


@dataclass(frozen=True)
class EvaluateJob:
    """`model` and `reference`: a folder (converted or not) or a .gguf; `text`: a UTF-8 file. The reference runs on the
    processor, whatever the `device`.

    max_tokens: how much of the text to use, 0 for all. window: tokens, at most what the model can hold.
    Emits Progress(unit="token") and, per window, Metric("perplexity", tokens so far, value).
    """

    model: str
    text: str
    reference: str | None = None
    max_tokens: int = 0
    window: int = 512
    threads: int = 0
    cpu: str = "auto"
    kv: str = "f16"
    device: Device = PROCESSOR

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> EvaluateResult:
        if self.window < 2:
            raise UserError(
                "window",
                f"A window of {self.window} tokens predicts nothing: give at least 2.",
                window=self.window,
            )
        self.device.check()
        text = read_text(self.text)
        with ExitStack() as stack:
            folder = stack.enter_context(model_folder(self.model, ctx))
            other = stack.enter_context(model_folder(self.reference, ctx)) if self.reference else None
            engine = open_engine(self.threads, self.cpu)
            model = Model(engine, folder)
            reference = Model(engine, other) if other else None
            if reference is not None:
                _need_same_vocabulary(model, reference)
            window = min(self.window, model.info.max_positions)
            ctx.cancel.check()
            windows = self._windows(folder, other, text, window, model.info.vocab_size, ctx)
            placed = choose_device(model, self.device, Sessions(window, self.kv))
            result = measure(Pair(engine, model, reference, window, self.kv), windows, ctx)
            return replace(result, placed=placed)

    def _windows(
        self, folder: Path, reference: Path | None, text: str, window: int, vocab: int, ctx: Context
    ) -> list[list[int]]:
        tokenizer = Tokenizer(folder)
        tokenizer.check_fits(vocab)
        ids = encode_in_pieces(tokenizer, text, self.max_tokens, ctx)
        if reference is not None:
            _need_same_tokens(ids, encode_in_pieces(Tokenizer(reference), text, self.max_tokens, ctx))
        windows = cut(ids, bos_of(tokenizer), window)
        if not windows:
            raise text_short(self.text, len(ids))
        return windows


def text_short(path: str, tokens: int) -> UserError:
    """For a text in which nothing is predicted."""
    return UserError(
        "text-short",
        f"{path} has {tokens} token(s), too few to predict anything. Use a longer text.",
        path=path, tokens=tokens,
    )  # fmt: skip


def encode_in_pieces(tokenizer: Tokenizer, text: str, most: int, ctx: Context) -> list[int]:
    """The text's first `most` tokens (0: all), encoded piece by piece: a long text takes seconds.

    The ids are those of the whole text: it is cut only where a line begins and the tokens do not depend on what
    lies on the other side. A tokenizer without such places (Llama 2's marks the start of a text) gets it whole.
    """
    ids: list[int] = []
    start = 0
    while start < len(text) and not 0 < most <= len(ids):
        ctx.cancel.check()
        stop = _seam(tokenizer, text, start + PIECE)
        ids += tokenizer.encode(text[start:stop], add_special_tokens=False)
        start = stop
    return ids[:most] if most > 0 else ids


def _seam(tokenizer: Tokenizer, text: str, near: int) -> int:
    """A place behind `near` where the text can be cut, or its end."""
    for _ in range(SEAM_TRIES):
        near = text.find("\n", near) + 1
        if near == 0 or near >= len(text):
            break
        left, right = text[max(0, near - SEAM_CONTEXT) : near], text[near : near + SEAM_CONTEXT]
        if right[0].isalnum() and _encodes_apart(tokenizer, left, right):
            return near
    return len(text)


def _encodes_apart(tokenizer: Tokenizer, left: str, right: str) -> bool:
    whole, first, second = (
        tokenizer.encode(t, add_special_tokens=False) for t in (left + right, left, right)
    )
    return whole == first + second


def cut(ids: list[int], prefix: list[int], window: int) -> list[list[int]]:
    """Windows of at most `window` tokens, each beginning with `prefix`; one of a single token predicts nothing."""
    step = window - len(prefix)
    windows = [prefix + ids[start : start + step] for start in range(0, len(ids), step)]
    return [tokens for tokens in windows if len(tokens) > 1]


def bos_of(tokenizer: Tokenizer) -> list[int]:
    """The BOS that this tokenizer puts before a text, if it does."""
    start = tokenizer.encode("", add_special_tokens=True)[:1]
    return start if start == [tokenizer.bos_id] else []


class Pair:
    """The model, and the reference if there is one, each with its own timeline."""

    def __init__(
        self,
        engine: Engine,
        model: Model,
        reference: Model | None,
        window: int,
        kv: str,
        n_batch: int = 0,
    ) -> None:
        """n_batch 0: what is usual."""
        self.engine = engine
        self.chunk = chunk_tokens(model.info.vocab_size)
        self.model = Session(model, n_ctx=window, n_batch=n_batch, kv=kv)
        self.reference = Session(reference, n_ctx=window, kv=kv) if reference else None

    def start_window(self) -> None:
        self.model.rewind(0)
        if self.reference is not None:
            self.reference.rewind(0)

    def score(self, tokens: Sequence[int], targets: Sequence[int], ctx: Context) -> "_Sums":
        """Feed `tokens`; compare what follows each with `targets` (the same length)."""
        wanted = np.asarray(targets, np.int32)
        logits = _forward(self.model, tokens, ctx)
        expected = _forward(self.reference, tokens, ctx) if self.reference is not None else None
        sums = _Sums()
        rows = max(1, SCORED // logits.shape[1])
        for start in range(0, len(wanted), rows):
            ctx.cancel.check()
            part = slice(start, start + rows)
            sums.add(self._compare(logits[part], None if expected is None else expected[part], wanted[part]))
        return sums

    def _compare(self, logits: np.ndarray, expected: np.ndarray | None, wanted: np.ndarray) -> "_Sums":
        nll, best = logits_score(self.engine, logits, wanted)
        sums = _Sums(len(wanted), float(nll.sum()))
        if expected is not None:
            nll, reference_best = logits_score(self.engine, expected, wanted)
            sums.reference_nll = float(nll.sum())
            kl = logits_divergence(self.engine, expected, logits)
            sums.kl = float(kl.sum())
            sums.agree = int((best == reference_best)[np.isfinite(kl)].sum())  # nothing agrees with no number
        return sums


@dataclass
class _Sums:
    tokens: int = 0
    nll: float = 0.0
    reference_nll: float = 0.0
    kl: float = 0.0
    agree: int = 0

    def add(self, other: "_Sums") -> None:
        self.tokens += other.tokens
        self.nll += other.nll
        self.reference_nll += other.reference_nll
        self.kl += other.kl
        self.agree += other.agree


def measure(pair: Pair, windows: list[list[int]], ctx: Context, item: str = "") -> EvaluateResult:
    """Over all windows (at least one). Emits as EvaluateJob says, Progress with `item`."""
    total = sum(len(window) - 1 for window in windows)
    sums = _Sums()
    start = time.monotonic()
    for window in windows:
        pair.start_window()
        for tokens, targets in _chunks(window, pair.chunk):
            ctx.cancel.check()
            sums.add(pair.score(tokens, targets, ctx))
            passed = time.monotonic() - start
            eta = passed / sums.tokens * (total - sums.tokens)
            ctx.emit(Progress(sums.tokens, total, "token", item, eta))
        ctx.emit(Metric("perplexity", sums.tokens, perplexity_of(sums.nll, sums.tokens)))
    seconds = time.monotonic() - start
    compared = pair.reference is not None
    return EvaluateResult(
        perplexity=perplexity_of(sums.nll, total),
        reference_perplexity=perplexity_of(sums.reference_nll, total) if compared else None,
        kl=sums.kl / total if compared else None,
        top1=sums.agree / total if compared else None,
        tokens=total,
        seconds=seconds,
        tokens_per_second=total / seconds if seconds > 0 else 0.0,
    )


def _chunks(window: list[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """(tokens, the tokens that follow them) in pieces of at most `size`."""
    for start in range(0, len(window) - 1, size):
        stop = min(start + size, len(window) - 1)
        yield window[start:stop], window[start + 1 : stop + 1]


def _forward(session: Session, tokens: Sequence[int], ctx: Context) -> np.ndarray:
    logits = session.forward(tokens, all_positions=True, cancel=ctx.cancel)
    assert logits is not None
    return logits


def perplexity_of(nll: float, tokens: int) -> float:
    """exp of the mean; infinite where that is beyond a float."""
    mean = nll / tokens
    return math.exp(mean) if mean < 700 else math.inf


def _need_same_vocabulary(model: Model, reference: Model) -> None:
    mine, theirs = model.info.vocab_size, reference.info.vocab_size
    if mine != theirs:
        raise UserError(
            "reference-vocabulary",
            f"The model knows {mine} tokens, the reference {theirs}: they cannot be compared. "
            "Give the model it was converted from.",
            model=mine, reference=theirs,
        )  # fmt: skip


def _need_same_tokens(ids: list[int], others: list[int]) -> None:
    if ids == others:
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b), min(len(ids), len(others))
    )
    raise UserError(
        "reference-tokenizer",
        f"The model's tokenizer and the reference's cut the text differently (first at token {place}), so they "
        "cannot be compared. Give the model it was converted from.",
        place=place,
    )
