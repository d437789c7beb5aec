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

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitconverter import __version__
from bitconverter.engine import Cancelled, EngineError, ModelInfo
from bitconverter.format.errors import UserError
from bitconverter.format.soul_file import Adapters, Soul, soul_bytes, weights_hash
from bitconverter.format.step_log import StepLog, log_bytes
from bitconverter.jobs import train_state
from bitconverter.jobs.asking import Asking
from bitconverter.jobs.device_word import CPU, Device
from bitconverter.jobs.eco import Manners, Probes, tell_blindness, wait_until_free
from bitconverter.jobs.eta import Eta
from bitconverter.jobs.general_looks import GeneralLooks
from bitconverter.jobs.job import Context, Curves, Metric, Note, Progress
from bitconverter.jobs.learners import AdapterKind, ExactLearner, Learner, MezoLearner
from bitconverter.jobs.opening import open_engine
from bitconverter.jobs.pinned import check_fits, damaged, of_another, read_pin
from bitconverter.jobs.placement import Placed
from bitconverter.jobs.taught_model import Forgetting
from bitconverter.jobs.train_prefix import Prefix
from bitconverter.jobs.train_state import ASIDE, Checking, State
from bitconverter.jobs.training_device import choose_training_device, lift_what_is_before, ran_on
from bitconverter.jobs.training_memory import Load, check_memory, room_to_keep, training_bytes
from bitconverter.model.adamw import Schedule
from bitconverter.model.block_trainer import Batch, BlockTrainer, learned_lengths
from bitconverter.model.layer_stack import LayerStack
from bitconverter.model.lessons import label_tokens, read_lessons
from bitconverter.model.mezo import Mezo
from bitconverter.model.tokenizer import Tokenizer

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

SAVE_SECONDS = 20.0  # at most so much work is done again after a kill
CHECKS = 10  # looks at the validation windows in a run, beside the one at its start
CHECK_TOKENS = 8192  # at most so many tokens are looked at
HELD = 0.1  # the share of windows to check with
# Outside of steps so many tokens' hidden states are held at a time; fewer, down to LEAST_RUN, where these times a
# model's weights are more than RUN_WORK: nothing is saved inside of a part, which shall be over in half a minute on a
# slow PC.
RUN_TOKENS = 1024
LEAST_RUN = 256
RUN_WORK = 2 << 40
JUMP = 3.0  # nats above the loss at the start: not learning any more
MOST_SLOWER = 4
MOST_SAMPLES = 3
RATES = {
    ("exact", "gain"): 1e-2, ("exact", "lora"): 1e-3, ("exact", "delta"): 5e-4,
    ("mezo", "gain"): 0.1, ("mezo", "lora"): 1e-3, ("mezo", "delta"): 1e-6,
}  # fmt: skip
EPSILONS = {"gain": 4e-2, "lora": 2e-2, "delta": 1e-3}
SPREAD_RATES = {"gain": 0.1, "lora": 1e-3, "delta": 1e-5}  # with by_spread, where slopes are of the size 1
CLIPS = {"exact": 1.0, "mezo": 100.0}


@dataclass(frozen=True)
class TrainSettings:
    """`model`: a converted folder; `lesson`: a UTF-8 .txt, or a .jsonl of {"prompt", "answer"}; `out`: the soul to
    write. The last `layers` layers learn; a step sees `batch` windows of at most `window` tokens. `labels`: the words
    that the answers of examples are, each one token, to be told apart; the loss is over these alone. adapter "gain":
    row gains of every matrix learn; "lora": additions of `rank` to the matrices `targets` (of MATRICES);
    "delta": a whole matrix is added to each of the MLP.

    engine "exact": gradients, AdamW, `decay`, and gradients of a norm above `clip` are cut to it. engine "mezo":
    forward passes alone, at +-`epsilon` along `directions` directions a step, slopes cut to `clip`, of the `objective`
    "loss" or "accuracy" (model/mezo.py); `one_sided`: at +`epsilon` and once for all directions where it is;
    `by_spread`: so, and in steps that the losses' spread sizes (FZOO), with two directions or more. rate,
    epsilon and clip None: what suits the engine and the adapter (RATES, EPSILONS, CLIPS). The rate rises over
    `warmup` steps and falls along a cosine. `patience`: after so many checks without a better loss the run ends, 0: it
    does not.

    `samples`: at most MOST_SAMPLES questions that are answered at every check, to be read by people. They change
    nothing.

    `history`: the file in which the run is written down (jobs/runs.py), "" for none.

    `eco`: at low priority, and waiting while the PC runs on its battery or its processor is too hot; `away`: waiting
    until nobody has touched a key or the mouse for so many minutes, 0: that is not looked at; `cores`: the numbers of
    the only ones to run on, () for any (jobs/eco.py). They do not change the result.

    `forget_limit`: if the loss on a built-in general text rises by more nats per token, the soul is set aside:
    written as `out` + ASIDE. 0: that is not looked at.

    `begin`: the folder of a pinned state to go on from (jobs/pinned.py), "" to begin at the beginning. Its settings
    must be these, but for steps, rate, decay, clip, warmup, patience and forget_limit.

    `device`, `gpu_memory`, `gpu_layers`: what the steps are to run on (jobs/device_word.py, training_device.py). Sums
    come in another order there, so the last bits differ; a run may be continued on another device all the same.

    `threads` does not change the result, so it may differ when a run is continued.
    """

    model: str
    lesson: str
    out: str
    layers: int = 6
    steps: int = 30
    batch: int = 16
    window: int = 256
    rate: float | None = None
    decay: float = 0.0
    seed: int = 0
    threads: int = field(default=0, metadata={"identity": False})
    cpu: str = "auto"
    labels: tuple[str, ...] = ()
    engine: str = "exact"
    epsilon: float | None = None
    directions: int = 1
    clip: float | None = None
    objective: str = "loss"
    warmup: int = 3
    patience: int = 0
    adapter: str = "gain"
    rank: int = 8
    targets: tuple[str, ...] = ("q", "v")
    forget_limit: float = 0.2
    samples: tuple[str, ...] = field(default=(), metadata={"identity": False})
    history: str = field(default="", metadata={"identity": False})
    eco: bool = field(default=False, metadata={"identity": False})
    away: float = field(default=0.0, metadata={"identity": False})
    cores: tuple[int, ...] = field(default=(), metadata={"identity": False})
    one_sided: bool = False
    by_spread: bool = False
    begin: str = ""
    device: str = field(default=CPU, metadata={"identity": False})
    gpu_memory: int | None = field(default=None, metadata={"identity": False})
    gpu_layers: int | None = field(default=None, metadata={"identity": False})

    @property
    def work_dir(self) -> Path:
        return Path(self.out + ".partial")


@dataclass(frozen=True)
class TrainResult:
    """Losses in nats per learned token on the windows held back, before and at the best step, and the share of these
    windows that are right in every token. `out`: where the soul lies. `log`: the step log, if there is one (engine
    "mezo"). `forgetting`: None if it was not looked at; `set_aside`: it has forgotten too much."""

    out: str
    log: str | None
    steps: int
    best_step: int
    before: float
    after: float
    accuracy_before: float
    accuracy_after: float
    parameters: int
    learned_tokens: int
    seconds: float
    forgetting: Forgetting | None
    set_aside: bool
    placed: Placed


class TrainRun:
    def __init__(self, job: TrainSettings, ctx: Context) -> None:
        self.job, self.ctx, self.cancel = job, ctx, ctx.cancel
        folder = Path(job.model)
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
        self.lengths = learned_lengths(self.targets)
        kind = AdapterKind(job.adapter, job.rank, job.targets)
        self.trainer = kind.trainer(self.stack, job.layers, self.window, tuple(labels.values()))
        self.schedule = Schedule(
            usual_rate(job) if job.rate is None else job.rate,
            job.steps,
            min(job.warmup, job.steps // 2),
        )
        self.learner = _learner(job, self.trainer)
        self.base_sha256 = weights_hash(folder.glob("*.safetensors"), self.cancel.check)
        self.key = train_state.run_key(
            self.tokens, self.targets, self.tokens.shape, self.base_sha256, __version__
        )
        hidden = self.stack.info.hidden_size
        # windows at a time, outside of steps
        self.together = max(1, run_tokens(self.stack.info) // self.window)
        key = f"{self.key} {self.trainer.trained.start}"
        self.prefix = Prefix(job.work_dir, key, self.lengths, hidden, self.together)
        self.checkpoints = train_state.checkpoints(job.work_dir)
        self.state = self._begin()
        self._saved_at = time.monotonic()
        self.asking = Asking(self.stack, tokenizer, job.lesson)
        self.manners = Manners(job.eco, 60 * job.away, Probes())
        self.forgetting: Forgetting | None = None
        self.asked = Device(job.device, job.gpu_memory, job.gpu_layers)
        self.placed = Placed(all_layers=len(self.trainer.trained))

    # ---- beginning ----

    def _begin(self) -> State:
        """The newest saved state that is whole, else the pinned one that it begins at, or a new one."""
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
        self._tell_going_on("began-at-pin", state)
        return state

    def _tell_going_on(self, code: str, state: State) -> None:
        self.ctx.emit(Note(code, {"step": state.step}))
        checks = [(step, loss) for step, loss, _ in state.checks]
        self.ctx.emit(Curves({"loss": list(state.losses), "validation": checks}))

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

    def place(self) -> None:
        """Find out whether there is memory, and on what it is to run; what it has run on so far is in the state, and
        saved. Raises what choose_training_device() does, UserError("train-memory"), Cancelled."""
        load = self._load()
        needed = training_bytes(self.stack.info, load)
        check_memory(needed)
        self.trainer.together = load.replicas
        whole = self.trainer.trained.start == 0
        # gains, and the last layers alone, are for who has little memory
        if self.job.engine == "exact" and self.job.adapter != "gain" and whole:
            self.trainer.keep = room_to_keep(self.stack.info, load, needed)
        self.ctx.emit(Metric("memory", self.state.step, needed + self.trainer.keep))
        self._choose_device(load)
        tell_blindness(self.ctx, self.manners)
        self._look_at_prefix()
        self._keep_in_mind_where()

    def _look_at_prefix(self) -> None:
        """How far it is; what is missing of it will be computed on a card too."""
        found = self.prefix.look(self.cancel.check)
        if found.damaged:
            self.ctx.emit(Note("prefix-bad", {"windows": found.windows}))
        if not self.prefix.ready:
            if found.windows:
                fields = {"windows": found.windows, "all": len(self.tokens)}
                self.ctx.emit(Note("prefix-goes-on", fields))
            lift_what_is_before(self.trainer, self.placed, self.asked, self._tokens_outside())

    def _keep_in_mind_where(self) -> None:
        """Sums come in another order on another device: who goes on there is told, and finds it in the state."""
        state = self.state
        now = ran_on(self.placed, self.trainer, made_before=self.prefix.ready)
        if state.devices and now.before == -1:  # nothing is computed there any more
            now = replace(now, before=state.devices[-1].before)
        begun = state.step or state.checks or state.checking
        if (
            state.devices
            and not begun
            and (not self.prefix.windows or now.before == state.devices[-1].before)
        ):
            state.devices.pop()  # nothing depends on it yet
        if state.devices and now.differs(state.devices[-1]):
            fields = {"before": asdict(state.devices[-1]), "now": asdict(now)}
            self.ctx.emit(Note("train-device-changed", fields))
        if not state.devices or now.differs(state.devices[-1]):
            state.devices.append(now)
            self._save()
        elif not train_state.present(self.job.work_dir):  # it begins at a pinned state
            self._save()

    def _write_prefix(self) -> None:
        """The hidden states of all windows, made once."""
        if self.prefix.ready:
            return
        eta = Eta(self.prefix.windows, len(self.tokens))
        with self.prefix.making() as made:
            while made.windows < len(self.tokens):
                if self._give_way(made.mark):
                    eta = Eta(made.windows, len(self.tokens))
                part = slice(made.windows, made.windows + self.together)
                tokens = self.tokens[part]
                states = self.trainer.batch(tokens, self.targets[part], self.cancel).hidden
                made.add(states, len(tokens))
                done = made.windows
                self.ctx.emit(Progress(done, len(self.tokens), "window", "prefix", eta.update(done)))
                if self._save_due():
                    made.mark()
                    self._saved_at = time.monotonic()
        self.trainer.before = None
        self.stack.let_go()  # of the layers that do not learn

    def _give_way(self, save: Callable[[], None] = lambda: None) -> bool:
        """Wait where manners want it, once save() is through; whether it has waited."""
        reason = self.manners.reason()
        if reason is None:
            return False
        save()
        wait_until_free(self.ctx, self.manners, reason)
        self._saved_at = time.monotonic()
        return True

    def _save_due(self) -> bool:
        return time.monotonic() - self._saved_at >= SAVE_SECONDS

    # ---- the steps ----

    def go(self) -> None:
        """From where it is to the last step, after place()."""
        state, steps = self.state, self.job.steps
        self._saved_at = time.monotonic()
        self._write_prefix()
        self.trainer.set_parameters(state.parameters)
        self.ctx.emit(Note("train-began", {
            "windows": self.n_learn, "checks": self.n_check, "parameters": self.trainer.size,
            "targets": int((self.targets[: self.n_learn] >= 0).sum()),
        }))  # fmt: skip
        eta = Eta(state.step, steps)
        try:
            while True:
                if self._check_due():
                    self._save(best=self._check())
                    for prompt in self.job.samples:
                        self._answer(prompt)
                while (question := self.ctx.questions.take()) is not None:
                    self._save()  # who likes the answer can pin what gave it
                    self._answer(question)
                if state.step >= steps or self._given_up or self._on_plateau():
                    break
                if self._give_way(self._save):
                    eta = Eta(state.step, steps)
                self._step()
                self.ctx.emit(Progress(state.step, steps, "step", eta=eta.update(state.step)))
                if self._save_due():
                    self._save()
        except Cancelled:
            self._save()
            raise
        self._save()

    def _choose_device(self, load: Load) -> None:
        tokens = max(load.tokens, self._tokens_outside())
        self.placed = choose_training_device(
            self.trainer, self.asked, tokens, load.replicas, self.job.engine == "exact"
        )
        fields = {
            "where": self.placed.where,
            "code": self.placed.code,
            "bytes": self.placed.weight_bytes,
            "head": self.placed.head,
        }
        self.ctx.emit(Note("train-device", {**self.placed.told(), **fields}))

    def _tokens_outside(self) -> int:
        """At most, of a call outside of steps."""
        return self.together * self.window

    def _load(self) -> Load:
        job, longest = self.job, np.sort(self.lengths[: self.n_learn])[::-1]
        step = int(longest[: job.batch].sum()) + max(0, job.batch - len(longest)) * int(longest[0])
        replicas = 1
        if job.engine == "mezo":
            replicas = min(_mezo(job, self.trainer).looks, self.trainer.most_together(step))
        return Load(
            job.layers, step, self.window, self.trainer.size, self.tokens.size,
            len(job.labels) or self.stack.info.vocab_size, job.engine,
            replicas,
        )  # fmt: skip

    def _step(self) -> None:
        state = self.state
        loss = self.learner.look(state.parameters, self._batch_at(state.step), state.step, self.cancel)
        if self._lost(loss):
            self._slow_down()
        else:
            self.learner.move(state.parameters, state.step, self._rate())
        self.trainer.set_parameters(state.parameters)
        state.step += 1
        state.losses.append((state.step, loss))
        self.ctx.emit(Metric("loss", state.step, loss))

    def _rate(self) -> float:
        return self.schedule.at(self.state.step) * 0.5**self.state.slower

    def _batch_at(self, step: int) -> Batch:
        return self._windows(self._places(step))

    def _windows(self, which: I64) -> Batch:
        lengths = self.lengths[which]
        targets = self.targets[which][np.arange(self.window) < lengths[:, None]]
        return Batch(self.prefix.read(which), lengths, targets)

    def _places(self, step: int) -> I64:
        """The windows of a step: epoch after epoch, each in an order of its own."""
        places = range(step * self.job.batch, (step + 1) * self.job.batch)
        orders: dict[int, I64] = {}
        for epoch in {place // self.n_learn for place in places}:
            orders[epoch] = self._order(epoch)
        return np.array([orders[place // self.n_learn][place % self.n_learn] for place in places])

    def _order(self, epoch: int) -> I64:
        return np.random.default_rng([self.job.seed, epoch]).permutation(self.n_learn)

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
        self.learner.skip(state.step, state.best_step)
        if self._given_up:
            self.ctx.emit(Note("train-gave-up", {"step": state.step, "best": state.best_step}))
        else:
            self.ctx.emit(Note("train-slower", {"step": state.step, "rate": self._rate()}))

    @property
    def _given_up(self) -> bool:
        """The loss jumped so often that the run ends with its best state."""
        return self.state.slower > MOST_SLOWER

    # ---- the checks ----

    def _check_due(self) -> bool:
        state = self.state
        if state.checks and state.checks[-1][0] == state.step:
            return False
        return state.step % max(1, self.job.steps // CHECKS) == 0 or state.step == self.job.steps

    def _check(self) -> bool:
        """The loss on the windows held back; whether it is the lowest so far, whose parameters are kept."""
        state = self.state
        sums = self._sums_of_check()
        while sums.next < len(self.tokens):
            self._give_way(self._save)
            part = np.arange(sums.next, min(sums.next + self.together, len(self.tokens)))
            score = self.trainer.score(self._windows(part), self.cancel)
            sums = state.checking = Checking(
                sums.next + len(part), sums.loss + score.loss, sums.tokens + score.tokens,
                sums.right + score.right, sums.windows + score.windows,
            )  # fmt: skip
            if self._save_due():
                self._save()
        state.checking = None
        value, accuracy = sums.loss / max(1, sums.tokens), sums.right / max(1, sums.windows)
        better = value < state.best_loss or not state.checks
        state.checks.append((state.step, value, accuracy))
        if better:
            state.best, state.best_loss, state.best_step = state.parameters.copy(), value, state.step
        self.ctx.emit(Metric("validation", state.step, value))
        self.ctx.emit(Metric("accuracy", state.step, accuracy))
        return better

    def _sums_of_check(self) -> Checking:
        """Those of a look that was broken off, or none."""
        begun, first, end = self.state.checking, self.n_learn, len(self.tokens)
        if begun is None or not first < begun.next <= end:
            return Checking(first)
        whole_parts = (begun.next - first) % self.together == 0 or begun.next == end
        return begun if whole_parts else Checking(first)

    def _answer(self, prompt: str) -> None:
        """What went wrong with a question is no reason to end the training."""
        try:
            answer = self.asking.answer(prompt, self.trainer.adapters(self.state.parameters), self.cancel)
        except Cancelled:
            raise
        except (UserError, EngineError, MemoryError, OSError) as error:
            reason = str(error) or type(error).__name__
            self.ctx.emit(Note("sample-failed", {"prompt": prompt, "reason": reason}))
        else:
            self.ctx.emit(Note("train-sample", {"step": self.state.step, "prompt": prompt, "answer": answer}))

    def _on_plateau(self) -> bool:
        state = self.state
        since = sum(step > state.best_step for step, _, _ in state.checks)
        if not 0 < self.job.patience <= since:
            return False
        self.ctx.emit(Note("train-plateau", {"step": state.step, "checks": since}))
        return True

    def _save(self, best: bool = False) -> None:
        files = {train_state.STATE: self.state.file(self.learner.state())}
        self.checkpoints.save(self.state.step, files, best)
        self._saved_at = time.monotonic()

    # ---- the end ----

    def files(self, patiently: bool = True) -> dict[Path, bytes]:
        """What is to be written, the soul last. `patiently`: waiting where manners want it."""
        if not patiently:
            self.manners = Manners(False, 0, Probes())
        state, job = self.state, self.job
        accuracy = {step: right for step, _, right in state.checks}
        made = self.trainer.adapters(state.best)
        if job.forget_limit:
            self.forgetting = self._look_for_forgetting(made)
        notes = {
            "tool": f"bitconverter {__version__}", "lesson": Path(job.lesson).name, "engine": job.engine,
            "layers": str(job.layers), "steps": str(state.step), "best_step": str(state.best_step),
            "loss_before": repr(state.checks[0][1]), "loss_after": repr(state.best_loss),
            "accuracy_before": repr(accuracy[0]), "accuracy_after": repr(accuracy[state.best_step]),
        }  # fmt: skip
        if self.forgetting:
            notes["general_before"] = repr(self.forgetting.before)
            notes["general_after"] = repr(self.forgetting.after)
        soul = Soul(made.gains, self.stack.folder.name, self.base_sha256, notes, made.lora, made.delta)
        files = {}
        if isinstance(self.learner, MezoLearner):
            kept = self.learner.state()
            log = StepLog(
                soul.base_name, self.base_sha256, job.layers, job.adapter, job.rank, job.targets, job.seed,
                _epsilon(job), "even" if self.trainer.reach() is None else "graded",
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

    def _look_for_forgetting(self, made: Adapters) -> Forgetting:
        self.stack.let_go()  # what follows maps the file once more
        self.stack.engine.let_go()
        looks = GeneralLooks(self.job.work_dir, self._general_key())

        def between() -> None:
            looks.save()
            self._give_way()

        self._give_way()
        model = self.asking.model
        model.wear(Adapters())
        self.ctx.emit(Progress(0, 2, "look", "general"))
        before = after = model.general_loss(self.cancel, looks.before, between)
        if self.state.best_step > 0:
            self.ctx.emit(Progress(1, 2, "look", "general"))
            model.wear(made)
            after = model.general_loss(self.cancel, looks.after, between)
        return Forgetting(before, after, self.job.forget_limit)

    def _general_key(self) -> str:
        """Of the model as it was and as it has become."""
        return f"{self.key} {hashlib.sha256(self.state.best.tobytes()).hexdigest()}"

    @property
    def _set_aside(self) -> bool:
        return self.forgetting is not None and self.forgetting.too_much

    @property
    def _soul_path(self) -> Path:
        return aside_path(self.job.out) if self._set_aside else Path(self.job.out)

    def result(self, seconds: float) -> TrainResult:
        state = self.state
        accuracy = {step: right for step, _, right in state.checks}
        log = str(log_path(self.job.out)) if self.job.engine == "mezo" else None
        return TrainResult(
            str(self._soul_path), log, state.step, state.best_step, state.checks[0][1], state.best_loss, accuracy[0],
            accuracy[state.best_step], self.trainer.size,
            self._learned_tokens(), seconds,
            self.forgetting, self._set_aside, self.placed,
        )  # fmt: skip

    def _learned_tokens(self) -> int:
        """Of all steps: every window once an epoch, and those of the epoch that is not over."""
        epochs, more = divmod(self.state.step * self.job.batch, self.n_learn)
        counts = (self.targets[: self.n_learn] >= 0).sum(axis=1)
        return int(epochs * counts.sum() + counts[self._order(epochs)[:more]].sum())


def run_tokens(info: ModelInfo) -> int:
    """At most so many tokens go through a model at a time outside of steps, in whole windows."""
    fitting = RUN_WORK // max(1, info.linear_weights) // LEAST_RUN * LEAST_RUN
    return min(RUN_TOKENS, max(LEAST_RUN, fitting))


def log_path(soul: str) -> Path:
    """Where the step log of a soul lies."""
    return Path(soul + ".steps")


def aside_path(soul: str) -> Path:
    """Where a soul lies that was set aside."""
    return Path(soul + ASIDE)


def _learner(job: TrainSettings, trainer: BlockTrainer) -> Learner:
    clip = CLIPS[job.engine] if job.clip is None else job.clip
    if job.engine == "exact":
        return ExactLearner(trainer, job.decay, clip)
    return MezoLearner(trainer, _mezo(job, trainer), job.objective)


def _mezo(job: TrainSettings, trainer: BlockTrainer) -> Mezo:
    clip = CLIPS["mezo"] if job.clip is None else job.clip
    return Mezo(
        job.seed,
        _epsilon(job),
        job.directions,
        clip,
        trainer.reach(),
        job.one_sided or job.by_spread,
        job.by_spread,
    )


def usual_rate(job: TrainSettings) -> float:
    if job.engine == "mezo" and job.by_spread:
        return SPREAD_RATES[job.adapter]
    return RATES[job.engine, job.adapter]


def _epsilon(job: TrainSettings) -> float:
    return EPSILONS[job.adapter] if job.epsilon is None else job.epsilon


def output_exists(path: str) -> UserError:
    return UserError(
        "output-exists", f"{path} is there already. Choose another name or remove it.", path=path
    )
