"""The curves and answers of a training that waits to go on, read from its work folder before it does."""

from dataclasses import dataclass
from pathlib import Path

from bitconverter.jobs import train_state
from bitconverter.jobs.job import Context, Curves


@dataclass(frozen=True)
class SavedCurvesJob:
    """Those of the newest state that is saved in the work folder `folder`: Curves of "loss" and "validation", None
    where there is no state; answers to questions as far as there are any. Nothing is changed, and the parameters are
    not read."""

    folder: str

    @property
    def work_dir(self) -> None:
        return None

    def run(self, ctx: Context) -> Curves | None:
        saved = train_state.checkpoints(Path(self.folder))
        for step in saved.steps():
            ctx.cancel.check()
            found = train_state.curves(saved.place(step) / train_state.STATE)
            if found is not None:
                return train_state.told(Path(self.folder), *found)
        return None
