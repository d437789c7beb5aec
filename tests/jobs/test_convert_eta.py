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
        guess = left.update(500 + 10 * second)
        assert guess == (pytest.approx((1000 - 10 * second) / 10, rel=0.4) if second > 1 else guess)
    assert guess == pytest.approx(41, rel=0.02)


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
