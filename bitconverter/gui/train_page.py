"""Train: what the form says becomes a PrepareJob and a TrainJob, whose curves are shown until there is a soul."""

import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal

from bitconverter import paths
from bitconverter.gui.activity import Activity, Work
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, note_text, tr
from bitconverter.gui.page import Shell
from bitconverter.gui.pin_actions import PinActions
from bitconverter.gui.soul_files import made_for, remove, without_pins
from bitconverter.gui.taught_actions import TaughtActions
from bitconverter.gui.taught_view import Taught
from bitconverter.gui.train_form import State, TrainForm
from bitconverter.gui.trash import move_to_trash, take_back
from bitconverter.gui.unfinished_training import (
    is_work_folder,
    recall,
    recall_material,
    recall_paused,
    remember,
)
from bitconverter.jobs.eco import WAITS
from bitconverter.jobs.job import Curves, Event, Failed, Finished, Metric, Note, Progress, Stopped
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.prepare_result import PrepareResult
from bitconverter.jobs.runs import DiffRunsJob, RunDiff, RunsJob
from bitconverter.jobs.saved_curves import SavedCurvesJob
from bitconverter.jobs.train import TrainJob

if TYPE_CHECKING:
    from bitconverter.gui.train_card import TrainCard

__all__ = ["State", "TrainPage", "free_soul"]


class TrainPage(TrainForm):
    """`idle`: its last thread has ended."""

    idle = Signal()
    to_save = Signal()

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._job: TrainJob | None = None
        self._material: PrepareJob | None = None  # makes its lesson, until it has a work folder
        self._jumped = False  # its loss did
        self._made_now = False  # its lesson was made since it was started here
        self._activity: Activity | None = None
        self._ending = ""  # what Stopped will mean: "pause", "keep", or "" at closing
        self._trainer = JobRunner(self)
        self._trainer.happened.connect(self._on_train)
        self.soul_actions = TaughtActions(self.taught, shell, self)
        self.soul_actions.gone.connect(self._again)
        self.soul_actions.back.connect(self._soul_is_back)
        self.soul_actions.moved.connect(self._soul_moved)
        self.pin_actions = PinActions(shell, free_soul, self)
        self.pin_actions.changed.connect(self._show_runs)
        self.pin_actions.ready.connect(self._go_on)
        self.run_list.pins.pin.connect(lambda run: self.pin_actions.pin(run.soul))
        self.run_list.pins.unpin.connect(self.pin_actions.unpin)
        self.run_list.pins.go_on.connect(self.pin_actions.go_on)
        self._recaller = JobRunner(self)
        self._recaller.happened.connect(self._on_recalled)
        self._historian = JobRunner(self)
        self._historian.happened.connect(self._on_history)
        self.run_list.wanted.connect(self._look_up)
        self._runners = (
            self._reader, self._estimator, self.soul_actions.runner, self._trainer, self._historian,
            self._recaller, self.pin_actions.runner,
        )  # fmt: skip
        for runner in self._runners:
            runner.idle.connect(self._on_idle)
        shell.pause_wanted.connect(self.pause)
        self.train_button.clicked.connect(self.train)
        self.taught.again.connect(self._again)
        self.samples.asked.connect(self._trainer.ask)
        self._take_up()
        self._show()

    def _connect_card(self, card: "TrainCard") -> None:
        card.pause.connect(self.pause)
        card.resume.connect(self.resume)
        card.keep.connect(self.keep)
        card.pin.connect(self.pin)
        card.discard.connect(self.discard)

    # ---- the training

    @property
    def _under_way(self) -> bool:
        return self.state in (State.WORKING, State.PAUSED)

    def train(self) -> None:
        """Begin what the form says: first the pack is written, then the model learns from it."""
        if not self._usable or not self._steps():
            return
        folder = Path(self._settings["output_folder"] or Path(self.model).parent)
        out = free_soul(folder / f"{Path(self.model).name}-{self.aims.choice}")
        self._job = self._train_job(f"{out}.u32", f"{out}.soul", self._steps())
        self.taught.show_taught(None)
        self.samples.clear()
        self._log("log-preparing", rows=self.result.used if self.result else 0)
        self._material, self._made_now = self._prepare_job(self._job.lesson), False
        self._jumped = False
        self._begin()
        self._trainer.start(self._material)

    def _go_on(self, job: TrainJob) -> None:
        """A training begins at a pinned state of another one."""
        if self._under_way:
            self._shell.say(partial(tr, "train-busy"))
            return
        self._job, self._material, self._jumped = self._surrounded(job), None, False
        self.taught.show_taught(None)
        self.samples.clear()
        self._begin()
        self._trainer.start(self._job)

    def pin(self) -> None:
        """Keep its newest saved state, whatever becomes of it."""
        if self._job is not None and self._under_way:
            self.pin_actions.pin(self._job.out)

    def resume(self) -> None:
        """Go on where it was."""
        if self._job is not None and self.state is State.PAUSED:
            self._log("log-resumed")
            self._begin()
            lesson = None if os.path.exists(self._job.lesson) else self._material  # it was stopped before
            self._trainer.start(lesson or self._job)

    def _begin(self) -> None:
        assert self._job is not None
        name = Path(self._job.out).stem
        self.state, self._ending = State.WORKING, ""
        self.problem.clear()
        self._drop_estimate()
        self._recaller.drop()
        self.card.begin(name, self._job.steps)
        activities = self._shell.activities
        if self._activity is None:
            self._activity = activities.begin("train", name, "train")
        else:
            activities.turn(self._activity, Work.RUNNING)
        remember(self._settings, self._job, self._material)
        self.to_save.emit()
        self.area.verticalScrollBar().setValue(0)
        self._show()

    def pause(self) -> None:
        """Stop it for now, giving its memory back; it goes on when it is resumed."""
        self._end("pause", "pausing")

    def keep(self) -> None:
        """End it before its last step; the best state so far becomes the soul."""
        if self.state is State.PAUSED and self._job is not None:
            self._keep_now()
        else:
            self._end("keep", "stopping")

    def _end(self, ending: str, phase: str) -> None:
        if self.state is State.WORKING and self._trainer.busy and not self._ending:
            self._ending = ending
            self.samples.show_live(False)
            self.card.show_phase(phase)
            self._trainer.cancel()

    def _keep_now(self) -> None:
        assert self._job is not None
        self.state = State.WORKING
        self.card.show_phase("stopping")
        self._trainer.start(KeepTrainingJob(self._job))

    def _on_train(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._on_progress(event)
        elif isinstance(event, Metric) and event.name in ("loss", "validation"):
            self.card.add_point(event.name, event.step, event.value)
            if event.name == "validation":
                self._log("log-check", step=event.step, value=f"{event.value:.4f}")
        elif isinstance(event, Curves):
            self._show_before(event)
        elif isinstance(event, Note):
            self._on_note(event)
        elif isinstance(event, Finished) and isinstance(event.result, PrepareResult):
            self._prepared()
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Stopped):
            self._stopped()
        elif isinstance(event, Failed):
            self._failed(event)
        self.console.setVisible(bool(self.console.text()))

    def _on_note(self, event: Note) -> None:
        if event.code == "train-sample":
            self.samples.add(event.fields["step"], event.fields["prompt"], event.fields["answer"])
            return
        if event.code in ("row-rejected", "file-read"):  # the form has told it
            return
        self.console.say(partial(note_text, event))
        if event.code in WAITS or event.code == "goes-on":
            self.card.show_waiting(event)
        elif event.code == "train-device":
            self.card.show_device(event)
            self._has_work_folder()
        elif event.code == "train-slower":
            self.card.show_slower(event)
        elif event.code == "sample-failed":
            self.samples.unlock()
        self._jumped |= event.code in ("train-slower", "train-gave-up")

    def _prepared(self) -> None:
        """The pack is written."""
        assert self._job is not None
        self._made_now = True
        if self._ending:  # paused before it began
            self._paused()
        else:
            self._trainer.start(self._job)

    def _has_work_folder(self) -> None:
        """From now on that is what is gone on with."""
        self._material = None
        remember(self._settings, self._job)
        self.to_save.emit()

    def _on_progress(self, event: Progress) -> None:
        if self.card.phase == "preparing" and event.unit == "step":
            self.card.show_phase("running")
            self.samples.show_live(True)
        elif event.unit == "look":
            self.samples.show_live(False)
        self.card.show_progress(event.done, event.total, event.unit, event.eta)
        if self._activity is not None:
            self._shell.activities.happened(self._activity, dataclasses.replace(event, item=""))

    def _finished(self, event: Finished) -> None:
        job, result = self._job, event.result
        assert job is not None
        if self._activity is not None:
            self._activity.take(result)
        self._over(Work.DONE)
        self.state = State.DONE
        self.samples.show_live(False)
        self.samples.show_kept(result.best_step)
        self._activity = None
        if not result.set_aside:
            self._remember_things(result.out)
        self.taught.show_taught(
            Taught(
                result.out,
                job.model,
                result.before,
                result.after,
                result.best_step,
                result.steps,
                result.seconds,
                job.lesson,
                result.forgetting,
                result.set_aside,
                made_for(job),
                self._jumped,
            )
        )
        self.taught.show_curves(self.card.plot.losses, self.card.plot.checks)
        self._log("log-taught", soul=result.out)
        self._show_runs()
        self._show()

    def _stopped(self) -> None:
        if self._ending == "keep" and self._job is not None and is_work_folder(str(self._job.work_dir)):
            self._ending = ""
            self._trainer.start(KeepTrainingJob(self._job))
        else:
            self._paused()

    def _paused(self) -> None:
        self.state, self._ending = State.PAUSED, ""
        self.samples.show_live(False)
        self.card.show_paused(None)
        remember(self._settings, self._job, self._material, paused=True)
        self.to_save.emit()
        if self._activity is not None:
            self._shell.activities.turn(self._activity, Work.PAUSED)
        self._log("log-paused")
        self._recall_curves()
        self._show()

    def _log(self, key: str, **fields: Any) -> None:
        """A line in the console."""
        self.console.say(partial(tr, key, **fields))

    def _failed(self, event: Failed) -> None:
        self.samples.show_live(False)
        error = event.error
        problem = error_text(error)
        self.console.say(lambda: error_text(error).text)
        if self._activity is not None:
            self._shell.activities.happened(self._activity, event)
            self._activity = None
        if self._job is not None and is_work_folder(str(self._job.work_dir)):
            self.state = State.PAUSED
            self.card.show_paused(problem)
            remember(self._settings, self._job, self._material, paused=True)
            self.to_save.emit()
            self._recall_curves()
        else:
            self._over(Work.FAILED)
            if self._job is not None and self._made_now:  # else the next one could not have its name
                remove(without_pins(self._job.out, made_for(self._job)))
            self.state = State.FORM
            self.problem.show_error(problem)
        self._estimate_next()

    def _over(self, state: Work) -> None:
        """Nothing is under way any more."""
        self.card.show_phase("")
        if self._activity is not None and state is not Work.FAILED:
            self._shell.activities.turn(self._activity, state)
        remember(self._settings, None)
        self.to_save.emit()

    def discard(self) -> None:
        """The unfinished training goes to the bin, and can be taken back."""
        job = self._job
        if job is None or self.state is not State.PAUSED:
            return
        folder = str(job.work_dir)
        thing = move_to_trash(folder) if is_work_folder(folder) else None
        others = [move_to_trash(path) for path in without_pins(job.out, made_for(job))]
        self._over(Work.STOPPED)
        self._activity, self._job, self.state = None, None, State.FORM
        self._estimate_next()

        def undo() -> None:
            if self._under_way:  # it could not be shown; all of it stays in the bin
                self._shell.say(partial(tr, "train-busy"))
                return
            if self.state is State.DONE:
                self._again()
            # the folder last: with it the training is back, and it goes on from the others
            if all(take_back(other) for other in others if other is not None) and thing and take_back(thing):
                remember(self._settings, job, paused=True)
                self._take_up()
                self._show()

        text = partial(tr, "deleted", name=Path(folder).name)
        self._shell.say(text, "undo" if thing is not None and thing.can_return else "", undo)

    def _take_up(self) -> None:
        """A training that was under way when the program ended waits to go on."""
        job = recall(self._settings)
        if job is None:
            return
        self._job, self.state, self._material = job, State.PAUSED, recall_material(self._settings)
        self.card.begin(Path(job.out).stem, job.steps)
        self.card.show_paused(None, "" if recall_paused(self._settings) else "interrupted")
        self._recaller.start(SavedCurvesJob(str(job.work_dir)))
        self._activity = self._shell.activities.begin("train", Path(job.out).stem, "train")
        self._shell.activities.turn(self._activity, Work.PAUSED)

    def _recall_curves(self) -> None:
        """Those of before, where it ended before they were told again."""
        if self._job is not None and not self.card.plot.losses and is_work_folder(str(self._job.work_dir)):
            self._recaller.start(SavedCurvesJob(str(self._job.work_dir)))

    def _on_recalled(self, event: Event) -> None:
        """What cannot be read is found out when it goes on."""
        if isinstance(event, Finished) and event.result is not None and self.state is State.PAUSED:
            self._show_before(event.result)

    def _show_before(self, curves: Curves) -> None:
        self.card.show_curves(curves.points["loss"], curves.points["validation"])
        self.samples.show_before(curves.samples)

    def _soul_is_back(self, taught: Taught) -> None:
        if self.state is State.FORM:
            self.state = State.DONE
            self.taught.show_taught(taught)
            self._show()

    def _soul_moved(self, soul: str) -> None:
        self._remember_things(soul)
        self._show_runs()

    # ---- the trainings of before

    def _show_runs(self) -> None:
        """Read the list anew."""
        if paths.runs_file().exists():
            self._historian.start(RunsJob(str(paths.runs_file())))

    def _look_up(self, first: int, second: int) -> None:
        self._historian.start(DiffRunsJob(str(paths.runs_file()), first, second))

    def _on_history(self, event: Event) -> None:
        if isinstance(event, Finished) and isinstance(event.result, RunDiff):
            self.run_list.show_diff(event.result)
        elif isinstance(event, Finished):
            self.run_list.show_runs(event.result)
        elif isinstance(event, Failed):
            self.run_list.show_error(error_text(event.error))

    # ---- the window

    @property
    def busy(self) -> bool:
        """Whether a thread of this page is alive."""
        return any(runner.busy for runner in self._runners)

    def entered(self) -> None:
        """The page has just been shown."""
        self.setFocus()
        before = self.model
        self._show_models()
        if self.model != before:
            self._model_changed()
        self._show_runs()
        self._estimate_next()  # settings may be others

    def escape(self) -> None:
        """Esc was pressed while the page is shown."""

    def shut_down(self) -> None:
        """Ask all jobs to stop; `idle` tells when they have."""
        for runner in (self._reader, self._estimator, self._historian, self._recaller):
            runner.drop()
        self.soul_actions.runner.cancel()
        self.pin_actions.runner.cancel()
        self._trainer.cancel()

    def stop_and_wait(self) -> None:
        """Cancel all jobs and block until their threads have ended."""
        for runner in self._runners:
            runner.stop_and_wait()

    def _on_idle(self) -> None:
        if not self.busy:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show()


TAKEN = (".soul", ".u32", ".soul.partial", ".soul.aside", ".soul.pinned", ".soul.steps", ".rejected.jsonl")


def free_soul(path: Path) -> str:
    """`path`, or with a number behind it, such that nothing of a training of that name is there."""
    result, number = str(path), 2
    while any(os.path.exists(result + ending) for ending in TAKEN):
        result, number = f"{path}-{number}", number + 1
    return result
