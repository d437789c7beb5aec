"""Block: one decoder layer on its own, with the caller's weights."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bitconverter.engine._handles import owned
from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.cancel import Cancel, flag_of
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError
from bitconverter.engine.gradients import BlockGradients
from bitconverter.engine.model import MATRICES, check_config, lora_pair, matrix_shapes
from bitconverter.engine.quantize import DTYPES, ROWS_PER_BYTE, Matrix

F32 = npt.NDArray[np.float32]

CAPTURES = ("qkv", "o", "mlp", "down")  # the four different inputs of the seven matrices


class Block:
    """Layer `layer` of the model that a config.json describes, run on sequences of `window` tokens.

    It has no weights at first: set all seven matrices and the norms, then call forward(). Arrays are not
    copied but kept and read by every forward(), so do not change them in between. `shapes` holds [rows, cols]
    of every matrix, `widths` the columns of every input of CAPTURES, `norms` the lengths of the norms' weights.

    A matrix needs a bias exactly where the family has one. Keys and values are kept in f32. `kept_columns`: floats of a
    token that windows() can keep for backward().
    """

    def __init__(self, engine: Engine, config_json: bytes, layer: int, window: int) -> None:
        out = ffi.new("bc_block **")
        call(
            lib.bc_block_open,
            out,
            engine.handle,
            ffi.from_buffer(config_json),
            len(config_json),
            layer,
            window,
        )
        self.handle = owned(out[0], lib.bc_block_close, engine.handle)
        self.engine = engine
        self.window = window
        info = check_config(config_json)
        hidden, mlp = info.hidden_size, info.intermediate_size
        q = info.n_heads * info.head_dim
        self.hidden_size = hidden
        self.head_dim = info.head_dim
        heads = {"q_norm": info.head_dim, "k_norm": info.head_dim} if info.qk_norm else {}
        self.norms: dict[str, int] = {"attn_norm": hidden, "mlp_norm": hidden} | heads
        self.shapes = matrix_shapes(info)
        self.widths: dict[str, int] = {"qkv": hidden, "o": q, "mlp": hidden, "down": mlp}
        self.kept_columns = int(lib.bc_block_kept_columns(self.handle))
        self._borrowed: dict[str, object] = {}
        self._ranks: dict[str, int] = {}

    def set_dense(self, name: str, weights: Matrix, bias: F32 | None = None) -> None:
        """Matrix `name` (of MATRICES): weights [rows, cols] as float32, float16, or uint16 holding bfloat16;
        bias f32 [rows]. A C-contiguous array is kept, not copied."""
        shape = self._shape(name)
        if weights.shape != shape or weights.dtype not in DTYPES:
            raise InvalidError(
                f"{name} is {weights.dtype} {weights.shape}, must be {shape} of f32, f16 or bf16"
            )
        matrix = np.ascontiguousarray(weights)
        vector = _vector(bias, shape[0], f"bias of {name}")
        call(
            lib.bc_block_set_dense,
            self.handle,
            MATRICES.index(name),
            ffi.from_buffer(matrix),
            DTYPES[matrix.dtype],
            _or_null(vector),
        )
        self._borrowed[name] = (matrix, vector)

    def set_planes(
        self, name: str, planes: npt.NDArray[np.uint8], scales: F32, *, seed: int, bias: F32 | None = None
    ) -> None:
        """Matrix `name` as planes u8 [n_planes, ceil(rows/5), cols] of the rotation `seed` and scales f32
        [rows]: forward() then rounds this matrix's input as the converted model does. Matrices with one input
        (q, k, v; gate, up) need one seed."""
        rows, cols = self._shape(name)
        packed = np.ascontiguousarray(planes, dtype=np.uint8)
        if packed.ndim != 3 or packed.shape[1:] != (-(-rows // ROWS_PER_BYTE), cols):
            raise InvalidError(f"planes of shape {packed.shape} for {name} of {(rows, cols)}")
        gains = _vector(scales, rows, f"scales of {name}")
        vector = _vector(bias, rows, f"bias of {name}")
        call(
            lib.bc_block_set_planes,
            self.handle,
            MATRICES.index(name),
            pointer("uint8_t", packed),
            _or_null(gains),
            len(packed),
            seed,
            _or_null(vector),
        )
        self._borrowed[name] = (packed, gains, vector)

    def set_lora(self, name: str, a: F32 | None, b: F32 | None = None) -> None:
        """Add B (A x) to matrix `name`: a f32 [rank, cols] and b f32 [rank, rows], which is B transposed; None: take it
        off. Set after the matrix itself. C-contiguous arrays are kept: what changes in them shows in the next call."""
        rows, cols = self._shape(name)
        pair = lora_pair(a, b, rows, cols)
        rank = 0 if pair is None else len(pair[0])
        pointers = (ffi.NULL, ffi.NULL) if pair is None else tuple(pointer("float", part) for part in pair)
        call(lib.bc_block_set_lora, self.handle, MATRICES.index(name), *pointers, rank)
        self._borrowed[f"lora of {name}"] = pair
        self._ranks[name] = rank

    def lora(self, name: str) -> tuple[F32, F32] | None:
        """The arrays of set_lora(), which the block reads in every call; None: nothing is added."""
        return cast("tuple[F32, F32] | None", self._borrowed.get(f"lora of {name}"))

    def set_delta(self, name: str, delta: F32 | None) -> None:
        """Add D x to matrix `name`: delta f32 [rows, cols]; None: take it off. Set after the matrix itself. A
        C-contiguous array is kept: what changes in it shows in the next call."""
        shape = self._shape(name)
        if delta is not None and (delta.shape != shape or delta.dtype != np.float32):
            raise InvalidError(
                f"{delta.dtype} {delta.shape} cannot be added to {name}: it must be float32 {shape}"
            )
        kept = None if delta is None else np.ascontiguousarray(delta)
        call(lib.bc_block_set_delta, self.handle, MATRICES.index(name), _or_null(kept))
        self._borrowed[f"delta of {name}"] = kept

    def set_norms(
        self, attn_norm: F32, mlp_norm: F32, q_norm: F32 | None = None, k_norm: F32 | None = None
    ) -> None:
        """RMSNorm weights f32 [hidden], [hidden], and [head_dim], [head_dim] where the family has them."""
        vectors = (
            _vector(attn_norm, self.hidden_size, "attn_norm"),
            _vector(mlp_norm, self.hidden_size, "mlp_norm"),
            _vector(q_norm, self.head_dim, "q_norm"),
            _vector(k_norm, self.head_dim, "k_norm"),
        )
        call(lib.bc_block_set_norms, self.handle, *map(_or_null, vectors))
        self._borrowed["norms"] = vectors

    def forward(
        self,
        x: F32,
        capture: Sequence[str] = CAPTURES,
        cancel: Cancel | None = None,
        into: Mapping[str, F32] | None = None,
    ) -> dict[str, F32]:
        """Replace hidden states x f32 [windows, window, hidden] by the layer's output, in place; every window
        is a sequence of its own, from position 0.

        Returns the inputs of the matrices that `capture` (of CAPTURES) names, unrotated and not rounded: f32
        [windows * window, widths[name]]. They lie in the arrays of `into` where it has them (what an earlier
        call returned: fresh memory is slow). Raises Cancelled on cancel; x is then partly replaced.
        """
        self._check_states(x, "x", changed=True)
        unknown = [name for name in capture if name not in CAPTURES]
        if unknown:
            raise InvalidError(f"capture {unknown[0]!r} is not one of {', '.join(CAPTURES)}")
        tokens = x.shape[0] * x.shape[1]
        captured = {name: self._captured(name, tokens, (into or {}).get(name)) for name in capture}
        call(
            lib.bc_block_forward,
            self.handle,
            pointer("float", x),
            x.shape[0],
            *(_or_null(captured.get(name)) for name in CAPTURES),
            flag_of(cancel),
        )
        return captured

    def attention(self, x: F32, cancel: Cancel | None = None) -> None:
        """The first half of forward(): what attention adds is added to x, in place. Raises Cancelled; x is then
        partly replaced."""
        self._half(lib.bc_block_attention, x, cancel)

    def mlp(self, x: F32, cancel: Cancel | None = None) -> None:
        """The second half of forward(), behind attention()."""
        self._half(lib.bc_block_mlp, x, cancel)

    def _half(self, function: Any, x: F32, cancel: Cancel | None) -> None:
        self._check_states(x, "x", changed=True)
        call(function, self.handle, pointer("float", x), x.shape[0], flag_of(cancel))

    def input(self, x: F32, name: str, cancel: Cancel | None = None, into: F32 | None = None) -> F32:
        """One of the inputs of CAPTURES, f32 [windows * window, widths[name]], in `into` if given, for hidden states x
        as forward() takes them; for "mlp" and "down" as attention() leaves them. x is not changed; the layer runs only
        as far as that input needs, so weights behind it do not matter. Raises Cancelled."""
        self._check_states(x, "x", changed=False)
        if name not in CAPTURES:
            raise InvalidError(f"capture {name!r} is not one of {', '.join(CAPTURES)}")
        out = self._captured(name, x.shape[0] * x.shape[1], into)
        call(
            lib.bc_block_input,
            self.handle,
            pointer("float", x),
            x.shape[0],
            CAPTURES.index(name),
            pointer("float", out),
            flag_of(cancel),
        )
        return out

    def windows(
        self,
        x: F32,
        lengths: npt.NDArray[np.int32],
        scales: Mapping[str, F32] | None = None,
        cancel: Cancel | None = None,
        kept: F32 | None = None,
        lora: Mapping[str, tuple[F32, F32]] | None = None,
        delta: Mapping[str, F32] | None = None,
    ) -> None:
        """As forward(), for windows of `lengths` i32 [windows] tokens, 1 to `window` each, one after the other: x f32
        [sum of lengths, hidden] is replaced.

        `scales` by matrix name (planes), f32 [replicas, rows]: the windows are then so many equal shares, and each has
        its row of scales in place of the matrix's own. `lora` f32 [replicas, rank, cols] and [replicas, rank, rows],
        and `delta` f32 [replicas, rows, cols], are the same for what set_lora() and set_delta() set. They share the
        planes and their decoding. In `kept` f32 [sum of lengths, kept_columns], if given, remains what backward() would
        compute again, and x (kept_input()).
        """
        counts = np.ascontiguousarray(lengths, np.int32)
        own = self._of_replicas(scales or {}, lora or {}, delta or {})
        replicas = {len(array) for arrays in own.values() for array in arrays.values()} or {1}
        if len(replicas) > 1:
            raise InvalidError(f"arrays of {sorted(replicas)} replicas in one call")
        self._check_packed(x, counts, "x", changed=True)
        self._check_kept(kept, len(x))
        table = ffi.new("bc_matrix_replicas[]", len(MATRICES))
        for name, arrays in own.items():
            for part, array in arrays.items():
                setattr(table[MATRICES.index(name)], part, pointer("float", array))
        call(
            lib.bc_block_windows,
            self.handle,
            pointer("float", x),
            pointer("int32_t", counts),
            len(counts),
            table if own else ffi.NULL,
            replicas.pop(),
            _or_null(kept),
            flag_of(cancel),
        )

    def _of_replicas(
        self, scales: Mapping[str, F32], lora: Mapping[str, tuple[F32, F32]], delta: Mapping[str, F32]
    ) -> dict[str, dict[str, F32]]:
        """By matrix and member of bc_matrix_replicas: C-contiguous arrays of the right shape."""
        own: dict[str, dict[str, F32]] = {}

        def add(name: str, part: str, array: F32, *shape: int) -> None:
            floats = np.ascontiguousarray(array, np.float32)
            if floats.ndim != len(shape) + 1 or floats.shape[1:] != shape or len(floats) == 0:
                raise InvalidError(f"{part} of shape {array.shape} for {name} of {self._shape(name)}")
            own.setdefault(name, {})[part] = floats

        for name, array in scales.items():
            add(name, "scales", array, self._shape(name)[0])
        for name, pair in lora.items():
            (rows, cols), rank = self._shape(name), self._ranks.get(name, 0)
            add(name, "lora_a", pair[0], rank, cols)
            add(name, "lora_b", pair[1], rank, rows)
        for name, array in delta.items():
            add(name, "delta", array, *self._shape(name))
        return own

    def kept_input(self, kept: F32) -> F32:
        """The x of windows(), f32 [sum of lengths, hidden], in what it kept."""
        self._check_kept(kept, len(kept))
        return kept.reshape(-1)[: len(kept) * self.hidden_size].reshape(len(kept), self.hidden_size)

    def gradients(
        self, want: Sequence[str], tokens: int = 0, matrices: Sequence[str] = MATRICES,
        dy_of: Sequence[str] = MATRICES,
    ) -> BlockGradients:  # fmt: skip
        """Zeroed arrays for backward(); `tokens` of one call, where something per token is wanted."""
        return BlockGradients(
            self.shapes, self.norms, self.widths, want, tokens, matrices, self._ranks, dy_of
        )

    def backward(
        self,
        x: F32,
        dy: F32,
        to: BlockGradients | None = None,
        cancel: Cancel | None = None,
        lengths: npt.NDArray[np.int32] | None = None,
        kept: F32 | None = None,
        coarse: bool = False,
    ) -> None:
        """Replace dy f32 [windows, window, hidden], the gradient with respect to this layer's output, by that with
        respect to its input x (the same shape), in place. `to` (of gradients()) takes what else is wanted. With
        `lengths`, x and dy are packed as in windows().

        The forward pass is computed again inside, unless `kept` is what windows() kept of this x with the weights as
        they are: the same bits. `coarse`: gradients pass planes as integers of 8 bits and not of 16, which takes half
        the time there (docs/MODEL.md, "Gradients"). The rounding of inputs to int8 before planes counts as the
        identity.
        Raises Cancelled on cancel; dy and `to` are then partly changed.
        """
        if lengths is None:
            counts = np.full(len(x), self.window, np.int32)
            self._check_states(x, "x", changed=False)
            self._check_states(dy, "dy", changed=True)
        else:
            counts = np.ascontiguousarray(lengths, np.int32)
            self._check_packed(x, counts, "x", changed=False)
            self._check_packed(dy, counts, "dy", changed=True)
        if x.shape != dy.shape or np.shares_memory(x, dy):
            raise InvalidError(f"x of shape {x.shape} and dy of {dy.shape} must be two arrays of one shape")
        if to is not None and (to.shapes, to.norm_lengths) != (self.shapes, self.norms):
            raise InvalidError("these gradients were made for a layer of other shapes")
        if to is not None and any(len(a) != self._ranks.get(name, 0) for name, (a, _) in to.lora.items()):
            raise InvalidError("these gradients were made for additions of other ranks")
        if to is not None and to.tokens not in (None, int(counts.sum())):
            raise InvalidError(f"gradients for {to.tokens} tokens, and x has {counts.sum()}")
        self._check_kept(kept, int(counts.sum()))
        struct = ffi.new("bc_block_grads *") if to is None else to.struct
        struct.kept, struct.coarse = _or_null(kept), coarse
        call(
            lib.bc_block_backward,
            self.handle,
            pointer("float", x),
            pointer("float", dy),
            len(counts),
            pointer("int32_t", counts),
            struct,
            flag_of(cancel),
        )

    def _check_states(self, x: F32, name: str, changed: bool) -> None:
        if x.dtype != np.float32 or x.ndim != 3 or x.shape[1:] != (self.window, self.hidden_size):
            raise InvalidError(
                f"{name} is {x.dtype} {x.shape}, must be float32 [windows, {self.window}, {self.hidden_size}]"
            )
        if changed and not (x.flags.c_contiguous and x.flags.writeable):
            raise InvalidError(f"{name} is changed in place: it must be C-contiguous and writable")
        if not x.flags.c_contiguous:
            raise InvalidError(f"{name} must be C-contiguous")

    def _check_packed(self, x: F32, lengths: npt.NDArray[np.int32], name: str, changed: bool) -> None:
        if lengths.ndim != 1 or x.dtype != np.float32 or x.shape != (int(lengths.sum()), self.hidden_size):
            raise InvalidError(
                f"{name} is {x.dtype} {x.shape}, must be float32 [sum of lengths, {self.hidden_size}]"
            )
        if not (x.flags.c_contiguous and (x.flags.writeable or not changed)):
            raise InvalidError(f"{name} must be C-contiguous{' and writable' if changed else ''}")

    def _check_kept(self, kept: F32 | None, tokens: int) -> None:
        wanted = (tokens, self.kept_columns)
        if kept is not None and (kept.dtype != np.float32 or kept.shape != wanted):
            raise InvalidError(f"what is kept is {kept.dtype} {kept.shape}, must be float32 {wanted}")
        if kept is not None and not (kept.flags.c_contiguous and kept.flags.writeable):
            raise InvalidError("what is kept must be C-contiguous and writable")

    def _captured(self, name: str, tokens: int, given: F32 | None) -> F32:
        shape = (tokens, self.widths[name])
        if given is None:
            return np.empty(shape, np.float32)
        if given.shape != shape or given.dtype != np.float32:
            raise InvalidError(
                f"the array for {name} is {given.dtype} {given.shape}, must be float32 {shape}"
            )
        if not (given.flags.c_contiguous and given.flags.writeable):
            raise InvalidError(f"the array for {name} must be C-contiguous and writable")
        return given

    def _shape(self, name: str) -> tuple[int, int]:
        if name not in self.shapes:
            raise InvalidError(f"matrix {name!r} is not one of {', '.join(MATRICES)}")
        return self.shapes[name]


def _vector(values: F32 | None, length: int, what: str) -> F32 | None:
    if values is None:
        return None
    if values.shape != (length,):
        raise InvalidError(f"{what} has shape {values.shape}, must be ({length},)")
    return np.ascontiguousarray(values, dtype=np.float32)


def _or_null(array: F32 | None) -> object:
    return ffi.NULL if array is None else pointer("float", array)
