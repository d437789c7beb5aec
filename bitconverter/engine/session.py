"""Session: one timeline of tokens over a model; Sampler: how the next token is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitconverter.engine._handles import owned
from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.cancel import Cancel, flag_of
from bitconverter.engine.errors import InvalidError
from bitconverter.engine.model import Model

KV_TYPES = {"f16": 0, "int8": 1, "f32": 2, "int4": 3}


@dataclass(frozen=True)
class Sampler:
    """temperature 0: greedy; top_p 1, min_p 0, top_k 0, repeat_penalty 1: off. Same seed, same text."""

    temperature: float = 0.7
    top_p: float = 0.95
    min_p: float = 0.05
    top_k: int = 40
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    seed: int = 0


class Session:
    """A KV cache of `n_ctx` positions (0: the model's, at most 4096) and the work space of a forward pass.

    `kv` is how keys and values are kept: f16, int8, f32, or int4 (heads of a multiple of 32 dimensions).
    """

    def __init__(self, model: Model, n_ctx: int = 0, n_batch: int = 0, kv: str = "f16") -> None:
        if kv not in KV_TYPES:
            raise InvalidError(f"kv is {kv!r}, must be one of {', '.join(KV_TYPES)}")
        params = ffi.new("bc_session_params *", {"n_ctx": n_ctx, "n_batch": n_batch, "kv_type": KV_TYPES[kv]})
        out = ffi.new("bc_session **")
        call(lib.bc_session_open, out, model.handle, params)
        self.handle = owned(out[0], lib.bc_session_close, model.handle)
        self.model = model  # kept alive: the session reads its weights

    @property
    def n_ctx(self) -> int:
        return int(lib.bc_session_n_ctx(self.handle))

    @property
    def position(self) -> int:
        """How many tokens it holds."""
        return int(lib.bc_session_position(self.handle))

    @property
    def bytes(self) -> int:
        """Memory of KV cache and work space, touched or not."""
        return int(lib.bc_session_bytes(self.handle))

    def rewind(self, position: int) -> None:
        """Forget every token from `position` on."""
        call(lib.bc_session_rewind, self.handle, position)

    def forward(
        self,
        tokens: Sequence[int] | npt.NDArray[np.int32],
        *,
        all_positions: bool = False,
        want_logits: bool = True,
        cancel: Cancel | None = None,
    ) -> npt.NDArray[np.float32] | None:
        """Append tokens. Returns logits f32 [len(tokens) or 1, vocab], or None if not wanted.

        Raises ContextFullError when they do not fit and Cancelled on cancel; the session then
        holds what it held before.
        """
        ids = np.ascontiguousarray(tokens, dtype=np.int32)
        logits = None
        if want_logits:
            rows = len(ids) if all_positions else 1
            logits = np.empty((rows, self.model.info.vocab_size), np.float32)
        call(
            lib.bc_session_forward,
            self.handle,
            pointer("int32_t", ids),
            len(ids),
            ffi.NULL if logits is None else pointer("float", logits),
            all_positions,
            flag_of(cancel),
        )
        return logits

    def sample(self, sampler: Sampler) -> int:
        """The next token, drawn from the logits of the last position."""
        token = ffi.new("int32_t *")
        call(lib.bc_session_sample, self.handle, _params(sampler), token)
        return int(token[0])


def forward_together(
    sessions: Sequence[Session],
    tokens: Sequence[int],
    cancel: Cancel | None = None,
    *,
    want_logits: bool = True,
) -> npt.NDArray[np.float32] | None:
    """Append tokens[i] to sessions[i], different sessions of one model; logits f32 [n, vocab], or None if not wanted:
    the sessions have them, to sample from.

    The sessions read the weights together, so n texts cost much less than n calls. The logits are
    those of single calls. Raises as `Session.forward` does; then no session has another token.
    """
    ids = np.ascontiguousarray(tokens, dtype=np.int32)
    if len(ids) != len(sessions) or not sessions:
        raise InvalidError(f"{len(sessions)} sessions and {len(ids)} tokens: give one token to each")
    logits = None
    if want_logits:
        logits = np.empty((len(ids), sessions[0].model.info.vocab_size), np.float32)
    call(
        lib.bc_sessions_forward,
        ffi.new("bc_session *[]", [session.handle for session in sessions]),
        pointer("int32_t", ids),
        len(ids),
        ffi.NULL if logits is None else pointer("float", logits),
        flag_of(cancel),
    )
    return logits


def _params(sampler: Sampler) -> object:
    return ffi.new("bc_sampler_params *", vars(sampler))


def sample(
    logits: npt.NDArray[np.float32], sampler: Sampler, history: Sequence[int] = (), counter: int = 0
) -> int:
    """The same on given logits f32 [vocab]; `counter` stands for the position."""
    values = np.ascontiguousarray(logits, dtype=np.float32)
    past = np.ascontiguousarray(history, dtype=np.int32)
    token = ffi.new("int32_t *")
    call(
        lib.bc_sample,
        pointer("float", values),
        len(values),
        pointer("int32_t", past),
        len(past),
        _params(sampler),
        counter,
        token,
    )
    return int(token[0])
