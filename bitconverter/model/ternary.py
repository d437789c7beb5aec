"""Matrices that are ternary already (BitNet b1.58 and its kin): every row holds -a, 0 and +a alone.

Such a matrix is stored exactly, as one plane without a rotation (docs/FORMAT.md 1.2, form "direct"): rotated it
would not be ternary any more.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.bfloat16 import as_f32
from bitconverter.format.errors import UserError
from bitconverter.model.plan import DIRECT, PLANES, TensorPlan
from bitconverter.model.source import Source

FIRST_ROWS = 8  # looked at before a whole matrix is read
SLAB_BYTES = 64 * 1024 * 1024


def split(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]] | None:
    """values [rows, cols] (float32, float16, or uint16 holding bfloat16) as q i8 of -1, 0, 1 and scales f32 [rows]
    with values == scales[:, None] * q exactly, or None. A row of zeros has scale 0."""
    bits: Any = values.view(np.uint32 if values.dtype == np.float32 else np.uint16)
    top = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    size = bits & ~top  # |value| in order, as integers: finite values compare like their bits
    largest = size.max(axis=1)
    if not ((size == 0) | (size == largest[:, None])).all():
        return None
    q = (size != 0).astype(np.int8)
    q[(bits & top) != 0] *= -1
    return q, as_f32(largest.view(values.dtype))


def mark(plan: Iterable[TensorPlan], source: Source, check: Callable[[], None]) -> tuple[TensorPlan, ...]:
    """The plan with every matrix that is ternary already as form "direct" with one plane. Matrices that are not
    cost a look at their first rows; those that are, one reading. `check` is called in between.

    Raises UserError("bitnet-not-ternary") where one is not although the source says that all are: such weights are
    made ternary only when that model runs, and rounding them in any other way gives another model."""
    marked = []
    for tensor in plan:
        if tensor.form == PLANES and _is_ternary(tensor, source, check):
            tensor = replace(tensor, form=DIRECT, n_planes=1)
        elif tensor.form == PLANES and source.declared_ternary:
            raise UserError(
                "bitnet-not-ternary",
                f"config.json says that this is a BitNet model, but {tensor.name} is not ternary: it holds the weights "
                "of the training, which that model rounds while it runs. Choose a version whose stored weights are "
                "ternary.",
                tensor=tensor.name,
            )
        marked.append(tensor)
    return tuple(marked)


def zeros(plan: Iterable[TensorPlan], source: Source, check: Callable[[], None]) -> frozenset[str]:
    """The matrices of a marked plan that hold nothing but zeros. Others cost a look at their first rows."""
    return frozenset(t.name for t in plan if t.form == DIRECT and _is_zero(t, source, check))


def _is_zero(tensor: TensorPlan, source: Source, check: Callable[[], None]) -> bool:
    for start, stop in _slabs(tensor, source):
        check()
        found = split(source.read_rows(tensor.name, start, stop))
        if found is None or found[0].any():
            return False
    return True


def _slabs(tensor: TensorPlan, source: Source) -> Iterator[tuple[int, int]]:
    """(start, stop) of the first rows and then of all others, SLAB_BYTES at a time."""
    rows, step = tensor.shape[0], source.slab_rows(tensor.name, SLAB_BYTES)
    edges = [0, min(FIRST_ROWS, rows), *range(FIRST_ROWS + step, rows, step), rows]
    return ((start, stop) for start, stop in itertools.pairwise(edges) if start < stop)


def _is_ternary(tensor: TensorPlan, source: Source, check: Callable[[], None]) -> bool:
    """An all-zero matrix counts; one with an infinity or NaN does not (the conversion refuses it)."""
    for start, stop in _slabs(tensor, source):
        check()
        found = split(source.read_rows(tensor.name, start, stop))
        if found is None or not np.isfinite(found[1]).all():
            return False
    return True
