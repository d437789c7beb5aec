"""How a long context holds: perplexity and decoding speed by position, along one text, up to the model's limit."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bitconverter.engine import Engine, Model
from bitconverter.format.text_file import read_text
from bitconverter.jobs.benchmark import decode
from bitconverter.jobs.benchmark_lengths import LEAST
from bitconverter.jobs.evaluate import Pair, bos_of, encode_in_pieces, perplexity_of, text_short
from bitconverter.jobs.job import Context
from bitconverter.model.tokenizer import Tokenizer

FIRST_BAND = 512  # positions; each band after it is as long as all before
DECODE = 16  # tokens decoded behind each band


@dataclass(frozen=True)
class Band:
    """Positions first <= p < end of the text: the perplexity of the tokens there, each predicted from all before it,
    and tok/s of decoding behind them; None where the context has no room for that."""

    first: int
    end: int
    perplexity: float
    decode_tok_s: float | None


def text_ids(folder: Path, vocab: int, text: str, most: int, ctx: Context) -> list[int]:
    """The first `most` token ids of a text file, the BOS before them where the model's texts have one. Raises UserError
    for a folder without a tokenizer for `vocab` tokens, and "text-short"."""
    tokenizer = Tokenizer(folder)
    tokenizer.check_fits(vocab)
    start = bos_of(tokenizer)
    ids = start + encode_in_pieces(tokenizer, read_text(text), most - len(start), ctx)
    if len(ids) < LEAST:
        raise text_short(text, len(ids))
    return ids


def context_for(ids: list[int], most: int) -> int:
    """Positions of a session for the text, and for what is decoded behind it where the model has room."""
    return min(len(ids) + DECODE, most)


def bands_along(
    engine: Engine, model: Model, ids: list[int], kv: str, each: Callable[[], None], ctx: Context
) -> Iterator[Band]:
    """From the first position to the last one; `each` is called before every band."""
    room = context_for(ids, model.info.max_positions)
    pair = Pair(engine, model, None, room, kv)
    first, end = 0, 0
    while end < len(ids):
        first, end = end, min(2 * end or FIRST_BAND, len(ids))
        each()
        nll = 0.0
        begin = max(first, 1)  # nothing predicts the first token
        for start in range(begin, end, pair.chunk):
            stop = min(start + pair.chunk, end)
            nll += pair.score(ids[start - 1 : stop - 1], ids[start:stop], ctx).nll
        speed = _decode_speed(pair, ids, end, room, ctx)
        yield Band(first, end, perplexity_of(nll, end - begin), speed)


def _decode_speed(pair: Pair, ids: list[int], end: int, room: int, ctx: Context) -> float | None:
    """The session, at position end - 1, is there again afterwards."""
    new = min(DECODE, room - end)
    if new < 1:
        return None
    session = pair.model
    session.forward(ids[end - 1 : end], cancel=ctx.cancel)
    start = time.perf_counter()
    decode(session, new, ctx)
    seconds = time.perf_counter() - start
    session.rewind(end - 1)
    return new / seconds
