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
    places = list(mezo.places(a, 4))
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


def test_one_sided_it_looks_once_where_it_is() -> None:
    mezo, a = Mezo(7, 0.01, 3, 100.0, one_sided=True), np.array([0.5, -1.0, 2.0])
    u = [signs(7, 4, j, 3) for j in range(3)]
    np.testing.assert_array_equal(list(mezo.places(a, 4)), [a, *(a + 0.01 * each for each in u)])
    assert mezo.looks == 4 and Mezo(7, 0.01, 3, 100.0).looks == 6
    np.testing.assert_allclose(mezo.slopes([1.0, 1.5, 0.0, 1.0]), [50.0, -100.0, 0.0], rtol=1e-6)


def test_by_spread_the_steps_are_as_long_as_the_losses_differ() -> None:
    """FZOO: (f_j - f) over the standard deviation of the f_j; of no unit: ten times as steep is the same."""
    mezo = Mezo(7, 0.01, 3, 100.0, one_sided=True, by_spread=True)
    losses = np.array([1.0, 1.5, 0.0, 1.0])
    want = (losses[1:] - 1.0) / np.std(losses[1:])
    np.testing.assert_allclose(mezo.slopes(losses.tolist()), want, rtol=1e-6)
    np.testing.assert_allclose(mezo.slopes((10 * losses).tolist()), want, rtol=1e-6)
    np.testing.assert_array_equal(mezo.slopes([1.0, 2.0, 2.0, 2.0]), [0, 0, 0])
    assert np.isnan(mezo.slopes([1.0, np.nan, 2.0, 2.0])).any()


def test_by_spread_it_goes_down_a_bowl_however_steep() -> None:
    for steep in (1e-3, 1.0, 1e3):
        n, a = 30, np.ones(30)
        mezo = Mezo(0, 1e-3, 8, 100.0, one_sided=True, by_spread=True)
        for step in range(400):
            slopes = mezo.slopes([steep * float(place @ place) for place in mezo.places(a, step)])
            mezo.move(a, step, slopes, 0.05 * (1 - step / 400))
        assert a @ a < 1e-2 * n


def test_the_reach_is_in_the_look_and_in_the_move() -> None:
    reach = np.array([1.0, 0.0, 0.5])
    mezo, a = Mezo(7, 0.01, 1, 100.0, reach), np.array([0.5, -1.0, 2.0])
    u = signs(7, 0, 0, 3) * reach
    np.testing.assert_array_equal(list(mezo.places(a, 0)), [a + 0.01 * u, a - 0.01 * u])
    moved = a.copy()
    mezo.move(moved, 0, np.array([2.0], np.float32), 0.1)
    np.testing.assert_allclose(moved, a - 0.1 * 2.0 * u, rtol=1e-12)


@pytest.mark.parametrize(("directions", "one_sided"), [(1, False), (4, False), (1, True), (4, True)])
def test_it_goes_down_a_bowl(directions: int, one_sided: bool) -> None:
    n = 30
    mezo, a = Mezo(0, 1e-3, directions, 100.0, one_sided=one_sided), np.ones(n)
    for step in range(400):
        slopes = mezo.slopes([float(place @ place) for place in mezo.places(a, step)])
        mezo.move(a, step, slopes, 0.01)
    assert a @ a < 1e-3 * n
