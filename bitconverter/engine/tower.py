"""Tower: blocks one above the other on a graphics card, for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitconverter.engine._handles import owned
from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.block import Block
from bitconverter.engine.cancel import Cancel, flag_of
from bitconverter.engine.errors import InvalidError, NoRoomError, OutOfMemoryError
from bitconverter.engine.gradients import BlockGradients, Head, HeadLoss
from bitconverter.engine.model import MATRICES

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TowerParams:
    """`device`: its number; `n_blocks`: how many at most, the last ones, -1 for all that fit; `tokens`: of the windows
    of a call, or of each of its `replicas`, at most; `back`: backward() will be called; `memory_limit`: bytes that the
    driver may count for it all, 0 for what is free; `head`: one of int8 codes, to be there too where it fits."""

    device: int = 0
    n_blocks: int = -1
    tokens: int = 1024
    replicas: int = 1
    back: bool = False
    memory_limit: int = 0
    head: Head | None = None


class Tower:
    """The last of `blocks` (consecutive layers of one model, of one engine with an open backend) that fit on a device:
    `blocks` are those that are there, `head` is None if it is not. `bytes`: what it takes there; `all_bytes`: what all
    would; `room_bytes`: what there was for it.

    Row scales and low-rank additions are read from the blocks' arrays in every call; their planes, biases and norms are
    copied once. Raises NoRoomError when not one block fits, UnsupportedError for what is trained on the processor only:
    matrices that are not planes, and whole matrices that are added.
    """

    def __init__(self, blocks: Sequence[Block], params: TowerParams) -> None:
        out, size = ffi.new("bc_tower **"), ffi.new("bc_tower_size *")
        native = ffi.new(
            "bc_tower_params *", {**vars(params), "head": (params.head and params.head.handle) or ffi.NULL}
        )
        handles = ffi.new("bc_block *[]", [block.handle for block in blocks])
        try:
            call(lib.bc_tower_open, out, handles, len(blocks), native, size)
        except OutOfMemoryError as error:
            if size.n_blocks or not size.all_bytes:  # it fitted, or nothing was tried
                raise
            raise NoRoomError(str(error), error.status, size.all_bytes, size.room_bytes) from error
        self.engine = blocks[0].engine
        self.handle = owned(out[0], lib.bc_tower_close, self.engine.handle)
        self.blocks = tuple(blocks[len(blocks) - size.n_blocks :])
        self.head = params.head if size.head else None
        self.bytes, self.all_bytes, self.room_bytes = size.bytes, size.all_bytes, size.room_bytes

    def windows(
        self,
        x: F32,
        lengths: npt.NDArray[np.int32],
        scales: Sequence[Mapping[str, F32]] | None = None,
        cancel: Cancel | None = None,
        keep: bool = False,
    ) -> None:
        """Block.windows() of every block in turn: x f32 [sum of lengths, hidden] is replaced. `scales` of each block,
        for all MATRICES or none. `keep`: backward() follows. Raises Cancelled; x is then partly replaced."""
        counts = np.ascontiguousarray(lengths, np.int32)
        hidden = self.blocks[0].hidden_size
        if counts.ndim != 1 or x.dtype != np.float32 or x.shape != (int(counts.sum()), hidden):
            raise InvalidError(f"x is {x.dtype} {x.shape}, must be float32 [sum of lengths, {hidden}]")
        if not (x.flags.c_contiguous and x.flags.writeable):
            raise InvalidError("x must be C-contiguous and writable")
        rows, replicas = self._scales(scales)
        table = ffi.NULL if rows is None else ffi.new("float *[]", [pointer("float", row) for row in rows])
        call(
            lib.bc_tower_windows,
            self.handle,
            pointer("float", x),
            pointer("int32_t", counts),
            len(counts),
            table,
            replicas,
            keep,
            flag_of(cancel),
        )

    def backward(
        self, dy: F32, to: Sequence[BlockGradients], cancel: Cancel | None = None, coarse: bool = False
    ) -> None:
        """Block.backward() of every block in reverse, after windows(keep=True): dy f32 [tokens, hidden] of the output
        becomes that of the input. `to`, one of each block, takes gains and low-rank additions, nothing else."""
        if len(to) != len(self.blocks):
            raise InvalidError(f"{len(to)} gradients for {len(self.blocks)} blocks")
        if dy.dtype != np.float32 or not (dy.flags.c_contiguous and dy.flags.writeable):
            raise InvalidError("dy must be float32, C-contiguous and writable")
        for sums in to:
            sums.struct.kept, sums.struct.coarse = ffi.NULL, coarse
        structs = ffi.new("bc_block_grads *[]", [sums.struct for sums in to])
        call(lib.bc_tower_backward, self.handle, pointer("float", dy), structs, flag_of(cancel))

    def cross_entropy(
        self,
        h: F32,
        targets: npt.NDArray[np.int32],
        weights: F32 | None = None,
        *,
        gradients: bool = True,
        cancel: Cancel | None = None,
    ) -> HeadLoss:
        """head_cross_entropy() with the tower's head, without the gradient of its norm. gradients: of a tower that was
        opened with `back`."""
        if self.head is None:
            raise InvalidError("this tower has no head")
        states, wanted = np.ascontiguousarray(h, np.float32), np.ascontiguousarray(targets, np.int32)
        if states.ndim != 2 or states.shape[1] != self.head.shape[1] or wanted.shape != states.shape[:1]:
            raise InvalidError(f"hidden states of shape {states.shape} and targets of {wanted.shape}")
        sizes = None if weights is None else np.ascontiguousarray(weights, np.float32)
        if sizes is not None and sizes.shape != wanted.shape:
            raise InvalidError(f"weights of shape {sizes.shape} for {len(states)} tokens")
        loss, hits = np.zeros(len(states), np.float64), np.zeros(len(states), np.int32)
        dh = np.empty_like(states) if gradients else None
        call(
            lib.bc_tower_cross_entropy,
            self.handle,
            pointer("float", states),
            len(states),
            pointer("int32_t", wanted),
            ffi.NULL if sizes is None else pointer("float", sizes),
            pointer("double", loss),
            ffi.NULL if dh is None else pointer("float", dh),
            pointer("int32_t", hits),
            flag_of(cancel),
        )
        return HeadLoss(loss, dh, None, hits)

    def _scales(self, scales: Sequence[Mapping[str, F32]] | None) -> tuple[list[F32] | None, int]:
        """By block and matrix, and how many replicas they are of."""
        if scales is None:
            return None, 1
        rows: list[F32] = []
        for block, given in zip(self.blocks, scales, strict=True):
            for matrix in MATRICES:
                row = np.ascontiguousarray(given[matrix], np.float32)
                if row.ndim != 2 or row.shape != (
                    len(rows[0]) if rows else len(row),
                    block.shapes[matrix][0],
                ):
                    raise InvalidError(f"scales of shape {row.shape} for {matrix} of {block.shapes[matrix]}")
                rows.append(row)
        return rows, len(rows[0])
