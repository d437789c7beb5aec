"""Row gains of a converted model's last layers, trained by their exact gradient.

Row r of a matrix of planes becomes exp(a_r) * s_r * (Q R x)_r: a = 0 is the model as it is, scales stay positive, and
the gradient of a is the engine's row gain gradient as it stands. Planes are never touched. The layers before the
trained ones never change, so their output (`prefix`) is made once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitconverter.engine import MATRICES, Cancel, head_cross_entropy
from bitconverter.format.errors import UserError
from bitconverter.model.layer_stack import LayerStack

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

MAX_LOG_GAIN = 4.0  # rows grow or shrink at most 55 times: far beyond what training reaches


@dataclass(frozen=True)
class Step:
    """loss: the mean of -log p over `tokens` targets, in nats; gradient f64 [n], of that mean."""

    loss: float
    tokens: int
    gradient: F64


class GainTrainer:
    """The last `layers` layers over windows of `window` tokens; `parameters` f64 [n] are the logarithms a, layer by
    layer, matrix by matrix (MATRICES), row by row. set_parameters() makes them count.

    `choices`: token ids; p is then a distribution over these alone, and every target is one of them.
    """

    def __init__(self, stack: LayerStack, layers: int, window: int, choices: Sequence[int] = ()) -> None:
        n = stack.info.n_layers
        if not 1 <= layers <= n:
            raise UserError(
                "train-layers",
                f"{layers} layers cannot be trained: this model has 1 to {n}.",
                layers=layers,
                most=n,
            )
        self.stack, self.window = stack, window
        self.trained = range(n - layers, n)
        self._head = stack.head(np.array(choices, np.int32) if choices else None)
        self._places = np.arange(stack.info.vocab_size, dtype=np.int32)  # of a token in the head
        if choices:
            self._places[:] = -1
            self._places[list(choices)] = range(len(choices))
        self._base: dict[tuple[int, str], F32] = {}
        for layer in self.trained:
            for matrix in MATRICES:
                if not stack.is_planes(layer, matrix):
                    raise UserError(
                        "train-dense",
                        f"{stack.folder.name} is not converted, and only converted models are trained. "
                        "Convert it first.",
                        model=stack.folder.name,
                    )
                self._base[layer, matrix] = stack.scales(layer, matrix)
        self._scales = {key: base.copy() for key, base in self._base.items()}
        self._blocks = [
            stack.block(layer, window, {matrix: self._scales[layer, matrix] for matrix in MATRICES})
            for layer in self.trained
        ]
        self._gradients = [block.gradients(("gain",)) for block in self._blocks]
        self.size = sum(len(base) for base in self._base.values())
        self.parameters = np.zeros(self.size)

    def prefix(self, tokens: I32, cancel: Cancel | None = None) -> F32:
        """tokens i32 [windows, window] -> hidden states f32 [windows, window, hidden] into the first trained layer."""
        x = self.stack.embed(tokens)
        for layer in range(self.trained.start):
            self.stack.block(layer, self.window).forward(x, capture=(), cancel=cancel)
        return x

    def set_parameters(self, parameters: F64) -> None:
        self.parameters = np.clip(parameters, -MAX_LOG_GAIN, MAX_LOG_GAIN)
        for key, part in self._parts(self.parameters):
            self._scales[key][:] = self._base[key] * np.exp(part)  # the blocks read this array

    def gains(self, parameters: F64) -> dict[str, F32]:
        """{tensor prefix: f32 [rows]}: what each matrix's scales are multiplied by."""
        return {
            self.stack.prefix(*key): np.exp(part).astype(np.float32) for key, part in self._parts(parameters)
        }

    def losses(self, prefix: F32, targets: I32, cancel: Cancel | None = None) -> tuple[float, int]:
        """Sum of -log p over the targets i32 [windows, window] (-1: none), and how many they are."""
        x = np.array(prefix, np.float32)
        for block in self._blocks:
            block.forward(x, capture=(), cancel=cancel)
        flat, wanted = x.reshape(-1, x.shape[2]), self._wanted(targets)
        run = head_cross_entropy(self.stack.engine, self._head, flat, wanted, gradients=False, cancel=cancel)
        return float(run.loss.sum()), int((wanted >= 0).sum())

    def step(self, prefix: F32, targets: I32, cancel: Cancel | None = None) -> Step:
        """Loss and gradient on these windows."""
        wanted = self._wanted(targets)
        count = int((wanted >= 0).sum())
        x = np.array(prefix, np.float32)
        inputs = []
        for block in self._blocks:
            inputs.append(x.copy())
            block.forward(x, capture=(), cancel=cancel)
        weights = np.full(targets.size, 1 / max(1, count), np.float32)
        run = head_cross_entropy(
            self.stack.engine,
            self._head,
            x.reshape(-1, x.shape[2]),
            wanted,
            weights,
            cancel=cancel,
        )
        assert run.dh is not None
        dy = run.dh.reshape(x.shape)
        for block, into, sums in zip(self._blocks[::-1], inputs[::-1], self._gradients[::-1], strict=True):
            for gain in sums.gain.values():
                gain[:] = 0
            block.backward(into, dy, sums, cancel=cancel)
        parts = [sums.gain[matrix] for sums in self._gradients for matrix in MATRICES]
        return Step(float(run.loss.sum()) / max(1, count), count, np.concatenate(parts))

    def _wanted(self, targets: I32) -> I32:
        """Places in the head i32 [tokens], -1: none."""
        flat = targets.reshape(-1)
        return np.where(flat >= 0, self._places[flat], -1).astype(np.int32)

    def _parts(self, parameters: F64) -> list[tuple[tuple[int, str], F64]]:
        stops = np.cumsum([len(base) for base in self._base.values()])[:-1]
        return list(zip(self._base, np.split(parameters, stops), strict=True))
