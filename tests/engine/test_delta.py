"""Matrices that are added: a matrix with one is the sum, its gradients are torch's and the slope."""

from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN, SEED, added_gradients, close, filled, prefix_of, states
from reference.converted import write_converted
from reference.model import ReferenceModel

from bitconverter.engine import (
    MATRICES,
    Block,
    Engine,
    InvalidError,
    Model,
    Session,
    quantize_planes,
)

MLP = ("gate", "up", "down")
TORCH = sorted(path.parent.name for path in GOLDEN.glob("*/delta.npz"))
WINDOW = 29


def added(block: Block, names: tuple[str, ...] = MATRICES) -> dict[str, np.ndarray]:
    """Random ones, set."""
    rng, made = np.random.default_rng(4), {}
    for name in names:
        made[name] = (rng.standard_normal(block.shapes[name]) * 0.1).astype(np.float32)
        block.set_delta(name, made[name])
    return made


@pytest.mark.parametrize("family", TORCH)
def test_whole_models_have_the_gradients_that_torch_gives(engine: Engine, family: str) -> None:
    want = np.load(GOLDEN / family / "delta.npz")

    def put(block: Block, layer: int) -> None:
        for name in MLP:
            block.set_delta(name, want[f"d.{layer}.{name}"])

    found = added_gradients(engine, GOLDEN / family, float(want["loss"]), put, "delta", MLP)
    for layer, to in enumerate(found):
        for name in MLP:
            close(to.delta[name], want[f"dd.{layer}.{name}"], 1e-3)


def test_torch_is_there() -> None:
    assert "smollm2" in TORCH


@pytest.mark.parametrize("family", ["smollm2", "qwen3", "llama-bias"])
def test_it_is_the_sum_of_both(engine: Engine, family: str) -> None:
    """Forwards, backwards and over windows of different lengths; taken off, nothing is left."""
    block, merged = (filled(engine, GOLDEN / family, 0, WINDOW) for _ in range(2))
    x, dy = states(block, 3, WINDOW)
    plain = x.copy()
    block.forward(plain, capture=())
    model = ReferenceModel(GOLDEN / family)
    for name, d in added(block).items():
        prefix = prefix_of(0, name)
        weight = model.tensors[prefix + ".weight"].astype(np.float32)
        merged.set_dense(name, weight + d, model.tensors.get(prefix + ".bias"))
    ends, backs = [x.copy(), x.copy()], [dy.copy(), dy.copy()]
    for one, end, back in zip((block, merged), ends, backs, strict=True):
        one.forward(end, capture=())
        one.backward(x, back)
    close(ends[0], ends[1], 1e-4)
    close(backs[0], backs[1], 1e-4)
    assert np.abs(ends[0] - plain).max() > 0.01
    packed = x.reshape(-1, block.hidden_size).copy()
    block.windows(packed, np.full(3, WINDOW, np.int32))
    close(packed.reshape(x.shape), ends[0], 1e-4)
    for name in MATRICES:
        block.set_delta(name, None)
    block.forward(x, capture=())
    np.testing.assert_array_equal(x, plain)


def test_the_gradient_is_the_slope(engine: Engine) -> None:
    block = filled(engine, GOLDEN / "smollm2", 1, WINDOW)
    made = added(block)
    x, dy = states(block, 2, WINDOW)
    to = block.gradients(("delta",))
    block.backward(x, dy.copy(), to)
    rng = np.random.default_rng(9)
    ways = {name: rng.standard_normal(d.shape) for name, d in made.items()}
    want = sum(float((ways[name] * to.delta[name]).sum()) for name in made)
    ends = []
    for step in (1e-3, -1e-3):
        for name, d in made.items():
            block.set_delta(name, (d + step * ways[name]).astype(np.float32))
        y = x.copy()
        block.forward(y, capture=())
        ends.append(float((y.astype(np.float64) * dy).sum()))
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(want, rel=2e-3)


def test_over_planes_too_and_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    folder, results = tmp_path / "model", []
    write_converted(GOLDEN / "qwen3", folder, 2, seed=SEED)
    for threads in (1, 3):
        block = filled(Engine(threads), folder, 0, WINDOW)
        made = added(block, MLP)
        x, dy = states(block, 12, WINDOW)  # more tokens than a batch
        to = block.gradients(("delta",), matrices=MLP)
        block.backward(x, dy, to)
        block.forward(x, capture=())
        results.append([x, dy, *to.delta.values()])
        assert set(to.delta) == set(made)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_takes_planes_and_gives_them_back(engine: Engine, tmp_path: Path) -> None:
    """A batch, few tokens and one token at a time; the same as a layer with that matrix added."""
    folder = tmp_path / "model"
    write_converted(GOLDEN / "smollm2", folder, 2, seed=SEED)
    model, tokens = Model(engine, folder), [5, 17, 3, 60, 9, 11] * 8

    def logits(ids: list[int], one_by_one: bool = False) -> np.ndarray:
        session = Session(model, n_ctx=64)
        if one_by_one:
            return np.stack([np.ravel(session.forward([token])) for token in ids])
        result = session.forward(ids, all_positions=True)
        assert result is not None
        return result

    before = logits(tokens)
    block = filled(engine, folder, 1, WINDOW)
    d = (np.random.default_rng(3).standard_normal(block.shapes["up"]) * 0.2).astype(np.float32)
    planes, scales, _ = quantize_planes(engine, d, seed=SEED, n_planes=3, exact_scales=True)
    model.set_delta(1, "up", planes, scales)
    after = logits(tokens)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(logits(tokens[:6]), after[:6])
    np.testing.assert_array_equal(logits(tokens[:6], one_by_one=True), after[:6])
    model.set_delta(1, "up", None)
    np.testing.assert_array_equal(logits(tokens), before)


def test_misuse_is_a_sentence(engine: Engine, tmp_path: Path) -> None:
    block, model = filled(engine, GOLDEN / "smollm2", 0, WINDOW), Model(engine, GOLDEN / "smollm2")
    rows, cols = block.shapes["up"]
    for bad in (np.zeros((rows, cols - 1), np.float32), np.zeros((rows, cols))):
        with pytest.raises(InvalidError, match="cannot be added to up"):
            block.set_delta("up", bad)
    planes = np.zeros((2, -(-rows // 5), cols), np.uint8)
    with pytest.raises(InvalidError, match="cannot be added"):
        model.set_delta(0, "up", planes[:, 1:], np.zeros(rows, np.float32))
    with pytest.raises(InvalidError, match="is not planes"):
        model.set_delta(0, "up", planes, np.zeros(rows, np.float32))
    with pytest.raises(InvalidError, match="layer is 9"):
        model.set_delta(9, "up", None)
    block.set_delta("up", np.zeros((rows, cols), np.float32))
    x, dy = states(block, 1, WINDOW)
    with pytest.raises(InvalidError, match="its gain has no gradient"):
        block.backward(x, dy, block.gradients(("gain",)))
