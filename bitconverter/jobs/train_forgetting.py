"""What a training has cost: the loss on a general text that has nothing to do with the lesson, before and after."""

import hashlib

from bitconverter.format.soul_file import Adapters
from bitconverter.jobs.general_looks import GeneralLooks
from bitconverter.jobs.job import Progress
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_work import TrainWork


def look_for_forgetting(work: TrainWork, made: Adapters) -> Forgetting:
    """With `made`, the best state, on the model and without it. Window for window, each kept."""
    work.stack.let_go()  # what follows maps the file once more
    work.stack.engine.let_go()
    looks = GeneralLooks(work.job.work_dir, _key(work))

    def between() -> None:
        looks.save()
        work.give_way()

    work.give_way()
    model = work.asking.model
    model.wear(Adapters())
    work.ctx.emit(Progress(0, 2, "look", "general"))
    before = after = model.general_loss(work.cancel, looks.before, between)
    if work.state.best_step > 0:
        work.ctx.emit(Progress(1, 2, "look", "general"))
        model.wear(made)
        after = model.general_loss(work.cancel, looks.after, between)
    return Forgetting(before, after, work.job.forget_limit)


def _key(work: TrainWork) -> str:
    """Of the model as it was and as it has become."""
    return f"{work.key} {hashlib.sha256(work.state.best.tobytes()).hexdigest()}"
