"""The inner loops of calibrated quantizing, on one block of H; and packing their integers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine._native import call, ffi, lib, pointer
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError
from bitconverter.engine.quantize import ROWS_PER_BYTE

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]


def gptq_block(
    engine: Engine, w: F32, u: F32, scales: F32, *, q_max: int, q: I8, errors: F32 | None = None
) -> F32:
    """GPTQ (Frantar et al. 2022) on a block of `cols` <= 1024 columns, every row by itself:

        for j: q_j = clamp(round(w_j / scale), +-q_max); err_j = (w_j - scale q_j) / u_jj
               w_k -= err_j u_jk for k > j

    w f32 [rows, cols], may be a view of columns of a wider matrix; changed in place: column j keeps the value
        that was rounded.
    u f32 [cols, cols]: the diagonal block of the upper Cholesky factor of the inverse Hessian.
    scales f32 [rows] >= 0 (0: the row's integers are 0).
    q i8 [rows, cols], may be a view likewise: gets the integers.
    Returns errors f32 [rows, cols] (`errors` if given): the caller then does w[:, later] -= errors @ u[block, later].

    Raises InvalidError for a u_jj that is not positive and finite, or a row that is not finite; w, q and errors
    are then unusable. Bits depend neither on threads nor on the CPU.
    """
    rows, cols = _block_shape(w, q, u, scales)
    out = _out(errors, rows, cols)
    call(
        lib.bc_gptq_block,
        engine.handle,
        *_strided("float", w, np.float32, "w"),
        pointer("float", _square(u)),
        pointer("float", _scales(scales)),
        q_max,
        *_strided("int8_t", q, np.int8, "q"),
        pointer("float", out),
        rows,
        cols,
    )
    return out


def descent(
    engine: Engine, w: F32, wh: F32, qh: F32, h: F32, scales: F32, *, q_max: int, q: I8, sums: F64
) -> None:
    """One sweep of coordinate descent on e' H e, e = w - scale q, every row by itself:

        for j: q' = clamp(round(q_j + (wh_j - scale qh_j) / (scale h_jj)), +-q_max)
               qh_k += h_jk (q' - q_j) for every k; q_j = q'

    w, wh = w H, qh = q H f32 [rows, cols], may be views of columns of arrays that lie alike; qh is kept up to date in
        place.
    h f32 [cols, cols], symmetric, a block of H. scales f32 [rows] (0: the row's q stay).
    q i8 [rows, cols], may be a view: the integers, in and out, |q| <= q_max.
    sums f64 [rows, 3] are added to: e' H e, q' H e and q' H q of these columns after the sweep.

    Errors as gptq_block().
    """
    rows, cols = _block_shape(wh, q, h, scales)
    if sums.shape != (rows, 3) or sums.dtype != np.float64 or not sums.flags.c_contiguous:
        raise InvalidError(
            f"the sums are {sums.dtype} {sums.shape}, must be float64 {(rows, 3)}, C-contiguous"
        )
    places = [_strided("float", array, np.float32, what, written) for array, what, written in (
        (w, "w", False), (wh, "w H", False), (qh, "q H", True))]  # fmt: skip
    if not w.shape == wh.shape == qh.shape or len({stride for _, stride in places}) > 1:
        raise InvalidError("w, w H and q H have other shapes, or their rows are not equally far apart")
    call(
        lib.bc_descent,
        engine.handle,
        *(place for place, _ in places),
        places[0][1],
        pointer("float", _square(h)),
        pointer("float", _scales(scales)),
        q_max,
        *_strided("int8_t", q, np.int8, "q"),
        _strided("double", sums, np.float64, "sums")[0],
        rows,
        cols,
    )


def planes_pack(engine: Engine, q: I8, n_planes: int) -> npt.NDArray[np.uint8]:
    """Integers i8 [rows, cols], |q| <= (3^n_planes - 1) / 2 -> planes u8 [n_planes, ceil(rows/5), cols]: the
    inverse of planes_unpack()."""
    if q.ndim != 2 or q.dtype != np.int8:
        raise InvalidError(f"q is {q.dtype} {q.shape}, must be int8 [rows, cols]")
    integers = np.ascontiguousarray(q)
    rows, cols = integers.shape
    planes = np.empty((max(n_planes, 0), -(-rows // ROWS_PER_BYTE), cols), np.uint8)
    call(
        lib.bc_planes_pack,
        engine.handle,
        pointer("int8_t", integers),
        n_planes,
        rows,
        cols,
        pointer("uint8_t", planes),
    )
    return planes


def _block_shape(x: F32, q: I8, matrix: F32, scales: F32) -> tuple[int, int]:
    if x.ndim != 2 or q.shape != x.shape or matrix.shape != (x.shape[1],) * 2 or scales.shape != x.shape[:1]:
        raise InvalidError(
            f"a block of shape {x.shape} with integers {q.shape}, matrix {matrix.shape} and scales {scales.shape}"
        )
    return x.shape


def _square(matrix: F32) -> F32:
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _scales(scales: F32) -> F32:
    return np.ascontiguousarray(scales, dtype=np.float32)


def _out(given: F32 | None, rows: int, cols: int) -> F32:
    if given is None:
        return np.empty((rows, cols), np.float32)
    if given.shape != (rows, cols) or given.dtype != np.float32 or not given.flags.c_contiguous:
        raise InvalidError(
            f"the output is {given.dtype} {given.shape}, must be float32 {(rows, cols)}, C-contiguous"
        )
    return given


def _strided(
    ctype: str, array: npt.NDArray[Any], dtype: type, what: str, written: bool = True
) -> tuple[object, int]:
    """Pointer and row stride, in elements, of an array whose rows lie whole in memory, in ascending order."""
    size = array.itemsize
    whole = array.shape[1] <= 1 or array.strides[1] == size
    step = array.strides[0] if array.shape[0] > 1 else size * array.shape[1]
    if array.dtype != dtype or not whole or step % size or step < size * array.shape[1]:
        raise InvalidError(
            f"{what} is {array.dtype} with strides {array.strides}: its rows must lie in memory whole"
        )
    if written and not array.flags.writeable:
        raise InvalidError(f"{what} is changed in place: it must be writable")
    return ffi.cast(f"{ctype} *", array.ctypes.data), step // size
