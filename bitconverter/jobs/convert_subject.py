"""What a conversion works on: its source, as the checks before the start found it."""

from dataclasses import dataclass
from typing import Any

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.jobs.convert_settings import ConvertSettings
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.preflight import Checked
from bitconverter.model import ternary
from bitconverter.model.plan import DIRECT, PLANES, TensorPlan
from bitconverter.model.source import Source


@dataclass(frozen=True)
class Subject:
    """`plan`: before anything is measured, with what is ternary already marked; `parameters`: the source's weights."""

    source: Source
    info: ModelInfo
    side_files: dict[str, Any]
    plan: tuple[TensorPlan, ...]
    parameters: int

    @property
    def rounds(self) -> bool:
        """Whether there is a matrix that is not ternary already."""
        return any(tensor.form == PLANES for tensor in self.plan)

    @property
    def exact(self) -> int:
        """How many matrices are ternary already, and are kept exactly."""
        return sum(tensor.form == DIRECT for tensor in self.plan)


def understand(job: ConvertSettings, ctx: Context) -> Subject:
    """Emits Note("check"), Note("skipped-tensor"), Note("ternary").

    Raises UserError: those of job.preflight(), "output-exists", "preflight" (fields["items"]: all checks),
    "bitnet-not-ternary"; Cancelled.
    """
    checked = _checked(job, ctx)
    source, info, side_files = checked.source, checked.info, checked.side_files
    assert source is not None and info is not None and side_files is not None  # else an item is an error
    for name in sorted(set(source.tensors) - {tensor.name for tensor in checked.plan}):
        ctx.emit(Note("skipped-tensor", {"tensor": name}))
    plan = ternary.mark(checked.plan, source, ctx.cancel.check)
    subject = Subject(source, info, side_files, plan, checked.report.parameters)
    if subject.exact:
        ctx.emit(Note("ternary", {"matrices": subject.exact}))
    return subject


def _checked(job: ConvertSettings, ctx: Context) -> Checked:
    checked = job.preflight()
    errors = [item for item in checked.report.items if item.level == "error"]
    if errors:
        code = "output-exists" if all(item.code == "output-exists" for item in errors) else "preflight"
        raise UserError(code, "\n".join(item.message for item in errors), items=checked.report.items)
    for item in checked.report.items:
        if item.level == "warning":
            told = {"code": item.code, "level": item.level, "message": item.message, "fields": item.fields}
            ctx.emit(Note("check", told))
    ctx.cancel.check()
    return checked
