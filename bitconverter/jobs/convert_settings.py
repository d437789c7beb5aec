"""What a conversion is asked for, and what none can be asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from bitconverter.format.errors import UserError
from bitconverter.jobs.preflight import Checked, check, partial_folder, wish_of, work_of

SEEDS = 2**53  # integers that JSON readers keep exactly
METHODS = ("full", "diag", "fast")
MOST_WINDOWS = 4096
MOST_STEPS = 10_000


@dataclass(frozen=True)
class ConvertSettings:
    """`source`: a Hugging Face folder or a .gguf file; `out`: the new folder; `planes`: ternary digits per weight.

    `need_tokenizer` False: a source without one is converted too, for work on token ids alone.
    `method`: "fast" (no data), "diag" (one forward pass on text) or "full" (calibrated layer by layer).
    `bits`: instead of `planes`, the average bits per linear weight;
    every matrix gets its own number of planes, as with `size` (bytes of the finished weight file), `fit_bytes` (memory
    of weights, a KV cache of `fit_context` tokens kept as `fit_kv`, and work space) and `preset` (a name in
    model/budget.py, which says what each means). `calibration`: UTF-8 text files (none: the text that comes with the
    program), `calibration_windows` windows of 512 tokens are used (None: convert_layers.windows_used()).
    `own_chat`: with the method full and without calibration files the source writes dialogue for the text
    (jobs/own_chat.py).
    `report`: at the end measure the result against the source on built-in text.
    `polish`: how many steps the scales and norms are trained at the end of method full (0: not; None: polish.STEPS for
    models below polish.BELOW weights).
    `threads` (0: one per core) does not change the result, so it may differ when a conversion is continued.
    """

    source: str = field(metadata={"path": True})
    out: str = field(metadata={"identity": False})  # the work folder is found by it, and may be moved
    planes: int = 3
    seed: int = 0
    threads: int = field(default=0, metadata={"identity": False})
    cpu: str = "auto"
    need_tokenizer: bool = True
    method: str = "fast"
    bits: float | None = None
    calibration: tuple[str, ...] = field(default=(), metadata={"path": True})
    calibration_windows: int | None = None
    polish: int | None = None
    own_chat: bool = False
    size: int | None = None
    fit_bytes: int | None = None
    fit_context: int = 4096
    fit_kv: str = "f16"
    preset: str | None = None
    report: bool = False

    @property
    def work_dir(self) -> Path:
        return partial_folder(self.out)

    def preflight(self) -> Checked:
        """All that can be known before the calibration text is read. Raises UserError for settings that cannot be
        (check_settings(), model/budget.py); what is wrong with source and target are items."""
        check_settings(self)
        need_tokenizer = self.need_tokenizer or self.method != "fast"
        return check(self.source, self.out, wish_of(self), work_of(self), need_tokenizer)


def check_settings(job: ConvertSettings) -> None:
    """Raises UserError: "seed", "method", "windows", "polish", "calibration-unused", "polish-unused"."""
    _check_values(job)
    _check_unused(job)


def _check_values(job: ConvertSettings) -> None:
    """Each by itself."""
    if not 0 <= job.seed < SEEDS:
        raise UserError("seed", f"The seed is {job.seed}; it must be from 0 to {SEEDS - 1}.", seed=job.seed)
    if job.method not in METHODS:
        raise UserError(
            "method",
            f"There is no method {job.method}: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}.",
            method=job.method,
        )
    if job.calibration_windows is not None and not 1 <= job.calibration_windows <= MOST_WINDOWS:
        raise UserError(
            "windows",
            f"{job.calibration_windows} calibration windows are not possible: give 1 to {MOST_WINDOWS}.",
            windows=job.calibration_windows,
        )
    if job.polish is not None and not 0 <= job.polish <= MOST_STEPS:
        raise UserError(
            "polish",
            f"{job.polish} steps of polish are not possible: give 0 to {MOST_STEPS}.",
            polish=job.polish,
        )


def _check_unused(job: ConvertSettings) -> None:
    """What the method has no use for."""
    if job.calibration and job.method == "fast":
        raise UserError(
            "calibration-unused",
            "The method fast uses no text, so the calibration files would have no effect. Leave them out, or "
            "choose the method diag or full.",
            method=job.method,
        )
    if job.polish and job.method != "full":
        raise UserError(
            "polish-unused",
            f"The polish belongs to the method full; with {job.method} it would have no effect. Leave it out, or "
            "choose the method full.",
            method=job.method,
        )
