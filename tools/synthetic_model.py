"""Write a model folder with pseudo-random bf16 weights in the shape of a well-known model, to be converted: for tests
of memory and time. (bitconverter benchmark --synthetic writes a converted one.)

    python tools/synthetic_model.py FOLDER [--shape 8b] [--layers N]

The weights have a sensible size and are valid, nothing more: one block of normal numbers, repeated from
different offsets. 8b is 16 GB in shards of about 5 GB, as published.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from bitconverter.engine import check_config
from bitconverter.format.safetensors_file import TensorEntry, header_bytes
from bitconverter.model.names import expected_tensors
from bitconverter.model.shapes import SHAPES, config_of

SHARD_BYTES = 5 * 10**9
BLOCK = 1 << 25  # values in the repeated block
ONE = 0x3F80  # 1.0 in bf16


def write_model(folder: Path, shape: str, layers: int | None) -> None:
    """A new folder with config, tokenizer, index and shards."""
    folder.mkdir(parents=True)
    text = json.dumps(config_of(shape, layers), indent=2)
    (folder / "config.json").write_text(text, encoding="utf-8")
    _write_tokenizer(folder)
    shards = _shards(expected_tensors(check_config(text.encode("utf-8"))))
    block = _bf16(np.random.default_rng(0).normal(0, 0.02, BLOCK).astype(np.float32))
    weight_map = {}
    for k, shard in enumerate(shards, 1):
        name = f"model-{k:05d}-of-{len(shards):05d}.safetensors"
        weight_map.update(dict.fromkeys(shard, name))
        _write_shard(folder / name, shard, block)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def _shards(tensors: dict[str, tuple[int, ...]]) -> list[dict[str, tuple[int, ...]]]:
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in tensors.items():
        size += 2 * math.prod(shape)
        if size > SHARD_BYTES:
            shards.append({})
            size = 2 * math.prod(shape)
        shards[-1][name] = shape
    return shards


def _write_shard(path: Path, tensors: dict[str, tuple[int, ...]], block: np.ndarray) -> None:
    space = 8 + 8 * (1 + sum(len(name) + 128 for name in tensors) // 8)
    entries, end = [], space
    for name, shape in tensors.items():
        entries.append(TensorEntry(name, "BF16", shape, end, 2 * math.prod(shape)))
        end += 2 * math.prod(shape)
    with open(path, "wb") as file:
        file.write(header_bytes(entries, space, {"format": "pt"}))
        for k, (name, shape) in enumerate(tensors.items()):
            for piece in _values(name, math.prod(shape), k, block):
                file.write(piece.data)


def _values(name: str, count: int, k: int, block: np.ndarray) -> Iterator[np.ndarray]:
    if "norm" in name:
        yield np.full(count, ONE, np.uint16)
        return
    start = 7919 * k % BLOCK
    while count:
        piece = block[start : start + count]
        yield piece
        count -= len(piece)
        start = 0


def _bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def _write_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={c: k for k, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    write_model(arguments.folder, arguments.shape, arguments.layers)


if __name__ == "__main__":
    main()
