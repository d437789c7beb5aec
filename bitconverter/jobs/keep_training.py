"""End a training that was stopped before its last step: its best state so far becomes the soul, or the last one where
that is better."""

import time
from dataclasses import dataclass, replace

from bitconverter.format.errors import UserError
from bitconverter.jobs import train_ending, train_state
from bitconverter.jobs.device_word import AUTO, CPU
from bitconverter.jobs.job import Context
from bitconverter.jobs.runs import RunRecord, record_of_killed
from bitconverter.jobs.train import TrainJob, _work_folder
from bitconverter.jobs.train_result import TrainResult
from bitconverter.jobs.train_run import TrainRun


@dataclass(frozen=True)
class KeepTrainingJob:
    """`train`: the job that was stopped, as it was started. The last state is looked at first, if it was not. The work
    folder is removed when the soul is written."""

    train: TrainJob

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> TrainResult:
        """Raises UserError("train-nothing-yet") for one that has not come to a step; else what TrainJob raises."""
        started = time.monotonic()
        work = self.train.work_dir
        if not train_state.present(work) and not (work / train_ending.ENDING).exists():
            raise _nothing_yet(self.train)
        with _work_folder(work):
            ending = train_ending.ended(work, ctx)
            if ending is not None:
                record_of_killed(self.train, ctx, ending)
                return ending.result
            record = RunRecord(self.train, ctx, resumed=True)
            run = TrainRun(_on_what_is_there(self.train), ctx)
            if not run.state.checks:
                raise _nothing_yet(self.train)
            run.look_now()
            record.runs_on(run.state.devices)
            early = run.state.step < self.train.steps
            ending = train_ending.end(run, started, early, patiently=False)
            record.ended(ending)
            return ending.result


def _on_what_is_there(job: TrainJob) -> TrainJob:
    """A card that is gone, or too full by now, is no reason not to keep what was learned."""
    return job if job.device == CPU else replace(job, device=AUTO, gpu_layers=None)


def _nothing_yet(job: TrainJob) -> UserError:
    return UserError(
        "train-nothing-yet",
        f"The training in {job.work_dir} has not come to a step yet, so there is nothing to keep. Let it go on.",
        folder=str(job.work_dir),
    )
