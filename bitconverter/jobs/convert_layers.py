"""The calibrated part of a conversion: which layer's matrices are at hand, where it goes on after a stop.

The state saved before layer k (jobs/calibration_state.py) is made durable when all tensors of the layers before are
committed. Going on from it, layer k is computed again, whatever of it is committed already: the same bytes.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bitconverter.engine import Engine, ModelInfo
from bitconverter.format.atomic import write_bytes, write_json
from bitconverter.jobs import calibration_state
from bitconverter.jobs.calibrate import Calibrator, calibrator
from bitconverter.jobs.convert_tensor import Fitted
from bitconverter.jobs.diagonal import Diagonal
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.measured import Measured
from bitconverter.jobs.scratch import scratch_folder
from bitconverter.model.calibration_text import CalibrationText, Conversation, calibration_text
from bitconverter.model.plan import TensorPlan
from bitconverter.model.source import Source

WINDOW = 512  # tokens
CALIBRATION_WINDOWS = 64  # by default
# The wider a model, the more entries of H there are to learn: with the method full it gets so many tokens for each
# entry of a hidden state, up to so many windows, which cost time and memory (docs/MODEL.md, "What was tried").
TOKENS_PER_ENTRY, MOST_BY_DEFAULT = 16, 128
Tell = Callable[[float], None]  # how much of a layer is done, 0 to 1


class Layers:
    """Gives the rounded matrices in plan order. A context manager: its threads end with it."""

    def __init__(
        self, ctx: Context, work: Path, source: Source, info: ModelInfo, plan: tuple[TensorPlan, ...],
        text: CalibrationText, *, measured: Measured | None, identity: str, seed: int, engine: Engine, cpu: str,
    ) -> None:  # fmt: skip
        """`measured`: with the method full; None: diag."""
        self._ctx, self._work, self._text = ctx, work, text
        self._identity = hashlib.sha256(f"{identity} {text.sha256}".encode()).hexdigest()
        self._plans = [dict(group) for group in _by_layer(plan)]
        self._fitted: dict[str, Fitted] = {}
        self._next: int | None = None  # the layer whose input the calibrator holds
        self._loaded: int | None = None  # the layer whose input came from the work folder
        self._shape = (*text.ids.shape, info.hidden_size)
        self._stack = ExitStack()

        def make() -> Calibrator | Diagonal:
            if measured is None:
                return Diagonal(ctx, source, info, seed, engine)
            made = calibrator(ctx, source, info, seed, engine, cpu, measured.outputs)
            return self._stack.enter_context(made)

        self._make = make

    def __enter__(self) -> "Layers":
        self._calibrator = self._make()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, tensor: TensorPlan, tell: Tell) -> Fitted:
        """The rounded matrix; its whole layer (and, after a stop, layers before it) may have to be computed first."""
        layer = layer_of(tensor)
        if self._next is None:
            self._begin(layer)
        assert self._next is not None
        while self._next <= layer:
            self._advance(tell if self._next == layer else lambda _part: None)
        return self._fitted[tensor.name]

    def _begin(self, layer: int) -> None:
        found = calibration_state.load(self._work, self._identity, self._shape)
        if found is not None and found[0] <= layer:
            self._next, self._calibrator.x = found
            self._loaded = self._next
        else:
            self._calibrator.embed(self._text.ids)
            self._next = 0

    def _advance(self, tell: Tell) -> None:
        assert self._next is not None
        if self._next != self._loaded:
            calibration_state.save(self._work, self._identity, self._next, self._calibrator.x)
        self._fitted = self._calibrator.layer(self._next, self._plans[self._next], tell)
        self._next += 1


def calibration_window(info: ModelInfo) -> int:
    """Tokens of a window of calibration text."""
    return min(WINDOW, info.max_positions)


def windows_used(info: ModelInfo, method: str, wished: int | None = None) -> int:
    """How many windows of text a conversion by `method` is calibrated on (fast on none, whatever this says);
    `wished` None: as many as are usual."""
    if wished is not None:
        return wished
    if method != "full":
        return CALIBRATION_WINDOWS
    wide = -(-TOKENS_PER_ENTRY * info.hidden_size // calibration_window(info))
    return min(max(wide, CALIBRATION_WINDOWS), MOST_BY_DEFAULT)


def layer_of(tensor: TensorPlan) -> int:
    """The number of the layer that a decoder layer's tensor belongs to."""
    return layer_number(tensor.name)


def layer_number(name: str) -> int:
    """The layer in the name of a decoder layer's tensor."""
    return int(name.split(".")[2])


def read_calibration(
    ctx: Context, source_files: dict[str, Any], config: dict[str, Any], info: ModelInfo,
    *, files: tuple[str, ...], windows: int, seed: int, own_chat: Sequence[Conversation] = (), quiet: bool = False,
) -> CalibrationText:  # fmt: skip
    """The calibration text in the source's tokens, with its tokenizer and chat template (a GGUF's are rebuilt).

    Emits Note("calibration") unless `quiet`."""
    with scratch_folder() as folder:
        for name, content in source_files.items():
            if "/" not in name and name.endswith((".json", ".jinja", ".model", ".txt")):
                write_bytes(folder / name, content if isinstance(content, bytes) else content.read_bytes())
        write_json(folder / "config.json", config)
        text = calibration_text(
            folder,
            files,
            windows=windows,
            window=calibration_window(info),
            seed=seed,
            vocab=info.vocab_size,
            own_chat=own_chat,
        )
    if not quiet:
        ctx.emit(Note("calibration", {"tokens": text.ids.size, "files": ", ".join(text.sources)}))
    return text


def _by_layer(plan: tuple[TensorPlan, ...]) -> list[dict[str, TensorPlan]]:
    linear = [tensor for tensor in plan if tensor.linear]
    return [{t.name: t for t in group} for _, group in itertools.groupby(linear, layer_of)]
