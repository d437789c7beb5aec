"""Losses over the vocabulary and their gradients: f64 numpy, and torch's numbers for whole tiny models."""

import dataclasses
import threading

import numpy as np
import pytest
from golden_blocks import GOLDEN, ISAS, SEED, filled
from reference.converted import round_rows
from reference.layer import Norm
from reference.model import ReferenceModel, Rotation, quantize_activations

from bitconverter.engine import (
    Cancel,
    Cancelled,
    Engine,
    Head,
    HeadLoss,
    InvalidError,
    UnsupportedError,
    head_cross_entropy,
    head_divergence,
    head_drawn_entropy,
)

EPS = 1e-5
TORCH = sorted(path.parent.name for path in GOLDEN.glob("*/gradients.npz"))


class Reference:
    """A head in f64: logits(h), and back(dlogits) for the gradients of h and of the norm's weights."""

    def __init__(self, head: Head) -> None:
        self.norm = Norm(head.norm, head.eps)
        self.rotation = None if head.scales is None else Rotation(head.seed, head.shape[1])
        w = np.asarray(head.weights)
        if self.rotation is not None:
            w = self.rotation.undo(w * head.scales.astype(np.float64)[:, None])  # type: ignore[union-attr]
        elif w.dtype == np.uint16:
            w = (w.astype(np.uint32) << 16).view(np.float32)
        self.w = w.astype(np.float64)

    def logits(self, h: np.ndarray) -> np.ndarray:
        x = self.norm.forward(h.astype(np.float64))
        if self.rotation is not None:
            codes, scale = quantize_activations(self.rotation.apply(x).astype(np.float32))
            x = self.rotation.undo(codes * scale.astype(np.float64))
        return x @ self.w.T

    def back(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dh = self.norm.backward(d @ self.w)
        return dh, self.norm.grad


def log_softmax(x: np.ndarray) -> np.ndarray:
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def make_head(kind: str, vocab: int, hidden: int, seed: int) -> Head:
    """Rows so large that the distributions are far from flat."""
    rng = np.random.default_rng(seed)
    norm = rng.uniform(0.4, 1.6, hidden).astype(np.float32)
    w = (rng.standard_normal((vocab, hidden)) * 2 / np.sqrt(hidden)).astype(np.float32)
    if kind == "int8":
        q, scales = round_rows(w, 127)
        return Head(norm, q.astype(np.int8), EPS, scales.astype(np.float32), SEED)
    if kind == "bf16":
        return Head(norm, (w.view(np.uint32) >> 16).astype(np.uint16), EPS)
    return Head(norm, w.astype(np.float16) if kind == "f16" else w, EPS)


def tokens_for(vocab: int, hidden: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hidden states, targets (some -1) and weights (some 0)."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, hidden)).astype(np.float32) * 3
    targets = rng.integers(0, vocab, n).astype(np.int32)
    weights = rng.uniform(0.1, 2, n).astype(np.float32)
    targets[rng.random(n) < 0.2] = -1
    weights[rng.random(n) < 0.2] = 0
    return h, targets, weights


def close(got: np.ndarray | None, want: np.ndarray, tolerance: float) -> None:
    assert got is not None and got.shape == want.shape
    assert np.abs(got - want).max() <= 30 * tolerance * np.sqrt((want**2).mean())


def check(run: HeadLoss, loss: np.ndarray, dh: np.ndarray, norm: np.ndarray, tolerance: float) -> None:
    assert np.abs(run.loss - loss).max() <= 30 * tolerance
    close(run.dh, dh, tolerance)
    close(run.norm, norm, tolerance)


# An input near the middle of two int8 steps is rounded apart in f32 and f64, and all behind it moves.
CASES = [("f32", 257, 48, 3e-6), ("bf16", 1031, 36, 3e-6), ("f16", 64, 5, 3e-6), ("int8", 521, 72, 1e-3)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind, vocab, hidden, tolerance", CASES)
def test_cross_entropy(kind: str, vocab: int, hidden: int, tolerance: float, isa: str) -> None:
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    head = make_head(kind, vocab, hidden, 1)
    h, targets, weights = tokens_for(vocab, hidden, 300, 2)  # more than one chunk
    for w in (weights, None):
        counted = (targets >= 0) & (np.ones(300) if w is None else w).astype(bool)
        each = np.where(counted, 1.0 if w is None else w, 0)
        reference = Reference(head)
        logs = log_softmax(reference.logits(h))
        loss = np.where(counted, -logs[np.arange(300), targets], 0)
        d = np.exp(logs) - np.eye(vocab)[targets]
        check(
            head_cross_entropy(engine, head, h, targets, w),
            loss,
            *reference.back(d * each[:, None]),
            tolerance,
        )


@pytest.mark.parametrize("isa", ISAS)
def test_coarse_gradients_are_near_and_lose_no_mass(isa: str) -> None:
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    # Rows that have most in common, as those of real models: what gets lost of many small probabilities shows there.
    rng = np.random.default_rng(1)
    rows = rng.choice([-80, 80], 72) + np.clip(rng.normal(0, 12, (5000, 72)), -47, 47)
    scales = rng.uniform(0.02, 0.04, 5000).astype(np.float32)
    fine = Head(rng.uniform(0.4, 1.6, 72).astype(np.float32), rows.round().astype(np.int8), EPS, scales, SEED)
    h, targets, weights = tokens_for(5000, 72, 60, 2)
    both = [
        head_cross_entropy(engine, dataclasses.replace(fine, coarse=coarse), h, targets, weights).dh
        for coarse in (False, True)
    ]
    assert both[0] is not None and both[1] is not None
    off = np.linalg.norm(both[1] - both[0]) / np.linalg.norm(both[0])
    assert 1e-4 < off < 0.008


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind, teachers, tolerance", [("f32", "bf16", 1e-5), ("int8", "f32", 1e-3)])
def test_divergence(kind: str, teachers: str, tolerance: float, isa: str) -> None:
    """The teacher's hidden states may be of another width."""
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    head, teacher = make_head(kind, 307, 48, 3), make_head(teachers, 307, 40, 4)
    h, _, weights = tokens_for(307, 48, 290, 5)
    theirs = tokens_for(307, 40, 290, 6)[0]
    reference = Reference(head)
    logs, wanted = log_softmax(reference.logits(h)), log_softmax(Reference(teacher).logits(theirs))
    loss = np.where(weights > 0, (np.exp(wanted) * (wanted - logs)).sum(-1), 0)
    d = (np.exp(logs) - np.exp(wanted)) * weights[:, None]
    run = head_divergence(engine, head, h, teacher, theirs, weights)
    check(run, loss, *reference.back(d), tolerance)


def test_of_itself_the_divergence_is_zero(engine: Engine) -> None:
    for kind in ("f32", "int8"):
        head = make_head(kind, 307, 48, 3)
        h = tokens_for(307, 48, 40, 5)[0]
        run = head_divergence(engine, head, h, head, h)
        assert run.dh is not None
        assert np.abs(run.loss).max() == 0 and np.abs(run.dh).max() <= 1e-6


def test_the_reference_agrees_with_finite_differences() -> None:
    head, rng, step = make_head("f32", 97, 24, 7), np.random.default_rng(8), 1e-6
    h, targets, _ = tokens_for(97, 24, 9, 9)
    reference, counted = Reference(head), targets >= 0
    d = (np.exp(log_softmax(reference.logits(h))) - np.eye(97)[targets]) * counted[:, None]
    dh, _ = reference.back(d)
    direction = rng.standard_normal(h.shape)

    def loss(x: np.ndarray) -> float:
        return float(-log_softmax(reference.logits(x))[np.arange(9), targets][counted].sum())

    slope = (loss(h + step * direction) - loss(h - step * direction)) / (2 * step)
    assert slope == pytest.approx(float((dh * direction).sum()), rel=1e-6)


@pytest.mark.parametrize("family", TORCH)
def test_whole_models_have_the_gradients_that_torch_gives(engine: Engine, family: str) -> None:
    """From the loss back to the embeddings, layer by layer."""
    folder = GOLDEN / family
    model, want = ReferenceModel(folder), np.load(folder / "gradients.npz")
    tokens, layers = np.load(folder / "tokens.npy"), model.config["num_hidden_layers"]
    blocks = [filled(engine, folder, layer, len(tokens)) for layer in range(layers)]
    states = [model.embed.rows(tokens)[None].astype(np.float32)]
    for block in blocks:
        states.append(states[-1].copy())
        block.forward(states[-1], capture=())
    assert model.head.dense is not None
    head = Head(model.tensors["model.norm.weight"], model.head.dense, model.config["rms_norm_eps"])
    targets = np.append(tokens[1:], -1).astype(np.int32)
    weights = np.full(len(tokens), 1 / (len(tokens) - 1), np.float32)
    run = head_cross_entropy(engine, head, states[-1][0], targets, weights)
    assert run.loss.sum() / (len(tokens) - 1) == pytest.approx(float(want["loss"]), abs=1e-5)
    close(run.norm, want["final_norm"], 1e-5)
    assert run.dh is not None
    dy = run.dh[None].copy()
    close(dy[0], want["d_states"][layers], 1e-5)
    for layer in reversed(range(layers)):
        to = blocks[layer].gradients(("gain", "bias", "norms"))
        blocks[layer].backward(states[layer], dy, to)
        close(dy[0], want["d_states"][layer], 3e-5)
        for name, gain in to.gain.items():
            close(gain, want[f"gain.{layer}.{name}"], 3e-5)
        for name, norm in to.norms.items():
            close(norm, want[f"norm.{layer}.{name}"], 3e-5)
        for name, bias in to.bias.items():
            if f"bias.{layer}.{name}" in want and name != "k":  # a bias of k moves no probability: noise
                close(bias, want[f"bias.{layer}.{name}"], 3e-5)


def test_the_torch_models_cover_what_matters() -> None:
    assert {"mistral", "qwen2-window", "qwen3", "smollm2"} <= set(TORCH)


def test_threads_do_not_change_a_bit() -> None:
    for kind in ("bf16", "int8"):
        head, teacher = make_head(kind, 811, 48, 10), make_head("f32", 811, 48, 11)
        h, targets, weights = tokens_for(811, 48, 270, 12)
        results = []
        for threads in (1, 2, 3):
            engine = Engine(threads)
            runs = (
                head_cross_entropy(engine, head, h, targets, weights),
                head_divergence(engine, head, h, teacher, h, weights),
            )
            results.append([array for run in runs for array in (run.loss, run.dh, run.norm)])
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_without_gradients_the_losses_are_the_same(engine: Engine) -> None:
    head = make_head("int8", 521, 72, 1)
    h, targets, weights = tokens_for(521, 72, 50, 2)
    run = head_cross_entropy(engine, head, h, targets, weights, gradients=False)
    assert run.dh is None and run.norm is None
    np.testing.assert_array_equal(run.loss, head_cross_entropy(engine, head, h, targets, weights).loss)
    nothing = head_cross_entropy(engine, head, h[:0], targets[:0])
    assert nothing.loss.shape == (0,)


def test_cancel(engine: Engine) -> None:
    head, cancel = make_head("f32", 307, 48, 3), Cancel()
    h, targets, _ = tokens_for(307, 48, 40, 5)
    cancel.request()
    with pytest.raises(Cancelled):
        head_cross_entropy(engine, head, h, targets, cancel=cancel)
    head_cross_entropy(engine, head, h, targets, cancel=Cancel())
    cancel = Cancel()
    big = make_head("f32", 30000, 256, 3)
    h, targets, _ = tokens_for(30000, 256, 20000, 5)
    timer = threading.Timer(0.05, cancel.request)
    timer.start()
    with pytest.raises(Cancelled):  # far from done when the flag is set: a run takes many seconds
        head_cross_entropy(engine, big, h, targets, cancel=cancel)
    timer.join()


def test_misuse_is_a_sentence(engine: Engine) -> None:
    head, other = make_head("f32", 307, 48, 3), make_head("f32", 306, 48, 3)
    h, targets, weights = tokens_for(307, 48, 40, 5)
    with pytest.raises(InvalidError, match="must be \\[tokens, 48\\]"):
        head_cross_entropy(engine, head, h[:, :47], targets)
    with pytest.raises(InvalidError, match="targets of shape"):
        head_cross_entropy(engine, head, h, targets[:-1])
    with pytest.raises(InvalidError, match="weights of shape"):
        head_cross_entropy(engine, head, h, targets, weights[:-1])
    with pytest.raises(InvalidError, match="target 39 is token 307, the vocabulary has 307"):
        head_cross_entropy(engine, head, h, np.append(targets[:-1], 307))
    with pytest.raises(InvalidError, match="target 39 is token -2"):
        head_cross_entropy(engine, head, h, np.append(targets[:-1], -2))
    with pytest.raises(InvalidError, match="weight 39 is nan"):
        head_cross_entropy(engine, head, h, targets, np.append(weights[:-1], np.nan))
    with pytest.raises(InvalidError, match="the teacher's has 306"):
        head_divergence(engine, head, h, other, h)
    with pytest.raises(InvalidError, match="the teacher has 39"):
        head_divergence(engine, head, h, head, h[:-1])
    norm, codes = np.ones(8, np.float32), np.zeros((3, 8), np.int8)
    with pytest.raises(InvalidError, match="int8 \\(3, 8\\) without scales"):
        Head(norm, codes, EPS)
    with pytest.raises(InvalidError, match="float32 \\(3, 8\\) with scales"):
        Head(norm, codes.astype(np.float32), EPS, np.ones(3, np.float32))
    with pytest.raises(InvalidError, match="do not fit"):
        Head(norm[:-1], codes, EPS, np.ones(3, np.float32))
    with pytest.raises(InvalidError, match="do not fit"):
        Head(norm, codes, EPS, np.ones(4, np.float32))
    with pytest.raises(InvalidError, match="rms_eps is nan"):
        head_cross_entropy(
            engine,
            Head(norm, codes.astype(np.float32), float("nan")),
            np.zeros((1, 8), np.float32),
            targets[:1],
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["f32", "int8"])
def test_drawn_entropy(kind: str, isa: str) -> None:
    """Losses and gradients are those of the cross-entropy for some targets, and these follow the distribution."""
    try:
        engine = Engine(2, isa)
    except UnsupportedError:
        pytest.skip(f"this CPU has no {isa}")
    head, n = make_head(kind, 11, 48, 1), 4000
    h = np.repeat(tokens_for(11, 48, 1, 2)[0], n, axis=0)
    weights = np.random.default_rng(3).choice([0.0, 0.5, 2.0], n).astype(np.float32)
    logs = log_softmax(Reference(head).logits(h[:1]))[0]
    run = head_drawn_entropy(engine, head, h, 7, weights)
    counted = weights > 0
    drawn = np.abs(run.loss[:, None] + logs).argmin(-1)
    assert (run.loss[~counted] == 0).all()
    same = head_cross_entropy(engine, head, h, np.where(counted, drawn, -1).astype(np.int32), weights)
    close(run.loss, same.loss, 1e-6)
    assert same.dh is not None and same.norm is not None
    close(run.dh, same.dh, 1e-6)
    close(run.norm, same.norm, 1e-6)
    share = np.bincount(drawn[counted], minlength=11) / counted.sum()
    assert np.abs(share - np.exp(logs)).max() < 4 * np.sqrt(0.25 / counted.sum())


def test_drawn_targets_depend_on_the_seed_and_the_place_alone(engine: Engine) -> None:
    head = make_head("f32", 307, 48, 3)
    h = tokens_for(307, 48, 290, 5)[0]
    one = head_drawn_entropy(engine, head, h, 1)
    np.testing.assert_array_equal(one.loss, head_drawn_entropy(Engine(3), head, h, 1).loss)
    np.testing.assert_array_equal(one.loss[:40], head_drawn_entropy(engine, head, h[:40], 1).loss)
    assert (one.loss != head_drawn_entropy(engine, head, h, 2).loss).mean() > 0.5


def test_a_certain_token_is_the_one_drawn(engine: Engine) -> None:
    """All other probabilities are zero in f32."""
    weights = np.zeros((5, 8), np.float32)
    weights[3] = 1000
    head = Head(np.ones(8, np.float32), weights, EPS)
    run = head_drawn_entropy(engine, head, np.ones((64, 8), np.float32), 5)
    np.testing.assert_array_equal(run.loss, 0)
    assert run.dh is not None and np.abs(run.dh).max() == 0
