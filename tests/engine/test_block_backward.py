"""The gradient of one layer: against a hand-derived f64 reference, itself against finite differences."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from golden_blocks import FAMILIES, GOLDEN, ISAS, SEED, config_of, filled, prefix_of
from reference.converted import write_converted
from reference.layer import Layer
from reference.model import ReferenceModel

from bitconverter.engine import (
    MATRICES,
    Block,
    BlockGradients,
    Cancel,
    Cancelled,
    Engine,
    InvalidError,
    UnsupportedError,
    rotate,
)

READERS = dict(zip(MATRICES, ("qkv", "qkv", "qkv", "o", "mlp", "mlp", "down"), strict=True))
WINDOW = 45
ALL = ("gain", "bias", "row_squares", "token_squares", "dy", "norms", "inputs")


def states(folder: Path, windows: int, window: int = WINDOW, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs and output gradients of a layer, f32 [windows, window, hidden]."""
    hidden = ReferenceModel(folder).config["hidden_size"]
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, windows, window, hidden)).astype(np.float32)
    return x, dy


# Gradients go through planes as integers of 16 bits, one step for each token and some hundred rows: 32639 steps to the
# largest. A number of the size of the mean is then a few 1e-5 off.
THROUGH_PLANES = 1.5e-4
COARSE = 2.5e-2  # the same with integers of 8 bits: 127 steps to the largest


def close(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    """Both the whole and every element, by the size of the whole."""
    assert got.shape == want.shape
    size = np.sqrt((want**2).mean())
    assert np.sqrt(((got - want) ** 2).mean()) <= tolerance * size
    assert np.abs(got - want).max() <= 30 * tolerance * size


def compare(
    block: Block, layer: Layer, x: np.ndarray, dy: np.ndarray, tolerance: float, coarse: bool = False
) -> None:
    """backward() of all windows, against the reference window by window."""
    windows, window = x.shape[:2]
    to = block.gradients(ALL, windows * window)
    dx = dy.copy()
    block.backward(x, dx, to, coarse=coarse)
    want: dict[str, dict[str, list[np.ndarray]]] = {}
    for i in range(windows):
        for name, reader in READERS.items():
            seen = to.inputs[reader][i * window : (i + 1) * window]
            layer.m[name].rotated = rotate(block.engine, seen.copy(), seed=SEED)
        layer.forward(x[i].astype(np.float64))
        close(dx[i], layer.backward(dy[i].astype(np.float64)), tolerance)
        for name in MATRICES:
            for what, value in layer.m[name].sums().items():
                want.setdefault(what, {}).setdefault(name, []).append(value)
        for name, norm in layer.norms.items():
            want.setdefault("norms", {}).setdefault(name, []).append(norm.grad)
        for name, reader in {reader: name for name, reader in READERS.items()}.items():
            want.setdefault("inputs", {}).setdefault(name, []).append(layer.m[reader].x)
    assert set(want["norms"]) == set(to.norms)
    for what in ALL:
        per_token = what in ("token_squares", "dy", "inputs")
        for name, parts in want[what].items():
            whole = np.concatenate(parts) if per_token else np.sum(parts, axis=0)
            close(getattr(to, what)[name], whole, tolerance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_gradient_of_every_family(family: str, isa: str) -> None:
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    folder = GOLDEN / family
    x, dy = states(folder, 2)
    last = ReferenceModel(folder).config["num_hidden_layers"] - 1
    compare(filled(engine, folder, last, WINDOW), Layer(folder, last), x, dy, 3e-5)


@pytest.mark.parametrize(
    "family, planes", [("smollm2", 2), ("qwen2-window", 3), ("qwen3", 4), ("llama-bias", 1)]
)
def test_through_planes_rounding_counts_as_the_identity(
    engine: Engine, family: str, planes: int, tmp_path: Path
) -> None:
    folder = tmp_path / "converted"
    write_converted(GOLDEN / family, folder, planes, seed=SEED)
    x, dy = states(folder, 2)
    compare(filled(engine, folder, 0, WINDOW), Layer(folder, 0, SEED), x, dy, THROUGH_PLANES)


@pytest.mark.parametrize("family", ["llama-bias", "qwen3-window", "qwen2"])
def test_the_reference_agrees_with_finite_differences(family: str) -> None:
    """In f64, along a random direction of the input and of every parameter."""
    folder, rng, step = GOLDEN / family, np.random.default_rng(5), 1e-6
    layer = Layer(folder, 0)
    x, dy = (a[0].astype(np.float64) for a in states(folder, 1, window=23))

    def slope(place: np.ndarray, direction: np.ndarray) -> float:
        """Of sum(dy * layer(x)) when `place` moves; it is moved back."""
        ends = []
        for sign in (1, -1):
            place += sign * step * direction
            ends.append(float((dy * layer.forward(x)).sum()))
            place -= sign * step * direction
        return (ends[0] - ends[1]) / (2 * step)

    layer.forward(x)
    dx = layer.backward(dy)
    places = {"x": (x, dx)}
    for name, m in layer.m.items():
        sums = m.sums()
        places |= {f"{name} gain": (m.gain, sums["gain"]), f"{name} bias": (m.bias, sums["bias"])}
    places |= {name: (norm.weight, norm.grad) for name, norm in layer.norms.items()}
    for name, (place, gradient) in places.items():
        direction = rng.standard_normal(place.shape)
        want = float((gradient * direction).sum())
        size = float(np.sqrt((gradient**2).sum() * (direction**2).sum()))
        assert abs(slope(place, direction) - want) <= 1e-6 * size, name


def test_finite_differences_of_the_engine_itself(engine: Engine) -> None:
    """Row gains as scales of dense weights: the loss that forward() gives moves as gain says."""
    folder = GOLDEN / "smollm2"
    x, dy = states(folder, 1, window=30)
    weights = ReferenceModel(folder).tensors
    block = filled(engine, folder, 0, 30)
    to = block.gradients(("gain",))
    block.backward(x, dy.copy(), to)
    for name in MATRICES:
        w = weights[prefix_of(0, name) + ".weight"]
        direction = np.random.default_rng(6).standard_normal(len(w)).astype(np.float32)
        ends = []
        for step in (0.01, -0.01):
            y = x.copy()
            block.set_dense(name, ((1 + step * direction)[:, None] * w).astype(np.float32))
            block.forward(y, capture=())
            ends.append((dy.astype(np.float64) * y).sum())
        block.set_dense(name, w)
        want = float(to.gain[name] @ direction)
        size = float(np.linalg.norm(to.gain[name]) * np.linalg.norm(direction))
        assert abs((ends[0] - ends[1]) / 0.02 - want) <= 1e-3 * size, name


def long_block(engine: Engine, window: int, family: str = "qwen3-window", **changes: int) -> Block:
    """With as many positions as it takes."""
    config = json.loads(config_of(GOLDEN / family)) | {"max_position_embeddings": 2048} | changes
    return filled(engine, GOLDEN / family, 0, window, config=json.dumps(config).encode())


@pytest.mark.parametrize("changes", [{}, {"sliding_window": 400}, {"use_sliding_window": False}])
def test_long_windows_go_in_tiles(engine: Engine, changes: dict[str, int]) -> None:
    folder, window = GOLDEN / "qwen3-window", 301
    if "use_sliding_window" in changes:
        changes = changes | {"layer_types": ["full_attention"] * 2}  # type: ignore[dict-item]
    block = long_block(engine, window, **changes)
    layer = Layer(folder, 0)
    layer.config |= changes
    layer.slides = "layer_types" not in changes
    x, dy = states(folder, 1, window)
    compare(block, layer, x, dy, 3e-5)


def test_windows_are_sequences_of_their_own(engine: Engine) -> None:
    """Seven windows of 300 go in groups of three, in batches across the windows' borders; threads change no bit."""
    folder, window = GOLDEN / "qwen3-window", 300
    x, dy = states(folder, 7, window)
    block = long_block(engine, window)
    whole, dx = block.gradients(ALL, 7 * window), dy.copy()
    block.backward(x, dx, whole)
    for i in (0, 3, 6):
        part, alone = block.gradients(ALL, window), dy[i : i + 1].copy()
        block.backward(x[i : i + 1], alone, part)
        np.testing.assert_array_equal(alone[0], dx[i])
        for what in ("token_squares", "dy", "inputs"):
            for name, array in getattr(part, what).items():
                np.testing.assert_array_equal(
                    array, getattr(whole, what)[name][i * window : (i + 1) * window]
                )
    later = dy.copy()
    later[:, :200] = 0
    block.backward(x, later)
    assert np.abs(later[:, :200]).max() > 1e-3  # a token feels every token after it
    earlier = dy.copy()
    earlier[:, 200:] = 0
    block.backward(x, earlier)
    assert not earlier[:, 200:].any()  # and none before it


@pytest.mark.parametrize("isa", ISAS)
def test_coarse_gradients_are_near(isa: str, tmp_path: Path) -> None:
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    folder = tmp_path / "converted"
    write_converted(GOLDEN / "smollm2", folder, 2, seed=SEED)
    x, dy = states(folder, 2)
    block, layer = filled(engine, folder, 0, WINDOW), Layer(folder, 0, SEED)
    compare(block, layer, x, dy, COARSE, coarse=True)
    with pytest.raises(AssertionError):  # and it is not the fine ones that are compared
        compare(block, layer, x, dy, 10 * THROUGH_PLANES, coarse=True)


@pytest.mark.parametrize("planes", [0, 2])
@pytest.mark.parametrize("family", ["smollm2", "qwen3-window", "qwen2"])
def test_what_is_kept_gives_the_same_bits(engine: Engine, family: str, planes: int, tmp_path: Path) -> None:
    folder = GOLDEN / family
    if planes:
        folder = tmp_path / "converted"
        write_converted(GOLDEN / family, folder, planes, seed=SEED)
    config = json.dumps(json.loads(config_of(folder)) | {"max_position_embeddings": 512}).encode()
    block = filled(engine, folder, 0, 400, config=config)
    lengths = np.array([400, 7, 400, 399, 1, 300], np.int32)  # in two groups, and in batches of these
    tokens = int(lengths.sum())
    x, dy = np.random.default_rng(4).standard_normal((2, tokens, block.hidden_size)).astype(np.float32)
    kept, out = np.full((tokens, block.kept_columns), np.nan, np.float32), x.copy()
    block.windows(out, lengths, kept=kept)
    again = x.copy()
    block.windows(again, lengths)
    np.testing.assert_array_equal(again, out)
    np.testing.assert_array_equal(block.kept_input(kept), x)
    rng = np.random.default_rng(5)

    def both(want: tuple[str, ...]) -> None:
        results = []
        for given in (None, kept):
            to, dx = block.gradients(want, tokens), dy.copy()
            block.backward(x, dx, to, lengths=lengths, kept=given)
            arrays = [a for what in want if what != "lora" for a in getattr(to, what).values()]
            results.append([dx, *arrays, *(a for pair in to.lora.values() for a in pair)])
        assert len(results[0]) > 1 or not want
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)

    both(())
    both(ALL)
    both(("gain",))
    for name, (rows, cols) in block.shapes.items():
        a, b = rng.standard_normal((3, cols)) / 9, rng.standard_normal((3, rows)) / 9
        block.set_lora(name, a.astype(np.float32), b.astype(np.float32))
    block.windows(x.copy(), lengths, kept=kept)
    both(("lora",))
    both(("lora", "delta"))
    with pytest.raises(InvalidError, match="what is kept is float32"):
        block.windows(x.copy(), lengths, kept=kept[:-1])
    with pytest.raises(InvalidError, match="what is kept must be"):
        block.backward(x, dy.copy(), lengths=lengths, kept=np.asfortranarray(kept))


def sums_of(to: BlockGradients) -> list[np.ndarray]:
    return [array for what in ALL for array in getattr(to, what).values()]


def test_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    write_converted(GOLDEN / "qwen3", tmp_path / "converted", 2, seed=SEED)
    for folder in (GOLDEN / "qwen3", tmp_path / "converted"):
        x, dy = states(folder, 3, window=100)
        config = json.loads(config_of(folder)) | {"max_position_embeddings": 128}
        results = []
        for threads in (1, 2, 3):
            block = filled(Engine(threads), folder, 0, 100, config=json.dumps(config).encode())
            to, dx = block.gradients(ALL, 300), dy.copy()
            block.backward(x, dx, to)
            results.append([dx, *sums_of(to)])
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_sums_go_on_where_they_were(engine: Engine) -> None:
    folder = GOLDEN / "qwen3"
    x, dy = states(folder, 2)
    block = filled(engine, folder, 0, WINDOW)
    once, twice = block.gradients(ALL, 2 * WINDOW), block.gradients(ALL, 2 * WINDOW)
    block.backward(x, dy.copy(), once)
    for _ in range(2):
        block.backward(x, dy.copy(), twice)
    for what in ("gain", "bias", "row_squares", "token_squares", "norms"):
        for name, array in getattr(once, what).items():
            np.testing.assert_allclose(getattr(twice, what)[name], 2 * array, rtol=1e-6, atol=1e-12)
    for name, array in once.dy.items():
        np.testing.assert_array_equal(twice.dy[name], array)
    plain = dy.copy()
    block.backward(x, plain)
    with_sums = dy.copy()
    block.backward(x, with_sums, block.gradients(("gain",), matrices=("down",)))
    np.testing.assert_array_equal(plain, with_sums)
    block.backward(x[:0], dy[:0].copy())


def test_matrices_of_one_input_may_be_mixed(engine: Engine, tmp_path: Path) -> None:
    """k and gate are planes, the others dense: each basis has its own product."""
    folder = tmp_path / "converted"
    write_converted(GOLDEN / "qwen2", folder, 3, seed=SEED)
    tensors = ReferenceModel(folder).tensors
    block, layer, planes = (
        filled(engine, GOLDEN / "qwen2", 0, WINDOW),
        Layer(GOLDEN / "qwen2", 0),
        Layer(folder, 0, SEED),
    )
    for name in ("k", "gate"):
        prefix = prefix_of(0, name)
        scales = tensors[prefix + ".scales"].astype(np.float32)
        bias = tensors.get(prefix + ".bias")
        block.set_planes(name, tensors[prefix + ".planes"], scales, seed=SEED, bias=bias)
        layer.m[name] = planes.m[name]
    compare(block, layer, *states(folder, 1), THROUGH_PLANES)


def test_new_scales_are_a_gain(engine: Engine, tmp_path: Path) -> None:
    """Scales times (1 + g) are what (1 + g) * (W x) says, without touching the planes."""
    folder = tmp_path / "converted"
    write_converted(GOLDEN / "smollm2", folder, 2, seed=SEED)
    tensors = ReferenceModel(folder).tensors
    x, dy = states(folder, 1)
    block, layer = filled(engine, folder, 0, WINDOW), Layer(folder, 0, SEED)
    for name in MATRICES:
        prefix, rows = prefix_of(0, name), block.shapes[name][0]
        layer.m[name].gain = np.random.default_rng(rows).uniform(-0.5, 0.5, rows)
        scales = (tensors[prefix + ".scales"] * (1 + layer.m[name].gain)).astype(np.float32)
        block.set_planes(name, tensors[prefix + ".planes"], scales, seed=SEED)
    to, dx = block.gradients(("gain", "inputs"), WINDOW), dy.copy()
    block.backward(x, dx, to)
    for name, reader in READERS.items():
        layer.m[name].rotated = rotate(engine, to.inputs[reader], seed=SEED)
    layer.forward(x[0].astype(np.float64))
    close(dx[0], layer.backward(dy[0].astype(np.float64)), THROUGH_PLANES)
    for name in MATRICES:  # the engine's g starts at these scales
        close(to.gain[name], layer.m[name].sums()["gain"] * (1 + layer.m[name].gain), THROUGH_PLANES)


def test_a_cancelled_run_says_so_and_the_next_one_works(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    x, dy = states(folder, 2)
    block, cancel, want = filled(engine, folder, 0, WINDOW), Cancel(), dy.copy()
    block.backward(x, want)
    cancel.request()
    with pytest.raises(Cancelled):
        block.backward(x, dy.copy(), cancel=cancel)
    block.backward(x, dy, cancel=Cancel())
    np.testing.assert_array_equal(dy, want)


def test_a_long_run_can_be_cancelled_from_another_thread(engine: Engine) -> None:
    block, cancel = long_block(engine, 2000, "smollm2"), Cancel()
    x, dy = states(GOLDEN / "smollm2", 60, 2000)
    timer = threading.Timer(0.05, cancel.request)
    timer.start()
    with pytest.raises(Cancelled):  # far from done when the flag is set: a run takes many seconds
        block.backward(x, dy, cancel=cancel)
    timer.join()


def test_misuse_is_a_sentence(engine: Engine) -> None:
    folder = GOLDEN / "smollm2"
    x, dy = states(folder, 2)
    block, hidden = filled(engine, folder, 0, WINDOW), x.shape[2]
    with pytest.raises(InvalidError, match="x is float64"):
        block.backward(x.astype(np.float64), dy)
    with pytest.raises(InvalidError, match="dy is float32"):
        block.backward(x, dy[:, :-1].copy())
    with pytest.raises(InvalidError, match="two arrays of one shape"):
        block.backward(x, dy[:1].copy())
    with pytest.raises(InvalidError, match="two arrays of one shape"):
        block.backward(x, x)
    with pytest.raises(InvalidError, match="dy is changed in place"):
        block.backward(x, np.broadcast_to(dy[:1], dy.shape))
    with pytest.raises(InvalidError, match="x must be C-contiguous"):
        block.backward(np.zeros((2, WINDOW, 2 * hidden), np.float32)[..., ::2], dy)
    with pytest.raises(InvalidError, match="'gains' is not one of"):
        block.gradients(("gains",))
    with pytest.raises(InvalidError, match="'head' is not one of"):
        block.gradients(("gain",), matrices=("head",))
    with pytest.raises(InvalidError, match="tokens is -1"):
        block.gradients(("dy",), -1)
    with pytest.raises(InvalidError, match="gradients for 7 tokens, and x has 90"):
        block.backward(x, dy, block.gradients(("dy",), 7))
    other = filled(engine, GOLDEN / "qwen3", 0, WINDOW)
    with pytest.raises(InvalidError, match="of other shapes"):
        block.backward(x, dy, other.gradients(("gain",)))
    with pytest.raises(InvalidError, match="no q_proj yet"):
        Block(engine, config_of(folder), 0, WINDOW).backward(x, dy)
