"""One progress over the stages of a conversion: bytes of the linear matrices, all else as bytes that take as long."""

from bitconverter.jobs.eta import Eta
from bitconverter.jobs.job import Context, Progress
from bitconverter.model.plan import TensorPlan
from bitconverter.model.source import Source

# How long they take beside the calibrated rounding of the linear matrices (measured, docs/MODEL.md).
WRITING, MEASURING, POLISHING = 0.3, 0.35, 2.5
REPORTING = {
    "full": 0.07,
    "diag": 0.25,
    "fast": 9.0,
}  # on REPORT_TEXT tokens a text, beside the method's rounding
REPORT_TEXT = 1024
OTHERS = {
    "full": 0.002,
    "diag": 0.02,
    "fast": 1.0,
}  # a byte of embedding, head or norm beside one of a matrix


class Stages:
    """Emits Progress; its items are "own chat", "sensitivity", "layer K" or a tensor's name, "polish", and those of the
    quality report, of which each text has `report_text` tokens (0: there is none). `polished`: how much of
    the usual polish there is. `spans`: how much each tensor of the plan counts in the rounding."""

    def __init__(
        self, ctx: Context, plan: tuple[TensorPlan, ...], source: Source, *,
        method: str, writing: bool, measured: bool, polished: float, report_text: int,
    ) -> None:  # fmt: skip
        linear = sum(source.tensors[tensor.name].bytes for tensor in plan if tensor.linear)
        self._ctx = ctx
        self._writing = int(WRITING * linear) if writing else 0
        self._measuring = int(MEASURING * linear) if measured else 0
        sizes = [source.tensors[tensor.name].bytes for tensor in plan]
        self.spans = [
            size if tensor.linear else int(OTHERS[method] * size)
            for tensor, size in zip(plan, sizes, strict=True)
        ]
        self._rounding = sum(self.spans)
        self._polishing = int(POLISHING * polished * linear)
        self._reporting = int(REPORTING[method] * report_text / REPORT_TEXT * linear)
        self._before = self._writing + self._measuring
        self._total = self._before + self._rounding + self._polishing + self._reporting
        self._told = 0
        self._eta = Eta(0, self._total)

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        return self._told / self._total if self._total else 0.0

    def writing(self, part: float) -> None:
        """How much of the source's own chat is written, 0 to 1."""
        self._tell(int(self._writing * part), "own chat")

    def begin_measuring(self) -> None:
        """The chat is there, perhaps since another run."""
        self._told = self._writing
        self._eta.skip(self._told)

    def measuring(self, part: float) -> None:
        """How much of the sensitivities is known, 0 to 1."""
        self._tell(self._writing + int(self._measuring * part), "sensitivity")

    def begin_rounding(self, done: int) -> None:
        """So much, in `spans`, was rounded before, in another run."""
        self._told = self._before + done
        self._eta.skip(self._told)

    def rounding(self, done: int, item: str) -> None:
        """So much, in `spans`, is rounded."""
        self._tell(self._before + done, item)

    def polishing(self, part: float) -> None:
        """How much of the polish is done, 0 to 1."""
        self._tell(self._before + self._rounding + int(self._polishing * part), "polish")

    def reporting(self, part: float, item: str) -> None:
        """How much of the quality report is done, 0 to 1."""
        before = self._before + self._rounding + self._polishing
        self._tell(before + int(self._reporting * part), item)

    def _tell(self, done: int, item: str) -> None:
        self._told = max(self._told, done)
        item = "" if self._told == self._total else item
        self._ctx.emit(Progress(self._told, self._total, "byte", item, self._eta.update(self._told)))
