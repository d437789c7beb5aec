"""Train: material, aim and strength become a PrepareJob and a TrainJob; then the curves, and what came of it."""

import dataclasses
import os
import re
from enum import Enum, auto
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog

from bitconverter.gui.activity import Activity, Work
from bitconverter.gui.dropping import is_converted
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, format_duration, language, note_text, tr
from bitconverter.gui.model_bar import existing_models
from bitconverter.gui.page import Shell
from bitconverter.gui.source_card import remember_folder, start_folder
from bitconverter.gui.target_card import free_out
from bitconverter.gui.taught_view import Taught
from bitconverter.gui.train_layout import TrainLayout
from bitconverter.gui.trash import move_to_trash, take_back
from bitconverter.gui.unfinished_training import is_work_folder, recall, remember
from bitconverter.jobs.compare_answers import CompareAnswersJob
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.job import Event, Failed, Finished, Metric, Note, Progress, Stopped
from bitconverter.jobs.keep_training import KeepTrainingJob
from bitconverter.jobs.merge import MergeJob, MergeResult
from bitconverter.jobs.prepare import PrepareJob, PrepareResult
from bitconverter.jobs.train import TrainJob

if TYPE_CHECKING:
    from bitconverter.gui.train_card import TrainCard

WINDOW = 512  # tokens; examples take no more than they need
SECONDS = {"short": 30 * 60.0, "night": 7 * 3600.0}
PREVIEWS = 20
FEW_ROWS = 50
_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


class State(Enum):
    """Where the page stands."""

    FORM = auto()  # something is missing, is being read, or all is ready
    WORKING = auto()
    PAUSED = auto()
    DONE = auto()


class TrainPage(TrainLayout):
    """`idle`: its last thread has ended; `taught_model`: a folder that was made to chat with."""

    ESTIMATES = True  # tries some steps for each material, which takes its time; most tests do without
    idle = Signal()
    to_save = Signal()

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell.settings)
        self._shell = shell
        self.state = State.FORM
        self.paths: list[str] = []
        self.result: PrepareResult | None = None
        self.estimate: TrainingEstimate | None = None
        self._mend = False
        self._aim_chosen = False  # by the user: then the material does not choose it any more
        self._job: TrainJob | None = None
        self._activity: Activity | None = None
        self._ending = ""  # what Stopped will mean: "pause", "keep", or "" at closing
        self._reader, self._estimator, self._trainer, self._merger = (JobRunner(self) for _ in range(4))
        self._connect()
        self._show_models()
        self._take_up()
        self._show()

    def _connect(self) -> None:
        for runner, listener in (
            (self._reader, self._on_read), (self._estimator, self._on_estimate), (self._trainer, self._on_train),
            (self._merger, self._on_merge),
        ):  # fmt: skip
            runner.happened.connect(listener)
            runner.idle.connect(self._on_idle)
        self._shell.pause_wanted.connect(self.pause)
        self.material.added.connect(self.add_material)
        self.material.removed.connect(self._remove)
        self.material.sample.connect(self.take_sample)
        self.material.mend_wanted.connect(self._mend_rows)
        self.models.activated.connect(lambda _: self._model_changed())
        self.model_button.clicked.connect(self._ask_model)
        self.convert_button.clicked.connect(lambda: self._shell.page_wanted.emit("convert"))
        self.aims.changed.connect(self._choose_aim)
        self.strengths.changed.connect(lambda _: self._show())
        for field in (self.steps, self.layers, self.rate):
            field.valueChanged.connect(lambda _: self._show())
        self.train_button.clicked.connect(self.train)
        self.taught.use.connect(self.use)
        self.taught.compare.connect(self.compare)
        self.taught.undo.connect(self.undo)
        self.taught.renamed.connect(self._rename)
        self.taught.again.connect(self._again)

    def _connect_card(self, card: "TrainCard") -> None:
        card.pause.connect(self.pause)
        card.resume.connect(self.resume)
        card.keep.connect(self.keep)
        card.discard.connect(self.discard)

    # ---- the model that learns

    def _show_models(self, chosen: str = "") -> None:
        """The converted models that are known, the newest first."""
        known = dict.fromkeys([*existing_models(self._settings), *self._settings["shelf_models"]])
        folders = [folder for folder in known if is_converted(Path(folder))]
        chosen = chosen or self.model
        if chosen and chosen not in folders and is_converted(Path(chosen)):
            folders.insert(0, chosen)
        self.models.clear()
        for folder in folders:
            self.models.addItem(Path(folder).name, folder)
            self.models.setItemData(self.models.count() - 1, folder, 3)  # the tool tip
        if chosen in folders:
            self.models.setCurrentIndex(folders.index(chosen))
        self.models.setVisible(bool(folders))
        self.no_model.setVisible(not folders)
        self.convert_button.setVisible(not folders)

    @property
    def model(self) -> str:
        """The folder of the model that learns, "" for none."""
        return str(self.models.currentData() or "")

    def choose_model(self, folder: str) -> None:
        """Let the model in `folder` learn, if it is a converted one."""
        if not is_converted(Path(folder)):
            self._shell.say(tr("train-not-converted", name=Path(folder).name))
            return
        self._show_models(folder)
        self._model_changed()

    def _ask_model(self) -> None:
        path = QFileDialog.getExistingDirectory(self, tr("train-model-title"), start_folder(self._settings))
        if path:
            remember_folder(self._settings, path)
            self.choose_model(str(Path(path)))

    def _model_changed(self) -> None:
        self._read()

    # ---- material

    def add_material(self, paths: list[str]) -> None:
        """Files and folders to learn from; a converted model among them is the one that learns."""
        if self.state in (State.WORKING, State.PAUSED):
            self._shell.say(tr("train-busy"))
            return
        if self.state is State.DONE:
            self._again()
        for path in paths:
            if os.path.isdir(path) and is_converted(Path(path)):
                self.choose_model(path)
            elif path not in self.paths:
                self.paths.append(path)
                remember_folder(self._settings, path)
        self._read()

    def take_sample(self) -> None:
        """Learn from the sample lesson, copied to where the settings are: it can be looked at and changed there."""
        name = f"sample-{language()}.jsonl"
        target = self._settings.path.parent / "lessons" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with as_file(files("bitconverter.resources") / "lessons" / name) as source:
                target.write_bytes(source.read_bytes())
        self.add_material([str(target)])

    def _remove(self, path: str) -> None:
        self.paths.remove(path)
        self._read()

    def _mend_rows(self, wanted: bool) -> None:
        self._mend = wanted
        self._read()

    def _prepare_job(self, out: str = "", previews: int = 0) -> PrepareJob:
        return PrepareJob(
            self.model, tuple(self.paths), out, window=WINDOW, mend=self._mend, preview=previews
        )

    def _read(self) -> None:
        """Look at the material anew."""
        self.result, self.estimate = None, None
        self._estimator.drop()
        self.problem.clear()
        self.material.show_paths(self.paths)
        if self.paths and self.model:
            self._reader.start(self._prepare_job(previews=PREVIEWS))
        else:
            self._mend = self._mend and bool(self.paths)
            self._reader.drop()
        self._show()

    def _on_read(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.result = event.result
            self.material.show_result(event.result)
            if not self._aim_chosen:
                self.aims.choose(
                    "sort" if event.result.labels else "answers" if event.result.examples else "style"
                )
            if self._usable and self.ESTIMATES:
                self._estimator.start(EstimateTrainingJob(self._prepare_job(), self._train_job("", "", 1)))
        elif isinstance(event, Failed):
            self.material.show_error(error_text(event.error))
        self._show()

    def _on_estimate(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.estimate = event.result
            self.layers.setMaximum(max(1, event.result.layers) if event.result.layers < 6 else 1000)
        elif isinstance(event, Failed):
            self.problem.show_error(error_text(event.error))
        self._show()

    @property
    def _usable(self) -> bool:
        """Whether there is something to learn from and something to check with."""
        return self.result is not None and self.result.used > 0 and self.result.entries > 1

    # ---- what is shown

    def _show(self) -> None:
        form = self.state is State.FORM
        self.form.setVisible(form)
        self.footer.setVisible(form and bool(self.paths))
        self.aim_part.setVisible(self._usable)
        self.strength_part.setVisible(self._usable)
        self.custom.setVisible(self.strengths.choice == "custom")
        self.train_button.setEnabled(self._usable and self._steps() > 0)
        self.console.setVisible(bool(self.console.text()))
        self._show_advice()
        self._show_strengths()
        self._summarise()

    def _choose_aim(self, _name: str) -> None:
        self._aim_chosen = True
        self._show()

    def _show_advice(self) -> None:
        if self.result is None:
            return
        result, aim = self.result, self.aims.choice
        words = ", ".join(label.strip() for label in result.labels[:6])
        if aim == "answers" and not result.examples:
            parts = [tr("advice-answers-texts")]
        elif aim == "sort" and not result.labels:
            parts = [tr("advice-sort-no")]
        else:
            parts = [tr(f"advice-{aim}", labels=words)]
        if result.examples and result.used < FEW_ROWS:
            parts.append(tr("advice-few", count=result.used))
        self.advice.setText(" ".join(parts))

    def _show_strengths(self) -> None:
        found, cards = self.estimate, self.strengths.cards
        for name, seconds in SECONDS.items():
            steps = found.steps_in(seconds) if found else 0
            cards[name].show_fact(
                tr("strength-fact", steps=steps, time=format_duration(found.seconds(steps))) if found else ""
            )
        cards["custom"].show_fact(
            tr("strength-time", time=format_duration(found.seconds(self.steps.value()))) if found else ""
        )
        if found is None:
            self.honest.setText(tr("strength-trying") if self._estimator.busy else "")
        elif found.seconds(found.useful) <= SECONDS["short"]:
            self.honest.setText(
                tr("strength-enough", steps=found.useful, time=format_duration(found.seconds(found.useful)))
            )
        else:
            self.honest.setText(tr("strength-honest", seconds=f"{found.step:.2g}"))

    def _summarise(self) -> None:
        if self.result is None:
            self.summary.set_text(tr("train-needs-model") if not self.model else tr("material-reading"))
        elif not self._usable:
            self.summary.set_text(tr("train-too-little"))
        else:
            name = Path(self.model).name
            self.summary.set_text(
                tr("train-summary", rows=self.result.used, name=name, steps=self._steps() or "…")
            )

    def _steps(self) -> int:
        """The steps of the chosen strength; 0 while they are not known."""
        if self.strengths.choice == "custom":
            return self.steps.value()
        return self.estimate.steps_in(SECONDS[self.strengths.choice]) if self.estimate else 0

    # ---- the training

    def _train_job(self, pack: str, out: str, steps: int) -> TrainJob:
        custom = self.strengths.choice == "custom"
        found, result = self.estimate, self.result
        layers = self.layers.value() if custom or found is None else found.layers
        job = TrainJob(self.model, pack, out, layers=layers, steps=steps, window=WINDOW)
        if found is not None:
            job = dataclasses.replace(job, batch=found.batch)
        if custom:
            job = dataclasses.replace(job, rate=self.rate.value())
        if self.aims.choice == "sort" and result is not None:
            job = dataclasses.replace(job, labels=result.labels)
        return dataclasses.replace(job, threads=self._settings["threads"])

    def train(self) -> None:
        """Begin what the form says: first the pack is written, then the model learns from it."""
        if not self._usable or not self._steps():
            return
        self._estimator.drop()
        folder = Path(self._settings["output_folder"] or Path(self.model).parent)
        out = free_soul(folder / f"{Path(self.model).name}-{self.aims.choice}")
        self._job = self._train_job(f"{out}.u32", f"{out}.soul", self._steps())
        self.taught.show_taught(None)
        self.console.say(tr("log-preparing", rows=self.result.used if self.result else 0))
        self._begin()
        self._trainer.start(self._prepare_job(self._job.lesson))

    def resume(self) -> None:
        """Go on where it was."""
        if self._job is not None and self.state is State.PAUSED:
            self.console.say(tr("log-resumed"))
            self._begin()
            prepared = os.path.exists(self._job.lesson) or not self.paths  # else it was paused before
            self._trainer.start(self._job if prepared else self._prepare_job(self._job.lesson))

    def _begin(self) -> None:
        assert self._job is not None
        name = Path(self._job.out).stem
        self.state, self._ending = State.WORKING, ""
        self.problem.clear()
        self.card.begin(name)
        activities = self._shell.activities
        if self._activity is None:
            self._activity = activities.begin("train", name, "train")
        else:
            activities.turn(self._activity, Work.RUNNING)
        remember(self._settings, self._job)
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
                self.console.say(tr("log-check", step=event.step, value=f"{event.value:.4f}"))
        elif isinstance(event, Note) and event.code not in ("row-rejected", "file-read"):
            self.console.say(note_text(event))
        elif isinstance(event, Finished) and isinstance(event.result, PrepareResult):
            assert self._job is not None
            if self._ending:  # paused before it began
                self._paused()
            else:
                self._trainer.start(self._job)
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Stopped):
            self._stopped()
        elif isinstance(event, Failed):
            self._failed(event)
        self.console.setVisible(bool(self.console.text()))

    def _on_progress(self, event: Progress) -> None:
        if self.card.phase == "preparing" and event.unit == "step":
            self.card.show_phase("running")
        self.card.show_progress(
            event.done, event.total, event.unit if event.unit == "step" else "", event.eta
        )
        if self._activity is not None:
            self._shell.activities.happened(self._activity, dataclasses.replace(event, item=""))

    def _finished(self, event: Finished) -> None:
        job, result = self._job, event.result
        assert job is not None
        self._over(Work.DONE)
        self.state = State.DONE
        seconds = result.seconds
        if self._activity is not None:
            seconds = self._activity.ended - self._activity.started
        self._activity = None
        self.taught.show_taught(
            Taught(
                result.out,
                job.model,
                result.before,
                result.after,
                result.best_step,
                result.steps,
                seconds,
                job.lesson,
            )
        )
        self.taught.show_curves(self.card.plot.losses, self.card.plot.checks)
        self.console.say(tr("log-taught", soul=result.out))
        self._show()

    def _stopped(self) -> None:
        if self._ending == "keep" and self._job is not None and is_work_folder(str(self._job.work_dir)):
            self._ending = ""
            self._trainer.start(KeepTrainingJob(self._job))
        else:
            self._paused()

    def _paused(self) -> None:
        self.state, self._ending = State.PAUSED, ""
        self.card.show_paused(None)
        if self._activity is not None:
            self._shell.activities.turn(self._activity, Work.PAUSED)
        self.console.say(tr("log-paused"))
        self._show()

    def _failed(self, event: Failed) -> None:
        problem = error_text(event.error)
        self.console.say(problem.text)
        if self._activity is not None:
            self._shell.activities.happened(self._activity, event)
            self._activity = None
        if self._job is not None and is_work_folder(str(self._job.work_dir)):
            self.state = State.PAUSED
            self.card.show_paused(problem)
        else:
            self._over(Work.FAILED)
            self.state = State.FORM
            self.problem.show_error(problem)
        self._show()

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
        self._over(Work.STOPPED)
        self._activity, self._job, self.state = None, None, State.FORM
        self._show()

        def undo() -> None:
            if thing is not None and take_back(thing):
                remember(self._settings, job)
                self._take_up()
                self._show()

        text = tr("deleted", name=Path(folder).name)
        self._shell.say(text, tr("undo") if thing is not None and thing.can_return else "", undo)

    def _take_up(self) -> None:
        """A training that was under way when the program ended waits to go on."""
        job = recall(self._settings)
        if job is None:
            return
        self._job, self.state = job, State.PAUSED
        self.card.begin(Path(job.out).stem)
        self.card.show_paused(None, "interrupted")
        self._activity = self._shell.activities.begin("train", Path(job.out).stem, "train")
        self._shell.activities.turn(self._activity, Work.PAUSED)

    # ---- what came of it

    def use(self) -> None:
        """Write the soul into a copy of the model, and chat with that."""
        taught = self.taught.taught
        if taught is None or self._merger.busy:
            return
        out = free_out(str(Path(taught.model).parent / Path(taught.soul).stem))
        self.taught.show_busy("use")
        self._merger.start(MergeJob(taught.model, taught.soul, out))

    def compare(self) -> None:
        """Let the model answer rows that were held back, as it was and as it is now."""
        taught = self.taught.taught
        if taught is None or self._merger.busy:
            return
        self.taught.show_busy("compare")
        job = CompareAnswersJob(taught.model, taught.soul, taught.lesson, threads=self._settings["threads"])
        self._merger.start(job)

    def _on_merge(self, event: Event) -> None:
        if not isinstance(event, Finished | Failed | Stopped):
            return
        self.taught.show_busy("")
        if isinstance(event, Finished) and isinstance(event.result, MergeResult):
            self._shell.model_wanted.emit(event.result.out)
        elif isinstance(event, Finished):
            self.taught.show_answers(event.result)
        elif isinstance(event, Failed):
            self.taught.show_error(error_text(event.error))

    def undo(self) -> None:
        """The soul goes to the bin: the model was never changed."""
        taught = self.taught.taught
        if taught is None:
            return
        thing = move_to_trash(taught.soul)
        if thing is None:
            self._shell.say(tr("delete-failed", path=taught.soul))
            return
        self._again()

        def back() -> None:
            if take_back(thing):
                self.state = State.DONE
                self.taught.show_taught(taught)
                self._show()

        self._shell.say(
            tr("deleted", name=Path(taught.soul).name), tr("undo") if thing.can_return else "", back
        )

    def _rename(self, name: str) -> None:
        taught = self.taught.taught
        if taught is None:
            return
        path = Path(taught.soul).with_name(_NOT_IN_NAMES.sub("_", name) + ".soul")
        try:
            if path.exists():
                raise FileExistsError(17, "", str(path))
            os.rename(taught.soul, path)
        except OSError as error:
            reason = tr("taught-name-taken") if isinstance(error, FileExistsError) else str(error.strerror)
            self._shell.say(tr("taught-not-renamed", name=path.name, reason=reason))
            self.taught.retranslate()
            return
        self.taught.show_taught(dataclasses.replace(taught, soul=str(path)))

    def _again(self) -> None:
        self.taught.show_taught(None)
        self._job, self.state, self._aim_chosen = None, State.FORM, False
        self._show()

    # ---- the window

    @property
    def busy(self) -> bool:
        """Whether a thread of this page is alive."""
        return any(runner.busy for runner in (self._reader, self._estimator, self._trainer, self._merger))

    def entered(self) -> None:
        """The page has just been shown."""
        self.setFocus()
        before = self.model
        self._show_models()
        if self.model != before:
            self._model_changed()
        self._show()

    def escape(self) -> None:
        """Esc was pressed while the page is shown."""

    def shut_down(self) -> None:
        """Ask all jobs to stop; `idle` tells when they have."""
        for runner in (self._reader, self._estimator):
            runner.drop()
        self._merger.cancel()
        self._trainer.cancel()

    def stop_and_wait(self) -> None:
        """Cancel all jobs and block until their threads have ended."""
        for runner in (self._reader, self._estimator, self._merger, self._trainer):
            runner.stop_and_wait()

    def _on_idle(self) -> None:
        if not self.busy:
            self.idle.emit()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show()


def free_soul(path: Path) -> str:
    """`path`, or with a number behind it, such that neither a soul, a pack nor a work folder of that name is there."""
    result, number = str(path), 2
    while any(
        os.path.exists(result + ending) for ending in (".soul", ".u32", ".soul.partial", ".rejected.jsonl")
    ):
        result, number = f"{path}-{number}", number + 1
    return result
