"""Convert a model: stream its tensors through the quantizer into a folder that is whole or not there.

Killed at any moment and started again, it ends in the same bytes (jobs/convert_work.py). Its steps are in
jobs/conversion.py.

Notes: "check" (code, level, message: a warning of the preflight), "resumed" (tensors: so many were done before),
"skipped-tensor" (tensor: not needed), "verified" (file_bytes: the engine opens the result), "verified-tables-only"
(file_bytes, limit: the result does not fit into this process's limit of address space, so it was not mapped);
"calibration" (tokens, files: the text), "own-chat" (conversations: so many the source wrote for it),
"own-chat-large", "own-chat-skipped" (why: it wrote none), "text-changed" (all is rounded again), "more-damping"
(matrix, damping: its inputs depend on each other), "dead-inputs" (matrix, inputs: so many are always zero),
"blas-threads" (jobs/calibrate.py), "ternary" (matrices: so many are ternary already and kept exactly); "polished"
(kl_before, kl_after: on text that it was not trained on), "polish-no-gain" (the same: it was not used),
"polish-left-out" (matrices: so many are ternary already and must stay exact); "report-skipped" (why: the two models
cannot be compared here), "source-damaged" (vocabulary: jobs/quality_report.py).
Metrics of the errors: jobs/rounding_errors.py.
Metric("polish_kl", step, value): of the windows of each step of the polish, before it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitconverter.format.weight_file import FULL_ERRORS, disk_full
from bitconverter.jobs.conversion import Conversion
from bitconverter.jobs.convert_files import totals_of
from bitconverter.jobs.convert_settings import ConvertSettings
from bitconverter.jobs.convert_work import WorkFolder
from bitconverter.jobs.job import Context


@dataclass(frozen=True)
class ConvertResult:
    """`relative_error`: squared error of the linear weights over their squares; `seconds` of this run alone;
    `report`: what the manifest says of the quality (jobs/quality_report.py), if it was measured."""

    out: str
    file_bytes: int
    source_bytes: int
    bits_per_weight: float
    relative_error: float
    seconds: float
    resumed_tensors: int
    report: dict[str, Any] | None = None


@dataclass(frozen=True)
class ConvertJob(ConvertSettings):
    def run(self, ctx: Context) -> ConvertResult:
        """Raises UserError: "preflight" (fields["items"]: all checks), "output-exists", "output-came",
        "work-folder-busy", "source-changed", "journal-lost", "weight-not-finite", "disk-full", "bits", "size-small",
        "fit-small", "fit", "preset", "bitnet-not-ternary", "calibration-short", "text-unreadable", "text-encoding",
        "calibration-overflow", those of check_settings(); Cancelled.
        """
        started = time.monotonic()
        resumed = 0
        try:
            with WorkFolder(self.work_dir, Path(self.out)) as work:
                if work.published:  # killed after the rename, before the cleaning up
                    resumed = len(work.records)
                else:
                    resumed = Conversion(self, ctx, work).run()
        except OSError as error:
            if error.errno in FULL_ERRORS:
                raise disk_full(self.work_dir.parent) from error
            raise
        totals = totals_of(Path(self.out))
        return ConvertResult(
            self.out, totals["file_bytes"], totals["source_bytes"], totals["bits_per_weight"],
            totals["relative_squared_error"], time.monotonic() - started, resumed,
            totals["report"],
        )  # fmt: skip
