"""One training run: from the lesson to the soul, step by step.

The order of the examples, the checks and the rate depend on the step alone, so a run that was broken off goes on as if
it had not been.

Notes: "train-began" (windows, checks, targets, parameters), "resumed-training" (step), "train-slower" (step, rate: the
loss was no number or jumped; the best state is taken up again at half the rate), "train-no-gain" (the model was best
as it was). Metric("loss", step, value) after every step, Metric("validation", step, value) at every check, in nats
per learned token.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter import __version__
from bitconverter.engine import Cancelled
from bitconverter.format.atomic import write_bytes
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Soul, soul_bytes, weights_hash
from bitconverter.jobs import train_state
from bitconverter.jobs.eta import Eta
from bitconverter.jobs.job import Context, Metric, Note, Progress
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.train_state import Prefix, State
from bitconverter.model.adamw import AdamW, Schedule
from bitconverter.model.gain_trainer import GainTrainer, Step
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lessons import label_tokens, read_lessons
from bitconverter.model.tokenizer import Tokenizer

F32 = npt.NDArray[np.float32]

SAVE_SECONDS = 20.0  # at most so much work is done again after a kill
CHECKS = 10  # looks at the validation windows in a run, beside the one at its start
CHECK_TOKENS = 8192  # at most so many tokens are looked at
HELD = 0.1  # the share of windows to check with
RUN_TOKENS = 4096  # the tokens whose hidden states are held at a time outside of steps
JUMP = 3.0  # nats above the loss at the start: not learning any more
MOST_SLOWER = 4


@dataclass(frozen=True)
class Settings:
    """The parameters of a TrainJob, checked."""

    model: Path
    lesson: str
    out: Path
    work_dir: Path
    layers: int
    steps: int
    batch: int
    window: int
    rate: float
    decay: float
    seed: int
    threads: int
    cpu: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainResult:
    """Losses in nats per learned token on the windows held back, before and at the best step."""

    out: str
    steps: int
    best_step: int
    before: float
    after: float
    parameters: int
    learned_tokens: int
    seconds: float


class TrainRun:
    def __init__(self, job: Settings, ctx: Context) -> None:
        self.job, self.ctx, self.cancel = job, ctx, ctx.cancel
        folder = job.model
        self.stack = LayerStack(open_engine(job.threads, job.cpu), folder)
        tokenizer = Tokenizer(folder)
        tokenizer.check_fits(self.stack.info.vocab_size)
        labels = label_tokens(tokenizer, job.labels)
        window = min(job.window, self.stack.info.max_positions)
        lessons = read_lessons(job.lesson, tokenizer, window, self.cancel, labels)
        learn, check = lessons.split(HELD, job.seed)
        self.window = lessons.tokens.shape[1]
        check = check.take(np.arange(min(len(check.tokens), max(1, CHECK_TOKENS // self.window))))
        self.n_learn, self.n_check = len(learn.tokens), len(check.tokens)
        self.tokens = np.concatenate([learn.tokens, check.tokens])
        self.targets = np.concatenate([learn.targets, check.targets])
        self.trainer = GainTrainer(self.stack, job.layers, self.window, tuple(labels.values()))
        self.schedule = Schedule(job.rate, job.steps, warmup=min(3, job.steps // 2))
        self.optimizer = AdamW(self.trainer.size, job.decay)
        self.base_sha256 = weights_hash(folder.glob("*.safetensors"), self.cancel.check)
        self.prefix = Prefix(job.work_dir, (len(self.tokens), self.window, self.stack.info.hidden_size))
        self.state = self._begin()

    def close(self) -> None:
        self.prefix.close()

    # ---- beginning ----

    def _begin(self) -> State:
        """The saved state, or a new one."""
        key = hashlib.sha256(self.tokens.tobytes() + self.targets.tobytes())
        key.update(f"{self.base_sha256} {self.tokens.shape} {__version__}".encode())
        zeros = np.zeros(self.trainer.size)
        found = train_state.load(self.job.work_dir, self.trainer.size)
        if found is None:
            return State(key.hexdigest(), zeros, zeros.copy())
        state, arrays = found
        if state.key != key.hexdigest():
            raise UserError(
                "lesson-changed",
                f"The model, the lesson or this program has changed since the unfinished training in "
                f"{self.job.work_dir} began. Remove that folder to start again from the beginning.",
                folder=str(self.job.work_dir),
            )
        self.optimizer.restore(arrays)
        self.ctx.emit(Note("resumed-training", {"step": state.step}))
        return state

    def _hidden(self) -> F32:
        """The prefix activations of all windows, made once."""
        if self.prefix.array is None:
            self.prefix.write(self._prefix_parts())
        assert self.prefix.array is not None
        return self.prefix.array

    def _prefix_parts(self) -> Iterator[F32]:
        size = max(1, RUN_TOKENS // self.window)
        eta = Eta(0, len(self.tokens))
        for start in range(0, len(self.tokens), size):
            yield self.trainer.prefix(self.tokens[start : start + size], self.cancel)
            done = min(start + size, len(self.tokens))
            self.ctx.emit(Progress(done, len(self.tokens), "window", "prefix", eta.update(done)))

    # ---- the steps ----

    def go(self) -> None:
        state, steps = self.state, self.job.steps
        hidden = self._hidden()
        self.trainer.set_parameters(state.parameters)
        if not state.checks:
            self._check(hidden)
        self.ctx.emit(Note("train-began", {
            "windows": self.n_learn, "checks": self.n_check, "parameters": self.trainer.size,
            "targets": int((self.targets[: self.n_learn] >= 0).sum()),
        }))  # fmt: skip
        saved, eta = time.monotonic(), Eta(state.step, steps)
        every = max(1, steps // CHECKS)
        try:
            while state.step < steps:
                self._step(hidden)
                if state.step % every == 0 or state.step == steps:
                    self._check(hidden)
                self.ctx.emit(Progress(state.step, steps, "step", eta=eta.update(state.step)))
                if time.monotonic() - saved >= SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
        except Cancelled:
            self._save()
            raise
        self._save()

    def _step(self, hidden: F32) -> None:
        state = self.state
        which = self._batch(state.step)
        step = self.trainer.step(hidden[which], self.targets[which], self.cancel)
        if self._lost(step):
            self._slow_down()
        else:
            self.optimizer.update(state.parameters, step.gradient, self._rate())
        self.trainer.set_parameters(state.parameters)
        state.step += 1
        state.losses.append((state.step, step.loss))
        self.ctx.emit(Metric("loss", state.step, step.loss))

    def _rate(self) -> float:
        return self.schedule.at(self.state.step) * 0.5**self.state.slower

    def _batch(self, step: int) -> npt.NDArray[np.int64]:
        """The windows of a step: epoch after epoch, each in an order of its own."""
        places = range(step * self.job.batch, (step + 1) * self.job.batch)
        orders: dict[int, npt.NDArray[np.int64]] = {}
        for epoch in {place // self.n_learn for place in places}:
            orders[epoch] = np.random.default_rng([self.job.seed, epoch]).permutation(self.n_learn)
        return np.array([orders[place // self.n_learn][place % self.n_learn] for place in places])

    def _lost(self, step: Step) -> bool:
        start = self.state.losses[0][1] if self.state.losses else step.loss
        return not (
            math.isfinite(step.loss) and np.isfinite(step.gradient).all() and step.loss <= start + JUMP
        )

    def _slow_down(self) -> None:
        state = self.state
        state.slower += 1
        if state.slower > MOST_SLOWER:
            raise UserError(
                "train-diverged",
                f"The loss jumped again at step {state.step}, after the rate was halved {MOST_SLOWER} times. "
                "Train with a smaller rate, or look for damaged rows in the lesson.",
                step=state.step,
            )
        state.parameters = state.best.copy()
        self.optimizer.forget()
        self.ctx.emit(Note("train-slower", {"step": state.step, "rate": self._rate()}))

    def _check(self, hidden: F32) -> None:
        """The loss on the windows held back; the best parameters are kept."""
        state, total, count = self.state, 0.0, 0
        size = max(1, RUN_TOKENS // self.window)
        for start in range(self.n_learn, len(self.tokens), size):
            part = slice(start, start + size)
            loss, n = self.trainer.losses(hidden[part], self.targets[part], self.cancel)
            total, count = total + loss, count + n
        value = total / max(1, count)
        state.checks.append((state.step, value))
        if value < state.best_loss or not state.checks[1:]:
            state.best, state.best_loss = state.parameters.copy(), value
        self.ctx.emit(Metric("validation", state.step, value))

    def _save(self) -> None:
        self.state.save(self.job.work_dir, self.optimizer.state())

    # ---- the end ----

    def publish(self) -> None:
        """Write the soul; one that an earlier run of this job wrote before it was killed is the same."""
        state, out = self.state, self.job.out
        notes = {
            "tool": f"bitconverter {__version__}", "lesson": Path(self.job.lesson).name,
            "layers": str(self.job.layers), "steps": str(state.step), "best_step": str(self._best_step()),
            "loss_before": repr(state.checks[0][1]), "loss_after": repr(state.best_loss),
        }  # fmt: skip
        soul = Soul(self.trainer.gains(state.best), self.stack.folder.name, self.base_sha256, notes)
        data = soul_bytes(soul)
        if out.exists() and out.read_bytes() != data:
            raise output_exists(str(self.job.out))
        write_bytes(out, data)
        if self._best_step() == 0:
            self.ctx.emit(Note("train-no-gain"))

    def _best_step(self) -> int:
        return min((loss, step) for step, loss in self.state.checks)[1]

    def result(self, seconds: float) -> TrainResult:
        state = self.state
        learned = [self._batch(step) for step in range(state.step)]
        return TrainResult(
            str(self.job.out), state.step, self._best_step(), state.checks[0][1], state.best_loss, self.trainer.size,
            int(sum((self.targets[which] >= 0).sum() for which in learned)), seconds,
        )  # fmt: skip


def output_exists(path: str) -> UserError:
    return UserError(
        "output-exists", f"{path} is there already. Choose another name or remove it.", path=path
    )
