"""What every calibrated way of rounding a matrix has in common: the weighted start, scales, sums of squares."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel, Engine, quantize_planes
from bitconverter.jobs.convert_tensor import (
    F16_MAX,
    F16_MIN,
    Fitted,
    Quantized,
    direct_planes,
    dtype_of,
    storable,
)
from bitconverter.jobs.layer_reader import LayerWeights
from bitconverter.model.plan import TensorPlan

F32 = npt.NDArray[np.float32]

ROWS = 256  # worked on at a time


def weighted_start(
    engine: Engine, values: npt.NDArray[Any], n_planes: int, importance: F32, seed: int, cancel: Cancel
) -> tuple[npt.NDArray[np.uint8], F32, bool]:
    """Planes and scales f32 [rows] of values [rows, cols], columns weighted by importance f32 [cols] (rotated basis);
    whether the scales need f32: they are f16 values if f16 can hold all of them (as in convert_tensor)."""

    def quantized(exact: bool) -> Quantized:
        return quantize_planes(
            engine, values, seed=seed, n_planes=n_planes, importance=importance, exact_scales=exact, cancel=cancel
        )  # fmt: skip

    (planes, scales, _), exact = storable(quantized)
    return planes, scales, exact


def kept_exactly(engine: Engine, plan: TensorPlan, weight: LayerWeights) -> Fitted:
    """A matrix that is ternary already."""
    planes, scales, squares = direct_planes(engine, weight.values, plan.name)
    return Fitted(planes, scales, dtype_of(scales), 0.0, squares, 0.0, 0.0, weight.sha256)


def as_f16_scales(scales: npt.NDArray[np.float64]) -> F32:
    """The nearest values that an F16 holds without loss."""
    return np.clip(scales, F16_MIN, F16_MAX).astype(np.float16).astype(np.float32)


def as_f32_scales(scales: npt.NDArray[np.float64]) -> F32:
    return scales.astype(np.float32)


def squares(
    w: F32, q: npt.NDArray[np.int8], scales: F32, importance: F32 | None = None
) -> tuple[float, float]:
    """Sums of the squares of the error w - scales q and of w, f32 [rows, cols], columns weighted by `importance`."""
    error = weight = 0.0
    for start in range(0, len(w), ROWS):
        rows = slice(start, start + ROWS)
        e = w[rows] - scales[rows, None] * q[rows]
        error += _weighted_squares(e, importance)
        weight += _weighted_squares(w[rows], importance)
    return error, weight


def _weighted_squares(x: F32, importance: F32 | None) -> float:
    by_column = np.einsum("rc,rc->c", x, x, dtype=np.float64)
    return float(by_column.sum() if importance is None else by_column @ importance)
