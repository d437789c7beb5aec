"""What comes before the first step of a training: is there memory, on what do the steps run, and what comes into the
layers that learn, computed once for all windows."""

from dataclasses import asdict, replace

from bitconverter.jobs import train_state
from bitconverter.jobs.eco import tell_blindness
from bitconverter.jobs.eta import Eta
from bitconverter.jobs.job import Metric, Note, Progress
from bitconverter.jobs.learners import mezo_of
from bitconverter.jobs.train_work import TrainWork
from bitconverter.jobs.training_device import choose_training_device, lift_what_is_before, ran_on
from bitconverter.jobs.training_memory import Load, check_memory, room_to_keep, training_bytes


def place(work: TrainWork) -> None:
    """Find out whether there is memory, and on what it is to run; what it has run on so far is in the state, and
    saved. Raises what choose_training_device() does, UserError("train-memory"), Cancelled."""
    job, trainer, info = work.job, work.trainer, work.stack.info
    load = _load(work)
    needed = training_bytes(info, load)
    check_memory(needed)
    trainer.together = load.replicas
    whole = trainer.trained.start == 0
    # gains, and the last layers alone, are for who has little memory
    if job.engine == "exact" and job.adapter != "gain" and whole:
        trainer.keep = room_to_keep(info, load, needed)
    work.ctx.emit(Metric("memory", work.state.step, needed + trainer.keep))
    _choose_device(work, load)
    tell_blindness(work.ctx, work.manners)
    _look_at_prefix(work)
    _keep_in_mind_where(work)


def write_prefix(work: TrainWork) -> None:
    """The hidden states of all windows, made once."""
    lesson, prefix = work.lesson, work.prefix
    if prefix.ready:
        return
    eta = Eta(prefix.windows, len(lesson))
    with prefix.making() as made:
        while made.windows < len(lesson):
            if work.give_way(made.mark):
                eta = Eta(made.windows, len(lesson))
            part = slice(made.windows, made.windows + work.together)
            tokens = lesson.tokens[part]
            states = work.trainer.batch(tokens, lesson.targets[part], work.cancel).hidden
            made.add(states, len(tokens))
            done = made.windows
            work.ctx.emit(Progress(done, len(lesson), "window", "prefix", eta.update(done)))
            if work.save_due():
                made.mark()
                work.saved_now()
    work.trainer.before = None
    work.stack.let_go()  # of the layers that do not learn


def _load(work: TrainWork) -> Load:
    job, lesson = work.job, work.lesson
    step = lesson.longest_step()
    replicas = 1
    if job.engine == "mezo":
        replicas = min(mezo_of(job, work.trainer).looks, work.trainer.most_together(step))
    return Load(
        job.layers, step, lesson.window, work.trainer.size, lesson.tokens.size,
        len(job.labels) or work.stack.info.vocab_size, job.engine,
        replicas,
    )  # fmt: skip


def _choose_device(work: TrainWork, load: Load) -> None:
    tokens = max(load.tokens, work.tokens_outside())
    placed = choose_training_device(
        work.trainer, work.asked, tokens, load.replicas, work.job.engine == "exact"
    )
    work.placed = placed
    fields = {
        "where": placed.where,
        "code": placed.code,
        "bytes": placed.weight_bytes,
        "head": placed.head,
    }
    work.ctx.emit(Note("train-device", {**placed.told(), **fields}))


def _look_at_prefix(work: TrainWork) -> None:
    """How far it is; what is missing of it will be computed on a card too."""
    found = work.prefix.look(work.cancel.check)
    if found.damaged:
        work.ctx.emit(Note("prefix-bad", {"windows": found.windows}))
    if not work.prefix.ready:
        if found.windows:
            fields = {"windows": found.windows, "all": len(work.lesson)}
            work.ctx.emit(Note("prefix-goes-on", fields))
        lift_what_is_before(work.trainer, work.placed, work.asked, work.tokens_outside())


def _keep_in_mind_where(work: TrainWork) -> None:
    """Sums come in another order on another device: who goes on there is told, and finds it in the state."""
    state, prefix = work.state, work.prefix
    now = ran_on(work.placed, work.trainer, made_before=prefix.ready)
    if state.devices and now.before == -1:  # nothing is computed there any more
        now = replace(now, before=state.devices[-1].before)
    begun = state.step or state.checks or state.checking
    if state.devices and not begun and (not prefix.windows or now.before == state.devices[-1].before):
        state.devices.pop()  # nothing depends on it yet
    if state.devices and now.differs(state.devices[-1]):
        fields = {"before": asdict(state.devices[-1]), "now": asdict(now)}
        work.ctx.emit(Note("train-device-changed", fields))
    if not state.devices or now.differs(state.devices[-1]):
        state.devices.append(now)
        work.save()
    elif not train_state.present(work.job.work_dir):  # it begins at a pinned state
        work.save()
