"""GPTQ and coordinate descent by blocks against the same in plain double precision."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rounding_cases import case, costs, f16, fit

from bitconverter.engine import Cancel, Cancelled, Engine
from bitconverter.model import calibrated_fit, curvature
from bitconverter.model.calibrated_fit import improve
from bitconverter.model.curvature import Curvature


class Plain:
    """The same column by column and row by row, one block of H, in f64."""

    def __init__(self, w: np.ndarray, found: Curvature, limit: int) -> None:
        (block,) = found.blocks
        self.h, self.u = block.h.astype(np.float64), block.u.astype(np.float64)
        self.w, self.limit = w.astype(np.float64), limit

    def cost(self, q: np.ndarray, s: float, row: int) -> float:
        e = self.w[row] - s * q
        return float(e @ self.h @ e)

    def gptq(self, s: float, row: int) -> np.ndarray:
        left, q = self.w[row].copy(), np.zeros(self.w.shape[1])
        for j in range(len(q)):
            q[j] = np.clip(np.rint(left[j] / s), -self.limit, self.limit)
            left[j + 1 :] -= (left[j] - s * q[j]) / self.u[j, j] * self.u[j, j + 1 :]
        return q

    def search(self, start: float, row: int) -> float:
        """The scale at which GPTQ costs least, of those that are tried."""

        def cost(s: float) -> float:
            return self.cost(self.gptq(s, row), s, row)

        s, least = start, cost(start)
        going = dict.fromkeys((calibrated_fit.SCALE_STEP, 1 / calibrated_fit.SCALE_STEP), (start, 0))
        for _ in range(calibrated_fit.SCALE_STEPS):
            before = least
            for factor, (tried, failed) in list(going.items()):
                tried = float(f16(np.array(tried * factor)))
                found = cost(tried)
                if found < least:
                    s, least = tried, found
                going[factor] = (tried, 0 if found < before else failed + 1)
                if going[factor][1] == calibrated_fit.PATIENCE:
                    del going[factor]
        return s

    def descend(self, s: float, row: int) -> tuple[float, float]:
        """From GPTQ at s: the least cost, and at which scale."""
        q = self.gptq(s, row)
        best = (self.cost(q, s, row), s)
        for _ in range(calibrated_fit.SWEEPS):
            r = (self.w[row] - s * q) @ self.h
            for j in range(len(q)):
                new = np.clip(np.rint(q[j] + r[j] / (s * self.h[j, j])), -self.limit, self.limit)
                r += s * (q[j] - new) * self.h[j]
                q[j] = new
            qh = q @ self.h
            s = float(f16(np.array((self.w[row] @ qh) / (q @ qh))))
            best = min(best, (self.cost(q, s, row), s))
        return best

    def best(self, scales: np.ndarray) -> np.ndarray:
        costs = np.empty(len(scales))
        for row, start in enumerate(scales):
            first = self.descend(self.search(float(start), row), row)
            costs[row] = min(first, self.descend(first[1], row))[0]
        return costs


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
    wanted = np.minimum(Plain(rotated, found, (3**n - 1) // 2).best(scales), start)
    assert best.sum() == pytest.approx(wanted.sum(), rel=0.02)  # a rounding of a tie may go the other way
    assert best.sum() < 0.8 * start.sum()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("off", [0.8, 1.25])
def test_a_start_with_poor_scales_costs_little_more(n: int, off: float, pool: ThreadPoolExecutor) -> None:
    """GPTQ makes later columns larger, so the start's scales are not its own: it looks for those on both sides."""
    w, found = case(30, 192, pool)
    made, rotated, q, scales = fit(w, found, n, pool)
    poor = improve(
        rotated, q, f16(scales * off), found, n,
        storable=f16, engines=lambda: Engine(threads=1), pool=pool, cancel=Cancel(),
    )  # fmt: skip
    assert poor.cost.sum() < 1.06 * made.cost.sum()


def test_tiles_and_threads_do_not_change_a_bit() -> None:
    results = []
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            w, found = case(70, 130, pool)
            results.append(fit(w, found, 2, pool, tile=16)[0])
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


def test_costs_are_those_of_every_pair_of_columns(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated_fit, "WIDE", 64)  # one product would do for so few
    w, found = case(20, 150, pool)
    made, rotated, q, scales = fit(w, found, 2, pool)
    np.testing.assert_allclose(made.start_cost, costs(rotated, q, scales, found), rtol=1e-4)
    np.testing.assert_allclose(made.whole, costs(rotated, 0 * q, scales, found), rtol=1e-4)


def test_a_cancel_inside_a_tile_is_heard(pool: ThreadPoolExecutor) -> None:
    w, found = case(9, 64, pool)
    cancel = Cancel()

    def storable(scales: np.ndarray) -> np.ndarray:  # what a tile calls between two products
        cancel.request()
        return f16(scales)

    with pytest.raises(Cancelled):
        improve(
            w, np.zeros(w.shape, np.int8), np.ones(9, np.float32), found, 2,
            storable=storable, engines=lambda: Engine(threads=1), pool=pool, cancel=cancel,
        )  # fmt: skip


def test_a_cancel_is_heard(pool: ThreadPoolExecutor) -> None:
    w, found = case(9, 64, pool)
    cancel = Cancel()
    cancel.request()
    with pytest.raises(Cancelled):
        fit(w, found, 2, pool, cancel)


def a_tile(w: np.ndarray, found: Curvature, limit: int) -> calibrated_fit._Tile:
    return calibrated_fit._Tile(w, found, limit, f16, Engine(threads=1), Cancel())


def test_the_cost_at_a_new_scale_is_the_one_that_the_errors_have_there(pool: ThreadPoolExecutor) -> None:
    w, found = case(20, 64, pool)
    scales = f16(np.full(20, 0.5))
    q = np.clip(np.rint(w / 0.8), -4, 4).astype(np.int8)  # of another scale
    e = w - scales[:, None] * q
    h = found.blocks[0].h.astype(np.float64)
    sums = np.stack([((a @ h) * b).sum(axis=1) for a, b in ((e, e), (e, q), (q.astype(float), q))], axis=1)
    better, cost = a_tile(w, found, 4)._rescale(scales, sums)
    np.testing.assert_allclose(cost, costs(w, q, better, found), rtol=1e-4)
    assert (cost < 0.9 * sums[:, 0]).all()


@pytest.mark.parametrize("larger_costs, best", [(1.0, "larger"), (2.0, "smaller")])
def test_of_a_larger_and_a_smaller_scale_that_both_help_the_better_one_is_kept(
    larger_costs: float, best: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    w, found = case(3, 16, pool)
    tile = a_tile(w, found, 4)

    def gptq(rows: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        near = np.abs(scales - 1) < 0.1  # the first on either side
        found = np.where(scales > 1, larger_costs, 3.0 - larger_costs)
        cost = np.where(scales == 1, 9.0, np.where(near, found, 99.0))
        return np.repeat(np.rint(100 * scales)[:, None], 16, axis=1).astype(np.int8), cost

    monkeypatch.setattr(tile, "_gptq", gptq)
    scales, q, cost = tile._search(np.ones(3, np.float32))
    expected = f16(np.array({"larger": 1.06, "smaller": 1 / 1.06}[best]))
    assert (scales == expected).all() and (cost == 1).all()
    assert (q == np.rint(100 * expected)).all()
