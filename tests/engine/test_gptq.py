"""GPTQ and coordinate descent against plain numpy: the same bits, whatever the threads and the CPU."""

import numpy as np
import pytest

from bitconverter.engine import (
    Engine,
    InvalidError,
    UnsupportedError,
    descent,
    gptq_block,
    planes_pack,
    planes_unpack,
)

SHAPES = [(1, 1), (3, 7), (16, 8), (17, 9), (40, 33), (50, 128), (203, 100)]
ISAS = ("scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-vbmi")
Q_MAX = {1: 1, 2: 4, 3: 13, 4: 40}


def rounded(v: np.ndarray, q_max: int) -> np.ndarray:
    return np.rint(np.clip(v, -q_max, q_max)).astype(np.float32)


def divisors(scales: np.ndarray) -> np.ndarray:
    return np.where(scales > 0, scales, np.float32(np.inf)).astype(np.float32)


def plain_gptq(w: np.ndarray, u: np.ndarray, scales: np.ndarray, q_max: int) -> tuple[np.ndarray, ...]:
    """w, q, errors; float32 throughout, one rounded product at a time."""
    w, q, errors = w.copy(), np.zeros(w.shape, np.int8), np.zeros_like(w)
    for j in range(w.shape[1]):
        integer = rounded(w[:, j] / divisors(scales), q_max)
        q[:, j] = integer
        errors[:, j] = (w[:, j] - scales * integer) / u[j, j]
        w[:, j + 1 :] -= errors[:, j, None] * u[j, j + 1 :]
    return w, q, errors


def plain_descent(
    wh: np.ndarray, qh: np.ndarray, h: np.ndarray, scales: np.ndarray, q_max: int, q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """qh, q likewise."""
    qh, q = qh.copy(), q.copy()
    for j in range(wh.shape[1]):
        old = q[:, j].astype(np.float32)
        r = wh[:, j] - scales * qh[:, j]
        integer = rounded(old + r / (divisors(scales) * h[j, j]), q_max)
        q[:, j] = integer
        qh += (integer - old)[:, None] * h[j]
    return qh, q


def plain_sums(
    w: np.ndarray, wh: np.ndarray, qh: np.ndarray, scales: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """e' H e, q' H e, q' H q: products of what is f32, in f64."""
    e, he = w - scales[:, None] * q, wh - scales[:, None] * qh
    pairs = ((e, he), (q, he), (q, qh))
    return np.stack([(a.astype(np.float64) * b.astype(np.float64)).sum(axis=1) for a, b in pairs], axis=1)


def problem(rows: int, cols: int, q_max: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """w, H, U, scales of correlated inputs, of the size a layer has; row 0 has scale 0."""
    rng = np.random.default_rng(rows * 1000 + cols)
    x = rng.standard_normal((2 * cols + 5, cols)) @ (np.eye(cols) + 0.3 * rng.standard_normal((cols, cols)))
    h = x.T @ x
    h += 0.03 * np.mean(np.diag(h)) * np.eye(cols)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    w = rng.standard_normal((rows, cols)).astype(np.float32)
    scales = (np.abs(w).max(axis=1) * rng.uniform(0.6, 1.0, rows) / q_max).astype(np.float32)
    scales[0] = 0 if rows > 1 else scales[0]
    return w, h.astype(np.float32), np.ascontiguousarray(u, dtype=np.float32), scales


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gptq_is_the_plain_one_to_the_bit(shape: tuple[int, int], isa: str) -> None:
    engine = engine_of(isa)
    for q_max in Q_MAX.values():
        w, _, u, scales = problem(*shape, q_max)
        want_w, want_q, want_errors = plain_gptq(w, u, scales, q_max)
        q = np.empty(shape, np.int8)
        errors = gptq_block(engine, w, u, scales, q_max=q_max, q=q)
        np.testing.assert_array_equal(q, want_q)
        np.testing.assert_array_equal(w, want_w)
        np.testing.assert_array_equal(errors, want_errors)
        assert shape[0] == 1 or not q[0].any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_descent_is_the_plain_one_to_the_bit(shape: tuple[int, int], isa: str) -> None:
    engine = engine_of(isa)
    for q_max in Q_MAX.values():
        w, h, _, scales = problem(*shape, q_max)
        q = rounded(w / divisors(scales)[:, None], q_max).astype(np.int8)
        wh, qh = w @ h, q.astype(np.float32) @ h
        want_qh, want_q = plain_descent(wh, qh, h, scales, q_max, q)
        before, sums = q.copy(), np.full((len(w), 3), 7.0)
        descent(engine, w, wh, qh, h, scales, q_max=q_max, q=q, sums=sums)
        np.testing.assert_array_equal(q, want_q)
        np.testing.assert_array_equal(qh, want_qh)
        assert shape[1] == 1 or (q != before).any()
        np.testing.assert_allclose(sums, 7.0 + plain_sums(w, wh, qh, scales, q), rtol=1e-9)


def engine_of(isa: str) -> Engine:
    try:
        return Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")


def loss(w: np.ndarray, h: np.ndarray, scales: np.ndarray, q: np.ndarray) -> float:
    e = w.astype(np.float64) - scales[:, None] * q.astype(np.float64)
    return float(np.einsum("ri,ij,rj->", e, h, e))


def test_each_step_lowers_the_loss(engine: Engine) -> None:
    w, h, u, scales = problem(64, 96)
    nearest = rounded(w / divisors(scales)[:, None], 4).astype(np.int8)
    q = np.empty(w.shape, np.int8)
    gptq_block(engine, w.copy(), u, scales, q_max=4, q=q)
    losses = [loss(w, h, scales, nearest), loss(w, h, scales, q)]
    wh, qh = w @ h, q.astype(np.float32) @ h
    for _ in range(3):
        descent(engine, w, wh, qh, h, scales, q_max=4, q=q, sums=np.zeros((64, 3)))
        losses.append(loss(w, h, scales, q))
        np.testing.assert_allclose(qh, q.astype(np.float32) @ h, atol=1e-4 * np.abs(h).max())
    assert losses[1] < 0.8 * losses[0]
    assert losses[2] < losses[1]
    assert losses == sorted(losses, reverse=True)


def test_blocks_with_the_updates_between_them_are_the_whole(engine: Engine) -> None:
    """A matrix taken in blocks of columns, as the converter does it: views in place, BLAS between."""
    w, _, u, scales = problem(21, 90)
    whole_q = np.zeros(w.shape, np.int8)
    work, q = w.copy(), np.zeros((21, 100), np.int8)
    integers = q[:, :90]
    gptq_block(engine, w, u, scales, q_max=4, q=whole_q)
    for first in range(0, 90, 32):
        last = min(first + 32, 90)
        errors = gptq_block(
            engine, work[:, first:last], u[first:last, first:last], scales, q_max=4, q=integers[:, first:last]
        )
        work[:, last:] -= errors @ u[first:last, last:]
    assert (integers != whole_q).mean() < 0.01  # BLAS sums in another order: a tie may fall the other way
    assert not q[:, 90:].any()


def test_threads_do_not_change_a_bit() -> None:
    w, h, u, scales = problem(133, 70)
    results = []
    for threads in (1, 2, 5):
        engine, work, q = Engine(threads), w.copy(), np.empty(w.shape, np.int8)
        errors = gptq_block(engine, work, u, scales, q_max=13, q=q)
        wh, qh, better = w @ h, q.astype(np.float32) @ h, q.copy()
        sums = np.zeros((133, 3))
        descent(engine, w, wh, qh, h, scales, q_max=13, q=better, sums=sums)
        results.append((work, q, errors, qh, better, sums))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_ties_go_to_the_even_integer(engine: Engine) -> None:
    w = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 9.0]], np.float32)
    q = np.empty(w.shape, np.int8)
    errors = gptq_block(engine, w, np.eye(7, dtype=np.float32), np.ones(1, np.float32), q_max=4, q=q)
    assert q.tolist() == [[-2, -2, 0, 0, 2, 2, 4]]
    assert errors.tolist() == [[-0.5, 0.5, -0.5, 0.5, -0.5, 0.5, 5.0]]


def test_nothing_outside_the_block_is_touched(engine: Engine) -> None:
    w, _, u, scales = problem(19, 20)
    wide = np.full((19, 50), 7, np.float32)
    wide[:, 10:30] = w
    integers = np.full((19, 50), 7, np.int8)
    gptq_block(engine, wide[:, 10:30], u, scales, q_max=4, q=integers[:, 10:30])
    sums, eye = np.full((19, 50), 7, np.float32), np.eye(20, dtype=np.float32)
    descent(
        engine, wide[:, 10:30], wide[:, 10:30], sums[:, 10:30], eye, scales,
        q_max=4, q=integers[:, 10:30], sums=np.zeros((19, 3)),
    )  # fmt: skip
    for array in (wide, integers, sums):
        assert (array[:, :10] == 7).all() and (array[:, 30:] == 7).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_pivot_names_its_column(engine: Engine, bad: float) -> None:
    w, h, u, scales = problem(5, 12)
    before, q = w.copy(), np.zeros(w.shape, np.int8)
    u[7, 7] = h[9, 9] = bad
    with pytest.raises(InvalidError, match=r"u\[7\]\[7\]"):
        gptq_block(engine, w, u, scales, q_max=4, q=q)
    with pytest.raises(InvalidError, match=r"h\[9\]\[9\]"):
        descent(engine, before, before, w, h, scales, q_max=4, q=q, sums=np.zeros((5, 3)))
    np.testing.assert_array_equal(w, before)


def test_a_row_that_is_not_finite_is_named(engine: Engine) -> None:
    for bad in (np.nan, np.inf):
        w, h, u, scales = problem(40, 12)
        w[33, 5] = bad
        with pytest.raises(InvalidError, match="row 33"):
            gptq_block(engine, w.copy(), u, scales, q_max=4, q=np.zeros(w.shape, np.int8))
        arrays = [np.zeros_like(w) for _ in range(3)]
        for array in arrays:
            array[33, 5] = bad
            with pytest.raises(InvalidError, match="row 33"):
                descent(
                    engine, *arrays, h, scales, q_max=4, q=np.zeros(w.shape, np.int8), sums=np.zeros((40, 3))
                )
            array[33, 5] = 0
    for bad in (np.nan, np.inf, -1.0):
        w, h, u, scales = problem(40, 12)
        scales[21] = bad
        with pytest.raises(InvalidError, match="scale of row 21"):
            gptq_block(engine, w, u, scales, q_max=4, q=np.zeros(w.shape, np.int8))


def test_a_row_whose_errors_alone_overflow_is_named(engine: Engine) -> None:
    """Those of the last column change no other column."""
    u, w = np.diag(np.array([1, 1e-39], np.float32)), np.zeros((18, 2), np.float32)
    w[16, 1] = 0.4
    with pytest.raises(InvalidError, match="row 16"):
        gptq_block(engine, w, u, np.ones(18, np.float32), q_max=4, q=np.zeros(w.shape, np.int8))


def test_misuse_is_a_sentence(engine: Engine) -> None:
    w, _, u, scales = problem(6, 12)
    q = np.zeros(w.shape, np.int8)
    with pytest.raises(InvalidError, match="q_max is 0"):
        gptq_block(engine, w, u, scales, q_max=0, q=q)
    with pytest.raises(InvalidError, match="q_max is 128"):
        descent(engine, w, w, w.copy(), u, scales, q_max=128, q=q, sums=np.zeros((6, 3)))
    with pytest.raises(InvalidError, match="the sums are"):
        descent(engine, w, w, w.copy(), u, scales, q_max=4, q=q, sums=np.zeros((5, 3)))
    fixed = np.zeros((6, 3))
    fixed.flags.writeable = False
    for sums in (np.zeros((6, 3), np.float32), np.zeros((3, 6)).T, fixed):
        with pytest.raises(InvalidError, match="sums"):
            descent(engine, w, w, w.copy(), u, scales, q_max=4, q=q, sums=sums)
    for other in (w[:, :11].copy(), np.zeros((6, 13), np.float32)[:, :12]):
        with pytest.raises(InvalidError, match="other shapes, or their rows"):
            descent(engine, w, w, other, u, scales, q_max=4, q=q, sums=np.zeros((6, 3)))
    with pytest.raises(InvalidError, match="a block of shape"):
        gptq_block(engine, w, u[:5, :5], scales, q_max=4, q=q)
    with pytest.raises(InvalidError, match="rows must lie in memory whole"):
        gptq_block(engine, np.asfortranarray(w), u, scales, q_max=4, q=q)
    with pytest.raises(InvalidError, match="float64"):
        gptq_block(engine, w.astype(np.float64), u, scales, q_max=4, q=q)
    with pytest.raises(InvalidError, match="C-contiguous"):
        gptq_block(engine, w, u, scales, q_max=4, q=q, errors=np.empty((6, 11), np.float32))
    with pytest.raises(InvalidError, match="1 to 1024 columns"):
        wide = np.zeros((2, 1025), np.float32)
        gptq_block(
            engine, wide, np.eye(1025, dtype=np.float32), scales[:2], q_max=4, q=np.zeros(wide.shape, np.int8)
        )
    frozen = w.copy()
    frozen.flags.writeable = False
    with pytest.raises(InvalidError, match="writable"):
        gptq_block(engine, frozen, u, scales, q_max=4, q=q)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 5, 23])
def test_packing_is_undone_by_unpacking(engine: Engine, planes: int, rows: int) -> None:
    largest = Q_MAX[planes]
    q = np.random.default_rng(rows).integers(-largest, largest + 1, (rows, 37)).astype(np.int8)
    packed = planes_pack(engine, q, planes)
    assert packed.shape == (planes, -(-rows // 5), 37)
    np.testing.assert_array_equal(planes_unpack(engine, packed, rows), q)
    q[rows - 1, 36] = largest + 1
    with pytest.raises(InvalidError, match=f"row {rows - 1} holds an integer"):
        planes_pack(engine, q, planes)


def test_packing_needs_one_to_four_planes(engine: Engine) -> None:
    for planes in (-1, 0, 5):
        with pytest.raises(InvalidError, match=f"{planes} planes"):
            planes_pack(engine, np.zeros((3, 4), np.int8), planes)
