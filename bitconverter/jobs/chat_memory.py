"""The memory of a chat, looked at when its model is opened: what is free now, not what was when it was chosen.

What counts is what the session allocates (KV cache and work space). The weights are mapped: the system takes their
pages back when it needs them, so too little memory for them makes answers slow, and is told, not refused. Layers on
a graphics card have both there; that there is room for them has been looked at when they were put there.
"""

from dataclasses import replace

import psutil

from bitconverter.engine import Model, OutOfMemoryError, Session
from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.placement import Placed
from bitconverter.model.budget import session_bytes

USUAL_CONTEXT = 4096  # of Session(n_ctx=0), if the model has as many positions
LEAST_CONTEXT = 256  # tokens; a shorter context is not worth offering


def free_memory() -> int:
    """Bytes that programs can have now without others being swapped out."""
    return int(psutil.virtual_memory().available)


def usual_context(model: Model) -> int:
    """Positions of a session that says nothing of them."""
    return min(model.info.max_positions, USUAL_CONTEXT)


def open_session(
    model: Model, weights: int, n_ctx: int, kv: str, ctx: Context, placed: Placed | None = None
) -> Session:
    """A session of `n_ctx` positions (0: the usual) on `model`, whose weight files have `weights` bytes and which is
    `placed` so, None: on the processor.

    Raises UserError: "memory-context" when that many bytes are not free, "memory-refused" when the system does not
    give them; both name a context that fits as `fits`, 0 when none does; "device-memory" when the graphics card no
    longer has what it had. Emits Note("memory-tight") when the weights will not all stay in memory.
    """
    context = n_ctx or usual_context(model)
    needed, free = _needed(model, context, kv, placed), free_memory()
    if needed > free:
        raise _refusal("memory-context", model, context, kv, free, free, placed)
    weights -= placed.weight_bytes if placed is not None else 0
    if needed + weights > free:
        ctx.emit(Note("memory-tight", {"needs": at_least(needed + weights), "left": at_most(free)}))
    try:
        return Session(model, n_ctx=n_ctx, kv=kv)
    except OutOfMemoryError as error:
        if placed is not None and placed.on_device:
            raise _taken(placed, error) from error
        raise _refusal("memory-refused", model, context, kv, free_memory(), needed // 2, placed) from error


def _needed(model: Model, context: int, kv: str, placed: Placed | None) -> int:
    """Bytes of main memory that a session takes: the caches of the layers on a card are there."""
    info = model.info
    if placed is not None and placed.on_device:
        info = replace(info, n_layers=info.n_layers - placed.layers)
    return session_bytes(info, context, kv)


def _taken(placed: Placed, error: OutOfMemoryError) -> UserError:
    why = str(error).rstrip(".")
    return UserError(
        "device-memory",
        f"{placed.device} had room for this chat a moment ago and has it no longer: {why}. Close other programs that "
        "use it and open the model again, or open it on the processor (--device cpu).",
        device=placed.device, why=why,
    )  # fmt: skip


def _refusal(
    code: str, model: Model, context: int, kv: str, free: int, room: int, placed: Placed | None
) -> UserError:
    """`free`: bytes, to be told; `room`: bytes that a smaller context may take."""
    fits = context // 2
    while fits >= LEAST_CONTEXT and _needed(model, fits, kv, placed) > room:
        fits //= 2
    if fits < LEAST_CONTEXT:
        fits = 0
    needed = _needed(model, context, kv, placed)
    told = "the system did not give it" if code == "memory-refused" else "so it was not opened"
    advice = f", or open it with a smaller context ({fits} tokens)" if fits else ""
    return UserError(
        code,
        f"A chat with a context of {context} tokens needs {at_least(needed)} of memory beside the weights, and "
        f"{at_most(free)} is free now: {told}. Close other programs{advice}.",
        needed=needed, free=free, needs=at_least(needed), left=at_most(free), context=context, fits=fits,
    )  # fmt: skip
