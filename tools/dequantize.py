"""Multiply a converted model out into dense float32 weights: what it gives with activations that are not rounded.

    python tools/dequantize.py CONVERTED SOURCE OUT
    bitconverter evaluate OUT --text FILE --reference SOURCE --kv f32

SOURCE is what CONVERTED was made from; OUT becomes a Hugging Face folder. Beside `bitconverter evaluate CONVERTED` it
tells what int8 activations cost.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from bitconverter.engine import Engine, check_config, planes_unpack, rotate
from bitconverter.format.bfloat16 import as_f32
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.weight_file import WeightFile, header_space
from bitconverter.model.hf_source import HfSource
from bitconverter.model.names import expected_tensors

DTYPES = {"U8": np.uint8, "I8": np.int8, "F16": np.float16, "F32": np.float32, "BF16": np.uint16}
ROWS = 4096  # rotated back at a time


class Converted:
    """Reads a folder that `bitconverter convert` wrote, tensor by tensor of the original."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._path, self._engine = folder / "model.safetensors", engine
        self._file = SafetensorsFile(self._path)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._seed = int(config["quantization_config"]["rotation"]["seed"])

    def matrix(self, name: str, rows: int) -> np.ndarray:
        """f32, in the basis of the source."""
        stem, tensors = name.removesuffix(".weight"), self._file.tensors
        if name in tensors:
            return as_f32(self._part(name))
        scales = as_f32(self._part(stem + ".scales"))[:, None]
        if stem + ".direct_planes" in tensors:
            return scales * planes_unpack(self._engine, self._part(stem + ".direct_planes"), rows)
        if stem + ".int8" in tensors:
            q = self._part(stem + ".int8")
        else:
            q = planes_unpack(self._engine, self._part(stem + ".planes"), rows)
        out = np.empty(q.shape, np.float32)
        for start in range(0, rows, ROWS):
            part = slice(start, start + ROWS)
            out[part] = rotate(self._engine, scales[part] * q[part], seed=self._seed, inverse=True)
        return out

    def _part(self, name: str) -> np.ndarray:
        entry = self._file.tensors[name]
        return np.memmap(self._path, DTYPES[entry.dtype], "r", entry.offset, entry.shape)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("converted", "source", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    source, engine = HfSource(arguments.source), Engine()
    converted = Converted(arguments.converted, engine)
    info = check_config(json.dumps(source.config).encode())
    expected = expected_tensors(info)
    arguments.out.mkdir(parents=True)
    for path in sorted(arguments.source.iterdir()):
        if path.suffix in (".json", ".txt", ".jinja", ".model") and "index" not in path.name:
            shutil.copyfile(path, arguments.out / path.name)
    weights = WeightFile(arguments.out / "model.safetensors", header_space(expected.items()), [])
    try:
        for name, shape in expected.items():
            weights.write(name, "F32", shape, converted.matrix(name, shape[0]))
        weights.finish()
    finally:
        weights.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
