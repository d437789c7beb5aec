"""What the errors of rows cost together: sums of gradients in blocks, and rounding that makes use of it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rounding_cases import case, costs, fit

from bitconverter.model import calibrated_fit, output_curvature
from bitconverter.model.calibrated_fit import Rounded
from bitconverter.model.curvature import Curvature
from bitconverter.model.output_curvature import (
    DAMPING,
    HEAD_DAMPING,
    OutputCurvature,
    OutputMoments,
    output_edges,
    output_moments,
)


def gradients(tokens: int, rows: int, seed: int = 0) -> np.ndarray:
    """Of outputs that lie mostly in an eighth of the directions."""
    draw = np.random.default_rng(seed)
    few = draw.standard_normal((tokens, rows // 8)) @ draw.standard_normal((rows // 8, rows))
    return (few + 0.3 * draw.standard_normal((tokens, rows))).astype(np.float32)


def known(dy: np.ndarray, edges: list[int], damping: float, pool: ThreadPoolExecutor) -> OutputCurvature:
    sums = OutputMoments(edges, damping)
    sums.add(dy, pool)
    return sums.curvature()


def damped(dy: np.ndarray, edges: list[int], damping: float) -> np.ndarray:
    """f64 [rows, rows]: the same G, nothing outside the blocks."""
    g = dy.astype(np.float64).T @ dy / len(dy)
    block = np.searchsorted(edges, np.arange(len(g)), side="right")
    noise = np.bincount(block)[block] / len(dy)
    g += g.diagonal().mean() * np.diag(damping + noise)
    return np.where(block[:, None] == block, g, 0.0)


@pytest.mark.parametrize("edges", [[0, 48], [0, 16, 32, 48], [0, 40, 48]])
def test_the_factor_is_that_of_the_damped_sums(edges: list[int], pool: ThreadPoolExecutor) -> None:
    dy = gradients(300, 48)
    sums = OutputMoments(edges, 0.1)
    sums.add(dy[:100], pool)
    sums.add(dy[100:], pool)
    found = sums.curvature()
    g = damped(dy, edges, 0.1)
    for u, a, b in zip(found.u, edges, edges[1:], strict=False):
        np.testing.assert_allclose(u, np.triu(u), atol=1e-6)
        np.testing.assert_allclose(
            u.astype(np.float64).T @ u, np.linalg.inv(g[a:b, a:b] / found.mean), rtol=2e-3, atol=2e-3
        )
    # the cost of a row when those behind it make up for it: G's Schur complement
    for row in range(48):
        end = next(edge for edge in edges if edge > row)
        behind = slice(row + 1, end)
        left = g[row, row] - g[row, behind] @ np.linalg.solve(g[behind, behind], g[behind, row])
        assert found.costs[row] == pytest.approx(left, rel=1e-3)


def test_where_the_blocks_are() -> None:
    assert output_edges("k", 192, 64) == [0, 64, 128, 192]
    assert output_edges("o", 576, 64) == [0, 576]
    assert output_edges("up", 8960, 128) == [0, 1792, 3584, 5376, 7168, 8960]
    assert output_edges("down", 2049, 64) == [0, 1025, 2049]
    for rows in np.random.default_rng(0).integers(1, 40000, 500):
        edges = output_edges("up", int(rows), 64)
        widths = np.diff(edges)
        assert edges[0] == 0 and edges[-1] == rows and widths.min() > 0
        assert widths.max() <= output_curvature.MAX_BLOCK and len(widths) == -(-rows // 2048)


def test_a_head_s_gradients_are_damped_less(pool: ThreadPoolExecutor) -> None:
    for key, damping, edges in (("q", HEAD_DAMPING, [0, 16, 32]), ("down", DAMPING, [0, 32])):
        sums = output_moments(key, 32, 16)
        dy = gradients(200, 32)
        sums.add(dy, pool)
        np.testing.assert_allclose(sums.curvature().costs, known(dy, edges, damping, pool).costs, rtol=1e-6)


def test_no_gradient_at_all_is_as_if_rows_were_independent(pool: ThreadPoolExecutor) -> None:
    found = known(np.zeros((20, 12), np.float32), [0, 12], 0.5, pool)
    (u,) = found.u
    np.testing.assert_allclose(u, np.eye(12) / np.sqrt(0.5 + 12 / 20), rtol=1e-6)
    assert not found.costs.any()  # and no plane is worth its bits


def test_gradients_next_to_nothing_are_none(pool: ThreadPoolExecutor) -> None:
    found = known(gradients(20, 12) * np.float32(1e-23), [0, 12], 0.5, pool)
    assert not found.costs.any() and np.isfinite(found.u[0]).all()


def test_what_is_not_finite_has_no_factor(pool: ThreadPoolExecutor) -> None:
    dy = gradients(20, 12)
    dy[3, 4] = np.inf
    sums = OutputMoments([0, 12], 0.5)
    sums.add(dy, pool)
    assert not sums.finite
    with pytest.raises(ArithmeticError, match="not finite"):
        sums.curvature()


def together(w: np.ndarray, made: Rounded, found: Curvature, g: np.ndarray) -> float:
    """tr(G E H E')."""
    (block,) = found.blocks
    e = w.astype(np.float64) - made.scales[:, None].astype(np.float64) * made.q
    return float(np.einsum("rc,rc->", g @ e, e @ block.h.astype(np.float64)))


@pytest.mark.parametrize("edges", [[0, 96], [0, 32, 64, 96], [0, 70, 96]])
def test_rows_make_up_for_each_other(edges: list[int], pool: ThreadPoolExecutor) -> None:
    w, found = case(96, 128, pool)
    dy = gradients(600, 96)
    outputs, g = known(dy, edges, 0.05, pool), damped(dy, edges, 0.05)
    made, turned, q, scales = fit(w, found, 2, pool, outputs=outputs)
    alone = fit(w, found, 2, pool)[0]
    left = outputs.costs.mean() / g.diagonal().mean()  # of the cost, were every row free to make up
    assert together(turned, made, found, g) < (1.25 * left + 0.05) * together(turned, alone, found, g)
    np.testing.assert_allclose(made.cost, costs(turned, made.q, made.scales, found), rtol=2e-3)
    np.testing.assert_allclose(made.start_cost, costs(turned, q, scales, found), rtol=2e-3)
    np.testing.assert_allclose(made.whole, alone.whole, rtol=1e-4)


def test_rows_whose_gradients_have_nothing_in_common_are_rounded_alone(pool: ThreadPoolExecutor) -> None:
    w, found = case(64, 128, pool)
    outputs = OutputCurvature((0, 32, 64), (np.eye(32, dtype=np.float32),) * 2, 1.0)
    made, turned, _, _ = fit(w, found, 2, pool, outputs=outputs)
    alone = fit(w, found, 2, pool)[0]
    # sums of other tiles may round a tie the other way, or choose another scale
    assert (made.q == alone.q).all(axis=1).mean() > 0.95
    assert costs(turned, made.q, made.scales, found).sum() == pytest.approx(alone.cost.sum(), rel=0.01)


def test_neither_shares_nor_threads_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    monkeypatch.setattr(calibrated_fit, "SHARE", 3)
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            w, found = case(70, 130, pool)
            outputs = known(gradients(300, 70), [0, 35, 70], 0.1, pool)
            results.append(fit(w, found, 2, pool, outputs=outputs)[0])
    assert np.array_equal(results[0].q, results[1].q)
    assert np.array_equal(results[0].scales, results[1].scales)
