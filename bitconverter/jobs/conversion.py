"""The steps of a conversion, in its work folder.

With the methods full and diag, whole decoder layers are rounded at a time, calibrated on text
(jobs/convert_layers.py); with full after it was measured what errors cost (jobs/measured.py), and before the polish
(jobs/convert_polish.py).
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from bitconverter.engine import give_back
from bitconverter.format.weight_file import WeightFile
from bitconverter.jobs import convert_polish, own_chat, polish, sensitivity_state
from bitconverter.jobs.convert_files import parameters_of, write_documents, write_side_files
from bitconverter.jobs.convert_layers import Layers, layer_of
from bitconverter.jobs.convert_polish import RoundedFile
from bitconverter.jobs.convert_progress import Stages
from bitconverter.jobs.convert_settings import ConvertSettings
from bitconverter.jobs.convert_subject import understand
from bitconverter.jobs.convert_tensor import TensorConverter
from bitconverter.jobs.convert_text import ConversionText
from bitconverter.jobs.convert_verify import verify
from bitconverter.jobs.convert_work import ROUNDED, WEIGHTS, WorkFolder
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.layer_reader import LayerReader
from bitconverter.jobs.measured import Measured
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.own_chat import OwnChat
from bitconverter.jobs.polish import Polished
from bitconverter.jobs.preflight import wish_of
from bitconverter.jobs.quality_report import amounts, quality_report
from bitconverter.jobs.rounding_errors import RoundingErrors
from bitconverter.model import ternary
from bitconverter.model.allocate import allocate
from bitconverter.model.budget import average_bits, resolved
from bitconverter.model.plan import TensorPlan, estimated_bytes

Plan = tuple[TensorPlan, ...]
Records = list[dict[str, Any]]


class Conversion:
    """Of what the settings name, in the open folder `work`, in which nothing is published. Emits the notes of
    jobs/convert.py."""

    def __init__(self, job: ConvertSettings, ctx: Context, work: WorkFolder) -> None:
        """Understands what there is to do, and claims `work` for it.

        Raises what understand(), open_engine() and ConversionText() do; UserError "source-changed", "journal-lost".
        """
        self.job, self.ctx, self.work = job, ctx, work
        self.subject = understand(job, ctx)
        self.source, self.info = self.subject.source, self.subject.info
        self.engine = open_engine(job.threads, job.cpu)
        self.text = ConversionText(job, ctx, self.subject)
        work.claim(self.text.fingerprint)
        self.reader = LayerReader(self.source, self.info, self.engine, ctx.cancel)
        self.polish_steps = self._polish_steps()
        self.stages = stages = self._stages()
        work.follow(lambda: stages.share)

    def run(self) -> int:
        """To the published model; how many tensors were rounded before, in another run.

        Raises UserError: "weight-not-finite", "calibration-overflow", "disk-full", "output-came", those of the text;
        Cancelled.
        """
        if self.text.writes:
            self._write_own_chat()
        measured = self._measure()
        plan = self._allocate(measured)
        resumed = self._round(plan, measured)
        records, polished = self._polish(plan)
        self._finish(plan, records, polished)
        return resumed

    # ---- what there is to do

    def _polish_steps(self) -> int:
        """How many there will be. Emits Note("polish-left-out")."""
        plan, job = self.subject.plan, self.job
        zeros = ternary.zeros(plan, self.source, self.ctx.cancel.check)
        steps = polish.steps_for(plan, job.method, job.polish, zeros)
        if not steps and polish.steps_wished(plan, job.method, job.polish):
            self.ctx.emit(Note("polish-left-out", {"matrices": self.subject.exact}))
        return steps

    @property
    def _measures(self) -> bool:
        return self.job.method == "full" and self.text.whole is not None

    def _stages(self) -> Stages:
        return Stages(
            self.ctx, self.subject.plan, self.source,
            method=self.job.method, writing=self.text.writes, measured=self._measures,
            polished=self.polish_steps / polish.STEPS,
            report_text=amounts(self.subject.parameters).text if self.job.report else 0,
        )  # fmt: skip

    # ---- before the rounding

    def _write_own_chat(self) -> None:
        """The source writes its part of the text. Emits Note("text-changed") where that is not what was rounded on."""
        count = own_chat.conversations_of(self.source, self.subject.parameters)
        own = OwnChat(
            self.ctx, self.work.path, self.text.fingerprint, str(self.source.path), self.engine, self.job.seed, count,
            needed=bool(self.work.records),
        )  # fmt: skip
        chat = own.conversations(self.stages.writing)
        give_back()
        self.stages.begin_measuring()
        text = self.text.add(chat)
        if not self.work.keep_to_text(text.sha256):  # the claim knows only the text without the chat
            self.ctx.emit(Note("text-changed"))

    def _measure(self) -> Measured | None:
        """What errors cost, with the method full."""
        if not self._measures:
            return None
        assert self.text.whole is not None
        measured = Measured(
            self.ctx, self.work.path, self.text.fingerprint, self.reader, self.engine, self.text.whole.ids,
            self.job.seed, self.stages.measuring,
        )  # fmt: skip
        give_back()
        return measured

    def _allocate(self, measured: Measured | None) -> Plan:
        """The plan with the planes that each matrix gets by what it costs. Raises UserError: "size-small", "fit-small",
        "fit", "bits"."""
        plan, wish = self.subject.plan, resolved(wish_of(self.job))
        if not wish.mixed:
            return plan
        # Again, after the preflight: a ternary matrix takes one plane, and the others get what that leaves.
        sizes = {name: tensor.bytes for name, tensor in self.source.tensors.items()}
        bits = average_bits(self.info, list(plan), wish, sizes)
        return allocate(plan, bits, measured.costs if measured else None)

    # ---- the rounding

    def _round(self, plan: Plan, measured: Measured | None) -> int:
        """The weight file, finished; how many tensors of it there were before. Emits Note("resumed")."""
        weights = self.work.open(plan, self.ctx.cancel, apart=self.polish_steps > 0)
        try:
            resumed = len(self.work.records)
            if resumed:
                self.ctx.emit(Note("resumed", {"tensors": resumed}))
            with self._layers(plan, measured) as layers:
                self._round_tensors(plan, weights, layers)
            weights.finish()
            sensitivity_state.remove(self.work.path)
        finally:
            weights.close()
            give_back()  # also where it was paused
        return resumed

    def _layers(self, plan: Plan, measured: Measured | None) -> AbstractContextManager[Layers | None]:
        """What rounds the matrices on the text; None where there is none."""
        if self.text.whole is None:
            return nullcontext()
        return Layers(
            self.ctx, self.work.path, self.source, self.info, plan, self.text.whole,
            measured=measured, identity=self.text.fingerprint, seed=self.job.seed,
            engine=self.engine, cpu=self.job.cpu,
        )  # fmt: skip

    def _round_tensors(self, plan: Plan, weights: WeightFile, layers: Layers | None) -> None:
        """Those that are not committed yet, each committed when it is whole."""
        ctx, work, stages, source = self.ctx, self.work, self.stages, self.source
        spans = stages.spans
        resumed = len(work.records)
        done = sum(spans[:resumed])
        stages.begin_rounding(done)
        errors = RoundingErrors(ctx, plan, work.records)
        converter = TensorConverter(source, self.engine, weights, self.job.seed, ctx.cancel)

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

    # ---- after the rounding

    def _polish(self, plan: Plan) -> tuple[Records, Polished | None]:
        """What the weight file of the model holds, and what the polish did, if it was of use."""
        records, work = self.work.records, self.work
        if not self.polish_steps:
            return records, None
        rounded = RoundedFile(work.path / ROUNDED, plan, records)
        lesson = self.text.lesson()
        polished = convert_polish.train(
            self.ctx, work.path, rounded, self.reader, self.engine, lesson.ids,
            identity=f"{self.text.fingerprint} {lesson.sha256}", seed=self.job.seed, steps=self.polish_steps,
            tell=self.stages.polishing,
        )  # fmt: skip
        give_back()
        return convert_polish.write(self.ctx, work.model / WEIGHTS, rounded, polished), polished

    def _finish(self, plan: Plan, records: Records, polished: Polished | None) -> None:
        """Everything beside the weights; then the model is looked at, and gets its name. Raises
        UserError("output-came")."""
        folder, side_files = self.work.model, self.subject.side_files
        write_side_files(folder, self.source, side_files, self.job.seed)
        report = self._report() if self.job.report else None
        parameters = parameters_of(self.job, self.text, polished, self.polish_steps)
        write_documents(folder, self.source, side_files, plan, records, parameters, report)
        verify(self.ctx, folder, self.engine)
        self.work.publish()

    def _report(self) -> dict[str, Any] | None:
        """How the model compares with its source; None where they cannot be compared here."""
        reporting = self.stages.reporting
        report = quality_report(
            self.ctx, str(self.source.path), self.work.model, self.subject.parameters, self.engine, reporting
        )
        reporting(1.0, "")
        return report


def _span_of_layer(plan: tuple[TensorPlan, ...], spans: list[int], tensor: TensorPlan) -> int:
    """Of this matrix and those of its layer behind it."""
    first = plan.index(tensor)
    return sum(
        span
        for t, span in zip(plan[first:], spans[first:], strict=True)
        if t.linear and layer_of(t) == layer_of(tensor)
    )
