"""What a wish for a size means: the number of planes of every matrix (docs/MODEL.md, "How many planes").

A wish is one of: the same number of planes everywhere, average bits per linear weight, bytes of the finished weight
file, or the memory that weights, KV cache and work space of a chat must fit into. The last three choose the planes
of every matrix by model/allocate.py. PRESETS are names for such wishes.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.format.weight_file import ALIGN, header_space
from bitconverter.model.allocate import allocate, bits_of, stored_bytes
from bitconverter.model.plan import (
    DIRECT,
    MAX_PLANES,
    PLANES,
    TensorPlan,
    estimated_bytes,
    make_plan,
    stored_parts,
)

KV_BYTES = {"f32": 4.0, "f16": 2.0, "int8": 1.0, "int4": 0.5}  # of a number in the KV cache
KV_SCALE_BYTES = {
    "f32": 0,
    "f16": 0,
    "int8": 4,
    "int4": 4,
}  # of each head and position, for keys and for values
BATCH = 256  # tokens that the engine works on at a time (native/src/linear.h, BC_DEFAULT_BATCH)
THREADS = 16  # whose work space is counted
PANEL_ROWS, DENSE_ROWS = 80, 32  # rows that a thread has decoded at a time, as int8 and as f32
ATTENTION_BLOCK = 256  # positions whose softmax is taken together (native/src/attention.c)
PROGRAM = 150 * 1024 * 1024  # bytes: the window, Python, the tokenizer
SYSTEM = 2 * 1024**3  # bytes of memory left to the system and other programs
GB = 10**9
LEFT_OVER = 1.01  # times what the result takes; whole matrices do not come closer


@dataclass(frozen=True)
class Fit:
    """A memory in bytes, and the chat that is to fit into it beside the weights: tokens, kind of KV cache."""

    memory: int
    context: int = 4096
    kv: str = "f16"


@dataclass(frozen=True)
class Wish:
    """The first that is given of `preset`, `fit`, `size` (bytes of the weight file), `bits`; else `planes`."""

    planes: int = 3
    bits: float | None = None
    size: int | None = None
    fit: Fit | None = None
    preset: str | None = None

    @property
    def mixed(self) -> bool:
        """Whether every matrix gets its own number of planes."""
        return not (self.preset is self.fit is self.size is self.bits is None)


# The same for every model: what does not fit is refused with the least that does, and where four planes everywhere
# fit, that is what they give.
PRESETS = {
    "tiny": Wish(bits=2.0),
    "4gb": Wish(fit=Fit(4 * GB, 4096)),
    "8gb": Wish(fit=Fit(8 * GB, 8192)),
    "best": Wish(planes=MAX_PLANES),
}


def planned(
    info: Any, wish: Wish, source_bytes: Mapping[str, int], exact: Collection[str] = ()
) -> tuple[TensorPlan, ...]:
    """The plan for a model of shape `info` (an engine ModelInfo); `source_bytes` of the tensors kept as they are;
    `exact`: the matrices that are ternary already (model/ternary.py), which take one plane.

    Raises UserError: "planes", "preset", "bits", "size-small", "fit-small", "fit".
    """
    check_wish(wish)
    wish = resolved(wish)
    plan = [
        replace(tensor, form=DIRECT, n_planes=1) if tensor.name in exact else tensor
        for tensor in make_plan(info, wish.planes)
    ]
    if not wish.mixed:
        return tuple(plan)
    return allocate(plan, average_bits(info, plan, wish, source_bytes))


def check_wish(wish: Wish) -> None:
    """What can be wrong with a wish whatever the model is. Raises UserError: "planes", "preset", "fit", "bits-nan"."""
    if not 1 <= wish.planes <= MAX_PLANES:
        text = f"The number of planes is {wish.planes}; it must be 1, 2, 3 or 4."
        raise UserError("planes", text, planes=wish.planes)
    if wish.preset is not None and wish.preset not in PRESETS:
        text = f"There is no preset {wish.preset}: choose one of {', '.join(PRESETS)}."
        raise UserError("preset", text, preset=wish.preset)
    if wish.fit is not None and wish.fit.kv not in KV_BYTES:
        text = f"There is no KV cache of {wish.fit.kv}: choose f16, int8, int4 or f32."
        raise UserError("fit", text, kv=wish.fit.kv)
    if wish.bits is not None and math.isnan(wish.bits):
        text = f"{wish.bits} is no number of bits per weight: give one, such as 3.25."
        raise UserError("bits-nan", text, bits=wish.bits)


def resolved(wish: Wish) -> Wish:
    """A preset's own wish in its place."""
    return wish if wish.preset is None else PRESETS[wish.preset]


def average_bits(info: Any, plan: list[TensorPlan], wish: Wish, source_bytes: Mapping[str, int]) -> float:
    """The bits per linear weight that a mixed wish (no preset) comes to; at most those of four planes."""
    if wish.fit is None and wish.size is None:
        assert wish.bits is not None
        return wish.bits
    rest = overhead_bytes(plan, source_bytes)
    if wish.fit is not None:
        rest += session_bytes(info, _context(wish, info), wish.fit.kv) + PROGRAM
    linear = [tensor for tensor in plan if tensor.linear]
    weights = sum(math.prod(tensor.shape) for tensor in linear)
    least, most = (sum(_bytes_at(tensor, n) for tensor in linear) for n in (1, MAX_PLANES))
    given = wish.fit.memory if wish.fit is not None else wish.size
    assert given is not None
    if given - rest < least:
        raise _too_small(wish, given, rest + least)
    return 8 * min(given - rest, most) / weights


def left_over(
    wish: Wish, plan: Sequence[TensorPlan], source_bytes: Mapping[str, int]
) -> tuple[str, dict[str, Any]] | None:
    """Where a wish for bits or a size is more than all planes take, so that the result is smaller than was asked for:
    that in words, and in fields. `plan`: what it came to."""
    if wish.preset is not None or wish.fit is not None:  # memory that stays free is what they are for
        return None
    linear = [tensor for tensor in plan if tensor.linear]
    if wish.size is not None:
        size = overhead_bytes(list(plan), source_bytes) + sum(map(stored_bytes, linear))
        more = wish.size > LEFT_OVER * size
        fields = {"asked_size": at_least(wish.size), "taken": at_most(size)}
        asked, taken = fields["asked_size"], f"a weight file of {fields['taken']}"
    elif wish.bits is not None:
        more = wish.bits > LEFT_OVER * bits_of(linear)
        fields = {"asked_bits": f"{wish.bits:g}", "taken": f"{bits_of(linear):.2f}"}
        asked, taken = (f"{number} bits per weight" for number in fields.values())
    else:
        return None
    if not more or any(tensor.form == PLANES and tensor.n_planes < MAX_PLANES for tensor in linear):
        return None
    return (
        f"{asked} cannot be used up: {MAX_PLANES} planes everywhere, the most there are, give {taken}.",
        fields,
    )


def overhead_bytes(plan: list[TensorPlan], source_bytes: Mapping[str, int]) -> int:
    """Bytes of the weight file beside the linear weights: embedding, head, norms, header, gaps (at most)."""
    others = [tensor for tensor in plan if not tensor.linear]
    parts = [part for tensor in plan for part in stored_parts(tensor)]
    return estimated_bytes(others, source_bytes) + header_space(parts) + ALIGN * (len(parts) + 1)


def session_bytes(info: Any, context: int, kv: str, batch: int = BATCH) -> int:
    """Memory of a chat beside the weights, as native/src/session.c allocates it: KV cache and work space."""
    rows = 2 * info.n_layers * info.n_kv_heads * context  # keys and values
    cache = rows * (info.head_dim * KV_BYTES[kv] + KV_SCALE_BYTES[kv])
    batch = min(batch, context)
    heads = info.n_heads * info.head_dim
    widest = max(info.hidden_size, info.intermediate_size, heads)
    per_token = 3 * info.hidden_size + heads + 2 * info.n_kv_heads * info.head_dim
    per_token += 2 * info.intermediate_size + 2 * info.head_dim
    work = 4 * (batch * per_token + info.vocab_size + context)
    group, blocks = info.n_heads // info.n_kv_heads, -(-context // ATTENTION_BLOCK)
    work += 4 * THREADS * group * ATTENTION_BLOCK
    work += 4 * max(THREADS, info.n_kv_heads) * blocks * group * (info.head_dim + 2)
    rounded = batch * widest + THREADS * (
        max(PANEL_ROWS, 4 * DENSE_ROWS) * widest + 4 * batch * PANEL_ROWS + 4 * widest
    )
    return math.ceil(cache + work + rounded)


def _bytes_at(tensor: TensorPlan, n_planes: int) -> int:
    return stored_bytes(TensorPlan(tensor.name, tensor.shape, tensor.form, n_planes))


def _context(wish: Wish, info: Any) -> int:
    """The tokens to reckon with; a preset's are cut to what the model has."""
    assert wish.fit is not None
    context = wish.fit.context
    if wish in PRESETS.values():
        return min(context, int(info.max_positions))
    if not 1 <= context <= info.max_positions:
        raise UserError(
            "fit",
            f"A context of {context} tokens is not possible: this model has positions for 1 to "
            f"{info.max_positions}.",
            context=context, most=info.max_positions,
        )  # fmt: skip
    return context


def _too_small(wish: Wish, given: int, least: int) -> UserError:
    what = "weight file" if wish.fit is None else "memory"
    return UserError(
        "size-small" if wish.fit is None else "fit-small",
        f"A {what} of {at_least(given)} is too small for this model: even with one plane everywhere it takes "
        f"{at_least(least)}. Give at least that"
        + ("." if wish.fit is None else ", a shorter context, or another kind of KV cache."),
        given=given, least=least, given_size=at_least(given), least_size=at_least(least),
    )  # fmt: skip
