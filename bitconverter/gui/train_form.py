"""The form of the train page: which model learns, from what, what it should learn and how thoroughly."""

import dataclasses
import os
from enum import Enum, auto
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer

from bitconverter import paths
from bitconverter.gui.choose import choose_folder
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import error_text, format_duration, format_size, language, tr
from bitconverter.gui.model_bar import existing_models
from bitconverter.gui.page import Shell
from bitconverter.gui.source_card import remember_folder, start_folder
from bitconverter.gui.train_layout import MOST_LAYERS, TrainLayout
from bitconverter.jobs.converted_folder import is_converted
from bitconverter.jobs.eco import some_cores
from bitconverter.jobs.estimate_training import EstimateTrainingJob, TrainingEstimate
from bitconverter.jobs.job import Event, Failed, Finished
from bitconverter.jobs.lesson_facts import facts_training
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.prepare_result import PrepareResult
from bitconverter.jobs.train import TrainJob
from bitconverter.jobs.train_settings import TrainSettings, usual_rate
from bitconverter.settings import storable

FACTS = "facts"  # of the aims: with dreams of the texts
WINDOW = 512  # tokens; examples take no more than they need
PATIENCE = 5  # of the ten looks at what is held back: after so many without a gain there is none to come
SECONDS = {"short": 30 * 60.0, "night": 7 * 3600.0}
PREVIEWS = 20
FEW_ROWS = 50
TYPING = 600  # milliseconds behind the last change of a number, before it is tried


class State(Enum):
    """Where the page stands."""

    FORM = auto()  # something is missing, is being read, or all is ready
    WORKING = auto()
    PAUSED = auto()
    DONE = auto()


class TrainForm(TrainLayout):
    """`paths`: what was chosen; `result`: what was found in it, None while that is not known; `estimates`: how long it
    would take, by the training that was tried (_tried())."""

    ESTIMATES = True  # tries some steps for each material, which takes its time; most tests do without

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell.settings)
        self._shell = shell
        self.state = State.FORM
        self.paths: list[str] = []
        self.result: PrepareResult | None = None
        self.estimates: dict[TrainJob, TrainingEstimate] = {}
        self._trying: TrainJob | None = None  # is being tried
        self._untried: set[TrainJob] = set()  # those that gave no estimate
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(TYPING)
        self._soon.timeout.connect(self._estimate_next)
        self._mend = self._dreams = False  # what the material was read with
        # what of the training suits a model that is to know what its material says; {}: it is not, or of rows
        self._facts: dict[str, Any] = {}
        self._usual_rate = self.rate.value()
        self._aim_chosen = False  # by the user: then the material does not choose it any more
        self._reader, self._estimator = JobRunner(self), JobRunner(self)
        self._reader.happened.connect(self._on_read)
        self._estimator.happened.connect(self._on_estimate)
        self.material.added.connect(self.add_material)
        self.material.removed.connect(self._remove)
        self.material.sample.connect(self.take_sample)
        self.material.mend_wanted.connect(self._mend_rows)
        self.models.activated.connect(lambda _: self._model_chosen())
        self.model_button.clicked.connect(self._ask_model)
        self.convert_button.clicked.connect(lambda: shell.page_wanted.emit("convert"))
        self.aims.changed.connect(self._choose_aim)
        self.strengths.choose(self._settings["train_strength"])
        self.steps.setValue(self._settings["train_steps"])
        self.strengths.changed.connect(lambda _: self._strength_changed())
        self.steps.valueChanged.connect(lambda _: self._strength_changed())
        self.rate.valueChanged.connect(lambda _: self._show())
        self.layers.valueChanged.connect(lambda _: self._numbers_changed())
        self.engine.currentIndexChanged.connect(lambda _: self._engine_changed())
        self._show_models()

    def _again(self) -> None:
        """Back to the form, with what is in it."""
        self.taught.show_taught(None)
        self.samples.clear()
        self.state, self._aim_chosen = State.FORM, False
        self._estimate_next()
        self._show()

    # ---- the model that learns

    def _show_models(self, chosen: str = "") -> None:
        """The converted models that are known, the newest first; the one that was taught last is chosen."""
        known = dict.fromkeys([*existing_models(self._settings), *self._settings["shelf_models"]])
        folders = [folder for folder in known if is_converted(Path(folder))]
        chosen = chosen or self.model or self._settings["train_model"]
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
            self._shell.say(partial(tr, "train-not-converted", name=Path(folder).name))
            return
        self._show_models(folder)
        self._model_chosen()

    def _ask_model(self) -> None:
        path = choose_folder(self, tr("train-model-title"), start_folder(self._settings))
        if path:
            remember_folder(self._settings, path)
            self.choose_model(str(Path(path)))

    def _model_chosen(self) -> None:
        """By the user: it is remembered, here and on the shelf."""
        if storable(self.model):
            self._settings["train_model"] = self.model
        self._remember_things(self.model)
        self._model_changed()

    def _remember_things(self, *paths: str) -> None:
        """Models and souls that the shelf shows from now on."""
        self._settings.add_shelf_models(*map(os.path.abspath, paths))
        self._shell.to_save.emit()

    def _model_changed(self) -> None:
        self.layers.setMaximum(MOST_LAYERS)
        self._read()

    # ---- material

    def add_material(self, paths: list[str]) -> None:
        """Files and folders to learn from; a converted model among them is the one that learns."""
        if self.state in (State.WORKING, State.PAUSED):
            self._shell.say(partial(tr, "train-busy"))
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
        """Of what was found to be of use."""
        apart = {each.path for each in self.result.apart} if self.result else set()
        used = tuple(path for path in self.paths if str(Path(path)) not in apart)
        return PrepareJob(
            self.model,
            used,
            out,
            window=WINDOW,
            mend=self._mend,
            preview=previews,
            apart=self.result is None,
            facts=self.aims.choice == FACTS,
            threads=self._settings["threads"],
        )

    def _read(self) -> None:
        """Look at the material anew."""
        self.result, self._facts = None, {}
        self.estimates.clear()
        self._untried.clear()
        self._drop_estimate()
        self.problem.clear()
        self.material.show_paths(self.paths, bool(self.model))
        if self.paths and self.model:
            self._dreams = self.aims.choice == FACTS
            self._reader.start(self._prepare_job(previews=PREVIEWS))
        else:
            self._mend = self._mend and bool(self.paths)
            self._reader.drop()
        self._show()

    def _on_read(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.result = event.result
            self._facts = facts_training(Path(self.model)) if event.result.dreams else {}
            self.material.show_result(event.result)
            if not self._aim_chosen:
                self.aims.choose(
                    "sort" if event.result.labels else "answers" if event.result.examples else "style"
                )
                if self._dreams:  # of the training before
                    self._read()
                    return
            self._follow_rate()
            self._estimate_next()
        elif isinstance(event, Failed):
            self.material.show_error(error_text(event.error))
        self._show()

    def _tried(self, custom: bool) -> TrainJob:
        """The training as it is tried, of the own numbers or of the usual ones: all of it that changes time or memory,
        and nothing else."""
        job = self._surrounded(self._job_of("", "", 1, custom))
        return dataclasses.replace(
            job, rate=None, batch=TrainSettings.batch, samples=(), history="", eco=False, away=0.0
        )

    @property
    def estimate(self) -> TrainingEstimate | None:
        """Of the usual numbers, which all but the expert's use."""
        return self.estimates.get(self._tried(custom=False))

    @property
    def own_estimate(self) -> TrainingEstimate | None:
        """Of the expert's numbers."""
        return self.estimates.get(self._tried(custom=True))

    def _strength_changed(self) -> None:
        self._settings["train_strength"] = self.strengths.choice
        self._settings["train_steps"] = self.steps.value()
        self._show()

    def _engine_changed(self) -> None:
        self._follow_rate(anew=True)
        self.problem.clear()
        self._estimate_next()

    def _follow_rate(self, anew: bool = False) -> None:
        """The usual one of what is to be learned, unless the user has chosen another (`anew`: then too)."""
        job = self._job_of("", "", 1, custom=True)
        usual = (self._facts.get("rate") if job.engine == "exact" else None) or usual_rate(job)
        if anew or self.rate.value() == self._usual_rate:
            self.rate.setValue(usual)
        self._usual_rate = usual

    def _numbers_changed(self) -> None:
        """They are tried when nothing more is typed."""
        if self.state is State.FORM:
            self.problem.clear()
            self._soon.start()
        self._show()

    def _drop_estimate(self) -> None:
        self._soon.stop()
        self._trying = None
        self._estimator.drop()

    def _left(self) -> list[TrainJob]:
        """What is to be tried and is not yet."""
        if not (self._usable and self.ESTIMATES and self.state is State.FORM):
            return []
        wanted = dict.fromkeys([self._tried(custom=False), self._tried(custom=True)])
        return [job for job in wanted if job not in self.estimates and job not in self._untried]

    def _estimate_next(self) -> None:
        """Try what is chosen and not tried yet."""
        left = self._left()
        if self._trying is not None and self._trying not in left:
            self._drop_estimate()
        if left and self._trying is None:
            self._trying = left[0]
            self._estimator.start(EstimateTrainingJob(self._prepare_job(), self._trying))
        self._show()

    def _on_estimate(self, event: Event) -> None:
        tried = self._trying
        if tried is None or not isinstance(event, Finished | Failed):
            return
        self._trying = None
        if isinstance(event, Finished):
            found = event.result
            self.estimates[tried] = self.estimates[dataclasses.replace(tried, layers=found.layers)] = found
            if found.layers < tried.layers:  # the model has no more
                self.layers.setMaximum(found.layers)
        else:
            self._untried.add(tried)
            self.problem.show_error(error_text(event.error))
        self._estimate_next()

    @property
    def _usable(self) -> bool:
        """Whether there is something to learn from and something to check with."""
        return self.result is not None and self.result.used > 0 and self.result.entries > 1

    # ---- what is shown

    def _show(self) -> None:
        form = self.state is State.FORM
        self.form.setVisible(form)
        self.footer.setVisible(form and bool(self.paths))
        # A short text alone is too little to sound like, and enough to be asked for. While it is dreamt of, and where
        # that cannot be, another aim can be chosen.
        used = self.result is not None and self.result.used > 0
        self.aim_part.setVisible(used or (self.result is None and self._dreams))
        self.strength_part.setVisible(self._usable)
        self.custom.setVisible(self.strengths.choice == "custom")
        self.train_button.setEnabled(self._usable and self._steps() > 0)
        self.console.setVisible(bool(self.console.text()))
        self._show_advice()
        self._show_strengths()
        self._summarise()

    def _choose_aim(self, name: str) -> None:
        self._aim_chosen = True
        if (name == FACTS) != self._dreams:  # the model will see other rows
            self._read()
        self._follow_rate()
        self._estimate_next()

    def _show_advice(self) -> None:
        if self.result is None:
            return
        result, aim = self.result, self.aims.choice
        words = ", ".join(label.strip() for label in result.labels[:6])
        if aim == "answers" and not result.examples:
            parts = [tr("advice-answers-texts")]
        elif aim == "sort" and not result.labels:
            parts = [tr("advice-sort-no")]
        elif aim == FACTS and not result.texts:
            parts = [tr("advice-facts-rows")]
        elif aim == FACTS and not result.dreams:
            parts = [tr("advice-facts-none")]
        elif aim == FACTS and result.dreams_cut:
            parts = [tr("advice-facts-cut", count=result.dreams)]
        else:
            parts = [tr(f"advice-{aim}", labels=words)]
        if result.examples and result.used < FEW_ROWS:
            parts.append(tr("advice-few", count=result.used))
        self.advice.setText(("" if language() == "ja" else " ").join(parts))

    def _show_strengths(self) -> None:
        found, cards = self.estimate, self.strengths.cards
        for name, seconds in SECONDS.items():
            steps = found.steps_in(seconds) if found else 0
            cards[name].show_fact(
                tr("strength-fact", steps=steps, time=format_duration(found.seconds(steps))) if found else ""
            )
        own, left = self.own_estimate, self._left()
        measuring = tr("strength-measuring") if self._tried(custom=True) in left else ""
        cards["custom"].show_fact(
            tr("strength-time", time=format_duration(own.seconds(self.steps.value()))) if own else measuring
        )
        self.about_mezo.setVisible(self.engine.currentData() == "mezo")
        custom = self.strengths.choice == "custom"
        self._show_measured(own if custom else found, self._tried(custom) in left)

    def _show_measured(self, found: TrainingEstimate | None, trying: bool) -> None:
        """What was found of the chosen strength; None: nothing yet, and `trying`: something will be."""
        self.memory.setVisible(found is not None)
        if found is None:
            self.honest.setText(tr("strength-trying") if trying else "")
            return
        sizes = {"needed": format_size(found.memory), "free": format_size(found.free)}
        self.memory.setText(tr("strength-memory", **sizes))
        if found.seconds(found.useful) <= SECONDS["short"]:
            self.honest.setText(
                tr(
                    "strength-enough-facts" if self._facts else "strength-enough",
                    steps=found.useful,
                    passes=found.passes,
                    time=format_duration(found.seconds(found.useful)),
                )
            )
        else:
            self.honest.setText(tr("strength-honest", seconds=f"{found.step:.2g}"))

    def _summarise(self) -> None:
        if self.result is None:
            reading = "train-unreadable" if self.material.notice.text() else "material-reading"
            self.summary.set_text(tr(reading) if self.model else tr("train-needs-model"))
        elif not self._usable:
            few = self.result.texts and not self.result.examples
            self.summary.set_text(tr("train-too-little-text" if few else "train-too-little"))
        else:
            name = Path(self.model).name
            key = "train-summary-facts" if self.result.dreams else "train-summary"
            self.summary.set_text(
                tr(
                    key,
                    count=self.result.used,
                    dreams=self.result.dreams,
                    name=name,
                    steps=self._steps() or "…",
                )
            )

    def _steps(self) -> int:
        """The steps of the chosen strength; 0 while they are not known."""
        if self.strengths.choice == "custom":
            return self.steps.value()
        return self.estimate.steps_in(SECONDS[self.strengths.choice]) if self.estimate else 0

    def _train_job(self, pack: str, out: str, steps: int) -> TrainJob:
        """The training that the form says."""
        found, custom = self.estimate, self.strengths.choice == "custom"
        job = self._job_of(pack, out, steps, custom)
        if found is not None:
            job = dataclasses.replace(job, batch=found.batch)
            if not custom:
                job = dataclasses.replace(job, layers=found.layers)
        return self._surrounded(job)

    def _job_of(self, pack: str, out: str, steps: int, custom: bool) -> TrainJob:
        """`custom`: with the expert's numbers."""
        job = TrainJob(self.model, pack, out, steps=steps, window=WINDOW, patience=PATIENCE)
        job = dataclasses.replace(job, **self._facts)
        if custom:
            job = dataclasses.replace(
                job, layers=self.layers.value(), rate=self.rate.value(), engine=self.engine.currentData()
            )
        if self.aims.choice == "sort" and self.result is not None:
            job = dataclasses.replace(job, labels=self.result.labels)
        return job

    def _surrounded(self, job: TrainJob) -> TrainJob:
        """With what the page says and what does not change the result."""
        asked = [text for field in self.questions if (text := field.text().strip()) and storable(text)]
        samples = tuple(dict.fromkeys(asked))
        return dataclasses.replace(
            job, threads=self._settings["threads"], samples=samples, history=str(paths.runs_file()),
            eco=self._settings["train_eco"], away=float(self._settings["train_away"]),
            cores=some_cores(self._settings["train_cores"]), device=str(self._settings["device"]),
        )  # fmt: skip
