"""Calibrated rounding, one decoder layer after the other (docs/MODEL.md).

For every layer, in the order of the forward pass: sum up the inputs that q, k and v get on the calibration text's
hidden states, as they come out of all that is already rounded; round these three by that; with them rounded sum up
the inputs of o, round it; and so on with gate and up, and down. Resident: the hidden states, one layer, the moments
of one input.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from bitconverter.engine import (
    CAPTURES,
    Block,
    Cancel,
    Engine,
    ModelInfo,
    planes_pack,
    planes_unpack,
    rotate,
    single_threaded_blas,
)
from bitconverter.format.bfloat16 import as_f32
from bitconverter.format.errors import UserError
from bitconverter.jobs.convert_tensor import Fitted
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.layer_reader import MATRICES, LayerReader, LayerWeights, window_chunks
from bitconverter.jobs.rounding import (
    as_f16_scales,
    as_f32_scales,
    kept_exactly,
    squares,
    weighted_start,
)
from bitconverter.model.calibrated_fit import improve
from bitconverter.model.curvature import DAMPING, Curvature, Moments
from bitconverter.model.output_curvature import OutputCurvature
from bitconverter.model.plan import DIRECT, TensorPlan
from bitconverter.model.source import Source

F32 = npt.NDArray[np.float32]

# How much more the first token of a window counts than another. All that follow look at it (an "attention sink", Xiao
# et al. 2023), so its errors reach all of them.
FIRST_TOKEN = 8.0

BEHIND_ATTENTION = "mlp"  # of CAPTURES, the first input that is

# how a layer's time goes, for the progress
OUTPUTS_SHARE, MOMENTS_SHARE, FIT_SHARE = 0.2, 0.35, 0.3

Outputs = Callable[[int, Executor], dict[str, OutputCurvature]]  # of a layer, by MATRICES


class Calibrator:
    """Rounds the layers in order; `x` f32 [windows, window, hidden] is the next layer's input. Use calibrator()."""

    def __init__(
        self, ctx: Context, source: Source, info: ModelInfo, seed: int, engine: Engine, cpu: str,
        pool: ThreadPoolExecutor, outputs: Outputs,
    ) -> None:  # fmt: skip
        self._ctx, self._cancel, self._outputs = ctx, ctx.cancel, outputs
        self._seed = seed
        self._engine, self._pool = engine, pool
        self._reader = LayerReader(source, info, engine, ctx.cancel)
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
        self.x = self._reader.embed(ids, self._seed)

    def layer(
        self, number: int, plans: dict[str, TensorPlan], tell: Callable[[float], None]
    ) -> dict[str, Fitted]:
        """Round layer `number` (all its matrices, by name) and advance `x`. `tell` hears how much is done, 0 to 1."""
        prefix = f"model.layers.{number}."
        outputs = self._outputs(number, self._pool)
        tell(OUTPUTS_SHARE)
        block, weights = self._reader.block(number, self.x.shape[1])
        fitted: dict[str, Fitted] = {}
        total = sum(weight.values.size for weight in weights.values())
        done = OUTPUTS_SHARE
        for input_name in CAPTURES:
            readers = {key: name for key, (name, of) in MATRICES.items() if of == input_name}
            if input_name == BEHIND_ATTENTION:
                self._advance(block.attention)
            curvature, dead = self._curvature(number, block, input_name)
            done += MOMENTS_SHARE / len(CAPTURES)
            tell(done)
            self._note(prefix + next(iter(readers.values())), curvature, dead)
            for key, name in readers.items():
                plan = plans[prefix + name + ".weight"]
                if plan.form == DIRECT:  # ternary already: nothing is lost, the layer runs with it as it is
                    made = kept_exactly(self._engine, plan, weights[key])
                else:
                    made = self._fit(plan, weights[key], curvature, outputs.pop(key, None))
                    block.set_planes(key, made.planes, made.scales, seed=self._seed, bias=weights[key].bias)
                fitted[plan.name] = made
                done += FIT_SHARE * weights[key].values.size / total
                tell(done)
        self._advance(block.mlp)
        if not np.isfinite(self.x).all():
            raise overflow(number)
        tell(1.0)
        return fitted

    def _advance(self, half: Callable[[F32, Cancel], None]) -> None:
        for windows in window_chunks(self.x, self._cancel):
            half(self.x[windows], self._cancel)

    def _curvature(self, number: int, block: Block, name: str) -> tuple[Curvature, int]:
        """Of one input of the layer, with its matrices as they are set now; and how many of its entries are always
        zero, which the rotation would hide."""
        moments = Moments(block.widths[name], self.x.shape[0] * self.x.shape[1])
        alive = np.zeros(block.widths[name], bool)
        for windows in window_chunks(self.x, self._cancel):
            inputs = block.input(self.x[windows], name, self._cancel)
            alive |= inputs.any(axis=0)
            inputs = rotated(self._engine, inputs, self._seed, number)
            inputs[:: self.x.shape[1]] *= np.float32(FIRST_TOKEN**0.5)
            moments.add(inputs, self._pool)
            del inputs  # memory that the factor takes
        if not moments.finite:
            raise overflow(number)
        return moments.curvature(self._cancel.check), int((~alive).sum())

    def _fit(
        self, plan: TensorPlan, weight: LayerWeights, curvature: Curvature, outputs: OutputCurvature | None
    ) -> Fitted:
        planes, scales, exact = weighted_start(
            self._engine, weight.values, plan.n_planes, curvature.importance, self._seed, self._cancel
        )
        w = rotate(self._engine, as_f32(weight.values), seed=self._seed)
        best = improve(
            w, planes_unpack(self._engine, planes, len(w)), scales, curvature, plan.n_planes,
            storable=as_f32_scales if exact else as_f16_scales,
            engines=self._own_engine, pool=self._pool, cancel=self._cancel, outputs=outputs,
        )  # fmt: skip
        error, square = squares(w, best.q, best.scales)
        whole = float(best.whole.sum()) or 1.0
        return Fitted(
            planes_pack(self._engine, best.q, plan.n_planes), best.scales, "F32" if exact else "F16", error, square,
            float(best.cost.sum()) / whole, float(best.start_cost.sum()) / whole, weight.sha256,
        )  # fmt: skip

    def _note(self, matrix: str, curvature: Curvature, dead: int) -> None:
        if curvature.damping > DAMPING:
            self._ctx.emit(Note("more-damping", {"matrix": matrix, "damping": curvature.damping}))
        if dead:
            self._ctx.emit(Note("dead-inputs", {"matrix": matrix, "inputs": dead}))


@contextmanager
def calibrator(
    ctx: Context, source: Source, info: ModelInfo, seed: int, engine: Engine, cpu: str, outputs: Outputs
) -> Iterator[Calibrator]:
    """A Calibrator with as many threads as the engine; they end with it. `outputs` tells what the errors of the rows of
    a layer's matrices cost together (jobs/measured.py).

    Emits Note("blas-threads") where numpy's BLAS cannot be told to use one thread: then the result may depend on
    the number of cores.
    """
    if not single_threaded_blas():
        ctx.emit(Note("blas-threads"))
    with ThreadPoolExecutor(engine.threads, thread_name_prefix="calibrate") as pool:
        yield Calibrator(ctx, source, info, seed, engine, cpu, pool, outputs)


def rotated(engine: Engine, inputs: F32, seed: int, layer: int) -> F32:
    """inputs f32 [tokens, columns] of a matrix of layer `layer` in the rotated basis. Raises overflow(layer)."""
    if not np.isfinite(inputs).all():
        raise overflow(layer)
    return rotate(engine, inputs, seed=seed)


def overflow(layer: int) -> UserError:
    """The hidden states behind layer `layer` are not finite."""
    return UserError(
        "calibration-overflow",
        f"Layer {layer} gives values that are not numbers on the calibration text. The source may be damaged; "
        "if it is not, convert it with the method fast.",
        layer=layer,
    )
