"""Layers of the golden models as Blocks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reference.model import ReferenceModel

from bitconverter.engine import MATRICES, Block, BlockGradients, Engine, Head, head_cross_entropy

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = sorted(path.parent.name for path in GOLDEN.glob("*/logits.npy"))
ISAS = ("scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-vbmi")
SEED = 7
PLACES = dict(zip(MATRICES, ("self_attn",) * 4 + ("mlp",) * 3, strict=True))


def config_of(folder: Path) -> bytes:
    return (folder / "config.json").read_bytes()


def prefix_of(layer: int, name: str) -> str:
    return f"model.layers.{layer}.{PLACES[name]}.{name}_proj"


def filled(
    engine: Engine,
    folder: Path,
    layer: int,
    window: int,
    names: tuple[str, ...] = MATRICES,
    config: bytes | None = None,
) -> Block:
    """Layer `layer` of a folder, dense or converted, with the matrices `names` and the norms set."""
    tensors = ReferenceModel(folder).tensors
    block = Block(engine, config or config_of(folder), layer, window)
    for name in names:
        prefix = prefix_of(layer, name)
        bias = tensors.get(prefix + ".bias")
        if prefix + ".weight" in tensors:
            block.set_dense(name, tensors[prefix + ".weight"], bias)
        else:
            scales = tensors[prefix + ".scales"].astype(np.float32)
            block.set_planes(name, tensors[prefix + ".planes"], scales, seed=SEED, bias=bias)
    at = f"model.layers.{layer}."
    block.set_norms(
        tensors[at + "input_layernorm.weight"],
        tensors[at + "post_attention_layernorm.weight"],
        tensors.get(at + "self_attn.q_norm.weight"),
        tensors.get(at + "self_attn.k_norm.weight"),
    )
    return block


def states(block: Block, windows: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Random ones that come into the block, and random gradients of those that leave it."""
    x, dy = (
        np.random.default_rng(1).standard_normal((2, windows, window, block.hidden_size)).astype(np.float32)
    )
    return x, dy


def close(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.sqrt((want**2).mean())


def added_gradients(
    engine: Engine,
    folder: Path,
    loss: float,
    put: Callable[[Block, int], None],
    kind: str,
    matrices: tuple[str, ...] = MATRICES,
) -> list[BlockGradients]:
    """The gradients of `kind`, "lora" or "delta", of every layer of a golden model with what `put` adds to a layer; its
    loss on the golden tokens is `loss`."""
    model, tokens = ReferenceModel(folder), np.load(folder / "tokens.npy")
    blocks = [filled(engine, folder, i, len(tokens)) for i in range(model.config["num_hidden_layers"])]
    for layer, block in enumerate(blocks):
        put(block, layer)
    inputs = [model.embed.rows(tokens)[None].astype(np.float32)]
    for block in blocks:
        inputs.append(inputs[-1].copy())
        block.forward(inputs[-1], capture=())
    assert model.head.dense is not None
    head = Head(model.tensors["model.norm.weight"], model.head.dense, model.config["rms_norm_eps"])
    targets = np.append(tokens[1:], -1).astype(np.int32)
    weights = np.full(len(tokens), 1 / (len(tokens) - 1), np.float32)
    run = head_cross_entropy(engine, head, inputs[-1][0], targets, weights)
    assert run.loss.sum() / (len(tokens) - 1) == pytest.approx(loss, abs=1e-5)
    assert run.dh is not None
    dy, found = run.dh[None].copy(), [block.gradients((kind,), matrices=matrices) for block in blocks]
    for layer in reversed(range(len(blocks))):
        blocks[layer].backward(inputs[layer], dy, found[layer])
    return found
