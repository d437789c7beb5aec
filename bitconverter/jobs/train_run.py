"""One training run: from the lesson to the soul, step by step.

The order of the examples, the checks and the rate depend on the step alone, so a run that was broken off goes on as if
it had not been.

Notes: "train-device" (where, code, bytes, and Placed.told(): what the steps run on, jobs/training_device.py),
"train-device-changed" (before, now: RanOn as a dictionary; it ran on something else until now), "prefix-goes-on"
(windows, all: what comes into the learning layers is there for so many already), "prefix-bad" (windows: behind so many
of them it was damaged, and is computed again),
"train-began" (windows, checks, targets, parameters), "resumed-training" (step), "began-at-pin" (step: of the
pinned state that it goes on from), "checkpoint-bad" (name: one that is damaged was set aside), "train-slower" (step,
rate: the loss was no number or jumped; the best state is taken up again at half the rate), "train-gave-up" (step,
best: it jumped once more, and the run ends with the state after step `best`), "train-plateau" (step,
checks: nothing got better for so long), "train-no-gain" (the model was best as it was), "train-forgot" (before, after,
limit, path: it has forgotten too much of a text that has nothing to do with the lesson, so the soul is kept in `path`
and not under its name), "train-sample" (step, prompt, answer: of the model as it is then, to one of the samples at
every check, or to what was asked of the running job), "sample-failed" (prompt, reason), those of jobs/eco.py (it waits,
it goes on). Curves of "loss" and "validation", where it goes on. Metric("memory", step, bytes): what it is expected to
take beside the mapped model. Metric("loss", step, value) after every step; at every check Metric("validation", step,
value), in nats per learned token, and Metric("accuracy", step, value), the share of windows that are right in every
token.
"""

import math
from pathlib import Path

from bitconverter import __version__
from bitconverter.engine import Cancelled, EngineError
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes
from bitconverter.format.step_log import StepLog, log_bytes
from bitconverter.jobs import sample_log
from bitconverter.jobs.eta import Eta
from bitconverter.jobs.job import Context, Metric, Note, Progress
from bitconverter.jobs.learners import MezoLearner
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_checks import check, check_due, looked_at, on_plateau
from bitconverter.jobs.train_forgetting import look_for_forgetting
from bitconverter.jobs.train_preparation import place, write_prefix
from bitconverter.jobs.train_result import TrainResult, aside_path, log_path
from bitconverter.jobs.train_settings import TrainSettings, epsilon_of, usual_rate
from bitconverter.jobs.train_work import TrainWork
from bitconverter.jobs.training_disk import Room, room_for
from bitconverter.model.adamw import Schedule

JUMP = 3.0  # nats above the loss at the start: not learning any more
MOST_SLOWER = 4


class TrainRun:
    def __init__(self, job: TrainSettings, ctx: Context) -> None:
        self.job, self.ctx, self.cancel = job, ctx, ctx.cancel
        self.work = TrainWork(job, ctx)
        self.state = self.work.state
        rate = usual_rate(job) if job.rate is None else job.rate
        self.schedule = Schedule(rate, job.steps, min(job.warmup, job.steps // 2))
        self.forgetting: Forgetting | None = None

    def room(self) -> Room:
        """On the disk of the soul. Raises OSError."""
        work = self.work
        tokens = int(work.lesson.lengths.sum())
        return room_for(self.job, work.trainer.size, tokens, work.stack.info.hidden_size)

    def place(self) -> None:
        """Find out whether there is memory, and on what it is to run. Raises what train_preparation.place() does."""
        place(self.work)

    # ---- the steps ----

    def go(self) -> None:
        """From where it is to the last step, after place()."""
        state, work, steps = self.state, self.work, self.job.steps
        work.saved_now()
        write_prefix(work)
        work.trainer.set_parameters(state.parameters)
        self.ctx.emit(Note("train-began", {
            "windows": work.lesson.n_learn, "checks": work.lesson.n_check, "parameters": work.trainer.size,
            "targets": work.lesson.targets_once(),
        }))  # fmt: skip
        eta = Eta(state.step, steps)
        try:
            while True:
                if check_due(work):
                    work.save(best=check(work, work.save))
                    for prompt in self.job.samples:
                        self._answer(prompt)
                while (question := self.ctx.questions.take()) is not None:
                    work.save()  # who likes the answer can pin what gave it
                    self._answer(question)
                if state.step >= steps or self._given_up or on_plateau(work):
                    break
                if work.give_way(work.save):
                    eta = Eta(state.step, steps)
                self._step()
                self.ctx.emit(Progress(state.step, steps, "step", eta=eta.update(state.step)))
                if work.save_due():
                    work.save()
        except Cancelled:
            work.save()
            raise
        work.save()

    def look_now(self) -> None:
        """Look at the state as it is, which then ends the run, so that it counts too. Nothing of that is saved: a run
        that goes on after all is checked where it always is, and ends in the same bytes."""
        work = self.work
        if looked_at(work):
            return
        work.wait_no_more()
        self.place()
        write_prefix(work)
        work.trainer.set_parameters(self.state.parameters)
        check(work, lambda: None)

    def _step(self) -> None:
        state, work = self.state, self.work
        batch = work.batch(work.lesson.places(state.step))
        loss = work.learner.look(state.parameters, batch, state.step, self.cancel)
        if self._lost(loss):
            self._slow_down()
        else:
            work.learner.move(state.parameters, state.step, self._rate())
        work.trainer.set_parameters(state.parameters)
        state.step += 1
        state.losses.append((state.step, loss))
        self.ctx.emit(Metric("loss", state.step, loss))

    def _rate(self) -> float:
        return self.schedule.at(self.state.step) * 0.5**self.state.slower

    def _lost(self, loss: float) -> bool:
        start = self.state.losses[0][1] if self.state.losses else loss
        return not (math.isfinite(loss) and loss <= start + JUMP)

    def _slow_down(self) -> None:
        state = self.state
        state.slower += 1
        if state.slower > MOST_SLOWER and state.best_step == 0:
            raise UserError(
                "train-diverged",
                f"The loss jumped again at step {state.step}, after the rate was halved {MOST_SLOWER} times, and "
                "nothing had become better before. Train with a smaller rate, or look for damaged rows in the lesson.",
                step=state.step,
            )
        state.parameters = state.best.copy()
        self.work.learner.skip(state.step, state.best_step)
        if self._given_up:
            self.ctx.emit(Note("train-gave-up", {"step": state.step, "best": state.best_step}))
        else:
            self.ctx.emit(Note("train-slower", {"step": state.step, "rate": self._rate()}))

    @property
    def _given_up(self) -> bool:
        """The loss jumped so often that the run ends with its best state."""
        return self.state.slower > MOST_SLOWER

    def _answer(self, prompt: str) -> None:
        """What went wrong with a question is no reason to end the training."""
        try:
            made = self.work.trainer.adapters(self.state.parameters)
            answer = self.work.asking.answer(prompt, made, self.cancel)
        except Cancelled:
            raise
        except (UserError, EngineError, MemoryError, OSError) as error:
            reason = str(error) or type(error).__name__
            self.ctx.emit(Note("sample-failed", {"prompt": prompt, "reason": reason}))
        else:
            sample_log.add(self.job.work_dir, (self.state.step, prompt, answer))
            self.ctx.emit(Note("train-sample", {"step": self.state.step, "prompt": prompt, "answer": answer}))

    # ---- the end ----

    def files(self, patiently: bool = True) -> dict[Path, bytes]:
        """What is to be written, the soul last. `patiently`: waiting where manners want it."""
        state, job, work = self.state, self.job, self.work
        if not patiently:
            work.wait_no_more()
        accuracy = {step: right for step, _, right in state.checks}
        made = work.trainer.adapters(state.best)
        if job.forget_limit:
            self.forgetting = look_for_forgetting(work, made)
        notes = {
            "tool": f"bitconverter {__version__}", "lesson": Path(job.lesson).name, "engine": job.engine,
            "layers": str(job.layers), "steps": str(state.step), "best_step": str(state.best_step),
            "loss_before": repr(state.checks[0][1]), "loss_after": repr(state.best_loss),
            "accuracy_before": repr(accuracy[0]), "accuracy_after": repr(accuracy[state.best_step]),
        }  # fmt: skip
        if self.forgetting:
            notes["general_before"] = repr(self.forgetting.before)
            notes["general_after"] = repr(self.forgetting.after)
        soul = Soul(made.gains, work.stack.folder.name, work.base_sha256, notes, made.lora, made.delta)
        files = {}
        if isinstance(work.learner, MezoLearner):
            kept = work.learner.state()
            log = StepLog(
                soul.base_name, work.base_sha256, job.layers, job.adapter, job.rank, job.targets, job.seed,
                epsilon_of(job), "even" if work.trainer.reach() is None else "graded",
                state.best_step, notes, kept["slopes"], kept["rates"], kept["restored"],
            )  # fmt: skip
            files[log_path(job.out)] = log_bytes(log)
        return files | {self._soul_path: soul_bytes(soul)}

    def tell_end(self) -> None:
        """What is to be said of the soul."""
        if self.state.best_step == 0:
            self.ctx.emit(Note("train-no-gain"))
        if self._set_aside:
            self.ctx.emit(Note("train-forgot", {**vars(self.forgetting), "path": str(self._soul_path)}))

    def result(self, seconds: float) -> TrainResult:
        """`seconds`: of this process."""
        state, work = self.state, self.work
        accuracy = {step: right for step, _, right in state.checks}
        log = str(log_path(self.job.out)) if self.job.engine == "mezo" else None
        return TrainResult(
            str(self._soul_path), log, state.step, state.best_step, state.checks[0][1], state.best_loss, accuracy[0],
            accuracy[state.best_step], work.trainer.size, work.lesson.learned_tokens(state.step),
            work.before + seconds,
            self.forgetting, self._set_aside, work.placed,
        )  # fmt: skip

    @property
    def _set_aside(self) -> bool:
        return self.forgetting is not None and self.forgetting.too_much

    @property
    def _soul_path(self) -> Path:
        return aside_path(self.job.out) if self._set_aside else Path(self.job.out)
