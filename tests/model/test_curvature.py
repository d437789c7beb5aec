"""H, its damping and its factor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bitconverter.model import curvature
from bitconverter.model.curvature import DAMPING, Moments, block_edges


def inputs(tokens: int, cols: int, rank: int = 0) -> np.ndarray:
    draw = np.random.default_rng(cols)
    x = draw.standard_normal((tokens, rank or cols)) @ draw.standard_normal((rank or cols, cols))
    return np.asarray(x, np.float32)


def moments(x: np.ndarray, pool: ThreadPoolExecutor) -> Moments:
    made = Moments(x.shape[1], 10**6)
    made.add(x, pool)
    return made


def expected(x: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
    """H of some columns as docs/MODEL.md says, in f64."""
    wide = x.astype(np.float64)
    h = wide[:, columns].T @ wide[:, columns] / np.square(wide).sum(axis=0).mean()
    return h + DAMPING * np.eye(len(h))


def test_h_is_the_damped_second_moment_and_u_factors_its_inverse(pool: ThreadPoolExecutor) -> None:
    x = inputs(3000, 300)  # more than a tile of rows
    found = moments(x, pool).curvature()
    (block,) = found.blocks
    h = expected(x)
    np.testing.assert_allclose(block.h, h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(block.u.astype(np.float64).T @ block.u @ h, np.eye(300), atol=2e-3)
    assert (np.tril(block.u, -1) == 0).all()
    np.testing.assert_allclose(found.importance, 1 / np.diagonal(block.u) ** 2, rtol=1e-6)
    assert found.damping == DAMPING
    assert found.mean == pytest.approx(np.square(x.astype(np.float64)).mean())


def test_pieces_and_threads_do_not_change_a_bit() -> None:
    x = inputs(5000, 96)
    results = []
    for threads, parts in ((1, [5000]), (3, [5000]), (2, [2048, 1024, 1928])):
        with ThreadPoolExecutor(threads) as pool:
            made = Moments(96, len(x))
            for part in np.split(x, np.cumsum(parts)[:-1]):
                made.add(part, pool)
        results.append(made.curvature().blocks[0])
    for other in results[1:]:
        assert np.array_equal(results[0].h, other.h) and np.array_equal(results[0].u, other.u)


def test_a_dead_input_counts_as_an_average_one(pool: ThreadPoolExecutor) -> None:
    x = inputs(500, 40)
    x[:, [3, 17]] = 0
    found = moments(x, pool).curvature()
    assert found.blocks[0].h[3, 3] == pytest.approx(1 + DAMPING)
    assert np.isfinite(found.blocks[0].u).all()


def test_all_inputs_dead_is_the_identity(pool: ThreadPoolExecutor) -> None:
    found = moments(np.zeros((100, 20), np.float32), pool).curvature()
    np.testing.assert_allclose(found.blocks[0].h, (1 + DAMPING) * np.eye(20), rtol=1e-6)


def test_inputs_that_depend_on_each_other_are_damped(pool: ThreadPoolExecutor) -> None:
    found = moments(inputs(200, 300, rank=5), pool).curvature()
    assert np.isfinite(found.blocks[0].u).all()
    assert found.damping == DAMPING


def test_what_cannot_be_factored_gets_more_damping(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curvature, "DAMPING", -1e-3)  # makes a matrix of rank 5 indefinite
    monkeypatch.setattr(curvature, "MORE_DAMPING", -30.0)
    found = moments(inputs(200, 50, rank=5), pool).curvature()
    assert found.damping == pytest.approx(0.03)
    assert np.isfinite(found.blocks[0].u).all()


@pytest.mark.parametrize(
    ("cols", "edges"),
    [
        (576, [0, 576]),
        (8960, [0, 8960]),
        (11008, [0, 3712, 7424, 11008]),
        (14336, [0, 4864, 9728, 14336]),
        (18944, [0, 4736, 9472, 14208, 18944]),
        (9217, [0, 4736, 9217]),
    ],
)
def test_wide_inputs_have_blocks(cols: int, edges: list[int]) -> None:
    assert block_edges(cols, 10**6) == edges


@pytest.mark.parametrize(
    ("cols", "tokens", "edges"),
    [
        (1536, 6144, [0, 1536]),
        (1536, 6143, [0, 768, 1536]),
        (8960, 12288, [0, 3072, 6144, 8960]),
        (14336, 2048, [*range(0, 14336, 512), 14336]),
        (576, 3, [0, 128, 256, 384, 512, 576]),
        (300, 1023, [0, 128, 256, 300]),
        (100, 3, [0, 100]),
    ],
)
def test_few_tokens_have_narrow_blocks(cols: int, tokens: int, edges: list[int]) -> None:
    assert block_edges(cols, tokens) == edges


def test_no_block_is_wider_than_a_quarter_of_the_tokens() -> None:
    draw = np.random.default_rng(2)
    for cols, tokens in zip(draw.integers(1, 20000, 500), draw.integers(1, 60000, 500), strict=True):
        edges = np.array(block_edges(int(cols), int(tokens)))
        assert edges[0] == 0 and edges[-1] == cols
        assert (np.diff(edges) > 0).all()
        assert np.diff(edges).max() <= max(tokens // 4, 128), (cols, tokens)


def test_few_tokens_tell_what_rounding_costs_as_many_do(pool: ThreadPoolExecutor) -> None:
    """Entries that say nothing of each other: one block of 512 of them seems to know much."""
    x = np.random.default_rng(1).standard_normal((20000, 512), np.float32)

    def cost(tokens: int, told: int) -> float:
        made = Moments(512, told)
        made.add(x[:tokens], pool)
        return float(made.curvature().importance.mean())

    many = cost(20000, 20000)
    assert many == pytest.approx(1 + DAMPING, rel=0.02)
    assert cost(600, 600) == pytest.approx(many, rel=0.15)
    assert cost(600, 20000) < 0.7 * many  # what narrow blocks are for


def test_blocks_are_factored_by_themselves(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs(700, 80)
    monkeypatch.setattr(curvature, "MAX_BLOCK", 64)
    monkeypatch.setattr(curvature, "WIDE_BLOCK", 64)
    monkeypatch.setattr(curvature, "BLOCK_STEP", 8)
    blocks = moments(x, pool).curvature().blocks
    assert [(b.start, b.stop) for b in blocks] == [(0, 40), (40, 80)]
    for b in blocks:
        np.testing.assert_allclose(b.h, expected(x, slice(b.start, b.stop)), rtol=1e-4, atol=1e-5)


def test_sums_beyond_the_numbers_are_refused(pool: ThreadPoolExecutor) -> None:
    made = moments(inputs(50, 8) * np.float32(1e22), pool)
    assert not made.finite
    with pytest.raises(ArithmeticError):
        made.curvature()
