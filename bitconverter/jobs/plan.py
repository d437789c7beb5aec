"""What converting a model would give, before doing it: size, expected quality, time and memory of every preset."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.jobs import polish, sensitivity
from bitconverter.jobs.convert_layers import CALIBRATION_WINDOWS, WINDOW
from bitconverter.jobs.job import Context
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.preflight import check
from bitconverter.jobs.probe import Speeds, probe
from bitconverter.jobs.quality_report import amounts
from bitconverter.model.budget import PRESETS, PROGRAM, Wish, overhead_bytes, planned, session_bytes
from bitconverter.model.expected_quality import expected_kl
from bitconverter.model.plan import TensorPlan, estimated_bytes
from bitconverter.model.source import Source

CONTEXT = 4096  # tokens of the chat whose memory is told
SYSTEM = 2 * 1024**3  # bytes of memory left to the system and other programs
MEMORY_SPEED = 8e9  # bytes of weights per second while decoding: of a plain PC
REPORT_FORWARDS = 1.6  # the report runs both models on its texts


@dataclass(frozen=True)
class PlanChoice:
    """A preset, or why it is impossible for this model (`problem`; the numbers are then 0).

    `bits` per linear weight; `file_bytes` of the weight file (at most); `chat_bytes` of memory for a chat of
    min(4096, the model's) tokens, f16 cache; `fits` whether this computer has that; `context` the longest chat in
    tokens that does; `kl` and `kl_fast` the expected KL divergence to the source with the methods full (with
    its polish, where that is the default) and fast (model/expected_quality.py); `seconds` of the methods with the
    quality report.
    """

    preset: str
    bits: float = 0.0
    file_bytes: int = 0
    chat_bytes: int = 0
    fits: bool = False
    context: int = 0
    kl: float = 0.0
    kl_fast: float = 0.0
    seconds_full: float = 0.0
    seconds_fast: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class PlanResult:
    """`memory_bytes` of this computer; `choices` in the order of PRESETS; an estimate, all of it."""

    name: str
    family: str
    parameters: int
    source_bytes: int
    memory_bytes: int
    threads: int
    choices: tuple[PlanChoice, ...]


@dataclass(frozen=True)
class PlanJob:
    """Looks at a source as a conversion would, times a few of its matrices, converts nothing and writes nothing."""

    source: str
    threads: int = 0
    cpu: str = "auto"
    calibration_windows: int = CALIBRATION_WINDOWS

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> PlanResult:
        """Raises UserError("preflight") like a conversion; Cancelled."""
        checked = check(self.source, None, Wish())
        errors = [item for item in checked.report.items if item.level == "error"]
        if errors:
            text = "\n".join(item.message for item in errors)
            raise UserError("preflight", text, items=checked.report.items)
        source, info = checked.source, checked.info
        assert source is not None and info is not None
        engine = open_engine(self.threads, self.cpu)
        speeds = probe(ctx, source, info, engine, self.cpu)
        memory = psutil.virtual_memory().total
        choices = tuple(self._choice(name, source, info, speeds, memory) for name in PRESETS)
        report = checked.report
        return PlanResult(
            report.name,
            report.family,
            report.parameters,
            report.source_bytes,
            memory,
            engine.threads,
            choices,
        )

    def _choice(
        self, preset: str, source: Source, info: ModelInfo, speeds: Speeds, memory: int
    ) -> PlanChoice:
        sizes = {name: tensor.bytes for name, tensor in source.tensors.items()}
        try:
            plan = planned(info, Wish(preset=preset), sizes)
        except UserError as error:
            return PlanChoice(preset, problem=str(error))
        linear = [tensor for tensor in plan if tensor.linear]
        layer_bytes = estimated_bytes(linear, {})
        file_bytes = overhead_bytes(list(plan), sizes) + layer_bytes
        weights = _weights(linear)
        bits = 8 * layer_bytes / weights
        chat = file_bytes + PROGRAM + session_bytes(info, min(CONTEXT, info.max_positions), "f16")
        tokens = self.calibration_windows * min(WINDOW, info.max_positions)
        report = _report_seconds(speeds, _weights(plan), source.total_bytes + file_bytes)
        return PlanChoice(
            preset, bits, file_bytes, chat, chat <= memory - SYSTEM, _context(info, file_bytes, memory),
            expected_kl(bits, _weights(plan), "polished" if _weights(plan) < polish.BELOW else "full"),
            expected_kl(bits, _weights(plan), "fast"),
            _full_seconds(speeds, tokens, info, weights=_weights(plan)) + report,
            speeds.seconds("fast", tokens) + report,
        )  # fmt: skip


def _weights(plan: list[TensorPlan] | tuple[TensorPlan, ...]) -> int:
    total = 0
    for tensor in plan:
        count = 1
        for n in tensor.shape:
            count *= n
        total += count
    return total


def _full_seconds(speeds: Speeds, tokens: int, info: ModelInfo, weights: int) -> float:
    """Of the method full with a budget of bits: sensitivities, rounding and, for a model below 1 billion, polish."""
    window = min(WINDOW, info.max_positions)
    measured = window * sensitivity.windows_possible(
        info.n_layers, info.hidden_size, window, tokens // window
    )
    seconds = speeds.measuring(measured) + speeds.seconds("full", tokens)
    if weights < polish.BELOW:
        steps = polish.STEPS * polish.BATCH * window
        seconds += speeds.polishing(steps, (polish.WINDOWS + polish.HELD_OUT) * window)
    return seconds


def _report_seconds(speeds: Speeds, weights: int, both_bytes: int) -> float:
    """Three texts through both models, six answers of each, whose weights are read once a token."""
    amount = amounts(weights)
    texts = 3 * amount.text * REPORT_FORWARDS * speeds.forward * speeds.layers
    return texts + 6 * amount.answer * both_bytes / MEMORY_SPEED


def _context(info: ModelInfo, file_bytes: int, memory: int) -> int:
    """The longest chat, in steps of 256 tokens, that fits beside the weights; 0 if none does."""
    step = 256
    for tokens in (info.max_positions, *range(info.max_positions // step * step, 0, -step)):
        if file_bytes + PROGRAM + session_bytes(info, tokens, "f16") <= memory - SYSTEM:
            return tokens
    return 0
