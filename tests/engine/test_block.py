"""One layer on its own: layer by layer it is the whole model, and its captures are the matrices' inputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_blocks import FAMILIES, GOLDEN, ISAS, SEED, config_of, filled, prefix_of
from reference.converted import write_converted
from reference.model import Linear, ReferenceModel

from bitconverter.engine import (
    CAPTURES,
    MATRICES,
    Block,
    Cancel,
    Cancelled,
    Engine,
    FormatError,
    InvalidError,
    Model,
    Session,
    UnsupportedError,
    rotate,
)

STEPS = 0.3  # what a flipped rounding of an activation may move a logit by: see test_golden.py
FIRST_READER = {"qkv": "q", "o": "o", "mlp": "gate", "down": "down"}


class Recording(ReferenceModel):
    """The numpy model; `inputs` holds what every matrix was given."""

    def __init__(self, folder: Path) -> None:
        self.inputs: dict[str, np.ndarray] = {}
        super().__init__(folder)

    def _linear(self, prefix: str) -> Callable[[np.ndarray], np.ndarray]:  # type: ignore[override]
        linear = Linear(self.tensors, prefix, self.seed)
        if "layers" not in prefix:
            return linear

        def apply(x: np.ndarray) -> np.ndarray:
            self.inputs[prefix] = x
            return linear(x)

        return apply


def run_layers(engine: Engine, folder: Path, tokens: np.ndarray) -> np.ndarray:
    """Logits by way of one Block per layer; last norm and head are numpy's."""
    model = ReferenceModel(folder)
    if model.embed.dense is None:  # rotated back by the engine: to the bit what a session starts from
        rows = model.embed.codes[tokens].astype(np.float32) * model.embed.scales[tokens, None]
        x = rotate(engine, rows, seed=SEED, inverse=True)[None]
    else:
        x = model.embed.rows(tokens)[None]
    for layer in range(model.config["num_hidden_layers"]):
        filled(engine, folder, layer, len(tokens)).forward(x, capture=())
    return model.head(model._norm(x[0], "model.norm"))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_layer_by_layer_is_the_whole_model(family: str, isa: str) -> None:
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    tokens = np.load(GOLDEN / family / "tokens.npy")
    logits = run_layers(engine, GOLDEN / family, tokens)
    assert np.abs(logits - np.load(GOLDEN / family / "logits.npy")).max() <= 1e-3


@pytest.mark.parametrize(
    "family, planes", [("smollm2", 2), ("qwen2-window", 3), ("qwen3", 2), ("llama-bias", 1)]
)
def test_with_planes_it_is_the_converted_model(
    engine: Engine, family: str, planes: int, tmp_path: Path
) -> None:
    folder = tmp_path / "converted"
    write_converted(GOLDEN / family, folder, planes, seed=SEED)
    tokens = np.load(folder / "tokens.npy")
    session = Session(Model(engine, folder), n_ctx=len(tokens), kv="f32")
    whole = session.forward(tokens, all_positions=True)
    assert whole is not None
    difference = np.abs(run_layers(engine, folder, tokens) - whole)
    assert np.median(difference) <= 1e-5
    assert difference.max() <= STEPS


@pytest.mark.parametrize("family", ["llama-bias", "smollm2", "qwen2", "qwen3-window"])
def test_captures_are_the_inputs_of_the_matrices(engine: Engine, family: str) -> None:
    folder = GOLDEN / family
    tokens = np.load(folder / "tokens.npy")
    model = Recording(folder)
    model.forward(tokens)
    x = model.embed.rows(tokens)[None].astype(np.float32)
    for layer in range(model.config["num_hidden_layers"]):
        captured = filled(engine, folder, layer, len(tokens)).forward(x)
        assert tuple(captured) == CAPTURES
        for name, got in captured.items():
            want = model.inputs[prefix_of(layer, FIRST_READER[name])]
            np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())


def test_windows_are_sequences_of_their_own(engine: Engine) -> None:
    """Longer than a batch inside the engine, so that a window takes two of them."""
    folder, window = GOLDEN / "llama3.1", 300
    hidden = ReferenceModel(folder).config["hidden_size"]
    config = json.loads(config_of(folder)) | {"max_position_embeddings": 512}
    x = np.random.default_rng(0).standard_normal((3, window, hidden)).astype(np.float32)
    block = filled(engine, folder, 1, window, config=json.dumps(config).encode())
    together = x.copy()
    captured = block.forward(together)
    for i in range(3):
        alone = x[i : i + 1].copy()
        parts = block.forward(alone, capture=("down", "o"))
        np.testing.assert_array_equal(alone[0], together[i])
        for name, part in parts.items():
            np.testing.assert_array_equal(part, captured[name][i * window : (i + 1) * window])
    again = {name: np.zeros_like(array) for name, array in captured.items()}
    kept = block.forward(x.copy(), into=again)
    for name in CAPTURES:
        assert kept[name] is again[name]
        np.testing.assert_array_equal(kept[name], captured[name])
    later = x.copy()
    later[:, 200:] += 1
    block.forward(later)
    np.testing.assert_array_equal(later[:, :200], together[:, :200])  # no token sees the ones after it
    assert np.abs(later[:, 200:] - together[:, 200:]).max() > 0.1


def test_threads_do_not_change_the_result(tmp_path: Path) -> None:
    write_converted(GOLDEN / "smollm2", tmp_path / "converted", 2, seed=SEED)
    for folder in (GOLDEN / "smollm2", tmp_path / "converted"):
        hidden = ReferenceModel(folder).config["hidden_size"]
        x = np.random.default_rng(1).standard_normal((2, 40, hidden)).astype(np.float32)
        results = []
        for threads in (1, 2, 3):
            y = x.copy()
            filled(Engine(threads), folder, 0, 40).forward(y, capture=())
            results.append(y)
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])


def test_weights_of_half_precision_are_what_they_say(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    tensors = ReferenceModel(folder).tensors
    hidden = ReferenceModel(folder).config["hidden_size"]
    x = np.random.default_rng(2).standard_normal((1, 20, hidden)).astype(np.float32)
    exact = tensors[prefix_of(0, "gate") + ".weight"]
    halves = exact.astype(np.float16)
    brains = (np.ascontiguousarray(exact).view(np.uint32) >> 16).astype(np.uint16)
    for stored, value in (
        (halves, halves.astype(np.float32)),
        (brains, (brains.astype(np.uint32) << 16).view(np.float32)),
    ):
        results = []
        for weights in (stored, value):
            block = filled(engine, folder, 0, 20)
            block.set_dense("gate", weights)
            y = x.copy()
            block.forward(y)
            results.append(y)
        np.testing.assert_array_equal(*results)


def test_a_matrix_can_be_replaced_between_runs(engine: Engine, tmp_path: Path) -> None:
    """One matrix after another becomes planes, as a converter does it; q, k, v may be mixed for a while."""
    folder = tmp_path / "converted"
    write_converted(GOLDEN / "qwen2", folder, 4, seed=SEED)
    tensors = ReferenceModel(folder).tensors
    hidden = ReferenceModel(folder).config["hidden_size"]
    x = np.random.default_rng(3).standard_normal((1, 33, hidden)).astype(np.float32)
    block = filled(engine, GOLDEN / "qwen2", 0, 33)
    dense = x.copy()
    block.forward(dense)
    for name in MATRICES:
        prefix = prefix_of(0, name)
        scales = tensors[prefix + ".scales"].astype(np.float32)
        block.set_planes(
            name, tensors[prefix + ".planes"], scales, seed=SEED, bias=tensors.get(prefix + ".bias")
        )
        y = x.copy()
        block.forward(y)
        change = np.abs(y - dense).max()
        assert 0 < change < 0.2 * np.abs(dense - x).max()
    want = x.copy()
    filled(engine, folder, 0, 33).forward(want)
    np.testing.assert_array_equal(y, want)


def test_what_is_missing_is_named(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    hidden = ReferenceModel(folder).config["hidden_size"]
    x = np.zeros((1, 8, hidden), np.float32)
    for name in MATRICES:
        block = filled(engine, folder, 0, 8, tuple(other for other in MATRICES if other != name))
        with pytest.raises(InvalidError, match=f"no {name}_proj"):
            block.forward(x)
    block = Block(engine, config_of(folder), 0, 8)
    tensors = ReferenceModel(folder).tensors
    for name in MATRICES:
        block.set_dense(name, tensors[prefix_of(0, name) + ".weight"])
    with pytest.raises(InvalidError, match="no norms"):
        block.forward(x)


def test_different_seeds_of_one_input_are_refused(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "converted"
    write_converted(GOLDEN / "smollm2", folder, 2, seed=SEED)
    tensors = ReferenceModel(folder).tensors
    hidden = ReferenceModel(folder).config["hidden_size"]
    x = np.zeros((1, 8, hidden), np.float32)

    def with_seed(name: str) -> Block:
        block, prefix = filled(engine, folder, 0, 8), prefix_of(0, name)
        scales = tensors[prefix + ".scales"].astype(np.float32)
        block.set_planes(name, tensors[prefix + ".planes"], scales, seed=SEED + 1)
        return block

    with pytest.raises(InvalidError, match="k_proj and v_proj have the same input"):
        with_seed("v").forward(x)
    with pytest.raises(InvalidError, match="gate_proj and up_proj have the same input"):
        with_seed("up").forward(x)
    with_seed("o").forward(x)  # an input of its own


def test_misuse_is_a_sentence(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    config, hidden = config_of(folder), ReferenceModel(folder).config["hidden_size"]
    with pytest.raises(InvalidError, match="layer is 99"):
        Block(engine, config, 99, 8)
    with pytest.raises(InvalidError, match="layer is -1"):
        Block(engine, config, -1, 8)
    with pytest.raises(InvalidError, match="window is 0"):
        Block(engine, config, 0, 0)
    with pytest.raises(FormatError):
        Block(engine, b"{", 0, 8)
    block = filled(engine, folder, 0, 8)
    gate = ReferenceModel(folder).tensors[prefix_of(0, "gate") + ".weight"]
    with pytest.raises(InvalidError, match="'head' is not one of"):
        block.set_dense("head", gate)
    with pytest.raises(InvalidError, match="must be"):
        block.set_dense("down", gate)
    with pytest.raises(InvalidError, match="float64"):
        block.set_dense("gate", gate.astype(np.float64))
    with pytest.raises(InvalidError, match="gate_proj has no bias"):
        block.set_dense("gate", gate, np.zeros(len(gate), np.float32))
    with pytest.raises(InvalidError, match="does not have a q_norm"):
        ones = np.ones(hidden, np.float32)
        block.set_norms(ones, ones, np.ones(block.head_dim, np.float32), np.ones(block.head_dim, np.float32))
    with pytest.raises(InvalidError, match="planes of shape"):
        block.set_planes("gate", np.zeros((2, 1, hidden), np.uint8), np.ones(len(gate), np.float32), seed=0)
    with pytest.raises(InvalidError, match="float32"):
        block.forward(np.zeros((1, 7, hidden), np.float32))
    with pytest.raises(InvalidError, match="in place"):
        block.forward(np.zeros((1, 8, 2 * hidden), np.float32)[..., ::2])
    with pytest.raises(InvalidError, match="'q' is not one of"):
        block.forward(np.zeros((1, 8, hidden), np.float32), capture=("q",))
    with pytest.raises(InvalidError, match="array for mlp"):
        block.forward(np.zeros((1, 8, hidden), np.float32), into={"mlp": np.zeros((7, hidden), np.float32)})
    bias = GOLDEN / "llama-bias"
    needs = Block(engine, config_of(bias), 0, 8)
    with pytest.raises(InvalidError, match="q_proj needs a bias"):
        needs.set_dense("q", ReferenceModel(bias).tensors[prefix_of(0, "q") + ".weight"])


def test_a_cancelled_run_says_so_and_the_next_one_works(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    hidden = ReferenceModel(folder).config["hidden_size"]
    x = np.random.default_rng(4).standard_normal((2, 8, hidden)).astype(np.float32)
    block, cancel = filled(engine, folder, 0, 8), Cancel()
    want = x.copy()
    block.forward(want)
    cancel.request()
    with pytest.raises(Cancelled):
        block.forward(x.copy(), cancel=cancel)
    block.forward(x, cancel=Cancel())
    np.testing.assert_array_equal(x, want)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_input_alone_is_what_forward_captures(family: str, engine: Engine) -> None:
    tokens = np.load(GOLDEN / family / "tokens.npy")
    block = filled(engine, GOLDEN / family, 0, len(tokens))
    x = np.random.default_rng(3).standard_normal((2, len(tokens), block.hidden_size), np.float32)
    captured = block.forward(x.copy())
    between = x.copy()
    block.attention(between)
    after = between.copy()
    block.mlp(after)
    for name in CAPTURES:
        states = between if name in ("mlp", "down") else x
        kept = states.copy()
        assert np.array_equal(block.input(states, name), captured[name])
        assert np.array_equal(states, kept)
    whole = x.copy()
    block.forward(whole, ())
    assert np.array_equal(after, whole) and not np.array_equal(between, x)
    with pytest.raises(InvalidError, match="not one of"):
        block.input(x, "head")
    cancel = Cancel()
    cancel.request()
    with pytest.raises(Cancelled):
        block.input(x, "down", cancel)
    for half in (block.attention, block.mlp):
        with pytest.raises(Cancelled):
            half(x.copy(), cancel)
        with pytest.raises(InvalidError):
            half(x[:, :, :-1].copy())
        again = x.copy()
        block.attention(again)  # a stop leaves nothing behind
        assert np.array_equal(again, between)
