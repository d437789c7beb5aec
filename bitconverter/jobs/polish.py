"""Polish: train what a conversion can still move freely, the scale of every row and the norms, by distillation.

The integers stay. With theta the relative changes of all row scales and norm weights, minimise on calibration text the
mean KL(source || converted) of the next token, by Adam (Kingma and Ba 2015) on exact gradients: the forward pass is
the converted model's own, int8 inputs and all; the rounding of inputs counts as the identity on the way back
(docs/MODEL.md). Some windows are left out of the training and tell before and after.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Block, Cancel, Engine, Head, head_divergence
from bitconverter.jobs.layer_reader import MATRICES, NORMS, LayerReader, window_chunks
from bitconverter.model import names
from bitconverter.model.plan import DIRECT, PLANES, TensorPlan

F32 = npt.NDArray[np.float32]

WINDOWS = 96  # of the calibration text, trained on again and again
HELD_OUT = 4  # more windows, which tell whether it helped
BATCH = 4  # windows in a step
STEPS = 48  # by default
BELOW = 2 * 10**9  # weights of a model: larger ones are polished on request
WARM_UP = 4  # steps
LAST_RATE = 0.1  # of the learning rate, at the end of a cosine
BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8
State = F32  # [3, parameters]: theta, Adam's first and second moments


@dataclass(frozen=True)
class StudentMatrix:
    """A rounded matrix as stored: planes u8 [N, ceil(rows/5), cols], scales f32 [rows], bias f32 [rows] or None."""

    planes: npt.NDArray[np.uint8]
    scales: F32
    bias: F32 | None


@dataclass(frozen=True)
class Student:
    """The rounded model: per layer its matrices and norms (by the block's names), and the head with the last norm."""

    layers: list[dict[str, StudentMatrix]]
    norms: list[dict[str, F32]]
    head: Head


@dataclass(frozen=True)
class Polished:
    """New values by tensor name (scales by their matrix's .weight); mean KL on the held-out windows."""

    scales: dict[str, F32]
    norms: dict[str, F32]
    kl_before: float
    kl_after: float


def steps_for(
    plan: Iterable[TensorPlan], method: str, wished: int | None, zeros: Collection[str] = ()
) -> int:
    """How many steps a conversion polishes; `wished` None: STEPS with the method full below BELOW weights. What is
    ternary already stays exact, so a model with such matrices (`kept_from_polish`) is not polished."""
    tensors = list(plan)
    if not any(tensor.form == PLANES for tensor in tensors) or kept_from_polish(tensors, zeros):
        return 0
    return steps_wished(tensors, method, wished)


def steps_wished(plan: Iterable[TensorPlan], method: str, wished: int | None) -> int:
    """How many they would be if nothing were ternary already."""
    if method != "full":
        return 0
    if wished is not None:
        return wished
    return STEPS if sum(math.prod(tensor.shape) for tensor in plan) < BELOW else 0


def kept_from_polish(plan: Iterable[TensorPlan], zeros: Collection[str]) -> list[str]:
    """The matrices that the training would change although they are ternary already. `zeros`: those of zeros alone,
    whose scales are 0 and stay 0 whatever their factor becomes."""
    return [tensor.name for tensor in plan if tensor.form == DIRECT and tensor.name not in zeros]


def learning_rate(bits: float) -> float:
    """The fewer bits, the farther the scales have to go: 2e-3 at 2 bits, 1e-3 at 3, 5e-4 at 4 (by trial)."""
    return float(np.clip(2e-3 * 2.0 ** (2.0 - bits), 2.5e-4, 3e-3))


class Polisher:
    """Trains in steps. `state` after a step, given to a new Polisher, goes on as if nothing had happened."""

    def __init__(
        self, student: Student, reader: LayerReader, engine: Engine, seed: int, rate: float, steps: int,
        cancel: Cancel,
    ) -> None:  # fmt: skip
        self._student, self._reader, self._engine = student, reader, engine
        self._seed, self._rate, self._steps, self._cancel = seed, rate, steps, cancel
        self._teacher = reader.head()
        self._places = _places(student)
        size = max(place.stop for place in self._places.values())
        self.state: State = np.zeros((3, size), np.float32)

    def teach(self, ids: npt.NDArray[np.int32], tell: Callable[[float], None]) -> F32:
        """The source's hidden states before its last norm, f32 [windows, window, hidden]."""
        x = self._reader.embed(ids)
        layers = self._reader.info.n_layers
        for layer in range(layers):
            block, _ = self._reader.block(layer, x.shape[1])
            for part in window_chunks(x, self._cancel):
                block.forward(x[part], (), self._cancel)
            tell((layer + 1) / layers)
        return x

    def divergence(self, ids: npt.NDArray[np.int32], taught: F32) -> float:
        """Mean KL(source || converted) per token as things stand."""
        total = 0.0
        for part in window_chunks(taught, self._cancel):
            x = self._reader.embed(ids[part], self._seed)
            for layer in range(len(self._student.layers)):
                self._layer(layer, x.shape[1]).forward(x, (), self._cancel)
            head = self._head()
            loss = head_divergence(
                self._engine, head, _flat(x), self._teacher, _flat(taught[part]), gradients=False, cancel=self._cancel
            )  # fmt: skip
            total += float(loss.loss.sum())
        return total / ids.size

    def step(self, number: int, ids: npt.NDArray[np.int32], taught: F32) -> float:
        """One step of Adam on the windows ids i32 [BATCH, window]; the mean KL before it."""
        loss, gradient = self._gradient(ids, taught)
        theta, m, v = self.state
        m += (1 - BETA1) * (gradient - m)
        v += (1 - BETA2) * (gradient * gradient - v)
        size = np.sqrt(v / np.float32(1 - BETA2 ** (number + 1))) + np.float32(EPSILON)
        theta -= (
            np.float32(self._rate * _schedule(number, self._steps) / (1 - BETA1 ** (number + 1))) * m / size
        )
        return loss

    def result(self) -> tuple[dict[str, F32], dict[str, F32]]:
        """(scales by matrix, norm weights), both by tensor name, as trained so far."""
        scales, norms = {}, {}
        for layer, (matrices, vectors) in enumerate(
            zip(self._student.layers, self._student.norms, strict=True)
        ):
            prefix = f"model.layers.{layer}."
            for key, matrix in matrices.items():
                scales[f"{prefix}{MATRICES[key][0]}.weight"] = self._changed(matrix.scales, layer, key)
            for key, vector in vectors.items():
                norms[f"{prefix}{NORMS[key]}.weight"] = self._changed(vector, layer, key)
        norms[names.NORM] = self._head().norm
        return scales, norms

    def _gradient(self, ids: npt.NDArray[np.int32], taught: F32) -> tuple[float, F32]:
        x = self._reader.embed(ids, self._seed)
        inputs: list[F32] = []
        for layer in range(len(self._student.layers)):
            inputs.append(x.copy())
            self._layer(layer, x.shape[1]).forward(x, (), self._cancel)
        head = self._head()
        loss = head_divergence(
            self._engine, head, _flat(x), self._teacher, _flat(taught), cancel=self._cancel
        )  # fmt: skip
        assert loss.dh is not None and loss.norm is not None
        gradient = np.zeros(self.state.shape[1], np.float64)
        gradient[self._places[-1, "norm"]] = loss.norm * self._student.head.norm
        dy = loss.dh.reshape(x.shape)
        for layer in reversed(range(len(self._student.layers))):
            block = self._layer(layer, x.shape[1])
            found = block.gradients(("gain", "norms"))
            block.backward(inputs.pop(), dy, found, self._cancel)
            for key in self._student.layers[layer]:
                # "gain" is by (1 + g) on top of the scales as they are now
                place = self._places[layer, key]
                gradient[place] = found.gain[key] / (1.0 + self.state[0, place])
            for key, vector in self._student.norms[layer].items():
                gradient[self._places[layer, key]] = found.norms[key] * vector
        return float(loss.loss.mean()), (gradient / ids.size).astype(np.float32)

    def _layer(self, layer: int, window: int) -> Block:
        """Layer `layer` as it is now."""
        block = self._reader.empty_block(layer, window)
        for key, matrix in self._student.layers[layer].items():
            scales = self._changed(matrix.scales, layer, key)
            block.set_planes(key, matrix.planes, scales, seed=self._seed, bias=matrix.bias)
        norms = {key: self._changed(v, layer, key) for key, v in self._student.norms[layer].items()}
        block.set_norms(norms["attn_norm"], norms["mlp_norm"], norms.get("q_norm"), norms.get("k_norm"))
        return block

    def _head(self) -> Head:
        head = self._student.head
        norm = self._changed(head.norm, -1, "norm")
        return Head(norm, head.weights, head.eps, head.scales, head.seed)

    def _changed(self, values: F32, layer: int, key: str) -> F32:
        return values * (1.0 + self.state[0, self._places[layer, key]])


def batch(number: int, windows: int, seed: int) -> npt.NDArray[np.int64]:
    """The windows of step `number`: each epoch is an order of its own, drawn from the seed."""
    picks = []
    for k in range(number * BATCH, (number + 1) * BATCH):
        epoch, place = divmod(k, windows)
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(windows)
        picks.append(order[place])
    return np.array(picks)


def _schedule(number: int, steps: int) -> float:
    if number < WARM_UP:
        return (number + 1) / WARM_UP
    done = (number - WARM_UP) / max(1, steps - WARM_UP)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def _places(student: Student) -> dict[tuple[int, str], slice]:
    """Where each tensor's changes lie among the parameters: (layer, matrix or norm); the last norm is (-1, "norm")."""
    sizes: list[tuple[tuple[int, str], int]] = []
    for layer, (matrices, norms) in enumerate(zip(student.layers, student.norms, strict=True)):
        sizes += [((layer, key), len(matrix.scales)) for key, matrix in matrices.items()]
        sizes += [((layer, key), len(vector)) for key, vector in norms.items()]
    sizes.append(((-1, "norm"), len(student.head.norm)))
    places, start = {}, 0
    for key, size in sizes:
        places[key] = slice(start, start + size)
        start += size
    return places


def _flat(x: F32) -> Any:
    return x.reshape(-1, x.shape[-1])
