"""Training row gains: the losses are the engine's own, the gradient is the slope, the rest of the model stays."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from golden_blocks import GOLDEN
from reference.converted import write_converted
from safetensors.numpy import load_file, save_file

from bitconverter.engine import Engine, Model, Session, logits_score
from bitconverter.format.errors import UserError
from bitconverter.model.adamw import AdamW, Schedule
from bitconverter.model.block_trainer import Batch, learned_lengths
from bitconverter.model.gain_trainer import GainTrainer
from bitconverter.model.layer_stack import LayerStack

SEED, WINDOW = 3, 24


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(2)


def converted(family: str, planes: int, folder: Path) -> Path:
    write_converted(GOLDEN / family, folder, planes, seed=SEED)
    return folder


def windows(folder: Path, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens and, for most of them, what should follow."""
    vocab = 100
    rng = np.random.default_rng(1)
    ids = rng.integers(0, vocab, (n, WINDOW + 1)).astype(np.int32)
    targets = ids[:, 1:].copy()
    targets[rng.random(targets.shape) < 0.3] = -1
    return np.ascontiguousarray(ids[:, :-1]), targets


def session_loss(engine: Engine, folder: Path, tokens: np.ndarray, targets: np.ndarray) -> float:
    """Sum of -log p as the model itself gives it."""
    session, total = Session(Model(engine, folder), n_ctx=WINDOW, kv="f32"), 0.0
    for window, wanted in zip(tokens, targets, strict=True):
        session.rewind(0)
        logits = session.forward(window, all_positions=True)
        assert logits is not None
        nll, _ = logits_score(engine, logits, np.maximum(wanted, 0))
        total += float(nll[wanted >= 0].sum())
    return total


def loss_of(trainer: GainTrainer, batch: Batch) -> tuple[float, int]:
    score = trainer.score(batch)
    return score.loss, score.tokens


@pytest.mark.parametrize(
    "family, layers", [("smollm2", 1), ("qwen2-window", 2), ("qwen3", 2), ("llama-bias", 1)]
)
def test_losses_are_those_of_the_model(engine: Engine, family: str, layers: int, tmp_path: Path) -> None:
    folder = converted(family, 3, tmp_path / "model")
    tokens, targets = windows(folder)
    trainer = GainTrainer(LayerStack(engine, folder), layers, WINDOW)
    batch = trainer.batch(tokens, targets)
    loss, count = loss_of(trainer, batch)
    assert count == (targets >= 0).sum()
    assert loss == pytest.approx(session_loss(engine, folder, tokens, targets), rel=2e-3)  # int8 steps
    step = trainer.step(batch)
    assert step.loss * step.tokens == pytest.approx(loss, rel=1e-9)


def test_gains_are_factors_of_the_stored_scales(engine: Engine, tmp_path: Path) -> None:
    """The trainer with parameters is the model whose file has these scales."""
    folder = converted("qwen3", 2, tmp_path / "model")
    tokens, targets = windows(folder)
    trainer = GainTrainer(LayerStack(engine, folder), 1, WINDOW)
    batch = trainer.batch(tokens, targets)
    before, _ = loss_of(trainer, batch)
    parameters = np.random.default_rng(2).normal(0, 1.0, trainer.size)
    trainer.set_parameters(parameters)
    loss, _ = loss_of(trainer, batch)
    merged = tmp_path / "merged"
    shutil.copytree(folder, merged)
    tensors = load_file(merged / "model.safetensors")
    gains = trainer.adapters(parameters).gains
    assert set(gains) == {
        name.removesuffix(".scales") for name in tensors if ".layers.1." in name and "scales" in name
    }
    for prefix, gain in gains.items():
        tensors[prefix + ".scales"] = tensors[prefix + ".scales"].astype(np.float32) * gain
    save_file(tensors, merged / "model.safetensors")
    assert loss == pytest.approx(session_loss(engine, merged, tokens, targets), rel=2e-3)
    assert abs(loss - before) > 0.02 * before
    trainer.set_parameters(np.zeros(trainer.size))
    assert loss_of(trainer, batch)[0] == before


def test_right_is_the_most_probable_in_every_token(engine: Engine, tmp_path: Path) -> None:
    folder = converted("smollm2", 4, tmp_path / "model")
    tokens, _ = windows(folder, 4)
    session, targets = (
        Session(Model(engine, folder), n_ctx=WINDOW, kv="f32"),
        np.full(tokens.shape, -1, np.int32),
    )
    for window, wanted in zip(tokens, targets, strict=True):
        session.rewind(0)
        logits = session.forward(window, all_positions=True)
        assert logits is not None
        wanted[-3:] = logits[-3:].argmax(axis=1)
    trainer = GainTrainer(LayerStack(engine, folder), 1, WINDOW)
    assert trainer.score(trainer.batch(tokens, targets)).right == 4
    targets[1, -2] = (targets[1, -2] + 1) % 100
    assert trainer.score(trainer.batch(tokens, targets)).right == 3


def test_windows_end_with_what_is_learned() -> None:
    targets = np.array([[-1, 3, -1, 4], [5, -1, -1, -1], [-1, -1, -1, -1]], np.int32)
    np.testing.assert_array_equal(learned_lengths(targets), [4, 1, 1])


def test_the_gradient_is_the_slope(engine: Engine, tmp_path: Path) -> None:
    """Against differences wide enough to step over the rounding of activations to int8, but for a few percent."""
    folder = converted("smollm2", 4, tmp_path / "model")
    tokens, targets = windows(folder, 60)
    trainer = GainTrainer(LayerStack(engine, folder), 2, WINDOW)
    batch = trainer.batch(tokens, targets)
    gradient = trainer.step(batch).gradient
    direction = gradient / np.linalg.norm(gradient)
    ends = []
    for size in (0.1, -0.1):
        trainer.set_parameters(size * direction)
        loss, count = loss_of(trainer, batch)
        ends.append(loss / count)
    assert (ends[0] - ends[1]) / 0.2 == pytest.approx(np.linalg.norm(gradient), rel=0.05)


def test_choices_are_all_there_is_to_choose_from(engine: Engine, tmp_path: Path) -> None:
    folder = converted("smollm2", 4, tmp_path / "model")
    tokens, _ = windows(folder)
    choices = (17, 3, 60)
    targets = np.full(tokens.shape, -1, np.int32)
    targets[:, -1] = (60, 17, 3)
    trainer = GainTrainer(LayerStack(engine, folder), 1, WINDOW, choices)
    batch = trainer.batch(tokens, targets)
    loss, count = loss_of(trainer, batch)
    session, want = Session(Model(engine, folder), n_ctx=WINDOW, kv="f32"), 0.0
    for window, wanted in zip(tokens, targets[:, -1], strict=True):
        session.rewind(0)
        logits = session.forward(window)
        assert logits is not None
        few = np.ascontiguousarray(logits.reshape(1, -1)[:, list(choices)])
        want += float(logits_score(engine, few, np.array([choices.index(wanted)], np.int32))[0][0])
    assert count == 3 and loss == pytest.approx(want, rel=2e-2, abs=2e-2)
    assert trainer.step(batch).loss == pytest.approx(loss / 3)


def test_descent_learns_a_text_by_heart(engine: Engine, tmp_path: Path) -> None:
    folder = converted("smollm2", 2, tmp_path / "model")
    tokens, targets = windows(folder)
    trainer = GainTrainer(LayerStack(engine, folder), 2, WINDOW)
    batch, optimizer = trainer.batch(tokens, targets), AdamW(trainer.size)
    parameters, losses = np.zeros(trainer.size), []
    for _ in range(15):
        step = trainer.step(batch)
        losses.append(step.loss)
        optimizer.update(parameters, step.gradient, 0.03)
        trainer.set_parameters(parameters)
    assert losses[-1] < 0.7 * losses[0]


def test_threads_do_not_change_a_bit(tmp_path: Path) -> None:
    folder = converted("qwen2-window", 2, tmp_path / "model")
    tokens, targets = windows(folder)
    steps = []
    for threads in (1, 3):
        trainer = GainTrainer(LayerStack(Engine(threads), folder), 2, WINDOW)
        steps.append(trainer.step(trainer.batch(tokens, targets)))
    assert steps[0].loss == steps[1].loss
    np.testing.assert_array_equal(steps[0].gradient, steps[1].gradient)


def test_what_cannot_be_trained_is_said(engine: Engine, tmp_path: Path) -> None:
    folder = converted("smollm2", 2, tmp_path / "model")
    for layers in (0, 99):
        with pytest.raises(UserError, match="cannot be trained") as raised:
            GainTrainer(LayerStack(engine, folder), layers, WINDOW)
        assert raised.value.code == "train-layers"
    with pytest.raises(UserError, match="not converted") as raised:
        GainTrainer(LayerStack(engine, GOLDEN / "smollm2"), 1, WINDOW)
    assert raised.value.code == "train-dense"


def test_direct_planes_are_refused(engine: Engine, tmp_path: Path) -> None:
    """They have no rotation, which a Block cannot be told yet."""
    folder = converted("smollm2", 1, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    tensors[name + ".direct_planes"] = tensors.pop(name + ".planes")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="direct planes") as raised:
        LayerStack(engine, folder)
    assert raised.value.code == "layers-direct"


def test_shards_and_dense_heads_are_read(engine: Engine) -> None:
    for family in ("llama-new-config", "qwen3-window"):
        stack = LayerStack(engine, GOLDEN / family)
        tokens = np.load(GOLDEN / family / "tokens.npy")[None]
        x = stack.embed(tokens)
        for layer in range(stack.info.n_layers):
            stack.block(layer, tokens.shape[1]).forward(x, capture=())
        from bitconverter.engine import head_cross_entropy

        run = head_cross_entropy(engine, stack.head(), x[0][:-1], tokens[0, 1:], gradients=False)
        nll, _ = logits_score(engine, np.load(GOLDEN / family / "logits.npy")[:-1], tokens[0, 1:])
        np.testing.assert_allclose(run.loss, nll, atol=1e-3)


# ---- AdamW ----


def test_adamw_is_what_the_paper_says() -> None:
    rng = np.random.default_rng(4)
    parameters = rng.standard_normal(5)
    optimizer, want, m, v = AdamW(5, decay=0.1, clip=1.0), parameters.copy(), np.zeros(5), np.zeros(5)
    for t in range(1, 8):
        g = rng.standard_normal(5) * (3 if t == 4 else 0.1)
        norm = optimizer.update(parameters, g.copy(), 0.01 * t)
        assert norm == pytest.approx(np.linalg.norm(g))
        g = g / max(1, norm)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        adam = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        want -= 0.01 * t * (adam + 0.1 * want)
        np.testing.assert_allclose(parameters, want, rtol=1e-12)


def test_the_rate_warms_up_and_falls() -> None:
    schedule = Schedule(2.0, 10, warmup=4)
    rates = [schedule.at(step) for step in range(11)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0] and rates[4] == 2.0
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[10] == pytest.approx(0.2)
