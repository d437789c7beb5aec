"""What rounding activations to int8 costs: the relative squared error of a token, with one scale per token as the
engine rounds, before and after the rotation, for each kind of input of a model's decoder layers.

    python tools/activation_error.py SOURCE TEXT [--tokens 2048]

SOURCE is an unconverted model folder. One line per kind of input: means over the tokens and layers, and the layer where
it is largest.
"""

import argparse
from pathlib import Path

import numpy as np

from bitconverter.engine import CAPTURES, Cancel, Engine, check_config, rotate
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.model.hf_source import HfSource
from bitconverter.model.tokenizer import Tokenizer

WINDOW, SEED = 512, 0


def relative_errors(x: np.ndarray) -> np.ndarray:
    """Of each row of x f32 [tokens, columns]: |x - int8(x)|^2 / |x|^2, the scale the largest value over 127."""
    scale = np.maximum(np.abs(x).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    error = x - np.rint(x / scale) * scale
    return (error**2).sum(axis=1) / np.maximum((x**2).sum(axis=1), np.finfo(np.float32).tiny)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=2048)
    arguments = parser.parse_args()
    engine, cancel = Engine(), Cancel()
    source = HfSource(arguments.source)
    info = check_config((arguments.source / "config.json").read_bytes())
    reader = LayerReader(source, info, engine, cancel)
    ids = Tokenizer(arguments.source).encode(
        arguments.text.read_text(encoding="utf-8"), add_special_tokens=False
    )
    count = min(len(ids), arguments.tokens) // WINDOW
    x = reader.embed(np.asarray(ids[: count * WINDOW], np.int32).reshape(count, WINDOW))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CAPTURES}
    for layer in range(info.n_layers):
        block, _ = reader.block(layer, WINDOW)
        for name, inputs in block.forward(x, cancel=cancel).items():
            rotated = rotate(engine, inputs, seed=SEED)
            found[name].append(
                (float(relative_errors(inputs).mean()), float(relative_errors(rotated).mean()))
            )
    print(
        f"{source.name}: {count * WINDOW} tokens of {arguments.text.name}; relative squared error of int8 per token"
    )
    print("| input of | as it is | rotated | rotated, worst layer |")
    print("|---|---|---|---|")
    for name, pairs in found.items():
        plain, turned = np.mean(pairs, axis=0)
        worst = int(np.argmax([pair[1] for pair in pairs]))
        print(f"| {name} | {plain:.2e} | {turned:.2e} | {pairs[worst][1]:.2e} (layer {worst}) |")


if __name__ == "__main__":
    main()
