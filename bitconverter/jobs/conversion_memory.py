"""The memory that a conversion takes at most, told before it: the largest of its stages.

Of each stage only what grows with the model or the text is counted, as the code of that stage allocates it; files
that are mapped do not count, the system takes their pages back when it needs them.
"""

import itertools

from bitconverter.engine import ModelInfo
from bitconverter.jobs import polish
from bitconverter.jobs.engine_memory import GROUP, backward_bytes, forward_bytes, head_bytes
from bitconverter.jobs.evaluate import chunk_tokens
from bitconverter.jobs.layer_reader import CHUNK_TOKENS, SLAB_BYTES
from bitconverter.jobs.own_chat import own_chat_bytes
from bitconverter.jobs.quality_report import WINDOW as REPORT_WINDOW
from bitconverter.model.budget import session_bytes
from bitconverter.model.curvature import block_edges
from bitconverter.model.output_curvature import HEADS, WIDE, output_edges

WORK = 30 * 1024 * 1024  # bytes: threads, tables, what the allocator keeps
# Of an entry of H, all in f32: its sum; h and u of a block that is ready; of the one that is factored h, the factor,
# its inverse and what two halves of that are made of.
SUM_BYTES, READY_BYTES, FACTOR_BYTES = 4, 8, 14
# Of a weight of the matrix that is rounded: itself three times in f32, its integers, what they are tried on.
FIT_BYTES = 22
# Times what the polish allocates; the heap keeps more, in pieces, for moments when it looks at what it learned.
# SmolLM2-135M, where 540 MB were told without it, took 590 at four planes with two threads and 622 at 4.0 bits with one
# (2026-11-26), since then 690 at four planes (2026-11-29: at most 880 resident, 137 of them mapped, 55 the program).
POLISH_KEPT = 1.3
REPORT_LOGITS = 2  # arrays f32 [tokens, vocabulary]: of both models


def peak_bytes(
    info: ModelInfo,
    stored: int,
    *,
    method: str,
    windows: int,
    window: int,
    measured: int,
    polished: bool,
    own_chat: bool,
) -> int:
    """`stored`: bytes of a weight in the source; `windows` of `window` tokens are calibrated on, `measured` of them
    before the rounding (jobs/measured.py; 0: nothing to round). `own_chat`: the source writes some
    (jobs/own_chat.py). With the quality report."""
    report = 2 * session_bytes(info, min(REPORT_WINDOW, info.max_positions), "f16")
    report += REPORT_LOGITS * 4 * chunk_tokens(info.vocab_size) * info.vocab_size
    largest = 4 * info.hidden_size * max(info.vocab_size, info.intermediate_size)
    stages = [report, min(SLAB_BYTES, largest)]
    if method == "fast":
        return WORK + max(stages)
    hidden = 4 * window * info.hidden_size  # of a window's states
    layer = stored * _layer_weights(info)
    inputs = 4 * CHUNK_TOKENS * sum(_widths(info)) + forward_bytes(info, max(window, GROUP))
    back = backward_bytes(info, CHUNK_TOKENS, window)
    entries = _block_entries(info, windows * window)
    widest = max(entries, key=sum)
    ready, sums = READY_BYTES * sum(widest), SUM_BYTES * sum(widest)
    outputs = _output_entries(info) if measured else [0]
    rounding = max(_fit(info) + ready, *map(_factor, entries), inputs + sums) + SUM_BYTES * sum(outputs)
    stages.append(windows * hidden + layer + rounding)
    if measured:
        gradients = 4 * window * sum(_widths(info))  # of a window, about as many as its inputs
        summed = SUM_BYTES * sum(outputs) + FACTOR_BYTES * max(outputs)
        stages.append(windows * hidden + 2 * measured * hidden + layer + back + gradients + summed)
        entries = _block_entries(info, measured * window)
        # all inputs' sums, while the first is factored
        moments = SUM_BYTES * sum(sum(blocks) for blocks in entries[1:]) + _factor(entries[0])
        stages.append(
            windows * 8 * window + 2 * measured * hidden + layer + inputs + back
            + max(moments, *map(_factor, entries), head_bytes(info, info.vocab_size))
        )  # fmt: skip
    if own_chat:
        stages.append(own_chat_bytes(info))
    if polished:
        taught = (polish.WINDOWS + polish.HELD_OUT) * hidden
        head = (stored + 1) * info.vocab_size * info.hidden_size
        step = polish.BATCH * hidden * (info.n_layers + 3) + head + inputs + layer + back
        step += head_bytes(info, info.vocab_size, models=2)
        stages.append(int(POLISH_KEPT * (taught + step)))
    return WORK + max(stages)


def _widths(info: ModelInfo) -> tuple[int, ...]:
    heads = info.n_heads * info.head_dim
    return (info.hidden_size, heads, info.hidden_size, info.intermediate_size)


def _layer_weights(info: ModelInfo) -> int:
    heads, kv = info.n_heads * info.head_dim, info.n_kv_heads * info.head_dim
    return info.hidden_size * (2 * heads + 2 * kv + 3 * info.intermediate_size)


def _fit(info: ModelInfo) -> int:
    return FIT_BYTES * info.hidden_size * max(info.intermediate_size, info.n_heads * info.head_dim)


def _block_entries(info: ModelInfo, tokens: int) -> list[list[int]]:
    """Of every input's H the entries of each block."""
    return [
        [(b - a) ** 2 for a, b in itertools.pairwise(block_edges(width, tokens))] for width in _widths(info)
    ]


def _output_entries(info: ModelInfo) -> list[int]:
    """Of what a layer's outputs cost together, the entries of each block."""
    heads, kv = info.n_heads * info.head_dim, info.n_kv_heads * info.head_dim
    rows = {
        "q": heads,
        "k": kv,
        "o": info.hidden_size,
        "up": info.intermediate_size,
        "down": info.hidden_size,
    }
    edges = [output_edges(key, rows[key], info.head_dim) for key in (*HEADS, *WIDE)]
    return [(b - a) ** 2 for blocks in edges for a, b in itertools.pairwise(blocks)]


def _factor(blocks: list[int]) -> int:
    """Of one input's H while one of its blocks is factored: those before are ready."""
    peaks = [READY_BYTES * sum(blocks[:k]) + FACTOR_BYTES * blocks[k] for k in range(len(blocks))]
    return SUM_BYTES * sum(blocks) + max(peaks)
