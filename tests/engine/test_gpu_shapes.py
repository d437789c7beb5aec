"""Heads of 64 and 128 dimensions on a graphics card: native/cuda/kernels/attend_fast.cuh, which no golden model
reaches, against the scalar kernels of the processor. Also norms of queries and keys, windows that begin in another
part of the context, parts of more than one tile, few positions and more of them (bc_plan_attention), and gate and up in
one go (bc_gpu_gated) for 1, 4 and 20 tokens.

A model of one layer shows errors sharply. What its cache gets is the same on both sides, so each position is by
itself: float sums in another order change it by some 1e-7, and where that moves an activation over a rounding
boundary, which is rare, by some percent. An error changes them all.
"""

from pathlib import Path

import numpy as np
import pytest
from card_models import EMULATED, VOCAB, Shape, an_engine, write_model

from bitconverter import engine
from bitconverter.engine import Session

pytestmark = pytest.mark.gpu

WINDOW = {"sliding_window": 67}  # more than a part's 64 positions, fewer than there are
ONE_LAYER = [
    Shape(64, 2, 2),
    Shape(64, 3, 1),
    Shape(64, 8, 1, kind="qwen3"),
    Shape(64, 12, 1, kind="mistral", more=WINDOW),
    Shape(128, 2, 2, kind="qwen3"),
    Shape(128, 3, 1, kind="mistral", more=WINDOW),
    Shape(128, 8, 1),
    Shape(128, 12, 1),
    Shape(
        64, 40, 8
    ),  # so many blocks that four tokens behind 73 positions are more than a card has processors for
    Shape(128, 36, 12),
]
TOKENS = np.random.default_rng(1).integers(0, VOCAB, 76).astype(np.int32)
PROMPT, ALONE = 70, 73  # positions: up to the first in batches, to the second one by one, then with others
BATCH = 50  # the prompt's other 20 tokens are few enough for other kernels
N_CTX = 96


def differences(card: engine.Engine, folder: Path, kv: str) -> np.ndarray:
    """Of each row of logits, the largest difference between card and processor, as a part of the largest logit."""
    there, here = engine.Model(card, folder), engine.Model(an_engine("scalar"), folder)
    params = engine.PlacementParams(n_ctx=N_CTX, n_batch=BATCH, kv=kv, n_sessions=4)
    assert engine.place(there, params).head
    rows: list[list[np.ndarray]] = []
    for model in (there, here):
        session, *others = (Session(model, n_ctx=N_CTX, n_batch=BATCH, kv=kv) for _ in range(4))
        others[0].forward(TOKENS[:5], want_logits=False)
        found = [session.forward(TOKENS[:PROMPT], all_positions=True)]
        found += [session.forward([int(token)]) for token in TOKENS[PROMPT:ALONE]]
        found += [engine.forward_together([session, *others], [int(t)] * 4) for t in TOKENS[ALONE:]]
        rows.append(found)  # type: ignore[arg-type]
    found, expected = (np.concatenate(each) for each in rows)
    assert np.isfinite(found).all() and expected.std() > 1
    worst: np.ndarray = np.abs(found - expected).max(axis=1) / np.abs(expected).max()
    return worst


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("shape", ONE_LAYER, ids=str)
def test_one_layer_is_the_processors_but_for_rare_roundings(
    card: engine.Engine, tmp_path: Path, shape: Shape, kv: str
) -> None:
    """Over an int8 cache the processor rounds queries and weights to 16 bits, which the card does not: there a rounding
    of what comes next falls the other way in many rows, but is as small."""
    worst = differences(card, write_model(tmp_path, shape), kv)
    assert worst.max() <= 0.05, worst
    if kv == "int8":
        assert worst.mean() <= 0.01, worst
        return
    for part in (worst[:BATCH], worst[BATCH:PROMPT], worst[PROMPT:ALONE], worst[ALONE:]):
        assert np.median(part) <= 1e-5, part
    assert (worst > 1e-5).mean() <= 0.15 and worst.mean() <= 0.002, worst


@pytest.mark.parametrize("planes", [(3, 1, 2), (2, 4, 3)])
def test_matrices_with_an_input_in_common_have_planes_of_their_own(
    card: engine.Engine, tmp_path: Path, planes: tuple[int, int, int]
) -> None:
    """More tiles than blocks take at once: a block's second tile is another matrix's."""
    q, k, v = planes
    counts = {f"{name}_proj": n for name, n in zip(("q", "k", "v", "o"), (q, k, v, 2), strict=True)}
    counts |= {"gate_proj": q, "up_proj": q, "down_proj": v}
    shape = Shape(128, 12, 12, kind="qwen2", inner=1000)
    worst = differences(card, write_model(tmp_path, shape, counts), "f16")
    assert np.median(worst) <= 1e-5 and worst.max() <= 0.05, worst


@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_two_layers_stay_near(card: engine.Engine, tmp_path: Path, kv: str) -> None:
    """A rounding of the first layer is in the second one's cache, and so in all later positions."""
    worst = differences(card, write_model(tmp_path, Shape(64, 6, 2, layers=2), planes=3), kv)
    assert worst.max() <= 0.08 and worst.mean() <= 0.02, worst


@pytest.mark.skipif(not EMULATED, reason="it wants a card of four processors")
def test_a_context_grows_beyond_few_positions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Up to 64 positions four blocks have two heads of four each; another session has few positions all the time."""
    monkeypatch.setenv("BC_EMULATED_PROCESSORS", "4")
    card = engine.Engine(threads=2)
    engine.open_backend(card)
    folder = write_model(tmp_path, Shape(64, 8, 2))
    there, here = engine.Model(card, folder), engine.Model(an_engine("scalar"), folder)
    assert engine.place(there, engine.PlacementParams(n_ctx=N_CTX, n_batch=BATCH, n_sessions=2)).head
    rows: list[list[np.ndarray]] = []
    for model in (there, here):
        session, other = (Session(model, n_ctx=N_CTX, n_batch=BATCH) for _ in range(2))
        session.forward(TOKENS[:60], want_logits=False)
        rows.append([each.forward([int(t)]) for t in TOKENS[60:] for each in (session, other)])  # type: ignore[misc]
    found, expected = (np.stack(each) for each in rows)
    worst = np.abs(found - expected).max(axis=-1) / np.abs(expected).max()
    assert np.median(worst) <= 1e-5 and worst.max() <= 0.05, worst
