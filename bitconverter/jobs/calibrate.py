"""Calibrated rounding, one decoder layer after the other (docs/MODEL.md).

For every layer: run it with the source's weights on the calibration text's hidden states, as they come out of the
layers already rounded, and sum up the inputs of its matrices; round the matrices by that; run it again with the
rounded ones for the next layer's hidden states. Resident: the hidden states, one layer, its moments.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    Block,
    Engine,
    ModelInfo,
    planes_pack,
    planes_unpack,
    quantize_int8,
    quantize_planes,
    rotate,
    single_threaded_blas,
)
from bitconverter.format.errors import UserError
from bitconverter.jobs.convert_tensor import (
    F16_MAX,
    F16_MIN,
    Fitted,
    direct_planes,
    dtype_of,
    finite,
    fits_f16,
)
from bitconverter.jobs.job import Context, Note
from bitconverter.model import names
from bitconverter.model.calibrated_fit import improve
from bitconverter.model.curvature import DAMPING, Curvature, Moments
from bitconverter.model.plan import DIRECT, TensorPlan
from bitconverter.model.source import Source

F32 = npt.NDArray[np.float32]

CHUNK_TOKENS = 2048  # tokens whose inputs of all matrices are held at a time
# of the block's matrices: the name inside the layer, and the input that it reads
MATRICES = {
    "q": ("self_attn.q_proj", "qkv"), "k": ("self_attn.k_proj", "qkv"), "v": ("self_attn.v_proj", "qkv"),
    "o": ("self_attn.o_proj", "o"),
    "gate": ("mlp.gate_proj", "mlp"), "up": ("mlp.up_proj", "mlp"),
    "down": ("mlp.down_proj", "down"),
}  # fmt: skip
# how a layer's time goes, for the progress
MOMENTS_SHARE, FORWARD_SHARE = 0.35, 0.15


@dataclass(frozen=True)
class _Weights:
    values: npt.NDArray[Any]
    sha256: str
    bias: F32 | None


class Calibrator:
    """Rounds the layers in order; `x` f32 [windows, window, hidden] is the next layer's input. Use calibrator()."""

    def __init__(
        self, ctx: Context, source: Source, info: ModelInfo, seed: int, engine: Engine, cpu: str,
        pool: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._ctx, self._cancel = ctx, ctx.cancel
        self._source, self._info, self._seed = source, info, seed
        self._engine, self._pool = engine, pool
        self._expected = names.expected_tensors(info)
        self._config = json.dumps(source.config).encode("utf-8")
        own = threading.local()

        def engine_of_thread() -> Engine:
            if not hasattr(own, "engine"):
                own.engine = Engine(threads=1, cpu=cpu)
            engine: Engine = own.engine
            return engine

        self._own_engine = engine_of_thread
        self.x: F32 = np.empty((0, 0, 0), np.float32)

    def embed(self, ids: npt.NDArray[np.int32]) -> None:
        """The first layer's input: the rows of the embedding as the converted model will have them (8 bit)."""
        wanted, places = np.unique(ids, return_inverse=True)
        rows = np.empty((len(wanted), self._info.hidden_size), np.float32)
        step = self._source.slab_rows(names.EMBEDDING, 64 * 1024 * 1024)
        for start in range(0, self._info.vocab_size, step):
            self._cancel.check()
            stop = min(start + step, self._info.vocab_size)
            here = (wanted >= start) & (wanted < stop)
            if here.any():
                rows[here] = as_f32(self._source.read_rows(names.EMBEDDING, start, stop))[
                    wanted[here] - start
                ]
        _need_finite(rows, names.EMBEDDING)
        codes, scales, _ = quantize_int8(self._engine, rows, seed=self._seed, cancel=self._cancel)
        rows = rotate(self._engine, codes * scales[:, None], seed=self._seed, inverse=True)
        self.x = rows[places.reshape(ids.shape)]

    def layer(
        self, number: int, plans: dict[str, TensorPlan], tell: Callable[[float], None]
    ) -> dict[str, Fitted]:
        """Round layer `number` (all its matrices, by name) and advance `x`. `tell` hears how much is done, 0 to 1."""
        prefix = f"model.layers.{number}."
        block = Block(self._engine, self._config, number, self.x.shape[1])
        self._set_norms(block, prefix)
        weights = {key: self._read(prefix + name) for key, (name, _) in MATRICES.items()}
        for key, weight in weights.items():
            block.set_dense(key, weight.values, weight.bias)
        moments = self._moments(block, lambda part: tell(MOMENTS_SHARE * part))
        fitted: dict[str, Fitted] = {}
        total = sum(weight.values.size for weight in weights.values())
        done = 0
        curvatures: dict[str, Curvature] = {}
        for key, (name, input_name) in MATRICES.items():
            if input_name not in curvatures:
                curvatures = {input_name: moments.pop(input_name).curvature(self._cancel.check)}
                self._note(prefix + name, curvatures[input_name])
            plan = plans[prefix + name + ".weight"]
            if plan.form == DIRECT:  # ternary already: nothing is lost, the layer runs with it as it is
                made = self._direct(plan, weights[key])
            else:
                made = self._fit(plan, weights[key], curvatures[input_name])
                block.set_planes(key, made.planes, made.scales, seed=self._seed, bias=weights[key].bias)
            fitted[plan.name] = made
            done += weights[key].values.size
            tell(MOMENTS_SHARE + (1 - MOMENTS_SHARE - FORWARD_SHARE) * done / total)
        for windows in self._chunks():
            block.forward(self.x[windows], (), self._cancel)
        if not np.isfinite(self.x).all():
            raise _overflow(number)
        tell(1.0)
        return fitted

    def _moments(self, block: Block, tell: Callable[[float], None]) -> dict[str, Moments]:
        moments = {name: Moments(width) for name, width in block.widths.items()}
        for windows in self._chunks():
            inputs = block.forward(self.x[windows].copy(), cancel=self._cancel)
            for name in list(inputs):
                self._cancel.check()
                moments[name].add(rotate(self._engine, inputs.pop(name), seed=self._seed), self._pool)
            tell(windows.stop / len(self.x))
        return moments

    def _direct(self, plan: TensorPlan, weight: _Weights) -> Fitted:
        planes, scales, squares = direct_planes(self._engine, weight.values, plan.name)
        return Fitted(planes, scales, dtype_of(scales), 0.0, squares, 0.0, 0.0, weight.sha256)

    def _fit(self, plan: TensorPlan, weight: _Weights, curvature: Curvature) -> Fitted:
        """Scales are f16 values if f16 can hold all of them, else f32 (as in convert_tensor)."""
        importance = curvature.importance
        exact = False
        while True:
            planes, scales, _ = quantize_planes(
                self._engine, weight.values, seed=self._seed, n_planes=plan.n_planes, importance=importance,
                exact_scales=exact, cancel=self._cancel,
            )  # fmt: skip
            if exact or fits_f16(scales, zero=True):
                break
            exact = True
        w = rotate(self._engine, as_f32(weight.values), seed=self._seed)
        best = improve(
            w, planes_unpack(self._engine, planes, len(w)), scales, curvature, plan.n_planes,
            storable=_as_f32_scales if exact else _as_f16_scales,
            engines=self._own_engine, pool=self._pool, cancel=self._cancel,
        )  # fmt: skip
        error, squares = _squares(w, best.q, best.scales)
        whole = float(best.whole.sum()) or 1.0
        return Fitted(
            planes_pack(self._engine, best.q, plan.n_planes), best.scales, "F32" if exact else "F16", error, squares,
            float(best.cost.sum()) / whole, float(best.start_cost.sum()) / whole, weight.sha256,
        )  # fmt: skip

    def _read(self, name: str) -> _Weights:
        sha = hashlib.sha256()
        stem = name
        name += ".weight"
        rows = self._source.tensors[name].shape[0]
        step = self._source.slab_rows(name, 64 * 1024 * 1024)
        pieces = []
        for start in range(0, rows, step):
            self._cancel.check()
            pieces.append(self._source.read_rows(name, start, min(start + step, rows), sha))
            _need_finite(pieces[-1], name)
        values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return _Weights(values, sha.hexdigest(), self._vector(stem + ".bias"))

    def _vector(self, name: str) -> F32 | None:
        if name not in self._expected:
            return None
        values = as_f32(self._source.read_rows(name, 0, self._source.tensors[name].shape[0]))
        _need_finite(values, name)
        return values

    def _set_norms(self, block: Block, prefix: str) -> None:
        parts = (
            "input_layernorm.weight", "post_attention_layernorm.weight",
            "self_attn.q_norm.weight", "self_attn.k_norm.weight",
        )  # fmt: skip
        first, second, q, k = (self._vector(prefix + part) for part in parts)
        assert first is not None and second is not None  # the preflight looked
        block.set_norms(first, second, q, k)

    def _chunks(self) -> Iterator[slice]:
        count, window = self.x.shape[:2]
        step = max(1, CHUNK_TOKENS // window)
        for start in range(0, count, step):
            self._cancel.check()
            yield slice(start, min(start + step, count))

    def _note(self, matrix: str, curvature: Curvature) -> None:
        if curvature.damping > DAMPING:
            self._ctx.emit(Note("more-damping", {"matrix": matrix, "damping": curvature.damping}))
        if curvature.dead:
            self._ctx.emit(Note("dead-inputs", {"matrix": matrix, "inputs": curvature.dead}))


@contextmanager
def calibrator(
    ctx: Context, source: Source, info: ModelInfo, seed: int, engine: Engine, cpu: str
) -> Iterator[Calibrator]:
    """A Calibrator with as many threads as the engine; they end with it.

    Emits Note("blas-threads") where numpy's BLAS cannot be told to use one thread: then the result may depend on
    the number of cores.
    """
    if not single_threaded_blas():
        ctx.emit(Note("blas-threads"))
    with ThreadPoolExecutor(engine.threads, thread_name_prefix="calibrate") as pool:
        yield Calibrator(ctx, source, info, seed, engine, cpu, pool)


def as_f32(values: npt.NDArray[Any]) -> F32:
    """uint16 holds the bits of bfloat16."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)


def _as_f16_scales(scales: npt.NDArray[np.float64]) -> F32:
    return np.clip(scales, F16_MIN, F16_MAX).astype(np.float16).astype(np.float32)


def _as_f32_scales(scales: npt.NDArray[np.float64]) -> F32:
    return scales.astype(np.float32)


def _squares(w: F32, q: npt.NDArray[np.int8], scales: F32) -> tuple[float, float]:
    """Sums of the squares of the error and of the weights; row by row in f64."""
    error = weight = 0.0
    for start in range(0, len(w), 256):
        rows = slice(start, start + 256)
        e = w[rows] - scales[rows, None] * q[rows]
        error += float(np.einsum("rc,rc->", e, e, dtype=np.float64))
        weight += float(np.einsum("rc,rc->", w[rows], w[rows], dtype=np.float64))
    return error, weight


def _need_finite(values: npt.NDArray[Any], name: str) -> None:
    if not finite(values):
        raise UserError(
            "weight-not-finite",
            f"Tensor {name} holds values that are not numbers (NaN or infinity), so the source is damaged. "
            "Download the model again.",
            tensor=name,
        )


def _overflow(layer: int) -> UserError:
    return UserError(
        "calibration-overflow",
        f"Layer {layer} gives values that are not numbers on the calibration text. The source may be damaged; "
        "if it is not, convert it with the method fast.",
        layer=layer,
    )
