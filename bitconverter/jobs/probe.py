"""How fast this computer converts and talks: the pieces of both, timed on a few real matrices of the model at hand.

A layer's cost has a part for every calibration token (the forward passes, the sums of the inputs) and a part for the
matrices (factoring H, rounding the rows); measuring the sensitivities and the polish are passes forward and back. All
are measured on layer 0: one window of tokens, and a tile of rows per thread of a matrix of each width, then scaled.
Nothing is written.
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
    head_divergence,
    head_drawn_entropy,
    quantize_int8,
    quantize_planes,
    rotate,
    single_threaded_blas,
)  # fmt: skip
from bitconverter.format.bfloat16 import as_f32
from bitconverter.jobs import own_chat, polish
from bitconverter.jobs.job import Context, Progress
from bitconverter.jobs.layer_reader import MATRICES, LayerReader
from bitconverter.model import names
from bitconverter.model.calibrated_fit import TILE, improve, look, shares, step_rows
from bitconverter.model.curvature import Curvature, Moments
from bitconverter.model.output_curvature import HEADS, WIDE, output_edges, output_moments
from bitconverter.model.source import Source

T = TypeVar("T")
Matrix = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]

WINDOW = 512  # tokens
BACK_WINDOW = 128  # of the passes back, which take several times as long
HEAD_TOKENS = 64
PLANES = 2
INT8_ROWS = 4096
MEMORY_BYTES = 128 * 1024 * 1024  # read to learn the memory's speed: more than a cache holds
REPEATS, ENOUGH = 4, 1.0  # times a piece is run at most; seconds after which it is not run again
TOGETHER_COST = 2.25  # times what a token costs in a window, where a few texts have a token each
TOKEN_REPEATS = 100  # of a single token through a layer, which takes microseconds


@dataclass(frozen=True)
class Speeds:
    """Seconds. Per token and layer: `token` of the calibration (all forward passes and the sums), `forward` of the
    source, `measured` of it with the sums that the sensitivities take, `backward` of the source with what these take,
    `student` of a rounded layer forward and back, `student_forward` of it. `outputs` of the sums of a layer's
    gradients. Per layer: `factor` of the sums, `measured_factor` of those of the sensitivities, `outputs_factor` of
    those of the gradients, `round_full`, `round_fast`. Per token: `head` and `divergence` of the loss with its
    gradient. `int8` for embedding and head; `read` for all of the source. A single token through a rounded layer takes
    `decode` + `decode_plane` times its planes, or what reading it takes (`memory`: bytes/s)."""

    token: float
    forward: float
    measured: float
    backward: float
    outputs: float
    student: float
    student_forward: float
    factor: float
    measured_factor: float
    outputs_factor: float
    round_full: float
    round_fast: float
    head: float
    divergence: float
    int8: float
    read: float
    decode: float
    decode_plane: float
    memory: float
    layers: int

    def seconds(self, method: str, tokens: int) -> float:
        """Of the rounding by `method`, calibrated on so many tokens."""
        ends = self.int8 + self.read
        if method == "fast":
            return ends + self.layers * self.round_fast
        return ends + self.layers * (tokens * self.token + self.factor + self.round_full)

    def measuring(self, tokens: int) -> float:
        """Of what is known before the rounding (jobs/measured.py), on so many tokens."""
        there = tokens * (self.measured + self.backward) + self.measured_factor
        outputs = tokens * (self.backward + self.outputs) + self.outputs_factor
        return 3 * self.read + self.layers * (there + outputs) + tokens * self.head

    def writing(self, tokens: int, source_bytes: int, head_share: float) -> float:
        """Of so many tokens that the source writes (jobs/own_chat.py); `head_share`: weights of the head to those of
        all layers."""
        computed = TOGETHER_COST * self.layers * self.forward * (1 + head_share)
        return tokens * max(computed, source_bytes / self.memory / own_chat.TOGETHER)

    def polishing(self, steps: int, window: int) -> float:
        """Of so many steps of the polish (jobs/polish.py), on windows of so many tokens."""
        taught = (polish.WINDOWS + polish.HELD_OUT) * window
        held = 2 * polish.HELD_OUT * window
        learned = steps * polish.BATCH * window
        teach = self.read + self.layers * taught * self.forward
        look = held * (self.layers * self.student_forward + self.divergence)
        return teach + look + learned * (self.layers * self.student + self.divergence)

    def tokens_per_second(self, planes: float, layer_bytes: float, head_bytes: float) -> float:
        """Of an answer at its beginning: layers with so many planes on average, `layer_bytes` each, and the head."""
        layer = max(self.decode + planes * self.decode_plane, layer_bytes / self.memory)
        return 1.0 / (self.layers * layer + head_bytes / self.memory)


def probe(
    ctx: Context, source: Source, info: ModelInfo, engine: Engine, cpu: str, tokens: int, measured: int
) -> Speeds:
    """Times them for a calibration on `tokens` tokens, sensitivities on `measured` of them; seconds for a small model,
    about half a minute for one of 8 billion weights."""
    single_threaded_blas()
    with ThreadPoolExecutor(engine.threads, thread_name_prefix="probe") as pool:
        return _Probe(ctx, source, info, engine, cpu, pool).run(tokens, measured)


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
        self._reader = LayerReader(source, info, engine, ctx.cancel)
        self._draw = np.random.Generator(np.random.PCG64(0))

    def run(self, tokens: int, measured: int) -> Speeds:
        self._tell(0)
        window = self._window()
        block = self._block(window)
        read_seconds, weights = self._timed(self._read_layer)
        read_bytes = sum(matrix.nbytes for matrix in weights.values())
        self._set_dense(block, weights)
        x = self._states(1, window)
        block.forward(x.copy(), cancel=self._ctx.cancel)  # the first touches memory for the first time
        forward, inputs = self._timed(lambda: block.forward(x.copy(), cancel=self._ctx.cancel))
        passes = sum(
            self._timed(lambda name=name: block.input(x, name, self._ctx.cancel))[0]  # type: ignore[misc]
            for name in CAPTURES
        )
        self._tell(1)
        measured_sums, measured_factor, _ = self._curvatures(inputs, measured)
        sums, factor, curvatures = self._curvatures(inputs, tokens)
        short = self._block(min(BACK_WINDOW, window))
        self._set_dense(short, weights)
        backward = self._backward(short, ("row_squares",))
        outputs, outputs_factor = self._outputs(weights)
        self._tell(2)
        plain: dict[int, float] = {}  # seconds of a row, by columns
        calibrated: dict[
            tuple[int, int, int], float
        ] = {}  # by columns, and how many rows on how many threads
        round_full = round_fast = 0.0
        for key, (_, input_name) in MATRICES.items():
            w, (tile, threads) = weights[key], self._tiles(key, len(weights[key]))
            if w.shape[1] not in plain:
                plain[w.shape[1]] = self._round_plain(w)
            kind = (w.shape[1], tile, threads)
            if kind not in calibrated:
                together = key in (*HEADS, *WIDE)
                calibrated[kind] = self._round(w[: tile * threads], curvatures[input_name], tile, together)
            round_fast += len(w) * plain[w.shape[1]]
            round_full += len(w) * (plain[w.shape[1]] + calibrated[kind])
        self._tell(3)
        rounded = {
            key: quantize_planes(self._engine, w, seed=0, n_planes=PLANES, cancel=self._ctx.cancel)[:2]
            for key, w in weights.items()
        }
        student = self._student(rounded, window)
        student_forward, _ = self._timed(lambda: student.forward(x.copy(), (), self._ctx.cancel))
        student_back = self._backward(self._student(rounded, short.window), ("gain", "norms"))
        self._tell(4)
        decode = [self._one_token(rounded, times) for times in (1, 2)]
        head, divergence = self._head_seconds()
        return Speeds(
            token=(passes + forward + sums) / window, forward=forward / window,
            measured=(forward + measured_sums) / window, backward=backward, outputs=outputs,
            student=student_forward / window + student_back, student_forward=student_forward / window,
            factor=factor, measured_factor=measured_factor, outputs_factor=outputs_factor,
            round_full=round_full, round_fast=round_fast, head=head, divergence=divergence,
            int8=self._int8_seconds(), read=read_seconds * self._source.total_bytes / max(read_bytes, 1),
            decode=max(2 * decode[0] - decode[1], 0.0), decode_plane=(decode[1] - decode[0]) / PLANES,
            memory=self._memory(), layers=self._info.n_layers,
        )  # fmt: skip

    def _block(self, window: int) -> Block:
        """Layer 0 without matrices."""
        block = Block(self._engine, json.dumps(self._source.config).encode(), 0, window)
        norms = self._reader.norms(0)
        block.set_norms(norms["attn_norm"], norms["mlp_norm"], norms.get("q_norm"), norms.get("k_norm"))
        return block

    def _states(self, windows: int, window: int) -> F32:
        return self._draw.normal(size=(windows, window, self._info.hidden_size)).astype(np.float32)

    def _student(self, rounded: dict[str, tuple[Any, F32]], window: int, times: int = 1) -> Block:
        """Layer 0 with planes, `times` as many."""
        block = self._block(window)
        for key, (planes, scales) in rounded.items():
            many = np.concatenate([planes] * times)
            block.set_planes(key, many, scales, seed=0, bias=self._bias(key))
        return block

    def _backward(self, block: Block, want: tuple[str, ...]) -> float:
        """Seconds per token of a pass back, which computes the forward pass again inside."""
        gradients = block.gradients(want)
        x, dy = self._states(1, block.window), self._states(1, block.window)
        seconds, _ = self._timed(lambda: block.backward(x, dy, gradients, self._ctx.cancel))
        return seconds / block.window

    def _one_token(self, rounded: dict[str, tuple[Any, F32]], times: int) -> float:
        """Seconds of one token through the layer with `times` PLANES planes."""
        block, x = self._student(rounded, 1, times), self._states(1, 1)
        began = time.monotonic()
        found: list[float] = []
        while len(found) < 3 or (len(found) < TOKEN_REPEATS and time.monotonic() - began < ENOUGH):
            start = time.perf_counter()
            block.forward(x.copy(), ())
            found.append(time.perf_counter() - start)
        return float(np.median(found))

    def _head_seconds(self) -> tuple[float, float]:
        """Per token: the loss of a drawn token, and the divergence between two heads, with gradients."""
        head: Head = self._reader.head()
        states = self._states(1, HEAD_TOKENS)[0]
        cancel = self._ctx.cancel
        loss, _ = self._timed(lambda: head_drawn_entropy(self._engine, head, states, 0, cancel=cancel))
        both, _ = self._timed(
            lambda: head_divergence(self._engine, head, states, head, states, cancel=cancel)
        )
        return loss / HEAD_TOKENS, both / HEAD_TOKENS

    def _memory(self) -> float:
        """Bytes that all threads together read in a second."""
        data = np.ones(MEMORY_BYTES, np.uint8)
        seconds, _ = self._timed(lambda: self._engine.read(data))
        return MEMORY_BYTES / seconds

    def _window(self) -> int:
        return min(WINDOW, self._info.max_positions)

    def _read_layer(self) -> dict[str, Matrix]:
        weights = {}
        for key, (name, _) in MATRICES.items():
            self._ctx.cancel.check()
            stem = f"model.layers.0.{name}.weight"
            weights[key] = self._source.read_rows(stem, 0, self._source.tensors[stem].shape[0])
        return weights

    def _set_dense(self, block: Block, weights: dict[str, Matrix]) -> None:
        for key, values in weights.items():
            block.set_dense(key, values, self._bias(key))

    def _bias(self, key: str) -> F32 | None:
        return self._reader.vector(f"model.layers.0.{MATRICES[key][0]}.bias")

    def _curvatures(self, inputs: dict[str, F32], tokens: int) -> tuple[float, float, dict[str, Curvature]]:
        """Seconds of the sums of these inputs, as for so many tokens, and of their factors; what comes out."""
        moments = {name: Moments(values.shape[1], tokens) for name, values in inputs.items()}
        sums, _ = self._timed(lambda: self._sum(moments, inputs))
        factor, found = self._timed(
            lambda: {name: m.curvature(self._ctx.cancel.check) for name, m in moments.items()}
        )
        return sums, factor, found

    def _sum(self, moments: dict[str, Moments], inputs: dict[str, F32]) -> None:
        for name, values in inputs.items():
            self._ctx.cancel.check()
            moments[name].add(rotate(self._engine, values, seed=0), self._pool)

    def _outputs(self, weights: dict[str, Matrix]) -> tuple[float, float]:
        """Seconds per token of the sums of a layer's gradients, and of their factors."""
        rows = {key: len(weights[key]) for key in (*HEADS, *WIDE)}
        tokens = self._window()
        dy = {key: self._draw.normal(size=(tokens, n)).astype(np.float32) for key, n in rows.items()}
        moments = {key: output_moments(key, n, self._info.head_dim) for key, n in rows.items()}

        def add() -> None:
            for key, summed in moments.items():
                summed.add(dy[key], self._pool)

        sums, _ = self._timed(add)
        start = time.perf_counter()
        for summed in moments.values():
            summed.curvature(self._ctx.cancel.check)
        return sums / tokens, time.perf_counter() - start

    def _tiles(self, key: str, rows: int) -> tuple[int, int]:
        """Rows of matrix `key` that are rounded at a time on one thread, and on how many threads."""
        if key not in (*HEADS, *WIDE):
            return TILE, self._engine.threads
        step = step_rows(output_edges(key, rows, self._info.head_dim))
        return -(-step // shares(step)), min(shares(step), self._engine.threads)

    def _round_plain(self, w: Matrix) -> float:
        """Seconds per row."""
        rows = w[: TILE * self._engine.threads]
        cancel = self._ctx.cancel
        seconds, _ = self._timed(
            lambda: quantize_planes(self._engine, rows, seed=0, n_planes=PLANES, cancel=cancel)
        )
        return seconds / len(rows)

    def _round(self, rows: Matrix, curvature: Curvature, tile: int, together: bool) -> float:
        """Seconds per row that calibration takes beyond that; `together`: rows make up for each other."""
        cancel = self._ctx.cancel
        scales = quantize_planes(self._engine, rows, seed=0, n_planes=PLANES, cancel=cancel)[1]

        def calibrated() -> None:
            rotated, start = rotate(self._engine, as_f32(rows), seed=0), np.zeros(rows.shape, np.int8)
            best = improve(
                rotated, start, scales, curvature, PLANES,
                storable=lambda s: s.astype(np.float32), engines=lambda: Engine(threads=1, cpu=self._cpu),
                pool=self._pool, cancel=cancel, tile=tile,
            )  # fmt: skip
            if together:
                look(best, rotated, start, scales, curvature, pool=self._pool, cancel=cancel, tile=tile)

        seconds, _ = self._timed(calibrated)
        return seconds / len(rows)

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
        self._ctx.emit(Progress(step, 4, "step", "timing this computer"))
