"""What is known before a conversion starts: is the source whole and supported, is there a place for the result."""

import contextlib
import math
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitconverter.engine import ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.format.size_text import at_least, at_most
from bitconverter.jobs import measured, sensitivity
from bitconverter.jobs.convert_layers import WINDOW, windows_used
from bitconverter.jobs.job import Context, Job
from bitconverter.jobs.polish import steps_for
from bitconverter.jobs.room import nearest_folder, real_path, roomier_drives, size_on_disk
from bitconverter.jobs.scratch import temporary_folder
from bitconverter.jobs.work_owner import other_work
from bitconverter.model.budget import Fit, Wish, check_wish, left_over, overhead_bytes, planned
from bitconverter.model.open_source import open_source
from bitconverter.model.plan import TensorPlan, estimated_bytes
from bitconverter.model.preflight import check_source
from bitconverter.model.source import CheckItem, Source

__all__ = ["CheckItem", "Checked", "PreflightJob", "PreflightReport", "check", "partial_folder"]

SPACE_FACTOR = 1.05
OTHER_FILES = 1024 * 1024  # bytes beside the weights that are not the source's own: manifest, card, config


@dataclass(frozen=True)
class PreflightReport:
    """`ok`: no item is an error. Numbers are 0 where they cannot be known; `free_bytes` None without a target.
    `source_bytes` and `out_bytes` are of the weights alone (the latter at most), `needed_bytes` of all that is written.
    """

    items: tuple[CheckItem, ...]
    ok: bool
    name: str
    kind: str
    family: str
    parameters: int
    source_bytes: int
    out_bytes: int
    bits_per_weight: float
    free_bytes: int | None
    needed_bytes: int
    layers: int = 0


@dataclass(frozen=True)
class Checked:
    """A report, and what was found on the way; `source` is None when there is nothing to open."""

    report: PreflightReport
    source: Source | None = None
    info: ModelInfo | None = None
    plan: tuple[TensorPlan, ...] = ()
    side_files: dict[str, Any] | None = None


@dataclass(frozen=True)
class PreflightJob:
    """Check a source and, if given, a target folder; `wanted`: the conversion that is meant, whether it could go on
    with what is unfinished there. Reads headers only and changes nothing."""

    source: str
    out: str | None = None
    planes: int = 3
    need_tokenizer: bool = True
    bits: float | None = None
    size: int | None = None
    fit_bytes: int | None = None
    fit_context: int = 4096
    fit_kv: str = "f16"
    preset: str | None = None
    method: str = "full"
    calibration_windows: int | None = None
    polish: int | None = None
    report: bool = False
    wanted: Job | None = None

    @property
    def work_dir(self) -> Path | None:
        return None

    def run(self, ctx: Context) -> PreflightReport:
        ctx.cancel.check()
        report = check(self.source, self.out, wish_of(self), work_of(self), self.need_tokenizer).report
        return report if self.wanted is None else with_other_work(report, self.wanted)


def with_other_work(report: PreflightReport, job: Job) -> PreflightReport:
    """With an error where the work folder of `job` holds other unfinished work."""
    taken = None
    if job.work_dir is not None:
        with contextlib.suppress(OSError):  # the target's own check tells that
            taken = other_work(job.work_dir, job)
    if taken is None:
        return report
    others = (item for item in report.items if item.code != "unfinished")
    return replace(
        report, ok=False, items=(*others, CheckItem(taken.code, "error", str(taken), taken.fields))
    )


@dataclass(frozen=True)
class Work:
    """What a conversion does beyond plain rounding, as far as it takes room in the work folder."""

    method: str = "fast"
    windows: int | None = None  # of calibration text; None: as many as are usual
    polish: int | None = None
    report: bool = False

    def bytes(self, plan: list[TensorPlan], info: ModelInfo, out_bytes: int, rounded: bool) -> int:
        """Beside the result: the hidden states of the calibration text, and their next version while it is written;
        what is measured before the rounding (jobs/measured.py) until that is done (`rounded`), then in a polish the
        rounded weights."""
        if self.method == "fast":
            return 0
        windows = windows_used(info, self.method, self.windows)
        states = 2 * 4 * WINDOW * windows * info.hidden_size
        if self.method != "full":
            return states
        measuring = sensitivity.work_bytes(info.n_layers, info.hidden_size, WINDOW, windows)
        if rounded:
            measuring = 0
        return states + max(measuring, out_bytes if steps_for(plan, self.method, self.polish) else 0)


NO_WORK = Work()


def partial_folder(out: str) -> Path:
    """The work folder of a conversion to `out`."""
    return Path(str(Path(out)) + ".partial")


def wish_of(job: Any) -> Wish:
    """What a job with the fields of PreflightJob asks for."""
    fit = None if job.fit_bytes is None else Fit(job.fit_bytes, job.fit_context, job.fit_kv)
    return Wish(job.planes, job.bits, job.size, fit, job.preset)


def work_of(job: Any) -> Work:
    """What a job with the fields of PreflightJob does on the way."""
    return Work(job.method, job.calibration_windows, job.polish, job.report)


def check(
    source_path: str, out: str | None, wish: Wish, work: Work = NO_WORK, need_tokenizer: bool = True
) -> Checked:
    """All checks. Raises UserError only for a wish that cannot be (model/budget.py); the rest are items."""
    check_wish(wish)
    try:
        source = open_source(source_path)
        items, info, side_files = check_source(source, need_tokenizer)
    except (UserError, OSError) as error:
        return Checked(_unreadable_report(source_path, out, error))
    read = {name: tensor.bytes for name, tensor in source.tensors.items()}
    plan = list(planned(info, wish, read)) if info else []
    if plan and (over := left_over(wish, plan, read)) is not None:
        items.append(CheckItem("left-over", "warning", *over))
    sizes = _sizes(plan, read, side_files)
    on_the_way = work.bytes(plan, info, sizes.weights, out is not None and _is_rounded(out)) if info else 0
    needed = _needed(out, sizes.all + on_the_way)
    free: int | None = None
    if out is not None:
        more, free, needed = _check_room(source, Path(out), needed, work.report and info is not None)
        items += more
    report = PreflightReport(
        items=tuple(items),
        ok=not any(item.level == "error" for item in items),
        name=source.name,
        kind=source.kind,
        family=info.family if info else "",
        parameters=sum(math.prod(t.shape) for t in plan),
        source_bytes=source.total_bytes,
        out_bytes=sizes.weights,
        bits_per_weight=sizes.bits_per_weight,
        free_bytes=free,
        needed_bytes=needed,
        layers=info.n_layers if info else 0,
    )
    return Checked(report, source, info, tuple(plan), side_files)


def _unreadable_report(source: str, out: str | None, error: UserError | OSError) -> PreflightReport:
    """On a source that cannot be opened, and on the target: that is told now too, not after the source is put right."""
    items = [_unreadable(source, error)]
    if out is not None:
        items += [item for item in _check_target(Path(source), Path(out), 0)[0] if item.level == "error"]
    return PreflightReport(
        items=tuple(items),
        ok=False,
        name=Path(source).name,
        kind="",
        family="",
        parameters=0,
        source_bytes=0,
        out_bytes=0,
        bits_per_weight=0.0,
        free_bytes=None,
        needed_bytes=0,
    )


@dataclass(frozen=True)
class _Sizes:
    """Bytes of the result: of its weight file at most, of everything; 0 where there is no plan."""

    weights: int
    all: int
    bits_per_weight: float


def _sizes(plan: list[TensorPlan], read: dict[str, int], side_files: dict[str, Any]) -> _Sizes:
    """`read`: the bytes of the source's tensors."""
    if not plan:
        return _Sizes(0, 0, 0.0)
    linear = sum(math.prod(tensor.shape) for tensor in plan if tensor.linear)
    layers = estimated_bytes([tensor for tensor in plan if tensor.linear], {})
    weights = overhead_bytes(plan, read) + layers
    others = sum(_size(content) for content in side_files.values()) + OTHER_FILES
    return _Sizes(weights, weights + others, 8 * layers / linear if linear else 0.0)


def _needed(out: str | None, size: int) -> int:
    """Free bytes wanted for so many, of which an unfinished conversion to `out` has written some."""
    begun = 0 if out is None else _size_of_work(out)
    return max(0, math.ceil((size - begun) * SPACE_FACTOR))


def _is_rounded(out: str) -> bool:
    """Whether an unfinished conversion to `out` has all its tensors."""
    return measured.states_gone(partial_folder(out))


def _unreadable(source: str, error: UserError | OSError) -> CheckItem:
    if isinstance(error, UserError):
        return CheckItem(error.code, "error", str(error), error.fields)
    why = error.strerror or str(error)
    return CheckItem(
        "source-unreadable", "error", f"{source} cannot be read: {why}.", {"path": source, "why": why}
    )


def _check_target(source: Path, out: Path, needed: int) -> tuple[list[CheckItem], int | None]:
    try:
        problem = _bad_target(real_path(source), out)
        if problem is not None:
            return [problem], None
        place = nearest_folder(out)
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        why = error.strerror or str(error)
        text = f"{out} cannot be written: {why}. Choose another output folder."
        return [CheckItem("output", "error", text, {"out": str(out), "why": why})], None
    items = [CheckItem("output", "ok", f"The result goes to {out}.", {"out": str(out)})]
    if partial_folder(str(out)).joinpath("journal.jsonl").exists():
        text = "An unfinished conversion is there and will be continued."
        items.append(CheckItem("unfinished", "ok", text, {"out": str(out)}))
    fields: dict[str, Any] = {"free": free, "needed": needed}
    if free < needed:
        text = f"Too little space in {place}: about {at_least(needed)} are needed, {at_most(free)} are free."
        others = roomier_drives(place, needed)
        if others:
            fields["others"] = others
            text += f" There is room on {others}."
        return [*items, CheckItem("disk", "error", text, fields)], free
    items.append(
        CheckItem("disk", "ok", f"About {at_least(needed)} are needed, {at_most(free)} are free.", fields)
    )
    return items, free


def _check_room(
    source: Source, out: Path, needed: int, compares: bool
) -> tuple[list[CheckItem], int | None, int]:
    """The items of the target, the bytes that are free there, and `needed` with what a quality report (`compares`)
    takes of them for a while."""
    items, free = _check_target(source.path, out, needed)
    if not compares or free is None:
        return items, free, needed
    unpacked, more = _check_unpacking(source, out, needed)
    return [*items, *more], free, needed + unpacked


def _check_unpacking(source: Source, out: Path, needed: int) -> tuple[int, list[CheckItem]]:
    """The quality report unpacks a .gguf where the system keeps temporary files, for the time being: the bytes that
    this takes of the target's disk beside `needed`, and a warning where there is no room: then there is no report."""
    if source.kind != "gguf":
        return 0, []
    from bitconverter.model.gguf_source import expanded_bytes  # the gguf library takes a while to load

    place, unpacked = temporary_folder(), expanded_bytes(source.tensors.values(), source.config)
    try:
        free = shutil.disk_usage(place).free
        same = place.stat().st_dev == nearest_folder(out).stat().st_dev
    except OSError:  # told when it is tried
        return 0, []
    left = free - needed if same else free
    if left < unpacked:
        text = (
            f"The result will not be compared with the original: that unpacks the .gguf file into {place} for a while, "
            f"which takes about {at_least(unpacked)}; {at_most(max(left, 0))} are free."
        )
        fields = {"place": str(place), "needed": unpacked, "free": max(left, 0)}
        return 0, [CheckItem("unpacking", "warning", text, fields)]
    return (unpacked if same else 0), []


def _bad_target(source: Path, out: Path) -> CheckItem | None:
    full = real_path(out)
    why, code = "", "output"
    fields = {"out": str(out)}
    if full == source:
        why = "The output folder is the source itself."
    elif full.parent == full or os.path.ismount(full):
        why, fields["root"] = f"{full} is the root of a drive.", str(full)
    elif source in full.parents:
        why = "The output folder lies inside the source."
    elif not out.name:  # the finished folder could not take its place, and what is on the way would lie in it
        why, fields["here"] = f"{full} is the folder that this command was started in.", str(full)
    elif out.is_symlink() and out.is_dir():
        why, fields["link"] = f"{out} is a link to {full}.", str(full)
    elif out.is_dir() and any(out.iterdir()):
        code = "output-exists"
        why = f"{out} exists and is not empty; nothing is overwritten."
    elif os.path.lexists(out) and not out.is_dir():
        code = "output-exists"
        why = f"{out} is a file." if out.exists() else f"{out} is a link that leads nowhere."
    if not why:
        return None
    return CheckItem(code, "error", f"{why} Choose another output folder.", fields)


def _size_of_work(out: str) -> int:
    """Bytes of an unfinished conversion's files, which need not be free any more; of somebody else's folder none."""
    folder = partial_folder(out)
    return size_on_disk(folder) if os.path.isfile(folder / "job.json") else 0


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
