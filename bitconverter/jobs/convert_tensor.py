"""One tensor's way from the source into the weight file."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitconverter.engine import Cancel, Engine, planes_pack, quantize_int8, quantize_planes
from bitconverter.format.errors import UserError
from bitconverter.format.weight_file import Part, WeightFile
from bitconverter.model import ternary
from bitconverter.model.plan import DENSE, DIRECT, INT8, TensorPlan, stored_parts
from bitconverter.model.source import Source

SLAB_BYTES = 64 * 1024 * 1024  # of float32, for the matrices that are read in pieces
F16_MIN, F16_MAX = 2.0**-14, 65504.0  # the scales an F16 holds without loss (docs/FORMAT.md 1.2)
Written = tuple[list[Part], float, float]  # and the sums of squares: of the error, of the weights
_DTYPE_NAMES = {"uint16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True)
class Fitted:
    """A rounded matrix as it is stored. squared_error and squared_weight: plain sums of squares; output_error: of
    its outputs on the calibration text, relative, and start_error the same before the calibrated steps."""

    planes: np.ndarray
    scales: np.ndarray
    scales_dtype: str
    squared_error: float
    squared_weight: float
    output_error: float
    start_error: float
    source_sha256: str


class TensorConverter:
    """Converts tensors by their plan; everything about a tensor's result is in its `record`."""

    def __init__(
        self, source: Source, engine: Engine, weights: WeightFile, seed: int, cancel: Cancel
    ) -> None:
        self._source = source
        self._engine = engine
        self._weights = weights
        self._seed = seed
        self._cancel = cancel
        self.record: dict[str, Any] = {}

    def steps(self, plan: TensorPlan) -> Iterator[float]:
        """Write the tensor's parts (not yet synced), yielding how much of it is done, 0 to 1.

        When it ends, `record` is the tensor's journal record. Raises UserError for a weight that is not a
        finite number or too large to be rounded, Cancelled.
        """
        yield 0.0
        sha = hashlib.sha256()
        self.record = {"name": plan.name, "form": plan.form}
        if plan.form == DENSE:
            parts = [self._dense(plan, sha)]
        else:
            if plan.form == DIRECT:
                parts, error, weight = self._direct(plan, sha)
            elif plan.form == INT8:
                parts, error, weight = yield from self._int8(plan, sha)
            else:
                parts, error, weight = self._planes(plan, sha)
            _need_sums(plan, error, weight)
            self.record |= {"n_planes": plan.n_planes, "squared_error": error, "squared_weight": weight}
        self.record |= {"source_sha256": sha.hexdigest(), "parts": [part.record() for part in parts]}
        yield 1.0

    def put(self, plan: TensorPlan, fitted: Fitted) -> None:
        """Write a matrix that calibration has rounded; then `record` is its journal record.

        Raises UserError("weight-too-large").
        """
        _need_sums(plan, fitted.squared_error, fitted.squared_weight)
        (planes_name, planes_shape), (scales_name, scales_shape) = stored_parts(plan)
        dtype = fitted.scales_dtype
        parts = [
            self._weights.write(planes_name, "U8", planes_shape, fitted.planes),
            self._weights.write(scales_name, dtype, scales_shape, _as(fitted.scales, dtype)),
        ]
        self.record = {
            "name": plan.name, "form": plan.form, "n_planes": plan.n_planes,
            "squared_error": fitted.squared_error, "squared_weight": fitted.squared_weight,
            "output_error": fitted.output_error, "start_error": fitted.start_error,
            "source_sha256": fitted.source_sha256, "parts": [part.record() for part in parts],
        }  # fmt: skip

    def _dense(self, plan: TensorPlan, sha: Any) -> Part:
        values = self._read(plan, 0, plan.shape[0], sha)
        return self._weights.write(plan.name, _DTYPE_NAMES[values.dtype.name], plan.shape, values)

    def _planes(self, plan: TensorPlan, sha: Any) -> Written:
        values = self._read_whole(plan, sha)
        planes, scales, error, dtype = self._fit_planes(plan, values)
        (planes_name, planes_shape), (scales_name, scales_shape) = stored_parts(plan)
        parts = [
            self._weights.write(planes_name, "U8", planes_shape, planes),
            self._weights.write(scales_name, dtype, scales_shape, _as(scales, dtype)),
        ]
        return parts, float(error[0]), float(error[1])

    def _direct(self, plan: TensorPlan, sha: Any) -> Written:
        """A matrix that is ternary already, as it is."""
        planes, scales, weight = direct_planes(self._engine, self._read_whole(plan, sha), plan.name)
        (planes_name, planes_shape), (scales_name, scales_shape) = stored_parts(plan)
        dtype = dtype_of(scales)
        parts = [
            self._weights.write(planes_name, "U8", planes_shape, planes),
            self._weights.write(scales_name, dtype, scales_shape, _as(scales, dtype)),
        ]
        return parts, 0.0, weight

    def _fit_planes(self, plan: TensorPlan, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any, str]:
        """(planes, scales, errors, dtype of the scales)"""
        fitted, exact = storable(lambda exact: self._quantize(plan, values, exact))
        return *fitted, "F32" if exact else "F16"

    def _quantize(
        self, plan: TensorPlan, values: np.ndarray, exact: bool
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        return quantize_planes(
            self._engine, values, seed=self._seed, n_planes=plan.n_planes, importance=None,
            exact_scales=exact, cancel=self._cancel,
        )  # fmt: skip

    def _int8(self, plan: TensorPlan, sha: Any) -> Generator[float, None, Written]:
        """In slabs of rows: such a matrix may be large, and its rows are independent."""
        (codes_name, codes_shape), (scales_name, scales_shape) = stored_parts(plan)
        scales: list[np.ndarray] = []
        errors: list[tuple[float, float]] = []
        rows, step = plan.shape[0], self._source.slab_rows(plan.name, SLAB_BYTES)
        with self._weights.part(codes_name, "I8", codes_shape) as part:
            for start in range(0, rows, step):
                self._cancel.check()
                values = self._read(plan, start, min(start + step, rows), sha)
                codes, slab_scales, error = quantize_int8(
                    self._engine, values, seed=self._seed, cancel=self._cancel
                )
                part.append(codes)
                scales.append(slab_scales)
                errors.append(error)
                yield (start + len(values)) / rows
        column = np.concatenate(scales)
        dtype = "F16" if _is_f16(column) else "F32"
        parts = [part.written, self._weights.write(scales_name, dtype, scales_shape, _as(column, dtype))]
        return parts, math.fsum(e for e, _ in errors), math.fsum(w for _, w in errors)

    def _read_whole(self, plan: TensorPlan, sha: Any) -> np.ndarray:
        """All rows, read in slabs so that a cancel is heard: dequantizing a large matrix takes seconds."""
        rows, step = plan.shape[0], self._source.slab_rows(plan.name, SLAB_BYTES)
        first = self._read(plan, 0, min(step, rows), sha)
        if step >= rows:
            return first
        values = np.empty(plan.shape, first.dtype)
        values[:step] = first
        for start in range(step, rows, step):
            self._cancel.check()
            values[start : start + step] = self._read(plan, start, min(start + step, rows), sha)
        return values

    def _read(self, plan: TensorPlan, start: int, stop: int, sha: Any) -> np.ndarray:
        values = self._source.read_rows(plan.name, start, stop, sha)
        if not finite(values):
            raise UserError(
                "weight-not-finite",
                f"Tensor {plan.name} holds values that are not numbers (NaN or infinity), so the source is damaged. "
                "Download the model again.",
                tensor=plan.name,
            )
        return values


def _need_sums(plan: TensorPlan, error: float, weight: float) -> None:
    """Finite weights may still be so large that what they are rotated to is not."""
    if not (math.isfinite(error) and math.isfinite(weight)):
        raise UserError(
            "weight-too-large",
            f"Tensor {plan.name} holds numbers that are too large to be rounded (near 3e38), so the source is damaged. "
            "Download the model again.",
            tensor=plan.name,
        )


def direct_planes(engine: Engine, values: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(planes u8, scales f32, sum of squares) of a matrix that is ternary already; it must be."""
    found = ternary.split(values)
    if found is None:  # the plan was made from the same bytes: the source was changed while it is read
        raise UserError(
            "source-changed",
            f"Tensor {name} has changed while it was read. Leave the source alone and start again.",
            folder=name,
        )
    q, scales = found
    weight = float((np.square(scales, dtype=np.float64) * np.count_nonzero(q, axis=1)).sum())
    return planes_pack(engine, q, 1), scales, weight


Quantized = tuple[np.ndarray, np.ndarray, Any]  # planes, scales, errors


def storable(quantize: Callable[[bool], Quantized]) -> tuple[Quantized, bool]:
    """What quantize(whether scales may be any f32) gives, and whether they had to be: they are f16 values if f16 can
    hold all of them. A zero scale may be an all-zero row or one that f16 cannot tell from zero; only f32 scales can
    say which."""
    fitted = quantize(False)
    if not fits_f16(fitted[1], zero=False):
        exact = quantize(True)
        if not fits_f16(exact[1], zero=True):
            return exact, True
    return fitted, False


def finite(values: np.ndarray) -> bool:
    """Whether all are finite numbers. Piece by piece, so that the mask stays small; uint16 holds the bits of BF16."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, 1 << 22):
        piece = flat[start : start + (1 << 22)]
        bad = (piece & 0x7F80) == 0x7F80 if piece.dtype == np.uint16 else ~np.isfinite(piece)
        if bad.any():
            return False
    return True


def fits_f16(scales: np.ndarray, zero: bool) -> bool:
    """Whether f16 holds all scales without loss; `zero`: zero counts as held."""
    size = np.abs(scales)
    fits = (size >= F16_MIN) & (size <= F16_MAX)
    return bool((fits | (size == 0) if zero else fits).all())


def dtype_of(scales: np.ndarray) -> str:
    """What scales that must be exact are stored as."""
    return "F16" if fits_f16(scales, zero=True) and _is_f16(scales) else "F32"


def _is_f16(scales: np.ndarray) -> bool:
    with np.errstate(over="ignore"):  # beyond f16 they become infinite, which they are not
        return np.array_equal(scales.astype(np.float16).astype(np.float32), scales)


def _as(scales: np.ndarray, dtype: str) -> np.ndarray:
    return scales.astype(np.float16 if dtype == "F16" else np.float32)
