"""How long a training would take here, and how much memory: a few steps of it on a part of the lesson, in a folder
that goes away."""

import dataclasses
import itertools
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter.engine import Model
from bitconverter.format.errors import UserError
from bitconverter.format.pack_file import EXAMPLE, Pack, read_pack, write_pack
from bitconverter.jobs.eco import on_cores
from bitconverter.jobs.job import Context, Event, Metric, Note
from bitconverter.jobs.lesson_facts import PASSES
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.prepare import PrepareJob
from bitconverter.jobs.scratch import scratch_folder
from bitconverter.jobs.taught_model import TaughtModel
from bitconverter.jobs.train import TrainJob, check_place, check_settings
from bitconverter.jobs.train_checks import CHECKS, checks_of
from bitconverter.jobs.train_lesson import CHECK_TOKENS, TrainLesson
from bitconverter.jobs.training_disk import Room, room_for
from bitconverter.jobs.training_memory import PER_TOKEN, check_memory, free_bytes
from bitconverter.jobs.work_owner import other_work
from bitconverter.model.lesson_pack import pack_windows
from bitconverter.model.lessons import label_tokens
from bitconverter.model.tokenizer import Tokenizer

TRIED_STEPS = 3
MOST_TRIED = 64  # entries of the lesson that are tried on
MOST_PASSES = 20  # over the lesson: more only memorise it
LEAST_STEPS = 10
LOOKS = 2  # at the general text, without the soul and with it


@dataclass(frozen=True)
class TrainingEstimate:
    """`before`: seconds until the first step; `step`: seconds of one; `check`: of a look at what is held back;
    `general`: of both looks at the general text behind the last step. `windows` are learned from; `useful`: so many
    steps are `passes` over the lesson; `layers`: of the model's, at most what was asked for. `memory`: bytes that it
    is expected to take beside the model, `free`: bytes that are free now. `room`: the same of the disk that the
    soul comes to, None where that is not known."""

    before: float
    step: float
    windows: int
    batch: int
    useful: int
    layers: int
    memory: int
    free: int
    check: float = 0.0
    general: float = 0.0
    room: Room | None = None
    passes: int = MOST_PASSES

    def seconds(self, steps: int) -> float:
        """Of a whole training."""
        return self.before + steps * self.step + self.looks(steps)

    def looks(self, steps: int) -> float:
        """Seconds of all looks behind the first step."""
        return checks_of(steps) * self.check + self.general

    def steps_in(self, seconds: float) -> int:
        """The steps that fit into so many seconds, no more than are useful and no fewer than LEAST_STEPS."""
        left = seconds - self.before - self.looks(CHECKS)
        fit = math.floor(left / max(self.step, 1e-6))
        return max(LEAST_STEPS, min(fit, self.useful))


@dataclass(frozen=True)
class EstimateTrainingJob:
    """`prepare` says what the lesson is made of (its `out` is not used), `train` with which settings (its out and steps
    are not used, nor its lesson; more layers than the model has are all of them). `prepare` None: the lesson of `train`
    and its settings as they are, refused where the training refuses them."""

    prepare: PrepareJob | None
    train: TrainJob

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> TrainingEstimate:
        """Raises what the two jobs raise, "train-memory" for the whole of it as well; Cancelled."""
        # the cores of the training: it is no faster than on them, and refused where they cannot be had
        with on_cores(self.train.cores), scratch_folder() as place:
            if self.prepare is None:
                # refused is what the training refuses, and under the name that the user gave it
                sample, windows, learned, stored = self._of_lesson(ctx)
            else:
                sample, windows, learned = self._of_prepared(ctx, self.prepare, place)
                stored = None
            part = place / "part.u32"
            tried = len(pack_windows(sample, self.train.window).tokens)
            write_pack(part, sample)
            window = min(self.train.window, sample.window)
            checks = min(windows - learned, max(1, CHECK_TOKENS // window))
            share = _Share(windows, tried, window, checks, stored)
            try:
                found = self._measure(ctx, part, learned, share, self.train.layers)
            except UserError as error:
                if error.code != "train-layers" or self.prepare is None:
                    raise
                found = self._measure(ctx, part, learned, share, int(error.fields["most"]))
            check_memory(found.memory)
            if found.room is not None:
                found.room.check()
            return found

    def _of_prepared(self, ctx: Context, prepare: PrepareJob, place: Path) -> tuple[Pack, int, int]:
        """A sample of the lesson, its windows in all and those that are learned from."""
        whole = place / "whole.u32"
        silent = Context(lambda _: None, ctx.cancel)
        dataclasses.replace(prepare, out=str(whole), preview=0).run(silent)
        pack = read_pack(whole, ctx.cancel.check)
        windows = pack_windows(pack, self.train.window)
        return _sample(pack), len(windows.tokens), max(1, int((~windows.held).sum()))

    def _of_lesson(self, ctx: Context) -> tuple[Pack, int, int, tuple[int, int]]:
        """The same of the lesson of `train`, read as the training reads it; and [tokens, hidden] of what comes into the
        layers that learn."""
        job, folder = self.train, Path(self.train.model)
        check_settings(job)
        if taken := other_work(job.work_dir, job):
            raise taken
        check_place(job)
        info = Model(open_engine(job.threads, job.cpu), folder).info
        tokenizer = Tokenizer(folder)
        labels = label_tokens(tokenizer, job.labels)
        lesson = TrainLesson(job, tokenizer, labels, info, ctx.cancel)
        stored = int(lesson.lengths.sum()), info.hidden_size
        return _sample_of_windows(lesson, tokenizer.sha256), len(lesson), lesson.n_learn, stored

    def _measure(
        self, ctx: Context, lesson: Path, windows: int, share: "_Share", layers: int
    ) -> TrainingEstimate:
        """Try it on the part of the lesson in the file `lesson`."""
        moments: list[tuple[str, float]] = []
        memory, checked, parameters = 0, 1, 0

        def listen(event: Event) -> None:
            nonlocal memory, checked, parameters
            if isinstance(event, Metric) and event.name in ("loss", "validation"):
                moments.append((event.name, time.monotonic()))
            elif isinstance(event, Metric) and event.name == "memory":
                memory = round(event.value) + share.more_bytes
            elif isinstance(event, Note) and event.code == "train-began":
                checked, parameters = event.fields["checks"], event.fields["parameters"]

        batch = self.train.batch
        if (
            self.prepare is not None
        ):  # the training gets the batch that is told here: no window twice in a step
            batch = min(batch, windows)
        out = str(lesson.with_name(f"tried-{layers}.soul"))
        job = dataclasses.replace(
            self.train,
            lesson=str(lesson),
            out=out,
            steps=TRIED_STEPS,
            layers=layers,
            batch=batch,
            forget_limit=0.0,
            samples=(),
            history="",
            eco=False,
            away=0.0,
            cores=(),
        )
        began = time.monotonic()
        job.work_dir.mkdir(parents=True, exist_ok=True)
        job.run(Context(listen, ctx.cancel))

        def usual(name: str) -> float:
            """Seconds from the moment before to one of that name."""
            pairs = itertools.pairwise(moments)
            return statistics.median(at - earlier for (_, earlier), (kind, at) in pairs if kind == name)

        passes = PASSES if self.prepare is not None and self.prepare.facts else MOST_PASSES
        useful = max(LEAST_STEPS, math.ceil(passes * windows / batch))
        before = (moments[0][1] - began) * share.times
        room = None if share.stored is None else room_for(self.train, parameters, *share.stored)
        return TrainingEstimate(
            before, usual("loss"), windows, batch, useful, layers, memory, free_bytes(),
            usual("validation") * share.checks / checked, self._general(ctx), room, passes,
        )  # fmt: skip

    def _general(self, ctx: Context) -> float:
        if not self.train.forget_limit:
            return 0.0
        folder = Path(self.train.model)
        engine = open_engine(self.train.threads, self.train.cpu)
        return LOOKS * TaughtModel(engine, folder, Tokenizer(folder)).general_seconds(ctx.cancel)


@dataclass(frozen=True)
class _Share:
    """`tried` of `windows` windows of `window` tokens were tried. `checks`: windows of a look at what is held back.
    `stored`: [tokens, hidden] of all hidden states into the layers that learn, None where that is not known."""

    windows: int
    tried: int
    window: int
    checks: int
    stored: tuple[int, int] | None

    @property
    def times(self) -> float:
        """How much larger the whole is."""
        return max(1.0, self.windows / max(1, self.tried))

    @property
    def more_bytes(self) -> int:
        """Of memory that the whole takes."""
        return max(0, self.windows - self.tried) * self.window * PER_TOKEN


def _spread(count: int, held: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most MOST_TRIED of so many, spread evenly, and the first of those held back if any is."""
    which = np.linspace(0, count - 1, min(count, MOST_TRIED)).round().astype(np.int64)
    return np.unique(np.concatenate([which, held[:1]]))


def _sample_of_windows(lesson: TrainLesson, tokenizer_sha256: str) -> Pack:
    """Some windows of the whole, each as an example of its own."""
    held = np.arange(len(lesson)) >= lesson.n_learn
    which = _spread(len(lesson), np.flatnonzero(held))
    tokens, mask = [], []
    for number in which:
        ids, wanted = (part[number, : lesson.lengths[number]] for part in (lesson.tokens, lesson.targets))
        tokens.append(np.append(ids, wanted[-1]))
        mask.append(np.append(0, wanted >= 0))
    lengths = [len(ids) for ids in tokens]
    return Pack(
        tokens=np.concatenate(tokens).astype(np.uint32), mask=np.concatenate(mask).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64),
        kinds=np.full(len(which), EXAMPLE, np.uint8), held=held[which].astype(np.uint8),
        places=np.zeros((len(which), 2), np.uint32), files=("",), name="tried",
        tokenizer_sha256=tokenizer_sha256, window=lesson.window,
    )  # fmt: skip


def _sample(pack: Pack) -> Pack:
    """Some entries of the whole."""
    which = _spread(len(pack), np.flatnonzero(pack.held))
    parts = [pack.entry(int(number)) for number in which]
    lengths = [len(tokens) for tokens, _ in parts]
    return dataclasses.replace(
        pack,
        tokens=np.concatenate([tokens for tokens, _ in parts]),
        mask=np.concatenate([mask for _, mask in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64),
        kinds=pack.kinds[which], held=pack.held[which], places=pack.places[which],
    )  # fmt: skip
