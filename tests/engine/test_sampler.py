"""Sampling: what each knob keeps, and that a seed reproduces a text."""

import numpy as np
import pytest

from bitconverter.engine import InvalidError, Sampler, sample

PLAIN = Sampler(temperature=1.0, top_p=1.0, min_p=0.0, top_k=0, repeat_penalty=1.0)


def draws(
    logits: np.ndarray, sampler: Sampler, n: int = 4000, history: list[int] | None = None
) -> np.ndarray:
    counts = np.zeros(len(logits), int)
    for i in range(n):
        counts[sample(logits, sampler, history or [], counter=i)] += 1
    return counts


def with_(**changes: float) -> Sampler:
    return Sampler(**{**PLAIN.__dict__, **changes})  # type: ignore[arg-type]


def test_greedy_takes_the_first_of_the_largest() -> None:
    assert sample(np.array([0, 3, 1, 3], np.float32), Sampler(temperature=0)) == 1


def test_draws_follow_the_softmax() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    counts = draws(np.log(p).astype(np.float32), PLAIN, 20_000)
    np.testing.assert_allclose(counts / 20_000, p, atol=0.015)


def test_temperature_sharpens() -> None:
    p = np.array([0.6, 0.4])
    cold = draws(np.log(p).astype(np.float32), with_(temperature=0.5))
    assert cold[0] / cold.sum() == pytest.approx(0.36 / 0.52, abs=0.03)


def test_top_k_top_p_and_min_p_keep_the_right_tokens() -> None:
    logits = np.log(np.array([0.05, 0.5, 0.15, 0.3])).astype(np.float32)
    assert set(np.flatnonzero(draws(logits, with_(top_k=2)))) == {1, 3}
    assert set(np.flatnonzero(draws(logits, with_(top_p=0.6)))) == {1, 3}
    assert set(np.flatnonzero(draws(logits, with_(top_p=0.4)))) == {1}
    assert set(np.flatnonzero(draws(logits, with_(min_p=0.2)))) == {1, 2, 3}


def test_the_penalty_sees_recent_tokens_once_whatever_their_sign() -> None:
    logits = np.array([2.0, 1.9, -1.0, -1.1], np.float32)
    greedy = Sampler(temperature=0, repeat_penalty=1.2)
    assert sample(logits, greedy, [0, 0, 0]) == 1
    low = np.array([-1.0, -1.1], np.float32)
    assert sample(low, greedy, [0]) == 1
    forgets = Sampler(temperature=0, repeat_penalty=1.2, repeat_last_n=1)
    assert sample(logits, forgets, [0, 3]) == 0


def test_same_seed_same_token_other_seed_other_stream() -> None:
    logits = np.random.default_rng(0).standard_normal(1000).astype(np.float32)

    def stream(seed: int) -> list[int]:
        return [sample(logits, with_(seed=seed), counter=i) for i in range(50)]

    assert stream(1) == stream(1)
    assert stream(1) != stream(2)
    assert len(set(stream(1))) > 10


@pytest.mark.parametrize(
    "bad",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"repeat_penalty": 0}, {"top_k": -1}],
)
def test_a_bad_knob_is_a_sentence(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidError, match=next(iter(bad))):
        sample(np.zeros(4, np.float32), with_(**bad))


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidError, match="token 2"):
        sample(np.array([0, 1, np.nan, 0], np.float32), PLAIN)


def kept(logits: np.ndarray, sampler: Sampler) -> dict[int, float]:
    """The tokens that may be drawn and how likely, by sorting everything."""
    x = logits / np.float32(sampler.temperature)
    order = np.lexsort((np.arange(len(x)), -x))[: sampler.top_k or len(x)]
    p = np.exp((x[order] - x[order[0]]).astype(np.float64))
    p /= p.sum()
    count = len(p)
    if sampler.top_p < 1:
        count = int(np.searchsorted(np.cumsum(p), sampler.top_p)) + 1
    while count > 1 and p[count - 1] < sampler.min_p * p[0]:
        count -= 1
    p = p[:count] / p[:count].sum()
    return dict(zip(order[:count].tolist(), p.tolist(), strict=True))


@pytest.mark.parametrize(
    "knobs",
    [
        {"top_k": 40},
        {"top_k": 300, "top_p": 0.9},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"top_p": 0.95, "min_p": 0.05, "temperature": 0.5},
        {"top_p": 0.9999, "temperature": 0.7},
    ],
    ids=str,
)
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_a_large_vocabulary_keeps_what_sorting_all_of_it_keeps(
    knobs: dict[str, float], spread: float
) -> None:
    draw = np.random.default_rng(7)
    logits = np.round(draw.normal(0, spread, 5000), 1).astype(np.float32)  # many ties
    expected = kept(logits, with_(**knobs))
    counts = draws(logits, with_(**knobs), 1000)
    assert set(np.flatnonzero(counts).tolist()) <= set(expected)
    likely = [token for token, p in expected.items() if p > 0.02]
    for token in likely:
        assert counts[token] / 1000 == pytest.approx(expected[token], abs=0.05)


def test_logits_that_are_masked_out_weigh_nothing() -> None:
    """Divided by the temperature they are no longer finite."""
    logits = np.zeros(3000, np.float32)
    logits[1000:] = np.finfo(np.float32).min
    counts = draws(logits, with_(top_p=0.95, temperature=0.7), 4000)
    assert counts[1000:].sum() == 0
    assert len(np.flatnonzero(counts)) > 800  # of 950 that are as likely


def test_a_penalty_keeps_logits_finite() -> None:
    extreme = np.array([np.finfo(np.float32).min, 1, 2], np.float32)
    assert sample(extreme, Sampler(temperature=0, repeat_penalty=1.5), [0]) == 2
    assert sample(-extreme, Sampler(temperature=0, repeat_penalty=0.5), [0]) == 0
    with pytest.raises(InvalidError, match="token 0 "):
        sample(np.array([np.inf, 1], np.float32), Sampler(temperature=0, repeat_penalty=2.0), [0])


@pytest.mark.parametrize("size", [1, 31, 32, 33, 63, 64, 65, 100, 130])
def test_greedy_finds_the_largest_anywhere(size: int) -> None:
    for place in range(size):
        logits = np.full(size, -3.0, np.float32)
        logits[place:] = 2.0
        assert sample(logits, Sampler(temperature=0)) == place
        logits[place] = np.inf
        with pytest.raises(InvalidError, match=f"token {place} "):
            sample(logits, Sampler(temperature=0))


def test_a_token_that_is_there_thrice_is_penalised_once() -> None:
    logits = np.array([2.0, 1.5], np.float32)  # 2 / 1.2 is above 1.5, and 2 / 1.2 / 1.2 is not
    assert sample(logits, Sampler(temperature=0, repeat_penalty=1.2), [0, 0, 0]) == 0


def test_tokens_that_no_logit_is_of_are_ignored_in_the_history() -> None:
    logits = np.array([2.0, 1.5], np.float32)
    assert sample(logits, Sampler(temperature=0, repeat_penalty=9.0), [2, -1, 2**31 - 1]) == 0


def test_top_p_ends_with_the_token_that_reaches_it_exactly() -> None:
    counts = draws(np.zeros(4, np.float32), with_(top_p=0.5), 200)
    assert set(np.flatnonzero(counts)) == {0, 1}


def test_min_p_keeps_what_is_exactly_as_likely_as_it_asks() -> None:
    counts = draws(np.zeros(3, np.float32), with_(min_p=1.0), 200)
    assert set(np.flatnonzero(counts)) == {0, 1, 2}
