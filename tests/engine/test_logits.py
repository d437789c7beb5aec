"""Likelihoods and divergences against numpy in f64."""

import numpy as np
import pytest

from bitconverter.engine import Engine, InvalidError, logits_divergence, logits_score


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def test_scores_and_divergences_are_numpys() -> None:
    rng = np.random.default_rng(0)
    p, q = (rng.standard_normal((13, 1003)).astype(np.float32) * 4 for _ in range(2))
    targets = rng.integers(0, 1003, 13).astype(np.int32)
    engine = Engine(2)
    nll, top = logits_score(engine, q, targets)
    np.testing.assert_allclose(nll, -log_softmax(q)[np.arange(13), targets], rtol=1e-6)
    np.testing.assert_array_equal(top, q.argmax(1))
    want = (np.exp(log_softmax(p)) * (log_softmax(p) - log_softmax(q))).sum(1)
    np.testing.assert_allclose(logits_divergence(engine, p, q), want, rtol=1e-5)
    np.testing.assert_allclose(logits_divergence(engine, p, p), 0, atol=1e-6)


def test_what_is_no_number_diverges_from_everything() -> None:
    """Else a model that gives none would be the best copy there is."""
    engine, good = Engine(1), np.zeros((1, 70), np.float32)
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[0, 3] = value
        everything_bad = np.full_like(good, value)
        for p, q in ((bad, good), (good, bad), (bad, bad), (everything_bad, everything_bad)):
            assert not logits_divergence(engine, p, q)[0] < np.inf


def test_wrong_shapes_and_targets_are_refused() -> None:
    engine, x = Engine(1), np.zeros((2, 5), np.float32)
    with pytest.raises(InvalidError, match="token 5"):
        logits_score(engine, x, np.array([0, 5], np.int32))
    with pytest.raises(InvalidError, match="shape"):
        logits_divergence(engine, x, x[:1])
