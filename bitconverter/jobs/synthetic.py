"""A converted model of a well-known shape with random weights: as fast as a real one, and it says nonsense."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.engine import check_config
from bitconverter.format.atomic import sync_folder, write_json
from bitconverter.format.errors import UserError
from bitconverter.format.weight_file import WeightFile, header_space
from bitconverter.jobs.convert_files import with_quantization
from bitconverter.jobs.convert_work import WEIGHTS
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.scratch import scratch_folder
from bitconverter.model.plan import DENSE, MAX_PLANES, TensorPlan, make_plan, stored_parts
from bitconverter.model.shapes import SHAPES, config_of

BLOCK = 1 << 22  # random values that are repeated, from another place for every tensor
SCALE = 0.02  # of a row: about the spread of trained weights
BF16_ONE = 0x3F80
MOST_LAYERS = 1024  # that the engine reads (native/src/config.c)
Bytes = npt.NDArray[np.generic]


@dataclass(frozen=True)
class SyntheticJob:
    """Write the folder `out`, which must not be there: `shape` one of SHAPES, `planes` 1 to 4 for every matrix,
    `layers` instead of the shape's. Holds one block of values, whatever the size. Emits Progress(unit="byte").
    """

    out: str
    shape: str
    planes: int = 2
    layers: int | None = None

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> str:
        """Raises UserError("benchmark"), UserError("disk-full"), OSError; Cancelled. Nothing stays then."""
        if self.layers is not None and not 1 <= self.layers <= MOST_LAYERS:
            raise UserError(
                "benchmark",
                f"--layers {self.layers} makes no model: give 1 to {MOST_LAYERS}, or leave it out.",
            )
        if self.shape not in SHAPES or not 1 <= self.planes <= MAX_PLANES:
            raise UserError(
                "benchmark",
                f"A model is made with 1 to {MAX_PLANES} planes in the shape of {', '.join(SHAPES)}.",
            )
        out = Path(self.out)
        if os.path.lexists(out):
            raise UserError(
                "benchmark", f"{out} is there already. Measure it without --synthetic, or name a new folder."
            )
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with scratch_folder(beside=out.parent) as place:
                folder = place / "model"
                folder.mkdir()
                self._write(folder, ctx)
                os.rename(folder, out)
        except OSError as error:
            raise UserError(
                "benchmark",
                f"The folder {out} cannot be made: {error.strerror or error}. Name one where you may write.",
            ) from error
        sync_folder(out.parent)
        return self.out

    def _write(self, folder: Path, ctx: Context) -> None:
        config = config_of(self.shape, self.layers)
        plan = make_plan(check_config(json.dumps(config).encode()), self.planes)
        parts = [part for tensor in plan for part in stored_parts(tensor)]
        total = sum(math.prod(shape) for _, shape in parts)
        blocks = _Blocks()
        done = 0
        weights = WeightFile(folder / WEIGHTS, header_space(parts), [])
        try:
            for number, tensor in enumerate(plan):
                for name, shape in stored_parts(tensor):
                    dtype, block = blocks.of(tensor, name)
                    with weights.part(name, dtype, shape) as part:
                        for piece in _repeated(block, math.prod(shape), number):
                            ctx.cancel.check()
                            part.append(piece)
                    done += math.prod(shape)
                    ctx.emit(Progress(done, total, "byte", name))
            weights.finish()
        finally:
            weights.close()
        write_json(folder / "config.json", with_quantization(config, seed=0))


def positions_of(shape: str) -> int:
    """How long a context such a model can have."""
    return int(config_of(shape)["max_position_embeddings"])


class _Blocks:
    """One block of values for each kind of tensor."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        digits = draw.integers(0, 243, BLOCK)  # of five rows, as a fraction of 256 (docs/FORMAT.md 1.2)
        self._codes = ((digits * 256 + 242) // 243).astype(np.uint8)
        self._int8 = draw.integers(-127, 128, BLOCK).astype(np.int8)

    def of(self, tensor: TensorPlan, name: str) -> tuple[str, Bytes]:
        """(dtype, values) of the stored tensor `name`."""
        if name.endswith(".planes"):
            return "U8", self._codes
        if name.endswith(".int8"):
            return "I8", self._int8
        if tensor.form == DENSE:
            return "BF16", np.full(1, BF16_ONE, np.uint16)
        return "F16", np.full(1, SCALE if tensor.linear else SCALE / 64, np.float16)


def _repeated(block: Bytes, count: int, number: int) -> Iterator[Bytes]:
    """`count` values in pieces, beginning at another place for every `number`."""
    block = np.tile(block, BLOCK // 64) if len(block) == 1 else block
    start = 7919 * number % len(block)
    while count:
        piece = block[start : start + count]
        yield piece
        count -= len(piece)
        start = 0
