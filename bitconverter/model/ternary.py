"""Matrices that are ternary already (BitNet b1.58 and its kin): every row holds -a, 0 and +a alone.

Such a matrix is stored exactly, as one plane without a rotation (docs/FORMAT.md 1.2, form "direct"): rotated it
would not be ternary any more.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.format.bfloat16 import as_f32
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
    cost a look at their first rows; those that are, one reading. `check` is called in between."""
    return tuple(
        replace(tensor, form=DIRECT, n_planes=1)
        if tensor.form == PLANES and _is_ternary(tensor, source, check)
        else tensor
        for tensor in plan
    )


def _is_ternary(tensor: TensorPlan, source: Source, check: Callable[[], None]) -> bool:
    """An all-zero matrix counts; one with an infinity or NaN does not (the conversion refuses it)."""
    rows, step = tensor.shape[0], source.slab_rows(tensor.name, SLAB_BYTES)
    edges = [0, min(FIRST_ROWS, rows), *range(FIRST_ROWS + step, rows, step), rows]
    for start, stop in itertools.pairwise(edges):
        if start >= stop:
            continue
        check()
        found = split(source.read_rows(tensor.name, start, stop))
        if found is None or not np.isfinite(found[1]).all():
            return False
    return True
