"""The time left: unknown at first, then smooth, then right."""

import pytest

from bitconverter.jobs import eta


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(eta, "time", clock)
    return clock


def test_at_a_steady_rate_it_is_exact(clock: Clock) -> None:
    left = eta.Eta(done=500, total=1500)  # a resumed run: what was there before does not count as fast work
    for second in range(1, 60):
        clock.now += 1.0
        assert left.update(500 + 10 * second) == pytest.approx((1000 - 10 * second) / 10)


def test_it_says_nothing_before_it_can_know(clock: Clock) -> None:
    left = eta.Eta(0, 100)
    clock.now += 0.5
    assert left.update(1) is None
    clock.now += 5
    assert left.update(1) is not None


def test_without_any_progress_it_stays_silent(clock: Clock) -> None:
    left = eta.Eta(0, 100)
    clock.now += 30
    assert left.update(0) is None


def test_one_slow_step_does_not_throw_it_off(clock: Clock) -> None:
    left = eta.Eta(0, 10_000)
    for second in range(1, 61):
        clock.now += 1
        before = left.update(10 * second)
    clock.now += 1
    after = left.update(600)
    assert before is not None and after is not None
    assert after < 1.15 * before


def test_work_that_goes_in_waves_does_not_throw_it_off(clock: Clock) -> None:
    """A layer of a large model: its first half goes three times as fast as its second, a minute each."""
    left, done, guesses = eta.Eta(0, 20 * 240), 0, []
    for second in range(20 * 120):
        clock.now += 1
        done += 3 if second % 120 < 60 else 1
        guess = left.update(done)
        if second >= 5 * 120 and second < 18 * 120:
            assert guess is not None
            guesses.append(guess / (20 * 120 - second - 1))
    assert min(guesses) > 0.7 and max(guesses) < 1.35


def test_another_kind_of_work_is_told_soon(clock: Clock) -> None:
    left = eta.Eta(0, 10_000)
    for second in range(1, 301):
        clock.now += 1
        left.update(20 * second)
    clock.now += 100  # something in between, and a part that is there already
    left.skip(7000)
    clock.now += 1
    assert left.update(7005) == pytest.approx(2995 / 20, rel=0.1)  # nothing else is known yet
    for second in range(2, 61):
        clock.now += 1
        guess = left.update(7000 + 5 * second)
    assert guess == pytest.approx(2700 / 5, rel=0.5)
