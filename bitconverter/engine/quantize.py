"""Quantizing: matrices to packed ternary planes or int8 codes (docs/FORMAT.md)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.cancel import Cancel, flag_of
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError

# numpy has no bfloat16: its bits travel as uint16
DTYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.uint16): 2}
ROWS_PER_BYTE = 5

Matrix = npt.NDArray[Any]
Errors = tuple[float, float]  # sums of squares: of the error, of the weights


def _matrix(weights: Matrix) -> tuple[Matrix, int]:
    if weights.ndim != 2 or weights.dtype not in DTYPES:
        raise InvalidError(f"weights of shape {weights.shape} and type {weights.dtype} cannot be quantized")
    return np.ascontiguousarray(weights), DTYPES[weights.dtype]


def quantize_planes(
    engine: Engine,
    weights: Matrix,
    *,
    seed: int,
    n_planes: int,
    importance: npt.NDArray[np.float32] | None = None,
    exact_scales: bool = False,
    cancel: Cancel | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Errors]:
    """weights [rows, cols] (float32, float16, or uint16 holding bfloat16) -> planes
    u8 [n_planes, ceil(rows/5), cols], scales f32 [rows] (f16 values unless `exact_scales`), errors.

    `importance` f32 [cols] weighs the columns in the rotated basis.
    Raises FormatError when a row holds a NaN or an infinity.
    """
    matrix, dtype = _matrix(weights)
    rows, cols = matrix.shape
    if importance is not None and importance.shape != (cols,):
        raise InvalidError(f"importance of shape {importance.shape} for {cols} columns")
    planes = np.empty((n_planes, -(-rows // ROWS_PER_BYTE), cols), np.uint8)
    scales, error = np.empty(rows, np.float32), np.empty(2, np.float64)
    weighs = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    call(
        lib.bc_quantize_planes,
        engine.handle,
        ffi.from_buffer(matrix),
        dtype,
        rows,
        cols,
        seed,
        n_planes,
        ffi.NULL if weighs is None else pointer("float", weighs),
        exact_scales,
        pointer("uint8_t", planes),
        pointer("float", scales),
        pointer("double", error),
        flag_of(cancel),
    )
    return planes, scales, (float(error[0]), float(error[1]))


def quantize_int8(
    engine: Engine, weights: Matrix, *, seed: int, cancel: Cancel | None = None
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], Errors]:
    """weights [rows, cols] -> codes i8 [rows, cols], scales f32 [rows], errors. Rows are independent,
    so a large matrix may be given in pieces."""
    matrix, dtype = _matrix(weights)
    rows, cols = matrix.shape
    codes = np.empty((rows, cols), np.int8)
    scales, error = np.empty(rows, np.float32), np.empty(2, np.float64)
    call(
        lib.bc_quantize_int8,
        engine.handle,
        ffi.from_buffer(matrix),
        dtype,
        rows,
        cols,
        seed,
        pointer("int8_t", codes),
        pointer("float", scales),
        pointer("double", error),
        flag_of(cancel),
    )
    return codes, scales, (float(error[0]), float(error[1]))


def rotate(
    engine: Engine, x: npt.NDArray[np.float32], *, seed: int, inverse: bool = False
) -> npt.NDArray[np.float32]:
    """The input rotation of docs/FORMAT.md 1.3 applied to (or undone from) rows f32 [rows, cols]."""
    out = np.array(x, dtype=np.float32, order="C", ndmin=2)
    call(lib.bc_rotate, engine.handle, pointer("float", out), *out.shape, seed, inverse)
    return out


def planes_unpack(engine: Engine, planes: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.int8]:
    """The integers i8 [rows, cols] of packed planes u8 [n_planes, ceil(rows/5), cols]."""
    packed = np.ascontiguousarray(planes, dtype=np.uint8)
    n_planes, groups, cols = packed.shape
    if groups != -(-rows // ROWS_PER_BYTE):
        raise InvalidError(f"{groups} groups of 5 rows for {rows} rows")
    q = np.empty((rows, cols), np.int8)
    call(
        lib.bc_planes_unpack,
        engine.handle,
        pointer("uint8_t", packed),
        n_planes,
        rows,
        cols,
        pointer("int8_t", q),
    )
    return q


def planes_matmul(
    engine: Engine,
    planes: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
    *,
    seed: int,
    x: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """For tests: y f32 [tokens, rows] = W x as the model runs it: x f32 [tokens, cols] is rotated, then rounded to
    int8 with one scale per token."""
    packed = np.ascontiguousarray(planes, dtype=np.uint8)
    gains = np.ascontiguousarray(scales, dtype=np.float32)
    inputs = np.ascontiguousarray(x, dtype=np.float32)
    n_planes, groups, cols = packed.shape
    rows = len(gains)
    if groups != -(-rows // ROWS_PER_BYTE) or inputs.ndim != 2 or inputs.shape[1] != cols:
        raise InvalidError(f"planes {packed.shape}, {rows} scales and inputs {inputs.shape} do not fit")
    y = np.empty((len(inputs), rows), np.float32)
    call(
        lib.bc_planes_matmul,
        engine.handle,
        pointer("uint8_t", packed),
        pointer("float", gains),
        n_planes,
        rows,
        cols,
        seed,
        pointer("float", inputs),
        len(inputs),
        pointer("float", y),
    )
    return y
