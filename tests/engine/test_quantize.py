"""The quantizer against numpy: the rotation, the fit, the packing and the product."""

import numpy as np
import pytest

from bitconverter.engine import (
    Cancel,
    Cancelled,
    Engine,
    FormatError,
    InvalidError,
    planes_matmul,
    planes_unpack,
    quantize_int8,
    quantize_planes,
    rotate,
)

# relative squared error of the best uniform quantizer with 3, 9, 27, 81 levels on a Gaussian
GAUSSIAN_ERROR = {1: 0.190, 2: 0.0303, 3: 0.0045, 4: 0.00060}


def gaussian(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((rows, cols)) * 0.02).astype(np.float32)


@pytest.mark.parametrize("cols", [1, 2, 7, 64, 96, 576, 1000])
def test_a_rotation_keeps_lengths_and_is_undone(engine: Engine, cols: int) -> None:
    x = gaussian(3, cols)
    y = rotate(engine, x, seed=7)
    np.testing.assert_allclose((y**2).sum(1), (x**2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(rotate(engine, y, seed=7, inverse=True), x, atol=1e-7)
    if cols > 2:
        assert not np.allclose(rotate(engine, x, seed=8), y)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_the_fit_is_as_good_as_theory_allows(engine: Engine, planes: int) -> None:
    w = gaussian(203, 576)
    packed, scales, (error, square) = quantize_planes(engine, w, seed=3, n_planes=planes)
    q = planes_unpack(engine, packed, len(w))
    rotated = rotate(engine, w, seed=3).astype(np.float64)
    left = ((rotated - scales[:, None].astype(np.float64) * q) ** 2).sum()
    assert error == pytest.approx(left, rel=1e-6)
    assert square == pytest.approx((rotated**2).sum(), rel=1e-6)
    assert left / square < GAUSSIAN_ERROR[planes]
    assert np.abs(q).max() == (3**planes - 1) // 2
    assert np.array_equal(scales, scales.astype(np.float16).astype(np.float32))


GAUSS_STEP = {1: 1.224, 2: 0.534, 3: 0.221, 4: 0.088}  # of a step, over the deviation


def plain_fit(row: np.ndarray, n_planes: int) -> float:
    """The scale that the search of docs/FORMAT.md 1.2 finds: 13 steps around the middle, 9 around the best of them,
    then at most 3 times the best scale of the integers that the last one gives."""
    q_max = (3**n_planes - 1) // 2

    def try_at(step: np.float32) -> tuple[float, np.float32]:
        q = np.rint(np.clip(row * (np.float32(1) / step), -q_max, q_max)).astype(np.float64)
        wq, qq = float(q @ row), float(q @ q)
        return (wq * wq / qq, np.float32(wq / qq)) if wq > 0 and qq > 0 else (0.0, np.float32(0))

    def steps(centre: np.float32, count: int, parts: int) -> list[np.float32]:
        return [centre * np.exp2(np.float32(i / parts)) for i in range(-count, count + 1)]

    deviation = np.float32(np.sqrt(np.mean(row.astype(np.float64) ** 2)))
    coarse = [(*try_at(step), step) for step in steps(deviation * np.float32(GAUSS_STEP[n_planes]), 6, 5)]
    gain, scale, centre = max(coarse, key=lambda found: found[0])
    fine = [try_at(step) for step in steps(centre, 4, 25)]
    gain, scale = max([(gain, scale), *fine], key=lambda found: found[0])
    for _ in range(3):
        more, better = try_at(scale)
        if not more > gain:
            break
        gain, scale = more, better
    return float(scale)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("tail", [1.5, 4.0, 100.0])  # degrees of freedom of Student's t: few far out, or none
def test_every_scale_is_the_one_that_the_whole_search_finds(engine: Engine, planes: int, tail: float) -> None:
    rows = np.random.default_rng(6).standard_t(tail, (20, 200)).astype(np.float32)
    w = rotate(engine, rows, seed=4, inverse=True)
    _, scales, _ = quantize_planes(engine, w, seed=4, n_planes=planes, exact_scales=True)
    want = [plain_fit(row, planes) for row in rotate(engine, w, seed=4)]
    np.testing.assert_allclose(scales, want, rtol=1e-5)


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("exact", [False, True])
def test_a_row_too_large_for_its_scale_counts_as_zero(engine: Engine, planes: int, exact: bool) -> None:
    """A scale that f16 cannot hold, or whose search overflows, leaves no NaN in the errors."""
    w = gaussian(5, 64)
    w[2] = 0
    w[2, 9] = 1e38 if exact else 1e8
    packed, scales, (error, square) = quantize_planes(engine, w, seed=0, n_planes=planes, exact_scales=exact)
    assert np.isfinite(scales).all() and np.isfinite([error, square]).all()
    if not scales[2]:
        assert error == pytest.approx(square, rel=1e-6)
        assert not planes_unpack(engine, packed, 5)[2].any()
    assert exact or not scales[2]


def test_a_row_too_small_to_divide_by_its_scale_is_zero(engine: Engine) -> None:
    w = gaussian(5, 64)
    w[3] = 1e-40
    packed, _, _ = quantize_planes(engine, w, seed=0, n_planes=2, exact_scales=True)
    assert not planes_unpack(engine, packed, 5)[3].any()
    codes, _, _ = quantize_int8(engine, w, seed=0)
    assert not codes[3].any() and codes[4].any()


def test_packing_is_what_the_format_says(engine: Engine) -> None:
    w = gaussian(12, 40)
    packed, scales, _ = quantize_planes(engine, w, seed=0, n_planes=2)
    q = planes_unpack(engine, packed, 12).astype(int)
    digits = np.ones((2, 15, 40), int)  # rows past the last are digit 1
    digits[0, :12], digits[1, :12] = (q + 4) // 3, (q + 4) % 3
    value = sum(digits.reshape(2, 3, 5, 40)[:, :, i] * 3 ** (4 - i) for i in range(5))
    np.testing.assert_array_equal(packed, -(-value * 256 // 243))
    assert len(scales) == 12


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_every_source_type_is_read(engine: Engine, dtype: str) -> None:
    w = gaussian(10, 64)
    if dtype == "bf16":
        given = (w.view(np.uint32) >> 16).astype(np.uint16)
        value = (given.astype(np.uint32) << 16).view(np.float32)
    else:
        given = w.astype(np.float16 if dtype == "f16" else np.float32)
        value = given.astype(np.float32)
    packed, scales, _ = quantize_planes(engine, given, seed=0, n_planes=3)
    want, want_scales, _ = quantize_planes(engine, value, seed=0, n_planes=3)
    np.testing.assert_array_equal(packed, want)
    np.testing.assert_array_equal(scales, want_scales)


def test_importance_lowers_the_error_where_it_counts(engine: Engine) -> None:
    w = gaussian(50, 128)
    weight = np.where(np.arange(128) < 16, 100.0, 0.01).astype(np.float32)
    rotated = rotate(engine, w, seed=0)

    def error(importance: np.ndarray | None) -> float:
        packed, scales, _ = quantize_planes(engine, w, seed=0, n_planes=1, importance=importance)
        return float((((rotated - scales[:, None] * planes_unpack(engine, packed, 50)) ** 2) * weight).sum())

    assert error(weight) < 0.95 * error(None)


def test_zero_rows_stay_zero_and_bad_rows_are_named(engine: Engine) -> None:
    w = gaussian(9, 64)
    w[4] = 0.0
    packed, scales, _ = quantize_planes(engine, w, seed=0, n_planes=2)
    assert scales[4] == 0.0 and not planes_unpack(engine, packed, 9)[4].any()
    for bad in (np.nan, np.inf, -np.inf):
        w[7, 3] = bad
        with pytest.raises(FormatError, match="row 7"):
            quantize_planes(engine, w, seed=0, n_planes=2)
        with pytest.raises(FormatError, match="row 7"):
            quantize_int8(engine, w, seed=0)


def test_int8_is_within_half_a_step(engine: Engine) -> None:
    w = gaussian(30, 96)
    codes, scales, _ = quantize_int8(engine, w, seed=5)
    rotated = rotate(engine, w, seed=5)
    assert np.abs(rotated - scales[:, None] * codes).max() <= scales.max() * 0.5001
    assert (np.abs(codes).max(axis=1) == 127).all()
    whole = quantize_int8(engine, w, seed=5)
    parts = [quantize_int8(engine, w[i : i + 10], seed=5) for i in (0, 10, 20)]
    np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), whole[0])
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), whole[1])


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(5, 64), (81, 576), (203, 100), (7, 33)])
def test_the_product_is_exact_up_to_the_rounded_activations(
    engine: Engine, planes: int, shape: tuple[int, int]
) -> None:
    w, x = gaussian(*shape), gaussian(9, shape[1], seed=1)
    packed, scales, _ = quantize_planes(engine, w, seed=2, n_planes=planes)
    turned = rotate(engine, x, seed=2)
    step = np.abs(turned).max(1, keepdims=True) / np.float32(127)
    a = np.rint(turned / step).astype(np.int64)
    integers = a @ planes_unpack(engine, packed, shape[0]).T.astype(np.int64)
    want = integers * (scales[None, :].astype(np.float64) * step)
    got = planes_matmul(engine, packed, scales, seed=2, x=x)
    # a rounding tie of one activation may fall the other way in numpy's division
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2 * float((step * np.abs(scales).max()).max()) * 40)
    for cpu_name in ("scalar", "avx2"):
        other = planes_matmul(Engine(1, cpu_name), packed, scales, seed=2, x=x)
        np.testing.assert_array_equal(other, got)
    one = np.concatenate([planes_matmul(engine, packed, scales, seed=2, x=x[i : i + 1]) for i in range(9)])
    np.testing.assert_array_equal(one, got)


def test_threads_do_not_change_the_result() -> None:
    w = gaussian(333, 200)
    results = [quantize_planes(Engine(n), w, seed=0, n_planes=3) for n in (1, 2, 5)]
    for packed, scales, error in results[1:]:
        np.testing.assert_array_equal(packed, results[0][0])
        np.testing.assert_array_equal(scales, results[0][1])
        assert error == results[0][2]


def test_misuse_is_a_sentence(engine: Engine) -> None:
    with pytest.raises(InvalidError, match="n_planes is 5"):
        quantize_planes(engine, gaussian(5, 8), seed=0, n_planes=5)
    with pytest.raises(InvalidError, match="float64"):
        quantize_planes(engine, gaussian(5, 8).astype(np.float64), seed=0, n_planes=2)
    cancel = Cancel()
    cancel.request()
    with pytest.raises(Cancelled):
        quantize_planes(engine, gaussian(5, 8), seed=0, n_planes=2, cancel=cancel)
