"""The memory of a chat, looked at when its model is opened: what is free now, not what was when it was chosen.

What counts is what the session allocates (KV cache and work space). The weights are mapped: the system takes their
pages back when it needs them, so too little memory for them makes answers slow, and is told, not refused.
"""

import psutil

from bitconverter.engine import Model, OutOfMemoryError, Session
from bitconverter.format.errors import UserError
from bitconverter.jobs.job import Context, Note
from bitconverter.model.budget import session_bytes

USUAL_CONTEXT = 4096  # of Session(n_ctx=0), if the model has as many positions
LEAST_CONTEXT = 256  # tokens; a shorter context is not worth offering


def free_memory() -> int:
    """Bytes that programs can have now without others being swapped out."""
    return int(psutil.virtual_memory().available)


def open_session(model: Model, weights: int, n_ctx: int, kv: str, ctx: Context) -> Session:
    """A session of `n_ctx` positions (0: the usual) on `model`, whose weight files have `weights` bytes.

    Raises UserError: "memory-context" when that many bytes are not free, "memory-refused" when the system does not
    give them; both name a context that fits as `fits`, 0 when none does. Emits Note("memory-tight") when the weights
    will not all stay in memory.
    """
    context = n_ctx or min(model.info.max_positions, USUAL_CONTEXT)
    needed, free = session_bytes(model.info, context, kv), free_memory()
    if needed > free:
        raise _refusal("memory-context", model, context, kv, free, free)
    if needed + weights > free:
        ctx.emit(Note("memory-tight", {"needs": _gb(needed + weights), "left": _gb(free)}))
    try:
        return Session(model, n_ctx=n_ctx, kv=kv)
    except OutOfMemoryError as error:
        raise _refusal("memory-refused", model, context, kv, free_memory(), needed // 2) from error


def _refusal(code: str, model: Model, context: int, kv: str, free: int, room: int) -> UserError:
    """`free`: bytes, to be told; `room`: bytes that a smaller context may take."""
    fits = context // 2
    while fits >= LEAST_CONTEXT and session_bytes(model.info, fits, kv) > room:
        fits //= 2
    if fits < LEAST_CONTEXT:
        fits = 0
    needed = session_bytes(model.info, context, kv)
    told = "the system did not give it" if code == "memory-refused" else "so it was not opened"
    advice = f", or open it with a smaller context ({fits} tokens)" if fits else ""
    return UserError(
        code,
        f"A chat with a context of {context} tokens needs {_gb(needed)} of memory beside the weights, and "
        f"{_gb(free)} is free now: {told}. Close other programs{advice}.",
        needed=needed, free=free, needs=_gb(needed), left=_gb(free), context=context, fits=fits,
    )  # fmt: skip


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
