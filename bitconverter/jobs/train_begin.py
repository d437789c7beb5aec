"""Where a training begins: behind the newest saved state that is whole, at a pinned one, or from nothing."""

from dataclasses import asdict, dataclass

from bitconverter.format.errors import UserError
from bitconverter.jobs import train_state
from bitconverter.jobs.checkpoints import Checkpoints
from bitconverter.jobs.job import Context, Note
from bitconverter.jobs.learners import Learner
from bitconverter.jobs.pinned import check_fits, damaged, of_another, read_pin
from bitconverter.jobs.train_settings import TrainSettings
from bitconverter.jobs.train_state import State
from bitconverter.model.block_trainer import BlockTrainer


@dataclass(frozen=True)
class Beginning:
    """`key`: of what the run is made from (train_state.run_key()). The learner gets what the state kept of it."""

    job: TrainSettings
    ctx: Context
    key: str
    checkpoints: Checkpoints
    trainer: BlockTrainer
    learner: Learner

    def state(self) -> State:
        """Raises UserError: "lesson-changed", "pin-damaged", "pin-other", "pin-settings", "pin-steps"."""
        start = self.trainer.start(self.job.seed)
        for step in self.checkpoints.steps():
            state = self._saved(step)
            if state is None:
                self.ctx.emit(Note("checkpoint-bad", {"name": self.checkpoints.set_aside(step)}))
                continue
            if state.key != self.key:
                raise UserError(
                    "lesson-changed",
                    f"The model, the lesson or this program has changed since the unfinished training in "
                    f"{self.job.work_dir} began. Remove that folder to start again from the beginning.",
                    folder=str(self.job.work_dir),
                )
            if state.step or state.checks:
                self._tell_going_on("resumed-training", state)
            return state
        return self._pinned() if self.job.begin else State(self.key, start, start.copy())

    def _pinned(self) -> State:
        path = self.job.begin
        files = read_pin(path)
        check_fits(path, files, asdict(self.job))
        state = self._parsed(files)
        if state is None:
            raise damaged(path)
        if state.key != self.key:
            raise of_another(path)
        state.seconds = 0.0  # of another training
        self._tell_going_on("began-at-pin", state)
        return state

    def _tell_going_on(self, code: str, state: State) -> None:
        self.ctx.emit(Note(code, {"step": state.step}))
        self.ctx.emit(train_state.told(self.job.work_dir, state.losses, state.checks))

    def _saved(self, step: int) -> State | None:
        files = self.checkpoints.load(step)
        return None if files is None else self._parsed(files)

    def _parsed(self, files: dict[str, bytes]) -> State | None:
        if train_state.STATE not in files:
            return None
        try:
            state, learner = train_state.parse(files[train_state.STATE], self.trainer.size)
            self.learner.restore(learner)
        except (ValueError, KeyError):
            return None
        return state
