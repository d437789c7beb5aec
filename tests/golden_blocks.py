"""Layers of the golden models as Blocks."""

from pathlib import Path

import numpy as np
from reference.model import ReferenceModel

from bitconverter.engine import MATRICES, Block, Engine

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
