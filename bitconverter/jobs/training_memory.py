"""The memory that a training takes, told before it: what grows with the model and the lesson, as the code allocates it.

The model's file is mapped and does not count: the system takes its pages back when it needs them.
"""

from dataclasses import dataclass

import psutil

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.jobs.taught_model import CHUNK
from bitconverter.jobs.taught_model import WINDOW as ASKED_WINDOW
from bitconverter.model.budget import session_bytes

WORK = 30 * 1024 * 1024  # bytes: threads, tables, the tokenizer, what the allocator keeps
GROUP = 1024  # tokens that the engine's work space holds at a time (native/src/block_windows.c, block_back.c)
BATCH = 256  # of them go through a matrix together
HEAD_LOGITS = 8 << 20  # f32 at most (native/src/head.c)
HEAD_TOKENS = (12, 256)
PER_PARAMETER = {  # bytes: f64 vectors, and a checkpoint in memory while it is written
    "exact": 8 * 8
    + 2 * 4 * 8,  # it, the best, gradient twice, two moments and two of their kind; file and its copy
    "mezo": 5 * 8 + 2 * 2 * 8,  # it, the best, a direction, what it is made of
}
PER_REPLICA = 8 + 4  # bytes of a parameter: where MeZO looks, and the scales there
PER_TOKEN = 5 * 4  # bytes of a token of the lesson: ids and targets, and what is put together of them


@dataclass(frozen=True)
class Load:
    """`parameters` learn in the last `layers` layers; a step sees at most `tokens` tokens in windows of `window`,
    `replicas` times at once (1 but with MeZO's gains); `lesson`: all tokens of its windows; `vocabulary`: the tokens
    that the head chooses from."""

    layers: int
    tokens: int
    window: int
    parameters: int
    lesson: int
    vocabulary: int
    engine: str = "exact"
    replicas: int = 1


def training_bytes(info: ModelInfo, load: Load) -> int:
    """Beyond the mapped model, at its highest; with the model opened once more, for samples and the general text."""
    tokens = load.tokens * load.replicas
    states = 4 * tokens * info.hidden_size
    kept = states * (load.layers + 3 if load.engine == "exact" else 2)
    learned = load.parameters * (PER_PARAMETER[load.engine] + PER_REPLICA * 2 * load.replicas)
    whole = (
        session_bytes(info, min(ASKED_WINDOW, info.max_positions), "f16") + 2 * 4 * CHUNK * info.vocab_size
    )
    engine = _forward(info, min(max(load.window, GROUP), max(tokens, GROUP)))
    if load.engine == "exact":
        engine += _backward(info, load)
    head = _head(info, load.vocabulary)
    return WORK + load.lesson * PER_TOKEN + kept + learned + engine + head + whole


def _forward(info: ModelInfo, tokens: int) -> int:
    heads, kv = info.n_heads * info.head_dim, 2 * info.n_kv_heads * info.head_dim
    batch = min(BATCH, tokens)
    return 4 * (tokens * (2 * heads + kv) + batch * (2 * info.hidden_size + 2 * info.intermediate_size))


def _backward(info: ModelInfo, load: Load) -> int:
    heads, kv = info.n_heads * info.head_dim, 2 * info.n_kv_heads * info.head_dim
    windows = max(1, min(GROUP // load.window, -(-load.tokens // load.window)))
    tokens = windows * load.window
    per_token = 2 * (heads + kv) + 4 * heads + 2 * info.hidden_size
    per_batch = 3 * info.hidden_size + 6 * info.intermediate_size
    per_batch += max(info.hidden_size, info.intermediate_size, heads)
    return 4 * (tokens * per_token + min(BATCH, tokens) * per_batch)


def _head(info: ModelInfo, vocabulary: int) -> int:
    least, most = HEAD_TOKENS
    chunk = max(least, min(most, HEAD_LOGITS // max(1, vocabulary) // least * least))
    return 4 * chunk * (vocabulary + 4 * info.hidden_size)


def free_bytes() -> int:
    """Of memory, now."""
    return int(psutil.virtual_memory().available)


def check_memory(needed: int) -> None:
    """Raises UserError("train-memory") if `needed` bytes are more than are free."""
    free = free_bytes()
    if needed > free:
        raise UserError(
            "train-memory",
            f"This training needs about {needed / 1e6:.0f} MB of memory beside the model, and {free / 1e6:.0f} MB are "
            "free. Close other programs, or train with a smaller --batch, --window or fewer --layers.",
            needed=needed, free=free, needed_size=f"{needed / 1e6:.0f} MB", free_size=f"{free / 1e6:.0f} MB",
        )  # fmt: skip
