"""The memory that a training takes, told before it: what grows with the model and the lesson, as the code allocates it.

The model's file is mapped and does not count: the system takes its pages back when it needs them.
"""

from dataclasses import dataclass

import psutil

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.jobs.engine_memory import GROUP, backward_bytes, forward_bytes, head_bytes, kept_bytes
from bitconverter.jobs.taught_model import CHUNK
from bitconverter.jobs.taught_model import WINDOW as ASKED_WINDOW
from bitconverter.model.budget import session_bytes

WORK = 30 * 1024 * 1024  # bytes: threads, tables, the tokenizer, what the allocator keeps
PER_PARAMETER = {  # bytes: f64 vectors, and a checkpoint in memory while it is written
    "exact": 8 * 8
    + 2 * 4 * 8,  # it, the best, gradient twice, two moments and two of their kind; file and its copy
    "mezo": 5 * 8 + 2 * 2 * 8,  # it, the best, a direction, what it is made of
}
KEPT_MOST, KEPT_SHARE = 1 << 30, 8  # bytes, and of what is free beside the training
PER_REPLICA = 8 + 4  # bytes of a parameter: where MeZO looks, and the scales there
PER_TOKEN = 5 * 4  # bytes of a token of the lesson: ids and targets, and what is put together of them


@dataclass(frozen=True)
class Load:
    """`parameters` learn in the last `layers` layers; a step sees at most `tokens` tokens in windows of `window`,
    `replicas` times at once (1 but with MeZO); `lesson`: all tokens of its windows; `vocabulary`: the tokens
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
    learned = load.parameters * (PER_PARAMETER[load.engine] + PER_REPLICA * load.replicas)
    whole = (
        session_bytes(info, min(ASKED_WINDOW, info.max_positions), "f16") + 2 * 4 * CHUNK * info.vocab_size
    )
    engine = forward_bytes(info, min(max(load.window, GROUP), max(tokens, GROUP)))
    if load.engine == "exact":
        engine += backward_bytes(info, load.tokens, load.window)
    head = head_bytes(info, load.vocabulary)
    return WORK + load.lesson * PER_TOKEN + kept + learned + engine + head + whole


def room_to_keep(info: ModelInfo, load: Load, needed: int) -> int:
    """Bytes for what the forward pass of a step may leave to the way back, which computes it again otherwise: the same
    gradient sooner. Of whole layers, beside the `needed` bytes of the training."""
    layer = kept_bytes(info, load.tokens)
    room = min(KEPT_MOST, max(0, free_bytes() - needed) // KEPT_SHARE)
    return min(load.layers, room // layer) * layer


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
