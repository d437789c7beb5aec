"""Convert a model: stream its tensors through the quantizer into a folder that is whole or not there.

Killed at any moment and started again, it ends in the same bytes (jobs/convert_work.py).

With the methods full and diag, whole decoder layers are rounded at a time, calibrated on text
(jobs/convert_layers.py); with full after it was measured what errors cost (jobs/measured.py), and before the polish
(jobs/convert_polish.py).

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

import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bitconverter.engine import Engine, Model, give_back
from bitconverter.format.errors import UserError
from bitconverter.format.safetensors_file import SafetensorsFile
from bitconverter.format.weight_file import FULL_ERRORS, WeightFile, disk_full
from bitconverter.jobs import convert_polish, own_chat, polish, sensitivity_state
from bitconverter.jobs.convert_files import totals_of, write_documents, write_side_files
from bitconverter.jobs.convert_layers import Layers, layer_of, read_calibration, windows_used
from bitconverter.jobs.convert_polish import RoundedFile
from bitconverter.jobs.convert_progress import Stages
from bitconverter.jobs.convert_tensor import TensorConverter
from bitconverter.jobs.convert_work import ROUNDED, WEIGHTS, WorkFolder
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.jobs.measured import Measured
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.own_chat import OwnChat, can_chat
from bitconverter.jobs.preflight import Checked, check, partial_folder, wish_of, work_of
from bitconverter.jobs.quality_report import amounts, quality_report
from bitconverter.jobs.rounding_errors import RoundingErrors
from bitconverter.model import ternary
from bitconverter.model.allocate import allocate
from bitconverter.model.budget import average_bits, resolved
from bitconverter.model.calibration_text import CalibrationText, Conversation
from bitconverter.model.plan import DIRECT, PLANES, TensorPlan, estimated_bytes
from bitconverter.model.source import Source

SEEDS = 2**53  # integers that JSON readers keep exactly
METHODS = ("full", "diag", "fast")
MOST_WINDOWS = 4096
MOST_STEPS = 10_000
MAPPING_SPARE = 128 * 1024 * 1024  # bytes of address space the engine needs beside the mapped file


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
class ConvertJob:
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

    source: str
    out: str = field(metadata={"identity": False})  # the work folder is found by it, and may be moved
    planes: int = 3
    seed: int = 0
    threads: int = field(default=0, metadata={"identity": False})
    cpu: str = "auto"
    need_tokenizer: bool = True
    method: str = "fast"
    bits: float | None = None
    calibration: tuple[str, ...] = ()
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

    def run(self, ctx: Context) -> ConvertResult:
        """Raises UserError: "preflight" (fields["items"]: all checks), "output-exists", "output-came",
        "work-folder-busy", "source-changed", "weight-not-finite", "disk-full", "bits", "size-small", "fit-small",
        "fit", "preset", "method", "calibration-unused", "polish-unused", "bitnet-not-ternary", "calibration-short",
        "text-unreadable", "text-encoding", "calibration-overflow"; Cancelled.
        """  # fmt: skip
        started = time.monotonic()
        resumed = 0
        try:
            with WorkFolder(self.work_dir, Path(self.out)) as work:
                if work.published:  # killed after the rename, before the cleaning up
                    resumed = len(work.records)
                else:
                    resumed = self._convert(ctx, work)
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

    def _convert(self, ctx: Context, work: WorkFolder) -> int:
        checked = self._checked(ctx)
        source, plan = checked.source, checked.plan
        info, side_files = checked.info, checked.side_files
        assert source is not None and info is not None and side_files is not None
        for name in sorted(set(source.tensors) - {tensor.name for tensor in plan}):
            ctx.emit(Note("skipped-tensor", {"tensor": name}))
        plan = ternary.mark(plan, source, ctx.cancel.check)
        exact = sum(tensor.form == DIRECT for tensor in plan)
        if exact:
            ctx.emit(Note("ternary", {"matrices": exact}))
        checked = replace(checked, plan=plan)
        engine = open_engine(self.threads, self.cpu)
        calibrated = self.method != "fast" and any(tensor.form == PLANES for tensor in plan)
        windows = windows_used(info, self.method, self.calibration_windows)
        writes = (
            calibrated
            and self.method == "full"
            and self.own_chat
            and not self.calibration
            and can_chat(source)
        )
        text = self._text(ctx, checked, windows, self.seed, quiet=writes) if calibrated else None
        fingerprint = source.fingerprint() + (f" {text.sha256}" if text else "")
        if writes:
            fingerprint += f" {own_chat.asking(source)}"
        work.claim(fingerprint)
        reader = LayerReader(source, info, engine, ctx.cancel)
        steps = self._polish_steps(ctx, plan, source)
        wish = resolved(wish_of(self))
        measures = self.method == "full" and text is not None
        stages = Stages(
            ctx, plan, source, method=self.method, writing=writes, measured=measures, polished=steps / polish.STEPS,
            report_text=amounts(checked.report.parameters).text if self.report else 0,
        )  # fmt: skip
        work.follow(lambda: stages.share)
        chat: list[Conversation] = []
        if writes:
            chat = self._own_chat(ctx, checked, fingerprint, engine, stages, bool(work.records))
            text = self._text(ctx, checked, windows, self.seed, chat)
            if not work.keep_to_text(text.sha256):  # the claim knows only the text without the chat
                ctx.emit(Note("text-changed"))
        measured: Measured | None = None
        if measures and text is not None:
            measured = Measured(
                ctx, self.work_dir, fingerprint, reader, engine, text.ids, self.seed, stages.measuring
            )
            give_back()
        if wish.mixed:  # again: a ternary matrix takes one plane, and the others get what that leaves
            known = measured.costs if measured else None
            sizes = {name: tensor.bytes for name, tensor in source.tensors.items()}
            plan = allocate(plan, average_bits(info, list(plan), wish, sizes), known)
        weights = work.open(plan, ctx.cancel, apart=steps > 0)
        try:
            resumed = len(work.records)
            if resumed:
                ctx.emit(Note("resumed", {"tensors": resumed}))
            with ExitStack() as stack:
                layers: Layers | None = None
                if text is not None:
                    layers = stack.enter_context(
                        self._layers(ctx, fingerprint, checked, plan, engine, text, measured)
                    )
                self._convert_tensors(ctx, work, weights, engine, source, plan, layers, stages)
            weights.finish()
            sensitivity_state.remove(self.work_dir)
        finally:
            weights.close()
            give_back()  # also where it was paused
        parameters, records = self._parameters(text, len(chat)), work.records
        if steps:
            rounded = RoundedFile(work.path / ROUNDED, plan, records)
            lesson = self._text(
                ctx, checked, polish.WINDOWS + polish.HELD_OUT, self.seed + 1, chat, quiet=True
            )
            polished = convert_polish.train(
                ctx, work.path, rounded, reader, engine, lesson.ids,
                identity=f"{fingerprint} {lesson.sha256}", seed=self.seed, steps=steps, tell=stages.polishing,
            )  # fmt: skip
            give_back()
            records = convert_polish.write(ctx, work.model / WEIGHTS, rounded, polished)
            if polished is not None:
                parameters["polish"] = {
                    "steps": steps, "windows": polish.WINDOWS,
                    "kl_before": polished.kl_before, "kl_after": polished.kl_after,
                }  # fmt: skip
        write_side_files(work.model, source, side_files, self.seed)
        report = None
        if self.report:
            report = quality_report(
                ctx, str(source.path), work.model, checked.report.parameters, engine, stages.reporting
            )
            stages.reporting(1.0, "")
        write_documents(work.model, source, side_files, plan, records, parameters, report)
        self._verify(ctx, work, engine)
        work.publish()
        return resumed

    def preflight(self) -> Checked:
        """All that can be known before the calibration text is read. Raises UserError for settings that cannot be; what
        is wrong with source and target are items."""
        if not 0 <= self.seed < SEEDS:
            raise UserError(
                "seed", f"The seed is {self.seed}; it must be from 0 to {SEEDS - 1}.", seed=self.seed
            )
        if self.method not in METHODS:
            raise UserError(
                "method",
                f"There is no method {self.method}: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}.",
                method=self.method,
            )
        if self.calibration_windows is not None and not 1 <= self.calibration_windows <= MOST_WINDOWS:
            raise UserError(
                "windows",
                f"{self.calibration_windows} calibration windows are not possible: give 1 to {MOST_WINDOWS}.",
                windows=self.calibration_windows,
            )
        if self.polish is not None and not 0 <= self.polish <= MOST_STEPS:
            raise UserError(
                "polish",
                f"{self.polish} steps of polish are not possible: give 0 to {MOST_STEPS}.",
                polish=self.polish,
            )
        if self.calibration and self.method == "fast":
            raise UserError(
                "calibration-unused",
                "The method fast uses no text, so the calibration files would have no effect. Leave them out, or "
                "choose the method diag or full.",
                method=self.method,
            )
        if self.polish and self.method != "full":
            raise UserError(
                "polish-unused",
                f"The polish belongs to the method full; with {self.method} it would have no effect. Leave it out, or "
                "choose the method full.",
                method=self.method,
            )
        need_tokenizer = self.need_tokenizer or self.method != "fast"
        return check(self.source, self.out, wish_of(self), work_of(self), need_tokenizer)

    def _checked(self, ctx: Context) -> Checked:
        checked = self.preflight()
        errors = [item for item in checked.report.items if item.level == "error"]
        if errors:
            code = "output-exists" if all(item.code == "output-exists" for item in errors) else "preflight"
            raise UserError(code, "\n".join(item.message for item in errors), items=checked.report.items)
        for item in checked.report.items:
            if item.level == "warning":
                ctx.emit(Note("check", {"code": item.code, "level": item.level, "message": item.message}))
        ctx.cancel.check()
        return checked

    def _polish_steps(self, ctx: Context, plan: tuple[TensorPlan, ...], source: Source) -> int:
        zeros = ternary.zeros(plan, source, ctx.cancel.check)
        steps = polish.steps_for(plan, self.method, self.polish, zeros)
        if not steps and polish.steps_wished(plan, self.method, self.polish):
            exact = sum(tensor.form == DIRECT for tensor in plan)
            ctx.emit(Note("polish-left-out", {"matrices": exact}))
        return steps

    def _own_chat(
        self, ctx: Context, checked: Checked, fingerprint: str, engine: Engine, stages: Stages, needed: bool
    ) -> list[Conversation]:
        assert checked.source is not None
        count = own_chat.conversations_of(checked.source, checked.report.parameters)
        own = OwnChat(
            ctx, self.work_dir, fingerprint, str(checked.source.path), engine, self.seed, count, needed
        )
        written = own.conversations(stages.writing)
        give_back()
        stages.begin_measuring()
        return written

    def _text(
        self, ctx: Context, checked: Checked, windows: int, seed: int,
        chat: Sequence[Conversation] = (), *, quiet: bool = False,
    ) -> CalibrationText:  # fmt: skip
        assert checked.source is not None and checked.info is not None and checked.side_files is not None
        return read_calibration(
            ctx, checked.side_files, checked.source.config, checked.info,
            files=self.calibration, windows=windows, seed=seed, own_chat=chat, quiet=quiet,
        )  # fmt: skip

    def _layers(
        self, ctx: Context, fingerprint: str, checked: Checked, plan: tuple[TensorPlan, ...], engine: Engine,
        text: CalibrationText, measured: Measured | None,
    ) -> Layers:  # fmt: skip
        assert checked.source is not None and checked.info is not None
        return Layers(
            ctx, self.work_dir, checked.source, checked.info, plan, text,
            measured=measured, identity=fingerprint, seed=self.seed, engine=engine, cpu=self.cpu,
        )  # fmt: skip

    def _parameters(self, text: CalibrationText | None, chats: int) -> dict[str, Any]:
        """What the manifest says of how it was made."""
        parameters = {**self._chosen(), "seed": self.seed, "method": self.method}
        if text is not None:
            parameters["calibration"] = {
                "files": list(text.sources), "windows": text.ids.shape[0], "window": text.ids.shape[1],
                "sha256": text.sha256,
            }  # fmt: skip
            if chats:
                parameters["calibration"]["own_chat"] = chats
        return parameters

    def _chosen(self) -> dict[str, Any]:
        """The wish for a size, as it was given."""
        if self.preset is not None:
            return {"preset": self.preset}
        if self.fit_bytes is not None:
            return {"fit": {"bytes": self.fit_bytes, "context": self.fit_context, "kv": self.fit_kv}}
        if self.size is not None:
            return {"size": self.size}
        if self.bits is None:
            return {"planes": self.planes}
        return {"bits": self.bits if math.isfinite(self.bits) else None}  # JSON has no infinity

    def _convert_tensors(
        self, ctx: Context, work: WorkFolder, weights: WeightFile, engine: Engine, source: Source,
        plan: tuple[TensorPlan, ...], layers: Layers | None, stages: Stages,
    ) -> None:  # fmt: skip
        spans = stages.spans
        resumed = len(work.records)
        done = sum(spans[:resumed])
        stages.begin_rounding(done)
        errors = RoundingErrors(ctx, plan, work.records)
        converter = TensorConverter(source, engine, weights, self.seed, ctx.cancel)

        def tell_layer(start: int, whole: int, tensor: TensorPlan, part: float) -> None:
            stages.rounding(start + int(part * whole), f"layer {layer_of(tensor)}")

        for tensor, span in list(zip(plan, spans, strict=True))[resumed:]:
            ctx.cancel.check()
            work.check_space(estimated_bytes([tensor], {tensor.name: source.tensors[tensor.name].bytes}))
            if layers is not None and tensor.linear:
                whole = _span_of_layer(plan, spans, tensor)
                converter.put(tensor, layers.take(tensor, partial(tell_layer, done, whole, tensor)))
            else:
                for part in converter.steps(tensor):
                    stages.rounding(done + int(span * part), tensor.name)
            work.commit(weights, converter.record)
            errors.add(converter.record)
            done += span
        stages.rounding(done, "")

    def _verify(self, ctx: Context, work: WorkFolder, engine: Engine) -> None:
        """The finished weights must be readable: by the engine, which maps them and checks every tensor."""
        path = work.model / WEIGHTS
        size = path.stat().st_size
        SafetensorsFile(path)
        limit = _free_address_space()
        if limit is not None and size + MAPPING_SPARE > limit:
            ctx.emit(Note("verified-tables-only", {"file_bytes": size, "limit": limit}))
            return
        Model(
            engine, work.model
        )  # its mapping ends with this line: Windows renames no folder with an open file
        ctx.emit(Note("verified", {"file_bytes": size}))


def _span_of_layer(plan: tuple[TensorPlan, ...], spans: list[int], tensor: TensorPlan) -> int:
    """Of this matrix and those of its layer behind it."""
    first = plan.index(tensor)
    return sum(
        span
        for t, span in zip(plan[first:], spans[first:], strict=True)
        if t.linear and layer_of(t) == layer_of(tensor)
    )


def _free_address_space() -> int | None:
    """Bytes of address space this process may still take, or None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - psutil.Process().memory_info().vms)
