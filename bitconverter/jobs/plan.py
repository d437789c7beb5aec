"""What converting a model would give, before doing it: size, expected quality, time and memory of every preset."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from bitconverter.engine import ModelInfo, give_back
from bitconverter.format.errors import UserError
from bitconverter.jobs import own_chat, polish, sensitivity
from bitconverter.jobs.conversion_memory import peak_bytes
from bitconverter.jobs.convert_layers import calibration_window, windows_used
from bitconverter.jobs.job import Context
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.preflight import check
from bitconverter.jobs.probe import Speeds, probe
from bitconverter.jobs.quality_report import amounts
from bitconverter.model import ternary
from bitconverter.model.budget import (
    PRESETS,
    PROGRAM,
    SYSTEM,
    Wish,
    overhead_bytes,
    planned,
    session_bytes,
)
from bitconverter.model.expected_quality import expected_kl
from bitconverter.model.plan import DIRECT, PLANES, TensorPlan, estimated_bytes
from bitconverter.model.source import Source

CONTEXT = 4096  # tokens of the chat whose memory is told
AVERAGES = tuple(round(2.0 + 0.2 * step, 1) for step in range(23))  # bits, to four planes
BITS_OF_A_PLANE = 1.6  # a byte holds five
REPORT_PROMPT = 50  # tokens of a question of the report, about, with what the chat template adds


@dataclass(frozen=True)
class Cost:
    """What one method is expected to give and take: KL divergence, seconds, bytes of memory."""

    kl: float
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class PlanChoice:
    """A preset, or why it is impossible for this model (`problem`; the numbers are then 0).

    `bits` per linear weight; `file_bytes` of the weight file (at most); `chat_bytes` of memory for a chat of
    min(4096, the model's) tokens, f16 cache; `fits` whether this computer has that; `context` the longest chat in
    tokens that does; `kl` and `kl_fast` the expected KL divergence to the source with the methods full (with its
    polish, where that is the default) and fast (model/expected_quality.py); `seconds` of the methods with the quality
    report; `peak` bytes of memory that they take beside the program; `tokens_per_second` of the first words of an
    answer on this computer.
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
    peak_full: int = 0
    peak_fast: int = 0
    tokens_per_second: float = 0.0
    problem: str = ""

    def cost(self, method: str) -> Cost:
        """Of the method "full" or "fast"."""
        if method == "full":
            return Cost(self.kl, self.seconds_full, self.peak_full)
        return Cost(self.kl_fast, self.seconds_fast, self.peak_fast)


@dataclass(frozen=True)
class PlanResult:
    """`memory_bytes` of this computer; `choices` in the order of PRESETS; `averages` of AVERAGES bits, those that are
    possible, their `preset` ""; an estimate, all of it."""

    name: str
    family: str
    parameters: int
    source_bytes: int
    memory_bytes: int
    threads: int
    choices: tuple[PlanChoice, ...]
    averages: tuple[PlanChoice, ...] = ()

    def nearest(self, bits: float) -> PlanChoice | None:
        """What is expected of an average of so many bits; None where no average is possible."""
        return min(self.averages, key=lambda choice: abs(choice.bits - bits), default=None)


@dataclass(frozen=True)
class PlanJob:
    """Looks at a source as a conversion would, times a few of its matrices, converts nothing and writes nothing."""

    source: str
    threads: int = 0
    cpu: str = "auto"
    calibration_windows: int | None = None

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> PlanResult:
        """Raises UserError("preflight") and ("bitnet-not-ternary") like a conversion; Cancelled."""
        checked = check(self.source, None, Wish())
        errors = [item for item in checked.report.items if item.level == "error"]
        if errors:
            text = "\n".join(item.message for item in errors)
            raise UserError("preflight", text, items=checked.report.items)
        source, info = checked.source, checked.info
        assert source is not None and info is not None
        engine = open_engine(self.threads, self.cpu)
        marked = ternary.mark(checked.plan, source, ctx.cancel.check)
        exact = frozenset(tensor.name for tensor in marked if tensor.form == DIRECT)
        zeros = ternary.zeros(marked, source, ctx.cancel.check)
        window = calibration_window(info)
        tokens, measured = self._windows(info) * window, self._measured(info) * window
        speeds = probe(ctx, source, info, engine, self.cpu, tokens, measured)
        parameters = checked.report.parameters
        chats = own_chat.conversations_of(source, parameters) if own_chat.can_chat(source) else 0
        give_back()  # else the conversion begins with what this has left over
        memory = psutil.virtual_memory().total

        def choice(preset: str, wish: Wish) -> PlanChoice:
            return self._choice(preset, wish, source, info, speeds, memory, exact, zeros, chats)

        choices = tuple(choice(name, wish) for name, wish in PRESETS.items())
        averages = (choice("", Wish(bits=bits)) for bits in AVERAGES)
        report = checked.report
        return PlanResult(
            report.name,
            report.family,
            report.parameters,
            report.source_bytes,
            memory,
            engine.threads,
            choices,
            tuple(choice for choice in averages if not choice.problem),
        )

    def _choice(
        self, preset: str, wish: Wish, source: Source, info: ModelInfo, speeds: Speeds, memory: int,
        exact: frozenset[str], zeros: frozenset[str], chats: int,
    ) -> PlanChoice:  # fmt: skip
        sizes = {name: tensor.bytes for name, tensor in source.tensors.items()}
        try:
            plan = planned(info, wish, sizes, exact)
        except UserError as error:
            return PlanChoice(preset, problem=str(error))
        linear = [tensor for tensor in plan if tensor.linear]
        layer_bytes = estimated_bytes(linear, {})
        file_bytes = overhead_bytes(list(plan), sizes) + layer_bytes
        bits = 8 * layer_bytes / _weights(linear)
        rounded = [tensor for tensor in linear if tensor.form == PLANES]
        chat = file_bytes + PROGRAM + session_bytes(info, min(CONTEXT, info.max_positions), "f16")
        speed = speeds.tokens_per_second(
            bits / BITS_OF_A_PLANE, layer_bytes / info.n_layers, info.vocab_size * info.hidden_size
        )
        report = _report_seconds(speeds, _weights(plan), source.total_bytes, speed)
        polished = polish.steps_for(plan, "full", None, zeros) > 0
        head = info.vocab_size * info.hidden_size
        writing = speeds.writing(chats * own_chat.TOKENS, source.total_bytes, head / _weights(linear))
        full = writing + self._seconds_full(info, polished, speeds) if rounded else speeds.seconds("fast", 0)
        stored = source.total_bytes // max(_weights(plan), 1)

        def peak(method: str) -> int:
            return peak_bytes(
                info, max(stored, 2), method=method, windows=self._windows(info), window=calibration_window(info),
                measured=self._measured(info) if rounded else 0, polished=polished,
                own_chat=bool(rounded) and chats > 0,
            )  # fmt: skip

        return PlanChoice(
            preset, bits, file_bytes, chat, chat <= memory - SYSTEM, _context(info, file_bytes, memory),
            _expected_kl(plan, rounded, "polished" if polished else "full"), _expected_kl(plan, rounded, "fast"),
            full + report,
            speeds.seconds("fast", 0) + report, peak("full"), peak("fast"), speed,
        )  # fmt: skip

    def _seconds_full(self, info: ModelInfo, polished: bool, speeds: Speeds) -> float:
        """Of the method full, as ConvertJob does it."""
        window = calibration_window(info)
        seconds = speeds.seconds("full", self._windows(info) * window)
        seconds += speeds.measuring(self._measured(info) * window)
        return seconds + (speeds.polishing(polish.STEPS, window) if polished else 0.0)

    def _measured(self, info: ModelInfo) -> int:
        """Windows that are measured on before the rounding (jobs/measured.py)."""
        return sensitivity.windows_possible(
            info.n_layers, info.hidden_size, calibration_window(info), self._windows(info)
        )

    def _windows(self, info: ModelInfo) -> int:
        return windows_used(info, "full", self.calibration_windows)


def _expected_kl(plan: tuple[TensorPlan, ...], rounded: list[TensorPlan], method: str) -> float:
    """What is ternary already loses nothing: the rounded matrices' own bits count, by their share of the weights."""
    if not rounded:
        return 0.0
    weights = _weights(rounded)
    share = weights / _weights([tensor for tensor in plan if tensor.linear])
    return share * expected_kl(8 * estimated_bytes(rounded, {}) / weights, _weights(plan), method)


def _weights(plan: list[TensorPlan] | tuple[TensorPlan, ...]) -> int:
    total = 0
    for tensor in plan:
        count = 1
        for n in tensor.shape:
            count *= n
        total += count
    return total


def _report_seconds(speeds: Speeds, weights: int, source_bytes: int, tokens_per_second: float) -> float:
    """Three texts through both models and their heads, six answers of each; the source's weights are read once a
    token."""
    amount = amounts(weights)
    token = (speeds.forward + speeds.student_forward) * speeds.layers + speeds.divergence
    answers = 6 * amount.answer * (source_bytes / speeds.memory + 1 / tokens_per_second)
    prompts = 6 * REPORT_PROMPT * (speeds.forward + speeds.student_forward) * speeds.layers
    return 3 * amount.text * token + prompts + answers


def _context(info: ModelInfo, file_bytes: int, memory: int) -> int:
    """The longest chat, in steps of 256 tokens, that fits beside the weights; 0 if none does."""
    step = 256
    for tokens in (info.max_positions, *range(info.max_positions // step * step, 0, -step)):
        if file_bytes + PROGRAM + session_bytes(info, tokens, "f16") <= memory - SYSTEM:
            return tokens
    return 0
