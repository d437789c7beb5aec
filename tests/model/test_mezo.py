"""MeZO: directions come from numbers alone, the step is what the definition says, and it descends."""

import numpy as np
import pytest

from bitconverter.model.mezo import Mezo, signs

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mixed(x: int) -> int:
    """splitmix64's finaliser in whole numbers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def one_sign(seed: int, step: int, direction: int, i: int) -> int:
    start = 0
    for word in (seed, step, direction):
        start = mixed(start + GOLDEN * (word + 1) & MASK)
    number = mixed(start + GOLDEN * (i // 64 + 1) & MASK)
    return 1 if number >> (i % 64) & 1 else -1


def test_signs_are_counted_out_not_stored() -> None:
    u = signs(2**53 - 1, 19_999, 3, 200)
    assert [one_sign(2**53 - 1, 19_999, 3, i) for i in range(200)] == u.tolist()
    np.testing.assert_array_equal(signs(2**53 - 1, 19_999, 3, 70), u[:70])


def test_directions_have_nothing_to_do_with_each_other() -> None:
    n = 100_000
    base = signs(1, 2, 0, n)
    others = [signs(1, 3, 0, n), signs(1, 2, 1, n), signs(2, 2, 0, n), signs(2, 1, 0, n)]
    for other in others:
        assert abs(float(base @ other)) < 5 * np.sqrt(n)
    assert abs(base.sum()) < 5 * np.sqrt(n)


def test_a_step_is_the_definition() -> None:
    mezo, a = Mezo(seed=7, epsilon=0.01, directions=2, clip=2.0), np.array([0.5, -1.0, 2.0])
    places = mezo.places(a, 4)
    u = [signs(7, 4, j, 3) for j in range(2)]
    want = [a + 0.01 * u[0], a - 0.01 * u[0], a + 0.01 * u[1], a - 0.01 * u[1]]
    np.testing.assert_array_equal(places, want)
    slopes = mezo.slopes([1.01, 1.0, 3.0, 3.5])
    assert slopes.dtype == np.float32
    np.testing.assert_allclose(slopes, [0.5, -2.0], rtol=1e-6)  # the second one is cut
    assert np.isnan(mezo.slopes([np.nan, 1.0, 0.0, 0.0])[0])
    moved = a.copy()
    mezo.move(moved, 4, slopes, 0.1)
    np.testing.assert_allclose(moved, a - 0.1 / 2 * (slopes[0] * u[0] + slopes[1] * u[1]), rtol=1e-12)


@pytest.mark.parametrize("directions", [1, 4])
def test_it_goes_down_a_bowl(directions: int) -> None:
    n = 30
    mezo, a = Mezo(0, 1e-3, directions, 100.0), np.ones(n)
    for step in range(400):
        slopes = mezo.slopes([float(place @ place) for place in mezo.places(a, step)])
        mezo.move(a, step, slopes, 0.01)
    assert a @ a < 1e-3 * n
