"""What a conversion would say before it begins: the checks of its settings, of source and target, of its own text."""

from dataclasses import dataclass, replace

from bitconverter.format.errors import UserError
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.convert_layers import read_calibration, windows_used
from bitconverter.jobs.job import Context
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.preflight import Checked, CheckItem, PreflightReport, with_other_work


@dataclass(frozen=True)
class CheckConversionJob:
    """The report on `conversion`; nothing is written. Of the source only headers are read, and its tokenizer where the
    conversion has calibration files."""

    conversion: ConvertJob

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> PreflightReport:
        """Raises UserError as ConvertJob does for its settings and its wish for a size; the rest are items."""
        job = self.conversion
        checked = job.preflight()
        open_engine(job.threads, job.cpu)
        ctx.cancel.check()
        bad = _bad_text(ctx, job, checked) if checked.report.ok and job.calibration else None
        report = with_other_work(checked.report, job)
        return report if bad is None else replace(report, items=(*report.items, bad), ok=False)


def _bad_text(ctx: Context, job: ConvertJob, checked: Checked) -> CheckItem | None:
    source, info, files = checked.source, checked.info, checked.side_files
    assert source is not None and info is not None and files is not None
    windows = windows_used(info, job.method, job.calibration_windows)
    try:
        read_calibration(
            ctx, files, source.config, info,
            files=job.calibration, windows=windows, seed=job.seed, quiet=True,
        )  # fmt: skip
    except UserError as error:
        return CheckItem(error.code, "error", str(error), error.fields)
    return None
