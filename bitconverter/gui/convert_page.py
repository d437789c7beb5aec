"""Convert: a form that becomes a ConvertJob for the queue, and what the queue says shown."""

import os
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication

from bitconverter.gui.activity import Work
from bitconverter.gui.convert_layout import ConvertLayout
from bitconverter.gui.convert_queue import ConvertQueue, QueueItem
from bitconverter.gui.estimate import Figures, expected
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, format_size, note_text, tr
from bitconverter.gui.page import Shell
from bitconverter.gui.size_choice import CUSTOM, MOST_BITS, PRESETS, Choice
from bitconverter.gui.source_card import facts_text, remember_folder
from bitconverter.gui.target_card import default_out
from bitconverter.gui.trash import move_to_trash, take_back
from bitconverter.gui.unfinished import is_ours, unfinished_job, why_not_resumed
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Event, Failed, Finished, Note, Stopped
from bitconverter.jobs.plan import PlanChoice, PlanJob, PlanResult
from bitconverter.jobs.preflight import PreflightJob, PreflightReport, partial_folder
from bitconverter.settings import storable


class State(Enum):
    """Where the form stands."""

    EMPTY = auto()
    CHECKING = auto()
    BLOCKED = auto()
    READY = auto()


class ConvertPage(ConvertLayout):
    """Emits `chat_requested` with the folder of a finished model, `converted` when one is finished."""

    PLANS = True  # times this PC for each source, which takes some seconds; most tests do without
    chat_requested = Signal(str)
    converted = Signal(str)
    idle = Signal()
    to_save = Signal()

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell.settings, ConvertQueue(shell))
        self._shell = shell
        self.state = State.EMPTY
        self._source, self._out = "", ""
        self._reports: dict[Choice, PreflightReport] = {}
        self._tried: set[Choice] = set()
        self._layers: dict[str, int] = {}  # of a source, by its path
        self._pressed = False  # a button of the running conversion, which stops since
        self._asked: tuple[Choice, bool] | None = None
        self._checked: ConvertJob | None = None  # what was looked at last
        self._spared = False  # that look, what lies in the work folder: it was the queue's
        self._plan: PlanResult | None = None
        self._checker, self._planner = JobRunner(self), JobRunner(self)
        self._checker.happened.connect(self._on_check)
        self._planner.happened.connect(self._on_plan)
        for runner in (self._checker, self._planner):
            runner.idle.connect(self._on_idle)
        self._connect()
        self._out = str(shell.settings["last_output"])
        self._show_state(State.EMPTY)
        self._show_queue()

    def _connect(self) -> None:
        queue, card = self.queue, self.run_card
        queue.setParent(self)
        queue.changed.connect(self._show_queue)
        queue.happened.connect(self._on_convert)
        queue.idle.connect(self._on_idle)
        self.queue_list.removed.connect(self._remove)
        self.source_card.picked.connect(self.choose_source)
        self.source_card.checks.fix.connect(self.fix)
        self.target_card.choice_changed.connect(self._choice_changed)
        self.target_card.out_changed.connect(self._out_changed)
        self.convert_button.clicked.connect(self.convert)
        self.resume_button.clicked.connect(self.resume)
        self.discard_button.clicked.connect(self.discard)
        card.pause.connect(queue.pause)
        card.stop.connect(queue.stop)
        card.resume.connect(queue.resume_current)
        card.done.chat.connect(self.chat_requested)
        card.done.larger.connect(self._a_little_larger)

    # ---- what is shown

    def _show_state(self, state: State) -> None:
        self.state = state
        chosen = bool(self._source)
        report = self._reports.get(self._choice)
        known = report is None or report.out_bytes > 0  # else it is no model, and there is nothing to choose
        self.target_card.setVisible(chosen and known)
        self.footer.setVisible(chosen)
        queued = self._queued()
        self.convert_button.setEnabled(state is State.READY and not queued)
        self.convert_button.setToolTip(tr("already-queued-tip") if queued else "")
        self._texts.set(self.convert_button.setText, "add-to-queue" if self.queue.items else "convert")
        self.console.setVisible(bool(self.console.text()))
        self._summarise()
        self._offer_resume()

    def _show_queue(self) -> None:
        """The first of the queue, or what has ended last."""
        pressed = QApplication.focusWidget() in (
            self.convert_button, self.run_card.pause_button, self.run_card.stop_button,
            self.run_card.resume_button, self.resume_button,
        )  # fmt: skip
        item = self.queue.current or self.queue.last
        if item is not self.run_card.item:
            self.area.verticalScrollBar().setValue(0)
        self.run_card.show_item(item, self._layers.get(item.job.source, 0) if item else 0)
        self._show_state(self.state)
        queued = self._queued()
        if (self._spared and not queued) or (self.state is State.BLOCKED and queued and not self._spared):
            self._check_again()  # what lies in the work folder is, or is no more, the queue's own
        if item is not None and item.ending:  # no button can have the focus for now
            self._pressed = self._pressed or pressed
        elif pressed or self._pressed:  # that button went away: the keyboard goes on at the one that comes
            self._pressed = False
            self._focus_for(item)

    def _focus_for(self, item: QueueItem | None) -> None:
        if item is None:
            (self.discard_button if self.resume_button.isHidden() else self.resume_button).setFocus()
        elif item.state is Work.RUNNING:
            self.run_card.pause_button.setFocus()
        elif item.state is Work.PAUSED:
            self.run_card.resume_button.setFocus()
        elif item.state is Work.DONE:
            self.run_card.done.chat_button.setFocus()

    def _summarise(self) -> None:
        report = self._reports.get(self._choice)
        if self.state is State.CHECKING:
            self.summary.set_text(tr("checking"))
        elif self.state is State.BLOCKED or report is None:
            self.summary.set_text(tr("cannot-convert") if self.state is State.BLOCKED else "")
        elif self._queued():
            self.summary.set_text(tr("already-queued", name=Path(self._out).name))
        else:
            before, after = format_size(report.source_bytes), format_size(report.out_bytes)
            self.summary.set_text(tr("summary", before=before, after=after, name=Path(self._out).name))

    def _offer_resume(self) -> None:
        """A stopped conversion into the folder of now, unless the queue has it."""
        job = self._unfinished()
        text = tr("unfinished-text") if job is not None else why_not_resumed(self._out)
        if not text or self._queued():
            self.unfinished.clear()
        else:
            self.resume_button.setVisible(job is not None)
            self.unfinished.show_warning(tr("unfinished-title", name=Path(self._out).name), text)

    def _queued(self) -> bool:
        """Whether the queue has a conversion into the folder of now."""
        return any(item.job.out == self._out for item in self.queue.items)

    def _unfinished(self) -> ConvertJob | None:
        return unfinished_job(self._out, self._settings["threads"])

    # ---- choosing

    def choose_source(self, path: str) -> None:
        """Look at the model folder or .gguf file `path`."""
        self._source = str(Path(path))
        remember_folder(self._settings, path)
        self._reports, self._tried, self._plan = {}, set(), None
        self._planner.drop()
        self.queue.look_at_program()
        self.target_card.sizes.forget()
        self.target_card.show_plan(None)
        if self._choice.preset == CUSTOM:
            self.target_card.sizes.choose(Choice(self._settings["preset"]))
        self.source_card.show_checking(self._source)
        self._log("log-checking", path=self._source)
        self._new_out()
        self._check()

    def _new_out(self, folder: str = "") -> None:
        """A free name for the choice of now."""
        self._set_out(
            default_out(self._source, self._choice.word(), folder or self._settings["output_folder"])
        )

    @property
    def _choice(self) -> Choice:
        return self.target_card.sizes.choice

    @property
    def busy(self) -> bool:
        """Whether a thread of this page is alive."""
        return self._checker.busy or self._planner.busy or self.queue.busy

    @property
    def converting(self) -> bool:
        """Whether a conversion runs."""
        return self.queue.busy

    def _choice_changed(self) -> None:
        if self._choice.preset != CUSTOM:
            self._settings["preset"] = self._choice.preset
            self.to_save.emit()
        self._new_out(os.path.dirname(self._out))
        self._check()

    def _out_changed(self, out: str) -> None:
        self._set_out(out)
        self._check()

    def _set_out(self, out: str) -> None:
        self._out = out
        self.target_card.show_out(out)
        self.target_card.show_report(None)
        self._show_plan()

    def fix(self, name: str) -> None:
        """What a button beside a check offers."""
        if name == "fix-out":
            self.target_card.ask_out()
        elif name == "fix-resume":
            self.resume()
        elif name == "fix-discard":
            self.discard()
        elif name == "fix-smaller":
            self._smaller()
        elif name == "fix-chat":
            self.chat_requested.emit(self._source)
        elif name == "fix-again":
            self.choose_source(self._source)
        elif name == "fix-other":
            self.source_card.ask_folder()
        elif name == "fix-folder":
            QDesktopServices.openUrl(QUrl.fromLocalFile(self._source))

    def _smaller(self) -> None:
        at = PRESETS.index(self._choice.preset) if self._choice.preset in PRESETS else len(PRESETS)
        self.target_card.sizes.choose(Choice(PRESETS[max(at - 1, 0)]))
        self._choice_changed()

    def _a_little_larger(self, source: str, bits: float) -> None:
        """The same model again with one bit more than `bits`."""
        self.choose_source(source)
        self.target_card.sizes.choose(Choice(CUSTOM, min(round(bits + 1.0, 2), MOST_BITS)))
        self._choice_changed()

    # ---- checking

    def _check(self) -> None:
        """Check the choice of now; the other sizes are estimated afterwards."""
        self._show_state(State.CHECKING)
        self._checked, self._spared = self.job(), self._queued()
        self._ask(self._choice, self._out)

    def _check_again(self) -> None:
        """What lies at the target has changed, if one is chosen."""
        if self._source:
            self._check()
        else:
            self._show_state(self.state)

    def _ask(self, choice: Choice, out: str | None) -> None:
        self._asked = (choice, out is not None)
        self._checker.start(
            PreflightJob(
                source=self._source,
                out=out,
                method=str(self._settings["method"]),
                report=bool(self._settings["report"]),
                wanted=None if out is None or self._spared else self.job(),
                **choice.fields(),
            )
        )

    def _on_check(self, event: Event) -> None:
        assert self._asked is not None
        choice, chosen = self._asked
        if isinstance(event, Finished | Failed):
            self._tried.add(choice)
        if isinstance(event, Finished):
            self._know(choice, event.result, chosen)
        elif isinstance(event, Failed) and chosen:
            error = error_text(event.error)
            self.source_card.show_error(error)
            problem = event.error
            self.console.say(lambda: error_text(problem).text)
            self._show_state(State.BLOCKED)
        if isinstance(event, Finished | Failed):
            self._estimate_next()

    def _know(self, choice: Choice, report: PreflightReport, chosen: bool) -> None:
        self._reports[choice] = report
        self._layers[self._source] = report.layers
        self.target_card.sizes.show_report(choice, report)
        if not chosen:
            return
        self.source_card.checks.can_resume = self._unfinished() is not None
        self.source_card.show_report(report)
        self.target_card.show_report(report)
        bad = sum(item.level == "error" for item in report.items)
        if report.ok:
            self.console.say(lambda: tr("log-ready", name=report.name, facts=facts_text(report)))
        else:
            self._log("log-blocked", count=bad)
        self._show_state(State.READY if report.ok else State.BLOCKED)

    def _estimate_next(self) -> None:
        report = self._reports.get(self._choice)
        if self._checker.busy or report is None or not report.out_bytes:
            return  # asked again, or no model
        for preset in PRESETS:
            if Choice(preset) not in self._tried:
                self._ask(Choice(preset), None)
                return
        if (
            self.PLANS and self._plan is None and report.ok and not self.queue.items
        ):  # its timing needs the PC for itself
            self._planner.start(PlanJob(source=self._source, threads=int(self._settings["threads"])))

    def _on_plan(self, event: Event) -> None:
        """A plan that fails tells nothing that the checks do not tell."""
        if isinstance(event, Finished):
            self._plan = event.result
            self._show_plan()

    def _show_plan(self) -> None:
        plan, method = self._plan, str(self._settings["method"])
        if plan is None:
            return
        self.target_card.sizes.show_plan(plan, method)
        chosen = self._planned()
        self.target_card.show_plan(None if chosen is None else (chosen, method))

    def _planned(self) -> PlanChoice | None:
        """What is expected of the choice of now, None while unknown."""
        if self._plan is None:
            return None
        if self._choice.preset == CUSTOM:
            return self._plan.nearest(self._choice.bits)
        found = next((choice for choice in self._plan.choices if choice.preset == self._choice.preset), None)
        return None if found is None or found.problem else found

    # ---- converting

    def job(self) -> ConvertJob:
        """The conversion that the page describes."""
        settings = self._settings
        return ConvertJob(
            source=self._source, out=self._out, threads=int(settings["threads"]),
            method=settings["method"], report=settings["report"], own_chat=settings["method"] == "full",
            **self._choice.fields(),
        )  # fmt: skip

    def convert(self) -> None:
        """Put it into the queue, with what is expected of it."""
        plan = self._planned() if self._settings["report"] else None  # the estimate is of one with its report
        disk = self._reports[self._choice].needed_bytes
        method = str(self._settings["method"])
        self._add(self.job(), None if plan is None else expected(plan, method, disk))

    def resume_into(self, out: str) -> None:
        """Go on with the stopped conversion into `out`."""
        job = unfinished_job(out, self._settings["threads"])
        if job is not None:
            self._add(job)
        elif why_not_resumed(out):  # the page tells it of the folder of now
            self._set_out(out)
            self._check_again()

    def resume(self) -> None:
        """Go on with the stopped conversion of the output folder."""
        self.resume_into(self._out)
        self._show_state(self.state)

    def _add(self, job: ConvertJob, figures: Figures | None = None) -> None:
        if storable(job.out):
            self._settings["last_output"] = job.out
        self._settings.add_shelf_models(job.source, job.out, f"{job.out}.partial")
        self.to_save.emit()
        self._planner.drop()
        self._log("log-converting", name=Path(job.source).name, out=job.out)
        self.queue.add(job, figures)

    def _log(self, key: str, **fields: Any) -> None:
        """A line in the console."""
        self.console.say(partial(tr, key, **fields))

    def escape(self) -> None:
        """Esc does nothing to hours of work."""

    def _on_convert(self, item: QueueItem, event: Event) -> None:
        if isinstance(event, Note):
            note = event
            self.console.say(lambda: note_text(note))
        elif isinstance(event, Finished):
            result = event.result
            self._log("log-done", size=format_size(result.file_bytes), out=result.out)
            if item.job.out == self._out:  # the name is taken now
                self._new_out(os.path.dirname(self._out))
                if self._source:
                    self._check()
            self.converted.emit(result.out)
        elif isinstance(event, Stopped):
            self._on_stop(item)
        elif isinstance(event, Failed):
            problem = event.error
            self.console.say(lambda: error_text(problem).text)
        if item is self.run_card.item:
            self.run_card.show_progress()
        if isinstance(event, Finished | Stopped | Failed):
            self._estimate_next()  # the PC may be free for it again

    def _on_stop(self, item: QueueItem) -> None:
        self._log("log-stopped")
        if item.state is Work.STOPPED and item.job.out != self._out:  # else the page offers to resume it
            text = partial(tr, "stopped-kept", name=item.name)
            self._shell.say(text, "resume", lambda: self._add(item.job, item.expected))

    def _remove(self, item: QueueItem) -> None:
        """Out of the queue; undo puts it at the end."""
        self.queue.remove(item)
        text = partial(tr, "queue-removed", name=item.name)
        self._shell.say(text, "undo", lambda: self._undo_remove(item))

    def _undo_remove(self, item: QueueItem) -> None:
        self.queue.add(item.job, item.expected)

    def discard(self) -> None:
        """The unfinished conversion goes to the bin, and can be taken back."""
        folder = str(partial_folder(self._out))
        if not is_ours(folder):
            return
        thing = move_to_trash(folder)
        if thing is None:
            self.unfinished.show_warning(tr("delete-failed-title"), tr("delete-failed", path=folder))
            return

        def undo() -> None:
            if not take_back(thing):
                self._shell.say(partial(tr, "undo-failed", path=folder))
            self._check_again()

        self._check_again()
        text = partial(tr, "deleted", name=Path(folder).name)
        self._shell.say(text, "undo" if thing.can_return else "", undo)

    # ---- the window

    def entered(self) -> None:
        """The page has just been shown."""
        self.setFocus()
        self._offer_resume()
        if self._checked is not None and self._checked != self.job():  # settings of another page
            self._check()

    def shut_down(self) -> None:
        """Ask all jobs to stop; `idle` tells when they have."""
        self.queue.shut_down()
        self._checker.drop()
        self._planner.drop()

    def stop_and_wait(self) -> None:
        """Cancel all jobs and block until their threads have ended."""
        self._checker.stop_and_wait()
        self._planner.stop_and_wait()
        self.queue.stop_and_wait()

    def _on_idle(self) -> None:
        if not self.busy:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show_state(self.state)
