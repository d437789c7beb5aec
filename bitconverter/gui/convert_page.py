"""Convert: a form that becomes a ConvertJob, and the events of the jobs shown."""

from enum import Enum, auto
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QMessageBox

from bitconverter.gui.convert_layout import ConvertLayout
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, format_size, note_text, tr
from bitconverter.gui.plane_cards import PLANES
from bitconverter.gui.source_card import facts_text, remember_folder
from bitconverter.gui.target_card import default_out
from bitconverter.gui.unfinished import discard, unfinished_job
from bitconverter.jobs.convert import ConvertJob
from bitconverter.jobs.job import Event, Failed, Finished, Note, Progress, Stopped
from bitconverter.jobs.preflight import PreflightJob, PreflightReport, partial_folder
from bitconverter.settings import Settings, storable


class State(Enum):
    """Where the page stands. Each state decides which controls can be used (see _show_state)."""

    EMPTY = auto()
    CHECKING = auto()
    BLOCKED = auto()
    READY = auto()
    RUNNING = auto()
    STOPPING = auto()
    STOPPED = auto()
    DONE = auto()
    FAILED = auto()


class ConvertPage(ConvertLayout):
    """Emits `chat_requested` with the folder of a finished model, `idle` when no job runs any more,
    `to_save` when the settings should be written."""

    chat_requested = Signal(str)
    converted = Signal(str)
    idle = Signal()
    to_save = Signal()

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.state = State.EMPTY
        self._source, self._out = "", ""
        self._stopped_by_hand = False
        self._reports: dict[int, PreflightReport] = {}
        self._asked: PreflightJob | None = None
        self._checker, self._converter = JobRunner(self), JobRunner(self)
        self._checker.happened.connect(self._on_check)
        self._converter.happened.connect(self._on_convert)
        for runner in (self._checker, self._converter):
            runner.idle.connect(self._on_idle)
        self._connect()
        self._out = str(settings["last_output"])
        self._show_state(State.EMPTY)

    def _connect(self) -> None:
        self.dropped.connect(self.choose_source)
        self.source_card.picked.connect(self.choose_source)
        self.target_card.planes_changed.connect(self._planes_changed)
        self.target_card.out_changed.connect(self._out_changed)
        self.convert_button.clicked.connect(self.convert)
        self.stop_button.clicked.connect(self.stop)
        self.resume_button.clicked.connect(self.resume)
        self.discard_button.clicked.connect(self._ask_discard)
        self.run_card.chat.connect(self.chat_requested)

    def _show_state(self, state: State) -> None:
        self.state = state
        running = state in (State.RUNNING, State.STOPPING)
        chosen = bool(self._source)
        report = self._reports.get(self._planes)
        known = report is None or report.out_bytes > 0  # else it is no model, and there is nothing to choose
        self.target_card.setVisible(chosen and known)
        self.footer.setVisible(chosen)
        pressed = QApplication.focusWidget() in (self.convert_button, self.stop_button, self.resume_button)
        self.convert_button.setEnabled(state in (State.READY, State.STOPPED, State.DONE, State.FAILED))
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(state is State.RUNNING)
        self._texts.set(self.stop_button.setText, "stopping" if state is State.STOPPING else "stop")
        self.source_card.set_locked(running)
        self.target_card.set_locked(running)
        self.console.setVisible(bool(self.console.text()))
        self._summarise()
        self._offer_resume(running)
        self._focus_after(pressed)

    def _focus_after(self, pressed: bool) -> None:
        """The button that was `pressed` goes away: the keyboard goes on at the one that comes."""
        if self.state is State.STOPPING:
            self._stopped_by_hand = pressed  # no button can have the focus for now
        elif pressed or self._stopped_by_hand:
            self._stopped_by_hand = False
            (self.stop_button if self.state is State.RUNNING else self.convert_button).setFocus()

    def _summarise(self) -> None:
        report = self._reports.get(self._planes)
        if self.state is State.CHECKING:
            self.summary.set_text(tr("checking"))
        elif self.state is State.BLOCKED or report is None:
            self.summary.set_text(tr("cannot-convert") if self.state is State.BLOCKED else "")
        else:
            before, after = format_size(report.source_bytes), format_size(report.out_bytes)
            name = Path(self._out).name
            self.summary.set_text(tr("summary", before=before, after=after, name=name))

    def _offer_resume(self, running: bool) -> None:
        job = None if running else self._unfinished()
        if job is None:
            self.unfinished.clear()
            return
        name = Path(job.out).name
        self.unfinished.show_warning(
            tr("unfinished-title", name=name), tr("unfinished-text", planes=job.planes)
        )

    def _unfinished(self) -> ConvertJob | None:
        return unfinished_job(self._out, self._settings["threads"])

    # ---- choosing

    def choose_source(self, path: str) -> None:
        """Look at the model folder or .gguf file `path`. Ignored while a conversion runs."""
        if self._converter.busy:
            return
        self._source = str(Path(path))
        remember_folder(self._settings, path)
        self._forget_reports()
        self.run_card.clear()
        self.source_card.show_checking(self._source)
        self.console.say(tr("log-checking", path=self._source))
        self._set_out(default_out(self._source, self._planes))
        self._check()

    def _forget_reports(self) -> None:
        self._reports = {}
        for planes in PLANES:
            self.target_card.cards.set_estimate(planes, None)

    @property
    def _planes(self) -> int:
        return self.target_card.cards.value

    @property
    def busy(self) -> bool:
        """A thread of this page is alive."""
        return self._checker.busy or self._converter.busy

    @property
    def converting(self) -> bool:
        """A conversion runs: closing the window would stop it."""
        return self._converter.busy

    def _planes_changed(self, planes: int) -> None:
        self._settings["planes"] = planes
        self._set_out(default_out(self._source, planes, Path(self._out).parent))
        self._check()

    def _out_changed(self, out: str) -> None:
        self._set_out(out)
        self._check()

    def _set_out(self, out: str) -> None:
        self._out = out
        self.target_card.show_out(out)
        self.target_card.show_report(None)

    # ---- checking

    def _check(self) -> None:
        """Check the choice of now; the other sizes are estimated afterwards."""
        self._show_state(State.CHECKING)
        self._asked = PreflightJob(source=self._source, out=self._out, planes=self._planes)
        self._checker.start(self._asked)

    def _on_check(self, event: Event) -> None:
        asked = self._asked
        assert asked is not None
        if isinstance(event, Finished):
            report: PreflightReport = event.result
            self._reports[asked.planes] = report
            estimate = (report.out_bytes, report.bits_per_weight)
            self.target_card.cards.set_estimate(asked.planes, estimate if report.out_bytes else None)
            if asked.out is not None:
                self._show_report(report)
            self._estimate_next()
        elif isinstance(event, Failed) and asked.out is not None:
            error = error_text(event.error)
            self.source_card.show_error(error)
            self.console.say(error.text)
            self._show_state(State.BLOCKED)

    def _show_report(self, report: PreflightReport) -> None:
        self.source_card.show_report(report)
        self.target_card.show_report(report)
        bad = sum(item.level == "error" for item in report.items)
        if report.ok:
            self.console.say(tr("log-ready", name=report.name, facts=facts_text(report)))
        else:
            self.console.say(tr("log-blocked", count=bad))
        self._show_state(State.READY if report.ok else State.BLOCKED)

    def _estimate_next(self) -> None:
        for planes in PLANES:
            if planes not in self._reports:
                self._asked = PreflightJob(source=self._source, out=None, planes=planes)
                self._checker.start(self._asked)
                return

    # ---- converting

    def convert(self) -> None:
        """Start the conversion that the page describes."""
        threads = int(self._settings["threads"])
        self._run(ConvertJob(source=self._source, out=self._out, planes=self._planes, threads=threads))

    def resume(self) -> None:
        """Go on with the stopped conversion of the output folder."""
        job = self._unfinished()
        if job is None:
            self._show_state(self.state)
            return
        if self._source != job.source:
            self._source = job.source
            self._forget_reports()
            self.source_card.show_chosen(job.source)
        self.target_card.cards.choose(job.planes)
        self._set_out(job.out)
        self._run(job)

    def _run(self, job: ConvertJob) -> None:
        self._checker.drop()
        if storable(job.out):
            self._settings["last_output"] = job.out
        self.to_save.emit()
        self.console.say(tr("log-converting", name=Path(job.source).name, planes=job.planes, out=job.out))
        self.run_card.show_running()
        self._show_state(State.RUNNING)
        self._converter.start(job)
        self.area.verticalScrollBar().setValue(0)

    def stop(self) -> None:
        """Stop the conversion; what is finished stays for a resume."""
        if self.state is not State.RUNNING:
            return
        self.run_card.show_stopping()
        self._show_state(State.STOPPING)
        self._converter.cancel()

    def _on_convert(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.run_card.show_progress(event)
        elif isinstance(event, Note):
            self.console.say(note_text(event))
        elif isinstance(event, Finished):
            result = event.result
            self.console.say(tr("log-done", size=format_size(result.file_bytes), out=result.out))
            self.run_card.show_result(result)
            self._set_out(
                default_out(self._source, self._planes, Path(self._out).parent)
            )  # the old name is taken now
            self._show_state(State.DONE)
            self.converted.emit(result.out)
        elif isinstance(event, Stopped):
            self.console.say(tr("log-stopped"))
            self.run_card.clear()
            self._show_state(State.STOPPED)
        elif isinstance(event, Failed):
            error = error_text(event.error)
            self.console.say(error.text)
            self.run_card.show_error(error)
            self._show_state(State.FAILED)

    def _ask_discard(self) -> None:
        folder = str(partial_folder(self._out))
        answer = QMessageBox.question(self, tr("discard-title"), tr("discard-text", folder=folder))
        if answer == QMessageBox.StandardButton.Yes:
            if not discard(self._out):
                QMessageBox.warning(self, tr("discard-title"), tr("discard-failed", folder=folder))
            self._show_state(self.state)

    # ---- the window

    def shut_down(self) -> None:
        """Ask all jobs to stop; `idle` tells when they have."""
        if self.state is State.RUNNING:
            self.stop()
        else:
            self._converter.cancel()
        self._checker.drop()

    def stop_and_wait(self) -> None:
        """Cancel all jobs and block until their threads have ended."""
        self._checker.stop_and_wait()
        self._converter.stop_and_wait()

    def _on_idle(self) -> None:
        if not self.busy:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show_state(self.state)
