"""What rounding each matrix will cost, measured on the source: where the planes of a budget of bits are best spent.

Rounding W (rotated, row errors e_r) changes the loss by about 1/2 sum_r F_r e_r' H e_r per token, with H = mean of
x x' over the matrix's inputs and F_r = mean of the squared gradient of -log p(token) with respect to the row's output,
the token drawn from the model's own prediction: the Fisher information, taken as if inputs and gradients were
independent (K-FAC, Martens and Grosse 2015, of which the diagonal of the output side). With the text's own next token
instead (the "empirical" Fisher information) conversions came out 4 to 6 % worse in KL. Calibrated rounding to N planes
leaves e_r' H e_r of about error(N) |w_r|^2 times the mean of 1 / u_jj^2 (docs/MODEL.md), so all that depends on the
matrix is one number. Of q and k, whose rows make up for each other's errors (model/output_curvature.py), F_r is what
that leaves.
"""

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Cancel, Engine, head_drawn_entropy
from bitconverter.format.bfloat16 import as_f32
from bitconverter.jobs.calibrate import overflow, rotated
from bitconverter.jobs.layer_reader import MATRICES, LayerReader, window_chunks
from bitconverter.jobs.sensitivity_state import MeasuringState
from bitconverter.model.curvature import Moments
from bitconverter.model.output_curvature import HEADS, OutputCurvature, OutputMoments, output_moments

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

MOST_WINDOWS = 16
STATE_BYTES = 1024**3  # of disk for the inputs of all layers, and as many for their gradients
FORWARD_SHARE, HEAD_SHARE = 0.35, 0.1  # how the time goes, for the progress


def windows_for(layers: int, hidden: int, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Every k-th window of the calibration text ids i32 [windows, window]: as many as disk and time allow."""
    count = windows_possible(layers, hidden, ids.shape[1], len(ids))
    return ids[np.arange(count) * len(ids) // count]


def work_bytes(layers: int, hidden: int, window: int, windows: int) -> int:
    """Of disk that the measuring takes: the inputs of all layers and of the head, and as many gradients."""
    return 8 * window * hidden * (layers + 1) * windows_possible(layers, hidden, window, windows)


def windows_possible(layers: int, hidden: int, window: int, windows: int) -> int:
    """How many of so many windows of `window` tokens are used."""
    return max(1, min(windows, MOST_WINDOWS, STATE_BYTES // (window * hidden * 4 * (layers + 1))))


class Sensitivity:
    """Measures in one pass of the source forward and back. Resident: one layer and its input; the inputs of all layers,
    and the gradients with respect to them, wait in files (`state`), so that a stop loses one layer at most."""

    def __init__(
        self,
        reader: LayerReader,
        engine: Engine,
        seed: int,
        cancel: Cancel,
        pool: Executor,
        state: MeasuringState,
    ) -> None:
        self._reader, self._engine, self._seed = reader, engine, seed
        self._cancel, self._pool, self._state = cancel, pool, state

    def measure(self, ids: npt.NDArray[np.int32], tell: Callable[[float], None]) -> dict[str, float]:
        """Of every linear matrix by name: its share of the loss, in nats per token, for a relative squared error of 1.
        ids i32 [windows, window]. Raises Cancelled and what the reader raises."""
        layers = self._reader.info.n_layers
        layer, dy = self._state.last_gradient(layers) or (layers, None)
        if dy is None:
            dy = self._to_the_head(ids, tell)
        while layer > 0:
            layer -= 1
            x = self._state.input(layer)
            if x is None:  # its file was damaged since the way forward
                self._state.clear()
                return self.measure(ids, tell)
            self._state.found |= self._backward(layer, x, dy)
            self._state.save_numbers()
            self._state.save_gradient(layer, dy)
            tell(1.0 - (1.0 - FORWARD_SHARE - HEAD_SHARE) * layer / layers)
        return self._state.found

    def _to_the_head(self, ids: npt.NDArray[np.int32], tell: Callable[[float], None]) -> F32:
        """The gradient with respect to the last layer's output; the way forward first, from where it stands."""
        layers, spread = self._reader.info.n_layers, self._state.spread
        x = self._state.input(len(spread))
        while x is None and spread:
            spread.pop()
            x = self._state.input(len(spread))
        if x is None:
            x = self._reader.embed(ids)
            self._state.save_input(0, x)
        for layer in range(len(spread), layers):
            spread.append(self._forward(layer, x))
            self._state.save_input(layer + 1, x)
            self._state.save_numbers()
            tell(FORWARD_SHARE * (layer + 1) / layers)
        dy = self._head(x)
        self._state.save_gradient(layers, dy)
        tell(FORWARD_SHARE + HEAD_SHARE)
        return dy

    def _forward(self, layer: int, x: F32) -> dict[str, float]:
        """Advances x. Of each input of the layer: the mean of 1 / u_jj^2."""
        block, _ = self._reader.block(layer, x.shape[1])
        tokens = x.shape[0] * x.shape[1]
        moments = {name: Moments(width, tokens) for name, width in block.widths.items()}
        for part in window_chunks(x, self._cancel):
            inputs = block.forward(x[part], cancel=self._cancel)
            for name in list(inputs):
                self._cancel.check()
                turned = rotated(self._engine, inputs.pop(name), self._seed, layer)
                # The first token of a window may be a thousand times another's size, which would count for all of
                # them; the rounding takes care of it by itself (calibrate.FIRST_TOKEN).
                turned[:: x.shape[1]] = 0
                moments[name].add(turned, self._pool)
        if not all(sums.finite for sums in moments.values()):
            raise overflow(layer)
        return {name: self._spread(moments.pop(name)) for name in list(moments)}

    def _spread(self, moments: Moments) -> float:
        curvature = moments.curvature(self._cancel.check)
        return curvature.mean * float(curvature.importance.mean(dtype=np.float64))

    def _head(self, x: F32) -> F32:
        flat = x.reshape(-1, x.shape[-1])
        loss = head_drawn_entropy(self._engine, self._reader.head(), flat, self._seed, cancel=self._cancel)
        assert loss.dh is not None
        return loss.dh.reshape(x.shape)

    def _backward(self, layer: int, x: F32, dy: F32) -> dict[str, float]:
        """The layer's sensitivities; takes dy back to the layer's input x."""
        block, weights = self._reader.block(layer, x.shape[1])
        tokens = x.shape[0] * x.shape[1]
        fisher = {key: np.zeros(len(weight.values)) for key, weight in weights.items()}
        moments = {key: output_moments(key, len(fisher[key]), self._reader.info.head_dim) for key in HEADS}
        for part in window_chunks(x, self._cancel):
            gradients = block.gradients(("row_squares", "dy"), x[part].shape[0] * x.shape[1], dy_of=HEADS)
            block.backward(x[part], dy[part], gradients, self._cancel)
            for key, sums in gradients.row_squares.items():
                fisher[key] += sums / tokens
            add_gradients(moments, gradients.dy, x.shape[1], self._pool)
        curvatures = output_curvatures(moments, layer, self._cancel)
        fisher |= {key: curvature.costs for key, curvature in curvatures.items()}
        found = {}
        for key, (name, of) in MATRICES.items():
            costs = _row_squares(weights[key].values) * self._state.spread[layer][of]
            found[f"model.layers.{layer}.{name}.weight"] = float(fisher[key] @ costs) / 2
        return found


def add_gradients(moments: dict[str, OutputMoments], dy: dict[str, F32], window: int, pool: Executor) -> None:
    """dy f32 [tokens, rows] of whole windows, which is changed: the first token of each does not count, as in H."""
    for key, sums in moments.items():
        dy[key][::window] = 0
        sums.add(dy[key], pool)


def output_curvatures(
    moments: dict[str, OutputMoments], layer: int, cancel: Cancel
) -> dict[str, OutputCurvature]:
    """What is summed in `moments`, which is emptied meanwhile. Raises overflow(layer); Cancelled."""
    if not all(sums.finite for sums in moments.values()):
        raise overflow(layer)
    return {key: moments.pop(key).curvature(cancel.check) for key in list(moments)}


def _row_squares(values: npt.NDArray[np.generic]) -> F64:
    """f64 [rows]: the sum of the squares of each row; some rows at a time."""
    pieces = []
    for start in range(0, len(values), 256):
        rows = as_f32(values[start : start + 256])
        pieces.append(np.einsum("rc,rc->r", rows, rows, dtype=np.float64))
    return np.concatenate(pieces)
