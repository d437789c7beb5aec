"""How fast this computer converts: the pieces of a conversion, timed on a few real matrices of the model at hand.

A layer's cost has a part for every token of text (passes forward and back, the sums of the inputs) and a part for the
matrices (factoring H, rounding the rows). Both are measured on layer 0: one window of tokens, and a tile of rows
per thread of a matrix of each width, then scaled; the head on its first rows. Nothing is written.
"""

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    CAPTURES,
    Block,
    Engine,
    Head,
    ModelInfo,
    head_drawn_entropy,
    quantize_int8,
    quantize_planes,
    rotate,
    single_threaded_blas,
)  # fmt: skip
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.layer_reader import MATRICES, RMS_EPS, as_f32
from bitconverter.model import names
from bitconverter.model.calibrated_fit import TILE, improve
from bitconverter.model.curvature import Curvature, Moments
from bitconverter.model.source import Source

T = TypeVar("T")
Matrix = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]

WINDOW = 512  # tokens
PLANES = 2
INT8_ROWS = 4096
REPEATS, ENOUGH = 4, 1.0  # times a piece is run at most; seconds after which it is not run again


@dataclass(frozen=True)
class Speeds:
    """Seconds. Per token and layer: `forward` (a layer as it is), `inputs` (of its matrices, one kind after another),
    `sums` of their products, `backward` (with the forward pass that it repeats); `head` per token, the loss and its
    gradient. Per layer: `factor`, `round_full`, `round_fast`. `int8` for embedding and head; `read` for all of the
    source."""

    forward: float
    inputs: float
    sums: float
    backward: float
    head: float
    factor: float
    round_full: float
    round_fast: float
    int8: float
    read: float
    layers: int

    def seconds(self, method: str, tokens: int) -> float:
        """Of the rounding by `method`, calibrated on so many tokens."""
        ends = self.int8 + self.read
        if method == "fast":
            return ends + self.layers * self.round_fast
        if method == "diag":
            return ends + self.layers * (tokens * self.forward + self.round_fast)
        per_token = self.inputs + self.sums + self.forward
        return ends + self.layers * (tokens * per_token + self.factor + self.round_full)

    def measuring(self, tokens: int) -> float:
        """Of the sensitivities (jobs/sensitivity.py)."""
        per_token = self.forward + self.sums + self.backward
        return self.layers * (tokens * per_token + self.factor) + tokens * self.head

    def polishing(self, steps_tokens: int, taught_tokens: int) -> float:
        """Of the polish (jobs/polish.py): the tokens of all its steps, and those that the source runs over once. Its
        loss has two heads, and only one of them a way back."""
        per_step = self.layers * (self.forward + self.backward) + 1.5 * self.head
        return steps_tokens * per_step + taught_tokens * self.layers * self.forward


def probe(ctx: Context, source: Source, info: ModelInfo, engine: Engine, cpu: str) -> Speeds:
    """Times them; seconds for a small model, about half a minute for one of 8 billion weights."""
    single_threaded_blas()
    with ThreadPoolExecutor(engine.threads, thread_name_prefix="probe") as pool:
        return _Probe(ctx, source, info, engine, cpu, pool).run()


class _Probe:
    def __init__(
        self,
        ctx: Context,
        source: Source,
        info: ModelInfo,
        engine: Engine,
        cpu: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._ctx, self._source, self._info = ctx, source, info
        self._engine, self._cpu, self._pool = engine, cpu, pool
        self._draw = np.random.Generator(np.random.PCG64(0))

    def run(self) -> Speeds:
        self._tell(0)
        block = Block(self._engine, json.dumps(self._source.config).encode(), 0, self._window())
        read_seconds, weights = self._timed(lambda: self._read_layer(block))
        read_bytes = sum(matrix.nbytes for matrix in weights.values())
        x = self._draw.normal(size=(1, self._window(), self._info.hidden_size)).astype(np.float32)
        cancel = self._ctx.cancel
        block.forward(x.copy(), cancel=cancel)  # the first touches memory for the first time
        forward, _ = self._timed(lambda: block.forward(x.copy(), (), cancel))
        in_turn, inputs = self._timed(lambda: {name: block.input(x, name, cancel) for name in CAPTURES})
        backward, _ = self._timed(
            lambda: block.backward(x, np.ones_like(x), block.gradients(("row_squares",)), cancel)
        )
        self._tell(1)
        moments = {name: Moments(width) for name, width in block.widths.items()}
        sums, _ = self._timed(lambda: self._sum(moments, inputs))
        factor, curvatures = self._timed(
            lambda: {name: m.curvature(self._ctx.cancel.check) for name, m in moments.items()}
        )
        self._tell(2)
        per_row: dict[int, tuple[float, float]] = {}  # by columns: calibrated, plain
        for key, (_, input_name) in MATRICES.items():
            if weights[key].shape[1] not in per_row:
                per_row[weights[key].shape[1]] = self._round(weights[key], curvatures[input_name])
        round_full = sum(len(w) * per_row[w.shape[1]][0] for w in weights.values())
        round_fast = sum(len(w) * per_row[w.shape[1]][1] for w in weights.values())
        self._tell(3)
        tokens = x.shape[0] * x.shape[1]
        return Speeds(
            forward / tokens, in_turn / tokens, sums / tokens, backward / tokens, self._head_seconds(x[0]),
            factor, round_full, round_fast,
            self._int8_seconds(), read_seconds * self._source.total_bytes / max(read_bytes, 1), self._info.n_layers,
        )  # fmt: skip

    def _window(self) -> int:
        return min(WINDOW, self._info.max_positions)

    def _read_layer(self, block: Block) -> dict[str, Matrix]:
        expected = names.expected_tensors(self._info)
        prefix = "model.layers.0."

        def read(name: str) -> Matrix | None:
            if prefix + name not in expected:
                return None
            self._ctx.cancel.check()
            return self._source.read_rows(prefix + name, 0, self._source.tensors[prefix + name].shape[0])

        def vector(name: str) -> F32 | None:
            values = read(name)
            return None if values is None else as_f32(values)

        first, second = vector("input_layernorm.weight"), vector("post_attention_layernorm.weight")
        assert first is not None and second is not None
        block.set_norms(first, second, vector("self_attn.q_norm.weight"), vector("self_attn.k_norm.weight"))
        weights = {}
        for key, (name, _) in MATRICES.items():
            values = read(name + ".weight")
            assert values is not None
            weights[key] = values
            block.set_dense(key, values, vector(name + ".bias"))
        return weights

    def _sum(self, moments: dict[str, Moments], inputs: dict[str, F32]) -> None:
        for name, values in inputs.items():
            self._ctx.cancel.check()
            moments[name].add(rotate(self._engine, values, seed=0), self._pool)

    def _round(self, w: Matrix, curvature: Curvature) -> tuple[float, float]:
        """Seconds per row, calibrated and plain."""
        rows = w[: TILE * self._engine.threads]
        cancel = self._ctx.cancel

        def plain() -> F32:
            return quantize_planes(self._engine, rows, seed=0, n_planes=PLANES, cancel=cancel)[1]

        def calibrated() -> None:
            rotated = rotate(self._engine, as_f32(rows), seed=0)
            improve(
                rotated, np.zeros(rows.shape, np.int8), scales, curvature, PLANES,
                storable=lambda s: s.astype(np.float32), engines=lambda: Engine(threads=1, cpu=self._cpu),
                pool=self._pool, cancel=cancel,
            )  # fmt: skip

        fast, scales = self._timed(plain)
        full, _ = self._timed(calibrated)
        return (full + fast) / len(rows), fast / len(rows)

    def _head_seconds(self, h: F32) -> float:
        """Per token, from the first rows of the head."""
        name = names.EMBEDDING if self._info.tied else names.HEAD
        rows = min(INT8_ROWS, self._info.vocab_size)
        norm = np.ones(self._info.hidden_size, np.float32)
        head = Head(norm, self._source.read_rows(name, 0, rows), RMS_EPS)
        seconds, _ = self._timed(
            lambda: head_drawn_entropy(self._engine, head, h, 0, cancel=self._ctx.cancel)
        )
        return seconds / len(h) * self._info.vocab_size / rows

    def _int8_seconds(self) -> float:
        """Of the embedding and, if it is separate, the head."""
        rows = min(INT8_ROWS, self._info.vocab_size)
        values = self._source.read_rows(names.EMBEDDING, 0, rows)
        seconds, _ = self._timed(lambda: quantize_int8(self._engine, values, seed=0, cancel=self._ctx.cancel))
        return seconds * self._info.vocab_size / rows * (1 if self._info.tied else 2)

    def _timed(self, work: Callable[[], T]) -> tuple[float, T]:
        """The seconds of the quickest of a few runs (other programs disturb), and the last result."""
        best, began = math.inf, time.monotonic()
        for _ in range(REPEATS):
            start = time.monotonic()
            result = work()
            now = time.monotonic()
            best = min(best, now - start)
            if now - began > ENOUGH:
                break
        return best, result

    def _tell(self, step: int) -> None:
        self._ctx.cancel.check()
        self._ctx.emit(Progress(step, 3, "step", "timing this computer"))
