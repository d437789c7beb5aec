"""Where the gradients of a layer go, and the losses over the vocabulary with theirs (docs/MODEL.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.cancel import Cancel, flag_of
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError
from bitconverter.engine.quantize import DTYPES, Matrix

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

WANTS = ("delta", "lora", "gain", "bias", "row_squares", "token_squares", "dy", "norms", "inputs")
# of bc_matrix_grads, whose members are called as the dictionaries of BlockGradients: the type of an array's numbers
_OF_MATRIX = {
    "gain": "double", "bias": "double", "row_squares": "double", "token_squares": "float", "dy": "float",
    "delta": "float",
}  # fmt: skip


class BlockGradients:
    """What Block.backward() tells beside the gradient of its input. dy is the gradient with respect to a
    matrix's output y = W x + bias, [tokens, rows]; t runs over tokens. Dictionaries by matrix name:

        gain           f64 [rows]     += sum_t dy * (W x): of g in y = (1 + g) * (W x) + bias
        bias           f64 [rows]     += sum_t dy
        row_squares    f64 [rows]     += sum_t dy^2
        token_squares  f32 [tokens]   += sum over rows of dy^2
        dy             f32 [tokens, rows]  overwritten
        lora           f64 [rank, cols] and [rank, rows]  +=: of a and b of Block.set_lora(), where there is one
        delta          f32 [rows, cols]  +=: of that of Block.set_delta()

    by norm name (attn_norm, mlp_norm; q_norm, k_norm where the family has them), and by input (CAPTURES):

        norms          f64 [hidden] or [head_dim]  +=
        inputs         f32 [tokens, cols]  overwritten: what Block.forward() captures

    Only what `want` (of WANTS) names is made, for the matrices named (`dy` for those of `dy_of` alone); the others stay
    empty. Give one object to several calls to sum over them; those that hold `tokens` then want as many tokens in
    every call.
    """

    def __init__(
        self,
        shapes: dict[str, tuple[int, int]],
        norms: dict[str, int],
        widths: dict[str, int],
        want: Sequence[str],
        tokens: int,
        matrices: Sequence[str],
        ranks: Mapping[str, int],
        dy_of: Sequence[str],
    ) -> None:
        _check(want, tokens, matrices, dy_of, tuple(shapes))
        self.want, self.shapes, self.norm_lengths = tuple(want), shapes, norms
        self.tokens = tokens if {"token_squares", "dy", "inputs"} & set(want) else None
        rows = {name: shapes[name][0] for name in shapes if name in matrices}
        added = [name for name in rows if ranks.get(name)]

        def sums(what: str, sizes: Mapping[str, int]) -> dict[str, F64]:
            return {name: np.zeros(n) for name, n in sizes.items()} if what in want else {}

        def written(what: str, sizes: Mapping[str, int]) -> dict[str, F32]:
            return {name: np.empty((tokens, n), np.float32) for name, n in sizes.items() if what in want}

        self.gain, self.bias = sums("gain", rows), sums("bias", rows)
        self.row_squares = sums("row_squares", rows)
        self.token_squares = {name: np.zeros(tokens, np.float32) for name in rows if "token_squares" in want}
        self.dy = written("dy", {name: n for name, n in rows.items() if name in dy_of})
        self.lora = {
            name: (np.zeros((ranks[name], shapes[name][1])), np.zeros((ranks[name], shapes[name][0])))
            for name in added if "lora" in want
        }  # fmt: skip
        self.delta = {name: np.zeros(shapes[name], np.float32) for name in rows if "delta" in want}
        self.norms = sums("norms", norms)
        self.inputs = written("inputs", widths)
        self.struct = self._struct()

    def _struct(self) -> Any:
        """The bc_block_grads that points at the arrays."""
        struct = ffi.new("bc_block_grads *")
        of = {name: struct.matrix[number] for number, name in enumerate(self.shapes)}  # by enum bc_matrix_id
        for member, ctype in _OF_MATRIX.items():
            for name, array in getattr(self, member).items():
                setattr(of[name], member, pointer(ctype, array))
        for name, (a, b) in self.lora.items():
            of[name].lora_a, of[name].lora_b = pointer("double", a), pointer("double", b)
        for name, norm in self.norms.items():
            setattr(struct, name, pointer("double", norm))
        for name, x in self.inputs.items():
            setattr(struct, f"{name}_in", pointer("float", x))
        return struct


def _check(
    want: Sequence[str], tokens: int, matrices: Sequence[str], dy_of: Sequence[str], names: tuple[str, ...]
) -> None:
    for words, known in ((want, WANTS), (matrices, names), (dy_of, names)):
        unknown = [word for word in words if word not in known]
        if unknown:
            raise InvalidError(f"{unknown[0]!r} is not one of {', '.join(known)}")
    if tokens < 0:
        raise InvalidError(f"tokens is {tokens}")


@dataclass(frozen=True)
class Head:
    """A model's last norm and head: logits = weights @ (RMSNorm(h) * norm).

    norm f32 [hidden]; weights [vocab, hidden] of f32, f16 or uint16 holding bf16, or int8 codes with scales f32
    [vocab] in the rotated basis of `seed`. Arrays are kept, not copied, if they are C-contiguous. `coarse`: gradients
    of cross-entropy go back through int8 codes in integers of 8 bits where that is near enough, as those of
    Block.backward().
    """

    norm: F32
    weights: Matrix | npt.NDArray[np.int8]
    eps: float
    scales: F32 | None = None
    seed: int = 0
    coarse: bool = False
    _struct: Any = field(init=False, repr=False, compare=False)
    _kept: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights, coded = np.ascontiguousarray(self.weights), self.scales is not None
        if weights.ndim != 2 or (weights.dtype != np.int8 if coded else weights.dtype not in DTYPES):
            raise InvalidError(
                f"a head of {weights.dtype} {weights.shape}{' with' if coded else ' without'} scales"
            )
        vocab, hidden = weights.shape
        norm = np.ascontiguousarray(self.norm, np.float32)
        scales = None if self.scales is None else np.ascontiguousarray(self.scales, np.float32)
        if norm.shape != (hidden,) or (scales is not None and scales.shape != (vocab,)):
            raise InvalidError(f"norm or scales do not fit a head of {(vocab, hidden)}")
        struct = ffi.new("bc_head *")
        struct.norm, struct.weights = pointer("float", norm), ffi.from_buffer(weights)
        struct.hidden, struct.vocab, struct.rms_eps, struct.seed = hidden, vocab, self.eps, self.seed
        struct.coarse = self.coarse
        if scales is None:
            struct.dtype = DTYPES[weights.dtype]
        else:
            struct.scales = pointer("float", scales)
        object.__setattr__(self, "_struct", struct)
        object.__setattr__(self, "_kept", (norm, weights, scales))

    @property
    def shape(self) -> tuple[int, int]:
        """[vocab, hidden]"""
        return self._struct.vocab, self._struct.hidden

    @property
    def handle(self) -> Any:
        """The bc_head."""
        return self._struct


@dataclass(frozen=True)
class HeadLoss:
    """loss f64 [tokens] in nats, without the tokens' weights; dh f32 [tokens, hidden] and norm f64 [hidden], the
    gradients of sum(weights * loss), or None if they were not asked for. hits i32 [tokens], of cross-entropy: 1
    where no other token is more probable than the target."""

    loss: F64
    dh: F32 | None
    norm: F64 | None
    hits: npt.NDArray[np.int32] | None = None


def head_cross_entropy(
    engine: Engine,
    head: Head,
    h: F32,
    targets: npt.NDArray[np.int32],
    weights: F32 | None = None,
    *,
    gradients: bool = True,
    cancel: Cancel | None = None,
) -> HeadLoss:
    """-log p(targets[t]) from hidden states h f32 [tokens, hidden] (before the last norm), targets i32 [tokens].
    Tokens with target -1 or weight 0 (weights f32 [tokens], None for 1) have loss and gradient 0 and cost no
    time. Logits are made a chunk of tokens at a time."""
    wanted = np.ascontiguousarray(targets, np.int32)
    run = _Run(head, h, weights, gradients)
    if wanted.shape != run.loss.shape:
        raise InvalidError(f"targets of shape {wanted.shape} for {len(run.loss)} tokens")
    hits = np.zeros(wanted.shape, np.int32)
    call(
        lib.bc_head_cross_entropy,
        engine.handle,
        head.handle,
        pointer("float", run.h),
        len(run.loss),
        pointer("int32_t", wanted),
        *run.outputs,
        pointer("int32_t", hits),
        flag_of(cancel),
    )
    return HeadLoss(run.loss, run.dh, run.norm, hits)


def head_drawn_entropy(
    engine: Engine,
    head: Head,
    h: F32,
    seed: int,
    weights: F32 | None = None,
    *,
    gradients: bool = True,
    cancel: Cancel | None = None,
) -> HeadLoss:
    """As head_cross_entropy, with every target drawn from the head's own distribution by (seed, the token's place):
    the squares of such gradients are in the mean the Fisher information (Kunstner, Balles and Hennig 2019, against
    the "empirical" one of the text's own tokens)."""
    run = _Run(head, h, weights, gradients)
    call(
        lib.bc_head_drawn_entropy,
        engine.handle,
        head.handle,
        pointer("float", run.h),
        len(run.loss),
        seed,
        *run.outputs,
        flag_of(cancel),
    )
    return HeadLoss(run.loss, run.dh, run.norm)


def head_divergence(
    engine: Engine,
    head: Head,
    h: F32,
    teacher: Head,
    teacher_h: F32,
    weights: F32 | None = None,
    *,
    gradients: bool = True,
    cancel: Cancel | None = None,
) -> HeadLoss:
    """KL(teacher || student) of every token, from both models' hidden states before the last norm, f32 [tokens,
    hidden] each (the widths may differ, the vocabulary may not). weights f32 [tokens], None for 1; tokens of
    weight 0 cost no time. Logits are made a chunk of tokens at a time."""
    run = _Run(head, h, weights, gradients)
    theirs = _states(teacher, teacher_h)
    if len(theirs) != len(run.loss):
        raise InvalidError(f"{len(run.loss)} tokens, and the teacher has {len(theirs)}")
    call(
        lib.bc_head_divergence,
        engine.handle,
        head.handle,
        pointer("float", run.h),
        len(run.loss),
        teacher.handle,
        pointer("float", theirs),
        *run.outputs,
        flag_of(cancel),
    )
    return HeadLoss(run.loss, run.dh, run.norm)


class _Run:
    """The arrays of one call."""

    def __init__(self, head: Head, h: F32, weights: F32 | None, gradients: bool) -> None:
        self.h = _states(head, h)
        self.loss = np.zeros(len(self.h), np.float64)
        self.dh = np.empty_like(self.h) if gradients else None
        self.norm = np.zeros(head.shape[1], np.float64) if gradients else None
        self.weights = None if weights is None else np.ascontiguousarray(weights, np.float32)
        if self.weights is not None and self.weights.shape != self.loss.shape:
            raise InvalidError(f"weights of shape {self.weights.shape} for {len(self.h)} tokens")
        self.outputs = (
            ffi.NULL if self.weights is None else pointer("float", self.weights),
            pointer("double", self.loss),
            ffi.NULL if self.dh is None else pointer("float", self.dh),
            ffi.NULL if self.norm is None else pointer("double", self.norm),
        )


def _states(head: Head, h: F32) -> F32:
    states = np.ascontiguousarray(h, np.float32)
    if states.ndim != 2 or states.shape[1] != head.shape[1]:
        raise InvalidError(f"hidden states of shape {states.shape}, must be [tokens, {head.shape[1]}]")
    return states
