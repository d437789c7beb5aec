"""Low-rank additions: a matrix with one is the matrix with B A added, its gradients are torch's and the slope."""

from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN, SEED, added_gradients, close, filled, prefix_of, states
from reference.converted import write_converted
from reference.model import ReferenceModel
from safetensors.numpy import save_file

from bitconverter.engine import (
    MATRICES,
    Block,
    BlockGradients,
    Engine,
    InvalidError,
    Model,
    Session,
)

TORCH = sorted(path.parent.name for path in GOLDEN.glob("*/lora.npz"))
WINDOW = 29


def additions(
    block: Block, names: tuple[str, ...] = MATRICES, rank: int = 5
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random ones, set."""
    rng, made = np.random.default_rng(4), {}
    for name in names:
        rows, cols = block.shapes[name]
        a = (rng.standard_normal((rank, cols)) / np.sqrt(cols)).astype(np.float32)
        made[name] = a, (rng.standard_normal((rank, rows)) * 0.2).astype(np.float32)
        block.set_lora(name, *made[name])
    return made


@pytest.mark.parametrize("family", TORCH)
def test_whole_models_have_the_gradients_that_torch_gives(engine: Engine, family: str) -> None:
    want = np.load(GOLDEN / family / "lora.npz")

    def put(block: Block, layer: int) -> None:
        for name in MATRICES:
            block.set_lora(name, want[f"a.{layer}.{name}"], want[f"b.{layer}.{name}"])

    found = added_gradients(engine, GOLDEN / family, float(want["loss"]), put, "lora")
    for layer, to in enumerate(found):
        for name in MATRICES:
            for short, got in zip("ab", to.lora[name], strict=True):
                close(got, want[f"d{short}.{layer}.{name}"], 1e-3)


def test_torch_covers_what_matters() -> None:
    assert {"qwen2-window", "qwen3", "smollm2"} <= set(TORCH)


@pytest.mark.parametrize("family", ["smollm2", "qwen3", "llama-bias"])
def test_it_is_the_matrix_with_the_product_added(engine: Engine, family: str) -> None:
    """Forwards, backwards and over windows of different lengths; taken off, nothing is left."""
    block, merged = (filled(engine, GOLDEN / family, 0, WINDOW) for _ in range(2))
    x, dy = states(block, 3, WINDOW)
    plain = x.copy()
    block.forward(plain, capture=())
    model = ReferenceModel(GOLDEN / family)
    for name, (a, b) in additions(block).items():
        prefix = prefix_of(0, name)
        bias = model.tensors.get(prefix + ".bias")
        merged.set_dense(name, (model.tensors[prefix + ".weight"].astype(np.float32) + b.T @ a), bias)
    ends = [x.copy(), x.copy()]
    backs = [dy.copy(), dy.copy()]
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
        block.set_lora(name, None)
    block.forward(x, capture=())
    np.testing.assert_array_equal(x, plain)


def test_the_gradient_is_the_slope(engine: Engine) -> None:
    block = filled(engine, GOLDEN / "smollm2", 1, WINDOW)
    made = additions(block)
    x, dy = states(block, 2, WINDOW)
    to = block.gradients(("lora",))
    block.backward(x, dy.copy(), to)
    rng = np.random.default_rng(9)
    ways = {name: [rng.standard_normal(part.shape) for part in pair] for name, pair in made.items()}
    want = sum(
        float((way * got).sum()) for name in made for way, got in zip(ways[name], to.lora[name], strict=True)
    )
    ends = []
    for step in (1e-3, -1e-3):
        for name, pair in made.items():
            block.set_lora(
                name,
                *((part + step * way).astype(np.float32) for part, way in zip(pair, ways[name], strict=True)),
            )
        y = x.copy()
        block.forward(y, capture=())
        ends.append(float((y.astype(np.float64) * dy).sum()))
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(want, rel=2e-3)


def test_over_planes_too_and_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    folder, results = tmp_path / "model", []
    write_converted(GOLDEN / "qwen3", folder, 2, seed=SEED)
    for threads in (1, 3):
        block = filled(Engine(threads), folder, 0, WINDOW)
        additions(block, ("q", "o", "down"))
        x, dy = states(block, 4, WINDOW)
        to = block.gradients(("lora", "bias"))
        block.backward(x, dy, to)
        block.forward(x, capture=())
        results.append([x, dy, *(part for pair in to.lora.values() for part in pair)])
        assert set(to.lora) == {"q", "o", "down"}
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_takes_them_and_gives_them_back(engine: Engine, tmp_path: Path) -> None:
    model, tokens = Model(engine, GOLDEN / "smollm2"), [5, 17, 3, 60, 9]

    def logits(of: Model) -> np.ndarray:
        result = Session(of, n_ctx=8).forward(tokens, all_positions=True)
        assert result is not None
        return result

    before = logits(model)
    block = filled(engine, GOLDEN / "smollm2", 1, WINDOW)
    pair = additions(block, ("up",))["up"]
    model.set_lora(1, "up", *pair)
    tensors = ReferenceModel(GOLDEN / "smollm2").tensors
    widened = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    widened["model.layers.1.mlp.up_proj.weight"] += pair[1].T @ pair[0]
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "config.json").write_bytes((GOLDEN / "smollm2" / "config.json").read_bytes())
    save_file(widened, merged / "model.safetensors")
    close(logits(model), logits(Model(engine, merged)), 1e-3)
    assert np.abs(logits(model) - before).max() > 1e-3
    model.set_lora(1, "up", None, None)
    np.testing.assert_array_equal(logits(model), before)


def test_one_token_at_a_time_gives_the_same_logits(engine: Engine, tmp_path: Path) -> None:
    write_converted(GOLDEN / "smollm2", tmp_path / "model", 2, seed=SEED)
    model, tokens = Model(engine, tmp_path / "model"), [5, 17, 3, 60, 9, 11]
    for name, pair in additions(filled(engine, GOLDEN / "smollm2", 0, WINDOW)).items():
        model.set_lora(0, name, *pair)
    together = Session(model, n_ctx=8).forward(tokens, all_positions=True)
    session, alone = Session(model, n_ctx=8), []
    for token in tokens:
        logits = session.forward([token])
        assert logits is not None
        alone.append(np.ravel(logits))
    assert together is not None
    np.testing.assert_array_equal(np.stack(alone), together)


def test_misuse_is_a_sentence(engine: Engine) -> None:
    block, model = filled(engine, GOLDEN / "smollm2", 0, WINDOW), Model(engine, GOLDEN / "smollm2")
    rows, cols = block.shapes["q"]
    a, b = np.zeros((2, cols), np.float32), np.zeros((2, rows), np.float32)
    for bad in ((a, None), (a, b[:1]), (a[:, 1:], b), (a[:0], b[:0]), (a[0], b)):
        with pytest.raises(InvalidError, match="low-rank addition"):
            block.set_lora("q", *bad)
        with pytest.raises(InvalidError, match="low-rank addition"):
            model.set_lora(0, "q", *bad)
    wide = np.zeros((257, cols), np.float32), np.zeros((257, rows), np.float32)
    with pytest.raises(InvalidError, match="rank is 257"):
        block.set_lora("q", *wide)
    with pytest.raises(InvalidError, match="layer is 9"):
        model.set_lora(9, "q", a, b)
    with pytest.raises(InvalidError, match="'x' is not one of"):
        model.set_lora(0, "x", a, b)
    x, dy = states(block, 1, WINDOW)
    block.set_lora("q", a, b)
    gradients = block.gradients(("lora",))
    with pytest.raises(InvalidError, match="its gain has no gradient"):
        block.backward(x, dy, block.gradients(("gain",)))
    block.set_lora("q", None)
    with pytest.raises(InvalidError, match="other ranks"):
        block.backward(x, dy, gradients)
    assert isinstance(gradients, BlockGradients)
