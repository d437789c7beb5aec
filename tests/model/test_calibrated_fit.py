"""GPTQ and coordinate descent by blocks against the same in plain double precision."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rounding_cases import case, costs, f16, fit

from bitconverter.engine import Cancel, Cancelled
from bitconverter.model import calibrated_fit, curvature
from bitconverter.model.curvature import Curvature


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def plain(w: np.ndarray, scales: np.ndarray, found: Curvature, limit: int) -> np.ndarray:
    """GPTQ and SWEEPS of coordinate descent, column by column, one block of H, in f64."""
    (block,) = found.blocks
    h, u = block.h.astype(np.float64), block.u.astype(np.float64)
    s, cols = scales.astype(np.float64), w.shape[1]
    left, q = w.astype(np.float64), np.zeros(w.shape)
    for j in range(cols):
        q[:, j] = np.clip(np.rint(left[:, j] / s), -limit, limit)
        left[:, j + 1 :] -= np.outer((left[:, j] - s * q[:, j]) / u[j, j], u[j, j + 1 :])
    best = costs(w, q, s, found)
    for _ in range(calibrated_fit.SWEEPS):
        r = (w - s[:, None] * q) @ h
        for j in range(cols):
            new = np.clip(np.rint(q[:, j] + r[:, j] / (s * h[j, j])), -limit, limit)
            r += np.outer(s * (q[:, j] - new), h[j])
            q[:, j] = new
        qh = q @ h
        s = f16((w * qh).sum(1) / (q * qh).sum(1)).astype(np.float64)
        best = np.minimum(best, costs(w, q, s, found))
    return best


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("cols", [40, 192, 300])
def test_it_reaches_what_the_plain_algorithm_does(n: int, cols: int, pool: ThreadPoolExecutor) -> None:
    w, found = case(30, cols, pool)
    made, rotated, q, scales = fit(w, found, n, pool)
    best = costs(rotated, made.q, made.scales, found)
    np.testing.assert_allclose(made.cost, best, rtol=2e-3)
    start = costs(rotated, q, scales, found)
    np.testing.assert_allclose(made.start_cost, start, rtol=2e-3)
    assert (best <= start * 1.0001).all()
    wanted = np.minimum(plain(rotated, scales, found, (3**n - 1) // 2), start)
    assert best.sum() == pytest.approx(wanted.sum(), rel=0.02)  # a rounding of a tie may go the other way
    assert best.sum() < 0.8 * start.sum()


def test_tiles_and_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrated_fit, "TILE", 16)
    results = []
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            w, found = case(70, 130, pool)
            results.append(fit(w, found, 2, pool)[0])
    assert np.array_equal(results[0].q, results[1].q)
    assert np.array_equal(results[0].scales, results[1].scales)


def test_blocks_of_h_are_worked_on_by_themselves(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curvature, "MAX_BLOCK", 64)
    monkeypatch.setattr(curvature, "WIDE_BLOCK", 64)
    monkeypatch.setattr(curvature, "BLOCK_STEP", 64)
    w, found = case(20, 192, pool)
    assert len(found.blocks) == 3
    made, rotated, q, scales = fit(w, found, 2, pool)
    best = costs(rotated, made.q, made.scales, found)
    np.testing.assert_allclose(made.cost, best, rtol=2e-2)
    assert best.sum() < 0.8 * costs(rotated, q, scales, found).sum()


def test_a_row_of_zeros_stays_one(pool: ThreadPoolExecutor) -> None:
    w, found = case(9, 64, pool)
    w[4] = 0
    made, *_ = fit(w, found, 2, pool)
    assert (made.q[4] == 0).all() or made.scales[4] == 0
    assert made.cost[4] == 0
    assert np.isfinite(made.scales).all()


def test_a_cancel_is_heard(pool: ThreadPoolExecutor) -> None:
    w, found = case(9, 64, pool)
    cancel = Cancel()
    cancel.request()
    with pytest.raises(Cancelled):
        fit(w, found, 2, pool, cancel)
