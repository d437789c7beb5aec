"""One progress over the stages of a conversion: bytes of the source, other stages as bytes that take as long."""

from bitconverter.jobs.eta import Eta
from bitconverter.jobs.job import Context, Progress
from bitconverter.model.plan import TensorPlan
from bitconverter.model.source import Source

# how long they take beside the calibrated rounding of the linear matrices (measured, docs/MODEL.md)
MEASURING, POLISHING = 0.35, 2.5
REPORTING = {
    "full": 0.07,
    "diag": 0.25,
    "fast": 9.0,
}  # on REPORT_TEXT tokens a text, beside the method's rounding
REPORT_TEXT = 1024


class Stages:
    """Emits Progress; its items are "sensitivity", "layer K" or a tensor's name, "polish", and those of the quality
    report, of which each text has `report_text` tokens (0: there is none)."""

    def __init__(
        self, ctx: Context, plan: tuple[TensorPlan, ...], source: Source, *,
        method: str, measured: bool, polished: bool, report_text: int,
    ) -> None:  # fmt: skip
        linear = sum(source.tensors[tensor.name].bytes for tensor in plan if tensor.linear)
        self._ctx = ctx
        self._measuring = int(MEASURING * linear) if measured else 0
        self._rounding = sum(source.tensors[tensor.name].bytes for tensor in plan)
        self._polishing = int(POLISHING * linear) if polished else 0
        self._reporting = int(REPORTING[method] * report_text / REPORT_TEXT * linear)
        self._total = self._measuring + self._rounding + self._polishing + self._reporting
        self._told = 0
        self._eta = Eta(0, self._total)

    def measuring(self, part: float) -> None:
        """How much of the sensitivities is known, 0 to 1."""
        self._tell(int(self._measuring * part), "sensitivity")

    def begin_rounding(self, done: int) -> None:
        """`done` bytes were rounded before, in another run."""
        self._told = self._measuring + done
        self._eta = Eta(self._told, self._total)

    def rounding(self, done: int, item: str) -> None:
        """So many of the source's bytes are rounded."""
        self._tell(self._measuring + done, item)

    def polishing(self, part: float) -> None:
        """How much of the polish is done, 0 to 1."""
        self._tell(self._measuring + self._rounding + int(self._polishing * part), "polish")

    def reporting(self, part: float, item: str) -> None:
        """How much of the quality report is done, 0 to 1."""
        before = self._measuring + self._rounding + self._polishing
        self._tell(before + int(self._reporting * part), item)

    def _tell(self, done: int, item: str) -> None:
        self._told = max(self._told, done)
        item = "" if self._told == self._total else item
        self._ctx.emit(Progress(self._told, self._total, "byte", item, self._eta.update(self._told)))
